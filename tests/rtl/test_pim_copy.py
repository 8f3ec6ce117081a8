"""pim_copy with its DMA engines: both directions, errors on the way, nothing written beside."""

import os
from collections import deque

import cocotb
import numpy as np
import pytest
from axi_bench import LINE, SOURCES, TOP, HostBus, job_lines, random_job
from bench_tools import CHANCES, STREAM, Kind, descriptor, seeded
from cocotb.triggers import FallingEdge

from pimloop.rtl.tables.isa import Code, Opcode
from pimloop.sim.bench.unit import run_bench

#: Clocks from the command of an access to its data, as in the scheduler.
WRITE_CLOCKS, READ_CLOCKS = 2, 5


class TB(HostBus):
    """Plays scheduler, array and host for the copy engine.

    Works at the falling edge: the outputs of the clock are there and its inputs can still change.
    """

    def __init__(self, dut, idle, closed):
        super().__init__(dut, seeded(dut), idle)
        self.closed = closed  # chance of a clock without a command
        self.atom = int(os.environ["ATOM"])
        self.array = self.rng.integers(0, 256, 1 << 16, dtype=np.uint8)
        self.waiting = deque()  # (kind, address) not yet issued
        self.under_way = deque()  # (clock of the data, kind, address)
        self.clock = 0
        self.touched = set()  # device addresses written

    def tick(self):
        """Choose the inputs of this clock from its outputs."""
        dut, rng = self.dut, self.rng
        flush = int(dut.flush_o.value)
        ready = int(rng.random() >= self.closed)
        dut.stream_ready_i.value = ready
        issue = 0
        if self.waiting and rng.random() >= self.closed:
            kind, address = self.waiting[0]
            gate = dut.in_ready_o if kind == Kind.COPY_IN else dut.out_room_o
            issue = int(gate.value)
        if issue:
            self.waiting.popleft()
            later = WRITE_CLOCKS if kind == Kind.COPY_IN else READ_CLOCKS
            self.under_way.append((self.clock + later, kind, address))
        dut.issue_i.value = issue
        if flush:
            self.waiting.clear()
        if ready and int(dut.stream_valid_o.value) and not flush:
            stream = STREAM.unpack(int(dut.stream_o.value))
            assert not stream["hold"]
            assert not stream["all"]
            for i in range(stream["count"]):
                self.waiting.append((Kind(stream["kind"]), stream["addr"] + i * self.atom))
        self.move()
        self.clock += 1

    def move(self):
        """Deliver and take the data that are due."""
        dut = self.dut
        pop = valid = 0
        if self.under_way and self.under_way[0][0] == self.clock:
            _, kind, address = self.under_way.popleft()
            place = slice(address, address + self.atom)
            if kind == Kind.COPY_IN:
                pop = 1
                data = int(dut.atom_o.value).to_bytes(self.atom, "little")
                self.array[place] = np.frombuffer(data, np.uint8)
                self.touched.add(address)
            else:
                valid = 1
                dut.atom_i.value = int.from_bytes(self.array[place].tobytes(), "little")
        dut.atom_pop_i.value = pop
        dut.atom_valid_i.value = valid

    async def run(self, copy):
        """Do one copy; return its code."""
        dut = self.dut
        await FallingEdge(dut.clk_i)
        dut.desc_i.value = copy
        dut.start_i.value = 1
        self.tick()
        idle = False
        for _ in range(30000):
            await FallingEdge(dut.clk_i)
            dut.start_i.value = 0
            # Idle as the scheduler sees it: an access counts from the clock after its stream.
            idle = not (self.waiting or self.under_way)
            dut.memory_idle_i.value = int(idle)
            self.tick()
            if int(dut.done_o.value):
                assert idle
                assert not int(dut.rd_busy_o.value)
                assert not int(dut.wr_busy_o.value)
                return Code(int(dut.code_o.value))
        raise AssertionError(
            f"the copy does not end: {len(self.waiting)} accesses wait, "
            f"{len(self.under_way)} are under way"
        )

    def random_copy(self, opcode):
        """Return (host lines, device addresses of the lines, descriptor)."""
        rng = self.rng
        job = random_job(rng)
        stride = job["bytes"] + int(rng.choice([0, 0, 64, 640]))
        hull = (job["rows"] - 1) * stride + job["bytes"]
        device = int(rng.integers((len(self.array) - hull) // LINE)) * LINE
        lines = [
            device + row * stride + at
            for row in range(job["rows"])
            for at in range(0, job["bytes"], LINE)
        ]
        words = {"host": job["addr"], "rows": job["rows"], "inner": job["bytes"]}
        if opcode == Opcode.COPY_IN:
            words |= {"addr_y": device, "stride_y": stride, "stride_a": job["stride"]}
        else:
            words |= {"addr_a": device, "stride_a": stride, "stride_y": job["stride"]}
        return job_lines(job), lines, descriptor(opcode, **words)

    def host(self, address):
        return self.memory.bytes[self.memory._place(address, LINE)]


@cocotb.test()
@cocotb.parametrize(idle=CHANCES, closed=(0.0, 0.6))
async def copies(dut, idle, closed):
    """In and out at random; both memories are compared whole after each copy."""
    tb = TB(dut, idle, closed)
    await tb.begin()
    for _ in range(10):
        opcode = Opcode.COPY_IN if tb.rng.random() < 0.5 else Opcode.COPY_OUT
        host, device, copy = tb.random_copy(opcode)
        array, memory = tb.array.copy(), tb.memory.bytes.copy()
        for far, near in zip(host, device, strict=True):
            if opcode == Opcode.COPY_IN:
                array[near : near + LINE] = tb.host(far)
            else:
                memory[tb.memory._place(far, LINE)] = tb.array[near : near + LINE]
        assert await tb.run(copy) == Code.DONE
        assert np.array_equal(tb.array, array)
        assert np.array_equal(tb.memory.bytes, memory)


@cocotb.test()
@cocotb.parametrize(idle=CHANCES, closed=(0.0, 0.6))
async def read_errors(dut, idle, closed):
    """What came before the error may have been written, nothing else; then a good copy."""
    tb = TB(dut, idle, closed)
    await tb.begin()
    for _ in range(8):
        host, device, copy = tb.random_copy(Opcode.COPY_IN)
        bad = int(tb.rng.integers(len(host)))
        tb.memory.bad = {host[bad] // LINE}
        tb.touched.clear()
        before = tb.array.copy()
        assert await tb.run(copy) == Code.AXI_READ
        allowed = set(device[:bad])
        assert {address // LINE * LINE for address in tb.touched} <= allowed
        for far, near in zip(host[:bad], device[:bad], strict=True):
            for at in range(0, LINE, tb.atom):
                source = tb.host(far) if near + at in tb.touched else before[near : near + LINE]
                assert np.array_equal(
                    tb.array[near + at : near + at + tb.atom], source[at : at + tb.atom]
                )
        tb.memory.bad = set()
        assert await tb.run(copy) == Code.DONE
        for far, near in zip(host, device, strict=True):
            assert np.array_equal(tb.array[near : near + LINE], tb.host(far))


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def write_errors(dut, idle):
    tb = TB(dut, idle, 0.2)
    await tb.begin()
    for _ in range(8):
        host, device, copy = tb.random_copy(Opcode.COPY_OUT)
        tb.memory.bad = {int(tb.rng.choice(host)) // LINE}
        assert await tb.run(copy) == Code.AXI_WRITE
        tb.memory.bad = set()
        assert await tb.run(copy) == Code.DONE
        for far, near in zip(host, device, strict=True):
            assert np.array_equal(tb.array[near : near + LINE], tb.host(far))


@pytest.mark.parametrize("atom", [64, 32])
def test_pim_copy(atom):
    run_bench(
        TOP, SOURCES, bench=__file__, params={"AtomBytes": atom}, environment={"ATOM": str(atom)}
    )
