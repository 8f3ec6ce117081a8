"""report.html without a browser: what it says, that it escapes, that parts may be missing."""

from __future__ import annotations

import doctest
import json
import re
from html.parser import HTMLParser

import pytest
from support import report_samples as samples

from pimloop.errors import PimloopError
from pimloop.host.report import plots_style
from pimloop.host.report.html import charts, labels, layout, payload, write_html
from pimloop.host.report.html.board import board_rows
from pimloop.host.report.html.headline import cards, proof, sentence, where, why_no_pim
from pimloop.host.report.html.page import render


class _Page(HTMLParser):
    """The tags, the text and the data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self._inside = f"{tag}#{given.get('id', '')}"
        for key in ("src", "href", "srcset", "action"):
            value = given.get(key)
            if value and not value.startswith("#"):
                self.loads.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script#data":
            self.data += data
        elif not self._inside.startswith(("script", "style")):
            self.words.append(data)


@pytest.mark.parametrize("module", [layout, labels, payload, charts, plots_style])
def test_examples_of_the_modules(module):
    assert doctest.testmod(module).failed == 0


def test_the_page_stands_alone_and_is_small(tmp_path):
    path = tmp_path / "report.html"
    write_html(samples.make_report(), path)
    page = _Page(path.read_text(encoding="utf-8"))
    assert page.loads == ["data:,"]  # the empty icon
    assert "link" in page.tags
    assert path.stat().st_size < 1_000_000
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_headline_tells_the_gain():
    report = samples.make_report()
    best = report["schedules"]["optimal"]["executed_us"]
    serial = report["schedules"]["cpu_serial"]["executed_us"]
    text = sentence(report)
    assert f"{serial / best:.2f} times as fast as one CPU core alone" in text
    assert labels.format_us(best) in text
    assert f"{report['schedules']['optimal']['pim_nodes']} of 619 operators" in where(report)
    assert report["schedules"]["optimal"]["method"] in proof(report)
    assert [card.title for card in cards(report)][:2] == ["CPU serial", "CPU parallel first"]
    assert max(card.share for card in cards(report)) == 100.0
    text = " ".join(_Page(render(report)).words)
    assert f"{serial / best:.2f}" in text


def test_an_equal_baseline_is_not_called_slower():
    report = samples.tiny_report()
    report["speedup"] = {"cpu_serial": 1.001}
    assert "as fast as one CPU core alone" in sentence(report)
    assert "times" not in sentence(report)


def test_a_plan_without_proof_claims_none():
    report = samples.tiny_report()
    best = report["schedules"]["optimal"]
    best.update(optimal=False, lower_bound_us=96.5)
    assert proof(report) == "By the predicted costs no placement takes less than 96.5 µs: proved."
    assert "in the best placement found" in sentence(report)
    best["lower_bound_us"] = None
    assert proof(report) == ""


def test_the_gap_is_part_of_the_name_everywhere():
    """A plan that may be 6 % from the shortest is not called optimal."""
    report = samples.tiny_report()
    best = report["schedules"]["optimal"]
    best.update(optimal=False, predicted_us=100.0, executed_us=100.0, lower_bound_us=94.0)
    name = "Best found (gap 6.0 %)"
    assert charts.schedule_rows(report)[0].title == name
    assert charts.operator_breakdown(report).bars[0].title == name
    assert payload.payload(report)["schedules"][0]["title"] == name
    assert "in the best placement found (gap 6.0 %)" in sentence(report)
    assert "takes less than 94.0 µs: proved" in proof(report)
    assert name in " ".join(_Page(render(report)).words)


def test_how_an_execution_is_totalled_follows_the_objective():
    """The time of a makespan is not the sum of its parts; a search has tried, not proved."""
    report = samples.tiny_report()
    best = report["schedules"]["optimal"]
    best.update(optimal=True)
    text = " ".join(" ".join(_Page(render(report | {"objective": "sequential"})).words).split())
    assert "its times added up" in text
    assert "the search found" not in text
    best.update(optimal=False, lower_bound_us=best["predicted_us"] * 0.94)
    text = " ".join(" ".join(_Page(render(report | {"objective": "makespan"})).words).split())
    assert "its times added up" not in text
    assert "its times overlapped as the plan overlaps them" in text
    assert "the placement with the least predicted time that the search found" in text


@pytest.mark.parametrize(
    ("kind", "cpu"), [("measured", "measured on this machine"), ("simulated", "modelled")]
)
def test_the_model_device_simulates_no_cycles(kind, cpu):
    report = {"executed_kind": kind, "device": "model"}
    wanted = f"CPU times are {cpu}; the model device has no clock, so the PIM has no time"
    assert labels.executed_meaning(report) == wanted


def test_an_execution_that_contradicts_the_proof_is_told_first():
    report = samples.tiny_report()
    schedules = report["schedules"]
    schedules["optimal"].update(optimal=True, executed_us=120.0)
    for name in samples.BASELINES:
        schedules[name]["executed_us"] = 200.0
    assert proof(report).startswith("By the predicted costs no placement is faster: proved (")
    assert "in the best placement" in sentence(report)
    schedules["greedy"]["executed_us"] = 100.0
    schedules["pim_first"]["executed_us"] = 110.0
    assert proof(report).startswith(
        "Executed, Greedy took 100 µs and PIM first took 110 µs, less than the 120 µs of Optimal"
        " (1.2 times as long)"
    )
    assert "in the placement that is best by predicted costs" in sentence(report)
    text = " ".join(_Page(render(report)).words)
    assert "Greedy took 100 µs" in text
    assert "by proof" not in text


def test_faster_executions_are_told_from_the_fastest_on():
    """By their times, not by their names."""
    report = samples.tiny_report()
    schedules = report["schedules"]
    for name in samples.BASELINES:
        schedules[name]["executed_us"] = 200.0
    schedules["optimal"].update(optimal=True, executed_us=120.0)
    schedules["pim_first"]["executed_us"] = 100.0
    schedules["greedy"]["executed_us"] = 110.0
    assert proof(report).startswith("Executed, PIM first took 100 µs and Greedy took 110 µs, less")


@pytest.mark.parametrize(
    ("capable", "optimal", "said"),
    [
        (0, False, "No operator can run on the PIM (no operation for Erf: 3; too wide: 1)."),
        (1, False, "1 operator can run on the PIM; this placement leaves it unused."),
        (2, False, "2 operators can run on the PIM; this placement leaves it unused."),
        (2, True, "2 operators can run on the PIM: by the predicted costs no placement with"),
    ],
)
@pytest.mark.parametrize("counted", [True, False])
def test_why_nothing_is_on_the_pim(capable, optimal, said, counted):
    """The number is the report's, or where it has none that of operators with a cost on the PIM."""
    report = samples.tiny_report()
    report["schedules"]["optimal"] |= {"pim_nodes": 0, "optimal": optimal}
    report["cpu_only"] = {"no operation for Erf": 3, "too wide": 1}
    costs = [{"cpu_serial": 1.0} | ({"pim": 1.0} if i < capable else {}) for i in range(4)]
    report["graph"] = {"nodes": [{"cost_us": cost} for cost in costs]}
    report.pop("pim_capable", None)
    if counted:
        report |= {"pim_capable": capable, "graph": {}}
    assert why_no_pim(report).startswith(said)


