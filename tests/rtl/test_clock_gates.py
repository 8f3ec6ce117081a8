"""Clock gates change nothing: a device that has wires instead does the same in the same clocks."""

from __future__ import annotations

import numpy as np
import pytest
from support.random_lists import random_list, run
from support.raw import RawDevice

from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Code
from pimloop.sim.device.config import SimConfig, rtl_sources
from pimloop.sim.device.process import SimDevice


def ungated_sources(folder):
    """Return the sources of the device with the gates that synthesis without such a cell has."""
    gate = next(path for path in rtl_sources() if path.stem == "pim_clock_gate")
    wires = folder / gate.name
    wires.write_text("`define PIM_NO_CLOCK_GATES\n" + gate.read_text())
    return tuple(wires if path == gate else path for path in rtl_sources())


def outcomes(config, cases=4, length=20):
    """Return what random lists gave, the same ones for every device of a geometry."""
    values = np.random.default_rng(7)
    with SimDevice(config) as device:
        raw = RawDevice(device)
        geometry = read_geometry(device)
        return [
            run(raw, random_list(values, geometry, raw.base, length=length)) for _ in range(cases)
        ]


@pytest.mark.parametrize(
    ("platform", "other"),
    [
        ("htg-z920", {}),
        pytest.param("htg-z920", {"Lanes": 1}, marks=pytest.mark.full),
        pytest.param("aim", {}, marks=pytest.mark.full),
        pytest.param("aim", {"Lanes": 1}, marks=pytest.mark.full),
    ],
)
def test_a_device_without_clock_gates_does_the_same_in_the_same_clocks(platform, other, tmp_path):
    params = load_platform(platform).rtl_parameters() | other
    gated = outcomes(SimConfig(params=params, memory_bytes=1 << 24))
    wires = SimConfig(
        params=params, memory_bytes=1 << 24, device_sources=ungated_sources(tmp_path), flavour="rtl"
    )
    assert any(word & 0xFF == Code.DONE for outcome in gated for word in outcome.words)
    for expected, got in zip(gated, outcomes(wires), strict=True):
        assert got.difference(expected) is None
        assert (got.cycles, got.counters) == (expected.cycles, expected.counters)
        assert got.cycles > 0
