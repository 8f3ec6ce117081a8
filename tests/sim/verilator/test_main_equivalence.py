"""The main program with the clock in C++ against cocotb's: same values at same simulated times.

The same bench runs with both and writes what it saw, and when, to a file; the files are equal. So
is that of a top module whose clocks come as pulses where nothing waits, one evaluation each.
"""

import json
import os
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import (
    ClockCycles,
    Combine,
    FallingEdge,
    First,
    NextTimeStep,
    ReadOnly,
    ReadWrite,
    RisingEdge,
    Timer,
    ValueChange,
    with_timeout,
)
from cocotb.utils import get_sim_time
from support.paths import SIM_RTL

from pimloop.sim.bench.unit import run_bench
from pimloop.sim.paths import SIM
from pimloop.sim.verilator.cpp_clock import start_clock

COUNTER = (SIM_RTL / "counter.sv",)
PULSED = (*COUNTER, SIM / "rtl" / "pim_pulse_clock_sim.sv", SIM_RTL / "pulsed_counter.sv")
PERIOD = 3334  # steps: two equal halves
SEEN: list[tuple] = []


def note(dut, event):
    values = [int(port.value) for port in (dut.clk_i, dut.en_i, dut.count_o, dut.wrap_o)]
    SEEN.append((event, get_sim_time("step"), *values))


async def watch(dut, trigger, event, times):
    for _ in range(times):
        await trigger
        note(dut, event)


@cocotb.test()
async def sees(dut):
    """Every kind of trigger, together and alone."""
    dut.rst_ni.value = 0
    dut.en_i.value = 0
    start_clock(dut.clk_i, PERIOD)
    await ClockCycles(dut.clk_i, 3)
    note(dut, "reset done")
    dut.rst_ni.value = 1
    dut.en_i.value = 1
    await Combine(
        cocotb.start_soon(watch(dut, RisingEdge(dut.wrap_o), "wrap rises", 3)),
        cocotb.start_soon(watch(dut, FallingEdge(dut.wrap_o), "wrap falls", 3)),
        cocotb.start_soon(watch(dut, ValueChange(dut.count_o), "count changes", 20)),
        cocotb.start_soon(watch(dut, RisingEdge(dut.clk_i), "clock rises", 5)),
        cocotb.start_soon(watch(dut, FallingEdge(dut.clk_i), "clock falls", 5)),
        cocotb.start_soon(watch(dut, Timer(1000, unit="step"), "timer", 30)),
        cocotb.start_soon(watch(dut, NextTimeStep(), "next time step", 4)),
    )
    note(dut, "together done")
    # Alone: nothing but one watched port or one deadline is waited for.
    for trigger, event in (
        (RisingEdge(dut.wrap_o), "wrap alone"),
        (ValueChange(dut.count_o), "count alone"),
        (Timer(1, unit="step"), "shortest timer"),
        (Timer(101 * PERIOD + 17, unit="step"), "long timer"),
        (ClockCycles(dut.clk_i, 40), "cycles"),
        (FallingEdge(dut.wrap_o), "wrap falls alone"),
        (First(RisingEdge(dut.wrap_o), Timer(5000, unit="step")), "first: timer"),
        (First(RisingEdge(dut.wrap_o), Timer(5_000_000, unit="step")), "first: edge"),
    ):
        await trigger
        note(dut, event)
        await ReadWrite()
        dut.en_i.value = 1
        await ReadOnly()
        note(dut, event + ", settled")
    with pytest.raises(TimeoutError):
        await with_timeout(RisingEdge(dut.rst_ni), 7 * PERIOD, "step")
    note(dut, "timed out")
    # A port driven in mid-cycle and at an edge, and a stop in between.
    for delay in (700, PERIOD // 2, PERIOD, 12_345):
        await Timer(delay, unit="step")
        dut.en_i.value = 0
        await RisingEdge(dut.clk_i)
        note(dut, "stopped")
        await ClockCycles(dut.clk_i, 2)
        note(dut, "still stopped")
        dut.en_i.value = 1
        await ValueChange(dut.count_o)
        note(dut, "goes on")
    pulses = int(dut.pulses_o.value) if hasattr(dut, "pulses_o") else 0
    Path(os.environ["SEEN_FILE"]).write_text(json.dumps({"seen": SEEN, "pulses": pulses}))


def run(file, top, sources, period):
    """Return what the bench saw, and how many clocks came as pulses."""
    run_bench(
        top,
        sources,
        bench=__file__,
        params={"Width": 4},
        environment={"SEEN_FILE": str(file)},
        seed=1,
        cpp_clock_period=period,
    )
    got = json.loads(file.read_text())
    return got["seen"], got["pulses"]


def test_mains_see_the_same(tmp_path):
    stock, _ = run(tmp_path / "stock.json", "counter", COUNTER, None)
    labels = [entry[0] for entry in stock]
    assert "wrap rises" in labels
    assert "timed out" in labels
    own, _ = run(tmp_path / "own.json", "counter", COUNTER, PERIOD)
    for expected, got in zip(stock, own, strict=True):
        assert expected == got
    pulsed, pulses = run(tmp_path / "pulsed.json", "pulsed_counter", PULSED, PERIOD)
    for expected, got in zip(stock, pulsed, strict=True):
        assert expected == got
    # 101 clocks of the long timer, and most of those until the 16 counts of a wrap.
    assert pulses > 100
