"""What operators that write or read a state take in each execution of a model.

A product that reads a state reads the rows that are there, so it takes longer from one execution to
the next. Each is simulated by itself, at the addresses that it has in every schedule. A plan holds
for all executions, so it counts their average; each execution must take its own times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Operation
from pimloop.host.operators.append import makes_scores
from pimloop.host.planning.costs import PIM, StoredCosts
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.states import averaged

#: Simulates operators, by id and rows of the state; returns their DRAM clocks.
Simulate = Callable[[Iterable[tuple[str, int]]], Mapping[tuple[str, int], int]]


@dataclass(frozen=True)
class StateTimes:
    """Times on the PIM in each execution, microseconds."""

    each_us: Mapping[str, Sequence[float]]  # of operators that write or read a state, by id
    once_us: Mapping[str, float]  # to write what stays in place, a state at its full length
    executions: int

    def average(self, costs: CostGraph) -> CostGraph:
        """Return the costs of an execution on average, what is written once included.

        Energies of these operators on the PIM are left out: those of one length are counted alone.
        """
        each = {(name, PIM): times for name, times in self.each_us.items()}
        once = {(name, PIM): us for name, us in self.once_us.items()}
        costs = averaged(costs, self.executions, each, once)
        if costs.energies is None:
            return costs
        operators = {
            name: {d: fj for d, fj in by_device.items() if (name, d) not in each}
            for name, by_device in costs.energies.operators.items()
        }
        return replace(costs, energies=replace(costs.energies, operators=operators))

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
    known: StoredCosts | None,
) -> StateTimes:
    """Return the times of the operators that write or read states.

    Parameters
    ----------
    graph, operations, platform
        The model, and how the PIM runs it.
    filled
        Rows that the states have in each execution, with those that it appends.
    simulate
        Finds the clocks that are not known.
    known
        The cost store; None: everything is simulated.
    """
    names = [name for name in operations if _touches_state(graph, name)]
    clocks: dict[tuple[str, int], int] = {}
    for name in names:
        for rows in filled:
            stored = None if known is None else known.find_state_clocks(name, rows)
            if stored is not None:
                clocks[name, rows] = stored
    missing = [(n, rows) for n in names for rows in filled if (n, rows) not in clocks]
    if missing:
        simulated = simulate(missing)
        if known is not None:
            known.add_state_clocks(simulated)
        clocks |= simulated
    return StateTimes(
        {n: [platform.pim_time_us(clocks[n, rows]) for rows in filled] for n in names},
        {
            name: platform.transfer_us(HOST_MEMORY, PIM_MEMORY, result.elements)
            for name, operation in operations.items()
            if name in graph.state_of or makes_scores(graph, operation)
            for result in [graph.tensors[graph.node(name).outputs[0]]]
        },
        len(filled),
    )


def _touches_state(graph: Graph, name: str) -> bool:
    node = graph.node(name)
    return name in graph.state_of or any(read in graph.state_named for read in node.inputs)
