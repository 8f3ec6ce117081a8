"""Why an operator is where it is, of reports and plans; the tables of splits and of changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import report_samples as samples

from pimloop.host.cli import main
from pimloop.host.report.html.labels import place_title
from pimloop.host.report.html.splits import Share, neighbours, split_rows
from pimloop.partitioner.costs import costs_to_dict


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    report = samples.coexec_report()
    for schedule in report["schedules"].values():
        schedule["devices"] = {}
    return report


@pytest.fixture
def folder(report: dict[str, Any], tmp_path: Path) -> Path:
    (tmp_path / "report.json").write_text(json.dumps(report))
    return tmp_path


def _run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert main(["report", *words]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_the_answer_is_that_of_the_report(report, folder, capsys) -> None:
    """Every explained schedule, with the margin that is the least regret."""
    name = next(iter(report["schedules"]["coexec"]["splits"]))
    answer = json.loads(_run(capsys, str(folder), "--why", name, "--json")[0])
    assert answer["operator"] == name
    assert list(answer["schedules"]) == ["optimal", "coexec"]
    for policy, entry in answer["schedules"].items():
        schedule = report["schedules"][policy]
        alternatives = schedule["placement"]["alternatives"][name]
        assert entry["alternatives"] == alternatives
        assert entry["margin_us"] == min(alternative["regret_us"] for alternative in alternatives)
        assert entry["device"] == schedule["assignment"][name]
    split = report["schedules"]["coexec"]["splits"][name]
    assert answer["schedules"]["coexec"]["split"] == {
        "share": split["columns"], "unit": "columns", "us": split["us"],
        "gather_us": split["gather_us"],
    }  # fmt: skip
    assert answer["schedules"]["coexec"]["operator_us"] == max(split["us"].values())
    assert sorted(path.name for path in folder.iterdir()) == ["report.json"]  # nothing is drawn


@pytest.mark.parametrize("columns", ["80", ""])
def test_the_answer_for_people(report, folder, capsys, monkeypatch, columns) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name = next(iter(report["schedules"]["coexec"]["splits"]))
    out, _ = _run(capsys, str(folder), "--why", name)
    schedule = report["schedules"]["coexec"]
    best, *_ = sorted(schedule["placement"]["alternatives"][name], key=lambda o: o["regret_us"])
    assert f"it stays until it takes {best['regret_us']:,.1f} us longer there" in out
    us = schedule["splits"][name]["us"]
    assert f"finish within {max(us.values()) - min(us.values()):,.1f} us of each other" in out
    (line,) = (
        line.replace("│", " ").split("  ")
        for line in out.splitlines()
        if place_title(best["device"]) in line and f"+{best['regret_us']:,.1f}" in line
    )
    cells = [cell.strip() for cell in line if cell.strip()]
    moved = sum(best["adds"].values()) - sum(best["saves"].values())
    assert [float(cell.replace(",", "")) for cell in cells[1:]] == pytest.approx(
        [best["operator_us"] - max(us.values()), moved, best["kept_us"], best["regret_us"]],
        abs=0.051,
    )
    for move, time in best["adds"].items():
        assert f"adds {move} {time:,.1f} us" in out


def test_what_has_no_answer_is_one_error(report, folder, capsys) -> None:
    _, error = _run(capsys, str(folder), "--why", "matmul_2", code=2)
    assert "no operator 'matmul_2' in tiny; did you mean 'MatMul_2'" in error
    _, error = _run(capsys, str(folder), "--why", "MatMul_2", "--quiet", code=2)
    assert "--quiet would do nothing" in error
    changed = json.loads(json.dumps(report))
    for schedule in changed["schedules"].values():
        schedule.pop("placement", None)
    for change, message in (
        ({}, "it is of an earlier version"),
        ({"objective": "makespan"}, "use --objective sequential"),
    ):
        (folder / "report.json").write_text(json.dumps({**changed, **change}))
        _, error = _run(capsys, str(folder), "--why", "MatMul_2", code=2)
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("columns", ["80", ""])
def test_tables_of_splits_and_of_changes(report, folder, capsys, monkeypatch, columns) -> None:
    """All of them stand in 80 columns, and through a pipe each row is a line."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("pimloop.host.report.publish.draw", lambda *_: [])
    out, _ = _run(capsys, str(folder))
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("split: "))
    assert "CPU parallel and PIM, coexec; mean us" in lines[start]
    end = next(i for i, line in enumerate(lines) if line.startswith("time by operator"))
    rows = split_rows(report, "coexec")
    shown = [line for line in lines[start:end] if "MatMul" in line]
    assert len(shown) == len(rows) < len(report["schedules"]["coexec"]["splits"])
    assert all(len(line) <= 80 for line in lines[start:end])
    for row, line in zip(rows, shown, strict=True):
        times = [f"{us:,.1f}" if us < 100 else f"{us:,.0f}" for us in row.us]
        wanted = (str(len(row.nodes)), f"{row.columns[1]}/{sum(row.columns)}", *times)
        assert all(text in line for text in wanted)
    (row,) = (line for line in lines if "transfers free " in line and "%" in line)
    assert row.count("-25.0 %") == 2
    assert len(row) <= (80 if columns else 100)


def test_a_plan_answers_as_a_report_does(report, tmp_path, capsys) -> None:
    """Of the same costs: the plan is made anew, its splits are those of the report."""
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(costs_to_dict(samples.coexec_costs())))
    name = next(iter(report["schedules"]["coexec"]["splits"]))
    words = ["partition", "--costs", str(path), "--policy", "coexec"]
    assert main([*words, "--why", name, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["schedules"]["coexec"]
    schedule = report["schedules"]["coexec"]
    assert answer["alternatives"] == schedule["placement"]["alternatives"][name]
    assert answer["split"]["us"] == schedule["splits"][name]["us"]
    assert answer["split"]["gather_us"] == schedule["splits"][name]["gather_us"]
    assert answer["device"].endswith(f" {answer['split']['share']['pim']}/8")
    assert main([*words, "--why", name]) == 0
    assert "of 8 parts in" in capsys.readouterr().out
    assert main(words) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "MatMul" in line]
    assert len(rows) == len(split_rows(report, "coexec"))
    assert main(["partition", "--costs", str(path), "--policy", "greedy", "--why", name]) == 2
    assert "--why would do nothing" in capsys.readouterr().err


def test_the_next_shares_are_next_whatever_they_are_written_in() -> None:
    """5/16 and 3/8 lie around 1/3, though neither is a whole number of thirds."""
    others = [
        {"device": f"cpu_parallel+pim {share}", "regret_us": us}
        for share, us in (("1/4", 9.0), ("5/16", 2.0), ("3/8", 3.0), ("1/2", 8.0))
    ]
    others += [{"device": "pim", "regret_us": 20.0}, {"device": "cpu_parallel", "regret_us": None}]
    next_shares = neighbours(others, ("cpu_parallel", "pim"), (2, 1))
    assert [share and share.us for share in next_shares] == [2.0, 3.0]
    next_shares = neighbours(others[2:], ("cpu_parallel", "pim"), (2, 1))
    assert [share and share.us for share in next_shares] == [None, 3.0]
    next_shares = neighbours(others[-2:], ("cpu_parallel", "pim"), (2, 1))
    assert next_shares == (None, Share(3, 20.0))
