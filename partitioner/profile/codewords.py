"""A fixed number of profile runs built at once, by colouring the graph with words.

The word of an operator is the memory it sits in during run 1, 2, ... K. It must give every capable
device a run. A transfer between two operators that both have a choice is measured in both
directions when their words show, run by run, both pairs of memories: with two memories, when
neither of the two sets of PIM runs contains the other. Choosing words is thus a colouring problem
in which an edge asks for words that go together; K = 3 runs and two memories offer the three
one-run sets as colours (Sperner), enough for every graph with at most two such inputs an operator.
Operators are served most-constrained first (DSATUR, Brelaz 1979), which is exact on bipartite
graphs such as BERT, RoBERTa and GPT-2.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from pimloop.partitioner.graph import HOME_MEMORY, Move
from pimloop.partitioner.profile.coverage import Coverage, Item

#: All words are considered up to this many; beyond, a sample that holds two that go together.
WORD_LIMIT = 2048

#: Attempts with different choices before giving up.
ATTEMPTS = 8

Word = tuple[str, ...]


@dataclass
class _Edge:
    """What two operators' words must show and must not show, as (producer, consumer) memories."""

    required: set[Move] = field(default_factory=set)
    forbidden: set[Move] = field(default_factory=set)


def runs_by_words(
    coverage: Coverage, wanted: AbstractSet[Item], runs: int
) -> list[dict[str, str]] | None:
    """Return exactly `runs` runs that cover all `wanted` items, or None if none are found.

    `coverage` must be ungrouped. None says nothing about whether such runs exist.
    """
    devices = [
        [device for device, item in items.items() if item in wanted]
        for items in coverage.node_items
    ]
    if any(len(names) > runs for names in devices):
        return None
    words = _words(tuple(coverage.graph.memories), runs)
    candidates = [_fitting(coverage, names, words) for names in devices]
    edges = _edges(coverage, wanted, devices)
    _apply_ends(coverage, words, candidates)
    for attempt in range(ATTEMPTS):
        chosen = _colour(candidates, edges, words, attempt)
        if chosen is not None:
            result = _to_runs(coverage, devices, [words[i] for i in chosen], runs)
            shown = set().union(*(coverage.covered(run) for run in result))
            if wanted <= shown and not any(coverage.forbidden(run) for run in result):
                return result
    return None


def _words(memories: tuple[str, ...], runs: int) -> list[Word]:
    if len(memories) ** runs <= WORD_LIMIT:
        words = list(itertools.product(memories, repeat=runs))
    else:
        rng = random.Random(runs)
        words = [tuple(rng.choice(memories) for _ in range(runs)) for _ in range(WORD_LIMIT)]
        # The sources and the destinations of all moves, one move a run, go together.
        moves = list(itertools.permutations(memories, 2))
        if len(moves) <= runs:
            rest = (memories[0],) * (runs - len(moves))
            words += [tuple(move[end] for move in moves) + rest for end in (0, 1)]
    # Few runs away from the first memory come first: the plain colours, which leave its devices
    # the most runs.
    words.sort(key=lambda word: sum(memory != memories[0] for memory in word))
    return words


def _fitting(coverage: Coverage, devices: Sequence[str], words: Sequence[Word]) -> int:
    """Return the bit set of words that give each of an operator's wanted `devices` a run."""
    needed: dict[str, int] = {}
    for device in devices:
        memory = coverage.graph.memory_of[device]
        needed[memory] = needed.get(memory, 0) + 1
    result = 0
    for i, word in enumerate(words):
        if all(memory in needed for memory in word) and all(
            word.count(memory) >= number for memory, number in needed.items()
        ):
            result |= 1 << i
    return result


def _apply_ends(coverage: Coverage, words: Sequence[Word], candidates: list[int]) -> None:
    """Strike words that a forbidden move of a model input or output rules out."""
    graph = coverage.graph
    for tensor in graph.tensors:
        if tensor.producer is None:
            barred = {m for m in graph.memories if (HOME_MEMORY, m) not in tensor.moves}
            touched = [graph.index[consumer] for consumer in tensor.consumers]
        elif tensor.output:
            barred = {m for m in graph.memories if (m, HOME_MEMORY) not in tensor.moves}
            touched = [graph.index[tensor.producer]]
        else:
            continue
        barred.discard(HOME_MEMORY)
        if barred:
            struck = sum(1 << i for i, word in enumerate(words) if barred.intersection(word))
            for v in touched:
                candidates[v] &= ~struck


