"""Schedules step by step: tasks, ranks and both ways to queue, and every rule that is verified."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from support.cost_graphs import random_costs, total_cost
from support.makespans import tasks_of
from support.schedule_clocks import in_order, in_time

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import places_of
from pimloop.partitioner.makespan.schedule import (
    DMA,
    TaskGraph,
    list_schedule,
    makespan,
    sequence_schedule,
    task_graph,
    verify_schedule,
)
from pimloop.partitioner.place.capacity import overfull_at
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.heft import heft_place, improve
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.plan import Plan, Step
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.segments import cheapest_assignment

SEEDS = pytest.mark.parametrize("seed", range(20))


def placed(seed: int) -> tuple[dict, Problem, dict[str, str]]:
    """Return a random graph of three memories at most and one of its assignments."""
    rng = random.Random(seed)
    data = random_costs(rng, 1 + seed % 3, 8, fan_in=2, incapable=0.1)
    chosen = {node["id"]: rng.choice(list(node["cost_us"])) for node in data["nodes"]}
    return data, Problem.of(costs_from_dict(data)), chosen


def graph_of(data: dict, problem: Problem, chosen: dict[str, str]) -> tuple[TaskGraph, list]:
    """Return the task graph, and the name of each of its tasks."""
    scale = 10**problem.decimals
    costs = {node["id"]: node["cost_us"] for node in data["nodes"]}
    compute = [costs[n["id"]][chosen[n["id"]]] * scale for n in data["nodes"]]
    tasks = task_graph(problem, places_of(problem, chosen), compute)
    names = [node["id"] for node in data["nodes"]] + [
        (problem.tensors[number].id, problem.memories[to]) for number, _, to in tasks.transfers
    ]
    return tasks, names


@SEEDS
def test_tasks_and_ranks(seed: int) -> None:
    data, problem, chosen = placed(seed)
    tasks, names = graph_of(data, problem, chosen)
    expected, scale = tasks_of(data, chosen), 10**problem.decimals
    assert set(names) == expected.keys()
    assert len(names) == len(expected)
    before: dict = {name: [] for name in names}
    for task, followers in enumerate(tasks.successors):
        for other in followers:
            before[names[other]].append(names[task])
    for task, name in enumerate(names):
        resource, duration, earlier = expected[name]
        (place,) = tasks.resources[task]
        assert ("dma" if place == DMA else problem.memories[place]) == resource
        assert tasks.duration[task] == duration * scale
        assert set(before[name]) == earlier
        assert tasks.waiting[task] == len(before[name])
    order = tasks.topological()
    assert sorted(order) == list(range(len(names)))
    position = {task: i for i, task in enumerate(order)}
    assert all(position[t] < position[s] for t in order for s in tasks.successors[t])

    def longest(task: int) -> int:
        return tasks.duration[task] + max((longest(s) for s in tasks.successors[task]), default=0)

    assert tasks.ranks() == [longest(task) for task in range(len(names))]


@SEEDS
def test_both_ways_to_schedule(seed: int) -> None:
    data, problem, chosen = placed(seed)
    tasks, names = graph_of(data, problem, chosen)
    # Whole durations of at least one, so that no two events of one task coincide.
    tasks = replace(tasks, duration=[1 + round(d / 10**problem.decimals) for d in tasks.duration])
    rng = random.Random(seed)
    for priority in (tasks.ranks(), [rng.random() for _ in names]):
        starts = list_schedule(tasks, priority)
        assert starts == in_time(tasks, list(priority))
        assert makespan(tasks, starts) == max(
            s + d for s, d in zip(starts, tasks.duration, strict=True)
        )
        wish = [-float(rank) for rank in priority]
        assert sequence_schedule(tasks, wish) == in_order(tasks, wish)


def valid_plan() -> tuple[Problem, Plan]:
    """Return a plan with operators and transfers on both memories, each longer than nothing."""
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {"id": "a", "op": "X", "cost_us": {"cpu_serial": 2}},
            {"id": "b", "op": "X", "cost_us": {"cpu_serial": 90, "pim": 3}},
            {"id": "c", "op": "X", "cost_us": {"cpu_serial": 4}},
            {"id": "d", "op": "X", "cost_us": {"cpu_serial": 5}},
        ],
        "tensors": [
            {"id": "x", "producer": "a", "consumers": ["b", "c"], "output": False,
             "transfer_us": {"cpu>pim": 1, "pim>cpu": 1}},
            {"id": "y", "producer": "b", "consumers": ["d"], "output": False,
             "transfer_us": {"cpu>pim": 1, "pim>cpu": 2}},
        ],
    }  # fmt: skip
    costs = costs_from_dict(data)
    plan = partition(costs, objective="makespan", time_limit_s=3)
    assert plan.assignment["b"] == "pim"
    return Problem.of(costs), plan


def changed(plan: Plan, name: str, **more: float) -> Plan:
    """Return the plan with one step shifted (`by`), longer (`longer`) or elsewhere."""

    def change(step: Step) -> Step:
        if step.id != name:
            return step
        start = step.start_us + more.get("by", 0.0)
        return replace(step, start_us=start, end_us=step.end_us + more.get("by", 0.0)
                       + more.get("longer", 0.0))  # fmt: skip

    return replace(plan, schedule=tuple(change(step) for step in plan.schedule))


def test_every_rule_of_a_schedule_is_verified() -> None:
    problem, plan = valid_plan()
    verify_schedule(problem, plan)
    steps = {step.id: step for step in plan.schedule}
    # a 0-2, x 2-3, b 3-6, c 2-6 beside it, y 6-8, d 8-13
    assert [(s.id, s.start_us, s.end_us) for s in plan.schedule] == [
        ("a", 0, 2), ("x", 2, 3), ("c", 2, 6), ("b", 3, 6), ("y", 6, 8), ("d", 8, 13),
    ]  # fmt: skip
    late = replace(plan, total_us=14.0)
    without = [replace(plan, schedule=tuple(s for s in plan.schedule if s.id != n)) for n in "ax"]
    twice = replace(plan, schedule=(*plan.schedule, replace(steps["x"], id="y", detail="cpu>pim")))
    for broken, text in (
        (without[0], "its operators are not those of the graph"),
        (without[1], "tensor 'x' is not moved to 'pim'"),
        (twice, "transfers that nobody needs"),
        (changed(plan, "d", longer=-1), "operator 'd' does not take its 5"),
        (changed(plan, "d", longer=1), "operator 'd' does not take its 5"),
        (changed(plan, "y", longer=-1), "transfer of 'y' does not take its 2"),
        (changed(plan, "x", by=-0.5), "tensor 'x' is moved before it is made"),
        (changed(plan, "y", by=-0.5), "tensor 'y' is moved before it is made"),
        (changed(plan, "b", by=-0.5), "operator 'b' starts before its input 'x' is there"),
        (changed(plan, "d", by=-0.5), "operator 'd' starts before its input 'y' is there"),
        (changed(plan, "c", by=-0.5), "operator 'c' starts before its input 'x' is there"),
        (changed(plan, "c", by=2.5), "overlap on 'cpu'"),
        (changed(plan, "d", by=0.5), "it ends at 13.5 us, not at 13"),
        (late, "it ends at 13.0 us, not at 14"),
    ):
        with pytest.raises(PartitionerError, match="not a schedule") as caught:
            verify_schedule(problem, broken)
        assert text in str(caught.value)
    for tiny in ("a", "x", "d"):
        verify_schedule(problem, changed(plan, tiny, longer=5e-7))


@SEEDS
def test_placements_by_heft_are_feasible_and_searched_from(seed: int) -> None:
    """What the search returns is the makespan of its placement, and no worse than its starts."""
    data, problem, chosen = placed(seed)
    domains = feasible_domains(problem)
    place = heft_place(problem, domains)
    assert place is not None
    starts = [place, places_of(problem, chosen)]

    def span(place: list[int]) -> int:
        compute = [problem.ticks[v][memory] for v, memory in enumerate(place)]
        tasks = task_graph(problem, place, compute)
        return makespan(tasks, list_schedule(tasks, tasks.ranks()))

    shortest, best = improve(problem, domains, starts, 0.05)
    assert shortest == span(best)
    assert shortest <= min(span(start) for start in starts)
    assert all(memory in domains[v] for v, memory in enumerate(best))
    assert total_cost(data, cheapest_assignment(problem, best)) is not None


def test_heft_takes_the_memory_where_an_operator_ends_first() -> None:
    """By hand: three independent operators of 10 on two memories, then one that reads them all."""
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            *({"id": n, "op": "X", "cost_us": {"cpu_serial": 10, "pim": 12}} for n in "abc"),
            {"id": "d", "op": "X", "cost_us": {"cpu_serial": 10, "pim": 1}},
        ],
        "tensors": [
            {"id": f"t{n}", "producer": n, "consumers": ["d"], "output": False,
             "transfer_us": {"cpu>pim": cost, "pim>cpu": cost}}
            for n, cost in zip("abc", (3, 2, 1), strict=True)
        ],
    }  # fmt: skip
    problem = Problem.of(costs_from_dict(data))
    # a ends first on the CPU (10), b on the PIM (12), c on the CPU (20); d: on the PIM, whose
    # copies of a and c end at 13 and 21, it ends at 22; on the CPU at 30.
    assert heft_place(problem, feasible_domains(problem)) == [0, 1, 0, 1]
    data["capacity_bytes"] = {"pim": 10}
    for node in data["nodes"]:
        node["weight_bytes"] = 10
    limited = Problem.of(costs_from_dict(data))
    place = heft_place(limited, feasible_domains(limited))
    assert place is not None
    assert not overfull_at(limited, place)
    assert place.count(1) == 1


def test_heft_queues_its_transfers() -> None:
    """Two model inputs of 10 for one operator: on the PIM it ends at 21, on the CPU at 20."""
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [{"id": "a", "op": "X", "cost_us": {"cpu_serial": 20, "pim": 1}}],
        "tensors": [
            {"id": f"t{i}", "producer": None, "consumers": ["a"], "output": False,
             "transfer_us": {"cpu>pim": 10}}
            for i in range(2)
        ],
    }  # fmt: skip
    problem = Problem.of(costs_from_dict(data))
    assert heft_place(problem, feasible_domains(problem)) == [0]
    data["nodes"][0]["cost_us"]["cpu_serial"] = 22
    problem = Problem.of(costs_from_dict(data))
    assert heft_place(problem, feasible_domains(problem)) == [1]


def test_a_task_waits_for_the_last_of_its_predecessors() -> None:
    """The one that ends last, whichever was queued last."""
    tasks = TaskGraph([10, 1, 2], [(0,), (1,), (1,)], [[2], [2], []], [0, 0, 2], [])
    for wish in ([0.0, 1.0, 2.0], [1.0, 0.0, 2.0]):
        assert sequence_schedule(tasks, wish) == [0, 0, 10]
    assert list_schedule(tasks, tasks.ranks()) == [0, 0, 10]
    assert tasks.ranks() == [12, 3, 2]


@pytest.mark.parametrize("seed", [1, 4, 7])
def test_the_search_keeps_the_best_of_all_rounds(seed: int) -> None:
    """All its rounds on five operators: the shortest of all placements, all tried here."""
    data = random_costs(random.Random(seed), 2, 5, fan_in=2, incapable=0.0)
    problem = Problem.of(costs_from_dict(data))
    domains = feasible_domains(problem)
    spans = {}
    for place in itertools.product(*domains):
        compute = [problem.ticks[v][memory] for v, memory in enumerate(place)]
        tasks = task_graph(problem, place, compute)
        spans[place] = makespan(tasks, list_schedule(tasks, tasks.ranks()))
    worst = max(spans, key=lambda place: spans[place])
    shortest, best = improve(problem, domains, [list(worst)], 60.0)
    assert shortest == spans[tuple(best)] == min(spans.values())


def test_all_orders_of_a_small_graph() -> None:
    """The shortest of all orders of queueing is what some wish gives."""
    data, problem, chosen = placed(4)
    tasks, _ = graph_of(data, problem, chosen)
    small = TaskGraph(
        [3, 2, 2, 1], [(0,), (0,), (DMA,), (1,)], [[2], [], [3], []], [0, 0, 1, 1], []
    )
    spans = {
        order: makespan(small, sequence_schedule(small, [float(x) for x in order]))
        for order in itertools.permutations(range(4))
    }
    assert min(spans.values()) == 6
    assert max(spans.values()) == 8
    assert len(tasks.duration) >= 8
