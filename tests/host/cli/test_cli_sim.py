"""`pimloop sim`, `run` and `models` on tiny models and the functional device."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
from support.tiny_checkpoints import write_checkpoint

import pimloop.host.cli
import pimloop.host.execution.executor
from pimloop.host.cli.parsed import repeat_command
from pimloop.host.execution.verification import Verifier
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pim.fit import pim_fit
from pimloop.host.planning.graph import partition_graph
from pimloop.host.platforms.platform import load_platform, platform_names


@pytest.fixture
def bert(tmp_path):
    write_checkpoint(tmp_path / "tiny-bert", "bert")
    return str(tmp_path / "tiny-bert")


def run_command(capsys, *arguments):
    """Return (exit code, stdout, stderr)."""
    code = pimloop.host.cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def sim(capsys, model, tmp_path, *arguments):
    return run_command(
        capsys, "sim", model, "--device", "model", "--out", tmp_path / "out", *arguments
    )


def test_sim_writes_the_report_and_prints_the_tables(bert, tmp_path, capsys):
    code, out, err = sim(capsys, bert, tmp_path, "--seq", 6)
    assert code == 0
    for text in (
        "122 operators",
        "pim_first",
        "PIM bit exact: yes (58 results",
        "verification: passed",
    ):
        assert text in out
    assert "pim_first: executing ..." in err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"] == "tiny-bert"
    assert report["sequence_length"] == 6
    assert report["platform"] == "htg-z920"
    assert report["cpu_time_source"].startswith("modelled: the CPU of platform htg-z920")
    assert set(report["schedules"]) == {"pim_first", "cpu_serial", "cpu_parallel_first"}
    assert report["profile"] is None
    schedule = report["schedules"]["pim_first"]
    assert schedule["pim_nodes"] == 58
    # The functional device has no clock, so no time is claimed; those of the CPU are modelled.
    assert schedule["executed_us"] is None
    assert report["schedules"]["cpu_serial"]["executed_us"] > 0
    assert report["executed_kind"] == "simulated"
    assert "simulated: CPU times are modelled; the model device has no clock" in out
    assert "executed" not in next(line for line in out.splitlines() if "predicted" in line)
    verification = report["verification"]
    assert verification["pim_bit_exact"] is True
    assert verification["pim_results_checked"] == 58
    assert verification["cosine"] > 0.99
    assert 0 < verification["max_abs_error"] < 0.1
    assert {"cycles", "wall_s", "cycles_per_s", "flavour"} <= set(report["simulation"])
    assert {"python", "numpy", "onnxruntime"} <= set(report["versions"])
    assert len(report["graph"]["nodes"]) == len(schedule["assignment"]) == 122
    assert sum(row["count"] for row in schedule["operators"]) == 122


def test_sim_json_is_one_object_and_nothing_else(bert, tmp_path, capsys):
    code, out, err = sim(capsys, bert, tmp_path, "--json")
    assert code == 0
    assert json.loads(out)["sequence_length"] == 16
    assert err == ""


def test_quiet_says_nothing(bert, tmp_path, capsys):
    assert sim(capsys, bert, tmp_path, "--quiet") == (0, "", "")


def test_a_wrong_bit_fails_the_command(bert, tmp_path, capsys, monkeypatch):
    submit = Verifier.submit

    def corrupt(self, check):
        if check.node.id == "MatMul_20":
            wrong = check.result.copy()
            wrong.flat[0] ^= 1
            check = replace(check, result=wrong)
        submit(self, check)

    monkeypatch.setattr(Verifier, "submit", corrupt)
    code, out, _ = sim(capsys, bert, tmp_path)
    assert code == 1
    assert "PIM bit exact: NO" in out
    assert "MatMul_20: 1 of 1024 elements differ, first at [0, 0, 0]" in out
    assert "verification: FAILED" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verification"]["passed"] is False
    assert len(report["verification"]["pim_results_wrong"]) == 1


def test_an_output_far_from_float32_fails_the_command(bert, tmp_path, capsys, monkeypatch):
    run = pimloop.host.execution.executor.Executor.run

    def shifted(self, feeds):
        execution = run(self, feeds)
        values = {name: value + 1 for name, value in execution.values.items()}
        return dataclasses.replace(execution, values=values)

    monkeypatch.setattr(pimloop.host.execution.executor.Executor, "run", shifted)
    code, out, _ = sim(capsys, bert, tmp_path)
    assert code == 1
    assert "PIM bit exact: yes" in out
    assert "verification: FAILED" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sim", "bart"], "unknown model 'bart'; known models: bert, bert-small, roberta, gpt2"),
        (["sim", "bert", "--seq", "0"], "sequence length 0 is outside 1..512"),
        (["sim", "bert", "--seq", "513"], "sequence length 513 is outside 1..512"),
        (
            ["sim", "bert", "--platform", "z80"],
            f"no platform 'z80': choose one of {', '.join(platform_names())}",
        ),
        (["run", "bert", "--policy", "best"], "built in: optimal, cpu_serial, cpu_parallel_first"),
        (
            ["run", "bert", "--policy", "cpu_parallel"],
            "policy 'cpu_parallel' is called 'cpu_parallel_first' now",
        ),
        (
            ["run", "bert", "--policy", "greedy", "--device", "model"],
            "policy 'greedy' needs costs, and the model device has no clock",
        ),
        (
            ["sim", "bert", "--policy", "optimal", "--device", "model"],
            "policy 'optimal' needs costs, and the model device has no clock",
        ),
        (["models", "show"], "which model?"),
        (["models", "list", "bert"], "takes no model"),
        (["models", "show", "gpt3"], "unknown model 'gpt3'"),
    ],
)
def test_input_errors_are_one_message(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_command(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith(f"pimloop {arguments[0]}: ")
    assert "Traceback" not in err


def test_an_output_folder_that_is_a_file(bert, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    code, _, err = sim(capsys, bert, tmp_path)
    assert code == 2
    assert "choose another with --out" in err


@pytest.mark.parametrize("shape", ["x", "x=", "=1", "x=1,a"])
def test_malformed_shapes(shape, capsys):
    with pytest.raises(SystemExit) as stopped:
        pimloop.host.cli.main(["sim", "bert", "--shape", shape])
    assert stopped.value.code == 2
    assert "INPUT=1,16" in capsys.readouterr().err


def test_run_with_inputs_outputs_and_a_plan(bert, tmp_path, capsys):
    graph = load_model(bert, LoadOptions(sequence_length=4))
    feeds = random_inputs(graph, seed=9)
    np.savez(tmp_path / "in.npz", **feeds)
    plan = {
        "format": "pimloop-plan/1",
        "assignment": {
            node.id: "pim" if node.op == "MatMul" and "Add" in node.inputs[0] else "cpu_serial"
            for node in graph.nodes
        },
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    code, out, _ = run_command(
        capsys, "run", bert, "--seq", 4, "--device", "model", "--plan", tmp_path / "plan.json",
        "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", "--json",
    )  # fmt: skip
    assert code == 0
    report = json.loads(out)
    pim_nodes = sum(device == "pim" for device in plan["assignment"].values())
    assert pim_nodes > 0
    assert report["schedules"]["plan"]["pim_nodes"] == pim_nodes
    assert report["command"][:3] == ["pimloop", "run", bert]
    logits = np.load(tmp_path / "out.npz")["logits"]
    code, _, _ = run_command(
        capsys, "run", bert, "--seq", 4, "--policy", "cpu_serial", "--device", "model",
        "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "cpu.npz", "--quiet",
    )  # fmt: skip
    assert code == 0
    wanted = np.load(tmp_path / "cpu.npz")["logits"]
    assert np.linalg.norm(logits - wanted) < 0.02 * np.linalg.norm(wanted)
    assert not np.array_equal(logits, wanted)


def test_the_terminal_says_that_the_pim_could_be_used(bert, capsys):
    code, out, _ = run_command(capsys, "run", bert, "--seq", 4, "--policy", "cpu_serial")
    assert code == 0
    assert "\n58 operators can run on the PIM; this placement leaves it unused.\n" in out


def test_all_on_the_cpu_has_times_without_a_device(bert, capsys):
    code, out, _ = run_command(capsys, "run", bert, "--policy", "cpu_parallel_first", "--json")
    assert code == 0
    report = json.loads(out)
    schedule = report["schedules"]["cpu_parallel_first"]
    assert schedule["executed_us"] == pytest.approx(sum(row["us"] for row in schedule["operators"]))
    assert schedule["transfer_us"] == 0
    assert report["simulation"]["cycles"] == 0
    assert report["verification"]["max_abs_error"] < 1e-5


def test_a_plan_for_other_shapes_is_refused_unless_it_is_asked_for(bert, tmp_path, capsys):
    """Plans carry what their operators compute; those of 4 tokens are not those of 6."""
    path = tmp_path / "plan.json"
    graph = load_model(bert, LoadOptions(sequence_length=4))
    platform = load_platform("htg-z920")
    operators = partition_graph(graph, pim_fit(graph, platform), platform)
    plan = {
        "format": "pimloop-plan/1",
        "assignment": {node.id: "cpu_serial" for node in graph.nodes},
        "signatures": {operator.id: operator.signature for operator in operators.operators},
    }
    path.write_text(json.dumps(plan))
    command = ["run", bert, "--plan", path, "--device", "model"]
    assert run_command(capsys, *command, "--seq", 4, "--quiet")[0] == 0
    code, out, err = run_command(capsys, *command, "--seq", 6)
    assert (code, out) == (2, "")
    assert "was made from the costs of another length or shape: '" in err
    assert "1x4" in err
    assert "1x6" in err
    assert "--other-shapes" in err
    code, out, err = run_command(capsys, *command, "--seq", 6, "--other-shapes")
    assert code == 0
    assert "another length or shape" in err
    code, out, _ = run_command(capsys, *command, "--seq", 6, "--other-shapes", "--json")
    assert code == 0
    assert "--other-shapes" in json.loads(out)["command"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        (
            '{"format": "pimloop-plan/1", "assignment": {}, "objective": "fast"}',
            'objective must be "edp" or "energy" or "makespan" or "sequential", not "fast"',
        ),
        (
            '{"format": "pimloop-plan/1", "assignment": {}, "objective": "makespan"}',
            "has no schedule",
        ),
        (
            '{"format": "pimloop-plan/1", "assignment": {}, "objective": "makespan",'
            ' "schedule": [{"kind": "operator"}]}',
            "the key schedule[0].id is missing",
        ),
        (
            '{"format": "pimloop-plan/1", "assignment": {}, "objective": "energy"}',
            "the objective 'energy' is not of 'pimloop-plan/1'; call the format 'pimloop-plan/2'",
        ),
        (
            '{"format": "pimloop-plan/1", "assignment": {}, "energy": {}}',
            "energy is not of 'pimloop-plan/1'",
        ),
        ("[]", "must be an object, not a list"),
        (
            '{"format": "pimloop-plan/3"}',
            'the format is "pimloop-plan/3", expected "pimloop-plan/1" or "pimloop-plan/2"',
        ),
        ('{"format": "pimloop-plan/1"}', "the key assignment is missing"),
        (
            '{"format": "pimloop-plan/1", "assignment": {"a": 1}}',
            "assignment.a must be text, not 1",
        ),
        ('{"format": "pimloop-plan/1", "assignment": {"a": "pim"}}', "no device for node"),
    ],
)
def test_bad_plans(content, message, bert, tmp_path, capsys):
    (tmp_path / "plan.json").write_text(content)
    code, _, err = run_command(
        capsys, "run", bert, "--device", "model", "--plan", tmp_path / "plan.json", "--quiet"
    )
    assert code == 2
    assert message in err


def test_plan_and_output_files_that_cannot_be_opened(bert, tmp_path, capsys):
    base = ["run", bert, "--device", "model", "--quiet"]
    code, _, err = run_command(capsys, *base, "--plan", tmp_path / "absent.json")
    assert code == 2
    assert "cannot read the plan" in err
    code, _, err = run_command(capsys, *base, "--outputs", tmp_path / "none" / "out.npz")
    assert code == 2
    assert f"cannot write {tmp_path / 'none' / 'out.npz'}: No such file or directory" in err


@pytest.mark.parametrize("command", ["sim", "run"])
def test_the_command_of_a_report_repeats_every_option_that_decides_the_result(command):
    """An option that is forgotten here is parsed as its default the second time."""
    parser = pimloop.host.cli.build_parser()
    words = [
        command, "m.onnx", "--seq", "4", "--batch", "2", "--seed", "3", "--inputs", "in.npz",
        "--shape", "x=1,16", "--axis", "past=8", "--keep-fused", "--im2col", "--platform", "aim",
        "--set", "pim.lanes=8", "--device", "model", "--lanes", "rtl", "--quantize", "w8",
    ]  # fmt: skip
    if command == "run":
        words += ["--policy", "cpu_serial", "--other-shapes"]
    if command == "sim":
        words += ["--policy", "p", "--policy", "q", "--objective", "makespan", "--generate", "2"]
        words += ["--shares", "4"]
    args = parser.parse_args(words)
    again = parser.parse_args(repeat_command(args)[1:])
    assert vars(again) == vars(args)
    defaults = vars(parser.parse_args(words[:2]))
    kept = {key for key, value in vars(args).items() if value != defaults[key]}
    # What is not set above changes no result: how much is printed, kept and run at once.
    assert set(defaults) - kept <= {
        "func", "command", "model", "json", "quiet", "out", "outputs", "fresh", "no_cache", "jobs",
        "plan", "policy", "no_plots",
    }  # fmt: skip


def test_models_lists_and_shows(bert, capsys):
    code, out, _ = run_command(capsys, "models", "--json")
    assert code == 0
    assert [m["name"] for m in json.loads(out)["models"]] == [
        "bert", "bert-small", "roberta", "gpt2", "smollm2-135m", "llama-3.2-1b", "qwen3-0.6b",
    ]  # fmt: skip
    code, out, _ = run_command(capsys, "models")
    assert code == 0
    assert "bert-small" in out
    code, out, _ = run_command(capsys, "models", "show", bert, "--json", "--seq", 3)
    assert code == 0
    shown = json.loads(out)
    assert (shown["nodes"], shown["edges"], shown["pim_nodes"]) == (122, 142, 58)
    assert shown["inputs"][0] == {"name": "input_ids", "type": "int64", "shape": [1, 3]}
    code, out, _ = run_command(capsys, "models", "show", bert, "--platform", "aim")
    assert code == 0
    assert "122 operators" in out
