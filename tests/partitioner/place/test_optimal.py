"""The optimum against brute force, against HiGHS, and under changes that must not matter."""

from __future__ import annotations

import copy
import random
from fractions import Fraction

import pytest
from support.cost_graphs import brute_force, random_costs, total_cost

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate, places_of
from pimloop.partitioner.place import optimum
from pimloop.partitioner.place.ilp import IlpResult
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.problem import Problem


def exact(data: dict, assignment: dict[str, str]) -> Fraction:
    total = total_cost(data, assignment)
    assert total is not None
    return total


def check_proved(data: dict, plan, expected: Fraction) -> None:
    """Hold a plan against the true optimum and its own statements against its assignment."""
    assert exact(data, plan.assignment) == expected
    assert plan.total_us == float(expected)
    assert plan.lower_bound_us == plan.total_us
    assert plan.optimal
    assert plan.compute_us + plan.transfer_us == pytest.approx(plan.total_us, abs=1e-9)


@pytest.mark.parametrize("memories", [1, 2, 3, 4])
@pytest.mark.parametrize("decimals", [0, 3])
def test_brute_force_agrees(memories: int, decimals: int) -> None:
    rng = random.Random(memories * 10 + decimals)
    for _ in range(300):
        size = rng.randint(1, {1: 6, 2: 6, 3: 5, 4: 5}[memories])
        forbid = rng.choice([0.0, 0.0, 0.0, 0.3])
        data = random_costs(rng, memories, size, forbid=forbid, decimals=decimals)
        expected = brute_force(data)
        costs = costs_from_dict(data)
        if expected is None:
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                partition(costs)
            continue
        methods = ["auto", "dp"] + (["mincut"] if memories <= 2 else [])
        for method in methods:
            check_proved(data, partition(costs, method=method), expected)


@pytest.mark.parametrize("memories", [2, 3, 4])
def test_integer_programming_agrees_on_small_graphs(memories: int) -> None:
    rng = random.Random(memories)
    for _ in range(40):
        data = random_costs(rng, memories, rng.randint(1, 5), forbid=rng.choice([0.0, 0.2]))
        expected = brute_force(data)
        costs = costs_from_dict(data)
        if expected is None:
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                partition(costs, method="ilp")
        else:
            check_proved(data, partition(costs, method="ilp"), expected)


@pytest.mark.parametrize("memories", [1, 2, 3, 4])
def test_highs_agrees_on_larger_graphs(memories: int) -> None:
    rng = random.Random(100 + memories)
    for _ in range(75):
        data = random_costs(
            rng, memories, rng.randint(15, 60), reach=6, fan_in=2, decimals=rng.choice([0, 2])
        )
        costs = costs_from_dict(data)
        ours, oracle = partition(costs), partition(costs, method="ilp")
        assert ours.method != oracle.method
        assert ours.total_us == oracle.total_us
        assert oracle.optimal


@pytest.mark.full
@pytest.mark.parametrize("memories", [1, 2, 3, 4])
def test_brute_force_agrees_on_thousands(memories: int) -> None:
    rng = random.Random(1000 + memories)
    for _ in range(2000):
        data = random_costs(
            rng, memories, rng.randint(1, 6), forbid=rng.choice([0.0, 0.25]), decimals=2
        )
        expected = brute_force(data)
        if expected is None:
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                partition(costs_from_dict(data))
        else:
            check_proved(data, partition(costs_from_dict(data)), expected)


@pytest.mark.parametrize("memories", [2, 3])
def test_capacity_against_brute_force(memories: int) -> None:
    rng = random.Random(50 + memories)
    bound = 0
    for _ in range(80):
        data = random_costs(rng, memories, rng.randint(2, 6), weights=True)
        limit = rng.randint(0, 50)
        data["capacity_bytes"] = {"pim": limit}
        weight = {node["id"]: node["weight_bytes"] for node in data["nodes"]}

        def fits(assignment: dict[str, str], weight=weight, limit=limit) -> bool:
            return sum(weight[v] for v, device in assignment.items() if device == "pim") <= limit

        expected = brute_force(data, fits)
        if expected is None:
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                partition(costs_from_dict(data))
            continue
        plan = partition(costs_from_dict(data))
        check_proved(data, plan, expected)
        assert fits(plan.assignment)
        assert not plan.overfull
        bound += plan.method == "integer programming"
    assert bound >= 5, "the capacity never bound: the test proves nothing"


def test_wide_graph_falls_back_to_integer_programming() -> None:
    data = random_costs(random.Random(3), 3, 60, fan_in=3)
    costs = costs_from_dict(data)
    with pytest.raises(PartitionerError, match="use --method ilp"):
        partition(costs, method="dp", table_limit=1000)
    plan = partition(costs, table_limit=1000)
    assert plan.method == "integer programming"
    check_proved(data, plan, exact(data, partition(costs, method="dp").assignment))


