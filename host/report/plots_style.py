"""What the figures for papers share: their style, and how they become files."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pimloop.host.common.files import write_whole
from pimloop.host.common.folders import make_subfolder
from pimloop.host.common.text import printable

#: Dots per inch of the PNG files: sharp in a paper's column.
_DPI = 200

#: Characters of the longest name or title shown.
_LONGEST = 60

#: For `matplotlib.rc_context`.
STYLE: Any = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "svg.hashsalt": "pimloop",  # equal input, equal file
}


#: Lines of a sweep: colours of Okabe and Ito, and a marker each for readers without colour.
_LINES = {
    "optimal": ("#009e73", "o"),
    "cpu_parallel_first": ("#0072b2", "s"),
    "pim_first": ("#d55e00", "^"),
    "greedy": ("#e69f00", "D"),
    "paper_dp": ("#cc79a7", "v"),
}
_SPARE_LINES = (("#56b4e9", "P"), ("#000000", "X"), ("#999999", "*"))


def plain(text: str) -> str:
    """Return a text that matplotlib shows as it is, on one line, cut where it is very long.

    It takes what stands between two dollar signs for mathematics, and leaves names that begin with
    an underscore out of legends.

    >>> plain("_a $b$")
    ' _a \\\\$b\\\\$'
    """
    line = " ".join(printable(text).split())
    short = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    escaped = short.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches and its axes; no global state of pyplot is touched."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def save(figures: dict[str, Figure], folder: Path) -> list[Path]:
    """Write figures as <name>.png and <name>.svg into `folder`, made when it does not exist.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    make_subfolder(folder.parent, folder.name)
    paths = []
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            buffer = BytesIO()
            metadata = {"Date": None} if kind == "svg" else {"Software": "pimloop"}
            figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata)
            path = folder / f"{name}.{kind}"
            write_whole(path, buffer.getvalue())
            paths.append(path)
            # Laid out by the first: finding the places again takes as long as to draw.
            figure.set_layout_engine(None)
    return paths


def line_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the colour and the marker of each schedule of a sweep."""
    different = dict.fromkeys(names)
    spare = [name for name in different if name not in _LINES]
    return {
        name: _LINES[name]
        if name in _LINES
        else _SPARE_LINES[spare.index(name) % len(_SPARE_LINES)]
        for name in different
    }
