"""pim_seq against a plain model of its loops: streams, splats and blocks in order."""

import os

import cocotb
import pytest
from bench_tools import CHANCES, STREAM, Kind, descriptor, seeded, start
from cocotb.triggers import RisingEdge
from mutants import mutated, patches

from pimloop.rtl.tables.isa import UNARY_OPCODES, VECTOR_OPCODES, Broadcast, Init, Opcode
from pimloop.rtl.tools.interface import load
from pimloop.sim.bench.unit import BenchFailure, rtl, run_bench

MODULES = (
    "pim_clock_gate",
    "pim_seq",
    "pim_seq_decode",
    "pim_seq_blocks",
    "pim_seq_rows",
    "pim_seq_groups",
    "pim_seq_together",
    "pim_seq_stream",
)
GROUPS, DEPTH, LATENCY = 4, 256, 4
STYLES = {
    "per_bank": {"AtomBytes": 64, "BeatBytes": 64, "VectorSetup": 0},
    "all_bank": {"AtomBytes": 32, "BeatBytes": 128, "VectorSetup": 3, "TransposeWays": 2},
    "per_bank, 8 rows": {"AtomBytes": 64, "BeatBytes": 64, "VectorSetup": 0, "RowsPerBeat": 8},
    "all_bank, 2 rows": {"AtomBytes": 32, "BeatBytes": 128, "VectorSetup": 3, "RowsPerBeat": 2},
    "per_bank, 4 ways": {"AtomBytes": 64, "BeatBytes": 64, "VectorSetup": 0, "TransposeWays": 4},
}
PRODUCTS = (Opcode.MATMUL, Opcode.MATMUL_T)
_ISA = load()
LANES = [row["name"] for row in _ISA["lane"]]
#: What the lanes do for an operation of one operand.
ALONE = {
    Opcode[op["name"]]: LANES.index(op["lane"]) for op in _ISA["opcode"] if op["class"] == "unary"
}
MAC, MUL, MULS = 0, 2, 3  # pim_pkg::lane_op_e
PLUS_ONE, MINUS_ONE, BUFFER = range(3)


