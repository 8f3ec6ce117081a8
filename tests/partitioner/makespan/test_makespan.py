"""Schedules: valid, never beaten by exhaustive search, and honest about the gap."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cost_graphs import held, random_costs, shared_costs
from support.makespans import shortest

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import places_of
from pimloop.partitioner.makespan import mip
from pimloop.partitioner.makespan import search as makespan
from pimloop.partitioner.makespan.exact import Shortest
from pimloop.partitioner.makespan.mip import MipAnswer, solve_makespan
from pimloop.partitioner.makespan.schedule import verify_schedule
from pimloop.partitioner.makespan.search import makespan_plan
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.heft import heft_place, improve
from pimloop.partitioner.place.solve import POLICIES, partition
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import Problem


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


@pytest.mark.parametrize("memories", [2, 3])
def test_the_exact_programme_has_the_optimum_as_its_bound(memories: int) -> None:
    """Every row counts: without one the bound is too low, with a wrong one it is too high."""
    rng = random.Random(memories)
    solved = 0
    while solved < 12:
        data = random_costs(rng, memories, rng.randint(3, 4), fan_in=2)
        if len(data["tensors"]) > 6:
            continue
        problem = Problem.of(costs_from_dict(data))
        best = shortest(data)
        if best in (0, float("inf")):
            continue
        # A horizon above the optimum, as the search's result often is.
        horizon = round(best * 10**problem.decimals * 1.25)
        answer = solve_makespan(problem, feasible_domains(problem), horizon, seconds=20)
        assert answer.exact
        assert answer.solved
        assert answer.bound == pytest.approx(best * 10**problem.decimals, rel=1e-5)
        solved += 1


def test_the_bound_knows_that_weights_are_shared() -> None:
    """Those of several readers take their room once, and only where a reader is."""
    rng = random.Random(21)
    binding = solved = 0
    while solved < 12:
        data = shared_costs(rng, 3)
        if len(data["tensors"]) > 5:
            continue
        limit = rng.randint(0, held(data, dict.fromkeys(all_names(data), "pim")))
        data["capacity_bytes"] = {"pim": limit}
        best = shortest(data, lambda run, top=limit, d=data: held(d, run) <= top)
        if best in (0, float("inf")):
            continue
        problem = Problem.of(costs_from_dict(data))
        horizon = round(best * 10**problem.decimals * 1.25)
        answer = solve_makespan(problem, feasible_domains(problem), horizon, seconds=20)
        assert answer.bound == pytest.approx(best * 10**problem.decimals, rel=1e-5)
        solved += 1
        binding += best != shortest(data)
    assert binding >= 2


def all_names(data: dict) -> list[str]:
    return [node["id"] for node in data["nodes"]]


def test_search_begins_with_the_placements_of_every_simple_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[list[int]] = []

    def search(problem: Problem, domains: object, places: list, limit: float) -> tuple:
        begun.extend(map(list, places))
        return improve(problem, domains, places, limit)

    monkeypatch.setattr(makespan, "improve", search)
    costs = costs_from_dict(random_costs(random.Random(12), 2, 8, incapable=0.0, fan_in=2))
    problem = Problem.of(costs)
    makespan_plan(problem, partition(costs).assignment, time_limit_s=0.2)
    for policy in POLICIES:
        assert places_of(problem, partition(costs, policy).assignment) in begun
    assert list(heft_place(problem, feasible_domains(problem)) or ()) in begun
    assert all(begun.count(place) == 1 for place in begun)
    assert len(begun) >= 3


def test_too_many_operators_for_an_order_of_each_pair_are_not_called_exact() -> None:
    data = random_costs(random.Random(4), 2, 401, fan_in=1, reach=3)
    problem = Problem.of(costs_from_dict(data))
    answer = solve_makespan(problem, feasible_domains(problem), 10**6, seconds=0.05)
    assert not answer.exact


def test_a_list_schedule_is_measured_against_load_and_longest_chain() -> None:
    """The bound of a given assignment, from the JSON form."""
    rng = random.Random(8)
    chains = loads = 0
    for _ in range(40):
        data = random_costs(rng, 2, rng.randint(1, 9), fan_in=1)
        cheapest = {node["id"]: min(node["cost_us"].values()) for node in data["nodes"]}
        end: dict[str, float] = {}
        for node in data["nodes"]:
            makers = [t["producer"] for t in data["tensors"] if node["id"] in t["consumers"]]
            ready = max([end[maker] for maker in makers if maker], default=0)
            end[node["id"]] = ready + cheapest[node["id"]]
        chain, load = max(end.values()), sum(cheapest.values()) / 2
        plan = partition(costs_from_dict(data), POLICIES[1], objective="makespan")
        assert plan.lower_bound_us == max(chain, load)
        chains += chain > load
        loads += load > chain
    assert chains
    assert loads


def unequal(capacity: int | None = None) -> Problem:
    """Independent operators on two memories that no schedule packs as tightly as their load."""
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {"id": f"n{i}", "op": "X", "cost_us": {"cpu_serial": t, "pim": t}, "weight_bytes": 8}
            for i, t in enumerate((91, 51, 51))
        ],
        "tensors": [],
    }
    if capacity is not None:
        data["capacity_bytes"] = {"pim": capacity}
    return Problem.of(costs_from_dict(data))


def answered(
    monkeypatch: pytest.MonkeyPatch, problem: Problem, **fields: Any
) -> tuple[Plan, list[float]]:
    """Return the plan when the solver answers `fields`, and the seconds that each search got.

    The bound is in microseconds. Exhaustive search comes to nothing.
    """
    seconds: list[float] = []
    fields = {"bound": 0.0, "exact": True, "solved": True, "place": None} | fields
    fields = {"assignment": None, "operator_starts": None} | fields
    bound = fields.pop("bound") * 10**problem.decimals
    answer = MipAnswer(bound, **fields)

    def solve(problem: Problem, domains: object, horizon: int, limit: float) -> MipAnswer:
        seconds.append(limit)
        return answer

    def search(problem: Problem, domains: object, places: list, limit: float) -> tuple:
        seconds.append(limit)
        return improve(problem, domains, places, limit)

    def exhaust(problem: Problem, domains: object, known: int, deadline: float) -> Shortest:
        seconds.append(deadline - time.monotonic())
        return Shortest(None, proved=False)

    monkeypatch.setattr(makespan, "solve_makespan", solve)
    monkeypatch.setattr(makespan, "improve", search)
    monkeypatch.setattr(makespan, "shortest", exhaust)
    cpu = dict.fromkeys(("n0", "n1", "n2"), "cpu_serial")
    return makespan_plan(problem, cpu, time_limit_s=2.0), seconds


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        # Solved to the end: the bound is that of all schedules, within the solver's tolerance.
        ({"bound": 102 - 1e-5}, 102),
        # Else it is rounded up to what sums of the costs can be, here whole microseconds.
        ({"bound": 98.5}, 99),
        ({"bound": 98.5, "solved": False}, 99),
        ({"bound": 98.5, "exact": False}, 99),
        ({"bound": 12.0, "exact": False}, 96.5),  # the load, (91 + 51 + 51) / 2
    ],
)
def test_what_the_solver_proves_is_what_the_plan_says(
    monkeypatch: pytest.MonkeyPatch, fields: dict, bound: float
) -> None:
    plan, seconds = answered(monkeypatch, unequal(), **fields)
    assert plan.total_us == 102
    assert plan.lower_bound_us == bound
    assert plan.optimal == (bound == 102)
    assert plan.limit_reached == (not fields.get("solved", True))
    assert len(seconds) == 3
    assert sum(seconds) == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("second", [True, False])
def test_of_two_proofs_the_lower_bound_counts(
    second: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HiGHS has proved too much at one horizon, and not at another."""
    problem, horizons = unequal(), []

    def solve(problem: Problem, domains: object, horizon: int, seconds: float) -> MipAnswer:
        horizons.append(horizon)
        last = len(horizons) == 2
        bound = 99.0 if last else 102.0
        return MipAnswer(bound, True, second or not last, (0, 0, 0), None, (0.0, 0.0, 0.0))

    monkeypatch.setattr(mip, "_solve_within", solve)
    answer = solve_makespan(problem, feasible_domains(problem), 1000, seconds=2)
    assert (answer.bound, answer.solved) == (99.0, second)
    assert horizons[1] > horizons[0] == 1000


