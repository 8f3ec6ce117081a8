"""pim_transpose: slices, their order, tags and spacing; several ways and squares; flush."""

import os
from collections import deque

import cocotb
import numpy as np
import pytest
from bench_tools import CHANCES, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import rtl, run_bench

SIZE, TAG_BITS, SPACING, INDEX_BITS = 8, 5, 4, 6
SHAPES = {
    "one": {"Copies": 1, "Ways": 1, "Passes": 1},
    "ways": {"Copies": 1, "Ways": 4, "Passes": 1},
    "squares": {"Copies": 4, "Ways": 2, "Passes": 1},
    "passes": {"Copies": 2, "Ways": 4, "Passes": 8},
}
IDLE = {
    "flush_i": 0,
    "open_i": 0,
    "tag_i": 0,
    "base_i": 0,
    "slices_i": 1,
    "atoms_i": 1,
    "passes_i": 1,
    "valid_i": 0,
    "all_i": 0,
    "data_i": 0,
}


class TB:
    """Announces and fills blocks at random and compares every slice."""

    def __init__(self, dut, gap, slices=(1, SIZE - 1, SIZE, SIZE), whole=False, passes=None):
        self.dut, self.rng, self.gap, self.slices = dut, seeded(dut), gap, slices
        self.whole = whole  # blocks of all columns, by accesses to all banks
        shape = SHAPES[os.environ["SHAPE"]]
        self.copies, self.ways, self.most = (shape[n] for n in ("Copies", "Ways", "Passes"))
        self.passes = passes  # of all blocks
        self.tags = 0  # whole: the ways in turns
        self.clear()

    def clear(self):
        #: Of each way, announced and not yet drained:
        #: [tag, base, slices, atoms, columns, all, passes].
        self.blocks = [deque() for _ in range(self.ways)]
        self.filling = deque()  # those not yet full
        self.emitted = [0] * self.ways  # slices of the oldest block
        self.since = [SPACING] * self.ways
        self.since_any = self.apart = self.most  # since the last slice, and until the next one
        self.index = None  # of the slice that was announced in the clock before

    def random_block(self):
        rng, all_columns = self.rng, SIZE * self.copies
        tag, whole = int(rng.integers(1 << TAG_BITS)), bool(rng.integers(2))
        columns = self.copies * int(rng.integers(1, SIZE + 1))
        if not whole:
            columns = int(rng.integers(1, all_columns + 1))
        if self.whole:
            tag, whole, columns = self.tags % self.ways, True, all_columns
        slices = int(rng.choice(self.slices))
        passes = self.passes or int(rng.integers(1, self.most + 1))
        return [tag, int(rng.integers(1 << INDEX_BITS)), slices, [], columns, whole, passes]

    async def step(self, may_open=True):
        dut, rng = self.dut, self.rng
        opened = int(may_open and rng.random() >= self.gap)
        block = self.random_block()
        fill = int(bool(self.filling) and rng.random() >= self.gap)
        every = int(bool(self.filling) and self.filling[0][5])
        atoms = rng.integers(1 << 16, size=(self.copies, SIZE), dtype=np.uint16)
        dut.open_i.value = opened
        dut.tag_i.value, dut.base_i.value, dut.slices_i.value = block[:3]
        dut.atoms_i.value, dut.passes_i.value = block[4], block[6]
        dut.valid_i.value, dut.all_i.value = fill, every
        dut.data_i.value = int.from_bytes(atoms.tobytes(), "little")
        await RisingEdge(dut.clk_i)
        self.since = [clocks + 1 for clocks in self.since]
        self.since_any += 1
        assert int(dut.valid_o.value) == (self.index is not None)
        if self.index is not None:
            self.check_slice()
        self.index = int(dut.index_o.value) if int(dut.next_o.value) else None
        room, way = int(dut.room_o.value), block[0] % self.ways
        # The last slice of a block is registered: its buffer is free one clock earlier.
        assert room or len(self.blocks[way]) >= 2
        if int(dut.idle_o.value):
            assert sum(map(len, self.blocks)) <= 1
            assert not self.counting(), "its clock would stop"
        if fill:
            self.filling[0][3] += list(atoms[: self.copies if every else 1])
            if len(self.filling[0][3]) == self.filling[0][4]:
                self.filling.popleft()
        if opened and room:
            self.blocks[way].append(block)
            self.filling.append(block)
            self.tags += 1
            assert len(self.blocks[way]) <= 3

    def counting(self):
        """Return whether a slice must wait for the last one, seen two clocks after its read."""
        return min(self.since) + 2 < SPACING or self.since_any + 2 < self.apart

    def check_slice(self):
        dut = self.dut
        way = int(dut.tag_o.value) % self.ways
        tag, base, slices, atoms, columns, _, passes = self.blocks[way][0]
        assert len(atoms) == columns, "a slice of a block that is not complete"
        data = int(dut.data_o.value).to_bytes(2 * SIZE * self.copies, "little")
        seen = np.frombuffer(data, np.uint16)[:columns]
        assert seen.tolist() == [int(atom[self.emitted[way]]) for atom in atoms]
        assert int(dut.tag_o.value) == tag
        assert self.index == (base + self.emitted[way]) % (1 << INDEX_BITS)
        assert self.since[way] >= SPACING, "slices of a way closer than Spacing"
        assert self.since_any >= self.apart, "a slice while the lanes work on the last one"
        self.since[way] = self.since_any = 0
        self.apart = passes
        self.emitted[way] += 1
        if self.emitted[way] == slices:
            self.blocks[way].popleft()
            self.emitted[way] = 0

    async def drain(self):
        for _ in range(2000):
            if not any(self.blocks):
                break
            await self.step(may_open=False)
        assert not any(self.blocks)
        await self.step(may_open=False)
        while self.counting():
            await self.step(may_open=False)
        assert int(self.dut.idle_o.value)


