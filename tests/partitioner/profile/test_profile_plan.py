"""The number of profile runs against exhaustive search and against the exact model."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cost_graphs import all_assignments, random_costs

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.feasibility import split_coverable
from pimloop.partitioner.profile import plan as profile_plan
from pimloop.partitioner.profile.codewords import runs_by_words
from pimloop.partitioner.profile.coverage import Coverage
from pimloop.partitioner.profile.exact import ExactAnswer, exact_runs
from pimloop.partitioner.profile.plan import plan_profile


def measured(data: dict, run: dict[str, str], grouped: bool) -> set | None:
    """Return what a run measures, read from the JSON form; None if it needs a forbidden move."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    result = set()
    for node in data["nodes"]:
        name = node.get("signature", node["id"]) if grouped else node["id"]
        result.add(("node", name, run[node["id"]]))
    for tensor in data["tensors"]:
        start = memory[run[tensor["producer"]]] if tensor["producer"] else "cpu"
        ends = {memory[run[consumer]] for consumer in tensor["consumers"]}
        if tensor["output"]:
            ends.add("cpu")
        for end in ends - {start}:
            if f"{start}>{end}" not in tensor["transfer_us"]:
                return None
            grouped_size = grouped and "bytes" in tensor
            result.add(("move", tensor["bytes"] if grouped_size else tensor["id"], start, end))
    return result


def fewest_runs(data: dict, grouped: bool) -> tuple[int, set]:
    """Return the least number of runs that measure all that can be, by exhaustive search."""
    shows = [measured(data, run, grouped) for run in all_assignments(data)]
    sets = list({frozenset(show) for show in shows if show is not None})
    best = [s for s in sets if not any(s < other for other in sets)]
    everything = set().union(*best)
    for number in itertools.count(1):
        if any(
            set().union(*combination) == everything
            for combination in itertools.combinations(best, number)
        ):
            return number, everything
    raise AssertionError


def with_signatures(rng: random.Random, data: dict) -> dict:
    """Give operators that can run on the same devices few, shared signatures."""
    for node in data["nodes"]:
        node["signature"] = f"{sorted(node['cost_us'])}{rng.randint(0, 1)}"
    return data


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("forbid", [0.0, 0.25])
def test_minimal_number_against_exhaustive_search(grouped: bool, forbid: float) -> None:
    rng = random.Random(int(grouped) + int(forbid * 100))
    seen: dict[int, int] = {}
    tried = 0
    while tried < 60:
        memories = rng.choice([2, 2, 2, 3])
        size = rng.randint(1, 5 if memories == 2 else 3)
        data = with_signatures(rng, random_costs(rng, memories, size, forbid=forbid))
        if not any(measured(data, run, grouped) is not None for run in all_assignments(data)):
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                plan_profile(costs_from_dict(data).graph)
            continue
        if len(data["nodes"]) > 4 and memories == 3:
            continue
        tried += 1
        number, everything = fewest_runs(data, grouped)
        plan = plan_profile(costs_from_dict(data).graph, group="signature" if grouped else "none")
        shows = [measured(data, run, grouped) for run in plan.runs]
        assert None not in shows, "a run needs a forbidden transfer"
        assert set().union(*shows) == everything
        assert plan.proved
        assert len(plan.runs) == plan.lower_bound == number
        assert plan.nodes_covered == sum(item[0] == "node" for item in everything)
        assert plan.transfers_covered == sum(item[0] == "move" for item in everything)
        seen[number] = seen.get(number, 0) + 1
    assert len(seen) >= 2, f"all instances needed the same number of runs: {seen}"


def test_construction_against_the_exact_model_on_larger_graphs() -> None:
    rng = random.Random(11)
    settled = 0
    for _ in range(25):
        data = random_costs(rng, 2, rng.randint(10, 25), fan_in=3, reach=5, incapable=0.1)
        coverage = Coverage(
            costs_from_dict(data).graph, group_operators=False, group_transfers=False
        )
        wanted = split_coverable(coverage).items
        for runs in (2, 3, 4):
            answer = exact_runs(coverage, wanted, runs, time_limit_s=20)
            built = runs_by_words(coverage, wanted, runs)
            if answer.feasible is False:
                assert built is None
            elif answer.feasible:
                assert built is not None, "the construction missed a feasible number of runs"
                assert wanted <= set().union(*(coverage.covered(run) for run in built))
                settled += 1
    assert settled >= 25


def chain(length: int, devices: dict[str, float], memories: dict[str, list[str]]) -> dict:
    pairs = [f"{a}>{b}" for a, b in itertools.permutations(memories, 2)]
    return {
        "format": "pimloop-costs/1",
        "memories": memories,
        "nodes": [{"id": f"n{i}", "op": "X", "cost_us": devices} for i in range(length)],
        "tensors": [
            {
                "id": f"t{i}",
                "producer": f"n{i}",
                "consumers": [f"n{i + 1}"],
                "output": False,
                "bytes": 64,
                "transfer_us": dict.fromkeys(pairs, 1),
            }
            for i in range(length - 1)
        ],
    }


THREE = {"cpu_serial": 1, "cpu_parallel": 1, "pim": 1}
TWO_MEMORIES = {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]}


def test_three_devices_need_three_runs_where_the_paper_needs_four() -> None:
    graph = costs_from_dict(chain(40, THREE, TWO_MEMORIES)).graph
    minimal, paper = plan_profile(graph), plan_profile(graph, "paper")
    assert (len(minimal.runs), minimal.lower_bound, minimal.proved) == (3, 3, True)
    assert "3 devices" in minimal.certificate
    assert (len(paper.runs), paper.node_runs, paper.edge_runs) == (4, 3, 1)
    assert minimal.nodes_covered == minimal.nodes_total == 120
    assert minimal.transfers_covered == minimal.transfers_total == 78


