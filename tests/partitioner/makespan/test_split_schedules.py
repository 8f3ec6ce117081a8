"""Schedules with split operators: every rule by hand, and exact against exhaustive search."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from support.cost_graphs import random_costs, with_entries
from support.schedule_clocks import in_order, in_time
from support.split_graphs import (
    all_choices,
    costs_with,
    half,
    random_splits,
    split_cost,
    two_devices,
)

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.makespan.mip import solve_makespan
from pimloop.partitioner.makespan.schedule import (
    list_schedule,
    sequence_schedule,
    task_graph,
    verify_schedule,
)
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.solve import COEXEC, partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.segments import cheapest_assignment
from pimloop.partitioner.splits import Split


def tasks_of(data: dict, choice: dict) -> dict:
    """Return task -> (resources, duration, tasks before it) from the JSON form."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    entry = data.get("entry_us", {})

    def needed(chosen) -> set[str]:
        devices = chosen.devices if isinstance(chosen, Split) else (chosen,)
        return {memory[device] for device in devices}

    tasks: dict = {}
    last = None
    for node in data["nodes"]:
        chosen = choice[node["id"]]
        if isinstance(chosen, Split):
            parts = zip(chosen.part_us, chosen.devices, strict=True)
            length = max(us + entry.get(device, 0) for us, device in parts)
        else:
            length = node["cost_us"][chosen] + (entry.get(chosen, 0) if chosen != last else 0)
        tasks[node["id"]] = (needed(chosen), length, set())
        last = chosen
    for tensor in data["tensors"]:
        maker = tensor["producer"]
        chosen = choice[maker] if maker else None
        start = None if isinstance(chosen, Split) else memory[chosen] if maker else "cpu"
        ends = set().union(*(needed(choice[reader]) for reader in tensor["consumers"]))
        ends |= {"cpu"} if tensor["output"] else set()
        for end in ends - {start}:
            cost = (
                chosen.gather_us[tensor["id"]][end]
                if isinstance(chosen, Split)
                else tensor["transfer_us"][f"{start}>{end}"]
            )
            tasks[tensor["id"], end] = ({"dma"}, cost, {maker} - {None})
        for reader in tensor["consumers"]:
            for end in needed(choice[reader]):
                before = maker if end == start else (tensor["id"], end)
                tasks[reader][2].update({before} - {None})
    return tasks


def shortest(data: dict, splits: dict) -> float:
    """Return the least makespan over all choices and all orders of all tasks."""
    best = math.inf
    for choice in all_choices(data, splits):
        if split_cost(data, choice) is not None:
            best = min(best, any_order(tasks_of(data, choice), {}, {}, best))
    return best


def any_order(tasks: dict, finish: dict, free: dict, best: float) -> float:
    if len(finish) == len(tasks):
        return max(finish.values())
    for task in tasks.keys() - finish.keys():
        resources, cost, before = tasks[task]
        if before <= finish.keys():
            idle = [free.get(resource, 0) for resource in resources]
            end = cost + max([*idle, *(finish[b] for b in before)])
            if end < best:
                later = free | dict.fromkeys(resources, end)
                best = min(best, any_order(tasks, finish | {task: end}, later, best))
    return best


def tiny(rng: random.Random, memories: int, entries: bool = False) -> tuple[dict, dict]:
    """Return a graph whose orders can all be tried, and splits of its operators."""
    while True:
        data = random_costs(rng, memories, rng.randint(2, 3), fan_in=2)
        if entries:
            data = with_entries(rng, data, top=4)
        splits = random_splits(rng, data, 2, ordered=rng.random() < 0.5, top=9)
        if len(data["tensors"]) <= 4 and splits:
            return data, splits


