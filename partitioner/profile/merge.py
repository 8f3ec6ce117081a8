"""Collect what profile runs measured into a cost graph, and refuse gaps by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph, Move
from pimloop.partitioner.place.feasibility import split_coverable
from pimloop.partitioner.profile.coverage import Coverage, Item
from pimloop.partitioner.quantity import quantity

#: How repetitions of one measurement become one cost.
STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {"min": min, "median": median}

#: Missing costs that an error message lists before it only counts them.
LISTED = 8


@dataclass(frozen=True)
class ProfileRun:
    """The times of one execution of the model, or of several under one assignment."""

    assignment: Mapping[str, str]  # operator id -> device it ran on
    node_us: Mapping[str, Sequence[float]]  # operator id -> times, microseconds
    # (tensor id, source memory, destination memory) -> times, microseconds
    transfer_us: Mapping[tuple[str, str, str], Sequence[float]] = field(default_factory=dict)


def merge_runs(
    graph: Graph,
    runs: Sequence[ProfileRun],
    statistic: str = "min",
    group: str = "none",
    capacity_bytes: Mapping[str, int] | None = None,
) -> CostGraph:
    """Return the cost graph that `runs` measured.

    Parameters
    ----------
    statistic
        "min" or "median" of all repetitions of one measurement.
    group
        "none", or "signature": an operator or transfer without a measurement of its own takes
        those of its class, as in the profile plan with that grouping; such costs are named in
        `CostGraph.stand_ins`.
    capacity_bytes
        Passed on to the cost graph.

    Returns
    -------
    CostGraph
        With every cost measured. Devices and transfers that no assignment can use (the profile
        plan's `uncoverable`) are left out of it.

    Raises
    ------
    PartitionerError
        When a needed cost was not measured (all are counted, the first ones named), or a
        measurement is not a time or belongs to nothing in the graph.
    """
    reduce = _statistic(statistic)
    single = Coverage(graph, group_operators=False, group_transfers=False)
    alike = group == "signature"
    classes = Coverage(graph, group_operators=alike, group_transfers=alike)
    needed = split_coverable(single).items
    own, shared = _collect(graph, runs, single, classes)
    missing: list[str] = []
    stand_ins: set[tuple[str, str]] = set()

    def cost(item: Item, class_item: Item, identity: tuple[str, str], name: str) -> float:
        samples = own.get(item)
        if not samples:
            stand_ins.add(identity)
            samples = shared.get(class_item)
        if not samples:
            missing.append(name)
            return math.nan
        return float(reduce(samples))

    cost_us: dict[str, dict[str, float]] = {}
    for v, operator in enumerate(graph.operators):
        cost_us[operator.id] = {
            device: cost(
                item,
                classes.node_items[v][device],
                (operator.id, device),
                f"{operator.id!r} on {device!r}",
            )
            for device, item in single.node_items[v].items()
            if item in needed
        }
    transfer_us: dict[str, dict[Move, float]] = {}
    for t, tensor in enumerate(graph.tensors):
        transfer_us[tensor.id] = {
            move: cost(
                item,
                classes.transfer_items[t][move],
                (tensor.id, f"{move[0]}>{move[1]}"),
                f"tensor {tensor.id!r} {move[0]}>{move[1]}",
            )
            for move, item in single.transfer_items[t].items()
            if item in needed
        }
    _refuse_missing(graph, missing)
    measured = _restrict(graph, cost_us, transfer_us)
    costs = CostGraph(measured, cost_us, transfer_us, stand_ins=frozenset(stand_ins))
    return costs.with_capacity(capacity_bytes or {})


def _statistic(name: str) -> Callable[[Sequence[float]], float]:
    if name not in STATISTICS:
        raise PartitionerError(f"unknown statistic {name!r}; choose {list(STATISTICS)}")
    return STATISTICS[name]


def _refuse_missing(graph: Graph, missing: Sequence[str]) -> None:
    """Raise PartitionerError with costs that were not measured."""
    if missing:
        listed = "; ".join(missing[:LISTED]) + ("; ..." if len(missing) > LISTED else "")
        raise PartitionerError(
            f"{graph.name}: {quantity(len(missing), 'cost was', 'costs were')} not measured:"
            f" {listed}; run the missing assignments of the profile plan"
        )


def _collect(
    graph: Graph, runs: Sequence[ProfileRun], single: Coverage, classes: Coverage
) -> tuple[dict[Item, list[float]], dict[Item, list[float]]]:
    """Return the samples of each item, and of each class of items."""
    own: dict[Item, list[float]] = {}
    shared: dict[Item, list[float]] = {}
    tensor_index = {tensor.id: t for t, tensor in enumerate(graph.tensors)}
    for number, run in enumerate(runs):
        where = f"{graph.name}: profile run {number}"
        for name, times in run.node_us.items():
            v, device = graph.index.get(name), run.assignment.get(name)
            if v is None or device not in single.node_items[v]:
                raise PartitionerError(
                    f"{where}: a time of node {name!r} on {device!r}, which the graph does not have"
                )
            _store(own, single.node_items[v][device], times, f"{where}: node {name!r}")
            _store(shared, classes.node_items[v][device], times, f"{where}: node {name!r}")
        for (name, source, destination), times in run.transfer_us.items():
            t, move = tensor_index.get(name), (source, destination)
            label = f"{where}: tensor {name!r} {source}>{destination}"
            if t is None or move not in single.transfer_items[t]:
                raise PartitionerError(f"{label}: the graph has no such transfer")
            _store(own, single.transfer_items[t][move], times, label)
            _store(shared, classes.transfer_items[t][move], times, label)
    return own, shared


def _store(
    samples: dict[Item, list[float]], item: Item, times: Sequence[float], label: str
) -> None:
    for time in times:
        if not math.isfinite(time) or time < 0:
            raise PartitionerError(f"{label}: the measured time is {time} us; measure it again")
    samples.setdefault(item, []).extend(times)


def _restrict(
    graph: Graph,
    cost_us: Mapping[str, Mapping[str, float]],
    transfer_us: Mapping[str, Mapping[Move, float]],
) -> Graph:
    """Return `graph` with the devices and moves that have a cost."""
    return replace(
        graph,
        operators=tuple(
            replace(operator, devices=tuple(cost_us[operator.id])) for operator in graph.operators
        ),
        tensors=tuple(
            replace(tensor, moves=frozenset(transfer_us[tensor.id])) for tensor in graph.tensors
        ),
    )
