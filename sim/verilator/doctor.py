"""Looks at every tool that pimloop needs and says what is there and how to mend what is not."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pimloop.sim.errors import SimError
from pimloop.sim.paths import distrust
from pimloop.sim.verilator.build import build_root
from pimloop.sim.verilator.toolchain import (
    REMEDIES,
    Tool,
    find_compiler,
    find_make,
    find_verilator,
    has_header,
)

#: Python packages that pimloop imports; Verilator's own is looked at as a tool.
PACKAGES = (
    "cocotb",
    "numpy",
    "scipy",
    "highspy",
    "networkx",
    "onnx",
    "onnxruntime",
    "ml_dtypes",
    "pyverilator",
    "rich",
)

_TIMEOUT = 30.0  # bound on one look at a tool, seconds


@dataclass(frozen=True)
class Finding:
    """One tool, found or not."""

    name: str
    version: str | None  # None: not found
    place: str  # path, or why it is not found
    remedy: str | None  # the one command that mends it; None: found

    @property
    def present(self) -> bool:
        """Whether the tool is there."""
        return self.remedy is None


def examine() -> list[Finding]:
    """Return what was found out about every tool, missing ones included."""
    findings = [_python(), _libpython(), _verilator()]
    compiler = _tool("c++", find_compiler)
    findings += [compiler, _tool("make", find_make), _archiver()]
    if compiler.present:
        findings += _headers()
    findings += [_package(name) for name in PACKAGES]
    findings.append(_build_folder())
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", version, sys.executable, None)


def _libpython() -> Finding:
    try:
        import find_libpython  # comes with cocotb
    except ImportError:
        return Finding("libpython", None, "nothing to find it with", REMEDIES["cocotb"])
    library = find_libpython.find_libpython()
    if library is None:
        why = "this Python has no shared library for the simulator to load"
        return Finding("libpython", None, why, REMEDIES["libpython"])
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Finding("libpython", version, str(library), None)


def _tool(name: str, find: Callable[[], Tool]) -> Finding:
    try:
        tool = find()
    except SimError as error:
        return Finding(name, None, str(error).split(";")[0], REMEDIES[name])
    return Finding(name, tool.version, tool.path, None)


def _verilator() -> Finding:
    def find() -> Tool:
        tool, root = find_verilator()
        if root is None and not shutil.which("perl"):
            raise SimError(f"{tool.path} is a Perl script and there is no perl on PATH")
        return tool

    finding = _tool("verilator", find)
    if not finding.present and "perl" in finding.place:
        return Finding("perl", None, finding.place, REMEDIES["perl"])
    return finding


def _archiver() -> Finding:
    path = shutil.which("ar")
    if path is None:
        return Finding("ar", None, "no ar on PATH", "sudo apt-get install binutils")
    result = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    return Finding("ar", next(iter(result.stdout.splitlines()), "unknown"), path, None)


def _headers() -> list[Finding]:
    """Look at what a waveform needs: zlib, and lz4, which there is a stand-in for."""
    compiler = find_compiler()
    zlib = _macro(compiler, "zlib.h", "ZLIB_VERSION")
    lz4 = _macro(compiler, "lz4.h", "LZ4_VERSION_STRING")
    findings = []
    if zlib is None:
        why = "waveforms need the header zlib.h"
        findings.append(Finding("zlib", None, why, REMEDIES["zlib"]))
    else:
        findings.append(Finding("zlib", zlib, "zlib.h", None))
    place = "lz4.h" if lz4 else "no lz4.h on this machine: sim/verilator/lz4 takes its place"
    findings.append(Finding("lz4", lz4 or "built in", place, None))
    return findings


def _macro(compiler: Tool, header: str, macro: str) -> str | None:
    """Return the text that `macro` of a system header stands for; None: no such header."""
    if not has_header(header, compiler):
        return None
    result = subprocess.run(
        [compiler.path, "-x", "c++", "-E", "-P", "-"],
        input=f"#include <{header}>\n{macro}\n",
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    last = next(iter(reversed(result.stdout.splitlines())), "")
    return re.sub(r'["\s]', "", last) or "unknown"


def _package(name: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        remedy = REMEDIES.get(name, f"{sys.executable} -m pip install {name}")
        return Finding(name, None, "not installed in this Python", remedy)
    return Finding(name, version, "Python package", None)


def _build_folder() -> Finding:
    root = build_root()
    existing = next(path for path in (root, *root.parents) if path.exists())
    why: str | None = f"{root} is not writable"
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        why = distrust(root, of_root=True) if root.exists() else None
    if why is None:
        return Finding("build folder", "writable", str(root), None)
    mine = Path.home() / ".cache" / "pimloop"
    return Finding("build folder", None, why, f"export PIMLOOP_BUILD_DIR={mine}")
