"""Results of every opcode on every backend, against the golden model and guard bytes.

Descriptors are raw; operands, strides and layouts are written here from the reference of
rtl/README.md, not by the driver or the model.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import exact
from support.random_lists import random_bits
from support.raw import RawDevice

from pimloop.host.common import golden
from pimloop.host.pim.driver import descriptors
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import UNARY_OPCODES, Broadcast, Code, Init, Opcode

GUARD = 0xA5A5
SEEDS = range(6)
Bits = golden.Bits


class Memory:
    """Operands placed one after the other in device memory, guard beats between them."""

    def __init__(self, raw: RawDevice, start: int) -> None:
        self.raw = raw
        self.beat = raw.geometry.beat_bytes
        self.next = start
        self.placed: list[tuple[int, Bits]] = []

    def place(self, words: Bits) -> int:
        """Put 16-bit words behind a guard beat; return their address."""
        guard = np.full(self.beat // 2, GUARD, np.uint16)
        padded = np.full(-(-words.size * 2 // self.beat) * self.beat // 2, GUARD, np.uint16)
        padded[: words.size] = words
        content = np.concatenate([guard, padded, guard])
        self.raw.write_memory(self.next, content)
        address = self.next + self.beat
        self.placed.append((self.next, content))
        self.next += content.nbytes
        return address

    def expect(self, address: int, words: Bits) -> None:
        """From now on these words are expected at an address."""
        for start, content in self.placed:
            offset = (address - start) // 2
            if 0 <= offset < content.size:
                content[offset : offset + words.size] = words
                return
        raise AssertionError(f"0x{address:X} was not placed")

    def check(self) -> None:
        """Compare every placed byte, guards included."""
        for start, content in self.placed:
            got = self.raw.read_memory(start, content.nbytes).view(np.uint16)
            wrong = np.flatnonzero(got != content)
            assert wrong.size == 0, (
                f"{wrong.size} words differ at 0x{start:X}, the first at {wrong[0]}: "
                f"{got[wrong[0]]:04X}, expected {content[wrong[0]]:04X}"
            )


def rows_of(matrix: Bits, stride_words: int) -> Bits:
    """Lay rows `stride_words` apart, guard words between."""
    out = np.full((matrix.shape[0], stride_words), GUARD, np.uint16)
    out[:, : matrix.shape[1]] = matrix
    return out.reshape(-1)


def tiled(matrix: Bits, width: int) -> Bits:
    """Lay a right operand out in column tiles, the last one narrower."""
    parts = [matrix[:, left : left + width] for left in range(0, matrix.shape[1], width)]
    return np.concatenate([part.reshape(-1) for part in parts])


def start(rng: np.random.Generator, geometry: Geometry) -> int:
    """Return a random place with room, often across a bank border."""
    borders = np.arange(1, 4) * geometry.bank_span if not geometry.all_bank else [1 << 20]
    border = int(rng.choice(borders)) if rng.random() < 0.5 else 1 << 22
    return border - int(rng.integers(1, 30)) * geometry.beat_bytes


def initial(
    rng: np.random.Generator, kind: Init, p: int, columns: int, memory: Memory
) -> tuple[golden.Floats, int, int]:
    """Place an initial value; return (it as binary32, address, stride)."""
    if kind == Init.ROW:
        row = random_bits(rng, columns)
        return np.repeat(golden.bf16_to_f32(row)[None], p, 0), memory.place(row), 0
    if kind == Init.F32:
        values = rng.standard_normal((p, columns)).astype(np.float32)
        stride = (columns * 4 // memory.beat + int(rng.integers(0, 3))) * memory.beat
        return values, memory.place(rows_of(values.view(np.uint16), stride // 2)), stride
    return np.zeros((p, columns), np.float32), 0, 0


def run_product(
    raw: RawDevice, rng: np.random.Generator, shape: tuple[int, int, int], opcode: Opcode
) -> None:
    """Run MATMUL or MATMUL_T with random layout and options and compare all memory."""
    g = raw.geometry
    p, q, columns = shape
    transposed = opcode == Opcode.MATMUL_T
    a, b = random_bits(rng, p * q).reshape(p, q), random_bits(rng, q * columns).reshape(q, columns)
    memory = Memory(raw, start(rng, g))
    kind, out_f32 = Init(int(rng.integers(0, 3))), bool(rng.integers(0, 2))
    stride_a = (-(-q * 2 // g.beat_bytes) + int(rng.integers(0, 3))) * g.beat_bytes
    at_a = memory.place(rows_of(a, stride_a // 2))
    stride_b, tile = 0, int(rng.integers(1, g.acc_groups + 1))
    if transposed:
        atom = g.atom_columns
        blocks = -(-q // atom)
        wide = np.full((columns, blocks * atom), GUARD, np.uint16)
        wide[:, :q] = b.T
        if rng.random() < 0.5:
            tile = g.atom_bytes
            stride_b = (blocks + int(rng.integers(0, 3))) * g.atom_bytes
            words = rows_of(wide, stride_b // 2)
        else:
            stride_b, tile = g.atom_bytes, columns * g.atom_bytes
            words = wide.reshape(columns, blocks, atom).transpose(1, 0, 2).reshape(-1)
        at_b = memory.place(words)
    else:
        at_b = memory.place(tiled(b, tile * g.beat_columns))
    padded = -(-columns // g.beat_columns) * g.beat_columns
    init, at_c, stride_c = initial(rng, kind, p, padded, memory)
    row_words = padded * (2 if out_f32 else 1)
    stride_y = (row_words * 2 // g.beat_bytes + int(rng.integers(0, 3))) * g.beat_bytes
    at_y = memory.place(np.full(p * stride_y // 2, GUARD, np.uint16))
    item = descriptors.matmul(
        at_a,
        at_b,
        at_y,
        rows=p,
        inner=q,
        cols=columns,
        stride_a=stride_a,
        stride_b=stride_b,
        stride_y=stride_y,
        tile=tile,
        transposed=transposed,
        init=kind,
        c=at_c,
        stride_c=stride_c,
        out_f32=out_f32,
    )
    assert raw.run([item])[0].code == Code.DONE
    result = init.copy()
    result[:, :columns] = golden.matmul(a, b, init[:, :columns], out_f32=True)
    words = result.view(np.uint16) if out_f32 else golden.to_bf16_bits(result)
    for i in range(p):
        memory.expect(at_y + i * stride_y, words[i])
    memory.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_matmul(raw: RawDevice, seed: int) -> None:
    rng = np.random.default_rng(seed)
    beats = int(rng.integers(1, 40 if raw.geometry.beat_bytes <= 64 else 4))
    shape = (int(rng.integers(1, 7)), int(rng.integers(1, 90)), beats * raw.geometry.beat_columns)
    run_product(raw, rng, shape, Opcode.MATMUL)


@pytest.mark.parametrize("seed", SEEDS)
def test_matmul_t(raw: RawDevice, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    atoms = int(rng.integers(1, 6))
    shape = (int(rng.integers(1, 7)), int(rng.integers(1, 90)), atoms * raw.geometry.atom_columns)
    run_product(raw, rng, shape, Opcode.MATMUL_T)


@pytest.mark.parametrize("opcode", [Opcode.MATMUL, Opcode.MATMUL_T])
def test_deepest_product(raw: RawDevice, opcode: Opcode) -> None:
    rng = np.random.default_rng(7)
    shape = (1, raw.geometry.scalar_depth, raw.geometry.beat_columns)
    run_product(raw, rng, shape, opcode)


@pytest.mark.parametrize("kind", list(Broadcast))
@pytest.mark.parametrize("opcode", [Opcode.ADD, Opcode.SUB, Opcode.MUL])
@pytest.mark.parametrize("in_place", ["no", "a", "b"])
def test_elementwise(raw: RawDevice, opcode: Opcode, kind: Broadcast, in_place: str) -> None:
    g = raw.geometry
    rng = np.random.default_rng([opcode, kind, len(in_place)])
    p, beats = int(rng.integers(1, 70)), int(rng.integers(1, 20 if g.beat_bytes <= 64 else 3))
    columns = beats * g.beat_columns
    memory = Memory(raw, start(rng, g))
    stride_a, stride_b, stride_y = ((beats + int(x)) * g.beat_bytes for x in rng.integers(0, 3, 3))
    a = random_bits(rng, p * columns).reshape(p, columns)
    b_shape = {
        Broadcast.NONE: (p, columns),
        Broadcast.ROW: (1, columns),
        Broadcast.COLUMN: (p, 1),
        Broadcast.SCALAR: (1, 1),
    }[kind]
    b = random_bits(rng, b_shape[0] * b_shape[1]).reshape(b_shape)
    at_a = memory.place(rows_of(a, stride_a // 2))
    at_b = memory.place(rows_of(b, stride_b // 2) if kind == Broadcast.NONE else b.reshape(-1))
    if in_place == "a":
        at_y, stride_y = at_a, stride_a
    elif in_place == "b" and kind == Broadcast.NONE:
        at_y, stride_y = at_b, stride_b
    else:
        at_y = memory.place(np.full(p * stride_y // 2, GUARD, np.uint16))
    item = descriptors.elementwise(
        opcode,
        at_a,
        at_b,
        at_y,
        rows=p,
        cols=columns,
        stride_a=stride_a,
        stride_b=stride_b,
        stride_y=stride_y,
        broadcast=kind,
    )
    assert raw.run([item])[0].code == Code.DONE
    result = golden.elementwise({5: np.add, 6: np.subtract, 7: np.multiply}[opcode], a, b)
    for i in range(p):
        memory.expect(at_y + i * stride_y, result[i])
    memory.check()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("opcode", UNARY_OPCODES, ids=lambda opcode: opcode.name)
def test_unary(raw: RawDevice, opcode: Opcode, in_place: bool) -> None:
    """Every bfloat16 there is, in rows with gaps; words about a right operand are not read."""
    g = raw.geometry
    rng = np.random.default_rng([opcode, in_place])
    columns = (1 + 2 * int(rng.integers(0, 10 if g.beat_bytes <= 64 else 2))) * g.beat_columns
    p = -(-(1 << 16) // columns)
    memory = Memory(raw, start(rng, g))
    stride_a, stride_y = (2 * columns + int(x) * g.beat_bytes for x in rng.integers(0, 3, 2))
    a = np.resize(rng.permutation(1 << 16).astype(np.uint16), (p, columns))
    at_a = memory.place(rows_of(a, stride_a // 2))
    at_y = at_a
    if in_place:
        stride_y = stride_a
    else:
        at_y = memory.place(np.full(p * stride_y // 2, GUARD, np.uint16))
    item = descriptors.unary(
        opcode, at_a, at_y, rows=p, cols=columns, stride_a=stride_a, stride_y=stride_y
    )
    for name in ("addr_b", "stride_b", "inner", "tile", "host_lo", "host_hi"):
        item[name] = int(rng.integers(0, 1 << 32))
    assert raw.run([item])[0].code == Code.DONE
    result = np.array([exact.UNARY[opcode.name](int(x)) for x in a.flat], np.uint16)
    for i, row in enumerate(result.reshape(p, columns)):
        memory.expect(at_y + i * stride_y, row)
    memory.check()


def test_special_values_against_integers(raw: RawDevice) -> None:
    """Every pair of corner values through every operation, checked without floating point."""
    g = raw.geometry
    corners = [0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x0080, 0x3F80, 0xBF81, 0x7F7F, 0xFF7F]
    corners += [0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF, 0x1F80, 0x2080, 0x5F80]
    pairs = [(x, y) for x in corners for y in corners]
    columns = -(-len(pairs) // g.beat_columns) * g.beat_columns
    left, right = np.zeros((2, columns), np.uint16)
    left[: len(pairs)], right[: len(pairs)] = zip(*pairs, strict=True)
    at_a, at_b, at_y = 0, 1 << 20, 2 << 20
    raw.write_memory(at_a, left)
    raw.write_memory(at_b, right)
    for opcode in (Opcode.ADD, Opcode.SUB, Opcode.MUL):
        item = descriptors.elementwise(
            opcode, at_a, at_b, at_y, rows=1, cols=columns, stride_a=0, stride_y=0
        )
        assert raw.run([item])[0].code == Code.DONE
        got = raw.read_memory(at_y, columns * 2).view(np.uint16)
        for (x, y), result in zip(pairs, got.tolist(), strict=False):
            steps = {
                Opcode.ADD: (0x3F80, y, x << 16),
                Opcode.SUB: (0xBF80, y, x << 16),
                Opcode.MUL: (x, y, 0x80000000),
            }
            expected = exact.to_bf16(exact.fma(*steps[opcode]))
            assert result == expected, f"{opcode.name} {x:04X} {y:04X}"


@pytest.mark.parametrize("opcode", [Opcode.MATMUL, Opcode.MATMUL_T])
def test_products_of_special_values_against_integers(raw: RawDevice, opcode: Opcode) -> None:
    g = raw.geometry
    rng = np.random.default_rng(3)
    p, q = 4, 5
    columns = g.beat_columns if opcode == Opcode.MATMUL else g.atom_columns
    a, b = rng.integers(0, 1 << 16, (p, q)), rng.integers(0, 1 << 16, (q, columns))
    a[0], b[:, :4] = 0x0001, 0x3F00  # sums of halves of the smallest subnormal
    a[1, :2] = 0x7F7F, 0xFF7F
    beat = g.beat_columns
    wide = rows_of(a.astype(np.uint16), beat)
    at_a, at_b, at_y = 0, 1 << 20, 2 << 20
    raw.write_memory(at_a, wide)
    transposed = opcode == Opcode.MATMUL_T
    words = rows_of(b.T.astype(np.uint16), g.atom_columns) if transposed else b.astype(np.uint16)
    raw.write_memory(at_b, words)
    item = descriptors.matmul(
        at_a,
        at_b,
        at_y,
        rows=p,
        inner=q,
        cols=columns,
        stride_a=g.beat_bytes,
        stride_b=g.atom_bytes,
        stride_y=2 * g.beat_bytes,
        tile=g.atom_bytes if transposed else 1,
        transposed=transposed,
        out_f32=True,
    )
    assert raw.run([item])[0].code == Code.DONE
    got = raw.read_memory(at_y, p * 2 * g.beat_bytes).view(np.uint32).reshape(p, beat)
    expected = [
        [exact.dot(a[i].tolist(), b[:, j].tolist()) for j in range(columns)] for i in range(p)
    ]
    assert got[:, :columns].tolist() == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_copies(raw: RawDevice, seed: int) -> None:
    """Both directions with random strides; bytes between the rows stay as they were."""
    rng = np.random.default_rng(200 + seed)
    rows, lines = int(rng.integers(1, 40)), int(rng.integers(1, 90))
    gaps = rng.integers(0, 4, 2)
    row_bytes = lines * 64
    host_stride, device_stride = (row_bytes + int(gap) * 64 for gap in gaps)
    data = rng.integers(0, 256, (rows, row_bytes), dtype=np.uint8)
    address = start(rng, raw.geometry) // 64 * 64
    size = rows * device_stride
    raw.write_memory(address - 64, np.full(size + 128, 0xA5, np.uint8))
    source, target = 2 << 20, 4 << 20
    area = raw.buffer[source : source + rows * host_stride].reshape(rows, host_stride)
    area[:] = 0x5A
    area[:, :row_bytes] = data
    raw.buffer[target : target + rows * host_stride + 64] = 0xA5
    words = {
        "rows": rows,
        "row_bytes": row_bytes,
        "host_stride": host_stride,
        "device_stride": device_stride,
    }
    statuses = raw.run(
        [
            descriptors.copy_in(raw.base + source, address, **words),
            descriptors.copy_out(raw.base + target, address, **words),
        ]
    )
    assert {status.code for status in statuses} == {Code.DONE}
    inside = np.full((rows, device_stride), 0xA5, np.uint8)
    inside[:, :row_bytes] = data
    whole = np.concatenate([np.full(64, 0xA5), inside.reshape(-1), np.full(64, 0xA5)])
    assert (raw.read_memory(address - 64, size + 128) == whole).all()
    outside = np.full((rows, host_stride), 0xA5, np.uint8)
    outside[:, :row_bytes] = data
    assert (raw.buffer[target : target + rows * host_stride] == outside.reshape(-1)).all()
    assert (raw.buffer[target + rows * host_stride :][:64] == 0xA5).all()
