"""The paper's Figure 9 on the simulated platform, beside the published totals.

The authors' own graphs are priced (ours of GPT-2 has its shape arithmetic folded away), with the
platform's costs in place of the board's: its PIM simulated, its CPU and transfers modelled. Then
the same code partitions and adds up both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.board.data import (
    DEVICES,
    SCHEDULES,
    BoardModel,
    class_costs,
    class_graph,
    class_name,
    load_board,
)
from pimloop.host.board.driver_work import driver_work_us
from pimloop.host.board.templates import Template
from pimloop.host.board.transfers import DIRECTIONS
from pimloop.host.cpu.model import CpuModel
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.graph import HOME_MEMORY, Graph
from pimloop.partitioner.paper.tables import paper_costs
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.problem import Problem

#: Time of a class on the PIM at a length; None: it does not run there.
PimTime = Callable[[Template, int], float | None]


@dataclass(frozen=True)
class Contribution:
    """A part of the difference between the simulated platform and the board."""

    cause: str
    us: float  # ours minus the board's


@dataclass(frozen=True)
class Cell:
    """One model, length and schedule; times in microseconds."""

    model: str
    length: int
    schedule: str
    board_us: float | None  # published; None: the board was not measured at this length
    ours_us: float  # the simulated platform, with what the board's driver does besides
    own_us: float  # the simulated platform as it is
    pim_nodes: int  # operators on the PIM in our plan
    contributions: tuple[Contribution, ...] = ()  # largest first; their sum is the difference

    @property
    def error(self) -> float | None:
        """Simulated over published, minus one."""
        return None if self.board_us is None else self.ours_us / self.board_us - 1


@dataclass(frozen=True)
class ClassTime:
    """One class of operators on one device, board and platform."""

    model: str
    length: int
    name: str
    op: str
    device: str
    count: int
    board_us: float  # median of the nodes
    ours_us: float
    driver_work_us: float  # what the board's driver does and pimloop's does not
    transposed: bool  # the weights are stored transposed

    @property
    def error(self) -> float:
        """Ours with the board's driver work, over the board's, minus one."""
        return (self.ours_us + self.driver_work_us) / self.board_us - 1


def platform_costs(
    board: BoardModel,
    length: int,
    platform: Platform,
    pim_us: PimTime,
    *,
    driver_work: bool,
) -> CostGraph:
    """Return the cost graph of a board's model with the simulated platform's times.

    Parameters
    ----------
    pim_us
        Times on the PIM.
    driver_work
        Add what the board's driver does and pimloop's does not.

    Raises
    ------
    PimloopError
        When the platform has no CPU model.
    """
    model = _cpu_model(platform)
    by_class: list[dict[str, float]] = []
    for template in board.classes:
        graph = class_graph(template, length)
        costs = {
            "cpu_serial": model.time_us(graph, graph.nodes[0], "cpu_serial"),
            "cpu_parallel": model.time_us(graph, graph.nodes[0], "cpu_parallel"),
        }
        pim = pim_us(template, length)
        if pim is not None:
            costs["pim"] = pim + (
                driver_work_us(template, length, platform) if driver_work else 0.0
            )
        by_class.append(costs)
    sizes = sorted({template.nbytes("output", length) // 2 for template in board.classes})
    rows = {
        direction: [{"bytes": n, "us_mean": platform.transfer_us(*memories, n // 2)} for n in sizes]
        for direction, memories in DIRECTIONS.items()
    }
    by_node = [by_class[index] for index in board.node_classes]
    return paper_costs(_authors_form(board, length, by_node, rows))


def measured_costs(board: BoardModel, length: int) -> CostGraph:
    """Return the cost graph that the board's own measurements make."""
    return paper_costs(authors_data(board, length))


def authors_data(board: BoardModel, length: int) -> dict[str, Any]:
    """Return one measurement of the board as `pimloop.partitioner.paper.tables` takes it."""
    measured = board.measurements[length]
    costs = [
        {
            device: float(us)
            for device, times in measured.cost_us.items()
            if (us := times[node]) is not None
        }
        for node in range(len(board.node_ids))
    ]
    return _authors_form(board, length, costs, measured.transfers)


def _cpu_model(platform: Platform) -> CpuModel:
    model = platform.cpu_model()
    if model is None:
        raise PimloopError(
            f"platform {platform.name} has no [cpu] section: its CPU times are those of this "
            "machine, which is not the board; choose htg-z920, or `pimloop calibrate` it"
        )
    return model


def _authors_form(
    board: BoardModel,
    length: int,
    costs: Sequence[Mapping[str, float]],
    transfers: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, Any]:
    """Return times of a board's model in the authors' form."""
    nodes = []
    for name, index, us in zip(board.node_ids, board.node_classes, costs, strict=True):
        template = board.classes[index]
        nodes.append(
            {
                "id": name,
                "op": template.op,
                "cost_us": us,
                "activation_bytes": template.nbytes("activation", length),
                "parameter_bytes": template.nbytes("constant", length),
                "output_bytes": template.nbytes("output", length),
            }
        )
    ids = board.node_ids
    edges = [[ids[a], ids[b]] for a, b in board.edges]
    return {"model": board.name, "nodes": nodes, "edges": edges, "transfers": transfers}


