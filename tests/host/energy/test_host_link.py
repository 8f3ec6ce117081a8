"""Bytes of the host link against the beats of the simulated bus, counted by the bus's own timing.

The simulated host memory spaces beats as it is told to (`read_gap`, `write_gap`). With gaps far
longer than anything else a list does, each further clock of a gap is a clock for every beat: the
first one of a list waits for the last one of the list before, and the driver moves constants when
it is opened. So two gaps count the beats, whatever driver and counters say.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import OpStats, PimDriver
from pimloop.host.planning.energies import work
from pimloop.host.platforms.platform import load_platform

NAME = "htg-z920"
SHORT, LONG = 2_000, 7_000  # fabric clocks
BEAT = 64  # bytes
STATUS = 4  # bytes that the device writes of the beat with the status of a descriptor


def spent(read_gap: int, write_gap: int) -> OpStats:
    """Return the cost of moving rows that are no whole beats in and out, and of adding them."""
    settings = {"host_memory.read_gap": str(read_gap), "host_memory.write_gap": str(write_gap)}
    platform = load_platform(NAME, settings)
    with open_device(platform, "sim") as device:
        driver = PimDriver(device, column_granule=platform.driver.tile_columns)
        a = driver.upload(np.ones((3, 70), np.float32))
        driver.download(driver.elementwise("add", a, a))
        return driver.totals


def beats(short: OpStats, long: OpStats) -> int:
    """Return the beats of a direction, from what a longer gap costs; the other has none."""
    clocks = (LONG - SHORT) * load_platform(NAME).device.ck_ratio
    waits = Fraction(long.cycles - short.cycles, clocks)
    assert abs(waits - round(waits)) < Fraction(1, 20)  # refreshes shift the end of a list a little
    return round(waits)


def bits(stats: OpStats) -> int:
    """Return the bits of the host link that energies are computed from."""
    return work(stats, load_platform(NAME)).link_bits


def test_the_bytes_of_the_host_link_are_those_of_the_bus() -> None:
    stats = spent(SHORT, 1)
    reads = beats(stats, spent(LONG, 1))
    writes = beats(spent(1, SHORT), spent(1, LONG))
    assert min(stats.host_bytes_in, stats.host_bytes_out) > 0
    # Every descriptor is fetched in a beat; its status is a beat of which four bytes are written.
    assert reads == stats.descriptors + stats.host_bytes_in // BEAT
    assert writes == stats.descriptors + stats.host_bytes_out // BEAT
    moved = BEAT * (reads + writes - stats.descriptors) + STATUS * stats.descriptors
    assert stats.counters["link"] == moved
    assert bits(stats) == 8 * moved


def test_energies_take_the_counter_and_what_was_asked_of_a_device_that_has_none() -> None:
    counters = OpStats().counters
    stats = OpStats(cycles=9, counters=counters, descriptors=3, host_bytes_in=64, host_bytes_out=32)
    assert bits(stats) == 8 * (64 + 32 + 3 * 68)
    assert bits(replace(stats, counters=counters | {"link": 1000})) == 8000
