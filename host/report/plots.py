"""Figures for papers: PNG to look at, SVG to typeset.

`write_plots` draws one run, `write_sweep_plots` a grid of runs (`pimloop.host.report.plots_sweep`).
Drawn by matplotlib without a display; equal reports give equal files.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import atan, degrees
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pimloop.host.report.format.model import RooflinePoint
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Schedule, TimelineStep
from pimloop.host.report.html.charts import (
    BarKey,
    Breakdown,
    operator_breakdown,
    operator_colours,
)
from pimloop.host.report.html.energies import energies, with_energy
from pimloop.host.report.html.headline import title
from pimloop.host.report.html.labels import (
    OPERATOR_COLOURS,
    OTHER_COLOUR,
    TRANSFERS,
    device_colour,
    device_title,
    energy_unit,
    executed_word,
    lane_order,
    schedule_order,
    schedule_title,
)
from pimloop.host.report.html.lead import lead_schedule
from pimloop.host.report.html.rates import LIMITS
from pimloop.host.report.plots_style import STYLE, new_figure, plain, save
from pimloop.host.report.plots_sweep import write_sweep_plots

__all__ = ["write_plots", "write_sweep_plots"]

_MARKERS = ("o", "s", "^", "D", "v", "P")

#: Rims of operators that neither the DRAM nor the lanes limit.
_LIMIT_EDGES = {"driver_call": "black", "latency": "#d55e00", "channel": "#cc79a7"}


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Draw a run: schedules, breakdown, energy, timeline and roofline, each as PNG and SVG.

    A figure without data (no clock, no energies, no PIM operator) is left out.

    Parameters
    ----------
    report
        The object of report.json (`pimloop-report/3`).
    folder
        Where the files go; made when it does not exist.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    with matplotlib.rc_context(STYLE):
        return save(draw_plots(report), folder)


def draw_plots(report: Report) -> dict[str, Figure]:
    """Return the figures of `write_plots` by name, those that have data."""
    with matplotlib.rc_context(STYLE):
        figures = {
            "schedules": _schedules(report),
            "breakdown": _breakdown(report),
            "energy": _energy(report),
            "timeline": _timeline(report),
            "roofline": _roofline(report),
        }
    return {name: figure for name, figure in figures.items() if figure}


def _schedules(report: Report) -> Figure | None:
    """Draw executed times as bars with the prediction as a line across."""
    schedules = _timed(report)
    if not schedules:
        return None
    scale, unit = _unit(max(schedule["executed_us"] or 0.0 for schedule in schedules.values()))
    figure, axes = new_figure(5.2, 0.42 * len(schedules) + 1.0)
    board, drivers = report.get("board") or {}, report.get("board_driver") or {}
    lead = lead_schedule(report)
    for place, (name, schedule) in enumerate(schedules.items()):
        executed = (schedule["executed_us"] or 0.0) / scale
        colour = "#009e73" if name == lead else "#a9b4bf"
        axes.barh(place, executed, color=colour, height=0.62)
        predicted = schedule.get("predicted_us")
        published = board.get(name)
        driver = max(0.0, drivers.get(name, 0.0) / scale - executed)
        if driver:
            axes.barh(
                place, driver, left=executed, color="none", edgecolor="#a9b4bf", hatch="////",
                linewidth=0, height=0.62,
            )  # fmt: skip
        # Right of the bar, and of the prediction and the board where those lie behind its end.
        end = max(
            [executed + driver, *(us / scale for us in (predicted, published) if us is not None)]
        )
        axes.annotate(
            f"{executed:,.3g}", (end, place), (6, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
        if predicted is not None:
            at = predicted / scale
            axes.plot([at, at], [place - 0.4, place + 0.4], color="black", linewidth=1.6)
        if published is not None:
            axes.plot(published / scale, place, "D", color="#d55e00", markersize=5, zorder=3)
    _name_rows(axes, schedules)
    word = executed_word(report)
    marks = ["line: predicted"]
    marks += ["◆: board"] if board else []
    marks += ["hatched: what its driver does besides"] if drivers else []
    # A line of its own for the board: one line would be wider than the figure.
    board_marks = "\n" + "; ".join(marks[1:]) if marks[1:] else ""
    axes.set_xlabel(f"{word} time, {unit}; {marks[0]}{board_marks}")
    axes.margins(x=0.12)
    axes.set_title(_caption(report), loc="left", fontsize=9)
    return figure


def _breakdown(report: Report) -> Figure | None:
    """Draw time by operator type as stacked bars."""
    breakdown = operator_breakdown(report)
    if breakdown is None:
        return None
    schedules = _timed(report)
    longest = max(
        sum(row["us"] or 0.0 for row in schedule["operators"])
        + (schedule.get("transfer_us") or 0.0)
        for schedule in schedules.values()
        if schedule.get("operators")
    )
    scale, unit = _unit(longest)
    return _stacked(report, breakdown, longest / scale, f"time, {unit}")


def _energy(report: Report) -> Figure | None:
    """Draw energy by cause as stacked bars, lines from its lowest to its highest value."""
    shown = energies(report)
    if shown is None or shown.bars is None:
        return None
    spreads = [schedule["energy"]["total_fj"] for schedule in with_energy(report).values()]
    highest = max(spread["high"] for spread in spreads)
    scale, unit = energy_unit(highest)
    most = max(spread["nominal"] for spread in spreads)
    without = "" if shown.with_cpu else " without the CPU"
    label = f"energy{without}, {unit}, modelled; line: by the spread of sources"
    figure = _stacked(report, shown.bars, most / scale, label, columns=4)
    for place, spread in enumerate(spreads):
        ends = [spread["low"] / scale, spread["high"] / scale]
        figure.axes[0].plot(ends, [place, place], color="black", linewidth=1.0, marker="|")
    return figure


def _stacked(
    report: Report, breakdown: Breakdown, longest: float, label: str, columns: int = 5
) -> Figure:
    """Draw a bar for each schedule; the longest is `longest` in the unit of the axis.

    `columns` are those of the legend.
    """
    figure, axes = new_figure(5.6, 0.42 * len(breakdown.bars) + 1.5)
    for key, text, colour in breakdown.keys:
        widths = [_width(breakdown, i, key) / 100 * longest for i in range(_bars(breakdown))]
        starts = [
            sum(_width(breakdown, i, k) for k, *_ in _before(breakdown, key)) / 100 * longest
            for i in range(_bars(breakdown))
        ]
        shade = OTHER_COLOUR if colour is None else OPERATOR_COLOURS[colour]
        moved = key == "dma"
        axes.barh(
            range(_bars(breakdown)),
            widths,
            left=starts,
            height=0.66,
            color=device_colour(TRANSFERS) if moved else shade,
            hatch="////" if moved else None,
            edgecolor="white",
            linewidth=0.4,
            label=plain(text),
        )
    axes.set_yticks(range(_bars(breakdown)), [plain(bar.title) for bar in breakdown.bars])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlabel(label)
    axes.set_title(_caption(report), loc="left", fontsize=9)
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    return figure


def _timeline(report: Report) -> Figure | None:
    """Draw all schedules on one scale: a row for each, coloured by lane."""
    schedules = {n: schedule for n, schedule in _timed(report).items() if schedule.get("timeline")}
    if not schedules:
        return None
    ends = [
        max(s["start_us"] + s["us"] for s in schedule["timeline"])
        for schedule in schedules.values()
    ]
    scale, unit = _unit(max(ends))
    lanes = lane_order(s["lane"] for schedule in schedules.values() for s in schedule["timeline"])
    figure, axes = new_figure(6.8, 0.46 * len(schedules) + 1.3)
    for place, schedule in enumerate(schedules.values()):
        # Where lanes work at the same time, each has its part of the row.
        rows = [lane for lane in lanes if any(s["lane"] == lane for s in schedule["timeline"])]
        high = 0.68 / len(rows) if _overlaps(schedule["timeline"]) else 0.68
        for lane in lanes:
            spans = [(a / scale, (b - a) / scale) for a, b in _busy(schedule["timeline"], lane)]
            colour = device_colour(lane)
            label = plain(device_title(lane)) if place == 0 else None
            low = place - 0.34 + (rows.index(lane) * high if high < 0.68 and lane in rows else 0)
            axes.broken_barh(spans, (low, high), facecolors=colour, label=label)
    _name_rows(axes, schedules)
    axes.set_xlim(0.0, max(ends) / scale * 1.02)
    axes.set_xlabel(f"time, {unit}")
    axes.set_title(_caption(report), loc="left", fontsize=9)
    figure.legend(loc="outside lower center", ncols=len(lanes), frameon=False, fontsize=8)
    return figure


def _roofline(report: Report) -> Figure | None:
    """Draw the PIM operators under the device's roof, both axes logarithmic."""
    roofline = report.get("roofline")
    if roofline is None:
        return None
    points = [p for p in roofline["points"] if p["macs"] and p["us"]]
    points = [p for p in points if p.get("bytes") or p.get("ideal_bytes")]
    if not points:
        return None
    peak, bandwidth = roofline["peak_macs_per_us"] / 1e3, roofline["bandwidth_bytes_per_us"] / 1e3
    figure, axes = new_figure(5.6, 3.8)
    intensities = [
        p["macs"] / moved
        for p in points
        for moved in (p.get("bytes"), p.get("ideal_bytes"))
        if moved
    ]
    ends = [min([*intensities, peak / bandwidth]) / 2, max([*intensities, peak / bandwidth]) * 2]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(
        [ends[0], peak / bandwidth, ends[1]], [ends[0] * bandwidth, peak, peak], color="black"
    )
    _name_roof(axes, ends, peak, bandwidth)
    for p in points:
        moved, ideal = p.get("bytes"), p.get("ideal_bytes")
        if moved and ideal and ideal < moved:
            ends_of = [p["macs"] / moved, p["macs"] / ideal]
            axes.plot(ends_of, [_rate(p)] * 2, color="#9a9a9a", linewidth=0.5, linestyle=":")
    _mark_operators(axes, points, operator_colours(report))
    axes.set_xlabel("multiply-adds per byte read or written in the DRAM, as counted")
    axes.set_ylabel("10⁹ multiply-adds a second")
    axes.set_title(_caption(report), loc="left", fontsize=9)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _rate(point: RooflinePoint) -> float:
    """Return 10^9 multiply-adds a second while an operator's lists ran."""
    return float(point["macs"] / (point.get("device_us") or point["us"]) / 1e3)


