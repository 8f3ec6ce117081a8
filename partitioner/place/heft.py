"""Placements for a short makespan: HEFT, and a local search that starts from given placements.

HEFT (Topcuoglu, Hariri, Wu 2002) takes operators by falling upward rank and gives each to the
memory where it ends first, here with transfers queued on the one DMA engine and paid once for each
destination memory. The local search moves operators, alone and in connected groups, for as long as
its time lasts, and keeps what shortens the list schedule.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import durations
from pimloop.partitioner.makespan.schedule import list_schedule, makespan, task_graph
from pimloop.partitioner.place.capacity import Room, overfull_at
from pimloop.partitioner.problem import MODEL_INPUT, Problem
from pimloop.partitioner.segments import cheapest_assignment

Place = list[int]

#: Descents of the local search, all but the first from a disturbed best placement.
ROUNDS = 12

#: A descent ends after this many failures for each operator that has a choice.
PATIENCE = 40

#: How many operators move together with the first one.
GROUP_SIZES = (0, 0, 1, 2, 4, 8)


def heft_place(problem: Problem, domains: Sequence[tuple[int, ...]]) -> Place | None:
    """Return HEFT's placement within `domains`, or None where it runs into a forbidden move.

    Capacities are respected: a memory without room for an operator's weights is passed over.
    """
    operators = len(domains)
    made_by: list[list[int]] = [[] for _ in range(operators)]
    for f, tensor in enumerate(problem.tensors):
        if tensor.producer != MODEL_INPUT:
            made_by[tensor.producer].append(f)
    rank = _upward_ranks(problem, domains, made_by)
    position = {v: i for i, v in enumerate(problem.order)}
    place = [-1] * operators
    arrival: list[dict[int, int]] = [
        {problem.home: 0} if tensor.producer == MODEL_INPUT and problem.home is not None else {}
        for tensor in problem.tensors
    ]
    free = [0] * len(problem.memories)
    dma_free = 0
    room = Room.of(problem)
    # A rank never rises along an edge; ties among zero costs fall back to topological order.
    for v in sorted(range(operators), key=lambda v: (-rank[v], position[v])):
        best: tuple[int, int, int, list[tuple[int, int]]] | None = None
        for memory in domains[v]:
            if not room.fits(v, problem.memories[memory]):
                continue
            ready, dma, copies = 0, dma_free, []
            for f in problem.inputs[v]:
                tensor = problem.tensors[f]
                if memory in arrival[f]:
                    ready = max(ready, arrival[f][memory])
                    continue
                source = problem.source_of(tensor, place)
                ticks = tensor.ticks.get((source, memory))
                if ticks is None:
                    break
                dma = max(dma, arrival[f][source]) + ticks
                copies.append((f, dma))
                ready = max(ready, dma)
            else:
                finish = max(ready, free[memory]) + problem.ticks[v][memory]
                if best is None or finish < best[0]:
                    best = (finish, memory, dma, copies)
        if best is None:
            return None
        finish, memory, dma_free, copies = best
        place[v], free[memory] = memory, finish
        room.take(v, problem.memories[memory])
        for f, at in copies:
            arrival[f][memory] = at
        for f in made_by[v]:
            arrival[f][memory] = finish
    return place


def improve(
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    starts: Sequence[Sequence[int]],
    seconds: float,
    seed: int = 0,
) -> tuple[int, Place]:
    """Return the best makespan (ticks) and placement found from `starts` within `seconds`.

    Parameters
    ----------
    starts
        Feasible placements; at least one.
    """
    rng = random.Random(seed)
    deadline = time.monotonic() + seconds
    scored = [(span, list(p)) for p in starts if (span := _span(problem, p)) is not None]
    best, place = min(scored, key=lambda pair: pair[0])
    movable = [v for v, domain in enumerate(domains) if len(domain) > 1]
    neighbours = _neighbours(problem, domains)
    for round_number in range(ROUNDS if movable else 0):
        current = list(place)
        if round_number:
            for v in rng.sample(movable, max(1, len(movable) // 5)):
                current[v] = rng.choice(domains[v])
        improved = _descend(problem, domains, current, movable, neighbours, rng, deadline)
        if improved is not None and improved[0] < best:
            best, place = improved
        if time.monotonic() >= deadline:
            break
    return best, place


def _descend(
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    start: Place,
    movable: Sequence[int],
    neighbours: Sequence[Sequence[int]],
    rng: random.Random,
    deadline: float,
) -> tuple[int, Place] | None:
    """Move random connected groups from `start` for as long as that finds improvements.

    None when `start` needs a forbidden move or breaks a capacity.
    """
    best, place = _span(problem, start), start
    if best is None or overfull_at(problem, start):
        return None
    failures = 0
    while time.monotonic() < deadline and failures < PATIENCE * len(movable):
        trial = list(place)
        group = [rng.choice(movable)]
        memory = rng.choice(domains[group[0]])
        for _ in range(rng.choice(GROUP_SIZES)):
            around = [w for w in neighbours[rng.choice(group)] if w not in group]
            if around:
                group.append(rng.choice(around))
        for v in group:
            if memory in domains[v]:
                trial[v] = memory
        span = None if trial == place or overfull_at(problem, trial) else _span(problem, trial)
        if span is not None and span <= best:
            failures = failures + 1 if span == best else 0
            best, place = span, trial
        else:
            failures += 1
    return best, place


def _span(problem: Problem, place: Sequence[int]) -> int | None:
    """Return the makespan of the list schedule of `place`; None when a move is forbidden."""
    compute = (
        durations(problem, cheapest_assignment(problem, place))
        if problem.has_entries
        else [problem.ticks[v][memory] for v, memory in enumerate(place)]
    )
    try:
        tasks = task_graph(problem, place, compute)
    except PartitionerError:
        return None
    return makespan(tasks, list_schedule(tasks, tasks.ranks()))


def _neighbours(problem: Problem, domains: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return for each operator those it shares a tensor with, as far as they have a choice."""
    result: list[set[int]] = [set() for _ in domains]
    for tensor in problem.tensors:
        ends = [v for v in (*tensor.consumers, tensor.producer) if v >= 0 and len(domains[v]) > 1]
        if len(ends) <= 8:  # a tensor that everybody reads makes nobody a neighbour
            for v in ends:
                result[v].update(w for w in ends if w != v)
    return [sorted(around) for around in result]


def _upward_ranks(
    problem: Problem, domains: Sequence[tuple[int, ...]], made_by: Sequence[Sequence[int]]
) -> list[float]:
    """Return HEFT's ranks: mean costs, added up along the longest way to the end."""
    rank = [0.0] * len(domains)
    for v in reversed(problem.order):
        after = 0.0
        for f in made_by[v]:
            tensor = problem.tensors[f]
            mean = sum(tensor.ticks.values()) / len(tensor.ticks) if tensor.ticks else 0.0
            for consumer in tensor.consumers:
                # Ends that can only sit together exchange nothing.
                apart = set(domains[v]) | set(domains[consumer])
                after = max(after, rank[consumer] + (mean if len(apart) > 1 else 0.0))
        costs = [problem.ticks[v][memory] for memory in domains[v]]
        rank[v] = sum(costs) / len(costs) + after
    return rank
