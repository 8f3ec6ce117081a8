"""Figures for papers: which files there are and what they show; equal input, equal files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image
from support import report_samples as samples

from pimloop.errors import PimloopError
from pimloop.host.energy.forms import CAUSES
from pimloop.host.report import plots
from pimloop.host.report.html.energies import GROUPS
from pimloop.host.report.html.labels import schedule_order
from pimloop.host.report.plots import write_plots, write_sweep_plots
from pimloop.host.report.plots_pareto import pareto
from pimloop.host.report.plots_sweep import _speedups, _sweep
from pimloop.host.report.publish import FIGURES

NAMES = ("schedules", "breakdown", "timeline", "roofline")


def _rows(settings=({},), models=("bert-small",), lengths=(8, 16, 32)):
    return [
        {
            "model": model,
            "sequence_length": length,
            "platform": "htg-z920",
            "settings": setting,
            "schedule": schedule,
            "executed_us": 1000.0 * length / factor,
            "predicted_us": 1000.0 * length / factor,
            "optimal": schedule == "optimal",
            "lower_bound_us": None,
            "cpu_times_disturbed": False,
            "axes": {},
            "shapes": {},
            "inputs": None,
        }
        for setting in settings
        for model in models
        for length in lengths
        for schedule, factor in (("cpu_serial", 1), ("optimal", 5), ("pim_first", 4), ("mine", 3))
    ]


def test_time_and_energy_of_a_sweep(tmp_path):
    """The dashed line joins what no other schedule is better than in both; a panel a length."""
    rows = _rows(settings=({}, {"pim.lanes": "16"}))
    for row in rows:
        slower = 2.0 if row["settings"] else 1.0
        row["executed_us"] *= slower
        spent = {"cpu_serial": 9.0, "optimal": 4.0, "pim_first": 3.0, "mine": 5.0}
        row["energy_j"] = spent[row["schedule"]] / slower
        row["energy_with_cpu"] = True
    with_length = [row for row in rows if row["sequence_length"] == 8]
    figure = pareto(rows)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"bert-small, {length} tokens" for length in (8, 16, 32)
    ]
    dashed = figure.axes[0].lines[0]
    # optimal, pim_first; with half the lanes pim_first again, at half the energy.
    assert list(dashed.get_xdata()) == pytest.approx([8 / 5, 2.0, 2 * 8 / 5, 4.0])
    assert list(dashed.get_ydata()) == pytest.approx([4000, 3000, 2000, 1500])
    assert len(figure.axes[0].lines) == 1 + len(with_length)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["htg-z920", "htg-z920", *2 * ["htg-z920, pim.lanes=16"]]
    assert pareto(_rows()) is None
    names = {path.stem for path in write_sweep_plots(rows, tmp_path / "plots")}
    assert names == {"speedup", "speedup-pim.lanes", "pareto"}


def _lines(figure):
    """Return {panel title: {number of line: its heights}} of a sweep."""
    return {
        axes.get_title(loc="left"): [list(line.get_ydata()) for line in axes.lines[:-1]]
        for axes in figure.axes
    }


def _with_energy(report):
    """Give each schedule an energy, each cause a different one."""
    for number, schedule in enumerate(report["schedules"].values(), 1):
        causes = {
            cause: {"low": fj // 2, "nominal": fj, "high": 3 * fj}
            for cause, fj in ((c, number * 10**12 * (i + 1)) for i, c in enumerate(CAUSES))
        }
        total = {
            key: sum(each[key] for each in causes.values()) for key in ("low", "nominal", "high")
        }
        schedule["energy"] = {
            "total_fj": total, "causes_fj": causes, "with_cpu": True, "average_w": 1.0,
            "energy_delay_js": 1.0, "operators_fj": {}, "transfers_fj": total["nominal"],
            "overlap_fj": 0,
        }  # fmt: skip
    return report | {"energy_model": "counters and times"}


def test_energy_is_stacked_by_cause_with_its_spread():
    report = _with_energy(samples.make_report(layers=2))
    (axes,) = plots.draw_plots(report)["energy"].axes
    schedules = report["schedules"]
    shown = [schedules[name]["energy"]["total_fj"] for name in schedule_order(schedules)]
    lengths = [0.0] * len(shown)
    for bars in axes.containers:
        for place, bar in enumerate(bars):
            assert bar.get_x() == pytest.approx(lengths[place])  # where the one before ends
            lengths[place] += bar.get_width()
    # The highest is above 1 J.
    assert lengths == pytest.approx([total["nominal"] / 1e15 for total in shown])
    ends = [list(line.get_xdata()) for line in axes.lines]
    assert ends == [[total["low"] / 1e15, total["high"] / 1e15] for total in shown]
    assert axes.get_xlabel().startswith("energy, J, modelled")
    assert len(axes.containers) == len(GROUPS)


def test_each_figure_is_a_picture_in_both_kinds(tmp_path):
    paths = write_plots(samples.make_report(layers=2), tmp_path / "plots")
    assert {path.stem for path in paths} <= set(FIGURES)  # what a later run removes
    wanted = [f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")]
    assert [path.name for path in paths] == wanted
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 300
                assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 8  # not blank
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def _bars(axes):
    """Return (from, to) of the bars of each container of a figure, rounded; empty ones left out."""
    return [
        [(round(bar.get_x(), 6), round(bar.get_x() + bar.get_width(), 6)) for bar in container]
        for container in axes.containers
    ]


def _timed_report():
    """Return a report of two schedules with the times of `_TIMES`, microseconds."""
    report = samples.tiny_report()
    name = next(n for n, schedule in report["schedules"].items() if schedule.get("timeline"))
    schedule = report["schedules"][name]
    schedule["operators"] = [
        {"op": "MatMul", "device": "pim", "us": 3000.0, "count": 2},
        {"op": "Add", "device": "cpu_serial", "us": 1000.0, "count": 1},
    ]
    schedule["transfer_us"] = 2000.0
    schedule["timeline"] = [
        {"lane": "pim", "start_us": 0.0, "us": 1000.0, "label": "a"},
        {"lane": "pim", "start_us": 1000.0, "us": 500.0, "label": "b"},
        {"lane": "pim", "start_us": 2500.0, "us": 1500.0, "label": "c"},
        {"lane": "dma", "start_us": 4000.0, "us": 2000.0, "label": "d"},
    ]
    return {**report, "schedules": {name: schedule}}


def test_bars_of_the_breakdown_are_the_times_of_the_report():
    figure = plots._breakdown(_timed_report())
    (axes,) = figure.axes
    assert axes.get_xlabel() == "time, ms"
    spans = sorted(bar for (bar,) in _bars(axes))
    # Side by side from 0, each as long as its time.
    assert [start for start, _ in spans] == [0.0, *(end for _, end in spans[:-1])]
    assert sorted(round(end - start, 6) for start, end in spans) == [1.0, 2.0, 3.0]
    hatched = {c.get_label(): c.patches[0].get_hatch() for c in axes.containers}
    assert [hatch for hatch in hatched.values() if hatch] == ["////"]
    (moved,) = (c for c in axes.containers if c.patches[0].get_hatch())
    assert round(moved.patches[0].get_width(), 6) == 2.0


def test_the_timeline_shows_when_a_lane_was_busy():
    """Intervals that touch are one; a gap between two stays a gap; each lane is in the legend."""
    figure = plots._timeline(_timed_report())
    (axes,) = figure.axes
    assert axes.get_xlabel() == "time, ms"
    spans = {
        bars.get_label(): [
            (round(path.vertices[:, 0].min(), 6), round(path.vertices[:, 0].max(), 6))
            for path in bars.get_paths()
        ]
        for bars in axes.collections
    }
    assert sorted(spans.values()) == [[(0.0, 1.5), (2.5, 4.0)], [(4.0, 6.0)]]
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == set(spans)
    assert not any(label.startswith("_") for label in spans)


def test_the_schedules_have_their_executed_time_and_prediction():
    report = _timed_report()
    ((name, schedule),) = report["schedules"].items()
    schedule |= {"executed_us": 6000.0, "predicted_us": 5400.0}
    report["board"] = {name: 5000.0}
    (axes,) = plots._schedules(report).axes
    assert _bars(axes) == [[(0.0, 6.0)]]
    assert [list(line.get_xdata()) for line in axes.lines] == [[5.4, 5.4], [5.0]]
    assert [text.get_text().strip() for text in axes.texts] == ["6"]
    assert axes.get_xlabel().endswith("time, ms; line: predicted\n◆: board")


def test_the_work_of_the_boards_driver_is_drawn_behind_a_time_and_named_inside_the_figure():
    report = _timed_report()
    ((name, schedule),) = report["schedules"].items()
    schedule |= {"executed_us": 6000.0, "predicted_us": 6000.0}
    report["board"], report["board_driver"] = {name: 6900.0}, {name: 7000.0}
    figure = plots._schedules(report)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert _bars(axes) == [[(0.0, 6.0)], [(6.0, 7.0)]]
    assert axes.get_xlabel().endswith("◆: board; hatched: what its driver does besides")
    shown = axes.xaxis.label.get_window_extent()
    assert shown.x0 >= 0
    assert shown.x1 <= figure.bbox.x1


@pytest.mark.parametrize("board", [3000.0, 5000.0, 6000.0, 6100.0, 6600.0])
@pytest.mark.parametrize("predicted", [5400.0, 6000.0, 6200.0])
def test_no_mark_covers_the_time_of_a_schedule(board, predicted):
    report = _timed_report()
    ((name, schedule),) = report["schedules"].items()
    schedule |= {"executed_us": 6000.0, "predicted_us": predicted}
    report["board"] = {name: board}
    figure = plots._schedules(report)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (label,) = axes.texts
    left = label.get_window_extent().x0
    scale = figure.dpi / 72  # pixels of a point
    line, diamond = axes.lines
    for mark, half in (
        (line, line.get_linewidth() / 2),
        (diamond, diamond.get_markersize() * 0.75),
    ):
        at = axes.transData.transform((mark.get_xdata()[0], 0))[0]
        assert at + half * scale <= left


@pytest.mark.full
def test_equal_reports_give_equal_files(tmp_path):
    report = samples.tiny_report()
    first, second = (write_plots(report, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_without_a_clock_there_is_nothing_to_draw(tmp_path):
    assert write_plots(samples.bare_report(), tmp_path) == []


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_hostile_names_are_drawn_as_they_are(tmp_path):
    assert len(write_plots(samples.hostile_report(), tmp_path)) == 8
    rows = _rows(models=(samples.HOSTILE,), settings=({"$a$": "$1_"}, {"$a$": 2}))
    assert len(write_sweep_plots(rows, tmp_path)) == 4


def speedup_figure(points, along, label):
    return _sweep(points, along, label, "speed-up over CPU serial", 1.0)


def test_speed_ups_are_over_cpu_serial_of_the_same_cell():
    rows = _rows(lengths=(8, 16))
    for row in rows:
        if row["schedule"] == "optimal" and row["sequence_length"] == 16:
            row["executed_us"] /= 2
    speedups = {(p["schedule"], p["sequence_length"]): p["value"] for p in _speedups(rows)}
    assert speedups[("optimal", 8)] == pytest.approx(5)
    assert speedups[("optimal", 16)] == pytest.approx(10)
    assert ("cpu_serial", 8) not in speedups


def test_a_panel_for_each_model_with_a_line_for_each_schedule():
    figure = speedup_figure(_speedups(_rows(models=("a", "b"))), "sequence_length", "tokens")
    lines = _lines(figure)
    assert list(lines) == ["a, htg-z920", "b, htg-z920"]
    assert lines["a, htg-z920"] == [[5.0] * 3, [4.0] * 3, [3.0] * 3]


@pytest.mark.parametrize(
    ("panels", "columns", "lines"),
    [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3)],
)
def test_panels_fill_a_grid_and_no_place_without_one_has_axes(panels, columns, lines):
    rows = _rows(models=[f"m{number}" for number in range(panels)], lengths=(8,))
    figure = speedup_figure(_speedups(rows), "sequence_length", "tokens")
    assert len(figure.axes) == panels
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.ncols, grid.nrows) == (columns, lines)
    assert tuple(figure.get_size_inches()) == pytest.approx(
        (2.9 * columns + 0.4, 2.5 * lines + 0.7)
    )


def test_a_setting_of_one_value_has_no_figure(tmp_path):
    rows = _rows(settings=({"pim.lanes": 8},))
    assert {path.stem for path in write_sweep_plots(rows, tmp_path)} == {"speedup"}


def test_more_schedules_of_plug_ins_than_line_styles_are_drawn():
    rows = _rows(lengths=(8,))
    rows += [dict(rows[-1], schedule=f"mine{number}") for number in range(20)]
    figure = speedup_figure(_speedups(rows), "sequence_length", "tokens")
    assert len(figure.axes[0].lines) == 3 + 20 + 1  # and the line of no speed-up


def test_settings_have_a_figure_of_their_own(tmp_path):
    rows = _rows(settings=({"pim.lanes": 8}, {"pim.lanes": 16}))
    names = [path.name for path in write_sweep_plots(rows, tmp_path)]
    assert names == [
        f"{n}.{kind}" for n in ("speedup", "speedup-pim.lanes") for kind in ("png", "svg")
    ]
    figure = speedup_figure(_speedups(rows), "pim.lanes", "x")
    panels = [axes.get_title(loc="left") for axes in figure.axes]
    assert panels == [f"bert-small, htg-z920, {n} tokens" for n in (8, 16, 32)]


def test_values_are_in_numeric_order():
    rows = _rows(settings=({"pim.lanes": "16"}, {"pim.lanes": "8"}, {"pim.lanes": "128"}))
    figure = speedup_figure(_speedups(rows), "pim.lanes", "x")
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == ["8", "16", "128"]


def test_no_curve_leaves_its_panel():
    """The panels share an axis; the last one has the smallest numbers."""
    rows = _rows(models=("fast", "slow"))
    for row in rows:
        if row["model"] == "fast" and row["schedule"] == "cpu_serial":
            row["executed_us"] *= 20
    figure = speedup_figure(_speedups(rows), "sequence_length", "tokens")
    for axes in figure.axes:
        highest = max(max(line.get_ydata(), default=0.0) for line in axes.get_lines())
        assert highest < axes.get_ylim()[1]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert figure.axes[0].get_ylim()[1] > 20 * 5


def test_times_that_are_not_trusted_are_hollow():
    rows = _rows(lengths=(8, 16))
    plain = speedup_figure(_speedups(rows), "sequence_length", "tokens")
    for row in rows:
        row["cpu_times_disturbed"] = row["sequence_length"] == 16
    marked = speedup_figure(_speedups(rows), "sequence_length", "tokens")
    hollow = [
        list(line.get_xdata())
        for line in marked.axes[0].get_lines()
        if line.get_markerfacecolor() == "white"
    ]
    assert hollow == [[1]] * 3
    text = "hollow: CPU times not trusted"
    assert text in [text_of.get_text() for text_of in marked.legends[0].get_texts()]
    assert text not in [text_of.get_text() for text_of in plain.legends[0].get_texts()]


def test_a_line_that_is_not_proved_optimal_has_its_gap():
    rows = _rows()
    for row in rows:
        row.update(optimal=row["sequence_length"] != 16, predicted_us=100.0, lower_bound_us=94.0)
    figure = speedup_figure(_speedups(rows), "sequence_length", "tokens")
    names = [label.get_text() for label in figure.legends[0].get_texts()]
    assert names[0] == "Best found (gap at most 6.0 %)"
    assert "PIM first" in names


def test_panels_with_long_names_can_be_told_apart():
    long = "capabilities.operators"
    rows = _rows(settings=({long: '["MatMul","Gemm","Add","Sub","Mul"]'},
                           {long: '["MatMul","Gemm","Add","Sub","Div"]'}))  # fmt: skip
    figure = speedup_figure(_speedups(rows), "sequence_length", "x")
    panels = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(set(panels)) == 2
    assert "…" not in "".join(panels)


def test_rows_that_did_not_finish_are_left_out(tmp_path):
    rows = _rows()
    for row in rows:
        if row["sequence_length"] == 8 and row["schedule"] == "cpu_serial":
            row["executed_us"] = None
        if row["sequence_length"] == 16 and row["schedule"] == "optimal":
            row["executed_us"] = None
    assert {(p["schedule"], p["sequence_length"]) for p in _speedups(rows)} == {
        ("pim_first", 16), ("mine", 16), ("optimal", 32), ("pim_first", 32), ("mine", 32),
    }  # fmt: skip
    assert write_sweep_plots(rows[:1], tmp_path) == []


def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PimloopError, match="cannot write into the folder"):
        write_plots(samples.tiny_report(), tmp_path / "file" / "plots")