class Loops:
    """What a descriptor asks for, in order: the specification of the sequencer."""

    def __init__(self, style, opcode, words):
        self.atom, self.beat = style["AtomBytes"], style["BeatBytes"]
        self.together = style.get("RowsPerBeat", 1)  # rows of a product for each beat
        self.ways = style.get("TransposeWays", 1)
        self.every = int(self.atom != self.beat)
        self.opcode, self.w = opcode, words
        self.events = []
        if opcode in PRODUCTS:
            self.product()
        elif opcode in UNARY_OPCODES:
            self.unary()
        else:
            self.elementwise()

    def stream(self, kind, addr, count, hold=0, period=0, row=0, more=0, single=False):
        values = {"addr": addr, "count": count, "kind": kind, "hold": hold, "period": period}
        values |= {"all": 0 if single else self.every, "row": row, "more": more}
        self.events.append(("stream", values))

    def scalars(self, addr, elements, wide, row=0):
        """Stream a row of scalars: atoms, or beats where these are more than half full."""
        wide &= bool(self.every) and 4 * elements > self.beat and self.beat < 2 * DEPTH
        size = self.beat // 2 if wide else self.atom // 2
        self.stream(Kind.SCALAR, addr, -(-elements // size), row=row, single=not wide)
        return size

    def tiles(self, limit):
        """Yield (first beat, beats) of the tiles of a row."""
        beats = -(-2 * self.w["cols"] // self.beat)
        for first in range(0, beats, limit):
            yield first, min(limit, beats - first)

    def write(self, row, first, width, member=0, more=0):
        wide = 2 if self.w.get("out_f32") else 1
        addr = self.w["addr_y"] + row * self.w["stride_y"] + first * self.beat * wide
        kind = Kind.F32 if wide == 2 else Kind.BF16
        self.stream(kind, addr, width * wide, hold=1, row=member, more=more)

    def splats(self, width, zero, negate, index, member=0, first=0):
        groups = range(first, first + width)
        self.events += [("splat", (member, group, zero, negate, index)) for group in groups]

    def vectors(self):
        """Yield (rows, first beat, beats) of what goes together: a tile of a row, or rows."""
        beats = -(-2 * self.w["cols"] // self.beat)
        together = max(1, GROUPS // beats) if self.every else 1
        for top in range(0, self.w["rows"], together):
            rows = range(top, min(top + together, self.w["rows"]))
            for first, width in self.tiles(GROUPS):
                yield rows, first, width

    def rows_of(self, kind, name, rows, at, width, hold=0):
        """Stream some beats of each of several rows of an operand, one after the other."""
        same = name == "b" and self.w["broadcast"] == Broadcast.ROW
        for row in rows:
            addr = self.w[f"addr_{name}"] + (0 if same else row * self.w[f"stride_{name}"]) + at
            first, more = row == rows[0], int(row != rows[-1])
            self.stream(kind, addr, width, hold=int(first and hold), more=more)

    def results(self, rows, first, width):
        for row in rows:
            self.write(row, first, width, more=int(row != rows[-1]))

    def load_init(self, row, first, width, member):
        """Fill the accumulators of a row of a product's tile with their initial values."""
        if self.w["init"] == Init.ROW:
            self.stream(Kind.LOAD, self.w["host_lo"] + first * self.beat, width, row=member)
        elif self.w["init"] == Init.F32:
            addr = self.w["host_lo"] + row * self.w["host_hi"] + 2 * first * self.beat
            self.stream(Kind.LOAD_F32, addr, 2 * width, row=member)

    def product(self):
        w = self.w
        normal = self.opcode == Opcode.MATMUL
        for top in range(0, w["rows"], self.together):
            group = range(top, min(top + self.together, w["rows"]))
            wide = not (w["addr_a"] | w["stride_a"]) % self.beat
            for row in group:
                addr = w["addr_a"] + row * w["stride_a"]
                at_once = self.scalars(addr, w["inner"], wide, row=row - top)
            right = w["addr_b"]
            for first, width in self.tiles(w["tile"] if normal else GROUPS):
                for row in group:
                    if not normal and w["init"] == Init.ZERO:
                        self.splats(width, 1, 0, 0, row - top)
                    self.load_init(row, first, width, row - top)
                last = len(group) - 1
                if normal:
                    # Scalars of one access are not there yet when the products begin.
                    hold = int(w["init"] != Init.ZERO or w["inner"] <= at_once)
                    self.stream(Kind.MAC, right, w["inner"] * width, hold, width, last)
                    right += w["inner"] * width * self.beat
                else:
                    self.blocks(first, width, last)
                for row in group:
                    self.write(row, first, width, row - top)

    def blocks(self, first, width, last):
        w, elems, parts = self.w, self.atom // 2, self.beat // self.atom
        beside = w["stride_b"] == self.atom
        beats = beside and parts > 1 and not (w["addr_b"] | w["tile"]) % self.beat
        inner = range(-(-w["inner"] // elems))
        order = [(group, block) for group in range(width) for block in inner]
        if self.ways > 1:
            order = [(group, block) for block in inner for group in range(width)]
        for group, block in order:
            column = (first + group) * self.beat // 2
            atoms = min(self.beat // 2, w["cols"] - column)
            slices = min(elems, w["inner"] - block * elems)
            self.events.append(("block", (last, group, atoms, block * elems, slices)))
            addr = w["addr_b"] + column * w["stride_b"] + block * w["tile"]
            count = atoms // parts if beats else atoms if beside else 1
            for line in range(1 if beside else atoms):
                at = addr + line * w["stride_b"]
                self.stream(Kind.BLOCK, at, count, single=not beats)

    def elementwise(self):
        w = self.w
        broadcast = w["broadcast"]
        scalars = broadcast in (Broadcast.COLUMN, Broadcast.SCALAR)
        if scalars:
            column = broadcast == Broadcast.COLUMN
            self.scalars(w["addr_b"], w["rows"] if column else 1, not w["addr_b"] % self.beat)
        for rows, first, width in self.vectors():
            at = first * self.beat
            if not scalars:
                self.rows_of(Kind.LOAD, "a", rows, at, width)
                self.rows_of(Kind.EW, "b", rows, at, width, hold=len(rows) * width < LATENCY)
            else:
                for i, row in enumerate(rows if self.splatted else ()):
                    index = row if broadcast == Broadcast.COLUMN else 0
                    negate = int(self.opcode == Opcode.SUB)
                    self.splats(width, 0, negate, index, first=i * width)
                self.rows_of(Kind.EW, "a", rows, at, width, hold=1)
                if not self.splatted:
                    self.events[-1] += (rows[0] if broadcast == Broadcast.COLUMN else 0,)
            self.results(rows, first, width)

    @property
    def splatted(self):
        """Whether the elements of the scalar buffer go into the accumulators."""
        together = self.every and self.w["broadcast"] == Broadcast.COLUMN
        return self.opcode != Opcode.MUL or together

    def unary(self):
        """A alone goes through the lanes: nothing is loaded before."""
        self.w = self.w | {"broadcast": Broadcast.NONE}
        for rows, first, width in self.vectors():
            self.rows_of(Kind.EW, "a", rows, first * self.beat, width, hold=width < LATENCY)
            self.results(rows, first, width)

    def settings(self):
        """Return the lane operation and the scalar of KindEw."""
        if self.opcode in UNARY_OPCODES:
            return ALONE[self.opcode], None
        if self.opcode == Opcode.MUL:
            scalars = self.w["broadcast"] in (Broadcast.COLUMN, Broadcast.SCALAR)
            return (MULS, BUFFER) if scalars and not self.splatted else (MUL, None)
        minus = self.opcode == Opcode.SUB and self.w["broadcast"] in (Broadcast.NONE, Broadcast.ROW)
        return MAC, MINUS_ONE if minus else PLUS_ONE


class TB:
    """Takes streams at random, is busy for a while after each, compares every event."""

    def __init__(self, dut, idle):
        self.dut, self.rng, self.idle = dut, seeded(dut), idle
        self.style = STYLES[os.environ["STYLE"]]
        self.entry = self.named = 0

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def random_descriptor(self, opcode):
        atom, beat = self.style["AtomBytes"], self.style["BeatBytes"]
        words = {
            "rows": self.pick(1, 2, 3, self.style.get("RowsPerBeat", 1) + 3),
            "cols": beat // 2 * self.pick(1, 2, 4, 5, 9),
        }
        for name in ("addr_a", "addr_b", "addr_y", "host_lo"):
            words[name] = int(self.rng.integers(1 << 20)) * beat
        for name in ("stride_a", "stride_b", "stride_y", "host_hi"):
            words[name] = int(self.rng.integers(1 << 12)) * beat
        if opcode in UNARY_OPCODES:
            unused = ("addr_b", "stride_b", "host_lo", "host_hi", "inner", "tile")
            words |= {name: int(self.rng.integers(1 << 32)) for name in unused}
            return words
        if opcode not in PRODUCTS:
            words |= {"broadcast": int(self.pick(*Broadcast)), "rows": self.pick(1, 3, 40)}
            words["cols"] = beat // 2 * self.pick(1, 3, 5) if words["rows"] > 3 else words["cols"]
            return words
        words |= {"inner": self.pick(1, 15, 16, 17, 32, 33, 100), "init": int(self.pick(*Init))}
        words |= {"out_f32": self.pick(0, 1), "tile": self.pick(1, 2, 3, GROUPS)}
        for name in ("addr_a", "stride_a"):
            words[name] += atom * self.pick(0, 0, 0, 1)
        if opcode == Opcode.MATMUL_T:
            words["cols"] = atom // 2 * self.pick(1, 2, 3, 4, 7, 19)
            words["stride_b"] = atom * self.pick(1, 1, 3)
            words["tile"] = atom * self.pick(1, 5, 64, 128)
            words["addr_b"] += atom * self.pick(0, 0, 1)
            words["inner"] = self.pick(1, atom // 2, atom // 2 + 1, 3 * atom // 2, 3 * atom)
        return words

    async def run(self, opcode):
        """Run one descriptor."""
        dut, rng = self.dut, self.rng
        words = self.random_descriptor(opcode)
        loops = Loops(self.style, opcode, words)
        expected = iter(loops.events)
        dut.desc_i.value = descriptor(opcode, **words)
        dut.start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        busy = left = 0
        settling, index = False, None  # a result waits; entry a stream still has to look up
        starting = False  # start values are on their way to the accumulators
        others = False  # anything but scalars is under way
        for _ in range(200 + 60 * len(loops.events)):
            ready, room = int(rng.random() >= self.idle), int(rng.random() >= self.idle)
            quiet = int(busy == 0)
            dut.stream_ready_i.value, dut.block_room_i.value, dut.quiet_i.value = ready, room, quiet
            await RisingEdge(dut.clk_i)
            # A splat takes the entry that was named a clock ago.
            self.entry, self.named = self.named, int(dut.scalar_index_o.value)
            busy = max(0, busy - 1)
            if quiet:
                settling, starting, others, index = False, False, False, None
            # The entry is looked up when the data arrive.
            assert index is None or int(dut.scalar_index_o.value) == index
            if int(dut.splat_o.value):
                free = loops.every and opcode in PRODUCTS and not others
                assert quiet or left or free, "a splat while something is under way"
                self.check_splat(next(expected), words)
                busy, left = LATENCY + 2, 1
            else:
                left = 0
            if int(dut.block_open_o.value):
                assert room
                # The lanes would be busy with it, and the result waits for them.
                assert not settling, "a block is announced while a result waits"
                # Where all banks bring a block, its first slice may meet them.
                assert not (starting and loops.every), "a block is announced among start values"
                names = ("row", "group", "atoms", "base", "slices")
                seen = tuple(int(getattr(dut, f"block_{name}_o").value) for name in names)
                assert next(expected) == ("block", seen)
            if ready and int(dut.stream_valid_o.value):
                event = next(expected)
                self.check_stream(event, loops)
                settling |= Kind(event[1]["kind"]).writes
                others |= event[1]["kind"] != Kind.SCALAR
                starting |= event[1]["kind"] in (Kind.LOAD, Kind.LOAD_F32)
                index = event[2] if len(event) > 2 else index
                busy = max(busy, int(rng.integers(1, 30)))
            if int(dut.done_o.value):
                assert quiet or busy == 0, "done before everything has settled"
                assert next(expected, None) is None, "done too early"
                await RisingEdge(dut.clk_i)
                return
        raise AssertionError(f"{opcode.name} {words} does not end")

    def check_splat(self, event, words):
        dut = self.dut
        zero = int(dut.splat_zero_o.value)
        seen = [int(dut.splat_row_o.value), int(dut.splat_group_o.value), zero]
        # Row, group and zero always count; sign and entry only when there is a value.
        if not zero:
            seen += [int(dut.splat_negate_o.value), self.entry]
        assert event[0] == "splat"
        assert list(event[1][: len(seen)]) == seen, words

    def check_stream(self, event, loops):
        dut = self.dut
        seen = STREAM.unpack(int(dut.stream_o.value))
        assert event[:2] == ("stream", seen), loops.w
        if seen["kind"] == Kind.EW:
            operation, scalar = loops.settings()
            assert int(dut.ew_op_o.value) == operation
            assert scalar is None or int(dut.ew_scalar_o.value) == scalar
            assert len(event) == 2 or int(dut.scalar_index_o.value) == event[2]
        if seen["kind"] == Kind.MAC:
            assert int(dut.zero_init_o.value) == int(loops.w["init"] == Init.ZERO)


@cocotb.test()
@cocotb.parametrize(opcode=(*PRODUCTS, *VECTOR_OPCODES), idle=CHANCES)
async def descriptors(dut, opcode, idle):
    tb = TB(dut, idle)
    await start(dut, start_i=0, desc_i=0, stream_ready_i=0, quiet_i=1, block_room_i=0)
    for _ in range(10):
        await tb.run(opcode)


def run_style(style, sources):
    limits = {"AccGroups": GROUPS, "ScalarDepth": DEPTH, "LaneLatency": LATENCY}
    run_bench(
        "pim_seq",
        sources,
        bench=__file__,
        params=STYLES[style] | limits,
        environment={"STYLE": style},
    )


@pytest.mark.parametrize("style", STYLES)
def test_pim_seq(style):
    run_style(style, rtl(*MODULES))


@pytest.mark.full
@pytest.mark.parametrize("patch", patches("sequencer"), ids=lambda patch: patch.stem)
def test_mutants_are_noticed(patch, tmp_path):
    """Each mutant breaks the order or the waits that `Loops` and `TB` ask for."""
    with pytest.raises(BenchFailure, match="descriptors"):
        run_style("all_bank", mutated(patch, rtl(*MODULES), tmp_path))
