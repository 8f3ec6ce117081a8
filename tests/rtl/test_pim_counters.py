"""pim_counters: totals and what is captured for a descriptor, against plain sums."""

import cocotb
import numpy as np
from bench_tools import seeded, start
from cocotb.triggers import RisingEdge

from sim.unit import rtl, run_bench

BANKS, RATIO = 8, 4
NOP, ACT, PRE, RD, WR, REF = range(6)
IDLE = dict.fromkeys(("busy_i", "clear_i", "col_cmd_i", "row_cmd_i", "row_all_i", "open_i",
                      "mac_i", "stall_i", "capture_i"), 0)  # fmt: skip


@cocotb.test()
@cocotb.parametrize(busy_chance=(0.5, 1.0))
async def sums(dut, busy_chance):
    rng = seeded(dut)
    await start(dut, **IDLE)
    total = np.zeros(8, dtype=np.uint64)
    base = total.copy()
    captured = None
    for _ in range(2000):
        busy, every, mac, stall, clear, capture = (
            rng.random(6) < (busy_chance, 0.3, 0.5, 0.3, 0.02, 0.1)
        ).tolist()
        column, row = int(rng.choice([NOP, RD, WR])), int(rng.choice([NOP, ACT, PRE, REF]))
        opened = int(rng.integers(1 << BANKS))
        dut.busy_i.value, dut.row_all_i.value, dut.mac_i.value = int(busy), int(every), int(mac)
        dut.stall_i.value, dut.clear_i.value = int(stall), int(clear)
        dut.capture_i.value, dut.open_i.value = int(capture), opened
        dut.col_cmd_i.value, dut.row_cmd_i.value = column, row
        await RisingEdge(dut.clk_i)
        word = int(dut.total_o.value).to_bytes(64, "little")
        assert np.frombuffer(word, np.uint64).tolist() == total.tolist()
        if captured is not None:
            words = int(dut.captured_o.value).to_bytes(32, "little")
            assert np.frombuffer(words, np.uint32).tolist() == captured.tolist()
            assert int(dut.captured_cycles_o.value) == captured[0]
        if capture:
            captured = total - base
        if clear:
            base = total.copy()
        step = [
            RATIO * busy,
            (BANKS if every else 1) * (row == ACT),
            (opened.bit_count() if every else 1) * (row == PRE),
            column == RD,
            column == WR,
            row == REF,
            mac,
            RATIO * (busy and stall),
        ]
        total = total + np.array(step, dtype=np.uint64)


def test_pim_counters():
    run_bench(
        "pim_counters",
        rtl("pim_counters"),
        bench=__file__,
        params={"Banks": BANKS, "CkRatio": RATIO},
    )
