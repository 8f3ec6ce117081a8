"""pim_dma_wr: bytes written and only those, strobes, burst rules, errors, back-pressure."""

import cocotb
import numpy as np
from axi_bench import LINE, SOURCES, TOP, HostBus, job_lines, random_job
from bench_tools import CHANCES, JOB, seeded
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import run_bench

FULL = (1 << LINE) - 1


class TB(HostBus):
    """Starts jobs and offers their data with random gaps."""

    def __init__(self, dut, idle, gap):
        super().__init__(dut, seeded(dut), idle)
        self.gap = gap  # chance of a clock without new data

    async def run(self, job, data, strobe=FULL):
        """Do one job with the beats `data`, uint8[beats, 64]."""
        dut, rng = self.dut, self.rng
        dut.job_i.value = JOB.pack(job)
        dut.strobe_i.value = strobe
        dut.wr_start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.wr_start_i.value = 0
        dut.strobe_i.value = 0
        sent, offered = 0, False
        for _ in range(400 + 60 * len(data)):
            if not offered and sent < len(data) and rng.random() >= self.gap:
                dut.wr_data_i.value = int.from_bytes(data[sent].tobytes(), "little")
                offered = True
            dut.wr_valid_i.value = int(offered)
            await RisingEdge(dut.clk_i)
            if offered and int(dut.wr_ready_o.value):
                sent, offered = sent + 1, False
            if not int(dut.wr_busy_o.value):
                assert sent == len(data)
                dut.wr_valid_i.value = 0
                return
        raise AssertionError(f"{job} does not end: {sent} of {len(data)} beats sent")


@cocotb.test()
@cocotb.parametrize(idle=CHANCES, gap=(0.0, 0.7))
async def jobs(dut, idle, gap):
    """Every byte of the memory is compared, so a stray write is seen."""
    tb = TB(dut, idle, gap)
    await tb.begin(direct_i=1)
    for _ in range(10):
        job = random_job(tb.rng)
        lines = job_lines(job)
        data = tb.rng.integers(0, 256, (len(lines), LINE), dtype=np.uint8)
        strobe = FULL if tb.rng.random() < 0.5 else int(tb.rng.integers(1 << 62)) << 2
        enable = np.array([strobe >> i & 1 for i in range(LINE)], dtype=bool)
        expected = tb.memory.bytes.copy()
        for address, beat in zip(lines, data, strict=True):
            expected[tb.memory._place(address, LINE)][enable] = beat[enable]
        tb.writes.clear()
        tb.strobes.clear()
        await tb.run(job, data, strobe)
        assert np.array_equal(tb.memory.bytes, expected)
        assert tb.strobes == {strobe}
        assert [a + i * LINE for a, beats in tb.writes for i in range(beats)] == lines
        assert not int(dut.wr_error_o.value)


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def errors(dut, idle):
    """An error is reported, the job still ends, and the next one is clean."""
    tb = TB(dut, idle, 0.3)
    await tb.begin(direct_i=1)
    for _ in range(8):
        job = random_job(tb.rng)
        lines = job_lines(job)
        data = tb.rng.integers(0, 256, (len(lines), LINE), dtype=np.uint8)
        tb.memory.bad = {int(tb.rng.choice(lines)) // LINE}
        await tb.run(job, data)
        assert int(dut.wr_error_o.value)
        tb.memory.bad = set()
        await tb.run(job, data)
        assert not int(dut.wr_error_o.value)


def test_pim_dma_wr():
    run_bench(TOP, SOURCES, bench=__file__, params={"AtomBytes": 64})
