"""pim_counters: totals and what is captured for a descriptor, against plain sums."""

import cocotb
import numpy as np
from bench_tools import seeded, start
from cocotb.triggers import RisingEdge, Timer

from pimloop.rtl.tables.isa import COUNTERS
from pimloop.sim.bench.unit import REPOSITORY, rtl, run_bench

BANKS, RATIO = 8, 4
MASK32 = np.uint64(0xFFFFFFFF)
NOP, ACT, PRE, RD, WR, REF = range(6)
IDLE = dict.fromkeys(("busy_i", "clear_i", "col_cmd_i", "row_cmd_i", "col_all_i", "row_all_i",
                      "row_slot_i", "open_i", "asleep_i", "mac_i", "stall_i", "rd_beat_i",
                      "wr_beat_i", "wr_status_i", "capture_i", "load_i",
                      "load_total_i"), 0)  # fmt: skip
BENCH = REPOSITORY / "tests" / "rtl" / "sv" / "pim_counters_bench.sv"


@cocotb.test()
@cocotb.parametrize(busy_chance=(0.5, 1.0))
async def sums(dut, busy_chance):
    await count(dut, seeded(dut), busy_chance, loads=0.0)


@cocotb.test()
async def wide_sums(dut):
    """The totals start anywhere, often just below a power of two: carries into every bit."""
    await count(dut, seeded(dut), 0.8, loads=0.05)


async def load(dut, rng):
    """Set the totals between two clocks and return them."""
    near = (np.uint64(1) << rng.integers(4, 64, len(COUNTERS)).astype(np.uint64)) - np.uint64(3)
    anywhere = rng.integers(0, 1 << 64, len(COUNTERS), dtype=np.uint64)
    total = np.where(rng.random(len(COUNTERS)) < 0.5, near, anywhere)
    await Timer(1, unit="ns")
    dut.load_total_i.value = int.from_bytes(total.tobytes(), "little")
    await Timer(1, unit="ns")
    dut.load_i.value = 1
    await Timer(1, unit="ns")
    dut.load_i.value = 0
    return total


async def count(dut, rng, busy_chance, loads):
    await start(dut, **IDLE)
    total = np.zeros(len(COUNTERS), dtype=np.uint64)
    base = total.copy()
    captured = None
    was_open, was_slot = False, 0  # of the clock before
    for _ in range(2000):
        busy, every, together, asleep, mac, stall, clear, capture = (
            rng.random(8) < (busy_chance, 0.3, 0.3, 0.3, 0.5, 0.3, 0.02, 0.1)
        ).tolist()
        column, row = int(rng.choice([NOP, RD, WR])), int(rng.choice([NOP, ACT, PRE, REF]))
        opened = int(rng.integers(1 << BANKS) * (rng.random() < 0.6))
        slot = int(rng.integers(RATIO))
        rows = int(rng.integers(1, 9)) if mac else 0
        beat_in, beat_out, status = (rng.random(3) < (0.4, 0.4, 0.3)).tolist()
        dut.busy_i.value, dut.row_all_i.value, dut.mac_i.value = int(busy), int(every), rows
        dut.stall_i.value, dut.clear_i.value = int(stall), int(clear)
        dut.capture_i.value, dut.open_i.value = int(capture), opened
        dut.col_cmd_i.value, dut.row_cmd_i.value = column, row
        dut.col_all_i.value, dut.row_slot_i.value = int(together), slot
        dut.asleep_i.value = int(asleep)
        dut.rd_beat_i.value, dut.wr_beat_i.value = int(beat_in), int(beat_out)
        dut.wr_status_i.value = int(status)
        if rng.random() < loads:
            total = await load(dut, rng)
        await RisingEdge(dut.clk_i)
        word = int(dut.total_o.value).to_bytes(8 * len(COUNTERS), "little")
        assert np.frombuffer(word, np.uint64).tolist() == total.tolist()
        if captured is not None:
            words = int(dut.captured_o.value).to_bytes(4 * len(COUNTERS), "little")
            assert np.frombuffer(words, np.uint32).tolist() == (captured & MASK32).tolist()
            assert int(dut.captured_cycles_o.value) == captured[0]
        if capture:
            captured = total - base
        if clear:
            base = total.copy()
        step = {
            "cycles": RATIO * busy,
            "act": (BANKS if every else 1) * (row == ACT),
            "pre": (opened.bit_count() if every else 1) * (row == PRE),
            "rd": column == RD,
            "wr": column == WR,
            "ref": row == REF,
            "mac": rows,
            "stall": RATIO * (busy and stall),
            # Of the clock before, whose row command shows in what is open now.
            "open": (RATIO if opened else was_slot) if was_open
                    else (RATIO - was_slot if opened else 0),
            "self_refresh": RATIO * (busy and asleep),
            "all_rd": column == RD and together,
            "all_wr": column == WR and together,
            "link": 64 * beat_in + (4 if status else 64) * beat_out,
        }  # fmt: skip
        was_open, was_slot = opened > 0, slot
        total = total + np.array([step[name] for name in COUNTERS], dtype=np.uint64)


def test_pim_counters():
    run_bench(
        "pim_counters_bench",
        (*rtl("pim_counters"), BENCH),
        bench=__file__,
        params={"Banks": BANKS, "CkRatio": RATIO},
        # The bench sets the registers of the block.
        flags=("-Wno-MULTIDRIVEN", "-Wno-BLKANDNBLK", "-Wno-BLKSEQ"),
    )