def complete_graph(size: int) -> dict:
    """Every operator feeds every later one, each by a tensor of its own."""
    data = chain(size, THREE, TWO_MEMORIES)
    data["tensors"] = [
        {
            "id": f"t{i}_{j}",
            "producer": f"n{i}",
            "consumers": [f"n{j}"],
            "output": False,
            "transfer_us": {"cpu>pim": 1, "pim>cpu": 1},
        }
        for i, j in itertools.combinations(range(size), 2)
    ]
    return data


@pytest.mark.parametrize(("size", "runs"), [(2, 3), (3, 3), (4, 4), (6, 4), (7, 5)])
def test_sperner_sets_the_number_on_complete_graphs(size: int, runs: int) -> None:
    """n mutually joined operators need n incomparable PIM sets that leave two runs for the CPU."""
    plan = plan_profile(costs_from_dict(complete_graph(size)).graph)
    assert len(plan.runs) == runs
    assert plan.proved
    if runs > 3:
        assert "infeasible" in plan.certificate
        assert plan.lower_bound == runs


def test_three_memories() -> None:
    memories = {"cpu": ["cpu_serial"], "pim": ["pim"], "gpu": ["gpu"]}
    data = chain(12, {"cpu_serial": 1, "pim": 1, "gpu": 1}, memories)
    plan = plan_profile(costs_from_dict(data).graph)
    # A tensor with one reader shows one of its six moves a run.
    assert (len(plan.runs), plan.lower_bound, plan.proved) == (6, 6, True)


def test_uncoverable_transfers_are_named() -> None:
    data = chain(3, THREE, TWO_MEMORIES)
    data["nodes"][2]["cost_us"] = {"cpu_serial": 1}
    plan = plan_profile(costs_from_dict(data).graph)
    assert [(u.kind, u.id, u.where) for u in plan.uncoverable] == [("transfer", "t1", "cpu>pim")]
    assert "no consumer can run in memory 'pim'" in plan.uncoverable[0].reason


def test_uncoverable_device_behind_a_forbidden_transfer() -> None:
    data = chain(2, THREE, TWO_MEMORIES)
    data["nodes"][0]["cost_us"] = {"cpu_serial": 1}
    data["tensors"][0]["transfer_us"] = {"pim>cpu": 1}
    plan = plan_profile(costs_from_dict(data).graph)
    named = {(u.kind, u.id, u.where) for u in plan.uncoverable}
    assert named == {("node", "n1", "pim"), ("transfer", "t0", "pim>cpu")}
    assert all("pim" not in run.values() for run in plan.runs)
    assert len(plan.runs) == plan.lower_bound == 2


def test_what_no_assignment_can_cause_is_named_and_the_rest_has_witnesses() -> None:
    """n0 stays on the CPU and t0 must not leave it, so n1 has no way to the PIM, nor t1 from it."""
    data = chain(3, THREE, TWO_MEMORIES)
    data["nodes"][0]["cost_us"] = {"cpu_serial": 1}
    data["tensors"][0]["transfer_us"] = {"pim>cpu": 1}
    coverage = Coverage(costs_from_dict(data).graph, group_operators=False, group_transfers=False)
    coverable = split_coverable(coverage)
    reason = "forbidden transfers leave no assignment that does this"
    assert {(u.kind, u.id, u.where) for u in coverable.uncoverable if u.reason == reason} == {
        ("node", "n1", "pim"),
        ("transfer", "t1", "pim>cpu"),
    }
    assert coverable.witnesses
    assert not any(coverage.forbidden(run) for run in coverable.witnesses)
    assert set().union(*map(coverage.covered, coverable.witnesses)) == coverable.items


def test_paper_mode_refuses_forbidden_transfers() -> None:
    data = chain(2, THREE, TWO_MEMORIES)
    data["nodes"][1]["cost_us"] = {"cpu_serial": 1, "pim": 1}
    data["tensors"][0]["transfer_us"] = {"cpu>pim": 1}
    graph = costs_from_dict(data).graph
    # In its third run n0 is on PIM and n1, out of devices, back on its first.
    with pytest.raises(PartitionerError, match="tensor 't0' moved from 'pim' to 'cpu'"):
        plan_profile(graph, "paper")
    assert len(plan_profile(graph).runs) == 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 30), memories=st.integers(1, 3))
def test_every_plan_measures_everything(seed: int, size: int, memories: int) -> None:
    rng = random.Random(seed)
    data = random_costs(rng, memories, size, fan_in=2, reach=4)
    for mode, group in (("minimal", "none"), ("paper", "signature"), ("paper", "none")):
        plan = plan_profile(costs_from_dict(data).graph, mode, group, time_limit_s=5)
        assert plan.nodes_covered == plan.nodes_total
        assert plan.transfers_covered == plan.transfers_total
        assert plan.lower_bound <= len(plan.runs)
        for run in plan.runs:
            for node in data["nodes"]:
                assert run[node["id"]] in node["cost_us"]


def test_an_exact_solver_out_of_time_leaves_the_number_unproved(monkeypatch) -> None:
    graph = costs_from_dict(complete_graph(4)).graph
    monkeypatch.setattr(profile_plan, "exact_runs", lambda *_: ExactAnswer(None, None))
    plan = plan_profile(graph)
    assert (len(plan.runs), plan.lower_bound, plan.proved) == (4, 3, False)
    assert "not proved" in plan.certificate
    assert plan.transfers_covered == plan.transfers_total
