"""Each baseline on a graph worked out by hand, and never below the optimum."""

from __future__ import annotations

import random

import pytest
from support.cost_graphs import random_costs, total_cost

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.solve import POLICIES, partition

MEMORIES = {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]}


def graph(nodes: dict[str, dict], tensors: list[tuple], **extra) -> dict:
    """Return a cost graph of nodes id -> costs and tensors (producer, consumers, to, from)."""
    return {
        "format": "pimloop-costs/1",
        "memories": MEMORIES,
        "nodes": [{"id": name, "op": "X", "cost_us": costs} for name, costs in nodes.items()],
        "tensors": [
            {
                "id": f"t{i}",
                "producer": producer,
                "consumers": consumers,
                "output": not consumers,
                "transfer_us": {"cpu>pim": to_pim, "pim>cpu": to_cpu},
            }
            for i, (producer, consumers, to_pim, to_cpu) in enumerate(tensors)
        ],
        **extra,
    }


def test_priorities() -> None:
    data = graph(
        {
            "all": {"cpu_serial": 5, "cpu_parallel": 4, "pim": 9},
            "no parallel": {"cpu_serial": 1, "pim": 9},
            "serial only": {"cpu_serial": 2},
        },
        [("all", ["no parallel"], 1, 1), ("no parallel", ["serial only"], 1, 1)],
    )
    costs = costs_from_dict(data)
    chosen = {
        policy: list(partition(costs, policy).assignment.values())
        for policy in ("cpu_serial", "cpu_parallel_first", "pim_first")
    }
    assert chosen == {
        "cpu_serial": ["cpu_serial"] * 3,
        "cpu_parallel_first": ["cpu_parallel", "pim", "cpu_serial"],
        "pim_first": ["pim", "pim", "cpu_serial"],
    }


def test_greedy_looks_one_step_ahead_only() -> None:
    data = graph(
        {
            "a": {"cpu_serial": 4, "pim": 5},
            "b": {"cpu_serial": 9, "pim": 1},
            "c": {"cpu_serial": 9, "pim": 1},
        },
        [(None, ["a"], 0, 0), ("a", ["b"], 7, 7), ("b", ["c"], 7, 7), ("c", [], 3, 3)],
    )
    plan = partition(costs_from_dict(data), "greedy")
    # a: 4 on the CPU; b: 1 + 7 on PIM beats 9; c: 1 + 3 (its output goes home) beats 9 + 7.
    assert plan.assignment == {"a": "cpu_serial", "b": "pim", "c": "pim"}
    assert plan.total_us == 4 + 7 + 1 + 1 + 3
    assert partition(costs_from_dict(data)).total_us == 5 + 1 + 1 + 3


def test_greedy_counts_a_tensor_that_is_already_there_as_free() -> None:
    data = graph(
        {
            "a": {"cpu_serial": 1},
            "b": {"cpu_serial": 9, "pim": 1},
            "c": {"cpu_serial": 4, "pim": 1},
        },
        [("a", ["b", "c"], 5, 5)],
    )
    plan = partition(costs_from_dict(data), "greedy")
    assert plan.assignment["c"] == "pim"
    assert plan.total_us == 1 + 5 + 1 + 1


def test_paper_dp_is_right_on_a_chain() -> None:
    rng = random.Random(1)
    for _ in range(60):
        length = rng.randint(2, 12)
        nodes = {
            f"n{i}": {d: rng.randint(0, 20) for d in ("cpu_serial", "cpu_parallel", "pim")}
            for i in range(length)
        }
        tensors = [
            (f"n{i}", [f"n{i + 1}"], rng.randint(0, 12), rng.randint(0, 12))
            for i in range(length - 1)
        ]
        costs = costs_from_dict(graph(nodes, tensors))
        assert partition(costs, "paper_dp").total_us == partition(costs).total_us


def test_paper_dp_misses_a_skip_edge() -> None:
    """a feeds c past b; the line believes that c's input sits where b does."""
    data = graph(
        {
            "a": {"cpu_serial": 0},
            "b": {"cpu_serial": 5, "pim": 0},
            "c": {"cpu_serial": 3, "pim": 0},
        },
        [(None, ["b"], 1, 1), ("a", ["c"], 50, 50)],
    )
    dp, best = (partition(costs_from_dict(data), policy) for policy in ("paper_dp", "optimal"))
    # Changing line at b costs nothing in its eyes (b does not read a), and staying at c neither.
    assert dp.assignment == {"a": "cpu_serial", "b": "pim", "c": "pim"}
    assert dp.total_us == 1 + 50
    assert best.total_us == 1 + 3


@pytest.mark.parametrize("memories", [1, 2, 3, 4])
def test_no_policy_beats_the_optimum(memories: int) -> None:
    rng = random.Random(memories)
    strictly_worse = dict.fromkeys(POLICIES, 0)
    for _ in range(60):
        data = random_costs(rng, memories, rng.randint(2, 20), decimals=rng.choice([0, 2]))
        costs = costs_from_dict(data)
        best = partition(costs).total_us
        for policy in POLICIES:
            plan = partition(costs, policy)
            total = total_cost(data, dict(plan.assignment))
            assert total is not None
            assert plan.total_us == float(total)
            assert plan.total_us >= best
            assert plan.lower_bound_us <= best
            strictly_worse[policy] += plan.total_us > best
    assert strictly_worse["optimal"] == 0
    if memories > 1:
        assert all(count for policy, count in strictly_worse.items() if policy != "optimal")


def test_priorities_respect_the_capacity() -> None:
    data = graph(
        {"a": {"cpu_serial": 9, "pim": 1}, "b": {"cpu_serial": 9, "pim": 1}},
        [],
        capacity_bytes={"pim": 150},
    )
    for node in data["nodes"]:
        node["weight_bytes"] = 100
    costs = costs_from_dict(data)
    assert partition(costs, "pim_first").assignment == {"a": "pim", "b": "cpu_serial"}
    assert partition(costs, "paper_dp").overfull == {"pim": 200}


def test_greedy_says_where_it_is_stuck() -> None:
    data = graph({"a": {"cpu_serial": 1, "pim": 9}, "b": {"pim": 1}}, [("a", ["b"], 1, 1)])
    del data["tensors"][0]["transfer_us"]["cpu>pim"]
    with pytest.raises(PartitionerError, match="greedy is stuck at node 'b'"):
        partition(costs_from_dict(data), "greedy")
    assert partition(costs_from_dict(data)).assignment == {"a": "pim", "b": "pim"}


def test_cpu_serial_needs_its_device() -> None:
    data = graph({"a": {"cpu": 5, "pim": 1}}, [], memories={"cpu": ["cpu"], "pim": ["pim"]})
    message = r"policy cpu_serial needs a device named 'cpu_serial'.* has 'cpu', 'pim'"
    with pytest.raises(PartitionerError, match=message):
        partition(costs_from_dict(data), "cpu_serial")
    # An order of preference goes on with its next device.
    assert partition(costs_from_dict(data), "cpu_parallel_first").assignment == {"a": "pim"}
    assert partition(costs_from_dict(data)).total_us == 1.0


def test_unknown_policy() -> None:
    data = graph({"a": {"cpu_serial": 1}}, [])
    with pytest.raises(PartitionerError, match="unknown policy 'best'"):
        partition(costs_from_dict(data), "best")
