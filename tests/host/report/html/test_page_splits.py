"""What the page, table and figures say of split operators and of changes of the platform."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support import report_samples as samples

from pimloop.host.report.chrome_trace import write_trace
from pimloop.host.report.html import charts, headline, payload
from pimloop.host.report.html.facts import parts_text
from pimloop.host.report.html.labels import format_us, place_title, schedule_order
from pimloop.host.report.html.lead import lead_schedule, slowdowns
from pimloop.host.report.html.page import render
from pimloop.host.report.html.splits import Share, split_rows, split_schedules
from pimloop.host.report.html.what_if import what_if_table


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return samples.coexec_report()


def test_split_operators_of_a_shape_and_share_are_one_row(report: dict[str, Any]) -> None:
    """With the means of their times, and the next shares where those cost least."""
    schedule = report["schedules"]["coexec"]
    rows = split_rows(report, "coexec")
    assert sorted(name for row in rows for name in row.nodes) == sorted(schedule["splits"])
    assert max(len(row.nodes) for row in rows) > 1
    signatures = {node["id"]: node["signature"] for node in report["graph"]["nodes"]}
    for row in rows:
        splits = [schedule["splits"][name] for name in row.nodes]
        assert len({signatures[name] for name in row.nodes}) == 1
        for i, device in enumerate(row.devices):
            assert {split["columns"][device] for split in splits} == {row.columns[i]}
            us = [split["us"][device] for split in splits]
            assert row.us[i] == pytest.approx(sum(us) / len(us))
        for memory, us in row.gather_us:
            each = [split["gather_us"][memory] for split in splits]
            assert us == pytest.approx(sum(each) / len(each))
        assert row.apart_us == abs(row.us[0] - row.us[1])
        assert _nexts(row.smaller) == _next_of(schedule, row.nodes, smaller=True)
        assert _nexts(row.larger) == _next_of(schedule, row.nodes, smaller=False)
        assert row.smaller is not None
        assert row.larger is not None
    assert split_rows(report, "optimal") == []


def _nexts(share: Share | None) -> tuple[int, float] | None:
    return None if share is None else (share.columns, share.us)


def _next_of(
    schedule: dict[str, Any], nodes: tuple[str, ...], *, smaller: bool
) -> tuple[int, float] | None:
    """Return the next share of the PIM and its least regret, by the report."""
    nexts = []
    for name in nodes:
        columns = schedule["splits"][name]["columns"]
        own, total = columns["pim"], sum(columns.values())
        others: dict[int, float] = {}
        for alternative in schedule["placement"]["alternatives"][name]:
            share = {"pim": "1/1", "cpu_parallel": "0/1"}.get(alternative["device"])
            share = share or alternative["device"].partition(" ")[2]
            if share:
                part, parts = map(int, share.split("/"))
                others[total * part // parts] = alternative["regret_us"]
        side = [c for c in others if (c < own if smaller else c > own)]
        if side:
            at = max(side) if smaller else min(side)
            nexts.append((others[at], at))
    return None if not nexts else (min(nexts)[1], min(nexts)[0])


def test_bars_have_the_widths_of_the_times(report: dict[str, Any]) -> None:
    (schedule,) = split_schedules(report)
    rows = split_rows(report, "coexec")
    longest = max(max(row.us) + sum(us for _, us in row.gather_us) for row in rows)
    for row, bar in zip(rows, schedule.bars, strict=True):
        assert [side.width for side in bar.sides] == pytest.approx(
            [100 * us / longest for us in row.us]
        )
        assert bar.gather_left == pytest.approx(100 * max(row.us) / longest)
        assert bar.gather_left + bar.gather_width <= 100 + 1e-9
        assert f"within {format_us(abs(row.us[0] - row.us[1]))} of each other" in bar.balance
        faster = "PIM" if row.us[1] < row.us[0] else "CPU parallel"
        assert bar.balance.endswith(f"{faster} first")
        for share, shown in ((row.smaller, bar.smaller), (row.larger, bar.larger)):
            assert share is not None
            whole = {0: "all on the CPU parallel", sum(row.columns): "all on the PIM"}
            work = whole.get(share.columns, f"{share.columns} columns")
            assert shown == f"{work}: +{format_us(share.us)}"
    text = render(report)
    assert f'style="width:{schedule.bars[0].sides[0].width:.4f}%"' in text


def test_a_report_without_times_or_reasons_still_shows_the_shares(report: dict[str, Any]) -> None:
    """As with a device without a clock, and as earlier versions wrote it."""
    changed = json.loads(json.dumps(report))
    schedule = changed["schedules"]["coexec"]
    del schedule["placement"], changed["what_if"]
    for split in schedule["splits"].values():
        split["us"] = None
        del split["gather_us"]
    rows = split_rows(changed, "coexec")
    assert all(row.us is None and row.smaller is None for row in rows)
    text = render(changed)
    assert 'id="splits"' in text
    assert 'id="what-if"' not in text
    assert what_if_table(changed) is None


def test_the_table_of_schedules_counts_split_operators(report: dict[str, Any]) -> None:
    rows = {row.name: row.split for row in charts.schedule_rows(report)}
    assert rows == {
        name: len(schedule.get("splits", {})) for name, schedule in report["schedules"].items()
    }
    assert rows["coexec"] > 0
    assert "Of them split" in render(report)
    assert "Of them split" not in render(samples.tiny_report())


def test_data_of_the_scripts_have_splits_and_other_places(report: dict[str, Any]) -> None:
    data = payload.payload(report)
    ids = [node["id"] for node in report["graph"]["nodes"]]
    (shown,) = (drawn for drawn in data["schedules"] if drawn["name"] == "coexec")
    schedule = report["schedules"]["coexec"]
    splits = {ids[int(i)]: split for i, split in shown["splits"].items()}
    assert splits.keys() == schedule["splits"].keys()
    for name, (sides, gather) in splits.items():
        own = schedule["splits"][name]
        assert [columns for _, columns, _ in sides] == list(own["columns"].values())
        assert [us for _, _, us in sides] == [round(us, 3) for us in own["us"].values()]
        assert gather == {memory: round(us, 3) for memory, us in own["gather_us"].items()}
    assert shown["exact"] is True
    for name, others in zip(ids, shown["elsewhere"], strict=True):
        expected = schedule["placement"]["alternatives"][name]
        for other, wanted in zip(others, expected, strict=True):
            title, us, adds, saves, kept, regret = other
            assert title == place_title(wanted["device"])
            assert (us, regret) == (round(wanted["operator_us"], 3), round(wanted["regret_us"], 3))
            assert kept == round(wanted["kept_us"], 3)
            for moves, named in ((adds, wanted["adds"]), (saves, wanted["saves"])):
                assert {f"{data['tensors'][t]} {way}": u for t, way, u in moves} == {
                    name: round(value, 3) for name, value in named.items()
                }
    pairs = {d: memories for d, _, _, memories in data["devices"] if "+" in d}
    assert pairs == {"cpu_parallel+pim": ["cpu", "pim"]}
    assert all("elsewhere" not in o for o in data["schedules"] if o["name"] == "greedy")


def test_what_if_rows_are_differences_to_the_prediction(report: dict[str, Any]) -> None:
    table = what_if_table(report)
    assert table is not None
    assert table.policies == ("Optimal", "Co-execution")
    assert table.before_us == tuple(
        report["schedules"][name]["predicted_us"] for name in ("optimal", "coexec")
    )
    (row,) = table.rows
    assert [cell.difference for cell in row.cells if cell] == pytest.approx([-0.25, -0.25])
    assert [cell.difference_text for cell in row.cells if cell] == ["-25.0 %", "-25.0 %"]
    assert [cell.moved for cell in row.cells if cell] == [11, 11]
    text = render(report)
    assert row.how in text


def test_slices_of_a_split_are_its_parts(report: dict[str, Any], tmp_path: Any) -> None:
    """Each part with its own columns and time, and arrows between the parts that data pass."""
    path = tmp_path / "trace.json"
    write_trace(report, path)
    events = json.loads(path.read_text())["traceEvents"]
    (process,) = (
        e["pid"] for e in events if e["name"] == "process_name" and "Co-exec" in str(e["args"])
    )
    threads = {
        e["tid"]: e["args"]["name"]
        for e in events
        if e["name"] == "thread_name" and e["pid"] == process
    }
    slices = [e for e in events if e["ph"] == "X" and e["pid"] == process]
    titles = {"cpu_parallel": "CPU parallel", "pim": "PIM"}
    for name, split in report["schedules"]["coexec"]["splits"].items():
        parts = {threads[e["tid"]]: e for e in slices if e["name"] == name}
        assert parts.keys() == set(titles.values())
        assert len({e["ts"] for e in parts.values()}) == 1
        for device, title in titles.items():
            event = parts[title]
            assert event["dur"] == split["us"][device]
            assert event["args"]["columns"] == split["columns"][device]
            assert event["args"]["columns of all"] == sum(split["columns"].values())
            for other, us in split["us"].items():
                assert event["args"][f"{other} part us"] == us
            assert f"{device} us" not in event["args"]  # that of the whole operator
    flows: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if event["ph"] in "stf" and event["pid"] == process:
            flows.setdefault(event["id"], []).append(event)
    gathers = 0
    for steps in flows.values():
        tensor = steps[0]["name"].removesuffix("_out")
        if tensor not in report["schedules"]["coexec"]["splits"] or len(steps) < 3:
            continue
        first, move, last = steps
        gathers += 1
        name = next(
            e["name"]
            for e in slices
            if e["tid"] == move["tid"] and e["ts"] <= move["ts"] <= e["ts"] + e["dur"]
        )
        source, destination = name.rpartition(" ")[2].split(">")
        memory = {"CPU serial": "cpu", "CPU parallel": "cpu", "PIM": "pim"}
        assert memory[threads[first["tid"]]] == source
        assert memory[threads[last["tid"]]] == destination
    assert gathers


def test_the_quicker_schedule_with_splits_leads_and_is_related_to_the_best_placement(
    report: dict[str, Any],
) -> None:
    """Headline, cards, table and chosen schedule are about it; a slower one leads nothing."""
    times = {name: s["executed_us"] for name, s in report["schedules"].items()}
    took, best = times["coexec"], times["optimal"]
    assert took < best
    text = headline.sentence(report)
    count = len(report["schedules"]["coexec"]["splits"])
    assert f"takes {format_us(took)} on htg-z920 with {count} operators split" in text
    assert f"{times['cpu_serial'] / took:.2f} times as fast as one CPU core alone" in text
    least = f"{best / took:.2f} times as fast as the best placement of whole operators"
    assert f"{least}, {format_us(best)}." in text
    assert headline.where(report).startswith(f"{count} of ")
    assert f"faster than Optimal, {format_us(best)}: proved" in headline.proof(report)
    shown = {card.title: card.ratio for card in headline.cards(report)}
    assert shown["Optimal"] == pytest.approx(best / took)
    assert shown["CPU serial"] == pytest.approx(times["cpu_serial"] / took)
    assert "Co-execution" not in shown
    assert headline.cards_of(report) == f"Co-execution, {format_us(took)}"
    page = render(report)
    (row,) = re.findall(
        r'<tr class="main">\s*<th scope="row">(.*?)<', page.split('id="what-if"')[0]
    )
    assert row == "Co-execution"
    data = payload.payload(report)
    assert list(schedule_order(report["schedules"]))[data["main"]] == "coexec"

    slower = json.loads(json.dumps(report))
    slower["schedules"]["coexec"]["executed_us"] = 1.01 * best
    assert lead_schedule(slower) == "optimal"
    assert f"takes {format_us(best)} on htg-z920 in the best placement" in headline.sentence(slower)
    assert slowdowns(slower) == slower["speedup"]
    (row,) = re.findall(
        r'<tr class="main">\s*<th scope="row">(.*?)<', render(slower).split('id="what-if"')[0]
    )
    assert row == "Optimal"


def test_the_page_says_how_times_of_shares_were_tested_and_whether_to_trust_them(
    report: dict[str, Any],
) -> None:
    """As the terminal: median and worst miss of whole operators, by the lines through shares."""
    changed = json.loads(json.dumps(report))
    fits = {"up": 0.012, "down": -0.034, "only": None}
    changed["profile"]["parts"] = {
        "runs": 2, "runs_lower_bound": 2, "certificate": "a line has two points",
        "from_cost_store": False, "median_error": 0.023,
        "operators": {name: {"columns": [512], "error": error} for name, error in fits.items()},
    }  # fmt: skip
    text = parts_text(changed["profile"])
    assert text.startswith("2 further runs (lower bound 2); the lines through them miss whole")
    assert text.endswith("by 2.3 % in the median, 3.4 % at most (down)")
    assert text in render(changed)
    assert text not in render(report)
    assert "not trusted" not in render(changed)
    changed["profile"]["disturbed"] = changed["cpu_times_disturbed"] = True
    page = render(changed)
    assert "CPU times are not trusted: other work on this machine disturbed" in page
    assert "not trusted: other work disturbed the measurement" in page.split('id="profile"')[1]
