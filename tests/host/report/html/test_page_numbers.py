"""Every width and number of the page against the report it was made from, worked out again here."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from support import report_samples as samples

from pimloop.host.report.html import charts, payload
from pimloop.host.report.html.headline import cards
from pimloop.host.report.html.labels import format_us
from pimloop.host.report.html.layout import find_layers, lay_out
from pimloop.host.report.html.page import render


class _Meters(HTMLParser):
    """Titles, values and widths of the meters of a page, and the data of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.meters: list[dict[str, str]] = []
        self.data = ""
        self._class = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self._class = given.get("class", given.get("id", ""))
        if self._class == "meter":
            self.meters.append({})
        if self._class.startswith("fill") and self.meters and "width" not in self.meters[-1]:
            self.meters[-1]["width"] = given["style"]

    def handle_data(self, data: str) -> None:
        if self._class in ("meter-title", "meter-value") and data.strip():
            self.meters[-1].setdefault(self._class, data.strip())
        if self._class == "data":
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._class = ""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return samples.make_report()


def test_meters_show_the_rates_of_the_report(report: dict[str, Any]) -> None:
    """0.956 is 95.6 % in text and in width; a rate of 0 is a meter of 0."""
    rates = {"Row hits": "row_hit_rate", "Channel": "bus_use", "Refresh": "refresh_share"}
    changed = {**report, "counters": {**report["counters"], "bus_use": 0.0}}
    for rendered in (report, changed):
        page = _Meters(render(rendered))
        assert [meter["meter-title"] for meter in page.meters] == list(rates)
        for meter in page.meters:
            rate = rendered["counters"][rates[meter["meter-title"]]]
            assert meter["meter-value"] == f"{100 * rate:.1f} %"
            assert meter["width"] == f"width:{100 * rate:.2f}%"
    without = {**report, "counters": {**report["counters"], "bus_use": None}}
    assert [m.title for m in charts.counters(without)[0]] == ["Row hits", "Refresh"]
    rows = charts.counters(report)[1]
    shown = {name: value for name, value, _ in rows}
    expected = {k: v for k, v in report["counters"].items() if k not in rates.values()}
    assert shown == {name: f"{value:,}" for name, value in expected.items()}


def test_rows_of_the_schedules(report: dict[str, Any]) -> None:
    """Shares of the longest time there is, differences in percent of the predicted one."""
    changed = json.loads(json.dumps(report))
    first = changed["schedules"]["cpu_serial"]
    first["executed_us"] = 1.25 * first["predicted_us"]
    changed["schedules"]["greedy"]["executed_us"] = (
        0.9 * (changed["schedules"]["greedy"]["predicted_us"])
    )
    changed["schedules"]["pim_first"]["transfer_bytes"] = 5120
    for shown in (report, changed):
        board = shown["board"]
        longest = max(
            max(s["predicted_us"], s["executed_us"], board.get(name, 0.0))
            for name, s in shown["schedules"].items()
        )
        rows = {row.name: row for row in charts.schedule_rows(shown)}
        assert rows.keys() == shown["schedules"].keys()
        for name, s in shown["schedules"].items():
            row = rows[name]
            assert row.predicted_share == pytest.approx(100 * s["predicted_us"] / longest)
            assert row.executed_share == pytest.approx(100 * s["executed_us"] / longest)
            assert row.board_share == pytest.approx(100 * board.get(name, 0.0) / longest)
            assert (row.pim_nodes, row.nodes) == (s["pim_nodes"], s["nodes"])
            assert row.transfers == s["transfers"]
            assert row.kib == s["transfer_bytes"] / 1024
            assert row.predicted == format_us(s["predicted_us"])
            assert row.executed == format_us(s["executed_us"])
            assert (row.pim, row.cpu) == (format_us(s["pim_us"]), format_us(s["cpu_us"]))
            assert row.transfer == format_us(s["transfer_us"])
            assert row.board == (format_us(board[name]) if name in board else "")
    assert {name: row.difference for name, row in rows.items()} == {
        **dict.fromkeys(rows, "0 %"),
        "cpu_serial": "+25.0 %",
        "greedy": "-10.0 %",
    }
    assert rows["pim_first"].kib == 5.0
    text = render(changed)
    assert f'width:{rows["greedy"].executed_share:.4f}%"' in text
    assert f'left:{rows["greedy"].predicted_share:.4f}%"' in text


