"""The cost graph format: what it keeps, and what it refuses by name."""

from __future__ import annotations

import copy
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cost_graphs import random_costs

from pimloop.partitioner.costs import costs_from_dict, costs_to_dict, load_costs
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.solve import partition

GOOD = {
    "format": "pimloop-costs/1",
    "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
    "capacity_bytes": {"pim": 1000},
    "nodes": [
        {"id": "a", "op": "Add", "cost_us": {"cpu_serial": 3.5}},
        {
            "id": "b",
            "op": "MatMul",
            "weight_bytes": 8,
            "signature": "MatMul/2x2",
            "cost_us": {"cpu_serial": 9.0, "cpu_parallel": 4.0, "pim": 0.5},
        },
    ],
    "tensors": [
        {
            "id": "t",
            "producer": "a",
            "consumers": ["b", "b"],
            "output": False,
            "bytes": 64,
            "transfer_us": {"cpu>pim": 1.25},
        },
        {
            "id": "y",
            "producer": "b",
            "consumers": [],
            "output": True,
            "transfer_us": {"pim>cpu": 0.125, "cpu>pim": 7},
        },
    ],
}


def broken(path: list, value) -> dict:
    data = copy.deepcopy(GOOD)
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return data


def test_round_trip(tmp_path) -> None:
    costs = costs_from_dict(GOOD)
    (tmp_path / "costs.json").write_text(json.dumps(costs_to_dict(costs)))
    again = load_costs(tmp_path / "costs.json")
    assert costs_to_dict(again) == costs_to_dict(costs)
    assert again.graph.tensors[0].consumers == ("b",)
    assert partition(again).total_us == 3.5 + 1.25 + 0.5 + 0.125


@pytest.mark.parametrize("objective", ["sequential", "makespan"])
def test_the_mark_of_disturbed_cpu_times_stays_with_costs_and_plan(objective) -> None:
    marked = costs_from_dict({**GOOD, "format": "pimloop-costs/2", "cpu_times_disturbed": True})
    data = costs_to_dict(marked)
    assert (data["format"], data["cpu_times_disturbed"]) == ("pimloop-costs/2", True)
    assert costs_from_dict(data).cpu_times_disturbed
    for policy in ("optimal", "pim_first"):
        assert partition(marked, policy, objective=objective).to_dict()["cpu_times_disturbed"]
    plain = costs_from_dict(GOOD)
    assert costs_to_dict(plain)["format"] == "pimloop-costs/1"
    assert "cpu_times_disturbed" not in costs_to_dict(plain)
    assert "cpu_times_disturbed" not in partition(plain, objective=objective).to_dict()
    for broken, message in (
        ({"cpu_times_disturbed": True}, "cpu_times_disturbed is not of 'pimloop-costs/1'"),
        ({"format": "pimloop-costs/2", "cpu_times_disturbed": 1}, "must be true or false"),
    ):
        with pytest.raises(PartitionerError, match=message):
            costs_from_dict({**GOOD, **broken})


