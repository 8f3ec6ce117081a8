"""pim_dma_rd: data and order, burst rules, room, errors, under random back-pressure."""

import cocotb
from axi_bench import LINE, SOURCES, TOP, HostBus, job_lines, random_job
from bench_tools import CHANCES, JOB, seeded
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import run_bench


class TB(HostBus):
    """Starts jobs and collects what the engine delivers."""

    def __init__(self, dut, idle, room):
        super().__init__(dut, seeded(dut), idle)
        self.room = room  # chance of room in a clock

    async def run(self, job):
        """Do one job; return the data and the number of beats announced."""
        dut = self.dut
        dut.job_i.value = JOB.pack(job)
        dut.rd_start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.rd_start_i.value = 0
        data, announced = [], 0
        for _ in range(200 + 60 * len(job_lines(job))):
            dut.rd_room_i.value = int(self.rng.random() < self.room)
            await RisingEdge(dut.clk_i)
            if int(dut.rd_burst_o.value):
                assert int(dut.rd_room_i.value), "a burst without room"
                announced += int(dut.rd_burst_beats_o.value)
            if int(dut.rd_valid_o.value):
                data.append(int(dut.rd_data_o.value).to_bytes(LINE, "little"))
            if not int(dut.rd_busy_o.value):
                return data, announced
        raise AssertionError(f"{job} does not end: {len(data)} beats came")

    def lines(self, job):
        return [bytes(self.memory.bytes[self.memory._place(a, LINE)]) for a in job_lines(job)]


@cocotb.test()
@cocotb.parametrize(idle=CHANCES, room=(1.0, 0.2))
async def jobs(dut, idle, room):
    tb = TB(dut, idle, room)
    await tb.begin(direct_i=1)
    for _ in range(12):
        job = random_job(tb.rng)
        tb.reads.clear()
        data, announced = await tb.run(job)
        assert data == tb.lines(job)
        assert announced == len(data)
        asked = [a + i * LINE for a, beats in tb.reads for i in range(beats)]
        assert asked == job_lines(job), "other lines were read, or in another order"
        assert not int(dut.rd_error_o.value)


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def errors(dut, idle):
    """Nothing comes after an error, the engine ends, and the next job is clean."""
    tb = TB(dut, idle, 0.7)
    await tb.begin(direct_i=1)
    for _ in range(12):
        job = random_job(tb.rng)
        lines = job_lines(job)
        bad = int(tb.rng.integers(len(lines)))
        good = tb.lines(job)
        tb.memory.bad = {lines[bad] // LINE}
        tb.reads.clear()
        data, _ = await tb.run(job)
        assert data == good[:bad]
        assert int(dut.rd_error_o.value)
        asked = sum(beats for _, beats in tb.reads)
        assert asked <= bad + 5 * 16, "went on reading after an error"
        tb.memory.bad = set()
        data, _ = await tb.run(job)
        assert data == good
        assert not int(dut.rd_error_o.value)


@cocotb.test()
async def back_to_back_bursts_keep_the_bus_busy(dut):
    """An ideal slave: no more than a few clocks lost for 64 beats in four bursts."""
    tb = TB(dut, 0.0, 1.0)
    await tb.begin(direct_i=1)
    job = random_job(tb.rng) | {"addr": (1 << 32) + 0x23456000, "rows": 1, "bytes": 64 * LINE}
    clocks = 0

    async def count():
        nonlocal clocks
        while True:
            await RisingEdge(dut.clk_i)
            clocks += 1

    counter = cocotb.start_soon(count())
    await tb.run(job)
    counter.cancel()
    assert clocks <= 64 + 20


def test_pim_dma_rd():
    run_bench(TOP, SOURCES, bench=__file__, params={"AtomBytes": 64})
