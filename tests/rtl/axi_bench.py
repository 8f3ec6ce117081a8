"""The host's side of the AXI master in the benches of the DMA and copy engines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from bench_tools import start
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiSlave

from pimloop.sim.bench.unit import REPOSITORY, rtl

TOP = "pim_copy_bench"
SOURCES = (
    *rtl("pim_fifo", "pim_burst_gen", "pim_dma_rd", "pim_dma_wr", "pim_copy"),
    REPOSITORY / "tests" / "rtl" / "sv" / "pim_copy_bench.sv",
)

#: Bytes of a bus beat.
LINE = 64
#: Where the host memory of the benches begins: more than 32 bits, just below a 4 KiB boundary.
BASE = 0x1_2345_6000

IDLE = {
    "direct_i": 0,
    "rd_start_i": 0,
    "wr_start_i": 0,
    "job_i": 0,
    "strobe_i": 0,
    "rd_room_i": 0,
    "wr_valid_i": 0,
    "wr_data_i": 0,
    "start_i": 0,
    "desc_i": 0,
    "stream_ready_i": 0,
    "memory_idle_i": 1,
    "issue_i": 0,
    "atom_valid_i": 0,
    "atom_i": 0,
    "atom_pop_i": 0,
    # What the slave drives later: no answer before there was a question.
    "m_axi_arready": 0,
    "m_axi_rvalid": 0,
    "m_axi_awready": 0,
    "m_axi_wready": 0,
    "m_axi_bvalid": 0,
}


class HostMemory:
    """Bytes from BASE on; lines in `bad`, and everything outside, answer with an error."""

    def __init__(self, rng: np.random.Generator, size: int = 32768) -> None:
        self.bytes = rng.integers(0, 256, size, dtype=np.uint8)
        self.bad: set[int] = set()

    def _place(self, address: int, length: int) -> slice:
        offset = address - BASE
        if offset < 0 or offset + length > len(self.bytes) or address // LINE in self.bad:
            raise ValueError(f"no memory at 0x{address:x}")
        return slice(offset, offset + length)

    async def read(self, address: int, length: int) -> bytes:
        return self.bytes[self._place(address, length)].tobytes()

    async def write(self, address: int, data: bytes) -> None:
        self.bytes[self._place(address, len(data))] = np.frombuffer(data, np.uint8)


class HostBus:
    """An AXI slave with random back-pressure and checks of the rules a master has to keep."""

    def __init__(self, dut: Any, rng: np.random.Generator, idle: float) -> None:
        self.dut, self.rng = dut, rng
        self.memory = HostMemory(rng)
        self.reads: list[tuple[int, int]] = []  # address, beats of every burst
        self.writes: list[tuple[int, int]] = []
        self.strobes: set[int] = set()
        self.idle = idle

    async def begin(self, **inputs: int) -> None:
        """Reset the bench and attach the slave."""
        await start(self.dut, **(IDLE | inputs))
        logging.getLogger(f"cocotb.{self.dut._name}").setLevel(logging.ERROR)
        bus = AxiBus.from_prefix(self.dut, "m_axi")
        self.slave = AxiSlave(bus, self.dut.clk_i, target=self.memory)
        if self.idle:
            read, write = self.slave.read_if, self.slave.write_if
            for channel in (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel):
                channel.set_pause_generator(self.pauses())
            write.b_channel.set_pause_generator(self.pauses())
        cocotb.start_soon(self.watch("ar", "r", self.reads))
        cocotb.start_soon(self.watch("aw", "b", self.writes))
        cocotb.start_soon(self.watch_data())

    def pauses(self) -> Iterator[bool]:
        while True:
            yield bool(self.rng.random() < self.idle)

    async def watch(self, request: str, answer: str, bursts: list[tuple[int, int]]) -> None:
        """Check requests: legal bursts, held until taken, at most four unanswered."""
        dut = self.dut

        def get(name: str) -> int:
            return int(getattr(dut, f"m_axi_{name}").value)

        unanswered = 0
        held = None
        while True:
            await RisingEdge(dut.clk_i)
            if get(f"{request}valid"):
                burst = get(f"{request}addr"), get(f"{request}len") + 1
                assert held in (None, burst), "a request changed before it was taken"
                address, beats = burst
                assert address % LINE == 0
                assert beats <= 16
                assert address % 4096 + beats * LINE <= 4096, "burst over a 4 KiB boundary"
                held = burst
                if get(f"{request}ready"):
                    bursts.append(burst)
                    unanswered += 1
                    held = None
                    assert unanswered <= 4
            else:
                assert held is None, "a request was taken back"
            if get(f"{answer}valid") and get(f"{answer}ready"):
                unanswered -= answer == "b" or get("rlast")

    async def watch_data(self) -> None:
        """Check that write data are held until taken; collect the strobes."""
        dut = self.dut
        held = None
        while True:
            await RisingEdge(dut.clk_i)
            if not int(dut.m_axi_wvalid.value):
                assert held is None, "write data were taken back"
                continue
            word = int(dut.m_axi_wdata.value), int(dut.m_axi_wlast.value)
            assert held in (None, word), "write data changed before they were taken"
            held = None if int(dut.m_axi_wready.value) else word
            self.strobes.add(int(dut.m_axi_wstrb.value))


def job_lines(job: dict[str, int]) -> list[int]:
    """Return the host address of every beat of a job."""
    return [
        job["addr"] + row * job["stride"] + at
        for row in range(job["rows"])
        for at in range(0, job["bytes"], LINE)
    ]


def random_job(rng: np.random.Generator, size: int = 32768) -> dict[str, int]:
    """Return a job inside the first `size` bytes, at least a line from either end."""
    while True:
        beats = int(rng.choice([1, 2, 15, 16, 17, 33, 70]))
        rows = int(rng.choice([1, 1, 2, 3, 5]))
        stride = (beats + int(rng.choice([0, 0, 1, 7]))) * LINE
        hull = (rows - 1) * stride + beats * LINE
        places = (size - hull) // LINE - 1
        if places > 1:
            break
    at = int(rng.integers(1, places))
    if rng.random() < 0.5 and hull < size - 8192:
        # Begin just before a boundary of 4 KiB.
        at = 64 * int(rng.integers(1, 1 + (size - hull) // 4096)) - int(rng.integers(1, 5))
    return {"addr": BASE + at * LINE, "rows": rows, "bytes": beats * LINE, "stride": stride}
