"""The pages of coverage: a table of files, and each file with what was not hit."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from pathlib import Path

from pimloop.sim.check.coverage_data import DEVICE, Coverage, Point, Scope
from pimloop.sim.errors import SimError
from pimloop.sim.files import replace_file

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
tr:nth-child(even) { background: color-mix(in srgb, currentColor 6%, transparent); }
pre { font: 13px/1.45 ui-monospace, monospace; overflow-x: auto; }
.hit { background: color-mix(in srgb, #2a9d4a 18%, transparent); }
.miss { background: color-mix(in srgb, #d1345b 30%, transparent); }
.why { opacity: .75; }
"""
_KINDS = ("line", "toggle", "user")


def write_report(coverage: Coverage, folder: Path, scope: Scope = DEVICE) -> Path:
    """Write index.html, a page for every file and missed.txt; return the first one's path.

    Raises
    ------
    SimError
        When the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rows = "".join(_row(coverage, file) for file in coverage.files)
        total = "".join(f"<th>{_percent(coverage.share(kind))}</th>" for kind in _KINDS)
        body = (
            "<h1>Coverage of the RTL</h1><p>Lines and branches, toggles of every bit in both"
            " directions, functional cover points; waived points are not counted.</p>"
            "<table><tr><th>file</th>"
            + "".join(f"<th>{kind}</th>" for kind in _KINDS)
            + f"<th>waived</th></tr>{rows}<tr><th>all</th>{total}"
            + f"<th>{len(coverage.waived)}</th></tr></table>"
        )
        page = folder / "index.html"
        replace_file(page, _page("Coverage", body).encode())
        sources = scope.sources
        for file in coverage.files:
            text = sources[file].read_text(encoding="utf-8")
            content = _page(file, _source(coverage, file, text))
            replace_file(folder / f"{file}.html", content.encode())
        missed = "".join(f"{point}\n" for point in coverage.missed)
        replace_file(folder / "missed.txt", missed.encode())
    except OSError as error:
        raise SimError(f"cannot write {folder}: {error.strerror}; choose another --out") from error
    return page


def _page(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        '<meta name=viewport content="width=device-width">'
        f"<style>{_STYLE}</style>{body}</html>\n"
    )


def _percent(share: tuple[int, int]) -> str:
    hit, points = share
    return f"{100 * hit / points:.1f} % ({hit}/{points})" if points else "-"


def _row(coverage: Coverage, file: str) -> str:
    cells = "".join(f"<td>{_percent(coverage.share(kind, file))}</td>" for kind in _KINDS)
    waived = sum(point.file == file for point in coverage.waived)
    name = escape(file)
    return f"<tr><td><a href='{name}.html'>{name}</a></td>{cells}<td>{waived}</td></tr>"


def _source(coverage: Coverage, file: str, text: str) -> str:
    """Return the source with missed points behind their lines."""
    hit: set[int] = set()
    missed: dict[int, list[Point]] = defaultdict(list)
    waived: dict[int, set[str]] = defaultdict(set)
    for point, count in coverage.counts.items():
        if point.file != file:
            continue
        if count == 0:
            missed[point.line].append(point)
        elif point.kind != "toggle":
            hit.add(point.line)
    for point, reason in coverage.waived.items():
        if point.file == file:
            waived[point.line].add(reason)
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        note = ""
        if number in missed:
            labels = ", ".join(f"{p.kind} {p.label}".strip() for p in sorted(missed[number]))
            note = f"  <span class=why>not hit: {escape(labels)}</span>"
        if number in waived:
            reasons = "; ".join(sorted(waived[number]))
            note += f"  <span class=why>waived: {escape(reasons)}</span>"
        mark = " class=miss" if number in missed else " class=hit" if number in hit else ""
        lines.append(f"<span{mark}>{number:5}  {escape(line)}</span>{note}")
    return f"<h1>{escape(file)}</h1><p><a href=index.html>all files</a></p><pre>" + (
        "\n".join(lines) + "</pre>"
    )
