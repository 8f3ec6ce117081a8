"""`pimloop sweep`: the grid, resume, settings, failures, and the same on a Dask cluster."""

from __future__ import annotations

import csv
import json

import pytest

import pimloop.host.cli
import pimloop.host.pipeline.sweep

#: A value of the platform that needs no simulator of its own.
CHANGED = "driver.call_overhead_us=21.6,60"


def sweep(capsys, *arguments):
    code = pimloop.host.cli.main(["sweep", *(str(a) for a in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    """Return the folder and the result of a sweep of two lengths and two costs of a call."""
    folder = tmp_path_factory.mktemp("sweep")
    code = pimloop.host.cli.main(
        ["sweep", tiny, "--seq", "3,4", "--set", CHANGED, "--out", str(folder), "--quiet"]
    )
    assert code == 0
    return folder, json.loads((folder / "sweep.json").read_text())


def test_every_combination_has_a_row_for_every_schedule(swept):
    folder, result = swept
    assert result["format"] == "pimloop-sweep/2"
    combinations = {
        (row["sequence_length"], row["settings"]["driver.call_overhead_us"])
        for row in result["rows"]
    }
    assert combinations == {(n, us) for n in (3, 4) for us in ("21.6", "60")}
    assert len(result["rows"]) == 4 * 6
    assert all(point["passed"] for point in result["points"])
    assert all(row["optimal"] for row in result["rows"] if row["schedule"] == "optimal")
    assert not any(row["cpu_times_disturbed"] for row in result["rows"])
    reports = [
        json.loads(path.read_text()) for path in sorted((folder / "points").glob("*/report.json"))
    ]
    commands = {" ".join(report["command"][3:]) for report in reports}
    assert commands == {
        f"--seq {n} --seed 0 --platform htg-z920 --objective sequential"
        f" --set driver.call_overhead_us={us}"
        for n in (3, 4)
        for us in ("21.6", "60")
    }
    with (folder / "sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["executed_us"] for row in table] == [str(r["executed_us"]) for r in result["rows"]]
    assert {row["settings"] for row in table} == {
        f"driver.call_overhead_us={us}" for us in ("21.6", "60")
    }
    assert (folder / "plots").is_dir()
    assert any((folder / "plots").iterdir())


def test_dearer_calls_are_slower(swept):
    _, result = swept
    times = {
        row["settings"]["driver.call_overhead_us"]: row["executed_us"]
        for row in result["rows"]
        if row["schedule"] == "pim_first" and row["sequence_length"] == 3
    }
    assert times["60"] > times["21.6"]


def _with_reused(result, reused):
    """Return a sweep's result as it is when these points were finished before."""
    points = [
        {**point, "reused": before} for point, before in zip(result["points"], reused, strict=True)
    ]
    return {**result, "points": points}


def test_finished_points_are_not_run_again(swept, tiny, capsys, monkeypatch):
    folder, result = swept

    def no_run(*_):
        raise AssertionError("a finished point was run again")

    monkeypatch.setattr(pimloop.host.pipeline.sweep, "run_point", no_run)
    code, out, err = sweep(capsys, tiny, "--seq", "3,4", "--set", CHANGED, "--out", folder)
    assert code == 0
    assert err.count("finished before") == 4
    assert "speedup" in out
    assert _with_reused(result, [True] * 4) == json.loads((folder / "sweep.json").read_text())


def test_its_tables_and_figures_are_drawn_again(swept, tmp_path, capsys):
    folder, _ = swept
    text = (folder / "sweep.json").read_text()
    (tmp_path / "sweep.json").write_text(text)
    assert pimloop.host.cli.main(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(text)
    assert (tmp_path / "sweep.csv").read_text() == (folder / "sweep.csv").read_text()
    names = {path.name for path in (folder / "plots").iterdir()}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == names


def test_a_point_cut_off_is_run_again(swept, tiny, capsys):
    folder, result = swept
    reports = sorted((folder / "points").glob("*/report.json"))
    assert len(reports) == 4
    reports[0].write_text(reports[0].read_text()[:1000])
    code, _, err = sweep(capsys, tiny, "--seq", "3,4", "--set", CHANGED, "--out", folder)
    assert code == 0
    assert err.count("finished before") == 3
    again = json.loads((folder / "sweep.json").read_text())
    reused = [point["reused"] for point in again["points"]]
    assert sorted(reused) == [False, True, True, True]
    assert _with_reused(result, reused) == again


def test_a_cluster_gives_the_same(swept, tiny, tmp_path, capsys):
    from distributed import LocalCluster

    _, result = swept
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        code, out, err = sweep(
            capsys, tiny, "--seq", "3,4", "--set", CHANGED, "--out", tmp_path,
            "--scheduler", cluster.scheduler_address, "--json",
        )  # fmt: skip
    assert code == 0, err
    assert json.loads(out) == result


def test_a_point_that_fails_leaves_the_others(tiny, tmp_path, capsys):
    code, out, err = sweep(capsys, tiny, "--seq", "3,4000", "--out", tmp_path)
    assert code == 2
    assert "sequence length 4000 is outside" in err
    assert "how many times as long as optimal, which splits no operator" in out
    result = json.loads((tmp_path / "sweep.json").read_text())
    assert len(result["rows"]) == 6
    assert [point["passed"] for point in result["points"]] == [True, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "pim.lanse=8"], "there is no value pim.lanse to set"),
        (["--set", "pim.lanes=9999"], "device.lanes"),
        (["--set", "pim.lanes=8,"], "has an empty value"),
        (["--set", 'capabilities.operators=["MatMul","Softmax"]'], "capabilities.operators"),
        (["--set", "pim.lanes=8", "--set", "pim.lanes=16"], "all values of a key at once"),
        (["--platform", "z80"], "there is no platform 'z80'"),
        (["--scheduler", "tcp://127.0.0.1:1"], "cannot reach the Dask scheduler"),
    ],
)
def test_mistakes_are_one_message(arguments, message, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pimloop.host.pipeline.cluster.CONNECT_TIMEOUT", 1.0)
    code, out, err = sweep(capsys, tiny, "--seq", "2", "--out", tmp_path, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
