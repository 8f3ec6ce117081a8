"""Layouts against index formulas, the allocator against a map of bytes, lists word by word."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_devices import DEPTH, plain, small_device, small_geometry

from pimloop.host.common import golden
from pimloop.host.pim.driver import OutOfDeviceMemoryError, PimDriver, descriptors, layout
from pimloop.host.pim.driver.descriptors import DescriptorList
from pimloop.host.pim.driver.errors import DriverError
from pimloop.host.pim.driver.memory import Block, DeviceMemory, HostArena, joined
from pimloop.host.pim.driver.store import TensorStore
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import CONTROL_FIELDS, DESCRIPTOR, Broadcast, Code, Init, Opcode

GEOMETRIES = [small_geometry("per_bank"), small_geometry("all_bank")]
STYLES = pytest.mark.parametrize("geometry", GEOMETRIES, ids=("per_bank", "all_bank"))


# ---- layouts -----------------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(1, 12))
def test_pieces_follow_each_other(total: int, step: int) -> None:
    pieces = list(layout.split(total, step))
    assert [i for start, size in pieces for i in range(start, start + size)] == list(range(total))
    assert all(size == step for _, size in pieces[:-1])
    assert all(0 < size <= step for _, size in pieces)


@STYLES
@pytest.mark.parametrize("q", [1, DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH + 5])
@pytest.mark.parametrize("r", [1, 31, 33, 64, 128, 129, 200])
def test_tiles(geometry: Geometry, q: int, r: int) -> None:
    """Element (k, j): behind earlier pieces of k, in its piece behind earlier tiles, by rows."""
    matrix = plain(1, q, r)
    columns = -(-r // geometry.beat_columns) * geometry.beat_columns
    width = min(columns, geometry.acc_groups * geometry.beat_columns)
    memory = np.concatenate([part.ravel() for part in layout.tiles(matrix, columns, geometry)])
    assert memory.size == q * columns
    seen = np.zeros(memory.size, bool)
    for k in range(q):
        piece = k // DEPTH * DEPTH
        inner = min(DEPTH, q - piece)
        for j in range(columns):
            tile = j // width * width
            own = min(width, columns - tile)
            place = piece * columns + inner * tile + (k - piece) * own + j - tile
            wanted = golden.to_bf16_bits(matrix[k, j : j + 1])[0] if j < r else 0
            assert memory[place] == wanted, (k, j)
            seen[place] = True
    assert seen.all()
    assert layout.tile_beats(columns, geometry) == width // geometry.beat_columns


@STYLES
@pytest.mark.parametrize("q", [1, 15, 16, 17, 32, 33])
@pytest.mark.parametrize("r", [1, 15, 17, 40])
def test_blocks(geometry: Geometry, q: int, r: int) -> None:
    """Element (k, j): block k / atom, in it the atom of column j."""
    atom = geometry.atom_columns
    rows = plain(1, r, q)
    columns = -(-r // atom) * atom
    memory = np.concatenate([part.ravel() for part in layout.blocks(rows, columns, geometry)])
    assert memory.size == -(-q // atom) * columns * atom
    expected = np.zeros_like(memory)
    for k in range(q):
        for j in range(r):
            place = k // atom * columns * atom + j * atom + k % atom
            expected[place] = golden.to_bf16_bits(rows[j, k : k + 1])[0]
    assert (memory == expected).all()


@STYLES
def test_rows_are_padded_to_a_beat(geometry: Geometry) -> None:
    beat = geometry.beat_columns
    for columns, beats in ((1, 1), (beat - 1, 1), (beat, 1), (beat + 1, 2), (3 * beat, 3)):
        assert layout.row_stride(columns, geometry) == beats * geometry.beat_bytes
        assert layout.row_stride(columns, geometry, 4) == 2 * beats * geometry.beat_bytes


# ---- device memory -----------------------------------------------------------------------------


class ByteMap:
    """The allocator's rules over a map of granules, the plain way."""

    def __init__(self, geometry: Geometry) -> None:
        self.granule = max(geometry.beat_bytes, 64)
        self.used = np.zeros(geometry.capacity // self.granule, bool)
        self.bank = geometry.bank_span // self.granule
        page = geometry.row_bytes * geometry.banks if geometry.all_bank else self.granule
        self.page = page // self.granule
        self.groups = 1 if geometry.all_bank else geometry.bank_groups
        self.row = 0 if geometry.all_bank else geometry.row_bytes // self.granule

    def fits(self, nbytes: int) -> tuple[int, list[int]]:
        """Return the granules that `nbytes` take and every place where they are free."""
        size = -(-nbytes // self.granule)
        free = [
            at for at in range(len(self.used) - size + 1) if not self.used[at : at + size].any()
        ]
        return size, free

    def low(self, nbytes: int) -> int | None:
        """Take the lowest place; per_bank: of those at a row, of these in one bank, if any.

        Those in one bank are taken by bank, of the first half of the bank groups first.
        """
        size, free = self.fits(nbytes)
        rows = self.at_rows(free)
        inside = [at for at in rows if at // self.bank == (at + size - 1) // self.bank]
        inside.sort(key=self.in_second_half)
        places = inside or rows or free
        return self.take(places[0], size) if places else None

    def high(self, nbytes: int, avoid: set[int]) -> int | None:
        """Take the highest place in one bank not avoided, else in one bank, else anywhere.

        Of the second half of the bank groups first.

        Within those of one bank, per_bank takes the highest at a row; all_bank moves the highest
        down, as far as all is free, to where it begins at a page or is within one.
        """
        size, free = self.fits(nbytes)
        inside = [at for at in free if at // self.bank == (at + size - 1) // self.bank]
        inside.sort(key=self.in_second_half)
        for choice in ([at for at in inside if at // self.bank not in avoid], inside):
            if choice:
                rows = self.at_rows(choice)
                return self.take(rows[-1] if rows else self.in_pages(choice, size), size)
        return self.take(free[-1], size) if free else None

    def in_second_half(self, at: int) -> bool:
        """Whether the bank of a place is in the second half of the bank groups."""
        return 2 * (at // self.bank % self.groups) >= self.groups

    def at_rows(self, places: list[int]) -> list[int]:
        """Return the places that begin at a row of a bank; none in the all_bank style."""
        return [at for at in places if self.row and at % self.row == 0]

    def in_pages(self, places: list[int], size: int) -> int:
        at = places[-1]
        while at in places:
            last = at + size - 1
            if at % self.page == 0 if size >= self.page else at // self.page == last // self.page:
                return at
            at -= 1
        return places[-1]

    def take(self, at: int, size: int) -> int:
        self.used[at : at + size] = True
        return at * self.granule

    def free(self, block: Block) -> None:
        at = block.address // self.granule
        self.used[at : at + block.nbytes // self.granule] = False

    def ranges(self) -> tuple[tuple[int, int], ...]:
        edges = np.flatnonzero(np.diff(np.concatenate([[True], self.used, [True]]).astype(int)))
        pairs = edges.reshape(-1, 2) * self.granule
        return tuple((int(start), int(end)) for start, end in pairs)


SIZES = st.one_of(st.integers(1, 700), st.sampled_from([4096, 4095, 4097, 3000, 8192]))
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["low", "high", "high", "free", "free"]),
        SIZES,
        st.sets(st.integers(0, 3), max_size=4),
        st.integers(0, 99),
    ),
    min_size=5,
    max_size=40,
)


@pytest.mark.parametrize(
    ("style", "row_bytes", "groups"),
    [("per_bank", 8192, 4), ("per_bank", 1024, 2), ("per_bank", 512, 1), ("all_bank", 2048, 4)],
)
@given(actions=ACTIONS)
def test_the_allocator_follows_its_rules(
    style: str, row_bytes: int, groups: int, actions: list[tuple[str, int, set[int], int]]
) -> None:
    small = small_geometry(style, 4 * 4096)
    geometry = replace(small, row_bytes=row_bytes, bank_groups=groups)
    memory, plainly = DeviceMemory(geometry), ByteMap(geometry)
    blocks: list[Block] = []
    for action, nbytes, avoid, pick in actions:
        if action == "free":
            if blocks:
                block = blocks.pop(pick % len(blocks))
                memory.free(block)
                plainly.free(block)
        else:
            expected = plainly.low(nbytes) if action == "low" else plainly.high(nbytes, avoid)
            if expected is None:
                with pytest.raises(OutOfDeviceMemoryError) as caught:
                    memory.allocate_low(nbytes) if action == "low" else memory.allocate_high(
                        nbytes, avoid
                    )
                largest = max((end - start for start, end in plainly.ranges()), default=0)
                assert f"{memory.free_bytes} free (largest free range {largest})" in str(
                    caught.value
                )
                continue
            block = (
                memory.allocate_low(nbytes)
                if action == "low"
                else memory.allocate_high(nbytes, avoid)
            )
            size = -(-nbytes // plainly.granule) * plainly.granule
            assert block == Block(expected, size)
            span = geometry.bank_span
            assert list(memory.banks_of(block)) == sorted(
                {at // span for at in range(block.address, block.end)}
            )
            blocks.append(block)
        assert memory.free_ranges == plainly.ranges()
        used = sum(block.nbytes for block in blocks)
        assert (memory.used_bytes, memory.free_bytes) == (used, geometry.capacity - used)


@STYLES
def test_ranges_that_fit_exactly_are_taken(geometry: Geometry) -> None:
    """Between two blocks, at the start, at the end; by both ways to allocate."""
    size = 4 * geometry.beat_bytes
    for start in (0, size, geometry.capacity - size):
        for take in (DeviceMemory.allocate_low, DeviceMemory.allocate_high):
            memory = DeviceMemory(geometry)
            hole = memory.reserve(Block(start, size))
            for free, end in memory.free_ranges:
                memory.reserve(Block(free, end - free))
            memory.free(hole)
            assert take(memory, size) == hole
            assert memory.free_bytes == 0
            memory.free(hole)
            with pytest.raises(OutOfDeviceMemoryError):
                take(memory, size + 1)


def test_reserved_ranges() -> None:
    memory = DeviceMemory(small_geometry("per_bank", 4 * 4096))
    middle = memory.reserve(Block(4096, 128))
    assert memory.free_ranges == ((0, 4096), (4224, 16384))
    for taken in (Block(4096, 64), Block(4032, 128), Block(4160, 128), Block(0, 8192)):
        with pytest.raises(OutOfDeviceMemoryError, match=f"0x{taken.address:X}"):
            memory.reserve(taken)
    memory.reserve(Block(0, 4096))
    memory.reserve(Block(4224, 16384 - 4224))
    assert memory.free_bytes == 0
    memory.free(middle)
    assert memory.free_ranges == ((4096, 4224),)
    with pytest.raises(DriverError, match="not allocated"):
        memory.free(Block(0, 64))  # a part of one


def test_trials_and_restrictions_leave_memory_as_it_was() -> None:
    memory = DeviceMemory(small_geometry("per_bank", 4 * 4096))
    kept = memory.allocate_low(100)
    before = memory.free_ranges
    with memory.trial() as taken:
        block = memory.allocate_high(64)
        memory.free(kept)
        assert taken == [block]
    assert memory.free_ranges == before
    with memory.restricted(((8192, 8320),)):
        assert memory.allocate_low(64) == Block(8192, 64)
        assert memory.allocate_high(64) == Block(8256, 64)
        with pytest.raises(OutOfDeviceMemoryError):
            memory.allocate_low(64)
    assert memory.free_ranges == before
    with pytest.raises(DriverError):
        memory.free(Block(8192, 64))
    memory.free(kept)
    assert memory.free_ranges == ((0, 16384),)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=8))
def test_joined_blocks_cover_the_same_addresses(pairs: list[tuple[int, int]]) -> None:
    blocks = [Block(start, size) for start, size in pairs]
    cover = {at for block in blocks for at in range(block.address, block.end)}
    blocks_joined = joined(blocks)
    assert {at for block in blocks_joined for at in range(block.address, block.end)} == cover
    assert sum(block.nbytes for block in blocks_joined) == len(cover)
    assert all(
        block.end < following.address for block, following in itertools.pairwise(blocks_joined)
    )


def test_staging_memory() -> None:
    arena = HostArena(4096, 512)
    assert [arena.take(n) for n in (64, 1, 65)] == [4096, 4160, 4224]
    assert arena.room == 512 - 256
    arena.clear()
    assert (arena.room, arena.take(512), arena.room) == (512, 4096, 0)


# ---- where tensors lie -------------------------------------------------------------------------


@STYLES
@pytest.mark.parametrize("shape", [(), (5,), (3, 40), (7, 1), (2, 3, 33), (2, 16, 40), (3, 16, 1)])
@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_sizes_of_tensors(geometry: Geometry, shape: tuple[int, ...], dtype: str) -> None:
    """Rows of whole beats, a bias' granule at the end, whole atoms of rows for a transposed use."""
    granule = 2 * geometry.beat_columns
    itemsize = {"bf16": 2, "f32": 4}[dtype]
    beat, atom = geometry.beat_columns, geometry.atom_columns
    last = shape[-1] if shape else 1
    rows = int(np.prod(shape[:-1], dtype=int))
    for packed in (True, False):
        tensor = TensorStore(geometry, granule).tensor(shape, dtype=dtype, packed=packed)  # type: ignore[arg-type]
        assert (tensor.shape, tensor.dtype) == (shape, dtype)
        assert tensor.packed == (packed and last == 1 and rows > 1)
        assert (tensor.rows, tensor.columns, tensor.size) == (rows, last, rows * last)
        lines, width = (1, rows) if tensor.packed else (rows, last)
        stride = -(-width // beat) * beat * itemsize
        assert tensor.stride == stride
        spare = 0
        if len(shape) > 1 and not tensor.packed:
            spare = -shape[-2] % atom
            if last == 1:
                spare = max(spare, -rows % atom)
        widest = max(stride, -(-width // granule) * granule * itemsize)
        wanted = (lines + spare - 1) * stride + widest
        assert tensor.nbytes == -(-wanted // geometry.beat_bytes) * geometry.beat_bytes
        assert tensor.address % geometry.beat_bytes == 0


def test_spare_rows_are_kept_where_they_are_cheap() -> None:
    """Up to 64 KiB behind a tensor of (1, columns): 31 spare rows of 1,056 elements, not more."""
    geometry = small_geometry("per_bank", 1 << 20)
    store = TensorStore(geometry, geometry.beat_columns)
    assert store.tensor((1, 1056)).nbytes == 32 * 1056 * 2
    assert store.tensor((1, 1057)).nbytes == 1088 * 2


@STYLES
@pytest.mark.parametrize(("q", "r"), [(1, 1), (16, 16), (17, 33), (70, 130)])
def test_sizes_of_matrices(geometry: Geometry, q: int, r: int) -> None:
    granule = 2 * geometry.beat_columns
    store = TensorStore(geometry, granule)
    tiled = store.matrix((q, r), "MATMUL")
    assert (tiled.shape, tiled.layout) == ((q, r), "tiled")
    assert tiled.columns == -(-r // granule) * granule
    assert tiled.nbytes == q * tiled.columns * 2
    assert tiled.address == 0  # weights from the first bank upward
    blocked = store.matrix((q, r), "MATMUL_T")
    atom = geometry.atom_columns
    assert (blocked.layout, blocked.columns) == ("blocked", -(-r // atom) * atom)
    size = -(-q // atom) * atom * blocked.columns * 2
    assert blocked.nbytes == -(-size // geometry.beat_bytes) * geometry.beat_bytes
    start = geometry.beat_bytes if geometry.all_bank else geometry.row_bytes
    assert blocked.address == -(-tiled.nbytes // start) * start


def test_operands_and_results_lie_in_banks_of_their_own() -> None:
    """Two streams in one bank close each other's rows; with four banks all three have one."""
    driver = PimDriver(small_device("per_bank"))
    span = driver.geometry.bank_span

    def bank(tensor: object) -> int:
        return tensor.address // span  # type: ignore[attr-defined]

    a, column = driver.upload(plain(1, 70, 40)), driver.upload(plain(2, 70, 1))
    matrix = driver.load_matrix(plain(3, 40, 40))
    assert (bank(a), bank(matrix)) == (3, 0)
    y = driver.matmul(a, matrix)
    assert len({bank(a), bank(matrix), bank(y)}) == 3
    z = driver.elementwise("add", a, y)
    assert len({bank(a), bank(y), bank(z)}) == 3
    w = driver.elementwise("mul", a, column)
    assert bank(w) != bank(a)
    v = driver.elementwise("mul", column, column)
    assert bank(v) != bank(column)
    u = driver.elementwise("add", column, driver.upload(plain(4, 33)))
    assert bank(u) != 3  # the row of ones that widens the column lies there


# ---- descriptors -------------------------------------------------------------------------------


def words(descriptor: np.ndarray) -> dict[str, int]:
    """Return the fields of a descriptor that are not 0, its control word split."""
    fields = {name: int(descriptor[name]) for name in DESCRIPTOR.names}
    control = fields.pop("control")
    for name, (low, width) in CONTROL_FIELDS.items():
        fields[name] = control >> low & (1 << width) - 1
    return {name: value for name, value in fields.items() if value}


HOST = 0x12_3456_7840


def test_words_of_copies() -> None:
    sizes = {"rows": 3, "row_bytes": 128, "host_stride": 192, "device_stride": 256}
    common = {"host_lo": 0x3456_7840, "host_hi": 0x12, "rows": 3, "inner": 128}
    inward = {"opcode": Opcode.COPY_IN, "addr_y": 64, "stride_a": 192, "stride_y": 256}
    outward = {"opcode": Opcode.COPY_OUT, "addr_a": 64, "stride_a": 256, "stride_y": 192}
    assert words(descriptors.copy_in(HOST, 64, **sizes)) == common | inward
    assert words(descriptors.copy_out(HOST, 64, **sizes)) == common | outward


def test_words_of_products_and_elementwise_operations() -> None:
    sizes = {"rows": 3, "inner": 5, "cols": 32, "stride_a": 64, "stride_y": 128, "tile": 7}
    fields = {**sizes, "addr_a": 256, "addr_b": 512, "addr_y": 1024}
    plainly = descriptors.matmul(256, 512, 1024, **sizes)
    assert words(plainly) == {**fields, "opcode": Opcode.MATMUL}
    full = descriptors.matmul(
        256, 512, 1024, **sizes, transposed=True, stride_b=96, init=Init.F32, c=2048,
        stride_c=320, out_f32=True,
    )  # fmt: skip
    assert words(full) == {
        **fields, "opcode": Opcode.MATMUL_T, "init": Init.F32, "out_f32": 1, "host_lo": 2048,
        "host_hi": 320, "stride_b": 96,
    }  # fmt: skip
    sizes = {"rows": 3, "cols": 32, "stride_a": 64, "stride_y": 128}
    for opcode in (Opcode.ADD, Opcode.SUB, Opcode.MUL):
        descriptor = descriptors.elementwise(
            opcode, 256, 512, 1024, **sizes, broadcast=Broadcast.COLUMN, stride_b=96
        )
        assert words(descriptor) == {
            **sizes, "opcode": opcode, "broadcast": Broadcast.COLUMN, "addr_a": 256,
            "addr_b": 512, "addr_y": 1024, "stride_b": 96,
        }  # fmt: skip
    assert words(descriptors.fence()) == {"opcode": Opcode.FENCE}
    assert (
        descriptors.control_word(Opcode.FENCE, record=True)
        == int(descriptors.control_word(Opcode.FENCE)) | 1 << CONTROL_FIELDS["record"][0]
    )


def test_lists_are_chained() -> None:
    view = np.zeros(5 * 64 + 32, np.uint8)
    address = 0x1_FFFF_FFC0  # the second descriptor lies past 2**33
    chain = DescriptorList(view, address)
    assert (len(chain), chain.room) == (0, 4)
    for i in range(4):
        chain.add(descriptors.fence(), f"fence {i}")
        assert (len(chain), chain.room) == (i + 1, 3 - i)
    chain.finish()
    slots = view[: 5 * 64].view(DESCRIPTOR)
    following = [int(slot["next_lo"]) | int(slot["next_hi"]) << 32 for slot in slots]
    assert following == [address + 64 * (i + 1) for i in range(5)]
    assert words(slots[4].reshape(()))["opcode"] == Opcode.END
    # DONE of a long list has its index in the upper bytes.
    for i in range(5):
        slots["status"][i] = Code.DONE | i << 8
    assert chain.failure() is None
    slots["status"][2] = Code.RANGE | 2 << 8
    slots["status"][3] = Code.PENDING
    assert chain.failure() == (Code.RANGE, 2, "fence 2")
    slots["status"][2] = 0xEE
    assert chain.failure() == (Code.PENDING, 2, "fence 2")
    chain.clear()
    assert (len(chain), chain.room) == (0, 4)
    assert chain.failure() is None


def test_completion_records() -> None:
    view = np.arange(256, dtype=np.uint8)
    record = descriptors.record_at(view, 64)
    assert record.shape == ()
    assert record.tobytes() == view[64 : 64 + record.dtype.itemsize].tobytes()
