"""A report written out by hand: what the page shows of it is worked out beside it, digit by digit.

Parts of it are missing, zero or unknown, as in reports of other versions and of other devices.
"""

from __future__ import annotations

from typing import Any

import pytest

from pimloop.host.report.html import charts
from pimloop.host.report.html.board import board_rows
from pimloop.host.report.html.payload import operator_codes, payload


def node(name: str, op: str, costs: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"id": name, "op": op, "cost_us": costs, **more}


def edge(tensor: str, producer: str | None, consumer: str | None, **more: Any) -> dict[str, Any]:
    return {"tensor": tensor, "producer": producer, "consumer": consumer, **more}


def schedule(assignment: dict[str, str], **more: Any) -> dict[str, Any]:
    on_pim = list(assignment.values()).count("pim")
    counts = {"pim_nodes": on_pim, "nodes": 3, "transfers": 2, "transfer_bytes": 512}
    return {"assignment": assignment, **counts, **more}


SERIAL = dict.fromkeys(("n0", "n1", "n2"), "cpu_serial")
REPORT: dict[str, Any] = {
    "main_schedule": "greedy",
    "graph": {
        "nodes": [
            node("n0", "MatMul", {"cpu_serial": 1.23456, "pim": 0.5}, source={"pim": "simulated"}),
            node("n1", "Mod", {"cpu_serial": 2}, signature="Mod/2", shape=(2, 3)),
            node("n2", "Max", {"cpu_serial": 0}),
        ],
        "edges": [
            edge("in", None, "n0", bytes=8, transfer_us={"cpu>pim": 1.00049}),
            edge("mid", "n0", "n1", bytes=6, transfer_us={"pim>cpu": 0.25}),
            edge("end", "n1", "n2"),
            edge("out", "n2", None),
        ],
    },
    "board": {"cpu_serial": 160.0, "greedy": 0.0},
    "schedules": {
        "mine": schedule(SERIAL | {"n2": "npu"}, predicted_us=50.0, operators=[]),
        "greedy": schedule(
            SERIAL | {"n0": "pim"}, predicted_us=100.0, executed_us=100.05, transfer_us=15.0,
            operators=[
                {"op": "MatMul", "device": "pim", "us": 70.0},
                {"op": "Mod", "device": "cpu_serial", "us": 15.05},
            ],
            timeline=[
                {"lane": "dma", "start_us": 0.0, "us": 15.0, "node": None, "tensor": "in",
                 "name": "to"},
                {"lane": "pim", "start_us": 15.00049, "us": 70.0, "node": "n0"},
                {"lane": "dma", "start_us": 85.0, "us": 0.5, "node": None, "tensor": "lost"},
                {"lane": "dma", "start_us": 86.0, "us": 0.5, "node": "n1", "tensor": "mid",
                 "name": "back"},
            ],
        ),
        "cpu_serial": schedule(
            SERIAL, predicted_us=199.9991, executed_us=200.0,
            operators=[{"op": "MatMul", "device": "cpu_serial", "us": 185.0},
                       {"op": "Mod", "device": "cpu_serial", "us": 15.0}],
        ),
        "pim_first": schedule(SERIAL | {"n0": "pim"}, predicted_us=0.0, executed_us=10.0),
    },
    "roofline": {
        "peak_macs_per_us": 4.0,
        "bandwidth_bytes_per_us": 8.0,
        "points": [
            {"node": "n0", "op": "MatMul", "macs": 64, "bytes": 96, "ideal_bytes": 32,
             "us": 0.50049, "device_us": 0.25049, "limited_by": "bandwidth"},
            {"node": "gone", "op": "Mod", "macs": 1, "us": 2.0},
        ],
    },
}  # fmt: skip


