"""pim_spans: streams cut at page ends, against `bench_tools.cut`, with a flush."""

import os

import cocotb
import pytest
from bench_tools import CHANCES, SPAN, STREAM, cut, pipe, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import rtl, run_bench

PORTS = ("stream_i", "span_o")
IDLE = {"flush_i": 0, "valid_i": 0, "stream_i": 0, "ready_i": 0}


STYLES = {
    "per_bank": {"PageBytes": 8192, "AtomBytes": 64, "BeatBytes": 64},
    "all_bank": {"PageBytes": 32768, "AtomBytes": 32, "BeatBytes": 512},
}


def random_stream(rng):
    """Return a stream and its spans; ends and beginnings are often at a page end."""
    params = STYLES[os.environ["STYLE"]]
    page = params["PageBytes"]
    every = int(rng.random() < 0.5)
    step = params["BeatBytes" if every else "AtomBytes"]
    per_page = page // step
    addr = int(rng.integers((1 << 32) // page - 64)) * page + int(rng.integers(per_page)) * step
    to_end = (page - addr % page) // step
    count = int(rng.choice([1, to_end, to_end + 1, to_end + per_page, int(rng.integers(1, 100))]))
    stream = {"addr": addr, "count": count, "kind": int(rng.integers(10)), "all": every}
    stream |= {"hold": int(rng.integers(2)), "period": int(rng.integers(65))}
    stream["row"] = int(rng.integers(8))
    stream["more"] = int(rng.integers(2))
    return stream, list(cut(stream, page, step))


@cocotb.test()
@cocotb.parametrize(idle=CHANCES, stall=CHANCES)
async def streams(dut, idle, stall):
    rng = seeded(dut)
    await start(dut, **IDLE)
    both = [random_stream(rng) for _ in range(60)]
    words = [STREAM.pack(stream) for stream, _ in both]
    spans = [span for _, cuts in both for span in cuts]
    result = await pipe(dut, words, len(spans), PORTS, rng, idle, stall)
    assert [SPAN.unpack(word) for word in result] == spans


@cocotb.test()
async def one_span_a_clock(dut):
    """Without back-pressure neither a page end nor the next stream costs a clock."""
    rng = seeded(dut)
    await start(dut, **IDLE)
    both = [random_stream(rng) for _ in range(20)]
    spans = sum(len(cuts) for _, cuts in both)
    clocks = 0

    async def count():
        nonlocal clocks
        while True:
            await RisingEdge(dut.clk_i)
            clocks += 1

    cocotb.start_soon(count())
    await pipe(dut, [STREAM.pack(stream) for stream, _ in both], spans, PORTS, rng, 0.0, 0.0)
    assert clocks <= spans + 2


@cocotb.test()
async def flush_drops_what_waits(dut):
    rng = seeded(dut)
    await start(dut, **IDLE)
    for _ in range(20):
        dut.stream_i.value = STREAM.pack(random_stream(rng)[0])
        dut.valid_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.valid_i.value = int(rng.integers(2))
        dut.flush_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.flush_i.value = dut.valid_i.value = 0
        await RisingEdge(dut.clk_i)
        assert not int(dut.valid_o.value)
        stream, spans = random_stream(rng)
        result = await pipe(dut, [STREAM.pack(stream)], len(spans), PORTS, rng, 0.2, 0.2)
        assert [SPAN.unpack(word) for word in result] == spans


@pytest.mark.parametrize("style", STYLES)
def test_pim_spans(style):
    run_bench(
        "pim_spans",
        rtl("pim_clock_gate", "pim_spans"),
        bench=__file__,
        params=STYLES[style],
        environment={"STYLE": style},
    )
