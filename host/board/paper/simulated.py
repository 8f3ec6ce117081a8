"""The parts of docs/paper.md that need the simulated platform: Figures 2b and 8 to 12, Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import median

import numpy as np

from pimloop.host.board.compare import PimTime, moves, platform_costs, published_optimum
from pimloop.host.board.data import MODELS, TITLES, BoardModel, class_costs, class_name, load_board
from pimloop.host.board.paper import printed
from pimloop.host.board.paper.data import published_costs, table, title
from pimloop.host.board.paper.printed import Parts, Range
from pimloop.host.board.templates import Template
from pimloop.host.board.transfers import transfer_times
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.paper.coexecution import PRODUCTS
from pimloop.partitioner.paper.tables import LENGTHS
from pimloop.partitioner.percent import percent
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.plan import Plan

#: The paper's lengths. Of the last one no measurements ship with pimloop.
SHOWN = (*LENGTHS, 64)

#: Length of Figures 10 to 12.
PLACED = 16

_NOT_HERE = "-"


class SimulatedBoard:
    """The paper's graphs with the times of the simulated platform.

    Parameters
    ----------
    platform
        The platform made after the board.
    pim_us
        Times on its PIM (`pimloop.host.board.simulate.PimTimes.time_us`).
    """

    def __init__(self, platform: Platform, pim_us: PimTime) -> None:
        self.platform = platform
        self.pim_us = pim_us
        self._costs: dict[tuple[str, int], CostGraph] = {}

    def costs(self, model: str, length: int) -> CostGraph:
        """Return the cost graph, with what the board's driver does beyond pimloop's."""
        if (model, length) not in self._costs:
            self._costs[model, length] = platform_costs(
                load_board(model), length, self.platform, self.pim_us, driver_work=True
            )
        return self._costs[model, length]

    @cached_property
    def plans(self) -> dict[tuple[str, int, str], Plan]:
        """The schedules of Figure 9 by model, length and policy."""
        return {
            (model, length, policy): partition(self.costs(model, length), policy)
            for model in MODELS
            for length in SHOWN
            for policy in ("cpu_serial", "cpu_parallel_first", "pim_first", "optimal")
        }


def figure_2b(platform: Platform, device: Device) -> str:
    """Return the transfers split into conversion and DMA."""
    rows = []
    with PimDriver.for_platform(device, platform) as driver:
        for time in transfer_times(MODELS, LENGTHS, platform):
            array = np.ones(time.nbytes // 2, np.float32)
            tensor = driver.upload(array)
            if time.direction == "to_cpu":
                driver.download(tensor)
            dma = platform.device_us(driver.last.cycles)
            tensor.free()
            rest = time.mean_us - dma
            rows.append(
                (
                    f"{time.direction}, {time.nbytes:,} bytes",
                    f"{time.mean_us:,.1f}",
                    f"{time.ours_us:,.1f}",
                    f"{dma:,.1f}",
                    f"{rest:,.1f}",
                    percent(rest / time.mean_us, 0),
                )
            )
    header = (
        "",
        "board, whole",
        "platform, whole",
        "DMA, simulated",
        "rest: conversion and driver",
        "its share",
    )
    return f"""## Figure 2b: conversion and DMA

A transfer converts between float32 and bfloat16 on the CPU and moves the bytes. The published
traces hold it as one event, so the parts that Figure 2b draws cannot be read from them. Here the
whole is the board's (mean, published), the DMA part is what the simulated device takes to copy the
bytes (simulated, DRAM clocks of its copy engine), and the rest is the difference: conversion, and
the driver's call. The platform's own price of a transfer is a straight line through the board's.
Microseconds.

{table(header, rows)}
"""


def table_2(board: SimulatedBoard) -> str:
    """Return the PIM's operators by shape, with their times on every device."""
    rows: list[Sequence[object]] = []
    for model in MODELS:
        data = load_board(model)
        costs, first = board.costs(model, PLACED), _first_members(data)
        by_device = {
            device: class_costs(data, PLACED, device)
            for device in ("cpu_serial", "cpu_parallel", "pim")
        }
        for index, template in enumerate(data.classes):
            if not by_device["pim"][index]:
                continue
            ours = costs.cost_us[data.node_ids[first[index]]]
            row: list[object] = [
                f"{TITLES[model]}: {class_name(template, PLACED)}",
                len(by_device["pim"][index]),
            ]
            for device, times in by_device.items():
                row += [f"{median(times[index]):,.0f}", f"{ours[device]:,.0f}"]
            rows.append(row)
    header = ["", "nodes"]
    for device in ("one core", "all cores", "PIM"):
        header += [f"{device}, board", f"{device}, platform"]
    return f"""## Table 2: the PIM's operators by shape

16 tokens, microseconds. "board": the median over the operators of one shape, published.
"platform": `{board.platform.name}`; its CPU is modelled, its PIM simulated with the driver's call
and with what the board's driver does beyond pimloop's: it transposes weights at each call (T), and
repacks rows that end inside a tile of 512 columns (docs/board.md).

{table(header, rows)}
"""


