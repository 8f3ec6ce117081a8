"""The import closure of modules of this project, and a hash of its content.

A stored number is only as good as the code that made it: its key holds the content of every module
that the code imports, directly or not (`pimloop.host.planning.keys` says which code makes which
number). The closure is found in the source text alone; nothing is imported for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path

#: The folder of `PACKAGES`: the clone, or the installed package.
ROOT = Path(__file__).resolve().parents[2]

#: Packages inside `pimloop` whose modules count; others count by their version.
PACKAGES = ("host", "partitioner", "rtl", "sim")

#: Files that modules read beside their own text, as patterns below the root. What is read by value
#: (platform files) is in keys by value, and the RTL through the build
#: (`pimloop.sim.verilator.build.inputs`).
DATA: Mapping[str, tuple[str, ...]] = {
    "pimloop.host.board.data": ("host/board/data/*.json",),
    "pimloop.host.common.golden_compiled": ("host/common/golden.cpp",),
    "pimloop.partitioner.paper.tables": ("partitioner/paper/data/*.json",),
    "pimloop.rtl.tables.conditions": ("rtl/conditions.toml",),
    "pimloop.rtl.tables.isa": ("rtl/isa.toml",),
    "pimloop.rtl.tables.source": ("rtl/timing.toml",),
}

#: Modules that a module starts by name in another process: the server inside the simulator.
STARTED: Mapping[str, tuple[str, ...]] = {
    "pimloop.sim.device.process": ("pimloop.sim.device.server",)
}

#: Modules that import every file of a folder by name.
DISCOVERED: Mapping[str, str] = {
    "pimloop.host.models.architectures.registry": "pimloop.host.models.architectures",
    "pimloop.host.operators.registry": "pimloop.host.operators",
}

_DIGITS = 24  # hexadecimal digits kept of a SHA-256

_FROM = re.compile(r"from (pimloop(?:\.\w+)*) import (\([^)]*\)|[^\n]*)")
_IMPORT = re.compile(r"\n *import (pimloop(?:\.\w+)*)")
_TYPE_CHECKING = re.compile(r"\nif TYPE_CHECKING:\n(?: +[^\n]*\n|\n)*")
_WORD = re.compile(r"\w+(?=\s*(?:,|\)|$|as\b|#))")


def code_key(
    entries: Iterable[str],
    outside: Collection[str] = (),
    alone: Collection[str] = (),
    root: Path = ROOT,
) -> str:
    """Return a hash of the code behind `entries`: module names, their content, their data files.

    Parameters
    ----------
    entries, outside
        As of `closure`.
    alone
        Modules that are hashed without what they import.
    root
        The folder that has the packages.
    """
    content_hash = hashlib.sha256()
    for module in sorted({*closure(entries, outside, root), *alone}):
        content_hash.update(f"{module} {_content_hash(module, root)}\n".encode())
    return content_hash.hexdigest()[:_DIGITS]


def closure(
    entries: Iterable[str], outside: Collection[str] = (), root: Path = ROOT
) -> frozenset[str]:
    """Return the modules that `entries` import, directly or not, themselves included.

    Parameters
    ----------
    entries
        Modules of this project, as `pimloop.host.cpu.model`.
    outside
        Modules and packages that are left out, with what only they import.
    root
        The folder that has the packages.
    """
    return _closure(tuple(entries), frozenset(outside), root)


@lru_cache
def _closure(entries: tuple[str, ...], outside: frozenset[str], root: Path) -> frozenset[str]:
    inside: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module not in inside and not any(is_inside(module, excluded) for excluded in outside):
            inside.add(module)
            waiting += imported_modules(module, root)
    return frozenset(inside)


def is_inside(module: str, package: str) -> bool:
    """Return whether a module is `package` or lies in it."""
    return module == package or module.startswith(f"{package}.")


@cache
def imported_modules(module: str, root: Path = ROOT) -> frozenset[str]:
    """Return the modules of this project that one module imports, wherever in its text.

    Imports for type checkers alone do not count. A package is imported with its modules.

    Raises
    ------
    FileNotFoundError
        When there is no such module.
    """
    text = _TYPE_CHECKING.sub("\n", _read(_path(module, root)).decode())
    names: set[str] = set()
    for match in _FROM.finditer(text):
        package, listed = match.groups()
        names.add(package)
        names |= {f"{package}.{name}" for name in _WORD.findall(listed)}
    names |= {*_IMPORT.findall(text)}
    names |= set(STARTED.get(module, ()))
    if module in DISCOVERED:
        room = DISCOVERED[module]
        names |= {f"{room}.{path.stem}" for path in _path(room, root).parent.glob("*.py")}
    parents = {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}
    return frozenset(name for name in parents if _is_module(name, root))


def _path(module: str, root: Path) -> Path:
    place = root.joinpath(*module.split(".")[1:])
    package = place / "__init__.py"
    return package if package.is_file() else place.with_suffix(".py")


@cache
def _is_module(name: str, root: Path) -> bool:
    top, *inside = name.split(".")
    return (
        top == "pimloop" and bool(inside) and inside[0] in PACKAGES and _path(name, root).is_file()
    )


@cache
def _content_hash(module: str, root: Path) -> str:
    content_hash = hashlib.sha256(_read(_path(module, root)))
    for pattern in DATA.get(module, ()):
        for path in sorted(root.glob(pattern)):
            content_hash.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return content_hash.hexdigest()


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


def forget() -> None:
    """Forget what was read: files have changed while this process runs."""
    for known in (_closure, imported_modules, _is_module, _content_hash, _read):
        known.cache_clear()
