"""Whether it is verified of this tree's hardware that lists moved by whole DRAM rows cost the same.

The list cache then knows such lists by one name (`pimloop.host.pim.device.moved`), and equal layers
of a model are simulated once. Hardware that maps addresses otherwise, or prefers one bank to
another, may not have that property: after a change each list is simulated where it lies.

    python -m pimloop.sim.device.moves           does the record hold? exit code 1: it does not
    python -m pimloop.sim.device.moves --verify  run the property tests; they pass: write it
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pimloop.sim.device import records
from pimloop.sim.device.config import SimConfig, build_spec
from pimloop.sim.device.records import code, hash_of

RECORD = records.Record(
    path=Path(__file__).with_name("moves.toml"),
    program="python -m pimloop.sim.device.moves",
    title="the hardware of which moved lists cost the same",
    tests=("tests/host/pim/device/test_moved_costs.py",),
    holds="lists moved by whole DRAM rows are verified to cost the same on this hardware",
    fails="the hardware has changed since it was verified that moved lists cost the same",
    unverified="moved lists are not verified to cost the same",
)


@cache
def verified() -> bool:
    """Whether the record is of the hardware of this tree."""
    return RECORD.names({"hardware": design_hash()})


def design_files() -> list[Path]:
    """Return the sources of the simulated device: SystemVerilog and C++."""
    spec = build_spec(SimConfig())
    return [*spec.sources, spec.main, *spec.cpp_sources, *spec.headers]


def design_hash(files: Sequence[Path] | None = None) -> str:
    """Return a hash of the sources (default: all of them) without comments and white space."""
    chosen = design_files() if files is None else files
    return hash_of(code(path.read_text(encoding="utf-8")) for path in chosen)


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m pimloop.sim.device.moves`."""
    assert __doc__ is not None
    return records.main(
        RECORD, __doc__.split("\n")[0], lambda: {"hardware": design_hash()}, arguments
    )


if __name__ == "__main__":
    sys.exit(main())