def _first_members(data: BoardModel) -> list[int]:
    return [members[0] for members in data.members()]


def figure_8(board: SimulatedBoard) -> str:
    """Return the speed-ups of the PIM's Add and MatMul over both CPU devices."""
    rows: list[Sequence[object]] = []
    ranges: dict[tuple[str, str, str], list[float]] = {}
    for op in ("Add", "MatMul"):
        for model in MODELS:
            for length in SHOWN:
                row: list[object] = [f"{op}, {title(model, length)}"]
                sources: list[tuple[str, CostGraph | None]] = [
                    ("computed", published_costs(model, length) if length in LENGTHS else None),
                    ("simulated", board.costs(model, length)),
                ]
                for source, costs in sources:
                    for device in ("cpu_serial", "cpu_parallel"):
                        if costs is None:
                            row.append(_NOT_HERE)
                            continue
                        ratio = _speed_up(load_board(model), costs, op, device)
                        ranges.setdefault((op, device, source), []).append(ratio)
                        row.append(f"{ratio:.2f}")
                rows.append(row)
    summary = [
        (
            f"{op} over {device}",
            printed.SPEED_UPS[op, device],
            *(
                Range(min(values), max(values))
                for source in ("computed", "simulated")
                for values in [ranges[op, device, source]]
            ),
        )
        for op in ("Add", "MatMul")
        for device in ("cpu_serial", "cpu_parallel")
    ]
    header = (
        "",
        "one core / PIM, published costs",
        "all cores / PIM, published costs",
        "one core / PIM, platform",
        "all cores / PIM, platform",
    )
    return f"""## Figure 8: speed-ups of Add and MatMul

Time of all operators of the type that the PIM can run, on a CPU device over the PIM; MatMul holds
Gemm where the weights are not transposed (GPT-2 has its products there). "published costs":
computed here from the traces. "platform": CPU modelled, PIM simulated. At 64 tokens no
measurements ship with pimloop, so the platform stands alone.

{table(header, rows)}

{table(("", "published, 8 to 64", "published costs, 8 to 32", "platform, 8 to 64"), summary)}

The figure's ranges and the traces' are not the same, and nothing says which operators the figure
holds. By shape, where the traces have 16 operators or more, Adds are {_by_shape("Add")} times as
fast on the PIM as on one core, products {_by_shape("MatMul")} times. Rows of 768 pull both down:
the board's host repacks them (docs/board.md).
"""


def _speed_up(data: BoardModel, costs: CostGraph, op: str, device: str) -> float:
    """Return the ratio of the summed times of an operator type, transposed weights left out."""
    cpu = pim = 0.0
    for name, index in zip(data.node_ids, data.node_classes, strict=True):
        template = data.classes[index]
        us = costs.cost_us[name]
        if _is_shown_as(template, op) and "pim" in us and not template.transposed:
            cpu += us[device]
            pim += us["pim"]
    return cpu / pim


def _is_shown_as(template: Template, op: str) -> bool:
    """Whether operators are shown as of a type: products of every type as MatMul."""
    return template.op in PRODUCTS if op == "MatMul" else template.op == op


def _by_shape(op: str) -> Range:
    """Return the range of the published speed-ups over one core, shape by shape.

    Shapes with fewer than 16 operators are left out: a disturbed one would decide.
    """
    ratios = []
    for model in MODELS:
        data = load_board(model)
        for length in LENGTHS:
            serial, pim = (class_costs(data, length, d) for d in ("cpu_serial", "pim"))
            for template, cpu_us, pim_us in zip(data.classes, serial, pim, strict=True):
                if _is_shown_as(template, op) and len(pim_us) >= 16:
                    ratios.append(median(cpu_us) / median(pim_us))
    return Range(min(ratios), max(ratios))


def figure_9(board: SimulatedBoard) -> str:
    """Return the schedules' totals, with both published sources of `pim_first`."""
    rows = []
    for model in MODELS:
        for length in SHOWN:
            measured = load_board(model).measurements.get(length)
            row: list[object] = [title(model, length)]
            for policy in ("cpu_serial", "cpu_parallel_first", "pim_first", "optimal"):
                if policy == "pim_first":
                    figure = printed.PIM_FIRST_MS.get((model, length))
                    row.append(_NOT_HERE if figure is None else f"{figure:,.1f}")
                row.append(_NOT_HERE if measured is None else _ms(measured.totals_us[policy]))
                row.append(_ms(board.plans[model, length, policy].total_us))
            rows.append(row)
    differences = [
        abs(ms * 1000 / load_board(model).measurements[length].totals_us["pim_first"] - 1)
        for (model, length), ms in printed.PIM_FIRST_MS.items()
    ]
    apart = f"{100 * min(differences):.1f} to {percent(max(differences))}"
    header = [""]
    for policy in ("cpu_serial", "cpu_parallel_first", "pim_first", "optimal"):
        header += ["pim_first, figure"] if policy == "pim_first" else []
        header += [f"{policy}, traces", "platform"]
    return f"""## Figure 9: the schedules

Milliseconds. "traces": published. "platform": the authors' graphs on `{board.platform.name}`,
CPU modelled, PIM simulated, with the work of the board's driver; docs/board.md takes the
differences apart. For `pim_first` the paper's figure and its traces hold different numbers,
{apart} apart: another run of the same schedule, it seems. pimloop compares with the traces
throughout. At 64 tokens no totals ship with pimloop, so the platform stands alone.

{table(header, rows)}
"""