@pytest.mark.parametrize("entries", [False, True])
@pytest.mark.parametrize("memories", [2, 3])
def test_exact_on_tiny_graphs(memories: int, entries: bool) -> None:
    rng = random.Random(7 * memories + entries)
    split = shorter = cases = 0
    while cases < 12:
        data, splits = tiny(rng, memories, entries)
        best = shortest(data, splits)
        if best == math.inf:
            continue
        cases += 1
        costs = costs_with(data, splits)
        plan = partition(costs, COEXEC, objective="makespan", time_limit_s=20)
        verify_schedule(Problem.of(costs), plan)
        assert plan.policy == COEXEC
        assert plan.optimal
        assert plan.total_us == plan.lower_bound_us == best
        assert plan.splits.keys() == {n for n, name in plan.assignment.items() if " " in name}
        split += bool(plan.splits)
        shorter += best < partition(costs, objective="makespan", time_limit_s=20).total_us
    assert split >= 3
    assert shorter >= 2


@pytest.mark.parametrize("memories", [2, 3])
def test_the_exact_programme_has_the_optimum_as_its_bound(memories: int) -> None:
    """Every row counts: without one the bound is too low, with a wrong one it is too high."""
    rng = random.Random(30 + memories)
    solved = 0
    while solved < 12:
        data, splits = tiny(rng, memories)
        best = shortest(data, splits)
        if best in (0, math.inf):
            continue
        problem = Problem.of(costs_with(data, splits))
        # A horizon above the optimum, as the search's result often is.
        horizon = round(best * 10**problem.decimals * 1.25)
        answer = solve_makespan(problem, feasible_domains(problem), horizon, seconds=20)
        assert answer.exact
        assert answer.solved
        assert answer.bound == pytest.approx(best * 10**problem.decimals, rel=1e-5)
        solved += 1


@pytest.mark.parametrize("seed", range(20))
def test_both_ways_to_schedule(seed: int) -> None:
    """Against a clock that ticks, and against queues by definition."""
    rng = random.Random(seed)
    data = random_costs(rng, 2 + seed % 2, 8, fan_in=2, incapable=0.1)
    splits = random_splits(rng, data, 3, often=0.9)
    problem = Problem.of(costs_with(data, splits))
    place = [rng.choice(domain) for domain in feasible_domains(problem)]
    ticks = [problem.ticks[v][where] for v, where in enumerate(place)]
    tasks = task_graph(problem, place, ticks)
    expected = tasks_of(
        data,
        {
            node["id"]: {split.name: split for split in splits.get(node["id"], ())}.get(name, name)
            for node, name in zip(
                data["nodes"], cheapest_assignment(problem, place).values(), strict=True
            )
        },
    )
    names = [
        *(node["id"] for node in data["nodes"]),
        *((problem.tensors[number].id, problem.memories[to]) for number, _, to in tasks.transfers),
    ]
    assert set(names) == expected.keys()
    before: dict = {name: set() for name in names}
    for task, followers in enumerate(tasks.successors):
        for other in followers:
            before[names[other]].add(names[task])
    for task, name in enumerate(names):
        resources, duration, earlier = expected[name]
        occupied = {"dma" if r < 0 else problem.memories[r] for r in tasks.resources[task]}
        assert (occupied, before[name]) == (resources, earlier)
        assert problem.to_us(tasks.duration[task]) == duration
    assert any(len(resources) == 2 for resources in tasks.resources)
    priority = [rng.random() for _ in names]
    assert list_schedule(tasks, priority) == in_time(tasks, priority)
    assert sequence_schedule(tasks, priority) == in_order(tasks, priority)


def test_by_hand() -> None:
    """x moves (4), a on both (4), y gathered on the CPU (1), b there (10)."""
    costs = two_devices(a=half("y", 4.0))
    plan = partition(costs, COEXEC, objective="makespan", time_limit_s=5)
    assert (plan.total_us, plan.optimal) == (19, True)
    steps = {(s.id, s.resource): (s.start_us, s.end_us, s.detail) for s in plan.schedule}
    name = "cpu_serial+pim 1/2"
    assert steps == {
        ("x", "dma"): (0, 4, "cpu>pim"),
        ("a", "cpu"): (4, 8, name),
        ("a", "pim"): (4, 8, name),
        ("y", "dma"): (8, 9, "pim>cpu"),
        ("b", "cpu"): (9, 19, "cpu_serial"),
    }
    faster = replace(half("y"), part_us=(5.0, 2.0))
    plan = partition(two_devices(a=faster, b=half("z", 2.0)), COEXEC, objective="makespan")
    # Both split: 4 + 5, y gathered in both memories (2), b 2, z home 1.
    assert plan.total_us == 14
    verify_schedule(Problem.of(two_devices(a=faster, b=half("z", 2.0))), plan)