def test_numbers_keep_their_digits_at_every_step():
    assert [labels.format_us(us) for us in (999.4, 1000.0, 999_999.0, 1e6)] == [
        "999 µs", "1.00 ms", "1,000 ms", "1.00 s",
    ]  # fmt: skip
    assert [labels.format_number(x) for x in (-0.5, -1.0, -12.345, -12345.6, 10, 100)] == [
        "-0.500", "-1.00", "-12.3", "-12,346", "10.0", "100",
    ]  # fmt: skip
    assert [labels.format_bytes(n) for n in (1023, 1024, 1 << 20)] == [
        "1023 B",
        "1.00 KiB",
        "1.00 MiB",
    ]


def test_counters_are_explained_by_either_name():
    assert labels.counter_meaning("stall") == labels.counter_meaning("CNT_STALL")
    assert labels.counter_meaning("rd").startswith("read column commands")
    assert labels.counter_meaning("unknown") == ""


def test_another_main_schedule_is_named():
    report = samples.tiny_report()
    report["main_schedule"] = "greedy"
    assert "in the placement Greedy" in sentence(report)
    assert payload.payload(report)["main"] == 4


def test_bars_add_up_to_the_totals():
    report = samples.make_report()
    longest = max(schedule["executed_us"] for schedule in report["schedules"].values())
    for breakdown in (charts.operator_breakdown(report), charts.device_breakdown(report)):
        assert breakdown is not None
        for bar, name in zip(breakdown.bars, samples.SCHEDULES, strict=True):
            drawn = sum(part.share for part in bar.parts)
            wanted = 100.0 * report["schedules"][name]["executed_us"] / longest
            assert drawn == pytest.approx(wanted, rel=1e-9)
    by_operator = charts.operator_breakdown(report)
    assert by_operator is not None
    assert len(by_operator.keys) == len(labels.OPERATOR_COLOURS) + 2  # others, transfers


