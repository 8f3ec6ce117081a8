"""pim_clock_gate: whole pulses, those alone whose edge was asked for before it."""

import cocotb
from bench_tools import seeded
from cocotb.triggers import Timer

from pimloop.sim.bench.unit import rtl, run_bench


@cocotb.test()
async def passes_the_pulses_asked_for(dut):
    """The enable moves at any time; what it was at the end of the low phase decides."""
    rng = seeded(dut)
    dut.clk_i.value, dut.en_i.value = 0, 0
    await Timer(10, unit="ns")
    passed = 0
    for _ in range(500):
        # In the low phase the enable may move twice: the last value counts.
        for _ in range(2):
            wanted = int(rng.integers(2))
            dut.en_i.value = wanted
            await Timer(5, unit="ns")
            assert dut.clk_o.value == 0
        dut.clk_i.value = 1
        await Timer(5, unit="ns")
        assert dut.clk_o.value == wanted
        # In the high phase it changes nothing.
        dut.en_i.value = int(rng.integers(2))
        await Timer(5, unit="ns")
        assert dut.clk_o.value == wanted
        dut.clk_i.value = 0
        await Timer(5, unit="ns")
        assert dut.clk_o.value == 0
        passed += wanted
    assert 100 < passed < 400


def test_pim_clock_gate():
    run_bench("pim_clock_gate", rtl("pim_clock_gate"), bench=__file__)
