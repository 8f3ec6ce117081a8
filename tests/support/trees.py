"""Copies of the code, for tests that change it and run it."""

from __future__ import annotations

import shutil
from pathlib import Path

from pimloop.host.store.closure import PACKAGES, ROOT


def copy_code(to: Path) -> None:
    """Copy the package and the folders that it links to into a folder, made where it is missing."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, to / package, ignore=ignored)
    shutil.copytree(ROOT / "pimloop", to / "pimloop", symlinks=True, ignore=ignored)
