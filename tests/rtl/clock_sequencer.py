"""What clock_model.py makes of a product or a vector operation: streams, one after another.

For each row and tile: start values of the accumulators, operands, the result. Each step takes a
clock, or as long as the channel needs to take its stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clock_channel import Sent, Stream, ceil

from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    UNARY_OPCODES,
    VECTOR_OPCODES,
    Broadcast,
    Init,
    Opcode,
    Weights,
)

if TYPE_CHECKING:
    from clock_model import ListRun

#: A process that takes a step a clock.
Clocks = Iterator[None]


def field(item: Any, name: str) -> int:
    """Return a field of the control word of a descriptor."""
    low, width = CONTROL_FIELDS[name]
    return int(item["control"]) >> low & ((1 << width) - 1)


class Blocks:
    """The buffers that turn blocks of B for MATMUL_T: in each way one is filled, one leaves."""

    def __init__(self, run: ListRun) -> None:
        self.run = run
        self.rows = 1  # of the left operand, that the blocks are for
        self.ways = [Way() for _ in range(run.p["TransposeWays"])]
        self.opened: tuple[int, int, int] | None = None  # announced: way, slices, atoms
        self.filling: deque[list[int]] = deque()  # way, atoms that are missing
        self.next_slice = 0  # of any block

    @property
    def idle(self) -> bool:
        """No block is announced."""
        return not any(way.announced for way in self.ways)

    def room(self, way: int) -> bool:
        """A block may be announced in a way."""
        return len(self.ways[way].announced) < 2

    def step(self, clock: int, sent: Sent | None) -> None:
        """Go through a clock."""
        channel = self.run.channel
        ready = [way for way in self.ways if way.full and way.full[0] <= clock >= way.next_slice]
        if ready and self.next_slice <= clock:
            way = ready[0]
            # Slices of the same accumulators; any two, which the lanes work on one by one.
            way.next_slice = clock + self.run.p["LaneLatency"]
            self.next_slice = clock + channel.lane_clocks(self.rows)
            way.left += 1
            channel.counts["mac"] += self.rows
            channel.lanes_fed(clock + 1, self.rows)
            if way.left == way.announced[0]:
                way.announced.popleft()
                way.full.popleft()
                way.left = 0
        if sent is not None and sent.stream.kind == "block":
            oldest = self.filling[0]
            oldest[1] -= channel.beat_bytes // self.run.p["AtomBytes"] if sent.stream.all else 1
            if not oldest[1]:
                self.filling.popleft()
                # Data of the last atom there, handed over 1, stored 1.
                self.ways[oldest[0]].full.append(clock + channel.read_clocks + 2)
        if self.opened is not None:
            number, slices, atoms = self.opened
            self.ways[number].announced.append(slices)
            self.filling.append([number, atoms])
            self.opened = None


class Way:
    """Blocks that work on the same accumulators, one after the other."""

    def __init__(self) -> None:
        self.announced: deque[int] = deque()  # slices of each block that has not left
        self.full: deque[int] = deque()  # first clock in which a block may leave
        self.next_slice = 0
        self.left = 0  # slices that the oldest block has sent


class Sequencer:
    """The loops of a product or a vector operation (element-wise, or of one operand)."""

    def __init__(self, run: ListRun, item: Any, opcode: Opcode) -> None:
        self.run = run
        self.item = item
        self.elements = run.p["AtomBytes"] // 2  # of an atom
        self.beat = run.channel.beat_bytes
        self.opcode = opcode
        self.vector = opcode in VECTOR_OPCODES
        self.unary = opcode in UNARY_OPCODES  # A alone
        self.transposed = opcode == Opcode.MATMUL_T
        self.broadcast = Broadcast(field(item, "broadcast"))
        one_a_row = self.broadcast in (Broadcast.COLUMN, Broadcast.SCALAR)
        self.scalars = self.vector and one_a_row  # B is in the scalar buffer
        self.init = Init(field(item, "init"))
        self.wide = 2 if field(item, "out_f32") else 1
        # Integers: so many in the 16 bits of a lane, with a scale for each group of inner elements.
        self.integers = field(item, "weights") != Weights.BF16
        self.each = 1 << field(item, "weights")
        self.rows, self.inner, self.cols = (int(item[n]) for n in ("rows", "inner", "cols"))
        self.all = run.channel.all_bank
        # all_bank: a factor for each row goes into the accumulators first.
        self.column = self.broadcast == Broadcast.COLUMN and self.all

    def _word(self, name: str) -> int:
        return int(self.item[name])

    def steps(self) -> Clocks:
        """Go through the operation, from the clock after its check on."""
        run = self.run
        beats = ceil(2 * self.cols, self.beat)
        width = self._word("tile") if self.opcode == Opcode.MATMUL else run.p["AccGroups"]
        # Rows of a product share the beats of the right operand, rows of vectors rows of the DRAM.
        together = run.p["RowsPerBeat"] // self.each
        if self.vector:
            together = max(1, width // beats) if self.all else 1
        for top in range(0, self.rows, together):
            rows = range(top, min(top + together, self.rows))
            run.blocks.rows = len(rows)
            for row in rows:
                if not self.vector or (self.scalars and not row):
                    yield from run.offer(self._scalar_row(row))
            for first in range(0, beats, width):
                yield from self._tile(rows, first, min(width, beats - first))
        while not run.quiet():
            yield
        yield from run.wait(2)  # drained, done

    def _scalar_row(self, row: int) -> Stream:
        if not self.vector:
            start, elements = self._word("addr_a") + row * self._word("stride_a"), self.inner
        else:
            start = self._word("addr_b")
            elements = self.rows if self.broadcast == Broadcast.COLUMN else 1
        if self._wide(elements):
            return Stream(start, ceil(2 * elements, self.beat), "scalar", all=True)
        return Stream(start, ceil(elements, self.elements), "scalar")

    def _wide(self, elements: int) -> bool:
        """Whether scalars come from all banks: aligned, in more than half of the banks."""
        names = ("addr_b",) if self.vector else ("addr_a", "stride_a")
        aligned = not any(self._word(name) % self.beat for name in names)
        room = 2 * self.run.p["ScalarDepth"] > self.beat
        return self.all and room and aligned and 4 * elements > self.beat

    def _tile(self, rows: range, first: int, width: int) -> Clocks:
        """A tile: its width 1 clock, set-up, start values, operands, results, next 1 clock."""
        run = self.run
        yield
        if self.vector:
            yield from run.wait(run.p["VectorSetup"])
        if self._splats():
            yield from self._splat(width * len(rows))
        for row in rows:
            values = self._start_values(row, first, width)
            if values is not None:
                last = not self.vector or row == rows[-1]
                yield from run.offer(replace(values, last=last))
        if self.transposed:
            yield from self._turned(first, width)
        elif self.vector:
            for row in rows:
                operand = self._operand(range(row, row + 1), first, width, len(rows))
                hold = operand.hold and row == rows[0]
                yield from run.offer(replace(operand, hold=hold, last=row == rows[-1]))
        elif self.integers:
            yield from self._groups(rows, first, width)
        else:
            yield from run.offer(self._operand(rows, first, width))
        for row in rows:
            start = self._word("addr_y") + row * self._word("stride_y")
            start += first * self.beat * self.wide
            yield from run.offer(Stream(start, width * self.wide, "result", self.all, hold=True))
        # The scalar of a row, and a block of the next, may not come before this row is done.
        while (self.scalars or self.transposed) and not run.quiet():
            yield
        yield

    def _splats(self) -> bool:
        """Whether a tile starts from one value: that of its row, or +0 for blocks and integers."""
        if self.vector:
            return self.scalars and (self.opcode != Opcode.MUL or self.column)
        return (self.transposed or self.integers) and self.init == Init.ZERO

    def _start_values(self, row: int, first: int, width: int) -> Stream | None:
        """Return the stream of what the accumulators of a row start from."""
        if self.vector:
            loads = not self.scalars and not self.unary
            return self._load("addr_a", "stride_a", row, first, width) if loads else None
        if self.init == Init.ROW:
            return self._load("host_lo", "", row, first, width)
        if self.init == Init.F32:
            return self._load("host_lo", "host_hi", row, first, width, 2)
        return None

    def _load(
        self, addr: str, stride: str, row: int, first: int, width: int, wide: int = 1
    ) -> Stream:
        start = self._word(addr) + (row * self._word(stride) if stride else 0)
        start += first * self.beat * wide
        return Stream(start, width * wide, "load", self.all)

    def _operand(self, rows: range, first: int, width: int, together: int = 1) -> Stream:
        """Return the stream of the operand that is read last."""
        beat = self.beat
        if self.vector:
            name = "a" if self.scalars or self.unary else "b"
            start = self._word(f"addr_{name}") + first * beat
            if self.scalars or self.broadcast == Broadcast.NONE:
                start += rows[0] * self._word(f"stride_{name}")
            # A beat meets what was loaded so many beats ago. (One that is alone follows a result.)
            # Of one operand nothing is loaded: its rows are counted as they go, first one alone.
            ago = width if self.unary else width * together
            hold = self.scalars or ago < self.run.p["LaneLatency"]
            return Stream(start, width, "ew", self.all, hold)
        start = self._word("addr_b") + first * self.inner * beat
        hold = self.init != Init.ZERO or self._one_access()
        return Stream(start, self.inner * width, "mac", self.all, hold, width, len(rows))

    def _one_access(self) -> bool:
        """Whether a row of A, which must be there, is loaded by one access."""
        return self.inner <= (self.beat // 2 if self._wide(self.inner) else self.elements)

    def _groups(self, rows: range, first: int, width: int) -> Clocks:
        """Sums of each group of inner elements from +0 on, then their scales for three parts."""
        size = 1 << field(self.item, "group")
        groups = ceil(self.inner, size)
        # In units of a beat: weights, and a row of scales for each group.
        start = self._word("addr_b")
        start += first * self.beat * self.inner // self.each + first * self.beat * groups
        sets = self.each * len(rows)
        for group in range(groups):
            period = width // self.each
            count = period * min(size, self.inner - group * size)
            # Start values are in other accumulators.
            yield from self.run.offer(
                Stream(start, count, "mac", self.all, self._one_access(), period, sets, last=False)
            )
            start += count * self.beat
            for part in range(3):
                # Sums must be there; then each part follows the one before in its accumulators.
                hold = part == 0 or width < self.run.p["LaneLatency"]
                last = part == 2 and group == groups - 1
                yield from self.run.offer(
                    Stream(start, width, "scale", self.all, hold, 0, sets, len(rows), last)
                )
            start += width * self.beat

    def _splat(self, width: int) -> Clocks:
        """Fill accumulators with a value, one beat of them a clock, when all before is done.

        all_bank: before those of a MATMUL_T only scalars are on their way, which may come later.
        """
        run = self.run
        while not (self.transposed and self.all) and not run.quiet():
            yield
        for _ in range(width):
            run.channel.lanes_fed(run.clock)
            yield

    def _turned(self, first: int, width: int) -> Clocks:
        """Blocks of B, each announced (1 clock, when a buffer is free) and then read."""
        run, size, ways = self.run, self.elements, self.run.p["TransposeWays"]
        wide = self.beat // 2  # columns of a beat
        stride, step, base = (self._word(name) for name in ("stride_b", "tile", "addr_b"))
        beside = stride == run.p["AtomBytes"]
        parts = self.beat // run.p["AtomBytes"]
        whole = parts > 1 and size % parts == 0 and beside
        whole = whole and base % self.beat == 0 and step % self.beat == 0
        inner = range(ceil(self.inner, size))
        # One way: through the inner dimension first; else through the beats of the tile.
        order = [(group, block) for group in range(width) for block in inner]
        if ways > 1:
            order = [(group, block) for block in inner for group in range(width)]
        # all_bank: a block takes few clocks to read; start values must be there before the first.
        while self.all and self.init != Init.ZERO and not run.quiet():
            yield
        for group, block in order:
            while not run.blocks.room(group % ways):
                yield
            column = (first + group) * wide
            atoms = min(wide, self.cols - column)
            run.blocks.opened = (group % ways, min(size, self.inner - block * size), atoms)
            yield
            start = base + column * stride + block * step
            if beside:
                count = atoms // parts if whole else atoms
                yield from run.offer(Stream(start, count, "block", all=whole))
                continue
            for atom in range(atoms):
                yield from run.offer(Stream(start + atom * stride, 1, "block"))
