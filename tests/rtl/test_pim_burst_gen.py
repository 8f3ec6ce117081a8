"""pim_burst_gen: every job cut as AXI4 demands and as few bursts as that allows."""

import cocotb
from bench_tools import CHANCES, JOB, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import rtl, run_bench

LINE, PAGE = 64, 4096


def bursts(job):
    """Return (address, beats minus one, last) of the bursts of a job."""
    result = []
    for row in range(job["rows"]):
        address = job["addr"] + row * job["stride"]
        left = job["bytes"] // LINE
        while left:
            beats = min(left, 16, (PAGE - address % PAGE) // LINE)
            left -= beats
            result.append([address, beats - 1, 0])
            address += beats * LINE
    result[-1][2] = 1
    return result


@cocotb.test()
@cocotb.parametrize(stall=CHANCES)
async def jobs(dut, stall):
    rng = seeded(dut)
    await start(dut, start_i=0, job_i=0, ready_i=0)
    for _ in range(60):
        beats = int(rng.choice([1, 2, 15, 16, 17, 63, 64, 65, 200]))
        job = {"addr": int(rng.integers(1 << 58)) * LINE, "rows": int(rng.choice([1, 2, 7]))}
        job |= {"bytes": beats * LINE, "stride": int(rng.integers(1 << 20)) * LINE}
        if rng.random() < 0.5:
            job["addr"] = (
                job["addr"] // PAGE * PAGE - int(rng.integers(1, 20)) * LINE & (1 << 64) - 1
            )
        dut.job_i.value = JOB.pack(job)
        dut.start_i.value = 1
        await RisingEdge(dut.clk_i)
        assert int(dut.idle_o.value)
        # A start while busy is ignored, whatever the job.
        dut.start_i.value = int(rng.integers(2))
        dut.job_i.value = JOB.pack(job | {"rows": 3, "addr": 0})
        expected = bursts(job)
        result = []
        for _ in range(100 * len(expected)):
            ready = int(rng.random() >= stall)
            dut.ready_i.value = ready
            await RisingEdge(dut.clk_i)
            assert int(dut.valid_o.value)
            assert not int(dut.idle_o.value)
            seen = [int(port.value) for port in (dut.addr_o, dut.len_o, dut.last_o)]
            assert seen == expected[len(result)]
            if ready:
                result.append(seen)
            if len(result) == len(expected):
                break
            dut.start_i.value = int(rng.integers(2))
        dut.start_i.value = dut.ready_i.value = 0
        await RisingEdge(dut.clk_i)
        assert int(dut.idle_o.value)
        assert not int(dut.valid_o.value)


def test_pim_burst_gen():
    run_bench("pim_burst_gen", rtl("pim_burst_gen"), bench=__file__)
