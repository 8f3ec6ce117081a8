"""Energies of this model against published ones that no constant here was derived from."""

from __future__ import annotations

import numpy as np
import pytest

from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.planning.energies import device_energy
from pimloop.host.platforms.platform import load_platform

#: CENT (ASPLOS 2025), results of its simulator as its authors published them: Llama2-7B on 8
#: devices of 32 GDDR6-AiM channels, 8 channels a block, 128 tokens of context, millijoules a token.
CENT_MJ_PER_TOKEN = 61.515

#: Of Llama2-7B: four square matrices and three of the feed-forward part a block, 32 blocks.
LLAMA2_7B = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)


def test_a_token_of_llama2_takes_what_cent_publishes_for_it() -> None:
    """Simulated: one of its products on a channel of AiM, by the multiply-adds of a token.

    CENT's number has the controllers of its devices and the attention of 128 tokens besides; this
    one counts refresh, and banks that are open in full.
    """
    platform = load_platform("aim")
    with open_device(platform, "sim") as device:
        driver = PimDriver(device, column_granule=platform.driver.tile_columns)
        weights = driver.load_matrix(np.ones((4096, 4096), np.float32))
        token = driver.upload(np.ones((1, 4096), np.float32))
        driver.matmul(token, weights)
        spent = device_energy(driver.last, platform)
    assert spent is not None
    # Read once and multiplied: the two terms that CENT has too, ACT/PRE of each row of each bank.
    rows = 4096 * 4096 * 2 / 2048
    acts = spent.parts["act_pre"].nominal / 1000 / 2950
    assert rows <= acts < 1.06 * rows
    pj = {name: getattr(spent.total, name) / 1000 / 4096**2 for name in ("low", "nominal", "high")}
    mj = {name: each * LLAMA2_7B / 1e9 for name, each in pj.items()}
    assert pj["nominal"] == pytest.approx(9.957, abs=0.001)
    assert mj["nominal"] == pytest.approx(64.48, abs=0.01)
    assert mj["nominal"] / CENT_MJ_PER_TOKEN == pytest.approx(1.048, abs=0.001)
    assert mj["low"] < CENT_MJ_PER_TOKEN < mj["high"]
