"""The example of docs/change-the-rtl.md: its patch fits the RTL (numbers: docs/test_numbers.py)."""

from __future__ import annotations

from pathlib import Path

from mutants import mutated

from pimloop.sim.device.config import rtl_sources
from pimloop.sim.paths import REPOSITORY

PATCH = REPOSITORY / "docs" / "examples" / "interleave-bank-groups.patch"


def test_the_patch_fits(tmp_path: Path) -> None:
    changed = mutated(PATCH, rtl_sources(), tmp_path)
    assert [path.name for path in changed] == [path.name for path in rtl_sources()]
    text = next(path for path in changed if path.name == "pim_sched.sv").read_text()
    assert text != (REPOSITORY / "rtl" / "pim_sched.sv").read_text()
