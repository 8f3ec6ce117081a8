"""pim_transpose: slices, their order, tags and spacing; two blocks at a time; flush."""

from collections import deque

import cocotb
import numpy as np
from bench_tools import CHANCES, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import rtl, run_bench

SIZE, TAG_BITS, SPACING, INDEX_BITS = 8, 5, 4, 6
IDLE = {
    "flush_i": 0,
    "open_i": 0,
    "tag_i": 0,
    "base_i": 0,
    "slices_i": 1,
    "spacing_i": 1,
    "valid_i": 0,
    "data_i": 0,
}


class TB:
    """Announces and fills blocks at random and compares every slice."""

    def __init__(self, dut, gap, slices=(1, SIZE - 1, SIZE, SIZE), spacings=(1, 2, SPACING)):
        self.dut, self.rng, self.gap, self.slices = dut, seeded(dut), gap, slices
        self.spacings = spacings
        self.clear()

    def clear(self):
        self.blocks = deque()  # announced, not yet drained: [tag, base, slices, spacing, atoms]
        self.filling = deque()  # those not yet full
        self.emitted = 0  # slices of the oldest block
        self.since = self.apart = SPACING  # clocks since the last slice, and until the next one
        self.index = None  # of the slice that was announced in the clock before

    async def step(self, may_open=True):
        dut, rng = self.dut, self.rng
        opened = int(may_open and rng.random() >= self.gap)
        block = [
            int(rng.integers(1 << TAG_BITS)),
            int(rng.integers(1 << INDEX_BITS)),
            int(rng.choice(self.slices)),
            int(rng.choice(self.spacings)),
            [],
        ]
        fill = int(bool(self.filling) and rng.random() >= self.gap)
        atom = rng.integers(1 << 16, size=SIZE, dtype=np.uint16)
        dut.open_i.value = opened
        dut.tag_i.value, dut.base_i.value, dut.slices_i.value, dut.spacing_i.value = block[:4]
        dut.valid_i.value = fill
        dut.data_i.value = int.from_bytes(atom.tobytes(), "little")
        await RisingEdge(dut.clk_i)
        self.since += 1
        assert int(dut.valid_o.value) == (self.index is not None)
        if self.index is not None:
            self.check_slice()
        self.index = int(dut.index_o.value) if int(dut.next_o.value) else None
        room = int(dut.room_o.value)
        # The last slice of a block is registered: its buffer is free one clock earlier.
        assert room or len(self.blocks) >= 2
        assert not int(dut.idle_o.value) or len(self.blocks) <= 1
        if fill:
            self.filling[0][4].append(atom)
            if len(self.filling[0][4]) == SIZE:
                self.filling.popleft()
        if opened and room:
            self.blocks.append(block)
            self.filling.append(block)
            assert len(self.blocks) <= 3

    def check_slice(self):
        dut = self.dut
        tag, base, slices, spacing, atoms = self.blocks[0]
        assert len(atoms) == SIZE, "a slice of a block that is not complete"
        data = np.frombuffer(int(dut.data_o.value).to_bytes(2 * SIZE, "little"), np.uint16)
        assert data.tolist() == [int(atom[self.emitted]) for atom in atoms]
        assert int(dut.tag_o.value) == tag
        assert self.index == (base + self.emitted) % (1 << INDEX_BITS)
        assert self.since >= self.apart, "a slice too close to the one before"
        self.since, self.apart = 0, spacing
        self.emitted += 1
        if self.emitted == slices:
            self.blocks.popleft()
            self.emitted = 0

    async def drain(self):
        for _ in range(200):
            if not self.blocks:
                break
            await self.step(may_open=False)
        assert not self.blocks
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
@cocotb.parametrize(spacing=(2, SPACING))
async def slices_leave_at_full_rate(dut, spacing):
    """A block takes Size x spacing clocks, and the next one follows without a break."""
    tb = TB(dut, 0.0, slices=(SIZE,), spacings=(spacing,))
    await start(dut, **IDLE)
    times = []
    for clock in range(SIZE * SPACING * 8):
        before = tb.since
        await tb.step()
        if tb.since == 0 and before:
            times.append(clock)
    assert set(np.diff(times)) == {spacing}


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


def test_pim_transpose():
    run_bench(
        "pim_transpose",
        rtl("pim_transpose"),
        bench=__file__,
        params={"Size": SIZE, "TagBits": TAG_BITS, "Spacing": SPACING, "IndexBits": INDEX_BITS},
    )
