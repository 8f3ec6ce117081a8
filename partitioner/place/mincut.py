"""The optimum for two memories as a minimum s-t cut, with its proof.

The source side of the cut is one memory, the sink side the other. An operator's arcs to source and
sink carry its costs; a tensor's transfer in one direction is one arc behind which all consumers
hang with unbreakable arcs, so it is paid once however many consumers cross (Stone 1977 for the
cut; docs/partitioner.md for once per destination memory). Maximum flow = minimum cut = cost of the
plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pimloop.partitioner.place.maxflow import max_flow
from pimloop.partitioner.problem import MODEL_INPUT, Flow, Problem

SOURCE, SINK = 0, 1


@dataclass
class _Network:
    """Arcs collected one by one, and the cost that every assignment pays."""

    nodes: int = 2
    constant: int = 0
    unbreakable: int = 0  # more than any cut worth having
    arcs: dict[tuple[int, int], int] = field(default_factory=dict)

    def node(self) -> int:
        self.nodes += 1
        return self.nodes - 1

    def arc(self, tail: int, head: int, capacity: int) -> None:
        if tail != head and capacity > 0:
            present = self.arcs.get((tail, head), 0)
            self.arcs[tail, head] = min(present + capacity, self.unbreakable)


@dataclass(frozen=True)
class CutResult:
    """The optimal placement with the numbers that prove it."""

    place: tuple[int, ...]
    cut_value: int  # maximum flow = minimum cut, ticks
    constant: int  # cost that every assignment pays, ticks
    nodes: int
    arcs: int


def solve_two_memories(
    problem: Problem, domains: Sequence[tuple[int, ...]], memories: tuple[int, int]
) -> CutResult:
    """Return the cheapest placement when `domains` hold no memory but the two given.

    Parameters
    ----------
    domains
        From `pimloop.partitioner.place.domains.feasible_domains`.
    memories
        The memory of the source side and that of the sink side.

    Raises
    ------
    PartitionerError
        If the flow fails verification.
    """
    # Costs in units of their common divisor need fewer steps of the flow solver.
    unit = problem.granularity
    network = _Network(unbreakable=problem.total_ticks // unit + 1)
    node_of: list[int] = []
    for v, domain in enumerate(domains):
        costs = problem.ticks[v]
        if len(domain) == 1:
            node_of.append(SOURCE if domain[0] == memories[0] else SINK)
            network.constant += costs[domain[0]] // unit
            continue
        node = network.node()
        node_of.append(node)
        at_source, at_sink = costs[memories[0]] // unit, costs[memories[1]] // unit
        network.constant += min(at_source, at_sink)
        network.arc(SOURCE, node, at_sink - at_source)
        network.arc(node, SINK, at_source - at_sink)
    side_of = {memories[0]: SOURCE, memories[1]: SINK}
    for flow in problem.flows:
        _add_flow(network, problem, flow, node_of, side_of, unit)

    ends = np.array(list(network.arcs), dtype=np.int64).reshape(-1, 2)
    capacity = np.array(list(network.arcs.values()), dtype=np.int64)
    solution = max_flow(network.nodes, SOURCE, SINK, ends[:, 0], ends[:, 1], capacity)
    at_source_side = solution.source_side
    place = tuple(memories[0] if at_source_side[node] else memories[1] for node in node_of)
    return CutResult(
        place=place,
        cut_value=solution.value * unit,
        constant=network.constant * unit,
        nodes=network.nodes,
        arcs=len(network.arcs),
    )


def _add_flow(
    network: _Network,
    problem: Problem,
    flow: Flow,
    node_of: Sequence[int],
    side_of: dict[int, int],
    unit: int,
) -> None:
    """Add the arcs of both transfer directions of one tensor."""
    home = SOURCE if problem.home is None else side_of.get(problem.home, SOURCE)
    producer = home if flow.producer == MODEL_INPUT else node_of[flow.producer]
    readers = {node_of[consumer] for consumer in flow.consumers}
    if flow.output:
        readers.add(home)
    readers.discard(producer)
    memory_of = {side: memory for memory, side in side_of.items()}
    for near, far in ((SOURCE, SINK), (SINK, SOURCE)):
        # The move from side `near` to side `far`, paid when the producer is near, a reader far.
        beyond = readers - {near}
        if producer == far or not beyond:
            continue
        ticks = flow.ticks.get((memory_of[near], memory_of[far]))
        cost = network.unbreakable if ticks is None else ticks // unit
        if far in beyond:
            gate = far
        elif len(beyond) == 1:
            (gate,) = beyond
        else:
            gate = network.node()
            for reader in beyond:
                _directed(network, gate, reader, network.unbreakable, near)
        _directed(network, producer, gate, cost, near)


def _directed(network: _Network, tail: int, head: int, capacity: int, near: int) -> None:
    """Add an arc that is cut when `tail` is on side `near` and `head` on the other."""
    if near == SOURCE:
        network.arc(tail, head, capacity)
    else:
        network.arc(head, tail, capacity)