@cocotb.test()
@cocotb.parametrize(gap=CHANCES)
async def blocks(dut, gap):
    tb = TB(dut, gap)
    await start(dut, **IDLE)
    for _ in range(3000):
        await tb.step()
    await tb.drain()


@cocotb.test()
async def slices_leave_at_full_rate(dut):
    """As many slices in SPACING clocks as there are ways, or as the lanes have time for."""
    most = SHAPES[os.environ["SHAPE"]]["Passes"]
    for passes in sorted({1, most}):
        tb = TB(dut, 0.0, slices=(SIZE,), whole=True, passes=passes)
        await start(dut, **IDLE)
        times = []
        for clock in range(SIZE * max(SPACING, tb.ways * passes) * 8):
            await tb.step()
            if tb.since_any == 0:
                times.append(clock)
        later = np.array(times[2 * SIZE * tb.ways :])
        turn = max(SPACING, passes * tb.ways)
        assert len(later) > 2 * SIZE * tb.ways
        assert (later[tb.ways :] - later[: -tb.ways] == turn).all()
        await tb.drain()


@cocotb.test()
async def flush_forgets_everything(dut):
    tb = TB(dut, 0.2)
    await start(dut, **IDLE)
    for _ in range(20):
        for _ in range(int(tb.rng.integers(1, 60))):
            await tb.step()
        dut.open_i.value = dut.valid_i.value = 0
        dut.flush_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.flush_i.value = 0
        tb.clear()
        await RisingEdge(dut.clk_i)
        assert int(dut.idle_o.value)
        assert not int(dut.valid_o.value)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("native", [0, 1], ids=["rtl", "native"])
def test_pim_transpose(native, shape):
    params = {"Size": SIZE, "TagBits": TAG_BITS, "Spacing": SPACING, "IndexBits": INDEX_BITS}
    run_bench(
        "pim_transpose",
        rtl("pim_transpose_square", "pim_transpose_block_sim", "pim_transpose"),
        bench=__file__,
        params=params | {"Native": native} | SHAPES[shape],
        environment={"SHAPE": shape},
    )
