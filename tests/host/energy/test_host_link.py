"""Bits of the host link against the beats of the simulated bus, counted by the bus's own timing.

The simulated host memory spaces beats as it is told to (`read_gap`, `write_gap`). With gaps far
longer than anything else a list does, each further clock of a gap is a clock for every beat that
waits: all but the first. So two gaps count the beats of a list, whatever the driver says.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import OpStats, PimDriver
from pimloop.host.planning.energies import activity
from pimloop.host.platforms.platform import load_platform

GAPS = (2_000, 7_000)  # fabric clocks
BEAT = 64  # bytes
STATUS = 4  # bytes that the device writes of the beat with the status of a descriptor


def write(driver: PimDriver) -> None:
    """Write rows that are no whole beats, and compute with them."""
    rng = np.random.default_rng(1)
    with driver.batch():
        a = driver.upload(rng.standard_normal((3, 70), dtype=np.float32))
        driver.elementwise("add", a, a)


def read(driver: PimDriver) -> None:
    """Read what was never written: no other list comes before."""
    with driver.batch():
        driver.download(driver.new_tensor((5, 40)))


def spent(work: Callable[[PimDriver], None], **gaps: int) -> OpStats:
    settings = {f"host_memory.{name}": gap for name, gap in gaps.items()}
    platform = load_platform("htg-z920", settings)
    with open_device(platform, "sim") as device:
        driver = PimDriver(device, column_granule=platform.driver.tile_columns)
        work(driver)
        return driver.totals


def beats(work: Callable[[PimDriver], None], gap: str) -> int:
    """Return the beats of the only list of some work."""
    short, long = (spent(work, **{gap: clocks}).cycles for clocks in GAPS)
    ratio = load_platform("htg-z920").device.ck_ratio
    waits = Fraction(long - short, (GAPS[1] - GAPS[0]) * ratio)
    assert abs(waits - round(waits)) < Fraction(1, 20)  # refreshes shift the end a little
    return round(waits) + 1


@pytest.mark.parametrize("work", [write, read])
def test_the_bits_of_the_host_link_are_those_of_the_bus(work: Callable[[PimDriver], None]) -> None:
    stats, platform = spent(work), load_platform("htg-z920")
    assert stats.lists == 1
    reads, writes = beats(work, "read_gap"), beats(work, "write_gap")
    # Every descriptor is fetched in a beat; its status is a beat of which four bytes are written.
    assert reads == stats.descriptors + stats.host_bytes_in // BEAT
    assert writes == stats.descriptors + stats.host_bytes_out // BEAT
    assert (stats.host_bytes_out if work is read else stats.host_bytes_in) > 0
    whole = writes - stats.descriptors
    moved = BEAT * (reads + whole) + STATUS * stats.descriptors
    assert activity(stats, platform, Fraction(0), Fraction(0)).link_bits == 8 * moved
