"""Exact answer to "do K profile runs suffice?" by integer programming (HiGHS).

One variable says that an operator sits on a device in a run, one that a transfer happens in a run.
A solution is a set of runs; infeasibility is a certificate that K runs are too few.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from pimloop.partitioner.graph import HOME_MEMORY
from pimloop.partitioner.profile.coverage import Coverage, Item


@dataclass(frozen=True)
class ExactAnswer:
    """What the solver found out about K runs."""

    feasible: bool | None  # None: the time limit came first
    runs: list[dict[str, str]] | None  # where feasible


#: Columns of an operator's devices in a memory, by (run, operator, memory).
_Sits = Callable[[int, int, str], list[int]]


class _Rows:
    """Sparse rows `low <= sum(value * column) <= high`."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, float]] = []
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, columns: list[int], values: list[float], low: float, high: float) -> None:
        row = len(self.low)
        self.entries += [(row, c, value) for c, value in zip(columns, values, strict=True)]
        self.low.append(low)
        self.high.append(high)


def exact_runs(
    coverage: Coverage, wanted: AbstractSet[Item], runs: int, time_limit_s: float
) -> ExactAnswer:
    """Decide whether `runs` runs can cover all `wanted` items.

    Runs obey forbidden transfers and capacities. The answer is None when `time_limit_s` ends the
    search.
    """
    graph = coverage.graph
    columns: dict[tuple[int, int, str], int] = {}  # (run, operator, device) -> column
    rows = _Rows()
    for run in range(runs):
        for v, operator in enumerate(graph.operators):
            for device in operator.devices:
                columns[run, v, device] = len(columns)
            mine = [columns[run, v, device] for device in operator.devices]
            rows.add(mine, [1.0] * len(mine), 1.0, 1.0)
    width = len(columns)

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
                happens = width
                width += 1
                shows.setdefault(item, []).append(happens)
                if tensor.producer is not None:
                    origin = sits(run, graph.index[tensor.producer], source)
                    rows.add([happens, *origin], [1.0] + [-1.0] * len(origin), -np.inf, 0.0)
                if not (tensor.output and destination == HOME_MEMORY):
                    readers = [
                        column
                        for reader in coverage.readers[t][destination]
                        for column in sits(run, reader, destination)
                    ]
                    rows.add([happens, *readers], [1.0] + [-1.0] * len(readers), -np.inf, 0.0)
            _forbid(coverage, t, run, rows, sits)
        for memory, limit in coverage.capacity.items():
            width = _limit(coverage, run, memory, limit, rows, sits, width)
    for item in wanted:
        rows.add(shows[item], [1.0] * len(shows[item]), 1.0, np.inf)

    low, high = np.zeros(width), np.ones(width)
    for run, v, device in _symmetry_breakers(coverage, wanted, runs):
        low[columns[run, v, device]] = 1.0
    rows_index, columns_index, values = zip(*rows.entries, strict=True)
    matrix = csr_matrix((values, (rows_index, columns_index)), shape=(len(rows.low), width))
    integrality = np.zeros(width)
    integrality[: len(columns)] = 1
    result = milp(
        c=np.zeros(width),
        constraints=LinearConstraint(matrix, np.array(rows.low), np.array(rows.high)),
        integrality=integrality,
        bounds=Bounds(low, high),
        options={"time_limit": time_limit_s},
    )
    if result.status == 2:
        return ExactAnswer(False, None)
    if result.x is None:
        return ExactAnswer(None, None)
    found: list[dict[str, str]] = [{} for _ in range(runs)]
    for (run, v, device), column in columns.items():
        if result.x[column] > 0.5:
            found[run][graph.operators[v].id] = device
    if not all(coverage.fits(run) for run in found):
        return ExactAnswer(None, None)  # within the solver's tolerance of a capacity, not exactly
    return ExactAnswer(True, found)


def _limit(
    coverage: Coverage, run: int, memory: str, limit: int, rows: _Rows, sits: _Sits, width: int
) -> int:
    """Add the rows that keep a run's weights within a capacity; return the number of columns."""
    graph, scale = coverage.graph, max(limit, 1)
    columns: list[int] = []
    values: list[float] = []
    readers: dict[str, list[int]] = {}
    for v, operator in enumerate(graph.operators):
        inside = sits(run, v, memory)
        columns += inside
        values += [operator.weight_bytes / scale] * len(inside)
        for name in operator.shared_weights:
            readers.setdefault(name, []).extend(inside)
    for name, inside in readers.items():
        columns.append(width)
        values.append(graph.shared_weights[name] / scale)
        for column in inside:
            rows.add([width, column], [1.0, -1.0], 0.0, np.inf)
        width += 1
    if columns:
        rows.add(columns, values, -np.inf, limit / scale)
    return width


def _forbid(coverage: Coverage, t: int, run: int, rows: _Rows, sits: _Sits) -> None:
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
                both = [*origin, *sits(run, reader, destination)]
                rows.add(both, [1.0] * len(both), -np.inf, room)
            if tensor.output and destination == HOME_MEMORY:
                rows.add(origin, [1.0] * len(origin), -np.inf, 0.0)


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
