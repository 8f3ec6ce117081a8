"""Costs of a graph that is executed several times with tensors that stay where they are.

A state (the cache of a decoder) is the result of the operator that appends to it. Its memory is
that operator's: chosen once, for all executions. What is appended moves there; whoever reads the
state elsewhere has it moved whole, in every execution. Its room is weights of its own or shared
ones, of the operators that write or read it.

So a state needs nothing of a solver. Only costs differ from one execution to the next, as the state
grows, and what it has at first is written once. The cheapest assignment for all executions together
is the cheapest one by costs that are averages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError

#: An operator by its id, on a device.
Place = tuple[str, str]


def averaged(
    costs: CostGraph,
    executions: int,
    each_us: Mapping[Place, Sequence[float]],
    once_us: Mapping[Place, float],
) -> CostGraph:
    """Return the costs of an execution on average.

    Parameters
    ----------
    costs
        Of one execution.
    executions
        How many there are.
    each_us
        Times of operators that take others, in each execution, microseconds.
    once_us
        What operators take on a device before the first execution, microseconds.

    Raises
    ------
    PartitionerError
        When an operator cannot run there, or has not as many times as there are executions.

    Examples
    --------
    >>> from pimloop.partitioner.graph import Graph, Operator
    >>> graph = Graph({"cpu": ("cpu",)}, (Operator("a", "Append", ("cpu",)),), ())
    >>> costs = CostGraph(graph, {"a": {"cpu": 5.0}}, {})
    >>> averaged(costs, 2, {("a", "cpu"): [1.0, 2.0]}, {("a", "cpu"): 4.0}).cost_us
    {'a': {'cpu': 3.5}}
    """
    cost_us = {name: dict(times) for name, times in costs.cost_us.items()}
    for name, device in {**each_us, **once_us}:
        if device not in cost_us.get(name, {}):
            raise PartitionerError(
                f"{costs.graph.name}: times of node {name!r} on {device!r}, which cannot run it;"
                " give those of its devices"
            )
        times = each_us.get((name, device), [cost_us[name][device]] * executions)
        if len(times) != executions:
            raise PartitionerError(
                f"{costs.graph.name}: node {name!r} on {device!r} has {len(times)} times for"
                f" {executions} executions; give one each"
            )
        total = sum(map(Fraction, times)) + Fraction(once_us.get((name, device), 0.0))
        cost_us[name][device] = float(total / executions)
    return replace(costs, cost_us=cost_us)
