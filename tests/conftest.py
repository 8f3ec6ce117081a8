"""What all tests share: how simulators are built, and that no plug-in is installed.

A test that needs a plug-in installs it in a temporary folder.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import pimloop.host.plugins.registry
from pimloop.sim.verilator.build import QUICK_VARIABLE

# The workers keep all cores busy: the least work builds a simulator soonest.
os.environ.setdefault(QUICK_VARIABLE, "1")

# How long an example takes depends on what else the machine does.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep thousands of tests and their modules, which stay until the end, from garbage collection.

    It would look at them in vain whenever it runs: a third of the time to collect the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def no_installed_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide entry points of packages that lie outside of the temporary folder."""
    temporary = Path(tempfile.gettempdir()).resolve()

    def entry_points(**wanted: Any) -> list[metadata.EntryPoint]:
        return [
            entry
            for entry in metadata.entry_points(**wanted)
            if entry.dist is None
            or Path(str(entry.dist.locate_file(""))).resolve().is_relative_to(temporary)
        ]

    monkeypatch.setattr(pimloop.host.plugins.registry, "entry_points", entry_points)
