"""Schedules: valid, never beaten by exhaustive search, and honest about the gap."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from cost_graphs import all_assignments, random_costs, total_cost
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.costs import costs_from_dict
from partitioner.domains import feasible_domains
from partitioner.errors import PartitionerError
from partitioner.makespan import makespan_plan
from partitioner.makespan_mip import solve_makespan
from partitioner.problem import Problem
from partitioner.schedule import verify_schedule
from partitioner.solve import POLICIES, partition


def shortest(data: dict) -> float:
    """Return the least makespan over all assignments and all orders of all tasks."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    best = float("inf")
    for run in all_assignments(data):
        if total_cost(data, run) is None:
            continue
        tasks: dict = {}  # task -> (resource, duration, predecessors)
        for node in data["nodes"]:
            name = node["id"]
            tasks[name] = (memory[run[name]], node["cost_us"][run[name]], set())
        for tensor in data["tensors"]:
            maker = tensor["producer"]
            start = memory[run[maker]] if maker else "cpu"
            ends = {memory[run[reader]] for reader in tensor["consumers"]}
            ends |= {"cpu"} if tensor["output"] else set()
            for end in ends - {start}:
                cost = tensor["transfer_us"][f"{start}>{end}"]
                tasks[tensor["id"], end] = ("dma", cost, {maker} - {None})
            for reader in tensor["consumers"]:
                end = memory[run[reader]]
                before = maker if end == start else (tensor["id"], end)
                tasks[reader][2].update({before} - {None})
        for order in itertools.permutations(tasks):
            finish: dict = {}
            free: dict = {}
            for task in order:
                resource, cost, before = tasks[task]
                if not before <= finish.keys():
                    break
                begin = max([free.get(resource, 0), *(finish[b] for b in before)])
                finish[task] = free[resource] = begin + cost
            else:
                best = min(best, max(finish.values()))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_exact_on_tiny_graphs(seed: int) -> None:
    rng = random.Random(seed)
    while True:
        data = random_costs(rng, 2, rng.randint(2, 3), fan_in=2)
        if len(data["tensors"]) <= 5:
            break
    costs = costs_from_dict(data)
    plan = partition(costs, objective="makespan", time_limit_s=8)
    verify_schedule(Problem.of(costs), plan)
    assert plan.optimal
    assert plan.total_us == plan.lower_bound_us == shortest(data)


def test_independent_work_overlaps() -> None:
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {"id": f"n{i}", "op": "X", "cost_us": {"cpu_serial": 10, "pim": 10}} for i in range(6)
        ],
        "tensors": [],
    }
    costs = costs_from_dict(data)
    assert partition(costs).total_us == 60
    plan = partition(costs, objective="makespan", time_limit_s=8)
    assert (plan.total_us, plan.optimal) == (30, True)
    assert plan.compute_us == 60


def test_the_solver_settles_what_search_has_found() -> None:
    """On graphs of a dozen operators the exact programme proves the optimum or improves on it."""
    rng = random.Random(3)
    proved = 0
    for _ in range(4):
        costs = costs_from_dict(random_costs(rng, 2, 8, fan_in=2, reach=3))
        plan = partition(costs, objective="makespan", time_limit_s=6)
        verify_schedule(Problem.of(costs), plan)
        proved += plan.optimal
        assert plan.lower_bound_us <= plan.total_us
    assert proved >= 3


def test_relaxation_never_exceeds_the_exact_optimum() -> None:
    rng = random.Random(6)
    for _ in range(6):
        data = random_costs(rng, 2, 3, fan_in=2)
        if len(data["tensors"]) > 5:
            continue
        problem = Problem.of(costs_from_dict(data))
        best = shortest(data)
        horizon = max(1, round(best * 10**problem.decimals))
        answer = solve_makespan(problem, feasible_domains(problem), horizon, seconds=5)
        assert answer.bound <= horizon * (1 + 1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 25), memories=st.integers(1, 3))
def test_every_schedule_is_valid_and_no_longer_than_sequential(
    seed: int, size: int, memories: int
) -> None:
    data = random_costs(random.Random(seed), memories, size, fan_in=2, reach=5)
    costs = costs_from_dict(data)
    problem = Problem.of(costs)
    sequential = partition(costs)
    plan = makespan_plan(problem, sequential.assignment, time_limit_s=0.4)
    verify_schedule(problem, plan)
    assert plan.lower_bound_us <= plan.total_us <= sequential.total_us + 1e-6
    for policy in POLICIES[1:]:
        other = partition(costs, policy, objective="makespan")
        verify_schedule(problem, other)
        assert other.total_us <= partition(costs, policy).total_us + 1e-6
        assert other.lower_bound_us <= other.total_us


def test_one_memory_is_a_queue() -> None:
    costs = costs_from_dict(random_costs(random.Random(1), 1, 20))
    plan = partition(costs, objective="makespan", time_limit_s=2)
    assert plan.total_us == partition(costs).total_us
    assert plan.optimal


def test_capacity_binds_schedules_too() -> None:
    data = random_costs(random.Random(9), 2, 10, weights=True)
    for node in data["nodes"]:
        node["cost_us"]["pim"] = 1
        node["weight_bytes"] = 30
    data["capacity_bytes"] = {"pim": 100}
    costs = costs_from_dict(data)
    problem = Problem.of(costs)
    plan = partition(costs, objective="makespan", time_limit_s=4)
    verify_schedule(problem, plan)
    assert sum(device == "pim" for device in plan.assignment.values()) <= 3
    assert not plan.overfull


def test_the_checker_sees_what_is_wrong() -> None:
    costs = costs_from_dict(random_costs(random.Random(2), 2, 8))
    problem = Problem.of(costs)
    plan = partition(costs, objective="makespan", time_limit_s=2)
    verify_schedule(problem, plan)
    first, *rest = plan.schedule
    later = replace(rest[-1], start_us=0.0, end_us=rest[-1].end_us - rest[-1].start_us)
    for schedule, message in (
        (rest, "not those of the graph|not moved"),
        ([first, *rest[:-1], later], "starts before its input|moved before|overlap|ends at"),
        ([replace(first, end_us=first.end_us + 1), *rest], "does not take its"),
    ):
        with pytest.raises(PartitionerError, match=message):
            verify_schedule(problem, replace(plan, schedule=schedule))
    with pytest.raises(PartitionerError, match="ends at"):
        verify_schedule(problem, replace(plan, total_us=plan.total_us + 1))
