"""The checks of handshakes: each rule is told when it is broken, and each binding is in its place.

`pim_handshake_check` alone meets what is allowed and every break of a rule; mutants of the blocks
then break each handshake that the device drives, in the block's own bench. Verilator knows no
unknown values: that the rules about them tell is seen in a four-state simulator alone.
"""

import os

import cocotb
import pytest
import test_pim_burst_gen
import test_pim_copy
import test_pim_dma_rd
import test_pim_dma_wr
import test_pim_fifo
import test_pim_list
import test_pim_regs
import test_pim_seq
import test_pim_spans
from bench_tools import seeded, start
from cocotb.triggers import RisingEdge
from mutants import MUTANTS, mutated, patches

from pimloop.sim.bench.unit import REPOSITORY, BenchFailure, rtl, run_bench

TOP = "pim_handshake_check"
WIDTH = 70
IDLE = {"valid_i": 0, "ready_i": 0, "drop_i": 0, "payload_i": 0}
FELL = "valid fell before ready"
CHANGED = "what is offered changed before ready"

#: Values of valid, ready, drop, payload and reset, clock by clock, and what is told.
BREAKS = {
    "falls_at_once": ([(1, 0, 0, 5, 1), (0, 0, 0, 5, 1)], FELL),
    "falls_later": ([(1, 0, 0, 5, 1)] * 3 + [(0, 1, 0, 5, 1)], FELL),
    "changes": ([(1, 0, 0, 5, 1), (1, 0, 0, 4, 1)], CHANGED),
    "changes_as_it_is_taken": ([(1, 0, 0, 5, 1)] * 2 + [(1, 1, 0, 1 << 69, 1)], CHANGED),
    "changes_after_the_first": ([(1, 1, 0, 1, 1), (1, 0, 0, 2, 1), (1, 0, 0, 3, 1)], CHANGED),
    "drop_is_for_its_clock": ([(1, 0, 1, 5, 1), (1, 0, 0, 6, 1), (0, 0, 0, 6, 1)], FELL),
}

#: Patch by name: the bound check that must tell, bench, its top and what else it is built with.
MODULES = {
    "control/arvalid": ("u_ar_check", test_pim_dma_rd),
    "control/bvalid": ("u_b_check", test_pim_regs),
    "handshakes/read_response": ("u_r_check", test_pim_regs),
    "handshakes/write_address": ("u_aw_check", test_pim_dma_wr),
    "handshakes/write_data": ("u_w_check", test_pim_dma_wr),
    "handshakes/burst": ("u_bursts_check", test_pim_burst_gen),
    "handshakes/record": ("u_wr_check", test_pim_list),
    "handshakes/copy_data": ("u_wr_check", test_pim_copy),
    "handshakes/copy_stream": ("u_stream_check", test_pim_copy),
    "handshakes/stream": ("u_stream_check", test_pim_seq),
    "handshakes/span": ("u_span_check", test_pim_spans),
    "handshakes/fifo": ("u_out_check", test_pim_fifo),
}
#: Those that `make test` builds.
QUICK = ("handshakes/burst", "handshakes/span")


async def clocks(dut, rows):
    for valid, ready, drop, payload, reset in rows:
        dut.valid_i.value, dut.ready_i.value, dut.drop_i.value = valid, ready, drop
        dut.payload_i.value, dut.rst_ni.value = payload, reset
        await RisingEdge(dut.clk_i)


@cocotb.test()
async def what_is_allowed_is_not_told(dut):
    """Random traffic that keeps the rules; drops and resets excuse what they are for."""
    rng = seeded(dut)
    await start(dut, **IDLE)
    valid, payload, free = 0, 0, True
    for _ in range(3000):
        if free:
            valid, payload = int(rng.random() < 0.6), int(rng.integers(1 << 62)) << 8
        ready, drop = int(rng.random() < 0.4), int(rng.random() < 0.1)
        reset = int(rng.random() < 0.98)
        await clocks(dut, [(valid, ready, drop, payload, reset)])
        free = not valid or bool(ready or drop) or not reset


@cocotb.test()
async def one_break(dut):
    await start(dut, **IDLE)
    rows, _ = BREAKS[os.environ["BREAK"]]
    await clocks(dut, [*rows, (0, 0, 0, 0, 1), (0, 0, 0, 0, 1)])


def run_check(name, test):
    environment = {"BREAK": name, "COCOTB_TEST_FILTER": test}
    sources = (REPOSITORY / "rtl" / "sva" / f"{TOP}.sv",)
    run_bench(TOP, sources, bench=__file__, params={"Width": WIDTH}, environment=environment)


def test_what_is_allowed():
    run_check("", "what_is_allowed")


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_told(name):
    with pytest.raises(BenchFailure, match=f"handshake: {BREAKS[name][1]}"):
        run_check(name, "one_break")


def test_every_mutant_of_a_handshake_is_expected():
    assert {f"handshakes/{patch.stem}" for patch in patches("handshakes")} <= MODULES.keys()


def test_every_binding_has_a_mutant_or_is_what_the_host_drives():
    """The requests of AXI4-Lite come from the host: no fault of the device breaks their rules."""
    bound = set()
    for path in (REPOSITORY / "rtl" / "sva").glob("*_sva.sv"):
        module = path.stem.removesuffix("_sva")
        words = path.read_text(encoding="utf-8").split()
        bound |= {(module, word) for word in words if word.endswith("_check") and word[:2] == "u_"}
    broken = {(bench.__name__.removeprefix("test_"), check) for check, bench in MODULES.values()}
    from_host = {("pim_regs", f"u_{channel}_check") for channel in ("aw", "w", "ar")}
    assert bound == broken | from_host


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.full) for n in MODULES]
)
def test_a_mutant_is_told_by_the_check_bound_to_it(name, tmp_path, monkeypatch):
    check, bench = MODULES[name]
    plain = bench.run_bench

    def run_mutant(top, sources, **options):
        return plain(top, mutated(MUTANTS / f"{name}.patch", sources, tmp_path), **options)

    monkeypatch.setattr(bench, "run_bench", run_mutant)
    with pytest.raises(BenchFailure, match=rf"handshake: .*{check}"):
        run(bench)


def run(bench):
    """Run a bench as its own pytest function does, in its first configuration."""
    test = getattr(bench, bench.__name__)
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    test(*(next(iter(mark.args[1])) for mark in marks))


@pytest.mark.parametrize("module", ["pim_fifo", "pim_spans"])
def test_benches_build_the_checks_of_their_modules(module):
    assert [path.stem for path in rtl(module)][-2:] == [TOP, f"{module}_sva"]
