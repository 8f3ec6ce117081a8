"""pim_lane_ctl with RTL lanes and an array behind it, against `pimloop.host.common.golden`."""

import os

import cocotb
import numpy as np
import pytest
from bench_tools import ACCESS, Kind, seeded, start
from cocotb.triggers import RisingEdge
from lane_reference import CORNERS_BF16, CORNERS_F32, RELU, relu_exact

from pimloop.host.common import golden_quantized
from pimloop.host.common.golden import bf16_to_f32, elementwise, matmul, to_bf16_bits
from pimloop.host.pim.device import integers
from pimloop.rtl.tables.isa import Weights
from pimloop.sim.bench.unit import rtl, run_bench

GROUPS, DEPTH, LATENCY = 4, 64, 4
#: Bytes of an atom and of a beat, rows for a beat, rows at the same time, ways of the transposer.
STYLES = {
    "per_bank": (64, 64, 1, 1, 1),
    "all_bank": (32, 64, 1, 1, 2),
    "8 rows in 4 passes": (64, 64, 8, 2, 4),
    "4 rows at once": (32, 64, 4, 4, 4),
    "2 rows in 2 passes": (32, 64, 2, 1, 1),
}
IDLE = dict.fromkeys(
    ("flush_i", "read_i", "write_i", "read_data_i", "zero_init_i", "ew_op_i", "ew_scalar_i",
     "scalar_index_i", "splat_i", "splat_zero_i", "splat_negate_i", "splat_row_i",
     "splat_group_i", "block_open_i", "block_row_i", "block_group_i", "block_atoms_i",
     "block_base_i", "block_slices_i", "copy_in_data_i", "weights_i"), 0,
)  # fmt: skip
MAC, MUL, MULS = 0, 2, 3  # pim_pkg::lane_op_e
INTEGERS = (Weights.W8, Weights.W4)


