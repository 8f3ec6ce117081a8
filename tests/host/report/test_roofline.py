"""The limits of a device and what limits an operator, derived here and against the simulation."""

from __future__ import annotations

import pytest

from pimloop.host.execution.kernels import run_gemm
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import OpStats
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.roofline import limited_by, limits

#: tCK of DDR4-2400 as the platform has it, microseconds.
TCK = 0.833333e-3


@pytest.mark.parametrize(
    ("lanes", "clocks"),  # fabric clocks of a beat of 32 elements
    [(32, 1), (31, 2), (24, 2), (17, 2), (16, 2), (11, 3), (8, 4), (5, 7), (1, 32)],
)
def test_lanes_that_do_not_divide_a_beat_idle_in_its_last_clock(lanes, clocks):
    peak = limits(load_platform("htg-z920", {"pim.lanes": str(lanes)}))
    assert peak.macs_per_us == pytest.approx(32 / (clocks * 4 * TCK), rel=1e-6)
    assert peak.bytes_per_us == pytest.approx(64 / (4 * TCK), rel=1e-6)  # tCCD_S = 4


def test_limits_of_all_bank():
    peak = limits(load_platform("aim"))
    assert peak.macs_per_us == pytest.approx(256 / 1e-3)  # a beat in each fabric clock of 1 ns
    assert peak.bytes_per_us == pytest.approx(512 / 1e-3)  # 16 banks x 32 bytes every 2 clocks


@pytest.mark.full  # builds a device with these lanes
def test_the_peak_is_what_24_lanes_do():
    """Enough rows for the lanes to be the limit: above 0.9 of 16 a clock, so 24 would be wrong."""
    platform = load_platform("htg-z920", {"pim.lanes": "24"})
    with open_device(platform, "sim") as device:
        result = run_gemm(device, platform, (2, 1024, 512))
    rate = result.useful_macs / platform.device_us(result.stats.cycles)
    assert 0.9 < rate / limits(platform).macs_per_us <= 1.0
    assert limited_by(result.stats, platform) == "lanes"


def stats(cycles, channel=0, beats=0, mac=0):
    """Return the cost of an operator."""
    counters = OpStats().counters | {"mac": mac, "rd": channel + beats}
    return OpStats(
        cycles=cycles, counters=counters, channel_accesses=channel, all_bank_accesses=beats
    )


@pytest.mark.parametrize(
    ("name", "cost", "limit"),
    [
        # The call takes 21.6 us, 25,920 clocks of DDR4-2400.
        ("htg-z920", stats(25_900, channel=6_000), "driver_call"),
        ("htg-z920", stats(40_000, channel=5_000, mac=1_000), "dram_bandwidth"),
        ("htg-z920", stats(40_000, channel=4_999, mac=1_000), "latency"),
        ("htg-z920", stats(40_000, channel=5_000, mac=5_001), "lanes"),
        # 43,200 clocks of 0.5 ns; two clocks a column command.
        ("aim", stats(50_000, channel=1_000, beats=20_000), "dram_bandwidth"),
        ("aim", stats(50_000, channel=20_000, beats=1_000), "channel"),
        ("aim", stats(50_000, channel=6_000, beats=6_000), "latency"),
        ("aim", stats(43_199, channel=6_000, beats=20_000), "driver_call"),
    ],
)
def test_what_limits_an_operator(name, cost, limit):
    platform = load_platform(name, {"driver.call_overhead_us": "21.6"})
    assert limited_by(cost, platform) == limit
