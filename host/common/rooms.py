"""Rooms whose files are found, not named."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

from pimloop.errors import PimloopError

K = TypeVar("K")
V = TypeVar("V")


def modules_beside(module: str) -> tuple[ModuleType, ...]:
    """Import every module of the package that a module is in; return them in the order of names.

    Who calls this is in `pimloop.host.store.closure.DISCOVERED`: the imports are in no text.
    """
    room = module.rpartition(".")[0]
    names = sorted(info.name for info in iter_modules(import_module(room).__path__))
    return tuple(import_module(f"{room}.{name}") for name in names)


def claimed_once(kind: str, claims: Iterable[tuple[ModuleType, K, V]]) -> dict[K, V]:
    """Return what the files of a room offer, by key.

    Parameters
    ----------
    kind
        What a key is, for messages.
    claims
        The module, the key and what it offers for it.

    Raises
    ------
    PimloopError
        When two files, or one twice, claim a key: one would silently hide the other.
    """
    offered: dict[K, tuple[ModuleType, V]] = {}
    for module, key, value in claims:
        if key in offered:
            raise PimloopError(
                f"{kind} {key} is claimed by {_file(offered[key][0])} and {_file(module)}:"
                " remove it from one of them"
            )
        offered[key] = module, value
    return {key: value for key, (_, value) in offered.items()}


def _file(module: ModuleType) -> Path | str:
    return Path(module.__file__) if module.__file__ else module.__name__
