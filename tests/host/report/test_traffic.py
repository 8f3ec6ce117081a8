"""Row hits, bus use and bytes from the counters against the command trace, in both styles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.random_lists import random_list, run

from pimloop.errors import PimloopError
from pimloop.host.operators.registry import elementwise
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import OpStats, PimDriver
from pimloop.host.pim.driver.accesses import Accesses, count_accesses, split_accesses
from pimloop.host.pim.driver.errors import DriverError
from pimloop.host.pim.driver.stats import COUNTER_REGISTERS
from pimloop.host.planning.energies import work as work_of
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.traffic import traffic
from pimloop.rtl.tables.isa import Code
from pimloop.sim.check.command_trace import read_commands

STYLES = {"per_bank": "htg-z920", "all_bank": "aim"}


def work(driver):
    """Run every operation of the driver once; return what all of it cost."""
    rng = np.random.default_rng(3)

    def array(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    a, bias = driver.upload(array(5, 200)), driver.upload(array(300))
    driver.matmul(a, driver.load_matrix(array(200, 300)), bias=bias)
    driver.matmul(a, driver.load_matrix(array(300, 200), transposed=True, opcode="MATMUL_T"))
    driver.matmul(a, driver.upload(array(300, 200)), transpose_b=True)
    driver.matmul(a, driver.upload(array(200, 40)), out_f32=True)
    for shape in ((5, 200), (200,), (5, 1), (1,)):
        for op in ("add", "sub", "mul"):
            driver.elementwise(op, a, driver.upload(array(*shape)))
    for op in (kind.name for kind in elementwise().values() if kind.operands == 1):
        driver.elementwise(op, a)
    driver.download(a)
    return driver.totals


def traced(platform, trace, task):
    """Run a task on a device; return its result and what is in its command trace."""
    with open_device(platform, "sim", command_trace=trace) as device:
        result = task(PimDriver(device, column_granule=platform.driver.tile_columns))
    return result, seen(trace, platform.device.banks)


#: What `seen` counts in a trace.
SEEN = (
    "bank accesses", "activations", "channel accesses", "all-bank reads", "all-bank writes",
    "clocks with a bank open", "clocks awake",
)  # fmt: skip


def seen(trace, banks):
    """Return what is in a trace: the counts of `SEEN`."""
    accesses = activations = channel = opened = awake = 0
    together = {"RD": 0, "WR": 0}
    since, woken, rows_open = 0, 0, set()
    with trace.open(encoding="utf-8") as lines:
        for command in read_commands(lines):
            width = banks if command.bank is None else 1
            reached = set(range(banks)) if command.bank is None else {command.bank}
            if command.name == "ACT":
                since = since if rows_open else command.clock
                rows_open |= reached
            elif command.name == "PRE" and rows_open:
                rows_open -= reached
                opened += 0 if rows_open else command.clock - since
            elif command.name == "SRX":
                woken = command.clock
            elif command.name == "SRE":
                awake += command.clock - woken
            if command.name in ("RD", "WR"):
                accesses += width
                channel += command.bank is not None
                together[command.name] += command.bank is None
            elif command.name == "ACT":
                activations += width
    assert not rows_open
    counts = accesses, activations, channel, *together.values(), opened, awake
    return np.array(counts)


@pytest.mark.parametrize("style", STYLES)
def test_rates_are_those_of_the_command_trace(style, tmp_path):
    platform = load_platform(STYLES[style])
    stats, all_of_it = traced(platform, tmp_path / "work.txt", work)
    # The driver's own set-up is in the trace and not in its totals.
    _, set_up = traced(platform, tmp_path / "idle.txt", lambda _: None)
    counts = dict(zip(SEEN, map(int, all_of_it - set_up), strict=True))
    accesses, activations, channel = (counts[name] for name in SEEN[:3])
    together = counts["all-bank reads"], counts["all-bank writes"]
    assert (stats.channel_accesses, stats.all_bank_accesses) == (channel, sum(together))
    assert (sum(together) > 0) == (style == "all_bank")
    assert channel > 0
    counters = stats.counters
    assert (counters["all_rd"], counters["all_wr"]) == together
    assert counters["open"] == counts["clocks with a bank open"]
    assert stats.cycles - counters["self_refresh"] == counts["clocks awake"]
    assert counters["self_refresh"] == 2 * platform.device.ck_ratio * stats.lists
    rates = traffic(stats, platform)
    assert rates.bank_accesses == accesses
    assert rates.nbytes == accesses * platform.device.atom_bytes
    assert rates.channel_bytes == channel * platform.device.atom_bytes
    assert rates.row_hits == accesses - activations
    assert rates.row_hit_rate == pytest.approx(1 - activations / accesses)
    assert rates.bus_use == pytest.approx(channel * platform.dram.tbl / stats.cycles)


def test_an_all_bank_product_leaves_the_bus_alone():
    """A long weight stream: nearly no row misses, and nothing over the channel."""
    platform = load_platform("aim")
    with open_device(platform, "sim") as device:
        driver = PimDriver(device)
        rng = np.random.default_rng(4)
        a = driver.upload(rng.standard_normal((8, 512), dtype=np.float32))
        b = driver.load_matrix(rng.standard_normal((512, 512), dtype=np.float32))
        driver.matmul(a, b)
        stats = driver.last
    assert multiply_adds(stats, platform) == 8 * 512 * 512
    # A row of A is 2 beats; B is 512 x 2 beats for each of 8 rows, the result 2 beats a row.
    assert stats.channel_accesses == 0
    assert stats.all_bank_accesses == 8 * (2 + 512 * 2 + 2)
    assert stats.counters["all_wr"] == 8 * 2
    rates = traffic(stats, platform)
    assert rates.row_hit_rate > 0.95
    assert rates.bus_use == 0


@pytest.mark.parametrize("raw", ["native-per_bank", "native-all_bank"], indirect=True)
def test_descriptors_ask_for_what_the_device_counts(raw):
    """Random lists: counted from the descriptors alone, RD and WR are those of the RTL."""
    rng = np.random.default_rng(12)
    for _ in range(12):
        case = random_list(rng, raw.geometry, raw.base, length=30)
        outcome = run(raw, case)
        assert all(word & 0xFF == Code.DONE for word in outcome.words)
        asked = count_accesses(case.descriptors[list(case.positions)], raw.geometry)
        counted = dict(zip(COUNTER_REGISTERS, outcome.counters, strict=True))
        reads, writes = counted["rd"], counted["wr"]
        assert asked.channel_rd + asked.all_bank_rd == reads
        assert asked.channel_wr + asked.all_bank_wr == writes
        assert (asked.all_bank_rd, asked.all_bank_wr) == (counted["all_rd"], counted["all_wr"])
        # As a device before version 1.4 counts, too.
        for older in ({}, {"all_rd": 0, "all_wr": 0}):
            assert split_accesses(asked, counted | older, raw.geometry) == (
                asked.channel_rd + asked.channel_wr,
                asked.all_bank_rd + asked.all_bank_wr,
            )


def test_counters_that_contradict_each_other_are_an_error():
    aim = load_platform("aim")
    counters = OpStats().counters
    for counted in ({"rd": 8, "wr": 1}, {"rd": 10, "all_rd": 2}, {"rd": 10, "wr": 1, "all_rd": 1}):
        with pytest.raises(DriverError, match="disagree on what a descriptor reads"):
            split_accesses(Accesses(channel_rd=9), counters | counted, aim.geometry())
    lost = OpStats(cycles=100, counters=counters | {"rd": 3}, channel_accesses=2)
    with pytest.raises(PimloopError, match="2 accesses are accounted for, 3 RD and 0 WR"):
        traffic(lost, aim)
    thrashing = OpStats(cycles=100, counters=counters | {"rd": 3, "act": 4}, channel_accesses=3)
    with pytest.raises(PimloopError, match="4 activations for 3 accesses"):
        traffic(thrashing, aim)
    crowded = OpStats(cycles=5, counters=counters | {"rd": 3}, channel_accesses=3)
    with pytest.raises(PimloopError, match="3 bursts of 2 clocks in 5 clocks"):
        traffic(crowded, aim)
    # A list of two descriptors that copies a beat in: 64, and 68 for each descriptor.
    copied = OpStats(
        cycles=100, counters=counters | {"wr": 1, "link": 200}, descriptors=2, host_bytes_in=64,
        channel_accesses=1,
    )  # fmt: skip
    assert traffic(copied, aim) == traffic(replace(copied, counters=counters | {"wr": 1}), aim)
    with pytest.raises(PimloopError, match=r"264 bytes of the host link .* 200 were counted"):
        traffic(replace(copied, host_bytes_out=64), aim)


def test_a_transposed_product_counts_whole_beats():
    """A slice of MATMUL_T counts as a beat of MATMUL, lanes without a column included."""
    platform = load_platform("aim")
    with open_device(platform, "sim") as device:
        driver = PimDriver(device)
        rng = np.random.default_rng(4)
        a = driver.upload(rng.standard_normal((3, 100), dtype=np.float32))
        b = rng.standard_normal((64, 100), dtype=np.float32)
        driver.matmul(a, driver.load_matrix(b, transposed=True, opcode="MATMUL_T"))
        transposed = driver.last
        driver.matmul(a, driver.load_matrix(b.T))
        plain = driver.last
    # 100 steps for each of 3 rows; 64 columns are one beat of 256.
    for stats in (transposed, plain):
        assert multiply_adds(stats, platform) == 3 * 100 * 256


def multiply_adds(stats, platform):
    """Return the multiply-adds that energies are computed from."""
    return work_of(stats, platform).multiply_adds


def test_differences_and_sums_keep_every_number():
    counts = OpStats(
        cycles=5, counters=dict.fromkeys(OpStats().counters, 2), descriptors=3, lists=1,
        host_bytes_in=64, host_bytes_out=128, channel_accesses=4, all_bank_accesses=7,
    )  # fmt: skip
    assert counts + counts - counts == counts
    assert counts - counts == OpStats()
    assert (counts + counts).all_bank_accesses == 14


@pytest.mark.parametrize("name", ["htg-z920", "aim"])
def test_counters_may_reach_their_bounds_and_no_more(name: str) -> None:
    """Bursts may fill every clock; each bank that a refresh closed is activated once more."""
    platform = load_platform(name)
    banks, burst = platform.device.banks, platform.dram.tbl
    counters = dict.fromkeys(OpStats().counters, 0) | {"rd": 5, "wr": 2}
    filled = OpStats(
        cycles=7 * burst, counters=counters | {"act": 7, "open": 7 * burst}, channel_accesses=7
    )  # fmt: skip
    assert traffic(filled, platform).bus_use == 1.0
    with pytest.raises(PimloopError, match="8 activations for 7 accesses"):
        traffic(replace(filled, counters=counters | {"act": 8}), platform)
    with pytest.raises(PimloopError, match=f"7 bursts of {burst} clocks in {7 * burst - 1} clocks"):
        traffic(replace(filled, cycles=7 * burst - 1), platform)

    # Clocks of a list are with a bank open, in refresh, in self-refresh, or with all banks closed.
    most, refreshing = 7 + 3 * banks, 3 * platform.dram.trfc
    counters |= {"ref": 3, "act": most, "open": 7 * burst, "self_refresh": 4}
    refreshed = OpStats(
        cycles=7 * burst + refreshing + 4, counters=counters, channel_accesses=7
    )  # fmt: skip
    moved = traffic(refreshed, platform)
    assert moved.row_hit_rate == 1 - most / 7
    assert (moved.row_hits, moved.bank_accesses) == (7 - most, 7)
    assert isinstance(moved.row_hits, int)
    assert moved.refresh_share == refreshing / refreshed.cycles
    with pytest.raises(PimloopError, match=f"{most + 1} activations for 7 accesses"):
        traffic(replace(refreshed, counters=counters | {"act": most + 1}), platform)
    with pytest.raises(PimloopError, match=f"{7 * burst} clocks with a bank open, {refreshing} in"):
        traffic(replace(refreshed, cycles=refreshed.cycles - 1), platform)
    assert traffic(OpStats(), platform).row_hits is None