def test_an_overfull_placement_of_the_solver_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tolerance may exceed a capacity by a byte."""
    problem = unequal(capacity=7)
    pim, cpu = problem.memories.index("pim"), problem.memories.index("cpu")
    plan, _ = answered(
        monkeypatch, problem, place=(cpu, pim, pim), operator_starts=(0.0, 0.0, 50.0),
        bound=97.0,
    )  # fmt: skip
    assert not plan.overfull
    assert plan.total_us == 193


def test_one_memory_is_a_queue() -> None:
    costs = costs_from_dict(random_costs(random.Random(1), 1, 20))
    plan = partition(costs, objective="makespan", time_limit_s=2)
    assert plan.total_us == partition(costs).total_us
    assert plan.optimal
    # The load of the memory proves it: no solver was needed, and no limit was met.
    assert plan.method == "list scheduling and local search"
    assert not plan.limit_reached


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


@pytest.mark.parametrize("method", ["exhaustive search", "integer programming"])
def test_a_memory_may_wait_for_what_is_urgent(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """List schedules start what is there; the order of a solver lets PIM wait for `next`."""
    if method == "integer programming":
        stopped = Shortest(None, proved=False)
        monkeypatch.setattr(makespan, "shortest", lambda *_: stopped)
    alone = {
        "first": ("cpu_serial", 1), "filler": ("pim", 10), "next": ("pim", 1),
        "last": ("cpu_serial", 20),
    }  # fmt: skip
    moves = {"cpu>pim": 0, "pim>cpu": 0}
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {"id": name, "op": "X", "cost_us": {device: cost}}
            for name, (device, cost) in alone.items()
        ],
        "tensors": [
            {"id": f"t{maker}", "producer": maker, "consumers": [reader], "output": False,
             "transfer_us": moves}
            for maker, reader in (("first", "next"), ("next", "last"))
        ],
    }  # fmt: skip
    costs = costs_from_dict(data)
    assert partition(costs, POLICIES[1], objective="makespan").total_us == 31
    plan = partition(costs, objective="makespan", time_limit_s=8)
    verify_schedule(Problem.of(costs), plan)
    assert plan.total_us == plan.lower_bound_us == shortest(data) == 22
    assert plan.method == method
