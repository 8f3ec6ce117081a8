"""Exact answer to "do K profile runs suffice?" by integer programming (HiGHS).

One variable says that an operator sits on a device in a run, one that a transfer happens in a run.
A solution is a set of runs; infeasibility is a certificate that K runs are too few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pimloop.partitioner.graph import HOME_MEMORY
from pimloop.partitioner.profile.coverage import Coverage, Item
from pimloop.partitioner.programme import Programme, Status


@dataclass(frozen=True)
class ExactAnswer:
    """What the solver found out about K runs."""

    feasible: bool | None  # None: the time limit came first
    runs: list[dict[str, str]] | None  # where feasible


#: Variables of an operator's devices in a memory, by (run, operator, memory).
_Sits = Callable[[int, int, str], list[int]]


def exact_runs(
    coverage: Coverage, wanted: AbstractSet[Item], runs: int, time_limit_s: float
) -> ExactAnswer:
    """Decide whether `runs` runs can cover all `wanted` items.

    Runs obey forbidden transfers and capacities. The answer is None when `time_limit_s` ends the
    search.
    """
    graph = coverage.graph
    model = Programme()
    columns: dict[tuple[int, int, str], int] = {}  # (run, operator, device) -> variable
    for run in range(runs):
        for v, operator in enumerate(graph.operators):
            for device in operator.devices:
                columns[run, v, device] = model.variable(integer=True)
            model.row([(columns[run, v, device], 1.0) for device in operator.devices], 1.0, 1.0)

    def sits(run: int, v: int, memory: str) -> list[int]:
        return [
            columns[run, v, device]
            for device in graph.operators[v].devices
            if graph.memory_of[device] == memory
        ]

    shows: dict[Item, list[int]] = {}
    for run in range(runs):
        for v, items in enumerate(coverage.node_items):
            for device, item in items.items():
                shows.setdefault(item, []).append(columns[run, v, device])
        for t, tensor in enumerate(graph.tensors):
            for (source, destination), item in coverage.transfer_items[t].items():
                happens = model.variable()
                shows.setdefault(item, []).append(happens)
                if tensor.producer is not None:
                    origin = sits(run, graph.index[tensor.producer], source)
                    model.row([(happens, 1.0), *_each(origin, -1.0)], high=0.0)
                if not (tensor.output and destination == HOME_MEMORY):
                    readers = [
                        column
                        for reader in coverage.readers[t][destination]
                        for column in sits(run, reader, destination)
                    ]
                    model.row([(happens, 1.0), *_each(readers, -1.0)], high=0.0)
            _forbid(coverage, t, run, model, sits)
        for memory, limit in coverage.capacity.items():
            _limit(coverage, run, memory, limit, model, sits)
    for item in wanted:
        model.row(_each(shows[item]), low=1.0)

    for run, v, device in _symmetry_breakers(coverage, wanted, runs):
        model.set_to_one(columns[run, v, device])
    result = model.solve(time_limit_s)
    if result.status is Status.INFEASIBLE:
        return ExactAnswer(False, None)
    if result.x is None:
        return ExactAnswer(None, None)
    chosen: list[dict[str, str]] = [{} for _ in range(runs)]
    for (run, v, device), column in columns.items():
        if result.x[column] > 0.5:
            chosen[run][graph.operators[v].id] = device
    if not all(coverage.fits(run) for run in chosen):
        return ExactAnswer(None, None)  # within the solver's tolerance of a capacity, not exactly
    return ExactAnswer(True, chosen)


def _each(variables: Sequence[int], factor: float = 1.0) -> list[tuple[int, float]]:
    return [(variable, factor) for variable in variables]


def _limit(
    coverage: Coverage, run: int, memory: str, limit: int, model: Programme, sits: _Sits
) -> None:
    """Add the rows that keep a run's weights within a capacity."""
    graph, scale = coverage.graph, max(limit, 1)
    terms: list[tuple[int, float]] = []
    readers: dict[str, list[int]] = {}
    for v, operator in enumerate(graph.operators):
        inside = sits(run, v, memory)
        terms += _each(inside, operator.weight_bytes / scale)
        for name in operator.shared_weights:
            readers.setdefault(name, []).extend(inside)
    for name, inside in readers.items():
        there = model.variable()
        terms.append((there, graph.shared_weights[name] / scale))
        for variable in inside:
            model.row([(there, 1.0), (variable, -1.0)], low=0.0)
    if terms:
        model.row(terms, high=limit / scale)


def _forbid(coverage: Coverage, t: int, run: int, model: Programme, sits: _Sits) -> None:
    """Add the rows that keep tensor number `t` from a move that is not allowed."""
    graph = coverage.graph
    tensor = graph.tensors[t]
    for source in coverage.sources[t]:
        origin = [] if tensor.producer is None else sits(run, graph.index[tensor.producer], source)
        room = 0.0 if tensor.producer is None else 1.0
        for destination in graph.memories:
            if source == destination or (source, destination) in tensor.moves:
                continue
            for reader in coverage.readers[t][destination]:
                model.row(_each([*origin, *sits(run, reader, destination)]), high=room)
            if tensor.output and destination == HOME_MEMORY:
                model.row(_each(origin), high=0.0)


def _symmetry_breakers(
    coverage: Coverage, wanted: AbstractSet[Item], runs: int
) -> list[tuple[int, int, str]]:
    """Return placements that cost no generality: runs can be renumbered.

    An operator that is alone in its class must sit on each wanted device in a run of its own.
    """
    members: dict[Item, int] = {}
    for items in coverage.node_items:
        for item in items.values():
            members[item] = members.get(item, 0) + 1
    best: list[tuple[int, int, str]] = []
    for v, items in enumerate(coverage.node_items):
        alone = [device for device, item in items.items() if item in wanted and members[item] == 1]
        if len(best) < len(alone) <= runs:
            best = [(run, v, device) for run, device in enumerate(alone)]
    return best
