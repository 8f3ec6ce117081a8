"""What tests of builds share: the compiled runtime library."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import SIM_RTL

from pimloop.sim.bench.unit import STOCK_MAIN
from pimloop.sim.verilator.build import BuildSpec, build, build_root


@pytest.fixture(scope="session")
def runtime_objects() -> list[Path]:
    """Return folders with the compiled runtime library, most of the time of a small build."""
    counter = (SIM_RTL / "counter.sv",)
    build(BuildSpec(top="counter", sources=counter, main=STOCK_MAIN, params={"Width": 4}))
    return list(build_root().glob(".runtime-*"))
