"""`pimloop sim` with the simulated RTL on a tiny BERT: bits, cycles, report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import host.cli

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

from tiny_checkpoints import write_checkpoint


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    monkeypatch.setattr(host.cli, "COMMAND_MODULES", ("sim", "run"))


def report_of(capsys, *arguments):
    code = host.cli.main([*(str(a) for a in arguments), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


@pytest.mark.parametrize("platform", ["htg-z920", "aim"])
def test_tiny_bert_on_the_simulated_device(platform, tmp_path, capsys):
    write_checkpoint(tmp_path / "tiny", "bert")
    report = report_of(
        capsys, "sim", tmp_path / "tiny", "--seq", 4, "--platform", platform, "--out", tmp_path
    )
    assert report == json.loads((tmp_path / "report.json").read_text())
    verification = report["verification"]
    assert verification["passed"]
    assert verification["pim_bit_exact"]
    schedule = report["schedules"]["pim_first"]
    assert verification["pim_results_checked"] == schedule["pim_nodes"] >= 58
    assert schedule["executed_us"] == pytest.approx(
        schedule["compute_us"] + schedule["transfer_us"]
    )
    assert schedule["compute_us"] == pytest.approx(schedule["pim_us"] + schedule["cpu_us"])
    on_pim = [row for row in report["nodes"] if row["device"] == "pim"]
    assert all(row["cycles"] > 0 and row["counters"]["rd"] > 0 for row in on_pim)
    assert report["simulation"]["cycles"] > sum(row["cycles"] for row in on_pim)
    assert report["simulation"]["flavour"] == "native"


def test_cycles_do_not_depend_on_the_data(tmp_path, capsys):
    write_checkpoint(tmp_path / "tiny", "bert")
    reports = [
        report_of(capsys, "run", tmp_path / "tiny", "--seq", 3, "--seed", seed) for seed in (1, 2)
    ]
    cycles = [[row.get("cycles") for row in report["nodes"]] for report in reports]
    assert cycles[0] == cycles[1]
    outputs = [report["verification"]["max_abs_error"] for report in reports]
    assert outputs[0] != outputs[1]
