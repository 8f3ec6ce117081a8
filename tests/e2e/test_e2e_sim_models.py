"""`pimloop sim` and `run` with the simulated RTL: a tiny BERT, whole models in the full suite."""

from __future__ import annotations

import json

import pytest
from support.tiny_checkpoints import write_checkpoint

import pimloop.host.cli
from pimloop.host.report.publish import FIGURES


def report_of(capsys, *arguments):
    code = pimloop.host.cli.main([*(str(a) for a in arguments), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


@pytest.mark.parametrize("platform", ["htg-z920", "aim"])
def test_tiny_bert_on_the_simulated_device(platform, tmp_path, capsys):
    write_checkpoint(tmp_path / "tiny", "bert")
    plots = tmp_path / "plots"
    plots.mkdir()
    earlier = plots / "roofline.svg"
    earlier.write_text("of an earlier run")
    without = ["--no-plots"] if platform == "aim" else []
    report = report_of(
        capsys, "sim", tmp_path / "tiny", "--seq", 4, "--platform", platform, "--out", tmp_path,
        # Whatever other tests have left in the cost store: the profile runs take place.
        "--fresh", *without,
    )  # fmt: skip
    if without:
        assert not plots.exists()
    else:
        drawn = {path.name for path in plots.iterdir()}
        assert drawn == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
        assert earlier.read_text() != "of an earlier run"
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert (tmp_path / "model-annotated.onnx").exists()
    verification = report["verification"]
    assert verification["passed"]
    assert verification["pim_bit_exact"]
    schedule = report["schedules"]["pim_first"]
    assert schedule["verification"]["pim_results_checked"] == schedule["pim_nodes"] >= 58
    assert verification["pim_results_checked"] >= 2 * schedule["pim_nodes"]
    assert schedule["executed_us"] == pytest.approx(
        schedule["compute_us"] + schedule["transfer_us"]
    )
    assert schedule["compute_us"] == pytest.approx(schedule["pim_us"] + schedule["cpu_us"])
    assert schedule["cycles"] > 0
    assert report["simulation"]["flavour"] == "native"
    assert report["command"][:2] == ["pimloop", "sim"]


def test_cycles_do_not_depend_on_the_data(tmp_path, capsys):
    write_checkpoint(tmp_path / "tiny", "bert")
    reports = [
        report_of(capsys, "run", tmp_path / "tiny", "--seq", 3, "--seed", seed, "--no-cache")
        for seed in (1, 2)
    ]
    counters = [report["counters"] for report in reports]
    assert counters[0] == counters[1]
    assert counters[0]["cycles"] > 0
    for report in reports:
        assert report["simulation"]["lists_simulated"] > 58
        assert report["simulation"]["lists_cached"] == 0
    timelines = [
        [step["us"] for step in report["schedules"]["pim_first"]["timeline"]] for report in reports
    ]
    assert timelines[0] == timelines[1]
    errors = [report["verification"]["max_abs_error"] for report in reports]
    assert errors[0] != errors[1]


@pytest.mark.full
@pytest.mark.parametrize("model", ["bert", "roberta", "gpt2"])
def test_whole_models(model, tmp_path, capsys):
    report = report_of(capsys, "sim", model, "--seq", 16, "--out", tmp_path)
    assert report["verification"]["passed"]
    assert report["verification"]["pim_bit_exact"]
    profile = report["profile"]
    assert profile["runs"] == profile["runs_lower_bound"] == 3
    assert profile["nodes_covered"] == profile["nodes"]
    assert profile["transfers_covered"] == profile["transfers"]
    optimal = report["schedules"]["optimal"]
    assert optimal["optimal"]
    assert optimal["pim_nodes"] > 0
    for name, schedule in report["schedules"].items():
        assert schedule["executed_us"] == pytest.approx(schedule["predicted_us"], rel=0.01), name
        assert schedule["verification"]["passed"], name
        assert schedule["predicted_us"] >= optimal["predicted_us"]