def _name_roof(axes: Axes, ends: list[float], peak: float, bandwidth: float) -> None:
    """Write the limits on the roof."""
    ridge = peak / bandwidth
    at = ends[0] * (ridge / ends[0]) ** 0.35
    axes.text(
        at, at * bandwidth * 1.2, f"DRAM: {bandwidth:,.3g} GB/s", fontsize=8, ha="center",
        va="bottom", rotation=degrees(atan(bandwidth)), rotation_mode="anchor",
        transform_rotates_text=True,
    )  # fmt: skip
    axes.annotate(
        f"all lanes: {peak:,.3g} · 10⁹/s", (ends[1], peak), (0, 4), textcoords="offset points",
        fontsize=8, ha="right",
    )  # fmt: skip


def _mark_operators(axes: Axes, points: list[RooflinePoint], colours: Mapping[str, int]) -> None:
    """Draw each kind of operator and of limit once: at the bytes counted, and those of operands."""
    kinds = list(dict.fromkeys(p["op"] for p in points))
    groups = dict.fromkeys((p["op"], p.get("limited_by") or "") for p in points if p.get("bytes"))
    for op, limit in groups:
        mine = [
            p
            for p in points
            if p.get("bytes") and (p["op"], p.get("limited_by") or "") == (op, limit)
        ]
        axes.scatter(
            [p["macs"] / p["bytes"] for p in mine if p["bytes"]],
            [_rate(p) for p in mine],
            s=26,
            alpha=0.75,
            linewidths=0.9,
            marker=_MARKERS[kinds.index(op) % len(_MARKERS)],
            color=OPERATOR_COLOURS[colours[op]] if op in colours else OTHER_COLOUR,
            edgecolors=_LIMIT_EDGES.get(limit, "none"),
            label=plain(f"{op}: limited by {LIMITS.get(limit, limit)}" if limit else op),
        )
    ideal = [p for p in points if p.get("ideal_bytes")]
    axes.scatter(
        [p["macs"] / p["ideal_bytes"] for p in ideal],
        [_rate(p) for p in ideal],
        s=10, facecolors="none", edgecolors="#777777", linewidths=0.6,
        label="if each operand moved once",
    )  # fmt: skip