def test_breakdowns_add_up(report: dict[str, Any]) -> None:
    """By type and by device: each part its share of the longest bar, all parts the whole bar."""
    spans = {
        name: sum(step["us"] for step in s["timeline"]) for name, s in report["schedules"].items()
    }
    longest = max(spans.values())
    for breakdown, key in (
        (charts.operator_breakdown(report), "op"),
        (charts.device_breakdown(report), "lane"),
    ):
        assert breakdown is not None
        kinds = {node["id"]: node["op"] for node in report["graph"]["nodes"]}
        names = [name for name in samples.SCHEDULES if name in report["schedules"]]
        assert len(breakdown.bars) == len(names)
        known = {k for k, _, _ in breakdown.keys}
        for name, bar in zip(names, breakdown.bars, strict=True):
            sums: dict[str, float] = {}
            for step in report["schedules"][name]["timeline"]:
                kind = (
                    step["lane"] if key == "lane" or step["node"] is None else kinds[step["node"]]
                )
                kind = kind if kind in known else "other types"
                sums[kind] = sums.get(kind, 0.0) + step["us"]
            shares = {part.key: part.share for part in bar.parts}
            others = shares.keys() - known
            assert not others
            named = {k: us for k, us in sums.items() if k in known}
            for part, us in named.items():
                assert shares[part] == pytest.approx(100 * us / longest), (name, part)
            assert sum(shares.values()) == pytest.approx(100 * spans[name] / longest)
            assert bar.total == format_us(spans[name])
            for segment in bar.parts:
                us = segment.share / 100 * longest
                assert segment.text.endswith(f"{format_us(us)}, {100 * us / spans[name]:.1f} %")
                title = segment.text.partition(":")[0]
                assert segment.label in (title, "")
                # 790 pixels in a window of 1,200, not 8 a letter.
                assert bool(segment.label) == (segment.share > max(7, len(title)))
        for title, cells in breakdown.table:
            assert len(cells) == len(names), title
        assert breakdown.table[-1][1] == tuple(format_us(spans[name]) for name in names)
        assert [title for title, _ in breakdown.table[:-1]] == [t for _, t, _ in breakdown.keys]


def test_cards_show_the_speed_ups(report: dict[str, Any]) -> None:
    best = report["schedules"]["optimal"]["executed_us"]
    ratios = {n: report["schedules"][n]["executed_us"] / best for n in samples.BASELINES}
    widest = max(1.0, *ratios.values())
    shown = cards(report)
    assert [card.ratio for card in shown] == pytest.approx(list(ratios.values()))
    assert [card.share for card in shown] == pytest.approx(
        [100 * ratio / widest for ratio in ratios.values()]
    )
    assert [card.executed for card in shown] == [
        format_us(report["schedules"][name]["executed_us"]) for name in ratios
    ]
    slower = {**report, "speedup": {"cpu_serial": 0.5, "greedy": 0.25}}
    assert [card.share for card in cards(slower)] == [50.0, 25.0]


