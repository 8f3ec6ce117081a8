"""trace.json: slices are the timeline, arrows join what belongs together."""

from __future__ import annotations

import copy
import json

import pytest
from support import report_samples as samples
from support.traces import area, check_counters

from pimloop.errors import PimloopError
from pimloop.host.report.chrome_trace import write_trace


@pytest.fixture(scope="module")
def report():
    return samples.make_report(layers=2)


@pytest.fixture(scope="module")
def events(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    write_trace(report, path)
    return json.loads(path.read_text())["traceEvents"]


def test_each_schedule_is_a_process_and_each_lane_a_thread(report, events):
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert list(processes) == list(range(1, len(report["schedules"]) + 1))
    assert processes[1] == f"{report['model']}: Optimal"
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} == threads


def test_slices_are_the_timeline(report, events):
    for process, name in enumerate(samples.SCHEDULES, 1):
        slices = [e for e in events if e["ph"] == "X" and e["pid"] == process]
        timeline = report["schedules"][name]["timeline"]
        assert [(e["name"], e["ts"], e["dur"]) for e in slices] == [
            (s["name"], s["start_us"], s["us"]) for s in timeline
        ]
        assert sum(e["dur"] for e in slices) == pytest.approx(
            report["schedules"][name]["executed_us"]
        )


def test_slices_carry_the_costs(report, events):
    node = report["graph"]["nodes"][20]
    slices = [e for e in events if e["ph"] == "X" and e["name"] == node["id"]]
    assert len(slices) == len(report["schedules"])
    for event in slices:
        assert event["args"]["op"] == node["op"]
        for device, us in node["cost_us"].items():
            assert event["args"][f"{device} us"] == us


def test_arrows_run_from_the_maker_over_the_transfer_to_the_reader(report, events):
    slices = [e for e in events if e["ph"] == "X"]

    def around(event):
        (middle,) = (
            s
            for s in slices
            if (s["pid"], s["tid"]) == (event["pid"], event["tid"])
            and s["ts"] <= event["ts"] <= s["ts"] + s["dur"]
        )
        return middle

    flows: dict[int, list] = {}
    for event in events:
        if event["ph"] in "stf":
            flows.setdefault(event["id"], []).append(event)
    assert len(flows) == sum(schedule["transfers"] for schedule in report["schedules"].values())
    producer = {e["tensor"]: e["producer"] for e in report["graph"]["edges"]}
    for steps in flows.values():
        assert [step["ph"] for step in steps] in (["s", "t", "f"], ["s", "f"])
        assert [s["ts"] for s in steps] == sorted(s["ts"] for s in steps)
        touched = [around(step) for step in steps]
        tensor = steps[0]["name"]
        (move,) = (t for t in touched if t["cat"] == "transfer")
        assert move["args"] == {"tensor": tensor}
        if producer[tensor] is not None:
            assert touched[0]["name"] == producer[tensor]
        if len(touched) == 3:
            edges = report["graph"]["edges"]
            readers = {e["consumer"] for e in edges if e["tensor"] == tensor}
            assert touched[2]["name"] in readers


def power(report, tmp_path, name="optimal"):
    """Return the power track of a schedule: (microseconds, watts)."""
    path = tmp_path / "trace.json"
    write_trace(report, path)
    process = samples.SCHEDULES.index(name) + 1
    events = json.loads(path.read_text())["traceEvents"]
    return [(e["ts"], e["args"]["W"]) for e in events if e["ph"] == "C" and e["pid"] == process]


def with_energy(report, overlap_fj=0):
    """Return a copy of a report with an energy of its optimal schedule, different everywhere."""
    changed = copy.deepcopy(report)
    schedule = changed["schedules"]["optimal"]
    operators = {node["id"]: 10**9 * (i + 1) for i, node in enumerate(report["graph"]["nodes"])}
    schedule["energy"] = {
        "operators_fj": operators, "transfers_fj": 7 * 10**9, "overlap_fj": overlap_fj,
        "with_cpu": True,
    }  # fmt: skip
    return changed, sum(operators.values()) + 7 * 10**9 + overlap_fj


def test_the_area_under_the_power_is_the_energy(report, tmp_path):
    changed, total = with_energy(report)
    track = power(changed, tmp_path)
    assert area(track) == pytest.approx(total)
    step = next(s for s in changed["schedules"]["optimal"]["timeline"] if s["kind"] == "node")
    spent = changed["schedules"]["optimal"]["energy"]["operators_fj"][step["node"]]
    assert dict(track)[step["start_us"]] == pytest.approx(1e-9 * spent / step["us"])
    assert track[-1][1] == 0
    assert power(report, tmp_path) == []


def test_what_stands_by_counts_once_where_steps_overlap(report, tmp_path):
    changed, total = with_energy(report, overlap_fj=-3 * 10**9)
    timeline = changed["schedules"]["optimal"]["timeline"]
    last = timeline[-1]
    last["start_us"] -= last["us"] / 2
    assert area(power(changed, tmp_path)) == pytest.approx(total)


def test_counters_are_as_the_format_has_them_and_end_at_zero(report, tmp_path):
    changed, total = with_energy(report)
    path = tmp_path / "trace.json"
    write_trace(changed, path)
    (track,) = check_counters(path).values()
    assert area(track) == pytest.approx(total, rel=1e-9)


def test_a_gap_in_a_schedule_has_no_power_of_its_own(report, tmp_path):
    changed, total = with_energy(report)
    steps = changed["schedules"]["optimal"]["timeline"]
    gap = steps[len(steps) // 2]["start_us"]
    for step in steps[len(steps) // 2 :]:
        step["start_us"] += 5.0
    path = tmp_path / "trace.json"
    write_trace(changed, path)
    (track,) = check_counters(path).values()
    assert dict(track)[gap] == 0
    assert area(track) == pytest.approx(total, rel=1e-9)


def test_a_report_without_a_clock_is_an_empty_trace(tmp_path):
    path = tmp_path / "trace.json"
    write_trace(samples.bare_report(), path)
    assert json.loads(path.read_text())["traceEvents"] == []


def test_hostile_names_stay_data(tmp_path):
    path = tmp_path / "trace.json"
    report = samples.hostile_report()
    write_trace(report, path)
    names = {e["name"] for e in json.loads(path.read_text())["traceEvents"] if e["ph"] == "X"}
    assert {node["id"] for node in report["graph"]["nodes"]} <= names


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(PimloopError, match="cannot write"):
        write_trace(samples.tiny_report(), tmp_path / "nowhere" / "trace.json")
