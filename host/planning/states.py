"""What operators that write or read a state take in each execution of a model.

A product that reads a state reads the rows that are there, so it takes longer from one execution to
the next. Each is simulated by itself, at the addresses that it has in every schedule. A plan holds
for all executions, so it counts their average; each execution must take its own times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.energy.constants import Constants
from pimloop.host.energy.forms import Activity, Energy, average
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Operation
from pimloop.host.operators.append import makes_scores
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.resident import Part
from pimloop.host.planning.costs import PIM, StoredCosts
from pimloop.host.planning.energies import operator_energy, transfer_energy, work
from pimloop.host.planning.energy_costs import PlannedEnergies
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.states import averaged

#: Simulates parts of operators; returns what each costs.
Simulate = Callable[[Collection[Part]], Mapping[Part, OpStats]]


@dataclass(frozen=True)
class StateTimes:
    """Times on the PIM in each execution, microseconds."""

    each_us: Mapping[str, Sequence[float]]  # of operators that write or read a state, by id
    once_us: Mapping[str, float]  # to write what stays in place, a state at its full length
    executions: int
    #: What these operators count in each execution, by id, and what is written once; empty: only
    #: times are asked for.
    counts: Mapping[str, Sequence[Activity]] = field(default_factory=dict)
    once_counts: Mapping[str, Activity] = field(default_factory=dict)

    def average(self, costs: CostGraph) -> CostGraph:
        """Return the costs of an execution on average, what is written once included."""
        each = {(name, PIM): times for name, times in self.each_us.items()}
        once = {(name, PIM): us for name, us in self.once_us.items()}
        return averaged(costs, self.executions, each, once)

    def average_energies(
        self, energies: PlannedEnergies, platform: Platform, known: Constants
    ) -> PlannedEnergies:
        """Return the energies of an execution on average, rounded, what is written once included.

        Parameters
        ----------
        energies
            Of one execution.
        platform, known
            Where, and its constants.
        """
        operators = {name: dict(by_device) for name, by_device in energies.operators.items()}
        for name in self.each_us.keys() | self.once_us.keys():
            spent: list[Energy] = [energies.operators[name][PIM]] * self.executions
            if name in self.each_us:
                spent = [
                    operator_energy(platform, {PIM: us}, counts, known)
                    for us, counts in zip(self.each_us[name], self.counts[name], strict=True)
                ]
            if name in self.once_us:
                copy = self.once_counts[name]
                spent.append(transfer_energy(platform, self.once_us[name], copy, known))
            operators[name][PIM] = average(spent, self.executions)
        return replace(energies, operators=operators)

    def of(self, costs: CostGraph, execution: int) -> CostGraph:
        """Return the costs of one execution, counted from 0; what is written once apart."""
        cost_us = {name: dict(times) for name, times in costs.cost_us.items()}
        for name, times in self.each_us.items():
            cost_us[name][PIM] = times[execution]
        return replace(costs, cost_us=cost_us)


def state_times(
    graph: Graph,
    operations: Mapping[str, Operation],
    platform: Platform,
    filled: Sequence[int],
    simulate: Simulate,
    known: StoredCosts,
    *,
    fresh: bool = False,
    counted: bool = False,
) -> StateTimes:
    """Return the times of the operators that write or read states.

    Parameters
    ----------
    graph, operations, platform
        The model, and how the PIM runs it.
    filled
        Rows that the states have in each execution, with those that it appends.
    simulate
        Finds what is not known.
    known
        The cost store.
    fresh
        Whether everything is simulated again.
    counted
        Whether energies are asked for: what is written once is then simulated too.
    """
    once_us = {
        name: platform.transfer_us(HOST_MEMORY, PIM_MEMORY, result.elements)
        for name, operation in operations.items()
        if name in graph.state_of or makes_scores(graph, operation)
        for result in [graph.tensors[graph.node(name).outputs[0]]]
    }
    names = [name for name in operations if _touches_state(graph, name)]
    parts = [Part(name, filled=rows) for name in names for rows in filled]
    written = [Part(name, copy="hand_over") for name in once_us] if counted else []
    counts = counts_of([*parts, *written], platform, simulate, known, fresh=fresh, counted=counted)
    each = {name: [counts[Part(name, filled=rows)] for rows in filled] for name in names}
    return StateTimes(
        {
            name: [platform.pim_time_us(counts.list_clocks) for counts in several]
            for name, several in each.items()
        },
        once_us,
        len(filled),
        each if counted else {},
        {part.node: counts[part] for part in written},
    )


def counts_of(
    parts: Collection[Part],
    platform: Platform,
    simulate: Simulate,
    known: StoredCosts,
    *,
    fresh: bool,
    counted: bool,
) -> dict[Part, Activity]:
    """Return what parts of operators count: those that the store does not know are simulated.

    Parameters
    ----------
    parts
        Which.
    platform, simulate, known, fresh
        As of `state_times`.
    counted
        Whether more than `list_clocks` is asked for; otherwise the other counts may be 0.
    """
    counts: dict[Part, Activity] = {}
    for part in () if fresh else parts:
        stored = known.find_part(part, clocks_alone=not counted)
        if stored is not None:
            counts[part] = stored
    missing = [part for part in dict.fromkeys(parts) if part not in counts]
    if missing:
        simulated = {part: work(cost, platform) for part, cost in simulate(missing).items()}
        known.add_part_counts(simulated)
        counts |= simulated
    return counts


def _touches_state(graph: Graph, name: str) -> bool:
    node = graph.node(name)
    return name in graph.state_of or any(read in graph.state_named for read in node.inputs)