def test_data_of_the_scripts(report: dict[str, Any]) -> None:
    """Nodes, edges and timelines by index, decoded again."""
    data = payload.payload(report)
    assert json.loads(_Meters(render(report)).data) == json.loads(json.dumps(data))
    nodes, edges = report["graph"]["nodes"], report["graph"]["edges"]
    devices = [device for device, *_ in data["devices"]]
    memories = {device: memories for device, _, _, memories in data["devices"]}
    assert memories == {"cpu_serial": ["cpu"], "cpu_parallel": ["cpu"], "pim": ["pim"]}
    lanes = [lane for lane, _ in data["lanes"]]
    assert set(devices) == {d for node in nodes for d in node["cost_us"]}
    for node, (name, op, signature, shape, costs, sources) in zip(
        nodes, data["nodes"], strict=True
    ):
        assert (name, op, signature) == (node["id"], node["op"], node["signature"])
        assert shape == node["shape"]
        assert dict(zip(devices, costs, strict=True)) == {
            d: None if d not in node["cost_us"] else round(node["cost_us"][d], 3) for d in devices
        }
        assert dict(zip(devices, sources, strict=True)) == {
            d: node["source"].get(d, "") for d in devices
        }
    ids = [node["id"] for node in nodes]
    for edge, (producer, consumer, tensor, nbytes, to_pim, to_cpu) in zip(
        edges, data["edges"], strict=True
    ):
        assert (ids[producer] if producer >= 0 else None) == edge["producer"]
        assert (ids[consumer] if consumer >= 0 else None) == edge["consumer"]
        assert data["tensors"][tensor] == edge["tensor"]
        assert nbytes == edge["bytes"]
        assert (to_pim, to_cpu) == (
            round(edge["transfer_us"]["cpu>pim"], 3),
            round(edge["transfer_us"]["pim>cpu"], 3),
        )
    assert data["schedules"][data["main"]]["name"] == "optimal"
    for drawn in data["schedules"]:
        schedule = report["schedules"][drawn["name"]]
        assert drawn["us"] == round(schedule["executed_us"], 3)
        letters = {chr(ord("a") + i): device for i, device in enumerate(devices)}
        assert [letters[c] for c in drawn["devices"]] == [schedule["assignment"][i] for i in ids]
        for step, segment in zip(schedule["timeline"], drawn["timeline"], strict=True):
            assert lanes[segment[0]] == step["lane"]
            assert segment[1:3] == [round(step["start_us"], 3), round(step["us"], 3)]
            assert (ids[segment[3]] if segment[3] >= 0 else None) == step["node"]
            if step["node"] is None:
                assert data["tensors"][segment[4]] == step["tensor"]
                assert segment[5] == step["name"]
    for run, shown in zip(report["profile"]["matrix"], data["runs"], strict=True):
        assert (shown["name"], shown["us"]) == (run["name"], run["executed_us"])
        assert [letters[c] for c in shown["devices"]] == [run["assignment"][i] for i in ids]
    roofline = data["roofline"]
    assert roofline["peak"] == report["roofline"]["peak_macs_per_us"]
    assert roofline["bandwidth"] == report["roofline"]["bandwidth_bytes_per_us"]
    for point, shown in zip(report["roofline"]["points"], roofline["points"], strict=True):
        assert ids[shown[0]] == point["node"]
        assert shown[1:4] == [point["op"], point["macs"], point["bytes"]]
        assert round(point["us"], 3) in shown[4:]


# ---- where operators stand ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ops", "layers"),
    [
        (
            ["In", *["MatMul", "Add", "Erf", "Mul", "Sub", "Div", "Exp", "Tanh"] * 3, "Out"],
            (1, 8, 3),
        ),
        ([f"A{i}" for i in range(9)] * 2, (0, 9, 2)),
        ([f"A{i}" for i in range(9)] * 2 + ["A0", "A1"], (0, 9, 2)),
        (["X", "Y", *([f"A{i}" for i in range(12)] * 4)], (2, 12, 4)),
        ([f"A{i}" for i in range(7)] * 2, None),  # shorter than a layer
        ([f"A{i}" for i in range(20)], None),
        ([], None),
        (["A"] * 8, None),
        (["A"] * 16, (0, 8, 2)),
    ],
)
def test_layers_are_found(ops: list[str], layers: tuple[int, int, int] | None) -> None:
    assert find_layers(ops) == layers


def test_operators_stand_right_of_what_they_read(report: dict[str, Any]) -> None:
    """Each in a place of its own, in the row of its layer, as far left as its inputs allow."""
    nodes = report["graph"]["nodes"]
    index = {node["id"]: i for i, node in enumerate(nodes)}
    edges = [
        (index[e["producer"]], index[e["consumer"]])
        for e in report["graph"]["edges"]
        if e["producer"] and e["consumer"]
    ]
    layout = lay_out([node["op"] for node in nodes], edges)
    assert len(set(layout.places)) == len(layout.places) == len(nodes)
    assert sum(group.count for group in layout.groups) == len(nodes)
    assert len({g.count for g in layout.groups if re.match(r"layer \d+", g.title)}) == 1
    first = 0
    for row, group in enumerate(layout.groups):
        assert group.first == first
        first += group.count
        inside = [layout.places[i] for i in range(group.first, first)]
        assert {place[0] for place in inside} == {row}
        assert group.columns == max(place[1] for place in inside) + 1
        assert group.lanes == max(place[2] for place in inside) + 1
    for consumer in range(len(nodes)):
        row = layout.places[consumer][0]
        before = [layout.places[p][1] for p, c in edges if c == consumer if
                  layout.places[p][0] == row]  # fmt: skip
        assert layout.places[consumer][1] == max((column + 1 for column in before), default=0)


def test_rows_of_a_model_without_layers() -> None:
    layout = lay_out([f"A{i}" for i in range(100)], [(i, i + 1) for i in range(99)])
    assert [(g.title, g.first, g.count, g.columns, g.lanes) for g in layout.groups] == [
        ("1–48", 0, 48, 48, 1),
        ("49–96", 48, 48, 48, 1),
        ("97–100", 96, 4, 4, 1),
    ]
