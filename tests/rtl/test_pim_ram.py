"""pim_ram against an array: words written, in any order, are read at once or a clock later."""

import os

import cocotb
import pytest
from bench_tools import seeded, start
from cocotb.triggers import RisingEdge, Timer

from pimloop.sim.bench.unit import rtl, run_bench

WIDTH, DEPTH = 70, 24
IDLE = dict.fromkeys(("write_i", "write_index_i", "write_data_i", "read_i", "read_index_i"), 0)


@cocotb.test()
async def holds_what_is_written(dut):
    rng = seeded(dut)
    registered = os.environ["REGISTERED"] == "1"
    await start(dut, **IDLE)
    model = {}
    shown = None  # what a registered read has to show
    checked = 0
    for _ in range(4000):
        write, read = int(rng.random() < 0.4), int(rng.random() < 0.6)
        index, other = (int(i) for i in rng.integers(DEPTH, size=2))
        if write and index == other:
            read = 0  # not defined, and so not asked for
        data = int.from_bytes(rng.bytes(9), "little") & ((1 << WIDTH) - 1)
        dut.write_i.value, dut.write_index_i.value, dut.write_data_i.value = write, index, data
        dut.read_i.value, dut.read_index_i.value = read, other
        await Timer(1, unit="ns")
        if not registered and other in model:
            assert int(dut.read_data_o.value) == model[other]
            checked += 1
        await RisingEdge(dut.clk_i)
        if registered and shown is not None:
            assert int(dut.read_data_o.value) == shown
            checked += 1
        if read:
            shown = model.get(other)
        if write:
            model[index] = data
    assert len(model) == DEPTH
    assert checked > 2000


@pytest.mark.parametrize("registered", [0, 1])
def test_pim_ram(registered):
    run_bench(
        "pim_ram",
        rtl("pim_ram"),
        bench=__file__,
        params={"Width": WIDTH, "Depth": DEPTH, "Registered": registered},
        environment={"REGISTERED": str(registered)},
    )
