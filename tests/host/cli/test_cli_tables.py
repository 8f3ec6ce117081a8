"""Tables of the terminal: nothing is cut off, whatever the width."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console
from support import report_samples as samples

import pimloop.host.cli
from pimloop.host.calibration.calibrate import Errors
from pimloop.host.cli.calibrate import print_errors
from pimloop.host.cli.generate import print_generation
from pimloop.host.cli.generation_tables import print_kinds
from pimloop.host.cli.rates import print_rates
from pimloop.host.cli.summary import _print_operators, _print_schedules, _simulation
from pimloop.host.cli.tables import numbers, print_table, prose, texts

WIDTHS = (40, 60, 80, 120)

LONG = "encoder.layers.11.attention.output.dense/MatMul_with_a_name_that_tells_it_apart"


def console(width, **options):
    return Console(file=io.StringIO(), width=width, highlight=False, **options)


def printed(out):
    return out.file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 400])
def test_every_cell_is_whole(width):
    names = [f"{LONG}{i}" for i in range(3)]
    rows = [
        (name, "12,345,678.9", "-1.25 %", "words that may be broken where they end [bold]")
        for name in names
    ]
    out = console(width)
    print_table(out, [*texts("name"), *numbers("us", "error"), *prose("note")], rows, "a title")
    text = printed(out)
    assert "…" not in text
    for name in names:
        assert name in text
    assert text.count("12,345,678.9") == text.count("-1.25 %") == 3
    words = re.sub(r"[│┃]", " ", text).split()
    for word in ["words", "that", "may", "be", "broken", "where", "they", "end", "[bold]"]:
        assert words.count(word) >= 3


def test_lines_around_the_cells_only_where_they_fit():
    rows = [("one", "1", "2")]
    columns = [*texts("name"), *numbers("first", "second")]
    shapes = {}
    for width in (40, 22, 20, 12):
        out = console(width)
        print_table(out, columns, rows)
        shapes[width] = printed(out).splitlines()
    assert shapes[40][1] == "┃ name ┃ first ┃ second ┃"
    assert shapes[22][0] == "name ┃ first ┃ second"
    assert [line.rstrip() for line in shapes[20]] == ["name  first  second", "one       1       2"]
    assert shapes[12] == ["one", "  first   1", "  second  2"]


def test_prose_is_broken_between_words():
    out = console(46)
    print_table(
        out, [*texts("name"), *prose("what")], [("aim", "memory beside the processor " * 2)]
    )
    for line in printed(out).splitlines():
        assert len(line) <= 46
    assert "processor" in printed(out)


@pytest.fixture
def report():
    made = samples.make_report()
    made["schedules"]["optimal"].update(optimal=False, predicted_us=1e6, lower_bound_us=0.94e6)
    made["schedules"]["a_policy_with_a_long_name_of_a_plug_in"] = made["schedules"]["greedy"]
    return made | {"objective": "sequential", "main_schedule": "optimal"}


def numbers_of(report):
    for name, schedule in report["schedules"].items():
        if name != "optimal":
            yield name
        for key in ("predicted_us", "executed_us"):
            yield f"{schedule[key]:,.0f}" if schedule[key] >= 1e4 else f"{schedule[key]:,.1f}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["platforms", "platforms show htg-z920", "models", "policies",
                                     "doctor"])  # fmt: skip
def test_every_listing_is_whole_at_every_width(command, width, monkeypatch, capsys):
    """What --json has is in the text: the values word by word, keys and names in one piece."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert pimloop.host.cli.main(command.split()) == 0
    text = capsys.readouterr().out
    assert "…" not in text
    words = set(re.sub(r"[│┃]", " ", text).split())
    assert pimloop.host.cli.main([*command.split(), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    if command.startswith("platforms show"):
        assert len(data["values"]) > 40
        for key, row in data["values"].items():
            assert key in words
            assert set(str(row["source"]).split()) <= words
    else:
        (listed,) = (value for value in data.values() if isinstance(value, list) and value)
        for listing in listed:
            assert set(str(listing["name"]).split()) <= words
    if width < 60:
        return
    inside = [line for line in text.splitlines() if "┃" in line or "│" in line]
    assert all(len(line) <= width for line in inside)


@pytest.mark.parametrize("width", WIDTHS)
def test_errors_of_a_fit_are_whole(width):
    out = console(width)
    made = Errors((0.05, -0.1), ("a", LONG)), Errors((-0.00001,), ("a",))
    kinds = [("MatMul", "cpu_serial"), ("Softmax", "cpu_parallel")]
    print_errors(out, dict(zip(kinds, made, strict=True)), "fit")
    text = printed(out)
    assert text.count(LONG) == 2  # of its class, and of all
    assert "-10 %" in text
    assert "-0 %" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tables_of_a_run_are_whole(width, report):
    out = console(width)
    _print_schedules(out, report, "bert, 16 tokens")
    _print_operators(out, report, "optimal")
    print_rates(out, report)
    text = printed(out)
    assert "PIM operators, best found (gap 6.0 %); rates while their lists run" in text
    assert "…" not in text
    for wanted in numbers_of(report):
        assert wanted in text
    assert "best found (gap 6.0 %)" in text
    assert "optimal" not in text


def test_no_speed_is_told_where_nothing_was_simulated(report):
    simulation = {
        "flavour": "native", "lanes": None, "cycles": 0, "lists_simulated": 0,
        "cycles_per_s": 0.0, "cycles_cached": 95_283_340, "lists_cached": 900,
    }  # fmt: skip
    told = "; from the cache: 95,283,340 in 900 lists"
    report["simulation"] = simulation
    assert _simulation(report) == f"simulated: 0 DRAM clocks in 0 lists{told}"
    simulation.update(cycles=2_000_000, lists_simulated=3, cycles_per_s=8.434e6)
    assert (
        _simulation(report)
        == f"simulated: 2,000,000 DRAM clocks in 3 lists, 8.43 Mcycles/s a simulator{told}"
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tables_of_a_generation_are_whole(width):
    phase = {
        "name": "prefill", "schedule": "optimal", "optimal": False, "predicted_us": 4.7e9,
        "lower_bound_us": 4.7e9 * 0.94, "nodes": 12345, "pim_nodes": 9876, "executions": 128,
        "us_per_execution": 4.7e9, "pim_us": 2.4e9, "cpu_us": 1.3e9, "transfer_us": 1.2e9,
        "cycles_per_execution": [123_456_789_012], "kept_on_cpu": {"MatMul_1": "too large"},
        "from_cost_store": True, "split_nodes": 0, "transfers": 1234,
        "operator_kinds": [
            {"kind": "product by weights", "group": "weights", "count": 9876, "us": 2.4e9,
             "devices_us": {"pim": 2.4e9}},
            {"kind": "Softmax", "group": "attention", "count": 48, "us": 1.3e9,
             "devices_us": {"cpu_parallel": 1.3e9}},
        ],
    }  # fmt: skip
    time = {"us": 4.7e9, "executed": True, "groups_us": {}, "devices_us": {"pim": 2.4e9},
            "pim_nodes": 9876, "nodes": 12345}  # fmt: skip
    schedules = [
        {"schedule": name, "executed": executed, "optimal": False,
         "time_to_first_token_us": 4.7e9, "us_per_token": 4.7e9, "tokens_per_s": 0.000213,
         "phases": {name: time | {"executed": executed} for name in ("prefill", "decode")}}
        for name, executed in (("optimal", True), ("pim_first", False))
    ]  # fmt: skip
    token = {
        "token": 50256,
        "float32": 50256,
        "margin": 0.0123,
        "tolerance": 0.456,
        "judged": False,
    }
    report = {
            "model": "a/model/with/a/long/name/that/goes/on", "platform": "htg-z920",
            "objective": "makespan", "tokens": [token],
            "phases": [phase, {**phase, "name": "decode", "kept_on_cpu": {"MatMul_1": "others"}}],
            "schedules": schedules,
            "cpu_time_source": "modelled", "lanes": None, "cpu_times_disturbed": False,
            "verification": {"tokens": 1, "tokens_equal": 1, "tokens_judged": 0, "passed": True,
                             "pim_bit_exact": True, "pim_results_checked": 7, "non_finite": [],
                             "predictions_missed": [], "steps_wrong": []},
    }  # fmt: skip
    out = console(width)
    print_generation(out, report)
    text = printed(out)
    assert "…" not in text
    for wanted in ("9876 of 12345", "2,400,000.00", "1,200,000.00", "123,456,789,012", "50256",
                   "pim_first", "Softmax"):  # fmt: skip
        assert wanted in text
    assert "4,700,000.00 ms a prompt" in text
    assert "costs reused from earlier runs" in text
    assert "add up to" not in text
    split = {**phase, "split_nodes": 48, "pim_us": 3.5e9}
    out = console(120)
    print_generation(out, {**report, "phases": [split], "objective": "sequential"})
    # 3.5 + 1.3 + 1.2 - 4.7
    assert "PIM, CPU and transfers add up to 1,300,000.00 ms more than it takes" in printed(out)
    assert "each side works in a memory of its own" in printed(out)
    untimed = dict.fromkeys(("us_per_execution", "pim_us", "cpu_us", "transfer_us"))
    phase |= untimed | {"predicted_us": None, "cycles_per_execution": None, "executions": 2}
    out = console(120)
    print_generation(out, report)
    row = next(line for line in printed(out).splitlines() if "prefill" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][-4:] == ["-"] * 4
    assert "kept on the CPU: prefill MatMul_1: too large" in text
    assert "kept on the CPU: decode MatMul_1: others" in text
    assert "best found (gap 6.0 %)" in text


def test_kinds_that_take_less_are_one_row():
    kinds = [
        {"kind": f"Kind{i}", "group": "other", "count": i, "us": 1000.0 * (20 - i),
         "devices_us": {"pim" if i % 2 else "cpu_serial": 1.0}}
        for i in range(11)
    ]  # fmt: skip
    transfers = {"transfers": 7, "transfer_us": 5000.0}
    total = sum(row["us"] for row in kinds) + 5000.0
    phase = {"name": "decode", "operator_kinds": kinds, "us_per_execution": total, **transfers}
    out = console(100)
    print_kinds(out, {"phases": [phase]})
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in printed(out).splitlines()
        if line.startswith("│")
    ]
    assert [row[0] for row in rows] == [*(f"Kind{i}" for i in range(8)), "others", "transfers"]
    # Kinds 8, 9 and 10: 12 + 11 + 10 ms.
    assert rows[8][1:] == [
        "27",
        "33.00",
        f"{33_000 / total:.1%}".replace("%", " %"),
        "CPU serial, PIM",
    ]
    assert sum(float(row[2]) for row in rows) == pytest.approx(total / 1000)


def test_each_narrower_table_has_fewer_lines():
    """Around the cells, between them, none; then no table."""
    headings = ("PIM", "transfers", "predicted", "error", "slowdown")
    columns = [*texts("schedule"), *numbers(*headings)]
    rows = [("cpu_parallel_first", "308", "229", "2,136,982", "0.00 %", "5.05 x")]
    layouts = {
        72: "┏", 71: "schedule           ┃ PIM ┃", 68: "schedule           ┃ PIM ┃",
        67: "schedule            PIM  transfers", 63: "schedule            PIM  transfers",
        62: "cpu_parallel_first\n  PIM",
    }  # fmt: skip
    for width, begin in layouts.items():
        out = console(width)
        print_table(out, columns, rows)
        text = printed(out)
        assert text.startswith(begin), width
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