def test_differences_are_signed_and_relative():
    report = samples.tiny_report()
    report["schedules"]["optimal"].update(predicted_us=100.0, executed_us=101.0)
    report["schedules"]["greedy"].update(predicted_us=100.0, executed_us=99.98)
    report["board"] = {"optimal": 202.0, "greedy": 100.0}
    report["board_driver"], report["board_figure"] = {"optimal": 151.5}, {"optimal": 200.0}
    rows = {row.name: row for row in charts.schedule_rows(report)}
    assert rows["optimal"].difference == "+1.0 %"
    assert rows["greedy"].difference == "-0.020 %"
    assert rows["cpu_serial"].difference == "0 %"
    assert rows["cpu_serial"].board == ""
    assert rows["optimal"].driver_share / rows["optimal"].executed_share == pytest.approx(1.5)
    # A total compares with the one that has the same work in it, or with none.
    optimal, greedy = board_rows(report)
    assert (optimal.executed, optimal.work, optimal.with_work) == ("101 µs", "50.5 µs", "152 µs")
    assert (optimal.published, optimal.error, optimal.figure) == ("202 µs", "-25.0 %", "200 µs")
    assert (greedy.published, greedy.work, greedy.error) == ("100 µs", "", "")
    text = " ".join(_Page(render(report)).words)
    assert "the paper's Figure 9 has 200 µs" in text
    assert "Beside the paper's board" not in render(samples.bare_report())


def test_the_data_is_what_the_report_says():
    report = samples.make_report(layers=2)
    data = json.loads(_Page(render(report)).data)
    devices = [device for device, *_ in data["devices"]]
    ids = [node[0] for node in data["nodes"]]
    assert ids == [node["id"] for node in report["graph"]["nodes"]]
    for drawn in data["schedules"]:
        schedule = report["schedules"][drawn["name"]]
        assert [devices[ord(c) - 97] for c in drawn["devices"]] == [
            schedule["assignment"][node] for node in ids
        ]
        assert len(drawn["timeline"]) == len(schedule["timeline"])
        assert sum(segment[2] for segment in drawn["timeline"]) == pytest.approx(
            schedule["executed_us"], rel=1e-5
        )
    for run, wanted in zip(data["runs"], report["profile"]["matrix"], strict=True):
        assert [devices[ord(c) - 97] for c in run["devices"]] == list(wanted["assignment"].values())
    assert len(data["edges"]) == len(report["graph"]["edges"])
    assert len(data["roofline"]["points"]) == len(report["roofline"]["points"])


def test_names_from_a_model_are_never_markup():
    report = samples.hostile_report()
    page = _Page(render(report))
    clean = _Page(render(samples.tiny_report()))
    assert "img" not in page.tags
    assert page.tags.count("script") == clean.tags.count("script") == 2
    names = [node[0] for node in json.loads(page.data)["nodes"]]
    assert names == [node["id"] for node in report["graph"]["nodes"]]


def test_only_the_pages_own_script_may_run():
    text = render(samples.tiny_report())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src 'sha256-" in policy[1]
    assert "unsafe-inline'; script" in policy[1]  # of styles, which run nothing
    assert "unsafe-eval" not in policy[1]


@pytest.mark.parametrize("key", sorted(samples.bare_report()))
def test_a_missing_part_is_left_out(key):
    report = samples.bare_report()
    if key in ("model", "platform", "schedules", "format"):
        return  # a report without these is none
    del report[key]
    assert "pimloop report" in render(report)


