"""The figure of a grid of runs by time and energy: what is best in both, and what is worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pimloop.host.report.format.sweep import SweepRow
from pimloop.host.report.html.labels import schedule_order, schedule_words
from pimloop.host.report.plots_style import line_styles, plain
from pimloop.partitioner.quantity import quantity


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of the points that no other is better than in one and as good in the other.

    By ascending first coordinate; of equal points the first.

    >>> front([(3, 1), (1, 4), (2, 2), (3, 3), (2, 2)])
    [1, 2, 0]
    """
    chosen: list[int] = []
    for place in sorted(range(len(points)), key=lambda i: (*points[i], i)):
        if not chosen or points[place][1] < points[chosen[-1]][1]:
            chosen.append(place)
    return chosen


def pareto(rows: Sequence[SweepRow]) -> Figure | None:
    """Draw schedules by time and energy, a panel for each model and length.

    Those without an executed time or an energy are left out; None where none is left. Energies
    without the CPU are marked as such in the title: they compare with each other alone.
    """
    panels: dict[tuple[str, ...], list[SweepRow]] = {}
    for row in rows:
        if row["executed_us"] and row.get("energy_j"):
            panels.setdefault(_panel(row), []).append(row)
    if not panels:
        return None
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.4, 2.7 * lines + 0.7), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    styles = line_styles(row["schedule"] for mine in panels.values() for row in mine)
    shown: dict[str, Any] = {}
    for axes, (panel, mine) in zip(grid.flat, panels.items(), strict=False):
        _draw(axes, mine, styles, shown)
        axes.set_title(plain(", ".join(panel)), fontsize=8.5, loc="left")
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    names = schedule_order(shown)
    labels = [schedule_words(name).title for name in names]
    figure.legend(
        [shown[name] for name in names], [plain(label) for label in labels],
        loc="outside lower center", ncols=min(4, len(names)), frameon=False,
    )  # fmt: skip
    return figure


def _panel(row: SweepRow) -> tuple[str, ...]:
    length = row["sequence_length"]
    tokens = () if length is None else (quantity(length, "token"),)
    return (row["model"], *tokens, *(() if row.get("energy_with_cpu") else ("without the CPU",)))


def _draw(
    axes: Axes,
    rows: Sequence[SweepRow],
    styles: dict[str, tuple[str, str]],
    shown: dict[str, Any],
) -> None:
    """Draw the points of a panel and the line of its best; name these where devices differ."""
    points = [(1e-3 * (row["executed_us"] or 0.0), 1e3 * row.get("energy_j", 0.0)) for row in rows]
    best = front(points)
    axes.plot(
        [points[place][0] for place in best], [points[place][1] for place in best],
        color="#555555", linewidth=0.8, linestyle="--", zorder=1,
    )  # fmt: skip
    for row, (ms, mj) in zip(rows, points, strict=True):
        colour, marker = styles[row["schedule"]]
        (drawn,) = axes.plot(
            [ms], [mj], color=colour, marker=marker, markersize=4.5, linestyle="none"
        )
        shown.setdefault(row["schedule"], drawn)
    devices = [_device(row) for row in rows]
    if len(set(devices)) > 1:
        for place in best:
            axes.annotate(
                plain(devices[place]), points[place], (4, 4),
                textcoords="offset points", fontsize=6.5,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("time, ms")
    axes.set_ylabel("energy, mJ, modelled")


def _device(row: SweepRow) -> str:
    return ", ".join([row["platform"], *(f"{key}={text}" for key, text in row["settings"].items())])
