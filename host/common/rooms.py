"""Rooms whose files are found, not named."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def modules_beside(module: str) -> tuple[ModuleType, ...]:
    """Import every module of the package that a module is in; return them in the order of names.

    Who calls this is in `pimloop.host.store.closure.DISCOVERED`: the imports are in no text.
    """
    room = module.rpartition(".")[0]
    names = sorted(found.name for found in iter_modules(import_module(room).__path__))
    return tuple(import_module(f"{room}.{name}") for name in names)
