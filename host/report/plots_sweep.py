"""The figures of a grid of runs, against length or a setting.

Speed-up of whole runs (the paper's Figure 9), tokens a second of generations.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pimloop.host.report.format.sweep import SweepRow
from pimloop.host.report.html.labels import schedule_order, schedule_words, unproved
from pimloop.host.report.plots_pareto import pareto
from pimloop.host.report.plots_style import STYLE, line_styles, plain, save
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity


class DrawnRow(SweepRow):
    """A row of a sweep with what is drawn of it."""

    value: float  # speed-up: time of cpu_serial / time of this schedule; or tokens a second


#: Characters of a panel's title on one line.
_TITLE_WIDTH = 44


def write_sweep_plots(rows: Sequence[SweepRow], folder: Path) -> list[Path]:
    """Draw a grid of runs: the speed-up of every schedule over `cpu_serial`, and its energy.

    `speedup` has sequence lengths along the axis and a panel for each model and platform (and each
    combination of settings). Every setting that takes several values gets a figure
    `speedup-<setting>` of its own, along its values. `pareto` has time and energy
    (`pimloop.host.report.plots_pareto`).

    Parameters
    ----------
    rows
        Rows of sweep.json. Those without an executed time are left out; of speed-ups those without
        `cpu_serial` beside them.
    folder
        Where the files go; made when it does not exist.

    Returns
    -------
    list of Path
        The files written; empty when no row has a speed-up or an energy.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    points = _speedups(rows)
    with matplotlib.rc_context(STYLE):
        figures = _figures(
            points, "speedup", "sequence length, tokens", "speed-up over CPU serial", 1.0
        )
        both = pareto(rows)
        if both is not None:
            figures["pareto"] = both
        return save(figures, folder) if figures else []


