"""Cycles and counters of any legal descriptor list, clock by clock; no RTL, no simulator code.

Written from rtl/README.md ("Timing", "Descriptors"). A list is a generator that takes a step a
clock; the channel (clock_channel.py) and the DMA (clock_dma.py) go along. Clock 0 is the first
fabric clock in which the list engine is busy. cycle_model.py derives simple lists by hand, as sums
of terms: test_clock_model.py holds the two against each other, test_cycles.py the device to both.

Fixed terms, in fabric clocks, with R and W the latencies of the host memory:

fetch       burst cut 1, address out 1, memory R, descriptor there 1: 3 + R, then the check starts;
            stall R
check       static 1, host addresses 1, overlap 1, verdict 1, list engine 1: 5 for FENCE and END;
            with operands: sizes 1 and 3 for each of five hulls (A, B, C, Y, host) more: 21
status,     burst cut 1, address and data out 1, taken 1, memory W, response taken 1, list engine
record      1: 5 + W; stall 1 (data wait for their address) and W - 1 (the response)
sleep       what is open is closed; one clock to be asleep, one for the list engine to see it, one
            for the interrupt
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clock_channel import ClockChannel, Sent, Stream
from clock_dma import HostRead, HostWrite
from clock_sequencer import Blocks, Clocks, Sequencer, field

from pimloop.host.pim.driver import descriptors
from pimloop.rtl.tables.isa import Opcode
from pimloop.sim.device.config import HostMemory

#: As in the registers CNT_*.
COUNTERS = (
    "cycles", "act", "pre", "rd", "wr", "ref", "mac", "stall", "open", "self_refresh", "all_rd",
    "all_wr", "link",
)  # fmt: skip

_CHECK_SHORT, _CHECK_LONG = 5, 21
#: Beats of 64 bytes that the buffer of a copy holds.
_BUFFER = 64


@dataclass(frozen=True)
class Counts:
    """Counters by their names in `COUNTERS`; those of times in DRAM clocks."""

    total: dict[str, int]
    records: tuple[dict[str, int], ...]  # of each descriptor that asks for one


class ClockModel:
    """A device that runs lists.

    Parameters
    ----------
    params
        Parameters of `pim_top` by their names.
    memory
        Latencies of the host memory; without pauses.
    """

    def __init__(self, params: Mapping[str, int], memory: HostMemory | None = None) -> None:
        self.p = params
        self.memory = memory or HostMemory()

    def run(self, items: Sequence[Any]) -> Counts:
        """Return what the counters say of a list of descriptors.

        END is added where it is not the last descriptor.
        """
        if not items or field(items[-1], "opcode") != Opcode.END:
            items = [*items, descriptors.end()]
        return ListRun(self.p, self.memory, items).count()


class ListRun:
    """A list on its way."""

    def __init__(self, params: Mapping[str, int], memory: HostMemory, items: Sequence[Any]) -> None:
        self.p, self.memory = params, memory
        self.channel = ClockChannel(params)
        self.items = items
        self.clock = 0
        self.stall = 0
        self.asleep = 0
        self.link = 0  # bytes over the bus of the host memory
        self.offered: Stream | None = None
        self.taken = False
        self.copy_ready = False
        self.sleep = False
        self.sent: Sent | None = None  # column of the clock before
        self.blocks = Blocks(self)
        self.records: list[dict[str, int]] = []

    def count(self) -> Counts:
        """Go through all clocks."""
        for _ in self._list():
            taken = self.offered is not None and self.channel.takes()
            self.sent = self.channel.step(self.clock, copy_ready=self.copy_ready, sleep=self.sleep)
            self.blocks.step(self.clock, self.sent)
            if taken:
                self.channel.cutting, self.offered = self.offered, None
            self.taken = taken
            self.clock += 1
        return Counts(self._counted(), tuple(self.records))

    def _counted(self) -> dict[str, int]:
        """Return the counters up to this clock."""
        ratio = self.p["CkRatio"]
        times = {
            "cycles": self.clock * ratio,
            "stall": self.stall * ratio,
            "self_refresh": self.asleep * ratio,
            "link": self.link,
        }
        return {name: times.get(name, self.channel.counts[name]) for name in COUNTERS}

    # ---- list ------------------------------------------------------------------------------------

    def _list(self) -> Clocks:
        yield from self.wait(1)  # the checks of the first descriptor's own address
        for item in self.items:
            yield from self._descriptor(item)
        self.sleep = True
        while not self.channel.asleep:
            yield
        for _ in range(2):
            self.asleep += 1
            yield

    def _descriptor(self, item: Any) -> Clocks:
        opcode = Opcode(field(item, "opcode"))
        before = self._counted()
        short = opcode in (Opcode.FENCE, Opcode.END)
        yield from self._fetch(_CHECK_SHORT if short else _CHECK_LONG)
        if opcode in (Opcode.COPY_IN, Opcode.COPY_OUT):
            self.link += int(item["rows"]) * int(item["inner"])
        if opcode == Opcode.COPY_IN:
            yield from self._copy_in(item)
        elif opcode == Opcode.COPY_OUT:
            yield from self._copy_out(item)
        elif not short:
            yield from Sequencer(self, item, opcode).steps()
        if field(item, "record"):
            # Before the record itself is written.
            now = self._counted()
            self.records.append({name: now[name] - before[name] for name in COUNTERS})
            yield from self._status(64)
        yield from self._status(4)

    def _fetch(self, check: int) -> Clocks:
        self.stall += self.memory.read_latency
        self.link += 64
        yield from self.wait(3 + self.memory.read_latency + check)

    def _status(self, size: int) -> Clocks:
        """Write a status word, or a record, of so many bytes."""
        self.stall += self.memory.write_latency
        self.link += size
        yield from self.wait(5 + self.memory.write_latency)

    @staticmethod
    def wait(clocks: int) -> Clocks:
        for _ in range(clocks):
            yield

    def offer(self, stream: Stream) -> Clocks:
        """Hand a stream to the channel; at least one clock."""
        self.offered = stream
        yield
        while not self.taken:
            yield

    def quiet(self) -> bool:
        """Return whether memory and lanes are idle."""
        idle = self.channel.memory_idle(self.clock) and self.channel.settled(self.clock)
        return idle and self.blocks.idle

    # ---- copies ----------------------------------------------------------------------------------

    def _rows(self, item: Any, side: str, kind: str) -> deque[Stream]:
        """Return the streams of a copy: one for each row."""
        start = int(item["addr_y" if side == "y" else "addr_a"])
        stride = int(item[f"stride_{side}"])
        count = int(item["inner"]) // self.p["AtomBytes"]
        return deque(Stream(start + row * stride, count, kind) for row in range(int(item["rows"])))

    def _host_rows(self, item: Any, stride: str) -> list[tuple[int, int]]:
        """Return (address, bytes) of the rows in host memory."""
        start = int(item["host_hi"]) << 32 | int(item["host_lo"])
        rows, size = int(item["rows"]), int(item["inner"])
        return [(start + row * int(item[stride]), size) for row in range(rows)]

    def _feed(self, rows: deque[Stream]) -> None:
        """Offer the next row of a copy when the last one was taken."""
        if self.taken:
            rows.popleft()
        self.offered = rows[0] if rows else None

    def _copy_in(self, item: Any) -> Clocks:
        """Bursts come into the buffer, an atom is written when it is there."""
        parts = 64 // self.p["AtomBytes"]
        rows = self._rows(item, "y", "copy_in")
        reader = HostRead(self._host_rows(item, "stride_a"), self.memory)
        taken: deque[int] = deque()  # clocks in which written atoms leave the buffer
        atoms = popped = 0  # there and not yet written; gone from the buffer
        self.taken = False
        while True:
            if self.sent is not None:
                atoms -= 1
                taken.append(self.sent.clock + self.channel.write_clocks)
            while taken and taken[0] < self.clock:
                taken.popleft()
                popped += 1
            atoms += parts * reader.arrived(self.clock - 1)
            self._feed(rows)
            buffered = reader.beats_before(self.clock) - popped // parts
            done = not rows and not reader.busy(self.clock) and not buffered
            if done and self.channel.memory_idle(self.clock):
                break
            self.copy_ready = atoms > 0
            reserved = reader.requested - popped // parts
            self.stall += reader.step(self.clock, room=reserved + 16 <= _BUFFER)
            yield
        self.sent = None
        yield from self.wait(3)  # seen, drained, done

    def _copy_out(self, item: Any) -> Clocks:
        """Atoms are read while the buffer has room for them, bursts leave it."""
        parts = 64 // self.p["AtomBytes"]
        rows = self._rows(item, "a", "copy_out")
        writer = HostWrite(self._host_rows(item, "stride_y"), self.memory)
        coming: deque[int] = deque()  # clocks in which the atoms are in the buffer
        read = there = 0
        self.taken = False
        while True:
            if self.sent is not None:
                read += 1
                # Data handed over 1, in the buffer 1.
                coming.append(self.sent.clock + self.channel.read_clocks + 2)
            while coming and coming[0] <= self.clock:
                coming.popleft()
                there += 1
            self._feed(rows)
            if not writer.busy(self.clock):
                break
            self.copy_ready = read < parts * (_BUFFER + writer.sent)
            self.stall += writer.step(self.clock, data=there // parts > writer.sent)
            yield
        yield from self.wait(3)  # seen, drained, done
