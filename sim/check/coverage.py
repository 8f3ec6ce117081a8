"""Coverage of rtl/: counts what the test suite ran, merges it, says what was not hit and why.

    python -m pimloop.sim.check.coverage [--out DIR] [--data DIR] [--least PERCENT]

Runs the tests that exercise the RTL with every simulator built to count lines, toggles and the
cover points of sim/rtl/pim_cover_sim.sv, merges the data files and writes an HTML report. Points
that cannot be hit are listed with a reason in sim/check/coverage_waivers.toml; a waiver that waives
nothing, or that says a point cannot be hit which was hit, is an error, so that the list stays
honest. Exit code 1: less than asked for, or such a waiver. Running the tests needs what `make dev`
installs; --data does not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pimloop.sim.check.coverage_data import merge, read_waivers
from pimloop.sim.check.coverage_report import write_report
from pimloop.sim.errors import SimError
from pimloop.sim.packages import require_packages
from pimloop.sim.paths import REPOSITORY
from pimloop.sim.verilator.build import COVERAGE_VARIABLE

#: The tests that run RTL and are worth their time: benches of the blocks, then whole devices.
#: Not here: tests of a check (mutants, netlists), and those of the lane alone, whose builds take
#: minutes with coverage and hit nothing that the lanes of a whole device do not.
TESTS = (
    *(
        f"tests/rtl/test_pim_{block}.py"
        for block in (
            *("sched", "lane_ctl", "seq", "list", "copy", "regs", "check", "spans"),
            *("counters", "burst_gen", "dma_rd", "dma_wr", "transpose", "scalar_buf", "fifo"),
            *("clock_gate", "ram"),
        )
    ),
    "tests/host/pim/device/test_device_conformance.py",
    "tests/host/pim/device/test_device_equivalence.py",
    "tests/host/pim/device/test_device_opcodes.py",
    "tests/host/pim/device/test_device_places.py",
    "tests/host/pim/device/test_device_wide.py",
    "tests/host/pim/device/test_hostile.py",
    "tests/host/pim/device/test_rows_per_beat.py",
)

#: Packages that they import and that are no part of `make setup`.
PACKAGES = ("hypothesis", "xdist", "cocotbext")

#: Percent of each kind that must be hit.
LEAST = {"line": 99.0, "toggle": 98.0, "user": 99.0}

#: Bound on the run of the tests, seconds.
TEST_TIMEOUT = 7200.0


def run_tests(data: Path, tests: Sequence[str] = TESTS) -> None:
    """Run the tests with coverage; data files go to the folder `data`.

    Raises
    ------
    SimError
        When a package of the tests is missing, or a test fails: coverage of a suite that fails
        means nothing.
    """
    require_packages("coverage", PACKAGES, "dev")
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
    parser = argparse.ArgumentParser(
        prog="python -m pimloop.sim.check.coverage", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out" / "coverage")
    parser.add_argument("--data", type=Path, help="read these data files, run no tests")
    bounds = ", ".join(f"{kind} {percent:g}" for kind, percent in LEAST.items())
    parser.add_argument("--least", type=float, help=f"percent of each kind (default: {bounds})")
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
    for kind, least in LEAST.items():
        hit, points = coverage.share(kind)
        percent = 100 * hit / points if points else 0.0
        good = good and percent >= (least if args.least is None else args.least)
        sys.stdout.write(f"{kind:7} {hit:6} of {points:6}  {percent:6.2f} %\n")
    sys.stdout.write(f"waived {len(coverage.waived):7}, each with a reason\n")
    for waiver, point in coverage.wrong:
        good = False
        sys.stdout.write(
            f"wrong waiver: {waiver.file} {waiver.kind} {waiver.pattern.pattern}: {point} was hit;"
            " make it more precise\n"
        )
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
