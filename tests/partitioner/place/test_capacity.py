"""Capacities with weights that operators share, against exhaustive search."""

from __future__ import annotations

import itertools
import random

import pytest
from support.cost_graphs import all_assignments, brute_force, held, shared_costs, total_cost

from pimloop.partitioner.costs import costs_from_dict, costs_to_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.baselines import BASELINES
from pimloop.partitioner.place.capacity import overfull
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.profile.plan import plan_profile


@pytest.mark.parametrize("memories", [2, 3])
@pytest.mark.parametrize("objective", ["sequential", "makespan"])
def test_shared_weights_against_brute_force(memories: int, objective: str) -> None:
    rng = random.Random(memories)
    bound = 0
    for _ in range(50 if objective == "sequential" else 4):
        data = shared_costs(rng, rng.randint(2, 5), memories)
        everything = {node["id"]: "pim" for node in data["nodes"]}
        limit = rng.randint(0, held(data, everything))
        data["capacity_bytes"] = {"pim": limit}
        costs = costs_from_dict(data)
        plan = partition(costs, objective=objective, time_limit_s=2)
        assert not plan.overfull
        assert held(data, plan.assignment) <= limit
        assert overfull(costs.graph, {"pim": limit}, plan.assignment) == {}
        if objective == "sequential":
            best = brute_force(
                data, lambda assignment, d=data, top=limit: held(d, assignment) <= top
            )
            assert total_cost(data, plan.assignment) == best
            bound += best != brute_force(data)
        for name in set(BASELINES) - {"paper_dp"}:
            assert held(data, BASELINES[name](_problem(costs))) <= limit
    assert objective == "makespan" or bound >= 3


def _problem(costs):
    from pimloop.partitioner.problem import Problem

    return Problem.of(costs)


def test_files_keep_shared_weights_and_name_what_is_wrong() -> None:
    data = shared_costs(random.Random(5), 4)
    costs = costs_from_dict(data)
    assert costs_from_dict(costs_to_dict(costs)) == costs
    data["nodes"][0]["shared_weights"] = ["moon"]
    with pytest.raises(PartitionerError, match="shared weight 'moon' has no entry"):
        costs_from_dict(data)
    data["nodes"][0]["shared_weights"] = []
    data["shared_weights"]["w0"] = -1
    with pytest.raises(PartitionerError, match=r"shared_weights\.w0 must be"):
        costs_from_dict(data)


def shown(data: dict, run: dict[str, str]) -> frozenset:
    """Return what a run measures."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    covered = {("node", node["id"], run[node["id"]]) for node in data["nodes"]}
    for tensor in data["tensors"]:
        start = memory[run[tensor["producer"]]] if tensor["producer"] else "cpu"
        ends = {memory[run[consumer]] for consumer in tensor["consumers"]}
        ends |= {"cpu"} if tensor["output"] else set()
        covered |= {("move", tensor["id"], start, end) for end in ends - {start}}
    return frozenset(covered)


def fewest_runs(data: dict, limit: int) -> tuple[int, frozenset]:
    """Return the least number of runs within a capacity that measure everything."""
    sets = {shown(data, run) for run in all_assignments(data) if held(data, run) <= limit}
    best = [items for items in sets if not any(items < other for other in sets)]
    everything = frozenset().union(*best)
    for number in itertools.count(1):
        if any(
            frozenset().union(*some) == everything for some in itertools.combinations(best, number)
        ):
            return number, everything
    raise AssertionError


def test_profile_runs_within_a_capacity_are_the_fewest() -> None:
    rng = random.Random(11)
    more = 0
    for _ in range(14):
        data = shared_costs(rng, rng.randint(2, 4))
        data["memories"] = {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]}
        alone = max(
            held(data, {n["id"]: "cpu_serial" for n in data["nodes"]} | {node["id"]: "pim"})
            for node in data["nodes"]
        )
        limit = rng.randint(alone, 2 * alone)
        graph = costs_from_dict(data).graph
        plan = plan_profile(graph, capacity_bytes={"pim": limit})
        number, everything = fewest_runs(data, limit)
        assert all(held(data, run) <= limit for run in plan.runs)
        assert frozenset().union(*(shown(data, run) for run in plan.runs)) == everything
        assert plan.proved
        assert len(plan.runs) == number, plan.certificate
        more += number > len(plan_profile(graph).runs)
    assert more >= 2, "the capacity never asked for a run more: the test proves little"


def chain(sizes: list[int]) -> dict:
    """Operators one after the other, their weights in bytes."""
    moves = {"cpu>pim": 1, "pim>cpu": 1}
    names = [f"n{i}" for i in range(len(sizes))]
    return {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
        "nodes": [
            {"id": name, "op": "MatMul", "weight_bytes": size,
             "cost_us": {"cpu_serial": 9, "cpu_parallel": 5, "pim": 1}}
            for name, size in zip(names, sizes, strict=True)
        ],
        "tensors": [
            {"id": f"t{i}", "producer": None if i == 0 else names[i - 1],
             "consumers": names[i : i + 1], "output": i == len(sizes), "transfer_us": dict(moves)}
            for i in range(len(sizes) + 1)
        ],
    }  # fmt: skip


def test_long_chains_take_as_many_runs_as_their_weights_fill() -> None:
    graph = costs_from_dict(chain([10] * 40)).graph
    plan = plan_profile(graph, capacity_bytes={"pim": 50})
    assert len(plan.runs) == plan.lower_bound == 8
    assert "400 bytes of weights pass through the 50 bytes of memory 'pim'" in plan.certificate
    plan = plan_profile(graph, capacity_bytes={"pim": 19})
    assert len(plan.runs) == plan.lower_bound == 40
    assert "40 operators take more than half of the 19 bytes" in plan.certificate
    assert plan_profile(graph, capacity_bytes={"pim": 400}).runs == plan_profile(graph).runs


def test_a_bound_that_is_not_reached_is_not_called_proved() -> None:
    graph = costs_from_dict(chain([3] * 24)).graph
    plan = plan_profile(graph, capacity_bytes={"pim": 8}, time_limit_s=0.01)
    assert len(plan.runs) >= plan.lower_bound == 9
    assert plan.proved == (len(plan.runs) == plan.lower_bound)
    assert plan.proved or "at least 9 are needed" in plan.certificate