class TB:
    """Plays scheduler, sequencer and array; every access may be preceded by idle clocks."""

    def __init__(self, dut, idle):
        self.dut, self.rng, self.idle = dut, seeded(dut), idle
        self.atom, self.beat, self.rows, self.sets, self.ways = STYLES[os.environ["STYLE"]]
        self.elems, self.atom_elems = self.beat // 2, self.atom // 2
        self.read_data = None  # of the read of the last clock
        self.written = []  # (access, data bytes) of write_o
        self.copied_out, self.popped, self.macs = [], 0, 0
        self.clock = 0
        self.fed = -100  # clock of the last access or splat
        self.due = {}  # write accesses, by the clock of write_o

    async def begin(self):
        await start(self.dut, **IDLE)

    def bits(self, *shape):
        """Return bfloat16 operands: random numbers with every corner case among them."""
        values = self.rng.integers(1 << 16, size=shape, dtype=np.uint16)
        corner = self.rng.random(shape) < 0.2
        return np.where(corner, self.rng.choice(CORNERS_BF16, shape), values).astype(np.uint16)

    async def step(self, read=None, data=None, write=None):
        """One clock, with an access and, one clock later, the data of the read."""
        dut = self.dut
        dut.read_i.value = ACCESS.pack(read) if read else 0
        dut.write_i.value = ACCESS.pack(write) if write else 0
        # Between reads the array's output holds whatever it was: here noise.
        late = self.read_data if self.read_data is not None else self.rng.bytes(self.beat)
        dut.read_data_i.value = int.from_bytes(late.ljust(self.beat, b"\xa5"), "little")
        self.read_data = data
        if write:
            self.due[self.clock + 2] = write
        await RisingEdge(dut.clk_i)
        seen = int(dut.write_o.value)
        expected = self.due.pop(self.clock, None)
        assert (ACCESS.unpack(seen) if seen >> ACCESS.bits - 1 else None) == expected
        if expected:
            word = int(dut.write_data_o.value).to_bytes(self.beat, "little")
            self.written.append((expected, word))
        if int(dut.copy_out_valid_o.value):
            self.copied_out.append(int(dut.copy_out_data_o.value).to_bytes(self.atom, "little"))
        self.popped += int(dut.copy_in_pop_o.value)
        self.macs += int(dut.mac_o.value)
        assert int(dut.busy_o.value) or not 0 < self.clock - self.fed <= LATENCY
        if read or int(dut.splat_i.value):
            self.fed = self.clock
        self.clock += 1

    async def gap(self):
        while self.rng.random() < self.idle:
            await self.step()

    def full(self):
        """Return the most clocks in which two blocks of each way leave the transpose buffer."""
        return 2 * self.ways * self.atom_elems * max(LATENCY, self.rows // self.sets)

    async def settle(self):
        """Wait as `hold` does."""
        await self.step()
        for _ in range(400 + self.full()):
            if not int(self.dut.busy_o.value):
                return
            await self.step()
        raise AssertionError("the lanes stay busy")

    def access(self, kind, last, step_end=0, row=0):
        single = kind in (Kind.SCALAR, Kind.BLOCK, Kind.COPY_IN, Kind.COPY_OUT)
        return {
            "valid": 1,
            "addr": int(self.rng.integers(1 << 32)),
            "kind": kind,
            "all": int(not single),
            "step_end": int(step_end),
            "last": int(last),
            "row": row,
        }

    def some_rows(self):
        """Return how many rows a product has, often all that a beat serves."""
        return self.rows if self.rng.random() < 0.4 else int(self.rng.integers(self.rows)) + 1

    async def passes(self, rows):
        """Wait while the lanes work on a beat for so many rows."""
        for _ in range((rows - 1) // self.sets):
            await self.step()

    async def read(self, kind, beats, period=0, row=0, every=None):
        """Read a stream: `beats` uint16[n, elements]."""
        for i, beat in enumerate(beats):
            await self.gap()
            last = i == len(beats) - 1
            ended = period and i % period == period - 1
            access = self.access(kind, last, ended, row)
            access["all"] = access["all"] if every is None else every
            await self.step(access, np.ascontiguousarray(beat).tobytes())

    async def scalars(self, values, row=0, wide=None):
        """Fill the scalar buffer of a row from its start."""
        wide = self.beat > self.atom and bool(self.rng.integers(2)) if wide is None else wide
        size = self.elems if wide else self.atom_elems
        padded = np.resize(self.bits(DEPTH), -(-len(values) // size) * size)
        padded[: len(values)] = values
        await self.read(Kind.SCALAR, padded.reshape(-1, size), row=row, every=int(wide))

    async def left(self, a):
        """Fill the scalar buffer with the rows of a left operand."""
        for row, values in enumerate(a):
            await self.scalars(values, row)

    async def results(self, rows, width, f32):
        """Write the accumulators of some rows; return them, [rows, width x elements]."""
        return np.vstack([await self.result(width, f32, row) for row in range(rows)])

    async def result(self, width, f32, row=0):
        """Write the accumulators; return what reached the array, [1, width x elements]."""
        await self.settle()
        self.written.clear()
        count = width * (2 if f32 else 1)
        accesses = [
            self.access(Kind.F32 if f32 else Kind.BF16, i == count - 1, row=row)
            for i in range(count)
        ]
        for access in accesses:
            await self.gap()
            await self.step(write=access)
        for _ in range(3):
            await self.step()
        assert [access for access, _ in self.written] == accesses
        data = b"".join(word for _, word in self.written)
        return np.frombuffer(data, np.uint32 if f32 else np.uint16).reshape(1, -1)

    async def load(self, init, width):
        """Load the initial values of a product's tile, a row each, and wait until they settled."""
        if init is None:
            return
        kind = Kind.LOAD if init.dtype == np.uint16 else Kind.LOAD_F32
        for row, values in enumerate(init):
            await self.read(kind, values.view(np.uint16).reshape(-1, self.elems), row=row)
            assert width == len(values) // self.elems
        await self.settle()

    def random_init(self, rows, width):
        columns = (rows, width * self.elems)
        match int(self.rng.integers(3)):
            case 0:
                return None
            case 1:
                return np.repeat(self.bits(1, columns[1]), rows, axis=0)
            case _:
                words = self.rng.choice(CORNERS_F32, columns).astype(np.uint32)
                noise = self.rng.integers(1 << 32, size=columns, dtype=np.uint32)
                return np.where(self.rng.random(columns) < 0.5, words, noise).view(np.float32)

    def expect(self, result, a, b, init, f32):
        start_value = init[0] if init is not None and init.dtype == np.uint16 else init
        expected = matmul(a, b, start_value, out_f32=f32)
        if f32:
            expected = expected.view(np.uint32)
        assert np.array_equal(result, expected)


@cocotb.test()
@cocotb.parametrize(idle=(0.0, 0.5))
async def products(dut, idle):
    """Rows of A x B tile by tile, with every initial value and both results."""
    tb = TB(dut, idle)
    await tb.begin()
    for _ in range(12):
        inner, width = (int(tb.rng.choice(x)) for x in ((1, 2, 17, 32, 33, 64), (1, 2, 3, GROUPS)))
        rows = tb.some_rows()
        a, b = tb.bits(rows, inner), tb.bits(inner, width * tb.elems)
        init, f32 = tb.random_init(rows, width), bool(tb.rng.integers(2))
        dut.zero_init_i.value = int(init is None)
        await tb.left(a)
        await tb.load(init, width)
        await tb.settle()
        before = tb.macs
        # Beats of a step must be LaneLatency apart from those of the next one.
        for k in range(inner):
            for i, beat in enumerate(b[k].reshape(width, tb.elems)):
                await tb.gap()
                last = k == inner - 1 and i == width - 1
                access = tb.access(Kind.MAC, last, i == width - 1, rows - 1)
                await tb.step(access, beat.tobytes())
                await tb.passes(rows)
            for _ in range(LATENCY - width * -(-rows // tb.sets)):
                await tb.step()
        result = await tb.results(rows, width, f32)
        tb.expect(result, a, b, init, f32)
        assert tb.macs - before == inner * width * rows


@cocotb.test()
async def products_follow_the_scalars_at_once(dut):
    """More than one access of scalars: no wait between the last of them and the first product."""
    tb = TB(dut, 0.0)
    await tb.begin()
    dut.zero_init_i.value = 1
    for number in range(6):
        wide = tb.beat > tb.atom and bool(number % 2)
        size = tb.elems if wide else tb.atom_elems
        inner = int(tb.rng.choice([size + 1, 2 * size]))
        a, b = tb.bits(1, inner), tb.bits(inner, GROUPS * tb.elems)
        await tb.scalars(a[0], wide=wide)
        await tb.read(Kind.MAC, b.reshape(-1, tb.elems), GROUPS)
        tb.expect(await tb.result(GROUPS, False), a, b, None, False)


def has_integers(weights):
    """Return whether the device of this build has such weights."""
    rows = STYLES[os.environ.get("STYLE", "per_bank")][2]
    return integers.WEIGHTS_PER_LANE[weights] <= rows


async def stream(tb, kind, beats, period, slots, more):
    """Read beats of one kind; those of a step are LaneLatency apart from those of the next one."""
    for number, beat in enumerate(beats.reshape(-1, tb.elems), 1):
        await tb.gap()
        ended = number % period == 0
        last = number * tb.elems == beats.size and not more
        await tb.step(tb.access(kind, last, ended, slots - 1), beat.tobytes())
        await tb.passes(slots)
        if ended:
            for _ in range(LATENCY - period * -(-slots // tb.sets)):
                await tb.step()


async def product_by_integers(tb, weights):
    """Multiply by random integers, sums of groups and their scales in turns; check the results."""
    each = integers.WEIGHTS_PER_LANE[weights]
    rows = int(tb.rng.integers(tb.rows // each)) + 1
    group, count = int(tb.rng.choice((1, 3, 16))), int(tb.rng.integers(3)) + 1
    inner = group * (count - 1) + int(tb.rng.integers(group)) + 1
    width = each * (int(tb.rng.integers(GROUPS // each)) + 1)
    half = 1 << integers.LANE_BITS // each - 1
    a, scales = tb.bits(rows, inner), tb.bits(count, width * tb.elems)
    b = tb.rng.integers(-half, half, (inner, width * tb.elems)).astype(np.int8)
    init, f32 = np.repeat(tb.bits(1, width * tb.elems), rows, axis=0), bool(tb.rng.integers(2))
    tb.dut.weights_i.value = int(weights)
    await tb.left(a)
    await tb.load(init, width)
    for number in range(count):
        words = integers.pack(b[number * group :][:group], weights, tb.elems)
        await stream(tb, Kind.MAC, words, width // each, rows * each, more=True)
        await tb.settle()
        three = np.tile(scales[number], 3)
        await stream(tb, Kind.SCALE, three, width, rows * each, more=number < count - 1)
        await tb.settle()
    result = await tb.results(rows, width, f32)
    expected = golden_quantized.matmul(a, b, scales, group, init[0], out_f32=f32)
    assert np.array_equal(result, expected.view(np.uint32) if f32 else expected)


@cocotb.test(skip=not any(map(has_integers, INTEGERS)))
@cocotb.parametrize(idle=(0.0, 0.5))
async def products_by_integers(dut, idle):
    """Between products by bfloat16: nothing of an operand's kind stays behind."""
    tb = TB(dut, idle)
    await tb.begin()
    dut.zero_init_i.value = 1
    for weights in 5 * [weights for weights in INTEGERS if has_integers(weights)]:
        await product_by_integers(tb, weights)
        dut.weights_i.value = int(Weights.BF16)
        a, b = tb.bits(1, 3), tb.bits(3, tb.elems)
        await tb.left(a)
        await tb.settle()
        await stream(tb, Kind.MAC, b, 1, 1, more=False)
        tb.expect(await tb.results(1, 1, False), a, b, None, False)


@cocotb.test()
@cocotb.parametrize(idle=(0.0, 0.5))
async def transposed_products(dut, idle):
    """Blocks through the transpose buffer, beat by beat of columns or in turns."""
    tb = TB(dut, idle)
    await tb.begin()
    parts = tb.beat // tb.atom
    for _ in range(6):
        inner = int(tb.rng.choice([1, tb.atom_elems - 1, tb.atom_elems, 2 * tb.atom_elems + 3]))
        inner = min(inner, DEPTH)
        columns = tb.atom_elems * int(tb.rng.integers(1, GROUPS * parts + 1))
        width, rows = -(-columns // tb.elems), tb.some_rows()
        a, b = tb.bits(rows, inner), tb.bits(columns, inner)
        init, f32 = tb.random_init(rows, width), bool(tb.rng.integers(2))
        dut.zero_init_i.value = int(init is None)
        await tb.left(a)
        if init is None:
            await tb.settle()
            for row in range(rows):
                await splat(tb, width, zero=1, row=row)
        await tb.load(init, width)
        before = tb.macs
        firsts, bases = range(0, columns, tb.elems), range(0, inner, tb.atom_elems)
        order = [(column, base) for column in firsts for base in bases]
        if tb.ways > 1:
            order = [(column, base) for base in bases for column in firsts]
        for column, base in order:
            await block(tb, b, column, base, rows)
        result = await tb.results(rows, width, f32)
        assert tb.macs - before == inner * width * rows
        used = None if init is None else init[:, :columns]
        tb.expect(result[:, :columns], a, b.T, used, f32)
        # Columns that are not there keep their initial value, without a product.
        rest = np.zeros((rows, width * tb.elems), np.float32) if init is None else init
        if rest.dtype == np.uint16:
            rest = bf16_to_f32(rest)
        rest = np.ascontiguousarray(rest[:, columns:])
        expected = rest.view(np.uint32) if f32 else to_bf16_bits(rest)
        assert np.array_equal(result[:, columns:], expected)


async def splat(tb, width, zero, negate=0, index=0, row=0):
    """Fill accumulators with one value, without a break."""
    dut = tb.dut
    dut.scalar_index_i.value = index
    await tb.step()
    dut.splat_i.value, dut.splat_zero_i.value, dut.splat_negate_i.value = 1, zero, negate
    dut.splat_row_i.value = row
    for group in range(width):
        dut.splat_group_i.value = group
        await tb.step()
    dut.splat_i.value = 0


async def block(tb, b, column, base, rows):
    """Announce one block of B^T, for some rows of A, and read its atoms."""
    dut = tb.dut
    inner = b.shape[1]
    columns = min(tb.elems, len(b) - column)
    dut.block_group_i.value = column // tb.elems
    for _ in range(100 + tb.full()):
        await tb.step()
        if int(dut.block_room_o.value):
            break
    else:
        raise AssertionError("no room for a block")
    dut.block_open_i.value = 1
    dut.block_row_i.value = rows - 1
    dut.block_atoms_i.value = columns
    dut.block_base_i.value = base
    slices = min(tb.atom_elems, inner - base)
    dut.block_slices_i.value = slices
    await tb.step()
    dut.block_open_i.value = 0
    dut.block_row_i.value = int(tb.rng.integers(tb.rows))
    # What follows the last element in memory is not zero.
    atoms = tb.bits(columns, tb.atom_elems)
    atoms[:, :slices] = b[column : column + columns, base : base + slices]
    if tb.beat > tb.atom and tb.rng.integers(2):
        await tb.read(Kind.BLOCK, atoms.reshape(-1, tb.elems), every=1)
    else:
        await tb.read(Kind.BLOCK, atoms)


#: What the lanes compute, by operation.
OPERATIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


@cocotb.test()
@cocotb.parametrize(idle=(0.0, 0.5), op=("add", "sub", "mul"))
async def elementwise_operations(dut, idle, op):
    """With a beat of B or a scalar on the right."""
    tb = TB(dut, idle)
    await tb.begin()
    for _ in range(12):
        width, scalar = int(tb.rng.integers(1, GROUPS + 1)), bool(tb.rng.integers(2))
        a = tb.bits(width * tb.elems)
        left = a.reshape(width, tb.elems)
        if scalar:
            entries = tb.bits(int(tb.rng.integers(1, DEPTH + 1)))
            index = int(tb.rng.integers(len(entries)))
            b = entries[index]
            await tb.scalars(entries)
            await tb.settle()
            if op != "mul":
                await splat(tb, width, zero=0, negate=int(op == "sub"), index=index)
            dut.scalar_index_i.value = index
            dut.ew_op_i.value, dut.ew_scalar_i.value = (MULS, 2) if op == "mul" else (MAC, 0)
            await tb.settle()
            await tb.read(Kind.EW, left)
        else:
            b = tb.bits(width * tb.elems)
            await tb.read(Kind.LOAD, left)
            await tb.settle()
            dut.ew_op_i.value = MUL if op == "mul" else MAC
            dut.ew_scalar_i.value = int(op == "sub")
            await tb.read(Kind.EW, b.reshape(width, tb.elems))
        result = await tb.result(width, False)
        assert np.array_equal(result[0], elementwise(OPERATIONS[op], a, np.asarray(b)))


@cocotb.test()
@cocotb.parametrize(idle=(0.0, 0.5))
async def operations_of_one_operand(dut, idle):
    """Over what the accumulators hold, without a load before or a wait between tiles."""
    tb = TB(dut, idle)
    await tb.begin()
    dut.ew_op_i.value = RELU
    for _ in range(12):
        width = int(tb.rng.integers(1, GROUPS + 1))
        a = tb.bits(width * tb.elems)
        dut.ew_scalar_i.value = int(tb.rng.integers(3))
        before = tb.macs
        await tb.read(Kind.EW, a.reshape(width, tb.elems))
        result = await tb.result(width, False)
        assert result[0].tolist() == [relu_exact(x) >> 16 for x in a.tolist()]
        assert tb.macs - before == width


@cocotb.test()
@cocotb.parametrize(idle=(0.0, 0.5))
async def copies_pass_through(dut, idle):
    tb = TB(dut, idle)
    await tb.begin()
    out = tb.bits(30, tb.atom_elems)
    await tb.read(Kind.COPY_OUT, out)
    for _ in range(3):
        await tb.step()
    assert tb.copied_out == [atom.tobytes() for atom in out]
    atoms = [tb.rng.bytes(tb.atom) for _ in range(30)]
    for i, atom in enumerate(atoms):
        await tb.gap()
        dut.copy_in_data_i.value = int.from_bytes(atom, "little")
        await tb.step(write=tb.access(Kind.COPY_IN, i == len(atoms) - 1))
    for _ in range(3):
        await tb.step()
    assert tb.popped == len(atoms)
    assert [word[: tb.atom] for _, word in tb.written] == atoms
    assert tb.macs == 0


@cocotb.test()
async def flush_starts_everything_anew(dut):
    """Counters left in mid-stream by a flush do not shift the next product."""
    tb = TB(dut, 0.0)
    await tb.begin()
    dut.zero_init_i.value = 1
    for kind in (Kind.SCALAR, Kind.LOAD, Kind.LOAD_F32, Kind.MAC, Kind.EW):
        for _ in range(int(tb.rng.integers(1, 4))):
            await tb.step(tb.access(kind, last=0), tb.bits(tb.elems).tobytes())
        await tb.step()
        dut.flush_i.value = 1
        await tb.step()
        tb.fed = -100
        dut.flush_i.value = 0
        await tb.step()
        assert not int(dut.busy_o.value)
        a, b = tb.bits(1, 33), tb.bits(33, GROUPS * tb.elems)
        await tb.scalars(a[0])
        await tb.read(Kind.MAC, b.reshape(-1, tb.elems), GROUPS)
        tb.expect(await tb.result(GROUPS, False), a, b, None, False)


#: Several passes for the rows of a beat: `make test` has those of "2 rows in 2 passes".
FULL = ("8 rows in 4 passes",)


@pytest.mark.parametrize(
    "style", [pytest.param(n, marks=pytest.mark.full if n in FULL else ()) for n in STYLES]
)
def test_pim_lane_ctl(style):
    atom, beat, rows, sets, ways = STYLES[style]
    sources = rtl("pim_scalar_buf", "pim_scalar_buf_sim", "pim_transpose_square",
                  "pim_transpose_block_sim", "pim_transpose", "pim_lane", "pim_lanes",
                  "pim_lanes_native_sim", "pim_lane_feed", "pim_lane_result", "pim_lane_steps",
                  "pim_lane_unpack", "pim_lane_rows", "pim_lane_ctl")  # fmt: skip
    params = {"AtomBytes": atom, "BeatBytes": beat, "AccGroups": GROUPS, "ScalarDepth": DEPTH}
    run_bench(
        "pim_lane_ctl",
        sources,
        bench=__file__,
        params=params
        | {
            "LaneLatency": LATENCY,
            "RowsPerBeat": rows,
            "LaneSets": sets,
            "TransposeWays": ways,
        },
        environment={"STYLE": style},
    )