def _timed(report: Report) -> dict[str, Schedule]:
    schedules = report["schedules"]
    return {
        name: schedules[name]
        for name in schedule_order(schedules)
        if schedules[name].get("executed_us") is not None
    }


def _overlaps(timeline: list[TimelineStep]) -> bool:
    """Return whether two steps are at the same time."""
    until = 0.0
    for step in timeline:
        if step["start_us"] < until - 1e-3:
            return True
        until = max(until, step["start_us"] + step["us"])
    return False


def _busy(timeline: list[TimelineStep], lane: str) -> list[tuple[float, float]]:
    """Return when a lane was busy, microseconds; intervals that touch are one."""
    spans: list[tuple[float, float]] = []
    for segment in timeline:
        if segment["lane"] != lane:
            continue
        start, end = segment["start_us"], segment["start_us"] + segment["us"]
        if spans and start - spans[-1][1] < 1e-3:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _bars(breakdown: Breakdown) -> int:
    return len(breakdown.bars)


def _width(breakdown: Breakdown, bar: int, key: str) -> float:
    return sum(part.share for part in breakdown.bars[bar].parts if part.key == key)


def _before(breakdown: Breakdown, key: str) -> list[BarKey]:
    keys = list(breakdown.keys)
    return keys[: [k for k, *_ in keys].index(key)]


def _unit(longest_us: float) -> tuple[float, str]:
    """Return what to divide microseconds by, and the unit that gives."""
    return (1e6, "s") if longest_us >= 2e6 else (1e3, "ms") if longest_us >= 2e3 else (1.0, "µs")


def _caption(report: Report) -> str:
    return plain(f"{title(report)}; {report['platform']}")


def _name_rows(axes: Axes, schedules: Mapping[str, Schedule]) -> None:
    titles = [plain(schedule_title(name, schedule)) for name, schedule in schedules.items()]
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
