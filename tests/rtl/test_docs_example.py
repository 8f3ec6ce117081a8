"""The example of docs/change-the-rtl.md: its patch fits the RTL and gives the page's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mutants import mutated

from pimloop.host.common import golden
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform
from pimloop.sim.device.config import SimConfig, rtl_sources
from pimloop.sim.device.process import SimDevice
from pimloop.sim.paths import REPOSITORY

PATCH = REPOSITORY / "docs" / "examples" / "interleave-bank-groups.patch"
PAGE = REPOSITORY / "docs" / "change-the-rtl.md"


def test_the_patch_fits(tmp_path: Path) -> None:
    changed = mutated(PATCH, rtl_sources(), tmp_path)
    assert [path.name for path in changed] == [path.name for path in rtl_sources()]
    text = next(path for path in changed if path.name == "pim_sched.sv").read_text()
    assert text != (REPOSITORY / "rtl" / "pim_sched.sv").read_text()


@pytest.mark.full
def test_the_page_has_the_right_numbers(tmp_path: Path) -> None:
    platform = load_platform("htg-z920")
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal(shape, np.float32) for shape in ((16, 768), (768, 768)))
    wanted = golden.matmul(golden.to_bf16_bits(left), golden.to_bf16_bits(right))
    text = PAGE.read_text()
    for sources in (None, mutated(PATCH, rtl_sources(), tmp_path)):
        config = SimConfig(
            params=platform.rtl_parameters(),
            flavour="rtl",
            device_sources=sources,
            memory_bytes=64 << 20,
        )
        with (
            SimDevice(config) as device,
            PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
        ):
            result = driver.matmul(driver.upload(left), driver.load_matrix(right))
            cycles = driver.last.cycles
            assert np.array_equal(golden.to_bf16_bits(driver.download(result)), wanted)
        assert f"{cycles:,}" in text
