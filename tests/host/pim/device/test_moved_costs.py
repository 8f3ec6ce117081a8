"""Lists moved by whole DRAM rows cost the same: every counter, every completion record.

`python -m pimloop.sim.device.moves --verify` runs this.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.moved_lists import costs, key, moved
from support.random_lists import random_list
from support.raw import RawDevice

from pimloop.host.pim.device.base import Device


@pytest.mark.parametrize(
    ("kind", "seeds"),
    [
        ("native-per_bank", range(40)),
        ("native-all_bank", range(40)),
        pytest.param("native-per_bank", range(40, 400), marks=pytest.mark.full),
        pytest.param("native-all_bank", range(40, 400), marks=pytest.mark.full),
    ],
)
def test_a_moved_list_costs_the_same(
    kind: str, seeds: range, devices: Callable[[str], Device]
) -> None:
    """Every counter and every completion record, in both styles, and one name for both."""
    raw = RawDevice(devices(kind))
    different = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        case = random_list(rng, raw.geometry, raw.base)
        other = moved(rng, case, raw.geometry, raw.base)
        assert key(case, raw.geometry) == key(other, raw.geometry), seed
        assert costs(raw, case) == costs(raw, other), seed
        different += case.areas[0][0] != other.areas[0][0]
    assert different > len(seeds) // 2