def figures_10_and_12(board: SimulatedBoard) -> str:
    """Return how many operators of each class are on the PIM in the optimum, at 16 tokens."""
    rows = []
    for model in MODELS:
        data = load_board(model)
        theirs = published_optimum(data, PLACED)
        computed = partition(published_costs(model, PLACED)).assignment
        simulated = board.plans[model, PLACED, "optimal"].assignment
        for index, members in enumerate(data.members()):
            names = [data.node_ids[node] for node in members]
            if "pim" not in published_costs(model, PLACED).cost_us[names[0]]:
                continue
            counts = [
                sum(assignment[name] == "pim" for name in names)
                for assignment in (theirs, computed, simulated)
            ]
            name = class_name(data.classes[index], PLACED)
            rows.append((f"{TITLES[model]}: {name}", len(names), *counts))
        differ = [
            sum((a[name] == "pim") != (theirs[name] == "pim") for name in data.node_ids)
            for a in (computed, simulated)
        ]
        rows.append((f"{TITLES[model]}: operators elsewhere than the authors'", "", "", *differ))
    header = (
        "",
        "nodes",
        "on the PIM, authors",
        "optimum of the published costs",
        "optimum of the platform",
    )
    return f"""## Figures 10 and 12: placements at 16 tokens

Operators that the PIM can run, by type and shape; how many of them the optimum puts there. The
authors' set is published; the second is computed here from their costs; the third follows from the
simulated platform. Where two placements cost nearly the same they differ in many cheap operators:
element-wise ones between two products may stay on either side.

{table(header, rows)}
"""


def figure_11(board: SimulatedBoard) -> str:
    """Return computation and transfer of two schedules at 16 tokens."""
    rows = []
    for model in MODELS:
        data, costs = load_board(model), published_costs(model, PLACED)
        for policy in ("optimal", "pim_first"):
            plan = partition(costs, policy)
            assignment = published_optimum(data, PLACED) if policy == "optimal" else None
            cells = [
                printed.PARTS[model][policy],
                _parts(costs, assignment or plan.assignment),
                _plan_parts(plan),
                _plan_parts(board.plans[model, PLACED, policy]),
            ]
            texts = [f"{parts.compute_ms:,.1f} + {parts.transfer_ms:,.1f}" for parts in cells]
            rows.append((f"{TITLES[model]}, {policy}", *texts))
    header = (
        "",
        "published",
        "published costs, authors' placement",
        "published costs, pimloop's placement",
        "platform",
    )
    return f"""## Figure 11: computation and transfer at 16 tokens

Milliseconds, computation + transfer. The second and third column are computed here from the
published costs, a tensor moved once for each destination memory. The platform is simulated and
modelled as above.

{table(header, rows)}
"""


def _parts(costs: CostGraph, assignment: Mapping[str, str]) -> Parts:
    compute = sum(costs.cost_us[name][device] for name, device in assignment.items())
    transfer = sum(
        costs.transfer_us[tensor][move] for tensor, move in moves(costs.graph, assignment)
    )
    return Parts(compute / 1000, transfer / 1000)


def _plan_parts(plan: Plan) -> Parts:
    return Parts(plan.compute_us / 1000, plan.transfer_us / 1000)


def headlines(board: SimulatedBoard) -> str:
    """Return the ranges of how many times faster the optimum is."""
    rows = []
    for policy, theirs in printed.FASTER.items():
        published, computed = [], []
        for model in MODELS:
            for length in LENGTHS:
                totals = load_board(model).measurements[length].totals_us
                published.append(totals[policy] / totals["optimal"])
                costs = published_costs(model, length)
                best = partition(costs).total_us
                computed.append(partition(costs, policy).total_us / best)
        simulated = [
            board.plans[model, length, policy].total_us
            / board.plans[model, length, "optimal"].total_us
            for model in MODELS
            for length in SHOWN
        ]
        cells = [Range(min(values), max(values)) for values in (published, computed, simulated)]
        rows.append((f"{policy} / optimum", theirs, *cells))
    header = (
        "",
        "published headline, 8 to 64",
        "published totals, 8 to 32",
        "published costs, 8 to 32",
        "platform, 8 to 64",
    )
    return f"""## Headlines: how many times faster the optimum is

The headlines are of all lengths up to 64, what ships here ends at 32. The published totals give the
two ranges the other way round: the optimum is up to 3.0 times faster than `pim_first` (BERT at 8
tokens, where two Gemms with transposed weights take 73 ms on the PIM) and up to 2.1 times faster
than `cpu_parallel_first`. So the two seem to be exchanged where they are printed.

{table(header, rows)}
"""


def _ms(us: float) -> str:
    return f"{us / 1000:,.1f}"
