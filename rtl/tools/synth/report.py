"""The tables of docs/synthesis.md, between its `<!-- generated:NAME -->` marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pimloop.rtl.tools.synth.tools import TITLES, Family, Placed, SynthError, Use

#: Families in the order of the columns.
FAMILIES: tuple[Family, ...] = ("xcup", "ecp5")

_END = "<!-- end -->"


def replace(document: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of a name.

    Raises
    ------
    SynthError
        The document does not have the marks.
    """
    content = document.read_text(encoding="utf-8")
    mark = f"<!-- generated:{name} -->\n"
    before, begin, rest = content.partition(mark)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SynthError(f"{document.name} has no `{mark.strip()}` ... `{_END}`")
    document.write_text(f"{before}{mark}{text}{_END}{after}", encoding="utf-8")


def rows_of(document: Path, name: str) -> dict[str, str]:
    """Return the rows of the table between the marks of a name, by their first cell."""
    content = document.read_text(encoding="utf-8")
    text = content.partition(f"<!-- generated:{name} -->\n")[2].partition(_END)[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {row.split("|")[1].strip(): row for row in rows}


def alone_row(name: str, runs: Mapping[int, Placed]) -> str:
    """Return the row of a block placed and routed alone, by seed."""
    slowest = min(runs.values(), key=lambda placed: placed.mhz)
    clocks = ", ".join(f"{placed.mhz:.1f}" for placed in runs.values())
    path = " → ".join(f"`{signal}`" for signal in slowest.path)
    seeds = ", ".join(map(str, runs))
    return f"| `{name}` | {slowest.mhz:.1f} MHz | {seeds} | {clocks} | {path} |"


def alone_table(rows: Mapping[str, str]) -> str:
    """Return the table of rows that `alone_row` made."""
    head = "| block | slowest | seeds | Fmax of each, MHz | longest path of the slowest |"
    lines = [head, "|---|---|---|---|---|", *(rows[name] for name in sorted(rows))]
    return "\n".join(lines) + "\n"


def use_table(rows: Mapping[str, Mapping[Family, Use | str]]) -> str:
    """Return a table of uses: a row for each name, a group of columns for each family.

    A string in the place of a use says why there is none.
    """
    heads = [
        f"{TITLES[f]} {resource}" for f in FAMILIES for resource in ("LUT", "FF", "DSP", "BRAM")
    ]
    lines = [f"| block | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, uses in rows.items():
        cells: list[str] = []
        for family in FAMILIES:
            use = uses[family]
            if isinstance(use, str):
                cells += [use, "", "", ""]
            else:
                numbers = (use.luts, use.flip_flops, use.dsps, use.block_rams)
                cells += [f"{x:,g}" if x < 1000 else f"{x:,.0f}" for x in numbers]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def clock_table(runs: Sequence[tuple[int, int, Placed]]) -> str:
    """Return a table of (speed grade, seed, result) of one design, and its longest path."""
    lines = [
        "| speed grade | seed | Fmax | longest path | of it in cells |",
        "|---|---|---|---|---|",
    ]
    for speed, seed, placed in runs:
        lines.append(
            f"| {speed} | {seed} | {placed.mhz:.1f} MHz | {placed.path_ns:.2f} ns "
            f"| {placed.logic_ns:.2f} ns |"
        )
    slowest = min((run for run in runs if run[0] == runs[0][0]), key=lambda run: run[2].mhz)[2]
    path = " → ".join(f"`{signal}`" for signal in slowest.path)
    return "\n".join(lines) + f"\n\nLongest path of the slowest of the first grade: {path}.\n"