def test_data_of_a_report_with_gaps() -> None:
    data = payload(REPORT)
    assert data["devices"] == [
        ["cpu_serial", "CPU serial", "S", ["cpu"]],
        ["cpu_parallel", "CPU parallel", "P", ["cpu"]],
        ["pim", "PIM", "M", ["pim"]], ["npu", "npu", "N", ["npu"]],
    ]  # fmt: skip
    assert [lane for lane, _ in data["lanes"]] == [
        "cpu_serial", "cpu_parallel", "dma", "pim", "npu",
    ]  # fmt: skip
    assert data["nodes"] == [
        ["n0", "MatMul", "", [], [1.235, None, 0.5, None], ["", "", "simulated", ""]],
        ["n1", "Mod", "Mod/2", [2, 3], [2, None, None, None], [""] * 4],
        ["n2", "Max", "", [], [0, None, None, None], [""] * 4],
    ]
    assert data["tensors"] == ["in", "mid", "end", "out"]
    assert data["edges"] == [
        [-1, 0, 0, 8, 1.0, None],
        [0, 1, 1, 6, None, 0.25],
        [1, 2, 2, None, None, None],
        [2, -1, 3, None, None, None],
    ]
    # A chain: one row, each right of the one before.
    assert [tuple(place) for place in data["places"]] == [(0, 0, 0), (0, 1, 0), (0, 2, 0)]
    assert [tuple(group) for group in data["groups"]] == [("1–3", 0, 3, 3, 1)]
    assert [drawn["name"] for drawn in data["schedules"]] == [
        "cpu_serial", "pim_first", "greedy", "mine",
    ]  # fmt: skip
    assert data["main"] == 2
    assert payload({**REPORT, "main_schedule": "gone"})["main"] == 0
    assert [drawn["devices"] for drawn in data["schedules"]] == ["aaa", "caa", "caa", "aad"]
    assert [drawn["us"] for drawn in data["schedules"]] == [200.0, 10.0, 100.05, None]
    assert data["schedules"][2]["timeline"] == [
        [2, 0.0, 15.0, -1, 0, "to"],
        [3, 15.0, 70.0, 0],
        [2, 85.0, 0.5, -1, -1, ""],
        [2, 86.0, 0.5, 1, 1, "back"],
    ]
    assert data["runs"] == []
    assert (data["roofline"]["peak"], data["roofline"]["bandwidth"]) == (4.0, 8.0)
    assert data["roofline"]["points"] == [
        [0, "MatMul", 64, 96, 32, 0.5, 0.25, "bandwidth"],
        [-1, "Mod", 1, None, None, 2.0, None, ""],
    ]
    assert payload({"schedules": {}})["nodes"] == []
    for nothing in (None, {}, {"peak_macs_per_us": 4.0, "points": []}):
        assert payload({**REPORT, "roofline": nothing})["roofline"] is None


def test_runs_of_a_profile_name_the_device_of_every_node() -> None:
    partly = {"n0": "pim", "n2": "cpu_serial"}
    matrix = [
        {"name": "run 1", "executed_us": 5.5, "assignment": partly},
        {"name": "run 2", "assignment": SERIAL},
    ]
    assert payload({**REPORT, "profile": {"matrix": matrix}})["runs"] == [
        {"name": "run 1", "us": 5.5, "devices": "c-a"},
        {"name": "run 2", "us": None, "devices": "aaa"},
    ]


def test_codes_of_two_characters() -> None:
    ops = ["MatMul", "MinMod", "Mul", "Mul", "Add", "Ad"]
    assert operator_codes(ops) == {
        "MatMul": "MM", "MinMod": "Mi", "Mul": "Mu", "Add": "Ad", "Ad": "A0",
    }  # fmt: skip
    alike = ["Mu" + "x" * n for n in range(13)]  # letters, digits, and then no two are left
    assert list(operator_codes(alike).values()) == [
        "Mu", "Mx", *(f"M{digit}" for digit in range(10)), "Mux",
    ]  # fmt: skip


def test_rows_of_schedules_with_gaps() -> None:
    rows = {row.name: row for row in charts.schedule_rows(REPORT)}
    shares = {n: (r.predicted_share, r.executed_share, r.board_share) for n, r in rows.items()}
    assert shares == {
        "cpu_serial": (pytest.approx(99.99955), 100.0, 80.0),
        "pim_first": (0.0, 5.0, 0.0),
        "greedy": (50.0, pytest.approx(50.025), 0.0),
        "mine": (25.0, 0.0, 0.0),
    }
    assert {name: row.difference for name, row in rows.items()} == {
        "cpu_serial": "0 %",  # less than five millionths
        "pim_first": "",  # of nothing
        "greedy": "+0.050 %",
        "mine": "",
    }
    # An execution is compared with the board: 200 is a quarter more than 160.
    compared = board_rows({**REPORT, "board_driver": {"cpu_serial": 200.0, "greedy": 1.0}})
    assert {row.title: row.error for row in compared} == {"CPU serial": "+25.0 %", "Greedy": ""}
    assert (rows["mine"].executed, rows["mine"].pim, rows["mine"].kib) == ("", "", 0.5)


@pytest.mark.parametrize(
    ("executed", "text"),
    [
        (1e6 + 4, "0 %"),
        (1e6 + 6, "+0.001 %"),
        (1e6 - 40, "-0.004 %"),
        (1e6 + 990, "+0.099 %"),
        (1e6 - 1000, "-0.1 %"),
    ],
)
def test_small_differences_keep_their_digits(executed: float, text: str) -> None:
    timed = schedule(SERIAL, predicted_us=1e6, executed_us=executed)
    (row,) = charts.schedule_rows({"schedules": {"greedy": timed}})
    assert row.difference == text


