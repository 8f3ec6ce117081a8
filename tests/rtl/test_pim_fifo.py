"""pim_fifo: order, full and empty at the right clocks."""

from collections import deque

import cocotb
from bench_tools import CHANCES, pipe, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import rtl, run_bench

WIDTH, DEPTH = 37, 8
IDLE = {"valid_i": 0, "data_i": 0, "ready_i": 0}


@cocotb.test()
@cocotb.parametrize(idle=CHANCES, stall=CHANCES)
async def words_keep_their_order(dut, idle, stall):
    rng = seeded(dut)
    await start(dut, **IDLE)
    words = [int(word) for word in rng.integers(1 << WIDTH, size=300)]
    assert await pipe(dut, words, len(words), ("data_i", "data_o"), rng, idle, stall) == words


@cocotb.test()
@cocotb.parametrize(push=(0.3, 0.5, 0.9), pop=(0.3, 0.5, 0.9))
async def flags_follow_the_occupancy(dut, push, pop):
    """Full exactly with DEPTH entries, empty exactly with none, in every clock."""
    rng = seeded(dut)
    await start(dut, **IDLE)
    model = deque()
    for _ in range(600):
        valid, ready = rng.random(2) < (push, pop)
        word = int(rng.integers(1 << WIDTH))
        dut.valid_i.value, dut.ready_i.value, dut.data_i.value = int(valid), int(ready), word
        await RisingEdge(dut.clk_i)
        room = len(model) < DEPTH
        assert int(dut.ready_o.value) == room
        assert int(dut.valid_o.value) == bool(model)
        if model:
            assert int(dut.data_o.value) == model[0]
            if ready:
                model.popleft()
        if valid and room:
            model.append(word)


def test_pim_fifo():
    run_bench("pim_fifo", rtl("pim_fifo"), bench=__file__, params={"Width": WIDTH, "Depth": DEPTH})
