"""`pimloop.sim.bench.unit.run_bench`: passes what passes, fails with the reason what fails."""

import os

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from support import fst_reader
from support.paths import SIM_RTL

from pimloop.sim.bench import unit
from pimloop.sim.bench.unit import BenchFailure, rtl, run_bench
from pimloop.sim.errors import SimError

COUNTER = (SIM_RTL / "counter.sv",)


async def start(dut):
    dut.rst_ni.value = 0
    dut.en_i.value = 0
    Clock(dut.clk_i, 4, unit="ns").start()
    await ClockCycles(dut.clk_i, 2)
    dut.rst_ni.value = 1


@cocotb.test()
async def counts_enabled_cycles(dut):
    await start(dut)
    dut.en_i.value = 1
    await ClockCycles(dut.clk_i, 10)
    dut.en_i.value = 0
    await RisingEdge(dut.clk_i)
    await RisingEdge(dut.clk_i)
    wrong = int(os.environ.get("WRONG", "0"))
    assert dut.count_o.value == 10 % 2 ** len(dut.count_o) + wrong


@pytest.mark.parametrize("width", [3, 8])
def test_passing_bench(width):
    run_bench("counter", COUNTER, bench=__file__, params={"Width": width})


def test_failing_bench_names_test_seed_and_log():
    with pytest.raises(BenchFailure) as failure:
        run_bench("counter", COUNTER, bench=__file__, environment={"WRONG": "1"}, seed=77)
    text = str(failure.value)
    assert "counts_enabled_cycles failed" in text
    assert "COCOTB_RANDOM_SEED=77" in text
    assert "AssertionError" in text


def test_an_error_of_the_design_is_shown_however_long_the_log_is(monkeypatch):
    told = "[2298000] %Fatal: check.sv:41: Assertion failed in counter.u_check: changed"
    log = "\n".join([told, *(f"test {i} failed" for i in range(500))])
    monkeypatch.setattr(unit, "_run", lambda *_: (1, log))
    with pytest.raises(BenchFailure) as failure:
        run_bench("counter", COUNTER, bench=__file__)
    assert told in str(failure.value)
    assert len(str(failure.value).splitlines()) < 100


def test_unknown_top():
    with pytest.raises(SimError, match=r"module missing is in none of the sources \(counter.sv\)"):
        run_bench("missing", COUNTER, bench=__file__)


def test_timeout_is_a_failure():
    with pytest.raises(BenchFailure, match="no test ended"):
        run_bench("counter", COUNTER, bench=__file__, timeout=0.01)


@pytest.mark.full  # a build of its own
def test_waves_and_coverage_on_request(tmp_path, monkeypatch):
    monkeypatch.setenv("PIMLOOP_WAVES", str(tmp_path / "waves"))
    monkeypatch.setenv("PIMLOOP_COVERAGE_DIR", str(tmp_path / "coverage"))
    run_bench("counter", COUNTER, bench=__file__, seed=5)
    waveform = fst_reader.read(tmp_path / "waves" / "counter.fst")
    assert b"count_o" in waveform.hierarchy
    assert waveform.end > waveform.start
    (data,) = (tmp_path / "coverage").iterdir()
    assert data.name.startswith("test_unit-counter-")
    assert data.name.endswith("-5.dat")
    assert "counter.sv" in data.read_text(errors="replace")


def test_rtl_lists_packages_first():
    names = [path.name for path in rtl("pim_fifo", "pim_lane")]
    assert names == [
        *("pim_isa_pkg.sv", "pim_pkg.sv"),
        *("pim_clock_gate.sv", "pim_mul.sv", "pim_ram.sv"),
        *("pim_fifo.sv", "pim_lane.sv"),
        *("pim_handshake_check.sv", "pim_fifo_sva.sv"),
    ]
    assert all(path.exists() for path in rtl("pim_fifo", "pim_lane"))


def test_rtl_knows_where_primitives_and_memories_are():
    folders = [path.parent.name for path in rtl("pim_ram", "pim_memory_ram")]
    assert folders == ["rtl", "rtl", "primitives", "primitives", "primitives", "fpga"]