def test_bars_of_schedules_with_gaps() -> None:
    """Without a time or without operators there is no bar; transfers may be missing."""
    by_op, by_device = charts.operator_breakdown(REPORT), charts.device_breakdown(REPORT)
    assert by_op is not None
    assert by_device is not None
    assert [bar.title for bar in by_op.bars] == ["CPU serial", "Greedy"]
    assert [(p.key, p.share, p.label) for p in by_op.bars[0].parts] == [
        ("MatMul", 92.5, "MatMul"),
        ("Mod", 7.5, "Mod"),
    ]
    assert [(p.key, pytest.approx(p.share), p.label) for p in by_op.bars[1].parts] == [
        ("MatMul", 35.0, "MatMul"),
        ("Mod", 7.525, "Mod"),
        ("dma", 7.5, ""),  # nine letters have no room there
    ]
    assert [part.text for part in by_op.bars[1].parts] == [
        "MatMul: 70.0 µs, 70.0 %", "Mod: 15.1 µs, 15.0 %", "Transfers: 15.0 µs, 15.0 %",
    ]  # fmt: skip
    assert [row for row in by_op.table if row[0] != "Mod"] == [
        ("MatMul", ("185 µs", "70.0 µs")),
        ("Transfers", ("0", "15.0 µs")),
        ("total", ("200 µs", "100 µs")),
    ]
    assert by_device.keys == (
        ("cpu_serial", "CPU serial", None), ("dma", "Transfers", None), ("pim", "PIM", None),
    )  # fmt: skip
    assert [[p.key for p in bar.parts] for bar in by_device.bars] == [
        ["cpu_serial"], ["cpu_serial", "dma", "pim"],
    ]  # fmt: skip
    untimed = {name: {**timed, "executed_us": None} for name, timed in REPORT["schedules"].items()}
    assert charts.operator_breakdown({**REPORT, "schedules": untimed}) is None
    assert charts.operator_colours({**REPORT, "schedules": untimed}) == {}


def test_operator_types_beyond_the_colours_are_one_part() -> None:
    """Nine types: the seven that take longest have a colour, the others are added up."""
    operators = [{"op": f"T{i}", "device": "pim", "us": 10.0 - i} for i in range(9)]
    timed = schedule(SERIAL, executed_us=54.0, operators=operators)
    breakdown = charts.operator_breakdown({"schedules": {"greedy": timed}})
    assert breakdown is not None
    assert breakdown.keys == (
        *((f"T{i}", f"T{i}", i) for i in range(7)),
        ("others", "others", None), ("dma", "Transfers", None),
    )  # fmt: skip
    assert breakdown.bars[0].parts[-1].share == pytest.approx(100 * (3 + 2) / 54)


def test_devices_are_those_of_costs_and_of_assignments() -> None:
    report = {"schedules": {"mine": {"assignment": {"a": "npu"}}, "none": {"assignment": None}}}
    always = ["cpu_serial", "cpu_parallel", "pim"]
    assert charts.devices_used(report) == [*always, "npu"]
    costs = {"graph": {"nodes": [{"cost_us": {"gpu": 1.0}}]}, "schedules": {}}
    assert charts.devices_used(costs) == [*always, "gpu"]


def test_counters_and_weights_that_are_unknown_are_left_out() -> None:
    counters = {"row_hit_rate": None, "bus_use": 0.25, "CNT_RD": 1234, "CNT_WR": None}
    meters, rows = charts.counters({"counters": counters})
    assert [(meter.title, meter.share) for meter in meters] == [("Channel", 25.0)]
    assert [row[:2] for row in rows] == [("RD", "1,234")]
    for weights, said in (
        ({"bytes": 2048, "us": 1.5, "cycles": 1234},
         "2.00 KiB in 1.50 µs (1,234 DRAM clocks)"),
        ({"bytes": 2048, "us": None, "cycles": 1}, ""), ({"bytes": 0, "us": 1.0}, ""), (None, ""),
    ):  # fmt: skip
        text = charts.weights_text({"schedules": {"optimal": {"weights": weights}}})
        assert said in text
        assert bool(said) == bool(text)


def test_every_schedule_has_its_verification() -> None:
    report = {
        "schedules": {
            "greedy": {"verification": {"passed": False}},
            "optimal": {"verification": {"passed": True}},
        },
    }
    assert charts.verification_rows(report) == [
        ("Best found", {"passed": True}),
        ("Greedy", {"passed": False}),
    ]


@pytest.mark.parametrize(("value", "text"), [(9.996, "10"), (10.0, "10.0"), (123.4, "123")])
def test_errors_have_three_digits(value: float, text: str) -> None:
    assert charts.error_text(value) == text