def test_the_checker_sees_what_is_wrong_with_a_split() -> None:
    costs = two_devices(a=half("y"), b=half("z", 2.0))
    problem = Problem.of(costs)
    plan = partition(costs, COEXEC, objective="makespan", time_limit_s=5)
    verify_schedule(problem, plan)
    parts = [step for step in plan.schedule if step.id == "a"]
    assert len(parts) == 2
    others = [step for step in plan.schedule if step.id != "a"]
    part = parts[1]
    for changed, message in (
        ([parts[0]], "does not occupy"),
        ([parts[0], replace(part, resource="gpu")], "does not occupy"),
        ([parts[0], replace(part, end_us=part.end_us - 1)], "does not take its"),
        (
            [parts[0], replace(part, start_us=part.start_us + 1, end_us=part.end_us + 1)],
            "do not start together",
        ),
    ):
        with pytest.raises(PartitionerError, match=message):
            verify_schedule(problem, replace(plan, schedule=[*others, *changed]))
    gathered = [step for step in plan.schedule if step.id == "y"]
    assert {step.detail for step in gathered} == {"pim>cpu", "cpu>pim"}
    without = [step for step in plan.schedule if step not in gathered[:1]]
    with pytest.raises(PartitionerError, match="tensor 'y' is not moved"):
        verify_schedule(problem, replace(plan, schedule=without))


@pytest.mark.parametrize("memories", [2, 3])
def test_every_schedule_is_valid_and_no_longer_than_sequential(memories: int) -> None:
    rng = random.Random(memories)
    for _ in range(10):
        data = random_costs(rng, memories, rng.randint(5, 25), fan_in=2, reach=5)
        costs = costs_with(data, random_splits(rng, data, 3))
        problem = Problem.of(costs)
        sequential = partition(costs, COEXEC)
        plan = partition(costs, COEXEC, objective="makespan", time_limit_s=0.4)
        verify_schedule(problem, plan)
        assert plan.lower_bound_us <= plan.total_us <= sequential.total_us + 1e-6


def test_relaxation_counts_both_memories() -> None:
    """Independent operators that only splits can run, half on each memory at a time."""
    nodes = [{"id": f"n{i}", "op": "X", "cost_us": {"cpu_serial": 100}} for i in range(40)]
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": nodes,
        "tensors": [],
    }
    splits = {node["id"]: (Split(("pim", "cpu_serial"), 1, 2, (10, 10), {}),) for node in nodes}
    problem = Problem.of(costs_with(data, splits))
    answer = solve_makespan(problem, feasible_domains(problem), problem.total_ticks, seconds=20)
    assert not answer.exact
    # The CPU is busy with every operator, 10 us each.
    assert answer.bound == pytest.approx(400 * 10**problem.decimals, rel=1e-5)


def test_orders_keep_every_place_apart() -> None:
    """Two independent operators that only split in one of two ways, one after the other."""
    nodes = [{"id": name, "op": "X", "cost_us": {"cpu_serial": 100}} for name in "ab"]
    moves = {"cpu>pim": 50, "pim>cpu": 50}
    tensors = [
        {"id": f"t{name}", "producer": name, "consumers": [], "output": True, "transfer_us": moves}
        for name in "ab"
    ]
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": nodes,
        "tensors": tensors,
    }

    def split(name: str, share: int, us: float) -> Split:
        gather = {f"t{name}": {"cpu": 3.0, "pim": 1.0}}
        return Split(("cpu_serial", "pim"), share, 3, (us, us), gather)

    splits = {name: (split(name, 1, 90.0), split(name, 2, 10.0)) for name in "ab"}
    problem = Problem.of(costs_with(data, splits))
    horizon = 200 * 10**problem.decimals
    answer = solve_makespan(problem, feasible_domains(problem), horizon, seconds=20)
    # 10, then 10 beside the first one's gathering, then that of the second.
    assert answer.exact
    assert answer.bound == pytest.approx(23 * 10**problem.decimals, rel=1e-5)
