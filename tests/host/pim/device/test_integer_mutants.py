"""Faults of the blocks that products by integers go through: each changes a result or a code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mutants import mutated, patches
from support.integer_products import Product
from support.raw import RawDevice

from pimloop.host.pim.device.integers import WEIGHTS_PER_LANE
from pimloop.host.pim.device.validate import right_bytes
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Code, Init, Weights
from pimloop.sim.device.config import SimConfig, rtl_sources
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import DeviceError

#: A build a mutant.
pytestmark = pytest.mark.full

#: 4 bits: two rows share a beat, in two passes of the lanes; 2 rows a beat have 8 bits alone.
FOUR = {"device.rows_per_beat": "8", "device.lanes": "128"}
TWO = {"device.rows_per_beat": "2", "device.lanes": "64"}


def caught(raw: RawDevice) -> bool:
    """Return whether a product by integers has another result or code than it should, or hangs.

    Or a check of the hardware fires, which ends the simulator.
    """
    try:
        return differs(raw)
    except DeviceError:
        return True


def differs(raw: RawDevice) -> bool:
    """Return whether a product by integers has another result or code than it should."""
    rng = np.random.default_rng(0)
    rows = raw.geometry.rows_per_beat
    for weights, each in WEIGHTS_PER_LANE.items():
        if each == 1:
            continue
        size = {"rows": 3, "inner": 70, "beats": 2 * each, "tile": each, "group": 5}
        product = Product(raw, rng, Weights(weights), init=Init.F32, **size)
        if each > rows:
            if raw.run([product.item])[0].code != Code.RESERVED:
                return True
            continue
        try:
            product.check()
        except AssertionError:
            return True
        columns = 2 * each * raw.geometry.beat_columns
        end = raw.geometry.capacity - right_bytes(70, columns, Weights(weights), 5)
        product.item["addr_b"] = end + raw.geometry.beat_bytes
        if raw.run([product.item])[0].code != Code.RANGE:
            return True
    return False


@pytest.mark.parametrize("patch", patches("weights"), ids=lambda patch: patch.stem)
def test_mutant_is_caught(patch: Path, tmp_path: Path) -> None:
    settings = TWO if patch.stem == "device_has_none" else FOUR
    config = SimConfig(
        params=load_platform("htg-z920", settings).rtl_parameters(),
        memory_bytes=4 << 20,
        flavour="rtl",
        device_sources=mutated(patch, rtl_sources(), tmp_path),
    )
    with SimDevice(config) as device:
        assert caught(RawDevice(device, timeout=30))


def test_the_device_itself_has_no_fault() -> None:
    for settings in (TWO, FOUR):
        params = load_platform("htg-z920", settings).rtl_parameters()
        config = SimConfig(params=params, memory_bytes=4 << 20, flavour="rtl")
        with SimDevice(config) as device:
            assert not differs(RawDevice(device))