def test_many_operators_that_stay_on_the_cpu_are_folded_and_all_named():
    report = samples.bare_report()
    report["kept_on_cpu"] = {f"node_{i}": "its weights do not fit" for i in range(7)}
    text = render(report)
    assert all(f"node_{i}: kept on the CPU (its weights do not fit)" in text for i in range(7))
    assert "<summary>2 more operators are kept on the CPU</summary>" in text


def test_times_of_a_makespan_plan_are_not_called_a_sum():
    report = samples.bare_report()
    assert "its times added up" in render(report | {"objective": "sequential"})
    text = render(report | {"objective": "makespan"})
    assert "its times overlapped as the plan overlaps them" in text
    assert "added up" not in text


def test_a_report_without_a_clock_says_so():
    text = " ".join(_Page(render(samples.bare_report())).words)
    assert "has no clock" in text
    assert "×" not in text.split("Schedules: predicted")[0].split("pimloop report")[1]


def test_layers_are_found_whatever_the_names():
    ops = ["A", "B", "C"] + list("DEFGHIJKLMN") * 5 + ["A"]
    assert layout.find_layers(ops) == (3, 11, 5)
    assert layout.find_layers([f"Op{i}" for i in range(40)]) is None
    assert layout.find_layers([]) is None


def test_layers_begin_where_the_fewest_tensors_cross():
    # Of each block a, b, c, ... the operator b is read by three of the next block; the first block
    # is complete from its operator c on, and the whole repetition begins two operators earlier.
    block = list("cdefghijab")
    ops = ["in", "a", "b", *block * 4, "out"]
    edges = [(i, i + 1) for i in range(len(ops) - 1)]
    edges += [(i, i + step) for i, op in enumerate(ops) if op == "b" for step in (2, 3)]
    page_layout = layout.lay_out(ops, [(a, b) for a, b in edges if b < len(ops)])
    assert [(g.title, g.first, g.count) for g in page_layout.groups] == [
        ("input", 0, 3),
        *[(f"layer {i + 1}", 3 + 10 * i, 10) for i in range(4)],
        ("output", 43, 1),
    ]


def test_no_two_operators_stand_in_one_place():
    report = samples.make_report(layers=3)
    data = payload.payload(report)
    places = [tuple(place) for place in data["places"]]
    assert len(set(places)) == len(places) == len(report["graph"]["nodes"])
    titles = [group[0] for group in data["groups"]]
    assert titles == ["input", "layer 1", "layer 2", "layer 3", "output"]
    for producer, consumer, *_ in data["edges"]:
        if producer >= 0 and consumer >= 0:
            assert places[producer][:2] < places[consumer][:2]


def test_a_model_without_layers_is_cut_into_rows():
    ops = [f"Op{i}" for i in range(100)]
    page_layout = layout.lay_out(ops, [(i, i + 1) for i in range(99)])
    assert [group.title for group in page_layout.groups] == ["1–48", "49–96", "97–100"]
    assert [group.count for group in page_layout.groups] == [48, 48, 4]


def test_codes_of_operators_differ():
    ops = ["MatMul", "Mul", "MaxPool", "Max", "Min", "Mod", "Multinomial", "Mu", "Mean", "MM"]
    codes = payload.operator_codes(ops)
    assert len(set(codes.values())) == len(ops)
    assert all(1 <= len(code) <= 3 for code in codes.values())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(PimloopError, match="cannot write"):
        write_html(samples.tiny_report(), tmp_path / "nowhere" / "report.html")


def test_escape_sequences_and_changes_of_direction_are_not_in_the_page():
    report = samples.tiny_report()
    report["model"] += "\x1b[31m\x00\x9b\u202e\udcff"
    report["cpu_time_source"] += "\u2066"
    text = render(report)
    controls = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    assert not re.search(f"[{controls}\u202a-\u202e\u2066-\u2069]", text)
    assert "tiny\ufffd[31m" in text
    text.encode()


def test_errors_say_of_what_they_are_and_against_what():
    """Absolute or relative to a bound, and the schedule whose outputs have them."""
    text = " ".join(_Page(render(samples.make_report(layers=2))).words)
    assert "0.0018 of its rounding bound (at most 0.005)" in text
    assert "Largest absolute error of the outputs of Optimal to float32" in text
    assert "Cosine of the outputs of Optimal to float32" in text
    assert "The PIM operators of Optimal." in text
    assert "Counted by the device in one execution of Optimal." in text
