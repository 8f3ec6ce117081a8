"""Profile runs built one at a time, each to measure as much as possible that is still missing.

Used where nothing better is known: for the edge runs of the paper's mode, for grouped items, and as
a bound from above where the construction of `pimloop.partitioner.profile.codewords` does not apply.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from pimloop.partitioner.graph import HOME_MEMORY
from pimloop.partitioner.place.capacity import Room, overfull
from pimloop.partitioner.profile.coverage import Coverage, Item

#: Attempts with different tie-breaks before giving up.
DEFAULT_ATTEMPTS = 24


def greedy_runs(
    coverage: Coverage,
    wanted: AbstractSet[Item],
    limit: int,
    attempts: int = DEFAULT_ATTEMPTS,
) -> list[dict[str, str]] | None:
    """Return at most `limit` runs that cover `wanted`, or None when no attempt gets there."""
    for seed in range(attempts):
        rng = random.Random(seed)
        missing = set(wanted)
        runs: list[dict[str, str]] = []
        while missing and len(runs) < limit:
            run = greedy_run(coverage, missing, rng)
            gained = coverage.covered(run) & missing
            if not gained or coverage.forbidden(run) or not coverage.fits(run):
                break
            runs.append(run)
            missing -= gained
        if not missing:
            return runs
    return None


def choose_runs(
    coverage: Coverage, wanted: AbstractSet[Item], candidates: Sequence[dict[str, str]]
) -> list[dict[str, str]]:
    """Return some of `candidates` that together cover `wanted`, the most useful first.

    Parameters
    ----------
    candidates
        Feasible runs that cover all of `wanted` together.
    """
    missing = set(wanted)
    shows = [coverage.covered(run) for run in candidates]
    runs: list[dict[str, str]] = []
    while missing:
        best = max(range(len(candidates)), key=lambda i: len(shows[i] & missing))
        runs.append(candidates[best])
        missing -= shows[best]
    return runs


def split_runs(coverage: Coverage, runs: Sequence[dict[str, str]]) -> list[dict[str, str]] | None:
    """Return runs within every capacity that measure all that `runs` do; None: not by splitting.

    A run whose weights do not fit into a memory becomes several, each with some of the operators
    that sat there (first fit, the largest first); the others sit in a memory without a limit
    meanwhile. What an operator measured there, it measures in the run that keeps it.
    """
    done = list(runs)
    for memory, limit in coverage.capacity.items():
        parts: list[dict[str, str]] = []
        for run in done:
            if memory not in overfull(coverage.graph, {memory: limit}, run):
                parts.append(run)
                continue
            split = _split(coverage, run, memory, limit)
            if split is None:
                return None
            parts += split
        done = parts
    return None if any(coverage.forbidden(run) for run in done) else done


def _split(
    coverage: Coverage, run: dict[str, str], memory: str, limit: int
) -> list[dict[str, str]] | None:
    graph = coverage.graph
    empty = Room(graph, {memory: limit})
    inside = [
        v
        for v, operator in enumerate(graph.operators)
        if graph.memory_of[run[operator.id]] == memory and empty.needed(v, memory)
    ]
    elsewhere: dict[int, str] = {}
    for v in inside:
        operator = graph.operators[v]
        free = [d for d in operator.devices if graph.memory_of[d] not in coverage.capacity]
        if not free or not empty.fits(v, memory):
            return None
        elsewhere[v] = free[-1]
    bins: list[tuple[Room, set[int]]] = []
    for v in sorted(inside, key=lambda v: -empty.needed(v, memory)):
        if not any(room.fits(v, memory) for room, _ in bins):
            bins.append((Room(graph, {memory: limit}), set()))
        room, members = next(opened for opened in bins if opened[0].fits(v, memory))
        room.take(v, memory)
        members.add(v)
    return [
        run | {graph.operators[v].id: elsewhere[v] for v in inside if v not in members}
        for _, members in bins
    ]


def greedy_run(
    coverage: Coverage, missing: AbstractSet[Item], rng: random.Random
) -> dict[str, str]:
    """Return one assignment, chosen operator by operator in topological order.

    Each operator takes the device that covers most of `missing` now, of those with room for its
    weights; forbidden moves count as a large loss, ties are broken at random, and a memory that
    can cause a missing transfer of the operator's own output counts a little.
    """
    graph = coverage.graph
    inputs: list[list[int]] = [[] for _ in graph.operators]
    outputs: list[list[int]] = [[] for _ in graph.operators]
    for t, tensor in enumerate(graph.tensors):
        for consumer in tensor.consumers:
            inputs[graph.index[consumer]].append(t)
        if tensor.producer is not None:
            outputs[graph.index[tensor.producer]].append(t)
    place: dict[int, str] = {}
    covered: set[Item] = set()
    run: dict[str, str] = {}
    room = Room(graph, coverage.capacity)
    for v in graph.order:
        best: tuple[float, str, set[Item]] | None = None
        # With no room anywhere the run is refused by its caller.
        fitting = [d for d in coverage.node_items[v] if room.fits(v, graph.memory_of[d])]
        for device in fitting or coverage.node_items[v]:
            item, memory = coverage.node_items[v][device], graph.memory_of[device]
            gain = {item}
            score = 0.0
            for t in inputs[v]:
                tensor = graph.tensors[t]
                source = (
                    HOME_MEMORY if tensor.producer is None else place[graph.index[tensor.producer]]
                )
                if source == memory:
                    continue
                move = coverage.transfer_items[t].get((source, memory))
                if move is None:
                    score -= 1000.0
                else:
                    gain.add(move)
            for t in outputs[v]:
                for (source, destination), move in coverage.transfer_items[t].items():
                    if source == memory and move in missing and move not in covered:
                        score += 0.5
                        if graph.tensors[t].output and destination == HOME_MEMORY:
                            gain.add(move)
            gain = {i for i in gain if i in missing and i not in covered}
            score += len(gain) + rng.random() * 0.4
            if best is None or score > best[0]:
                best = (score, device, gain)
        assert best is not None
        _, device, gain = best
        covered |= gain
        place[v] = graph.memory_of[device]
        room.take(v, place[v])
        run[graph.operators[v].id] = device
    return run
