"""Tables for the terminal that lose nothing, however narrow it is."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Where a table has lines: around all cells, between them, nowhere.
Lines = Literal["around", "between", "none"]
_LINES: tuple[Lines, ...] = ("around", "between", "none")

#: Narrowest column of prose; narrower ones are read word by word.
_PROSE_WIDTH = 14


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    heading: str
    number: bool = False  # aligned to the right
    prose: bool = False  # may be broken between words; all others are never broken


def texts(*headings: str) -> list[Column]:
    """Return columns of names, which are never broken."""
    return [Column(heading) for heading in headings]


def numbers(*headings: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(heading, number=True) for heading in headings]


def prose(*headings: str) -> list[Column]:
    """Return columns that may be broken between words."""
    return [Column(heading, prose=True) for heading in headings]


def plain_micro(text: str) -> str:
    """Return a text whose micro sign is a u, as in every table of the terminal.

    >>> plain_micro("µJ")
    'uJ'
    """
    return text.replace("µ", "u")


def print_table(
    out: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Text]],
    title: str = "",
    bold: int | None = None,
) -> None:
    """Print a table of which nothing is cut off, however narrow the console is.

    With lines around the cells where that fits, else with lines between them, else without; prose
    is broken between words. Where no table fits, each row is a list of its cells. Cells are printed
    as they are: no markup.

    Parameters
    ----------
    columns
        The columns; the first names the row.
    rows
        Their cells.
    title
        A line above the table.
    bold
        Number of the row to print in bold.
    """
    if title:
        out.print(title, markup=False, soft_wrap=True, style="italic")
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    for lines in _LINES:
        widths = _widths(columns, cells, out.width, lines)
        if widths is not None:
            out.print(_table(columns, cells, widths, lines, bold))
            return
    _print_records(out, columns, cells)


def _widths(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], room: int, lines: Lines
) -> list[int] | None:
    """Return the width of every column, None when the table does not fit into `room`."""
    texts = [
        [column.heading, *(row[place].plain for row in rows)]
        for place, column in enumerate(columns)
    ]
    natural = [max(_length(text) for text in column) for column in texts]
    between = 2 if lines == "none" else 3
    taken = between * (len(columns) - 1) + (4 if lines == "around" else 0)
    least = [
        min(width, max([_PROSE_WIDTH, *(cell_len(w) for text in column for w in text.split())]))
        if shape.prose
        else width
        for shape, column, width in zip(columns, texts, natural, strict=True)
    ]
    spare = room - taken - sum(least)
    if spare < 0:
        return None
    for place in sorted(range(len(columns)), key=lambda place: natural[place] - least[place]):
        more = min(natural[place] - least[place], spare)
        least[place] += more
        spare -= more
    return least


def _length(text: str) -> int:
    return max((cell_len(line) for line in text.split("\n")), default=0)


def _table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Text]],
    widths: Sequence[int],
    lines: Lines,
    bold: int | None,
) -> Table:
    table = Table(
        box=None if lines == "none" else box.HEAVY_HEAD,
        padding=(0, 2, 0, 0) if lines == "none" else (0, 1),
        show_edge=lines == "around",
        pad_edge=lines == "around",
        show_header=any(column.heading for column in columns),
    )
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            Text(column.heading),
            justify="right" if column.number else "left",
            width=width,
            no_wrap=not column.prose,
            overflow="fold",
        )
    for number, row in enumerate(rows):
        table.add_row(*row, style="bold" if number == bold else None)
    return table


def _print_records(out: Console, columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> None:
    """Print each row as its first cell and a line for each other one."""
    indent = 2 + max((cell_len(column.heading) for column in columns[1:]), default=0) + 2
    for first, *others in rows:
        out.print(first, soft_wrap=True)
        for column, cell in zip(columns[1:], others, strict=True):
            if cell.plain.strip() in ("", "-"):
                continue
            heading = f"  {column.heading}".ljust(indent)
            lines = textwrap.wrap(
                cell.plain,
                max(out.width - indent, 16),
                break_long_words=False,
                break_on_hyphens=False,
            )
            for number, line in enumerate(lines):
                text = heading if number == 0 else " " * indent
                out.print(f"{text}{line}", markup=False, soft_wrap=True)
