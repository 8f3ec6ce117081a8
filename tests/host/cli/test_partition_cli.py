"""The commands from the outside: one JSON object, exit codes, messages that name the culprit."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from support.cost_graphs import random_costs, total_cost
from support.energies import random_energies

from pimloop.host.cli import main

POLICIES = ["optimal", "cpu_serial", "cpu_parallel_first", "pim_first", "greedy", "paper_dp"]


@pytest.fixture
def costs(tmp_path) -> Path:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(random_costs(random.Random(4), 2, 12, weights=True)))
    return path


@pytest.fixture
def run(capsys):
    """Run the command line; return (exit code, stdout, stderr)."""

    def call(*arguments) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_partition_prints_one_plan(run, costs, tmp_path) -> None:
    code, out, err = run("partition", "--costs", costs, "--json", "-o", tmp_path / "plan.json")
    plan = json.loads(out)
    assert (code, err) == (0, "")
    assert plan["format"] == "pimloop-plan/1"
    assert plan["optimal"] is True
    assert plan["lower_bound_us"] == plan["total_us"]
    assert plan["method"] == "minimum s-t cut"
    assert plan["total_us"] == float(total_cost(json.loads(costs.read_text()), plan["assignment"]))
    assert json.loads((tmp_path / "plan.json").read_text()) == plan


def test_all_policies(run, costs) -> None:
    code, out, _ = run("partition", "--costs", costs, "--policy", "all", "--json")
    table = json.loads(out)
    assert code == 0
    assert list(table["policies"]) == POLICIES
    totals = {name: plan["total_us"] for name, plan in table["policies"].items()}
    assert min(totals.values()) == totals["optimal"]
    code, out, _ = run("partition", "--costs", costs, "--policy", "all")
    assert code == 0
    for name in POLICIES:
        assert name in out
    assert f"{totals['optimal']:.3f}" in out


def test_all_policies_of_a_file_with_other_devices(run, tmp_path) -> None:
    """No policy is priced on devices that its name does not say."""
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["big", "little"]},
        "nodes": [{"id": "a", "op": "X", "cost_us": {"big": 2.0, "little": 9.0}}],
        "tensors": [],
    }
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(data))
    code, out, _ = run("partition", "--costs", path, "--policy", "all", "--json")
    assert code == 0
    table = json.loads(out)
    assert "needs a device named 'cpu_serial'" in table["failed"]["cpu_serial"]
    assert "'big', 'little'" in table["failed"]["cpu_serial"]
    assert "cpu_serial" not in table["policies"]
    code, out, _ = run("partition", "--costs", path, "--policy", "all")
    text = " ".join(out.split())
    assert "no device 'cpu_parallel'" in text
    assert "no device outside the memory 'cpu'" in text
    code, _, err = run("partition", "--costs", path, "--policy", "cpu_serial")
    assert code == 2
    assert "needs a device named 'cpu_serial'" in err


def with_energies(path: Path) -> dict:
    """Give a cost file energies; return it."""
    data = json.loads(path.read_text())
    energies = random_energies(random.Random(5), data, {}, top=10**12)
    data |= {"format": "pimloop-costs/4", "energies": energies.to_dict()}
    path.write_text(json.dumps(data))
    return data


def test_objectives_of_energy(run, costs) -> None:
    for objective in ("energy", "edp"):
        code, out, err = run("partition", "--costs", costs, "--objective", objective)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "the costs have no energies" in err
        assert "pimloop profile --energies" in err
    with_energies(costs)
    plans = {}
    for objective in ("time", "energy", "edp"):
        call = ("partition", "--costs", costs, "--objective", objective)
        code, out, err = run(*call, "--json")
        assert (code, err) == (0, "")
        plans[objective] = json.loads(out)
        code, out, _ = run(*call)
        assert code == 0
        assert "proved optimal" in out
        if objective != "time":
            assert f"objective {objective}" in out
            assert "the least time takes" in out
    assert [plan["objective"] for plan in plans.values()] == ["sequential", "energy", "edp"]
    assert plans["time"]["format"] == "pimloop-plan/1"
    assert all(plan["optimal"] for plan in plans.values())
    energy, edp = (plans[name]["energy"] for name in ("energy", "edp"))
    assert energy["total_fj"] == energy["lower_bound_fj"]
    fastest = {"total_us": plans["time"]["total_us"], "optimal": True}
    for others in (energy["others"], edp["others"]):
        assert others["sequential"].items() >= fastest.items()
        assert others["sequential"]["total_fj"] >= energy["total_fj"]
    assert edp["others"]["energy"]["total_fj"] == energy["total_fj"]
    product = plans["edp"]["total_us"] * edp["total_fj"]
    for plan in (plans["energy"], edp["others"]["sequential"], edp["others"]["energy"]):
        fj = plan["energy"]["total_fj"] if "energy" in plan else plan["total_fj"]
        assert product <= plan["total_us"] * fj


def test_all_policies_by_energy(run, costs) -> None:
    with_energies(costs)
    call = ("partition", "--costs", costs, "--policy", "all", "--objective", "edp")
    code, out, _ = run(*call, "--json")
    assert code == 0
    policies = json.loads(out)["policies"]
    products = {n: plan["total_us"] * plan["energy"]["total_fj"] for n, plan in policies.items()}
    assert min(products, key=lambda name: products[name]) == "optimal"
    code, out, _ = run(*call)
    assert code == 0
    assert "edp objective" in out
    assert "energy, uJ" in out
    assert f"{policies['greedy']['energy']['total_fj'] / 1e9:.3f}" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e["operators"].pop("n0"), "node 'n0': there is a time for"),
        (lambda e: e["operators"]["n1"].update(cpu_serial=-1), "energies.operators.n1.cpu_serial"),
        (lambda e: e["operators"]["n1"].update(cpu_serial=0.5), "energies.operators.n1.cpu_serial"),
        (lambda e: e["transfers"]["t1_0"].update(cpu=1), "'cpu' is not of the form"),
    ],
)
def test_wrong_energies_are_named(run, costs, change, message) -> None:
    data = with_energies(costs)
    change(data["energies"])
    costs.write_text(json.dumps(data))
    code, out, err = run("partition", "--costs", costs)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_human_output_states_the_proof(run, costs) -> None:
    code, out, _ = run("partition", "--costs", costs)
    assert code == 0
    assert "proved optimal" in out
    assert "minimum s-t cut" in out


@pytest.mark.parametrize("option", ["40", "pim=40"])
def test_capacity(run, costs, option) -> None:
    code, out, _ = run("partition", "--costs", costs, "--capacity-bytes", option, "--json")
    plan = json.loads(out)
    weights = {n["id"]: n["weight_bytes"] for n in json.loads(costs.read_text())["nodes"]}
    assert code == 0
    assert sum(weights[n] for n, device in plan["assignment"].items() if device == "pim") <= 40
    assert plan["optimal"]


def test_makespan(run, costs) -> None:
    arguments = ("--objective", "makespan", "--time-limit", "5", "--json")
    code, out, _ = run("partition", "--costs", costs, *arguments)
    plan = json.loads(out)
    assert code == 0
    assert plan["objective"] == "makespan"
    assert {step["id"] for step in plan["schedule"] if step["kind"] == "operator"} == set(
        plan["assignment"]
    )
    assert max(step["end_us"] for step in plan["schedule"]) == plan["total_us"]
    assert 0 <= plan["gap"] < 1
    code, out, _ = run("partition", "--costs", costs, *arguments[:-1])
    assert code == 0
    assert "makespan" in out


def test_a_search_that_the_limit_ends_says_so_in_both_outputs(run, tmp_path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(random_costs(random.Random(7), 2, 40)))
    arguments = ("partition", "--costs", path, "--objective", "makespan", "--time-limit", "0.05")
    code, out, _ = run(*arguments, "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["limit_reached"]
    assert not plan["optimal"]
    assert plan["proof"]["time_limit_s"] == 0.05
    code, out, _ = run(*arguments)
    assert "the time limit of 0.05 s ended the search" in out
    assert "(gap " in out
    assert out.startswith("best found (")
    code, out, _ = run(*arguments, "--policy", "all")
    assert code == 0
    assert "\nbest found: the time limit of 0.05 s ended the search" in out
    assert not any("optimal" in line.split()[:1] for line in out.splitlines())
    code, out, _ = run("partition", "--costs", path, "--json")
    assert json.loads(out)["limit_reached"] is False
    code, out, _ = run("partition", "--costs", path)
    assert "time limit" not in out


def test_profile_plan(run, costs) -> None:
    code, out, _ = run("profile-plan", "--costs", costs, "--json")
    plan = json.loads(out)
    keys = {"runs", "runs_needed", "lower_bound", "certificate", "nodes_covered"}
    assert code == 0
    assert keys | {"transfers_covered", "uncoverable"} <= plan.keys()
    assert plan["runs_needed"] == len(plan["runs"]) == plan["lower_bound"]
    nodes = json.loads(costs.read_text())["nodes"]
    assert plan["nodes_covered"] == sum(len(node["cost_us"]) for node in nodes)
    assert all(run.keys() == {node["id"] for node in nodes} for run in plan["runs"])
    code, out, _ = run("profile-plan", "--costs", costs, "--mode", "paper", "--group", "none")
    assert code == 0
    assert "node +" in out


def test_dcg(run, costs) -> None:
    code, out, _ = run("dcg", "--costs", costs, "--json")
    counts = json.loads(out)
    assert code == 0
    assert counts["cg_nodes"] == 12
    nodes = json.loads(costs.read_text())["nodes"]
    assert counts["dcg_nodes"] == sum(len(node["cost_us"]) for node in nodes)
    assert counts["da_edges"] == len(counts["da_edge_list"])
    code, out, _ = run("dcg", "--costs", costs)
    assert code == 0
    assert "|Vd|" in out


def test_import_ort(run, tmp_path) -> None:
    def event(name, op, dur, before, after, provider="CPU") -> dict:
        arguments = {"op_name": op, "provider": f"{provider}ExecutionProvider"}
        arguments |= {"input_nodes": before, "output_nodes": after}
        sizes = {"activation_size": "64", "parameter_size": "0", "output_size": "64"}
        return {"name": f"{name}_kernel_time", "dur": dur, "args": arguments | sizes}

    cpu = [event("a", "Add", 9, "", "b "), event("b", "Mul", 9, "a ", "")]
    pim = [
        event("m", "MemcpyFromHost", 2, "", "a ", "PIM"),
        event("a", "Add", 1, "m ", "n ", "PIM"),
        event("n", "MemcpyToHost", 3, "a ", "b ", "PIM"),
        event("b", "Mul", 9, "n ", ""),
    ]
    paths = {}
    for name, events in (("cpu-serial", cpu), ("cpu-parallel", cpu), ("pim", pim)):
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(json.dumps(events))
    options = [part for name, path in paths.items() for part in (f"--{name}", path)]
    output = tmp_path / "costs.json"
    code, out, _ = run("import-ort", *options, "-o", output)
    assert code == 0
    assert "2 operators (1 on PIM)" in out
    code, out, _ = run("partition", "--costs", output, "--json")
    plan = json.loads(out)
    assert plan["assignment"] == {"a": "pim", "b": "cpu_serial"}
    assert plan["total_us"] == 2 + 1 + 3 + 9


@pytest.mark.parametrize("command", ["partition", "profile-plan", "dcg"])
def test_bad_files_are_one_message(run, tmp_path, command) -> None:
    path = tmp_path / "bad.json"
    path.write_text(
        '{"format": "pimloop-costs/1", "memories": {"cpu": ["c"]}, "tensors": [], '
        '"nodes": [{"id": "n", "op": "X", "cost_us": {"c": NaN}}]}'
    )
    code, out, err = run(command, "--costs", path, "--json")
    assert (code, out) == (2, "")
    assert err.startswith(f"pimloop {command}: ")
    assert "bad.json: node 'n'" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", "best"), "unknown policy 'best'"),
        (("--capacity-bytes", "lots"), "--capacity-bytes lots"),
        (("--capacity-bytes", "-1"), "--capacity-bytes -1"),
        (("--capacity-bytes", "pim=1_000"), "is not a number of 0 or more"),
        (("--capacity-bytes", "9" * 5000), "is not a number from 0 to 9223372036854775807"),
        (("--capacity-bytes", "moon=5"), "unknown memory 'moon'"),
        (
            ("-o", "/nonexistent/plan.json"),
            "cannot write /nonexistent/plan.json: No such file",
        ),
    ],
)
def test_bad_options(run, costs, arguments, message) -> None:
    code, _, err = run("partition", "--costs", costs, *arguments)
    assert code == 2
    assert message in err