def test_tensor_is_paid_once_per_destination_memory() -> None:
    nodes = [{"id": "a", "op": "A", "cost_us": {"cpu_serial": 1}}] + [
        {"id": f"c{i}", "op": "B", "cost_us": {"cpu_serial": 6, "pim": 1}} for i in range(3)
    ]
    tensor = {"id": "t", "producer": "a", "consumers": ["c0", "c1", "c2", "c1"], "output": False}
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": nodes,
        "tensors": [{**tensor, "transfer_us": {"cpu>pim": 10}}],
    }
    plan = partition(costs_from_dict(data))
    # One transfer of 10 saves 5 three times; charged per consumer it would not pay.
    assert plan.assignment == {"a": "cpu_serial", "c0": "pim", "c1": "pim", "c2": "pim"}
    assert (plan.total_us, plan.compute_us, plan.transfer_us) == (14, 4, 10)


@pytest.mark.parametrize("memories", [2, 3])
def test_scaling_all_costs_scales_the_optimum(memories: int) -> None:
    rng = random.Random(memories)
    for factor in (7, 1024, 10**6):
        data = random_costs(rng, memories, 12)
        scaled = copy.deepcopy(data)
        for node in scaled["nodes"]:
            node["cost_us"] = {d: cost * factor for d, cost in node["cost_us"].items()}
        for tensor in scaled["tensors"]:
            tensor["transfer_us"] = {p: c * factor for p, c in tensor["transfer_us"].items()}
        base = partition(costs_from_dict(data)).total_us
        assert partition(costs_from_dict(scaled)).total_us == base * factor


@pytest.mark.parametrize("memories", [2, 3])
def test_splitting_a_node_keeps_the_optimum(memories: int) -> None:
    """A node becomes two in a row; the tensor between may move for free or for a price."""
    rng = random.Random(20 + memories)
    for _ in range(20):
        data = random_costs(rng, memories, 10)
        base = partition(costs_from_dict(data)).total_us
        split = copy.deepcopy(data)
        victim = rng.choice(split["nodes"])
        zero = dict.fromkeys(victim["cost_us"], 0)
        split["nodes"].append({"id": "second half", "op": "copy", "cost_us": zero})
        for tensor in split["tensors"]:
            if tensor["producer"] == victim["id"]:
                tensor["producer"] = "second half"
        split["tensors"].append(
            {
                "id": "between",
                "producer": victim["id"],
                "consumers": ["second half"],
                "transfer_us": {},
            }
        )
        assert partition(costs_from_dict(split)).total_us == base


@pytest.mark.parametrize("memories", [2, 3])
def test_a_useless_device_changes_nothing(memories: int) -> None:
    rng = random.Random(30 + memories)
    data = random_costs(rng, memories, 12)
    base = partition(costs_from_dict(data)).total_us
    worse = copy.deepcopy(data)
    worse["memories"]["cpu"].append("slow")
    worse["memories"]["attic"] = ["abacus"]
    for node in worse["nodes"]:
        node["cost_us"]["abacus"] = max(node["cost_us"].values()) + 1
        if "cpu_serial" in node["cost_us"]:
            node["cost_us"]["slow"] = node["cost_us"]["cpu_serial"] + 1
    for tensor in worse["tensors"]:
        for memory in data["memories"]:
            tensor["transfer_us"][f"{memory}>attic"] = 1000
            tensor["transfer_us"][f"attic>{memory}"] = 1000
    plan = partition(costs_from_dict(worse))
    # A node on the abacus costs more than elsewhere, and more than all moves it could save.
    assert plan.total_us == base


def test_floats_that_do_not_add_up_in_binary() -> None:
    data = random_costs(random.Random(8), 2, 40, decimals=9)
    plan = partition(costs_from_dict(data))
    assert plan.total_us == float(exact(data, plan.assignment))
    assert plan.lower_bound_us == plan.total_us


def test_huge_and_tiny_costs_together_stay_exact() -> None:
    """Capacities far beyond 32 bits: a flow solver that overflows would be seen here."""
    rng = random.Random(4)
    for _ in range(30):
        data = random_costs(rng, 2, 8)
        for node in data["nodes"]:
            for device in node["cost_us"]:
                node["cost_us"][device] = rng.choice([rng.randint(0, 3), rng.randint(1, 10**14)])
        for tensor in data["tensors"]:
            for pair in tensor["transfer_us"]:
                tensor["transfer_us"][pair] = rng.choice([1, rng.randint(1, 10**14)])
        expected = brute_force(data)
        assert expected is not None
        check_proved(data, partition(costs_from_dict(data)), expected)


def test_a_stopped_integer_programme_is_not_called_optimal(monkeypatch) -> None:
    """Whatever the solver's bound leaves open is open in the plan."""
    data = random_costs(random.Random(2), 2, 10)
    costs = costs_from_dict(data)
    best = partition(costs)
    ticks = evaluate(Problem.of(costs), best.assignment).total
    place = tuple(places_of(Problem.of(costs), best.assignment))

    def stopped(bound: float, solved: bool):
        return lambda *_: IlpResult(place, bound, solved, variables=1, constraints=1)

    monkeypatch.setattr(optimum, "solve_by_ilp", stopped(ticks * 0.9, solved=False))
    plan = partition(costs, method="ilp")
    assert not plan.optimal
    assert plan.lower_bound_us == pytest.approx(best.total_us * 0.9)
    assert plan.proof["certainty"] == "stopped by the limit"
    # One tick less than the costs' common divisor leaves no room, so the bound is rounded up.
    room = Problem.of(costs).granularity - 1
    monkeypatch.setattr(optimum, "solve_by_ilp", stopped(float(ticks - room), solved=False))
    assert partition(costs, method="ilp").optimal
