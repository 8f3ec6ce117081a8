"""Clocks of products on `aim` against published times of the same products on GDDR6-AiM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform

#: Of a block of Llama2-7B, the part of each of 8 channels: rows, columns, how many, clocks.
PRODUCTS = {
    "query, key, value, output": (4096, 4096 // 8, 4, 45_486),
    "gate, up": (4096, 11008 // 8, 2, 83_286),
    "down": (11008, 4096 // 8, 1, 121_692),
}

#: CENT (ASPLOS 2025), its published results of a block of Llama2-7B on 8 channels of 16 banks, tCK
#: 0.5 ns, 128 tokens of context; microseconds.
CENT_BLOCK_US = 212.8

PAGE = Path(__file__).resolve().parents[4] / "docs" / "llm.md"


def test_a_block_of_llama2_takes_what_the_page_says() -> None:
    platform = load_platform("aim")
    assert platform.device.tck_fs == 500_000
    total_us = 0.0
    with open_device(platform, "sim") as device:
        driver = PimDriver(device, column_granule=platform.driver.tile_columns)
        for rows, columns, count, clocks in PRODUCTS.values():
            weights = driver.load_matrix(np.ones((rows, columns), np.float32))
            token = driver.upload(np.ones((1, rows), np.float32))
            driver.matmul(token, weights).free()
            assert driver.last.cycles == clocks
            total_us += count * clocks * 0.5e-3
            for tensor in (token, weights):
                tensor.free()
    assert total_us == pytest.approx(235.1, abs=0.05)
    page = PAGE.read_text(encoding="utf-8")
    for name, (rows, columns, count, clocks) in PRODUCTS.items():
        each, us = f"(1,{rows}) x ({rows},{columns})", count * clocks * 0.5e-3
        row = f"| {name} | {count} of {each} | {clocks:,} | {us:.1f} |"
        assert row in page, row
    assert f"Together {total_us:.1f} us" in page
    assert f"{total_us / CENT_BLOCK_US - 1:.0%}".replace("%", " %") + " more" in page
