"""Times of the parts of split operators from measured runs: lines through two shares each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

import numpy as np

import pimloop.partitioner.graph as cg
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY, SplitDevice
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import schedule_times
from pimloop.host.planning.part_runs import DEVICES, PartRuns, gathers, pim_columns
from pimloop.partitioner.costs import CostGraph

#: An operator's id, and how many columns the PIM computes of it.
Part = tuple[str, int]

#: A tensor's id, the memory it is gathered in, and the columns that the PIM computed.
GatheredPart = tuple[str, str, int]


@dataclass(frozen=True)
class PartTimes:
    """What runs measured of split operators, microseconds."""

    cpu_us: Mapping[Part, float]  # of the CPU's columns, as a segment: what it costs to enter too
    gather_us: Mapping[GatheredPart, float]
    disturbed: bool  # other work disturbed them: not trusted


@dataclass(frozen=True)
class Fit:
    """How well the time of an operator's columns on the CPU is known."""

    columns: tuple[int, ...]  # of the CPU, measured
    #: What the line through them misses the whole operator by, which was measured apart and has no
    #: part in the line, as a share of its time; None: one share, which is measured itself.
    error: float | None


@dataclass(frozen=True)
class Parts:
    """How the times of splits were found."""

    plan: PartRuns
    fits: Mapping[str, Fit]  # by operator id
    reused: bool  # from earlier runs, by the cost store

    @property
    def errors(self) -> dict[str, float]:
        """The errors of those that have one, as shares, not negative."""
        return {n: abs(f.error) for n, f in self.fits.items() if f.error is not None}

    @property
    def median_error(self) -> float | None:
        """That of all operators; None: no time follows from a line."""
        return median(self.errors.values()) if self.errors else None


def expected_parts(
    operators: cg.Graph,
    offered: Mapping[str, Sequence[int]],
    totals: Mapping[str, int],
    plan: PartRuns,
) -> tuple[set[Part], set[GatheredPart]]:
    """Return what the runs of a plan measure."""
    producer = {tensor.id: tensor.producer for tensor in operators.tensors}
    parts: set[Part] = set()
    gathered: set[GatheredPart] = set()
    for run in plan.runs:
        columns = pim_columns(totals, offered, run)
        parts.update(columns.items())
        for tensor, memory in gathers(operators, offered, run):
            gathered.add((tensor, memory, columns[str(producer[tensor])]))
    return parts, gathered


def measured_parts(results: Iterable[Result]) -> PartTimes:
    """Return what executions took of their split operators; of several times their mean."""
    cpu: dict[Part, list[float]] = {}
    gathered: dict[GatheredPart, list[float]] = {}
    disturbed = False
    for result in results:
        times = schedule_times(result)
        assert times is not None  # profiles are made on devices with a clock
        columns: dict[str, int] = {}  # of the PIM, by tensor
        for node in result.graph.nodes:
            kind = result.platform.devices[result.assignment[node.id]]
            if isinstance(kind, SplitDevice):
                name = node.outputs[0]
                columns[name] = kind.first_columns(result.graph.tensors[name].shape[-1])
                part = times.parts[node.id][kind.parts[0].name]
                cpu.setdefault((node.id, columns[name]), []).append(part)
        for transfer, us in zip(result.execution.transfers, times.transfers, strict=True):
            if transfer.tensor in columns:
                key = transfer.tensor, transfer.destination, columns[transfer.tensor]
                gathered.setdefault(key, []).append(us)
        disturbed |= any(timing.disturbed for timing in result.cpu_times.values())
    return PartTimes(
        {key: mean(us) for key, us in cpu.items()},
        {key: mean(us) for key, us in gathered.items()},
        disturbed,
    )


class MeasuredParts:
    """The times of every share of every operator, from those that were measured.

    Parameters
    ----------
    costs
        Of whole operators and transfers.
    times
        Of parts.
    totals, rows
        Columns and rows of the results, by operator id.
    """

    def __init__(
        self,
        costs: CostGraph,
        times: PartTimes,
        totals: Mapping[str, int],
        rows: Mapping[str, int],
    ) -> None:
        self._costs = costs
        self._totals = totals
        self._rows = rows
        self._entry_us = costs.entry_us.get(DEVICES[0], 0.0)
        self._cpu_us: dict[str, dict[int, float]] = {}  # by operator, and columns of the CPU
        for (name, columns), us in times.cpu_us.items():
            self._cpu_us.setdefault(name, {})[totals[name] - columns] = us
        # By tensor and memory, and columns of the PIM.
        self._gather_us: dict[tuple[str, str], dict[int, float]] = {}
        for (tensor, memory, columns), us in times.gather_us.items():
            self._gather_us.setdefault((tensor, memory), {})[columns] = us

    def cpu_us(self, name: str, columns: int) -> float:
        """Return the time of the columns that the PIM does not compute, without the entry."""
        us = line(self._cpu_us[name], self._totals[name] - columns)
        return max(us - self._entry_us, 0.0)

    def gather_us(self, name: str, tensor: str, columns: int) -> dict[str, float]:
        """Return the time until a result is whole in each memory where it may be read."""
        times = {}
        for memory in (HOST_MEMORY, PIM_MEMORY):
            source = PIM_MEMORY if memory == HOST_MEMORY else HOST_MEMORY
            whole = self._costs.transfer_us[tensor].get((source, memory))
            points = {
                self._missing(name, memory, given): us
                for given, us in self._gather_us.get((tensor, memory), {}).items()
            }
            if whole is None or not points:
                continue
            points[self._rows[name] * self._totals[name]] = whole
            times[memory] = line(points, self._missing(name, memory, columns))
        return times

    def fit(self, name: str) -> Fit:
        """Return how well the line of an operator's columns on the CPU is known."""
        points = self._cpu_us[name]
        measured = tuple(sorted(points))
        if len(points) == 1:
            return Fit(measured, None)
        whole = self._costs.cost_us[name][DEVICES[0]] + self._entry_us
        return Fit(measured, line(points, self._totals[name]) / whole - 1)

    def _missing(self, name: str, memory: str, columns: int) -> int:
        """Return how many elements a memory lacks where the PIM computes so many columns."""
        lacking = columns if memory == HOST_MEMORY else self._totals[name] - columns
        return self._rows[name] * lacking


def line(points: Mapping[int, float], at: int) -> float:
    """Return the value at `at` of the line that is nearest to points, in least squares.

    It does not fall, and is not below 0. One point is a level line.

    >>> line({1: 3.0, 3: 5.0}, 4), line({2: 7.0}, 2), line({1: 5.0, 3: 3.0}, 9)
    (6.0, 7.0, 4.0)
    """
    x, y = np.array(list(points), float), np.array(list(points.values()))
    away = x - x.mean()
    spread = float(away @ away)
    slope = max(float(away @ y) / spread, 0.0) if spread else 0.0
    return max(float(y.mean()) + slope * (at - float(x.mean())), 0.0)
