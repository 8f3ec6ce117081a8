"""Profile runs become the cost graph they were taken from, and gaps are refused by name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cost_graphs import random_costs

from pimloop.partitioner.costs import CostGraph, costs_from_dict, costs_to_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.profile.merge import ProfileRun, merge_runs
from pimloop.partitioner.profile.plan import plan_profile


def execute(costs: CostGraph, run: dict[str, str], noise: random.Random) -> ProfileRun:
    """Pretend to execute `run` three times: the true cost once, more otherwise."""
    graph = costs.graph
    memory = {name: graph.memory_of[device] for name, device in run.items()}
    transfers = {}
    for tensor in graph.tensors:
        start = memory[tensor.producer] if tensor.producer else "cpu"
        ends = {memory[consumer] for consumer in tensor.consumers}
        if tensor.output:
            ends.add("cpu")
        for end in ends - {start}:
            true = costs.transfer_us[tensor.id][start, end]
            transfers[tensor.id, start, end] = [true + noise.random(), true, true + 5]
    nodes = {}
    for name, device in run.items():
        true = costs.cost_us[name][device]
        nodes[name] = [true + 3, true + noise.random(), true]
    return ProfileRun(run, nodes, transfers)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 15), memories=st.integers(1, 3))
def test_a_profile_restores_every_cost_that_matters(seed: int, size: int, memories: int) -> None:
    rng = random.Random(seed)
    costs = costs_from_dict(random_costs(rng, memories, size, fan_in=2, reach=4))
    plan = plan_profile(costs.graph, time_limit_s=5)
    merged = merge_runs(costs.graph, [execute(costs, run, rng) for run in plan.runs])
    assert merged.cost_us == costs.cost_us
    for tensor, moves in merged.transfer_us.items():
        assert moves.items() <= costs.transfer_us[tensor].items()
    assert partition(merged).total_us == partition(costs).total_us


def test_groups_fill_in_for_each_other() -> None:
    data = random_costs(random.Random(5), 2, 12, incapable=0)
    for node in data["nodes"]:
        node["signature"] = node["op"] + "".join(node["cost_us"])
        node["cost_us"] = {
            device: 10 * ord(node["op"]) + i for i, device in enumerate(node["cost_us"])
        }
    for tensor in data["tensors"]:
        tensor["bytes"] = 64
        tensor["transfer_us"] = {"cpu>pim": 7, "pim>cpu": 9}
    costs = costs_from_dict(data)
    plan = plan_profile(costs.graph, group="signature")
    runs = [execute(costs, run, random.Random(1)) for run in plan.runs[:-1]] + [
        execute(costs, plan.runs[-1], random.Random(2))
    ]
    merged = merge_runs(costs.graph, runs, group="signature")
    assert merged.cost_us == costs.cost_us


SMALL = {
    "format": "pimloop-costs/1",
    "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
    "nodes": [{"id": n, "op": "X", "cost_us": {"cpu_serial": 1, "pim": 1}} for n in "ab"],
    "tensors": [
        {
            "id": "t",
            "producer": "a",
            "consumers": ["b"],
            "output": False,
            "transfer_us": {"cpu>pim": 1, "pim>cpu": 1},
        }
    ],
}


def test_median_and_minimum() -> None:
    graph = costs_from_dict(SMALL).graph
    runs = [
        ProfileRun(
            {"a": "cpu_serial", "b": "pim"},
            {"a": [4, 2, 9], "b": [1]},
            {("t", "cpu", "pim"): [5]},
        ),
        ProfileRun(
            {"a": "pim", "b": "cpu_serial"},
            {"a": [6], "b": [8]},
            {("t", "pim", "cpu"): [3, 30, 4]},
        ),
    ]
    low, middle = merge_runs(graph, runs), merge_runs(graph, runs, "median")
    assert (low.cost_us["a"]["cpu_serial"], middle.cost_us["a"]["cpu_serial"]) == (2, 4)
    assert (low.transfer_us["t"]["pim", "cpu"], middle.transfer_us["t"]["pim", "cpu"]) == (3, 4)


def test_missing_costs_are_named() -> None:
    run = ProfileRun(
        {"a": "cpu_serial", "b": "pim"}, {"a": [1], "b": [1]}, {("t", "cpu", "pim"): [1]}
    )
    with pytest.raises(PartitionerError, match="3 costs were not measured") as caught:
        merge_runs(costs_from_dict(SMALL).graph, [run])
    for name in ("'a' on 'pim'", "'b' on 'cpu_serial'", "tensor 't' pim>cpu"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (ProfileRun({"z": "pim"}, {"z": [1]}), "node 'z' on 'pim'"),
        (ProfileRun({"a": "gpu"}, {"a": [1]}), "node 'a' on 'gpu'"),
        (ProfileRun({"a": "pim"}, {"a": [float("nan")]}), "measured time is nan"),
        (ProfileRun({"a": "pim"}, {"a": [-1.0]}), "measured time is -1"),
        (ProfileRun({}, {}, {("t", "pim", "moon"): [1]}), "tensor 't' pim>moon: the graph has no"),
    ],
)
def test_measurements_that_do_not_fit(run: ProfileRun, message: str) -> None:
    with pytest.raises(PartitionerError, match=message):
        merge_runs(costs_from_dict(SMALL).graph, [run])


def test_unknown_statistic() -> None:
    with pytest.raises(PartitionerError, match="unknown statistic 'mean'"):
        merge_runs(costs_from_dict(SMALL).graph, [], "mean")


def test_costs_of_others_are_named_and_no_plan_from_them_is_optimal() -> None:
    data = {
        **SMALL,
        "nodes": [{**node, "signature": "X/4x4"} for node in SMALL["nodes"]],  # type: ignore[attr-defined]
    }
    graph = costs_from_dict(data).graph
    runs = [
        ProfileRun(
            {"a": "cpu_serial", "b": "pim"},
            {"a": [4], "b": [1]},
            {("t", "cpu", "pim"): [5]},
        ),
        ProfileRun(
            {"a": "pim", "b": "pim"},
            {"a": [2], "b": [1]},
            {("t", "pim", "cpu"): [3]},
        ),
    ]
    costs = merge_runs(graph, runs, group="signature")
    assert costs.cost_us["b"] == {"cpu_serial": 4, "pim": 1}
    assert costs.cost_us["a"]["pim"] == 2  # its own measurement comes before its class
    assert costs.stand_ins == {("b", "cpu_serial")}
    assert costs_from_dict(costs_to_dict(costs)).stand_ins == costs.stand_ins
    for objective in ("sequential", "makespan"):
        for policy in ("optimal", "pim_first"):
            plan = partition(costs, policy, objective=objective, time_limit_s=2)
            assert not plan.optimal
            assert plan.proof["stand_ins"] == (
                "costs taken from others of the same class, not measured: 1"
            )
    complete = merge_runs(graph, [*runs, ProfileRun({"b": "cpu_serial"}, {"b": [4]})])
    assert not complete.stand_ins
    assert partition(complete).optimal
    assert partition(complete).total_us == partition(costs).total_us
