"""pim_memory_ram against bytes: atoms and beats come back a clock after they are asked for."""

import os

import cocotb
import numpy as np
import pytest
from bench_tools import ACCESS, Kind, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import BenchFailure, rtl, run_bench
from pimloop.sim.errors import SimError

STYLES = {
    "per_bank": {"AllBank": 0, "Banks": 4, "RowBytes": 256, "Rows": 4, "AtomBytes": 64},
    "all_bank": {"AllBank": 1, "Banks": 4, "RowBytes": 128, "Rows": 4, "AtomBytes": 32},
}


@cocotb.test()
async def holds_the_bytes_of_a_dram(dut):
    rng = seeded(dut)
    p = STYLES[os.environ["STYLE"]]
    atom, beat = p["AtomBytes"], p["AtomBytes"] * (p["Banks"] if p["AllBank"] else 1)
    await start(dut, read_i=0, write_i=0, write_data_i=0)
    memory = np.zeros(p["Banks"] * p["RowBytes"] * p["Rows"], np.uint8)
    known = np.zeros(memory.size, bool)
    shown = None
    checked = 0

    def access(kind):
        step = beat if p["AllBank"] and rng.random() < 0.5 else atom
        place = int(rng.integers(memory.size // step)) * step
        word = ACCESS.pack({"valid": 1, "addr": place, "kind": kind, "all": int(step != atom)})
        return word, place, step

    for _ in range(6000):
        data = rng.bytes(beat)
        dut.write_data_i.value = int.from_bytes(data, "little")
        # A bus carries data one way at a time.
        way = rng.random()
        read = access(Kind.COPY_OUT) if way < 0.45 else None
        write = access(Kind.COPY_IN) if way > 0.55 else None
        dut.read_i.value = read[0] if read else 0
        dut.write_i.value = write[0] if write else 0
        await RisingEdge(dut.clk_i)
        if shown is not None:
            word = int(dut.read_data_o.value).to_bytes(beat, "little")
            assert word[: len(shown)] == shown
            checked += 1
        if read:
            _, place, step = read
            part = slice(place, place + step)
            shown = memory[part].tobytes() if known[part].all() else None
        if write:
            _, place, step = write
            memory[place : place + step] = np.frombuffer(data[:step], np.uint8)
            known[place : place + step] = True
    assert known.all()
    assert checked > 3000


@pytest.mark.parametrize("style", STYLES)
def test_pim_memory_ram(style):
    run_bench(
        "pim_memory_ram",
        rtl("pim_memory_ram"),
        bench=__file__,
        params=STYLES[style],
        environment={"STYLE": style},
    )


def test_a_memory_that_no_fpga_has_is_refused():
    params = STYLES["per_bank"] | {"Banks": 16, "RowBytes": 8192, "Rows": 4096}
    with pytest.raises((SimError, BenchFailure), match="take fewer Rows"):
        run_bench("pim_memory_ram", rtl("pim_memory_ram"), bench=__file__, params=params)
