"""Spreads the PIM's work over the profile runs, so that simulators work side by side.

The planner's runs measure everything, but one of them may hold nearly all matrix products. The
operators that can run in both memories fall into groups with no tensor between two groups.
Exchanging the roles of the runs within one group keeps every pair of places that a tensor of the
group meets, so the runs go on measuring the same things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations

from pimloop.partitioner.graph import Graph
from pimloop.partitioner.place.capacity import overfull
from pimloop.partitioner.profile.coverage import Coverage

Runs = tuple[dict[str, str], ...]

#: More runs have too many orders to try; no model met so far needs more than 3.
_MOST_RUNS = 5


def balance_runs(
    graph: Graph,
    runs: Sequence[Mapping[str, str]],
    work: Mapping[str, int],
    capacity: Mapping[str, int] | None = None,
) -> Runs:
    """Return runs that measure the same and whose PIM work is spread.

    Parameters
    ----------
    graph
        The graph that `runs` were planned for.
    runs
        Full assignments, operator id -> device.
    work
        What simulating each PIM-capable operator takes, in any unit.
    capacity
        Memory -> bytes that the weights of a run may take there.

    Returns
    -------
    tuple
        The runs; those given where exchanging roles would lose a measurement or fill a memory
        beyond its capacity.
    """
    given: Runs = tuple(dict(run) for run in runs)
    if not 1 < len(runs) <= _MOST_RUNS:
        return given
    result: Runs = tuple(dict(run) for run in runs)
    load = [0] * len(runs)
    groups = sorted(_groups(graph, work), key=lambda group: -sum(work[name] for name in group))
    for group in groups:
        shares = [sum(work[name] for name in group if run[name] == "pim") for run in runs]

        def cost(order: tuple[int, ...], shares: Sequence[int] = shares) -> tuple[int, int]:
            total = [load[place] + shares[source] for place, source in enumerate(order)]
            return _makespan(total), sum(value * value for value in total)

        order = min(permutations(range(len(runs))), key=cost)
        for place, source in enumerate(order):
            load[place] += shares[source]
            for name in group:
                result[place][name] = runs[source][name]
    single = Coverage(graph, group_operators=False, group_transfers=False)
    measured = [set().union(*(single.covered(run) for run in some)) for some in (given, result)]
    fits = not any(overfull(graph, capacity or {}, run) for run in result)
    return result if fits and measured[0] <= measured[1] else given


def _groups(graph: Graph, work: Mapping[str, int]) -> list[list[str]]:
    """Return the operators of `work` in groups that share no tensor with each other."""
    parent = {name: name for name in work}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for tensor in graph.tensors:
        if tensor.producer in parent:
            for consumer in tensor.consumers:
                if consumer in parent:
                    parent[root(consumer)] = root(str(tensor.producer))
    groups: dict[str, list[str]] = {}
    for name in parent:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())


def _makespan(load: Sequence[int]) -> int:
    """Return the time until two workers have done all of `load`, shared at best.

    Two, whatever the machine has: the runs must not depend on where they are planned.
    """
    total = sum(load)
    parts = (sum(part) for size in range(len(load) + 1) for part in combinations(load, size))
    return min(max(part, total - part) for part in parts)