BAD = {
    "wrong format": (["format"], "pimloop-plan/1", 'format is "pimloop-plan/1"'),
    "no memories": (["memories"], {}, "no memories"),
    "no nodes": (["nodes"], [], "empty"),
    "nodes missing": (["nodes"], ..., "file.json: the key nodes is missing"),
    "nodes not a list": (["nodes"], {"a": 1}, "file.json: nodes must be a list, not an object"),
    "duplicate node": (["nodes", 1, "id"], "a", "node id 'a' is used twice"),
    "duplicate tensor": (["tensors", 1, "id"], "t", "tensor id 't' is used twice"),
    "unknown producer": (
        ["tensors", 0, "producer"],
        "ghost",
        "tensor 't': unknown producer 'ghost",
    ),
    "unknown consumer": (["tensors", 0, "consumers"], ["ghost"], "unknown consumer 'ghost'"),
    "no device": (["nodes", 0, "cost_us"], {}, "node 'a': no device can run it"),
    "unknown device": (["nodes", 0, "cost_us"], {"tpu": 1}, "node 'a': unknown device 'tpu'"),
    "negative cost": (["nodes", 0, "cost_us", "cpu_serial"], -1, "node 'a'.*at least 0, not -1"),
    "NaN cost": (["nodes", 0, "cost_us", "cpu_serial"], math.nan, "node 'a'.*at least 0, not NaN"),
    "infinite cost": (
        ["nodes", 0, "cost_us", "cpu_serial"],
        math.inf,
        "node 'a'.*at most 1e.18, not Inf",
    ),
    "null cost": (["nodes", 0, "cost_us", "cpu_serial"], None, "node 'a'.*measure it, or remove"),
    "text cost": (
        ["nodes", 0, "cost_us", "cpu_serial"],
        "3",
        "node 'a': nodes.0..cost_us.cpu_serial must be a number",
    ),
    "boolean cost": (
        ["nodes", 0, "cost_us", "cpu_serial"],
        True,
        "node 'a'.*must be a number, not true",
    ),
    "monstrous cost": (["nodes", 0, "cost_us", "cpu_serial"], 10**400, "node 'a'.*at most 1e.18"),
    "no cost_us": (["nodes", 0, "cost_us"], ..., "node 'a': the key nodes.0..cost_us is missing"),
    "negative transfer": (
        ["tensors", 1, "transfer_us", "pim>cpu"],
        -2,
        "tensor 'y'.*pim>cpu.*at least 0",
    ),
    "NaN transfer": (["tensors", 1, "transfer_us", "pim>cpu"], math.nan, "tensor 'y'.*at least 0"),
    "null transfer": (
        ["tensors", 1, "transfer_us", "pim>cpu"],
        None,
        "tensor 'y'.*measure it, or remove",
    ),
    "unknown memory": (["tensors", 1, "transfer_us"], {"pim>moon": 1}, "unknown memory 'moon'"),
    "bad pair": (["tensors", 1, "transfer_us"], {"pim-cpu": 1}, "'pim-cpu' is not of the form"),
    "self move": (["tensors", 1, "transfer_us"], {"pim>pim": 1}, "stays in one memory"),
    "device twice": (["memories", "pim"], ["cpu_serial"], "'cpu_serial' is listed in memory 'cpu'"),
    "memory without device": (["memories", "pim"], [], "memory 'pim' has no devices"),
    "unknown capacity": (["capacity_bytes"], {"moon": 1}, "unknown memory 'moon'"),
    "negative capacity": (["capacity_bytes"], {"pim": -1}, "capacity_bytes.pim must be"),
    "weights": (["nodes", 1, "weight_bytes"], -4, "weight_bytes"),
    "output text": (
        ["tensors", 1, "output"],
        "yes",
        "tensor 'y': tensors.1..output must be true or false",
    ),
    "cycle": (["tensors", 1, "consumers"], ["a"], "cycle: ('a' -> 'b' -> 'a'|'b' -> 'a' -> 'b')"),
    "self loop": (["tensors", 1, "consumers"], ["b"], "cycle: 'b' -> 'b'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    path, value, message = BAD[case]
    with pytest.raises(PartitionerError, match=message):
        costs_from_dict(broken(path, value), name="file.json")


@pytest.mark.parametrize("text", ["", "[1", "nul", "[]", "3", '"x"', "[" * 100_000])
def test_files_that_are_no_cost_graph(tmp_path, text: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(PartitionerError, match=r"costs\.json"):
        load_costs(path)


def test_missing_file(tmp_path) -> None:
    with pytest.raises(PartitionerError, match=r"nowhere\.json: cannot read"):
        load_costs(tmp_path / "nowhere.json")


def test_home_memory_is_needed_for_inputs() -> None:
    data = broken(["memories"], {"dram": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]})
    data["tensors"] = [
        {"id": "x", "producer": None, "consumers": ["a"], "output": False, "transfer_us": {}}
    ]
    with pytest.raises(PartitionerError, match=r"tensor 'x'.*memory 'cpu'"):
        costs_from_dict(data)


def test_forbidden_transfers_name_the_dead_end() -> None:
    data = broken(["nodes", 1, "cost_us"], {"pim": 1})
    data["tensors"][0]["transfer_us"] = {"pim>cpu": 1}
    with pytest.raises(PartitionerError, match=r"no feasible assignment: node 'b'.*tensor 't'"):
        partition(costs_from_dict(data))


def test_forbidden_transfers_along_a_chain() -> None:
    """Only far apart do the two ends contradict each other."""
    both = {"cpu_serial": 1, "pim": 1}
    nodes = [{"id": f"n{i}", "op": "X", "cost_us": both} for i in range(50)]
    nodes[0]["cost_us"], nodes[-1]["cost_us"] = {"cpu_serial": 1}, {"pim": 1}
    tensors = [
        {"id": f"t{i}", "producer": f"n{i}", "consumers": [f"n{i + 1}"], "transfer_us": {}}
        for i in range(49)
    ]
    data = {**GOOD, "nodes": nodes, "tensors": tensors}
    with pytest.raises(PartitionerError, match="no feasible assignment: node"):
        partition(costs_from_dict(data))
    tensors[30]["transfer_us"] = {"cpu>pim": 5}
    assert partition(costs_from_dict(data)).total_us == 55


def test_costs_too_large_to_add() -> None:
    data = broken(["nodes", 0, "cost_us", "cpu_serial"], 1e18)
    data["nodes"][1]["cost_us"] = {"cpu_serial": 1e18}
    with pytest.raises(PartitionerError, match="more than can be summed exactly"):
        partition(costs_from_dict(data))


@pytest.mark.parametrize("nodes", [20_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_many_thousand_nodes(nodes: int) -> None:
    data = random_costs(random.Random(1), 2, nodes, reach=6, fan_in=2)
    plan = partition(costs_from_dict(data))
    assert len(plan.assignment) == nodes
    assert plan.lower_bound_us == plan.total_us


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
PATHS = [path for path, _, _ in BAD.values()]


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(PATHS), value=json_values)
def test_any_json_is_accepted_or_refused_with_a_reason(path: list, value) -> None:
    """Whatever stands in one place of the file, there is a plan or a `PartitionerError`."""
    data = json.loads(json.dumps(broken(path, value)))
    try:
        total = partition(costs_from_dict(data)).total_us
    except PartitionerError:
        return
    assert total >= 0
