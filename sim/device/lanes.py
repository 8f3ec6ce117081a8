"""Whether the native lanes are verified to give the bits of the RTL lanes of this tree.

The flavour `native` replaces `rtl/pim_lanes.sv` by C++ (`sim/dpi/pim_lane_dpi.cpp`), and the
memories of the buffers beside the lanes by ones that cost a simulation less. That is right as long
as both give the same bits, which the conformance tests show; `verified.toml` holds the hashes of
what they showed it for. When one of the two has changed since, RTL lanes and buffers are simulated.

    python -m pimloop.sim.device.lanes           does the record hold? exit code 1: it does not
    python -m pimloop.sim.device.lanes --verify  run the conformance tests; they pass: write it
"""

from __future__ import annotations

import logging
import re
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from pimloop.sim.device import records
from pimloop.sim.device.records import COMMENT, code, hash_of
from pimloop.sim.paths import REPOSITORY

log = logging.getLogger(__name__)

Flavour = Literal["native", "rtl"]

RTL = REPOSITORY / "rtl"
DPI = REPOSITORY / "sim" / "dpi"
RECORD = records.Record(
    path=DPI / "verified.toml",
    program="python -m pimloop.sim.device.lanes",
    title="the lanes that were found equal",
    tests=(
        "tests/rtl/test_pim_lane_conformance.py",
        "tests/rtl/test_pim_lane_golden.py",
        "tests/rtl/test_pim_lanes.py",
        "tests/rtl/test_pim_scalar_buf.py",
        "tests/rtl/test_pim_transpose.py",
    ),
    holds="the native lanes are verified equal to the RTL lanes of this tree",
    fails="the lanes have changed since they were verified",
    unverified="the native lanes are not verified",
)

#: The modules that others stand for in native simulations, and those.
_TOPS = ("pim_lanes", "pim_scalar_buf", "pim_transpose_square")
_NATIVE_SOURCES = (
    RTL / "pim_lanes_native_sim.sv",
    RTL / "pim_scalar_buf_sim.sv",
    RTL / "pim_transpose_block_sim.sv",
    DPI / "pim_lane_dpi.h",
    DPI / "pim_lane_dpi.cpp",
)

_DECLARATION = re.compile(
    r"typedef\b[^;{]*\{[^}]*\}\s*\w+\s*;|function\b.*?\bendfunction\b|(?:localparam|parameter)\b[^;]*;",
    re.S,
)


def default_flavour() -> Flavour:
    """Return the lanes to compute with when nobody says: `native` where they are verified."""
    return "native" if verified() else "rtl"


@cache
def verified() -> bool:
    """Whether the lanes of this tree, RTL and C++, are those that the record names."""
    return RECORD.names(hashes())


def lanes_text(flavour: str) -> str:
    """Return which lanes compute, for a report."""
    if flavour == "rtl":
        return "RTL"
    if verified():
        return "native C++, verified equal to rtl/pim_lane.sv"
    return "native C++, not verified equal to this rtl/pim_lane.sv"


@cache
def warn_unverified(flavour: str) -> None:
    """Say once in a process that the record does not hold, and what follows."""
    if verified():
        return
    if flavour == "rtl":
        follows = "RTL lanes compute, which is slower"
        remedy = f"`{RECORD.command}` checks the native lanes, `--lanes native` forces them"
    else:
        follows = "native lanes compute, whose bits may not be those of the RTL"
        remedy = f"leave --lanes away, or check them with `{RECORD.command}`"
    log.warning("the lanes have changed since they were verified: %s; %s", follows, remedy)


def hashes(rtl: Path = RTL) -> dict[str, str]:
    """Return the hashes of the RTL lanes and of the native ones, by content."""
    native = [code(path.read_text(encoding="utf-8")) for path in _NATIVE_SOURCES]
    return {"rtl": hash_of(lane_texts(rtl).values()), "native": hash_of(native)}


def lane_texts(rtl: Path = RTL) -> dict[str, str]:
    """Return what defines the RTL lanes, without comments and white space, by name.

    That are the lanes, the buffers beside them, the modules below these, and of packages the
    declarations they refer to.
    """
    files = {path.stem: path for path in rtl.rglob("pim_*.sv")}
    texts: dict[str, str] = {}
    wanted = [*_TOPS]
    while wanted:
        name = wanted.pop()
        if name in texts:
            continue
        text = COMMENT.sub(" ", files[name].read_text(encoding="utf-8"))
        texts[name] = code(text)
        wanted += [other for other in files if re.search(rf"\b{other}\s*(?:#\s*\(|\w+\s*\()", text)]
        for package in {*re.findall(r"\b(\w+_pkg)::", text)} & files.keys():
            names = re.findall(rf"\b{package}::(\w+)", text)
            body = COMMENT.sub(" ", files[package].read_text(encoding="utf-8"))
            for declaration in _declarations(body, names):
                texts[f"{package}: {declaration}"] = declaration
    return dict(sorted(texts.items()))


def _declarations(package: str, names: list[str]) -> set[str]:
    """Return the declarations of the names in a package, and of those that they refer to."""
    declarations = [code(match.group()) for match in _DECLARATION.finditer(package)]
    needed: set[str] = set()
    wanted = set(names)
    while more := {
        declaration
        for declaration in declarations
        if declaration not in needed and wanted & _declared(declaration)
    }:
        needed |= more
        wanted |= {word for declaration in more for word in _words(declaration)}
    return needed


def _declared(declaration: str) -> set[str]:
    """Return the names that a declaration makes: of a type, its enumerators, a function, values."""
    kind, _, rest = declaration.partition(" ")
    if kind == "function":
        return {_words(rest.partition("(")[0])[-1]}
    if kind == "typedef":
        members = rest.partition("{")[2] if rest.startswith("enum") else ""
        return {_words(rest)[-1], *re.findall(r"(\w+)\s*(?:=|,|\})", members)}
    return set(re.findall(r"(\w+)\s*=", rest))


def _words(text: str) -> list[str]:
    """Return the identifiers of a text; the `d0` of `3'd0` is none."""
    return re.findall(r"(?<!')\b[A-Za-z_]\w*", text)


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m pimloop.sim.device.lanes`."""
    assert __doc__ is not None
    return records.main(RECORD, __doc__.split("\n")[0], hashes, arguments)


if __name__ == "__main__":
    sys.exit(main())
