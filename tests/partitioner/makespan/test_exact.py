"""Exhaustive search against brute force: the least makespan, and a schedule that has it."""

from __future__ import annotations

import itertools
import math
import random
import time

import pytest
from support.cost_graphs import random_costs
from support.makespans import shortest as brute_force
from support.split_graphs import costs_with, random_splits

from pimloop.host.board.paper.data import published_costs
from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.makespan.exact import (
    OutOfTimeError,
    TimedPlacement,
    _preemptive,
    schedule_within,
    shortest,
)
from pimloop.partitioner.makespan.schedule import makespan, task_graph
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.problem import Problem


def soon() -> float:
    return time.monotonic() + 60


def check(problem: Problem, answer: TimedPlacement) -> None:
    """Hold a schedule against what its placement asks for."""
    place = answer.place
    tasks = task_graph(problem, place, [problem.ticks[v][p] for v, p in enumerate(place)])
    assert (tasks.duration, tasks.resources) == (answer.tasks.duration, answer.tasks.resources)
    ends = [at + length for at, length in zip(answer.starts, tasks.duration, strict=True)]
    for task, successors in enumerate(tasks.successors):
        assert all(answer.starts[successor] >= ends[task] for successor in successors)
    for resource in {r for resources in tasks.resources for r in resources}:
        busy = sorted(
            (answer.starts[t], ends[t])
            for t, resources in enumerate(tasks.resources)
            if resource in resources
        )
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(busy))


@pytest.mark.parametrize("memories", [2, 3])
def test_brute_force_agrees(memories: int) -> None:
    """One tick below the least makespan there is no schedule, at it there is."""
    rng = random.Random(memories)
    for case in range(150):
        data = random_costs(rng, memories, rng.randint(2, 4), fan_in=2, forbid=0.1)
        least = brute_force(data)
        if math.isinf(least):
            continue
        problem = Problem.of(costs_from_dict(data))
        ticks = round(least * 10**problem.decimals)
        domains = feasible_domains(problem)
        assert schedule_within(problem, domains, ticks - 1, soon()) is None, case
        answer = schedule_within(problem, domains, ticks, soon())
        assert answer is not None, case
        check(problem, answer)
        assert makespan(answer.tasks, answer.starts) == ticks


@pytest.mark.parametrize("seed", range(30))
def test_from_any_schedule_down_to_the_shortest(seed: int) -> None:
    rng = random.Random(seed)
    data = random_costs(rng, 2, 5, fan_in=2)
    problem = Problem.of(costs_from_dict(data))
    answer = shortest(problem, feasible_domains(problem), problem.total_ticks + 1, soon())
    assert answer.proved
    assert answer.better is not None
    check(problem, answer.better)
    span = makespan(answer.better.tasks, answer.better.starts)
    assert span == round(brute_force(data) * 10**problem.decimals)
    known = shortest(problem, feasible_domains(problem), span, soon())
    assert (known.better, known.proved) == (None, True)


@pytest.mark.parametrize("seed", [3, 230, 246, 266, *range(10, 16)])
def test_both_orders_of_two_tasks_are_tried(seed: int) -> None:
    """In the first four graphs the shortest schedule has a pair in the order that looks longer."""
    data = random_costs(random.Random(seed), 3, 7, fan_in=1, incapable=0.85)
    problem = Problem.of(costs_from_dict(data))
    answer = shortest(problem, feasible_domains(problem), problem.total_ticks + 1, soon())
    assert answer.proved
    assert answer.better is not None
    span = makespan(answer.better.tasks, answer.better.starts)
    assert span == round(brute_force(data) * 10**problem.decimals)


@pytest.mark.parametrize("memories", [2, 3])
def test_every_placement_tried_agrees_with_splits(memories: int) -> None:
    """A split occupies two memories and is gathered from both."""
    rng = random.Random(60 + memories)
    split = 0
    for _ in range(40):
        data = random_costs(rng, memories, 3, fan_in=2)
        problem = Problem.of(costs_with(data, random_splits(rng, data, 2, often=0.9)))
        domains = feasible_domains(problem)
        answer = shortest(problem, domains, problem.total_ticks + 1, soon())
        assert answer.proved
        assert answer.better is not None
        check(problem, answer.better)
        span = makespan(answer.better.tasks, answer.better.starts)
        for place in itertools.product(*domains):
            alone = shortest(problem, [(p,) for p in place], span, soon())
            assert (alone.better, alone.proved) == (None, True)
        split += any(p >= memories for p in answer.better.place)
    assert split


def test_it_ends_at_the_deadline() -> None:
    problem = Problem.of(published_costs("bert", 8), with_splits=False)
    domains = feasible_domains(problem)
    with pytest.raises(OutOfTimeError):
        schedule_within(problem, domains, problem.total_ticks, time.monotonic() - 1)
    began = time.monotonic()
    answer = shortest(problem, domains, problem.total_ticks, began + 0.5)
    assert not answer.proved
    assert time.monotonic() < began + 20


@pytest.mark.parametrize("seed", range(60))
def test_interrupting_at_will_is_never_later_and_right_without_waiting(seed: int) -> None:
    """Below every order of the tasks; equal to the best where all may start at once."""
    rng = random.Random(seed)
    spread = rng.choice([0, 12])
    tasks = [(rng.randint(0, spread), rng.randint(0, 9), rng.randint(0, 15)) for _ in range(5)]
    least = math.inf
    for order in itertools.permutations(tasks):
        now = last = 0
        for head, length, tail in order:
            now = max(now, head) + length
            last = max(last, now + tail)
        least = min(least, last)
    assert _preemptive(tasks) <= least
    if not spread:
        assert _preemptive(tasks) == least