def compare(model: str, length: int, platform: Platform, pim_us: PimTime) -> list[Cell]:
    """Return the cells of one model and length, one for each published schedule."""
    board = load_board(model)
    own = platform_costs(board, length, platform, pim_us, driver_work=False)
    like = platform_costs(board, length, platform, pim_us, driver_work=True)
    measured = measured_costs(board, length) if length in board.measurements else None
    cells = []
    for schedule in SCHEDULES:
        plan = partition(like, schedule)
        published = contributions = None
        if measured is not None:
            published = board.measurements[length].totals_us[schedule]
            assignment = dict(plan.assignment)
            if schedule == "optimal":
                assignment = published_optimum(board, length)
            contributions = _contributions(
                board, length, like, measured, assignment, plan.total_us, published
            )
        cells.append(
            Cell(
                model=model,
                length=length,
                schedule=schedule,
                board_us=published,
                ours_us=plan.total_us,
                own_us=partition(own, schedule).total_us,
                pim_nodes=sum(device == "pim" for device in plan.assignment.values()),
                contributions=tuple(contributions or ()),
            )
        )
    return cells


def published_optimum(board: BoardModel, length: int) -> dict[str, str]:
    """Return the published optimal assignment.

    Its PIM operators are published; the others take the better CPU device on the board's costs.
    """
    measured = board.measurements[length]
    serial, parallel = measured.cost_us["cpu_serial"], measured.cost_us["cpu_parallel"]
    assignment = {}
    for node, name in enumerate(board.node_ids):
        if node in measured.optimal_pim:
            assignment[name] = "pim"
        else:
            faster = (parallel[node] or 0.0) < (serial[node] or 0.0)
            assignment[name] = "cpu_parallel" if faster else "cpu_serial"
    return assignment


def _contributions(
    board: BoardModel,
    length: int,
    ours: CostGraph,
    theirs: CostGraph,
    assignment: Mapping[str, str],
    total_us: float,
    published_us: float,
) -> list[Contribution]:
    """Split `total_us` - `published_us` by class and device; largest first, and a sum exactly."""
    parts: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, index in zip(board.node_ids, board.node_classes, strict=True):
        device = assignment[name]
        cause = f"{class_name(board.classes[index], length)} on {device}"
        counts[cause] = counts.get(cause, 0) + 1
        difference = ours.cost_us[name][device] - theirs.cost_us[name][device]
        parts[cause] = parts.get(cause, 0.0) + difference
    for tensor, move in moves(theirs.graph, assignment):
        cause = f"transfers {move[0]} to {move[1]}"
        counts[cause] = counts.get(cause, 0) + 1
        difference = ours.transfer_us[tensor][move] - theirs.transfer_us[tensor][move]
        parts[cause] = parts.get(cause, 0.0) + difference
    contributions = [Contribution(f"{counts[cause]} {cause}", us) for cause, us in parts.items()]
    contributions.append(
        Contribution("our optimum is another plan", total_us - _total(ours, assignment))
    )
    contributions.append(
        Contribution(
            "the board's total is not the sum of its costs",
            _total(theirs, assignment) - published_us,
        )
    )
    return sorted(contributions, key=lambda part: -abs(part.us))


def _total(costs: CostGraph, assignment: Mapping[str, str]) -> float:
    problem = Problem.of(costs)
    return problem.to_us(evaluate(problem, assignment).total)


def moves(graph: Graph, assignment: Mapping[str, str]) -> list[tuple[str, tuple[str, str]]]:
    """Return every (tensor, (source, destination)) that an assignment moves between memories."""
    memory = graph.memory_of
    moved = []
    for tensor in graph.tensors:
        if tensor.producer is None:
            continue
        source = memory[assignment[tensor.producer]]
        wanted = {memory[assignment[consumer]] for consumer in tensor.consumers}
        if tensor.output:
            wanted.add(HOME_MEMORY)
        moved += [(tensor.id, (source, destination)) for destination in sorted(wanted - {source})]
    return moved


def class_times(model: str, length: int, platform: Platform, pim_us: PimTime) -> list[ClassTime]:
    """Return board and platform time of every class, on every device that was measured."""
    board = load_board(model)
    cpu = _cpu_model(platform)
    compared = []
    for device in DEVICES:
        for template, times in zip(board.classes, class_costs(board, length, device), strict=True):
            if not times:
                continue
            graph = class_graph(template, length)
            if device == "pim":
                ours = pim_us(template, length)
                if ours is None:
                    continue
            else:
                ours = cpu.time_us(graph, graph.nodes[0], device)
            compared.append(
                ClassTime(
                    model=model,
                    length=length,
                    name=class_name(template, length),
                    op=template.op,
                    device=device,
                    count=len(times),
                    board_us=median(times),
                    ours_us=ours,
                    driver_work_us=(
                        driver_work_us(template, length, platform) if device == "pim" else 0.0
                    ),
                    transposed=template.transposed,
                )
            )
    return compared