def _edges(
    coverage: Coverage, wanted: AbstractSet[Item], devices: Sequence[Sequence[str]]
) -> dict[tuple[int, int], _Edge]:
    """Return the constraints between producers and consumers.

    Of several consumers that could show a move, the one with the fewest constraints has to; moves
    that any choice of words shows (an end that never changes memory) ask for nothing.
    """
    graph = coverage.graph
    memories = [{graph.memory_of[device] for device in names} for names in devices]
    edges: dict[tuple[int, int], _Edge] = {}
    load = [0] * len(graph.operators)
    for t, tensor in enumerate(graph.tensors):
        if tensor.producer is None:
            continue
        producer = graph.index[tensor.producer]
        for consumer in (graph.index[name] for name in tensor.consumers):
            for move in itertools.product(memories[producer], memories[consumer]):
                if move[0] != move[1] and move not in tensor.moves:
                    edges.setdefault((producer, consumer), _Edge()).forbidden.add(move)
        if len(memories[producer]) == 1:
            continue
        for (source, destination), item in coverage.transfer_items[t].items():
            readers = [r for r in coverage.readers[t][destination] if destination in memories[r]]
            shown = (tensor.output and destination == HOME_MEMORY) or any(
                len(memories[reader]) == 1 for reader in readers
            )
            if item not in wanted or shown or source not in memories[producer] or not readers:
                continue
            reader = min(readers, key=lambda r: ((producer, r) not in edges, load[r]))
            if (producer, reader) not in edges:
                load[reader] += 1
            edges.setdefault((producer, reader), _Edge()).required.add((source, destination))
    return edges


def _colour(
    candidates: Sequence[int],
    edges: dict[tuple[int, int], _Edge],
    words: Sequence[Word],
    attempt: int,
) -> list[int] | None:
    """Choose a word for each operator, most-constrained first; None when one has none left."""
    rng = random.Random(attempt)
    left = list(candidates)
    neighbours: list[list[tuple[int, bool, _Edge]]] = [[] for _ in left]
    for (producer, consumer), edge in edges.items():
        neighbours[producer].append((consumer, True, edge))
        neighbours[consumer].append((producer, False, edge))
    compatible: dict[tuple[int, bool, frozenset[Move], frozenset[Move]], int] = {}
    chosen = [-1] * len(left)
    heap = [(bits.bit_count(), -len(neighbours[v]), v) for v, bits in enumerate(left)]
    heapq.heapify(heap)
    while heap:
        count, _, v = heapq.heappop(heap)
        if chosen[v] >= 0 or count != left[v].bit_count():
            continue
        if count == 0:
            return None
        # The first attempt takes the plainest word, as first-fit colouring does.
        pick = rng.choice(_bits(left[v])) if attempt else _lowest(left[v])
        chosen[v] = pick
        for other, forward, edge in neighbours[v]:
            if chosen[other] >= 0:
                continue
            key = (pick, forward, frozenset(edge.required), frozenset(edge.forbidden))
            if key not in compatible:
                compatible[key] = _compatible(words, pick, forward, edge)
            left[other] &= compatible[key]
            heapq.heappush(heap, (left[other].bit_count(), -len(neighbours[other]), other))
    return chosen


def _compatible(words: Sequence[Word], pick: int, forward: bool, edge: _Edge) -> int:
    """Return the words for the other end of `edge` when one end has word `pick`."""
    mine = words[pick]
    result = 0
    for i, other in enumerate(words):
        pairs = set(zip(mine, other, strict=True) if forward else zip(other, mine, strict=True))
        if edge.required <= pairs and not edge.forbidden & pairs:
            result |= 1 << i
    return result


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _bits(bits: int) -> list[int]:
    result = []
    while bits:
        result.append(_lowest(bits))
        bits &= bits - 1
    return result


def _to_runs(
    coverage: Coverage, devices: Sequence[Sequence[str]], words: Sequence[Word], runs: int
) -> list[dict[str, str]]:
    """Turn words into assignments: within a memory, its devices take turns."""
    graph = coverage.graph
    result: list[dict[str, str]] = [{} for _ in range(runs)]
    for v, operator in enumerate(graph.operators):
        for memory in set(words[v]):
            local = [device for device in devices[v] if graph.memory_of[device] == memory]
            turns = itertools.cycle(local)
            for run in range(runs):
                if words[v][run] == memory:
                    result[run][operator.id] = next(turns)
    return result
