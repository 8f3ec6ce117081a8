"""The optimum for two memories as a minimum s-t cut, with its proof.

The source side of the cut is one memory, the sink side the other. The places of an operator are
ordered by how much the sink side computes: whole at the source side, the splits, whole at the sink
side. One node stands between each two neighbours and is on the source side where the place comes
before it; the arcs between these nodes carry the costs of the places (Ishikawa 2003; without
splits Stone 1977).

A tensor has a gate for each memory, which the readers that need it there pull to that side with
unbreakable arcs, so it is paid once however many they are. The producer pays the gate what is
missing there: the less of it the nearer its place, so each node between two places has an arc with
the difference. Maximum flow = minimum cut = cost of the plan. docs/partitioner.md has the proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.maxflow import max_flow
from pimloop.partitioner.problem import MODEL_INPUT, IndexedTensor, Problem

SOURCE, SINK = 0, 1


class UnorderedSplitsError(PartitionerError):
    """Splits that no order makes a cut: a larger share at a memory leaves more to gather there."""


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
class _Chain:
    """The places of an operator in their order, and the nodes around them.

    Node i is on the source side where the place is one of `places[:i]`: the first is the sink, the
    last the source, the others lie between two places.
    """

    places: tuple[int, ...]
    nodes: tuple[int, ...]
    #: Memory -> the node at which the places that need the inputs there begin (at the sink side's
    #: memory) or end (at the source side's).
    reads: dict[int, int]


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
    UnorderedSplitsError
        When the splits of an operator have gather times that contradict their shares.
    PartitionerError
        If the flow fails verification.
    """
    # Costs in units of their common divisor need fewer steps of the flow solver.
    unit = problem.granularity
    network = _Network(unbreakable=problem.total_ticks // unit + 1)
    chains = [
        _add_operator(network, problem, v, domain, memories, unit)
        for v, domain in enumerate(domains)
    ]
    for tensor in problem.tensors:
        _add_tensor(network, problem, tensor, chains, memories, unit)

    ends = np.array(list(network.arcs), dtype=np.int64).reshape(-1, 2)
    kind = np.int64 if problem.fits_64_bits else object
    capacity = np.array(list(network.arcs.values()), dtype=kind)
    solution = max_flow(network.nodes, SOURCE, SINK, ends[:, 0], ends[:, 1], capacity)
    place = tuple(
        chain.places[
            next(i for i, node in enumerate(chain.nodes[1:]) if solution.source_side[node])
        ]
        for chain in chains
    )
    return CutResult(
        place=place,
        cut_value=solution.value * unit,
        constant=network.constant * unit,
        nodes=network.nodes,
        arcs=len(network.arcs),
    )


def _add_operator(
    network: _Network,
    problem: Problem,
    v: int,
    domain: Sequence[int],
    memories: tuple[int, int],
    unit: int,
) -> _Chain:
    """Add the nodes and costs of one operator."""
    places = sorted(domain, key=lambda place: _sink_part(problem, v, place, memories))
    nodes = (SINK, *(network.node() for _ in places[1:]), SOURCE)
    costs = [problem.ticks[v][place] // unit for place in places]
    least = min(costs)
    network.constant += least
    for i, cost in enumerate(costs):
        network.arc(nodes[i + 1], nodes[i], cost - least)
    for i in range(1, len(places) - 1):
        network.arc(nodes[i], nodes[i + 1], network.unbreakable)
    needed = [problem.memories_at(v, place) for place in places]
    reads = {
        memories[0]: nodes[sum(memories[0] in there for there in needed)],
        memories[1]: nodes[len(places) - sum(memories[1] in there for there in needed)],
    }
    return _Chain(tuple(places), nodes, reads)


def _sink_part(problem: Problem, v: int, place: int, memories: tuple[int, int]) -> Fraction:
    """Return the fraction of the operator that the sink side's memory computes."""
    if place < len(problem.memories):
        return Fraction(place == memories[1])
    index_form = problem.splits[v][place - len(problem.memories)]
    second = Fraction(index_form.split.share, index_form.split.shares)
    return second if index_form.memories == memories else 1 - second


def _add_tensor(
    network: _Network,
    problem: Problem,
    tensor: IndexedTensor,
    chains: Sequence[_Chain],
    memories: tuple[int, int],
    unit: int,
) -> None:
    """Add the gates of one tensor and what its producer pays them."""
    if tensor.producer == MODEL_INPUT:
        assert problem.home is not None
        places: tuple[int, ...] = (problem.home,)
        nodes: tuple[int, ...] = (SINK, SOURCE)
    else:
        places, nodes = chains[tensor.producer].places, chains[tensor.producer].nodes
    for far, to_sink in ((memories[1], True), (memories[0], False)):
        # The moves to memory `far`.
        own, never = (SINK, SOURCE) if to_sink else (SOURCE, SINK)
        readers = {chains[consumer].reads[far] for consumer in tensor.consumers}
        if tensor.output and problem.home == far:
            readers.add(own)
        readers.discard(never)
        missing = [_missing(network, tensor, place, far, unit) for place in places]
        if not readers or not any(missing):
            continue
        if own in readers:
            gate = own
        elif len(readers) == 1:
            (gate,) = readers
        else:
            gate = network.node()
            for reader in readers:
                _pull(network, gate, reader, network.unbreakable, to_sink)
        between = nodes[1:]
        if not to_sink:  # seen from memory `far`, the order of the places is the other one
            missing, between = missing[::-1], nodes[-2::-1]
        for node, here, after in zip(between, missing, [*missing[1:], 0], strict=True):
            if here < after:
                raise UnorderedSplitsError(
                    f"{problem.costs.graph.name}: tensor {tensor.id!r}: with more of its columns"
                    f" in memory {problem.memories[far]!r}, gathering the rest there takes longer;"
                    " a minimum cut needs times that fall, use --method dp or ilp"
                )
            _pull(network, node, gate, here - after, to_sink)


def _missing(network: _Network, tensor: IndexedTensor, place: int, memory: int, unit: int) -> int:
    """Return what the tensor costs to have whole in `memory`, its producer being in `place`."""
    if place == memory:
        return 0
    ticks = tensor.ticks.get((place, memory))
    return network.unbreakable if ticks is None else ticks // unit


def _pull(network: _Network, tail: int, head: int, capacity: int, to_sink: bool) -> None:
    """Add an arc that is cut when `head` is on the side asked for and `tail` is not."""
    if to_sink:
        network.arc(tail, head, capacity)
    else:
        network.arc(head, tail, capacity)
