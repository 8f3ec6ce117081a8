"""pim_scalar_buf: atoms in, elements out a clock after they were named, with that clock's write."""

import os

import cocotb
import numpy as np
import pytest
from bench_tools import seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import rtl, run_bench

DEPTH, ATOM = 64, 8


@cocotb.test()
async def random_accesses(dut):
    rng = seeded(dut)
    parts = int(os.environ["PARTS"])
    idle = ("write_i", "write_all_i", "write_index_i", "write_data_i", "read_index_i")
    await start(dut, **dict.fromkeys(idle, 0))
    model = np.zeros(DEPTH, dtype=np.uint16)
    known = np.zeros(DEPTH, dtype=bool)
    expected = None  # of the entry named in the clock before
    index = 0
    for _ in range(3000):
        write, atom = int(rng.random() < 0.4), int(rng.integers(DEPTH // ATOM))
        count = int(rng.choice((1, parts)))
        first = atom // count * count
        data = rng.integers(1 << 16, size=parts * ATOM, dtype=np.uint16)
        # Often the same entry, its neighbour, or what is being written.
        way = rng.random()
        if way < 0.3:
            index = atom * ATOM + index % ATOM
        elif way < 0.6:
            index = (index + 1) % DEPTH
        elif way < 0.8:
            index = int(rng.integers(DEPTH))
        dut.write_i.value, dut.write_index_i.value, dut.read_index_i.value = write, first, index
        dut.write_all_i.value = int(count > 1)
        dut.write_data_i.value = int.from_bytes(data.tobytes(), "little")
        await RisingEdge(dut.clk_i)
        if expected is not None:
            assert int(dut.read_data_o.value) == expected
        if write:
            written = slice(first * ATOM, (first + count) * ATOM)
            model[written] = data[: count * ATOM]
            known[written] = True
        expected = model[index] if known[index] else None
    assert known.all()


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("module", ["pim_scalar_buf", "pim_scalar_buf_sim"])
def test_pim_scalar_buf(module, parts):
    run_bench(
        module,
        rtl(module),
        bench=__file__,
        params={"Depth": DEPTH, "AtomElems": ATOM, "Parts": parts},
        environment={"PARTS": str(parts)},
    )
