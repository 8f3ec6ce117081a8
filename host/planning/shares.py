"""What splitting an operator between the CPU and the PIM costs, for each share of its columns.

A share of the PIM is simulated by itself, at the addresses that the operator has in every schedule.
Where the platform models the rest, no model run is needed: the CPU's part is an operator of fewer
columns, whose time the model has; what is gathered is a transfer of fewer elements, at the
platform's price. So a plan's times are those of its execution. Where CPU or conversions are
measured on this machine, both follow from a few runs (`pimloop.host.planning.part_times`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.execution.times import cpu_part_us
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Operation
from pimloop.host.operators.integer_product import IntegerProduct
from pimloop.host.pim.fit import PimFit
from pimloop.host.planning.part_runs import DEVICES
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.splits import Split

#: Steps in which columns are shared where nothing else is asked for.
SHARES = 16

#: What the estimate of a share's time on the PIM may be off by: three times what it was at most on
#: the 121 shares of BERT at 16 tokens on htg-z920.
_MARGIN = 0.01


def why_no_splits(fit: PimFit, shares: int) -> str:
    """Return why no operator of a model can be split on a platform, "" where some can."""
    if shares == 1:
        return "one share (--shares 1) leaves every operator whole"
    if not fit.static:
        return "the weights of all operators do not fit into device memory together"
    if not fit.first_columns:
        integers = any(isinstance(known, IntegerProduct) for known in fit.operations.values())
        besides = ", and products by weights of 8 and 4 bits stay whole" if integers else ""
        return f"no product by constant weights is wider than a column tile of the PIM{besides}"
    return ""


def offered_columns(fit: PimFit, graph: Graph, shares: int) -> dict[str, tuple[int, ...]]:
    """Return how many columns of each operator the PIM may be given, beside none and all.

    Parameters
    ----------
    fit, graph
        The model on a platform.
    shares
        Steps of the columns: of what the PIM can compute alone, that which is nearest to each.
    """
    offered = {}
    for name, possible in fit.first_columns.items():
        total = graph.tensors[graph.node(name).outputs[0]].shape[-1]
        wanted = [Fraction(total * step, shares) for step in range(1, shares)]
        nearest = {min(possible, key=lambda n: (abs(n - target), n)) for target in wanted}
        if nearest:
            offered[name] = tuple(sorted(nearest))
    return offered


@dataclass(frozen=True)
class Offer:
    """Which shares of a model are simulated, and within what the times of the others are."""

    simulated: Mapping[str, tuple[int, ...]]  # columns of the PIM, by node id
    others: Mapping[str, tuple[ShareBounds, ...]]  # by node id


@dataclass(frozen=True)
class ShareBounds:
    """A share that is not simulated, with the least and the most that the PIM may take for it."""

    least: Split
    most: Split


def with_others(
    costs: CostGraph, others: Mapping[str, Sequence[ShareBounds]], *, least: bool
) -> CostGraph:
    """Return costs that also offer the shares that were not simulated, at either of their bounds.

    No optimum by the least is above the one that simulating them all would give, none by the most
    below it, so far as the bounds hold.
    """
    offered = {}
    for name, splits in costs.splits.items():
        more = [bounds.least if least else bounds.most for bounds in others.get(name, ())]
        offered[name] = tuple(sorted((*splits, *more), key=lambda s: Fraction(s.share, s.shares)))
    return replace(costs, splits=offered)


def worth_simulating(
    offered: Mapping[str, Sequence[int]],
    fit: PimFit,
    graph: Graph,
    platform: Platform,
    costs: CostGraph,
    parts: PartCosts,
) -> Offer:
    """Return the shares that a plan may use, and beside each the next smaller and larger one.

    The time of a share on the PIM is estimated: that of the whole product, by column tiles. One is
    left out when another is quicker whatever memories the result is gathered in, beyond the
    estimate's error. So the many shares of a wide product need not be simulated.

    Parameters
    ----------
    offered
        Columns that the PIM may be given, by node id, in ascending order.
    fit, graph, platform
        The model on its platform.
    costs
        Of whole operators.
    parts
        What the rest of a split takes.
    """
    simulated, others = {}, {}
    for name, columns in offered.items():
        tensor = graph.node(name).outputs[0]
        total = graph.tensors[tensor].shape[-1]
        tile = fit.first_columns[name].step
        padded = -(-total // tile) * tile
        call_us = platform.driver.call_overhead_us
        column_us = (costs.cost_us[name][DEVICES[1]] - call_us) / padded
        bounds, estimates = [], []
        for count in columns:
            cpu_us, pim_us = parts.cpu_us(name, count), call_us + column_us * count
            gather_us = parts.gather_us(name, tensor, count)
            least, most = (
                _split(count, total, (cpu_us, pim_us * (1 + sign * _MARGIN)), tensor, gather_us)
                for sign in (-1, 1)
            )
            bounds.append(ShareBounds(least, most))
            estimates.append(_Estimate(max(least.part_us), max(most.part_us), gather_us))
        kept = _undominated(estimates)
        simulated[name] = tuple(columns[i] for i in kept)
        others[name] = tuple(bounds[i] for i in range(len(columns)) if i not in kept)
    return Offer(simulated, {name: left for name, left in others.items() if left})


def _split(
    columns: int,
    total: int,
    part_us: tuple[float, float],
    tensor: str,
    gather_us: Mapping[str, float],
) -> Split:
    """Return the split that gives the PIM so many of all columns."""
    share = Fraction(columns, total)
    return Split(DEVICES, share.numerator, share.denominator, part_us, {tensor: gather_us})


@dataclass(frozen=True)
class _Estimate:
    """Between what times a share of an operator is, and what is gathered then, microseconds."""

    least_us: float
    most_us: float
    gather_us: Mapping[str, float]  # by memory

    def dominates(self, other: _Estimate) -> bool:
        """Whether this share is quicker than another one, whatever memories need the result."""
        more = sum(max(us - other.gather_us[m], 0.0) for m, us in self.gather_us.items())
        return self.most_us + more < other.least_us


def _undominated(estimates: Sequence[_Estimate]) -> list[int]:
    """Return which shares may be the quickest, and their neighbours, by position."""
    kept = [i for i, e in enumerate(estimates) if not any(o.dominates(e) for o in estimates)]
    beside = {j for i in kept for j in (i - 1, i, i + 1) if 0 <= j < len(estimates)}
    return sorted(beside)


class PartCosts(Protocol):
    """What the parts of split operators take, microseconds."""

    def cpu_us(self, name: str, columns: int) -> float:
        """Return the time of the columns that the PIM does not compute, without the entry."""

    def gather_us(self, name: str, tensor: str, columns: int) -> dict[str, float]:
        """Return the time until a result is whole in each memory where it may be read."""


class ModelledParts:
    """The parts of operators on a platform that models its CPU and its transfers.

    Parameters
    ----------
    graph, operations
        The model, and how the PIM runs it.
    platform
        Whose times.
    """

    def __init__(
        self, graph: Graph, operations: Mapping[str, Operation], platform: Platform
    ) -> None:
        self._graph = graph
        self._operations = operations
        self._platform = platform

    def cpu_us(self, name: str, columns: int) -> float:
        """Return the time of the columns that the PIM does not compute, without the entry."""
        model, node = self._platform.cpu_model(), self._graph.node(name)
        assert model is not None  # such platforms have one
        return cpu_part_us(model, self._graph, node, self._operations[name], columns, DEVICES[0])

    def gather_us(self, name: str, tensor: str, columns: int) -> dict[str, float]:
        """Return the time until a result is whole in each memory where it may be read."""
        info = self._graph.tensors[tensor]
        rows = info.elements // info.shape[-1]
        price = self._platform.transfer_us
        return {
            HOST_MEMORY: price(PIM_MEMORY, HOST_MEMORY, rows * columns),
            PIM_MEMORY: price(HOST_MEMORY, PIM_MEMORY, rows * (info.shape[-1] - columns)),
        }


def splits(
    graph: Graph,
    platform: Platform,
    clocks: Mapping[tuple[str, int], int],
    parts: PartCosts,
) -> dict[str, Sequence[Split]]:
    """Return the splits of every operator whose parts were simulated, by node id.

    Parameters
    ----------
    graph, platform
        The model, and whose times.
    clocks
        DRAM clocks by node id and columns that the PIM computes.
    parts
        What the rest takes.
    """
    offered: dict[str, list[Split]] = {}
    for (name, columns), cycles in sorted(clocks.items()):
        tensor = graph.node(name).outputs[0]
        total = graph.tensors[tensor].shape[-1]
        part_us = parts.cpu_us(name, columns), platform.pim_time_us(cycles)
        split = _split(columns, total, part_us, tensor, parts.gather_us(name, tensor, columns))
        offered.setdefault(name, []).append(split)
    return {name: tuple(proposals) for name, proposals in offered.items()}