def write_token_plots(rows: Sequence[SweepRow], folder: Path) -> list[Path]:
    """Draw a grid of generations: the tokens a second of every schedule.

    `tokens` has prompt lengths along the axis; every setting, batch and weights among them, that
    takes several values gets a figure `tokens-<setting>`.

    Parameters
    ----------
    rows
        `executed_us` is microseconds a token. Rows without are left out.
    folder
        Where the files go; made when it does not exist.

    Returns
    -------
    list of Path
        The files written; empty when no row has a time.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    points: list[DrawnRow] = [
        {**row, "value": 1e6 / us} for row in rows if (us := row["executed_us"])
    ]
    with matplotlib.rc_context(STYLE):
        figures = _figures(points, "tokens", "prompt length, tokens", "tokens/s", None)
        return save(figures, folder) if figures else []


def _figures(
    points: list[DrawnRow], name: str, length: str, quantity_label: str, reference: float | None
) -> dict[str, Figure]:
    """Draw `points` along the sequence length, and along every setting with several values."""
    if not points:
        return {}
    figures = {name: _sweep(points, "sequence_length", length, quantity_label, reference)}
    for key in dict.fromkeys(k for p in points for k in p["settings"]):
        values = {_text(point["settings"].get(key)) for point in points}
        if len(values) > 1:
            suffix = re.sub(r"[^A-Za-z0-9._-]", "_", key)
            figures[f"{name}-{suffix}"] = _sweep(points, key, key, quantity_label, reference)
    return figures


def _sweep(
    points: list[DrawnRow],
    along: str,
    label: str,
    quantity_label: str,
    reference: float | None,
) -> Figure:
    """Draw panels of lines along the sequence length or one of the settings.

    Parameters
    ----------
    quantity_label
        What `value` of the points is.
    reference
        A value to draw a line at; None: there is none.
    """
    panels: dict[tuple[str, ...], list[DrawnRow]] = {}
    for point in points:
        fixed = {k: v for k, v in sorted(point["settings"].items()) if k != along}
        heading = [str(point["model"]), str(point["platform"])]
        if along != "sequence_length" and point["sequence_length"] is not None:
            heading.append(quantity(point["sequence_length"], "token"))
        heading += [f"{key} = {value}" for key, value in fixed.items()]
        panels.setdefault(tuple(heading), []).append(point)
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.4, 2.5 * lines + 0.7), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    styles = line_styles(point["schedule"] for point in points)
    shown: dict[str, Any] = {}
    highest = max([reference or 0.0, *(point["value"] for point in points)])
    for axes, (panel, mine) in zip(grid.flat, panels.items(), strict=False):
        places = _axis_values(_value(point, along) for point in mine)
        _draw_lines(axes, mine, places, along, styles, shown)
        if reference is not None:
            axes.axhline(reference, color="#555555", linewidth=0.8, linestyle="--")
        axes.set_xticks(range(len(places)), [plain(_text(place)) for place in places])
        axes.set_xlim(-0.3, len(places) - 0.7)
        # All panels share the axis: its end must be beyond the curves of every one.
        axes.set_ylim(0.0, 1.08 * highest)
        title = textwrap.wrap(", ".join(panel), _TITLE_WIDTH, break_on_hyphens=False)
        axes.set_title("\n".join(plain(part) for part in title), fontsize=8.5, loc="left")
        axes.set_xlabel(plain(label))
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    for row in grid:
        row[0].set_ylabel(quantity_label)
    names = schedule_order(shown)
    handles = [shown[name] for name in names]
    labels = [plain(_line_title(name, points)) for name in names]
    if any(point["cpu_times_disturbed"] for point in points):
        handles.append(Line2D([], [], color="black", marker="o", linestyle="none",
                              markersize=4.5, markerfacecolor="white"))  # fmt: skip
        labels.append("hollow: CPU times not trusted")
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False
    )
    return figure


def _draw_lines(
    axes: Any,
    mine: list[DrawnRow],
    places: list[Any],
    along: str,
    styles: Mapping[str, tuple[str, str]],
    shown: dict[str, Any],
) -> None:
    """Draw the schedules of a panel, hollow where not trusted; add new ones to `shown`."""
    for name in schedule_order({point["schedule"] for point in mine}):
        line = sorted(
            (
                places.index(_value(point, along)),
                point["value"],
                bool(point["cpu_times_disturbed"]),
            )
            for point in mine
            if point["schedule"] == name
        )
        colour, marker = styles[name]
        (drawn,) = axes.plot(
            [x for x, *_ in line],
            [y for _, y, _ in line],
            color=colour,
            marker=marker,
            markersize=4.5,
        )
        shown.setdefault(name, drawn)
        doubted = [(x, y) for x, y, disturbed in line if disturbed]
        if doubted:
            axes.plot(
                [x for x, _ in doubted],
                [y for _, y in doubted],
                color=colour,
                linestyle="none",
                marker=marker,
                markersize=4.5,
                markerfacecolor="white",
            )


def _line_title(name: str, points: Sequence[DrawnRow]) -> str:
    """Return what a line is called; an optimum is one where it is proved at every point."""
    mine = [point for point in points if point["schedule"] == name]
    if not any(unproved(name, {"optimal": point["optimal"]}) for point in mine):
        return schedule_words(name).title
    gaps = [
        1.0 - bound / predicted
        for point in mine
        if (bound := point["lower_bound_us"]) is not None and (predicted := point["predicted_us"])
    ]
    return f"Best found (gap at most {percent(max(gaps))})" if gaps else "Best found"


def _speedups(rows: Iterable[SweepRow]) -> list[DrawnRow]:
    """Return the rows that have a `cpu_serial` beside them, with their speed-up over it."""
    usable = [(row, us) for row in rows if (us := row["executed_us"])]
    serial = {_cell(row): us for row, us in usable if row["schedule"] == "cpu_serial"}
    return [
        {**row, "value": serial[_cell(row)] / us}
        for row, us in usable
        if row["schedule"] != "cpu_serial" and _cell(row) in serial
    ]


def _cell(row: SweepRow) -> tuple[Any, ...]:
    settings = tuple(sorted((k, _text(v)) for k, v in row["settings"].items()))
    return row["model"], row["sequence_length"], row["platform"], settings


def _value(point: DrawnRow, along: str) -> Any:
    return point["sequence_length"] if along == "sequence_length" else point["settings"].get(along)


def _axis_values(values: Iterable[Any]) -> list[Any]:
    """Return different values in order: numbers, also as text, by size, then all else by its text.

    >>> _axis_values(["16", "8", None, "8"]), _axis_values(["1e3", "20", "all_bank"])
    (['8', '16', None], ['20', '1e3', 'all_bank'])
    """
    return sorted(dict.fromkeys(values), key=_rank)


def _rank(value: Any) -> tuple[bool, float, str]:
    try:
        size = float(value)
    except (TypeError, ValueError):
        size = math.nan
    known = math.isfinite(size)
    return not known, size if known else 0.0, _text(value)


def _text(value: Any) -> str:
    return "default" if value is None else str(value)
