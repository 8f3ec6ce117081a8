"""Values of every way through the driver, on devices so small that small shapes meet each limit.

Expected bits come from `pimloop.host.common.golden` a product at a time, with numpy's own
broadcasting; what a device computes with is read back from its memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from support.small_devices import DEPTH, operand, plain, small_device
from test_broadcast import patterns

from pimloop.host.common import golden
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver, ShapeError
from pimloop.host.pim.driver.tensors import DeviceMatrix, DeviceTensor

STYLES = ("per_bank", "all_bank")
OPERATIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply}


@pytest.fixture(params=STYLES)
def device(request: pytest.FixtureRequest) -> ModelDevice:
    return small_device(request.param)


@pytest.fixture
def driver(device: ModelDevice) -> Iterator[PimDriver]:
    """A driver whose memory must all be free again but for what it holds itself."""
    driver = PimDriver(device)
    driver.load_matrix(np.ones((3, 5), np.float32))  # so that nothing under test lies at 0
    before = driver.memory.free_ranges
    yield driver
    assert driver.memory.free_ranges == before


def bits(array: np.ndarray) -> np.ndarray:
    return golden.to_bf16_bits(array)


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """Return the golden product of (..., p, q) by (..., q, r), a matrix at a time."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = np.broadcast_to(a, (*lead, *a.shape[-2:])).reshape(-1, *a.shape[-2:])
    right = np.broadcast_to(b, (*lead, *b.shape[-2:])).reshape(-1, *b.shape[-2:])
    row = None if bias is None else bits(bias)
    parts = [golden.matmul(bits(x), bits(y), row) for x, y in zip(left, right, strict=True)]
    return np.stack(parts).reshape(*lead, a.shape[-2], b.shape[-1])


def check(driver: PimDriver, result: DeviceTensor, expected: np.ndarray, case: object) -> None:
    """Compare a result with bits and free it."""
    got = driver.download(result)
    assert got.shape == expected.shape, case
    wrong = np.argwhere(bits(got) != expected)
    assert not len(wrong), f"{case}: {len(wrong)} of {expected.size} wrong, first at {wrong[0]}"
    result.free()


# ---- batches: every pattern of leading axes ----------------------------------------------------

PAIRS = (
    [
        (a, b)
        for result in ((), (3,), (2, 3), (3, 1, 2))
        for a, b in itertools.product(patterns(result), repeat=2)
    ]
    + [((2, 3, 2), b) for b in patterns((2, 3, 2))]
    + [(a, (2, 3, 2)) for a in patterns((2, 3, 2))]
)


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
def test_products_of_every_pattern_of_leading_axes(driver: PimDriver, transposed: bool) -> None:
    for lead_a, lead_b in dict.fromkeys(PAIRS):
        a, b = plain(1, *lead_a, 3, 4), plain(2, *lead_b, 4, 5)
        with (
            driver.upload(a) as left,
            driver.upload(np.swapaxes(b, -1, -2) if transposed else b) as right,
        ):
            result = driver.matmul(left, right, transpose_b=transposed)
            check(driver, result, matmul(a, b), (lead_a, lead_b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 4, 32), (2, 1, 32, 8)),
        ((2, 1, 4, 32), (2, 3, 32, 8)),
        ((2, 3, 1, 32), (3, 32, 40)),
        ((1, 40), (3, 40, 33)),
        ((3, 2, 70), (3, 70, 70)),
        ((2, 2, 2, 130), (2, 1, 130, 5)),
        ((3, 2, 1), (3, 1, 4)),
        ((3, 4, 1), (1, 1, 1)),
        ((2, 5, 3), (2, 3, 1)),
        ((2, 4, 3), (2, 3, 300)),
    ],
    ids=str,
)
@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
def test_batches(
    driver: PimDriver, a: tuple[int, ...], b: tuple[int, ...], transposed: bool
) -> None:
    left, right = operand(1, *a), operand(2, *b)
    with (
        driver.upload(left) as x,
        driver.upload(np.swapaxes(right, -1, -2) if transposed else right) as y,
    ):
        check(driver, driver.matmul(x, y, transpose_b=transposed), matmul(left, right), (a, b))


# ---- products: every split of the inner dimension, every width ---------------------------------

INNER = [1, 31, 32, 33, DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH, 2 * DEPTH + 33]
COLUMNS = [1, 16, 17, 33, 64, 65, 130]


@pytest.mark.parametrize("q", INNER)
def test_products_of_every_width(driver: PimDriver, q: int) -> None:
    """Resident matrices for both opcodes, tensors, with and without a bias, rounded or not."""
    rows = 3
    for r in COLUMNS:
        a, b, bias = operand(q, rows, q), operand(r, q, r), operand(q + r, r)
        turned = np.ascontiguousarray(b.T)
        expected, biased = matmul(a, b), matmul(a, b, bias)
        with driver.upload(a) as left, driver.upload(bias) as row:
            for opcode, transposed in itertools.product(("MATMUL", "MATMUL_T"), (False, True)):
                source = turned if transposed else b
                with driver.load_matrix(source, transposed=transposed, opcode=opcode) as right:
                    case = (q, r, opcode, transposed)
                    check(driver, driver.matmul(left, right), expected, case)
                    check(driver, driver.matmul(left, right, bias=row), biased, case)
            with driver.upload(b) as right, driver.upload(turned) as right_t:
                check(driver, driver.matmul(left, right, bias=row), biased, (q, r))
                y = driver.matmul(left, right_t, transpose_b=True, bias=row)
                check(driver, y, biased, (q, r))
                sums = golden.matmul(bits(a), bits(b), bits(bias), out_f32=True)
                with driver.matmul(left, right, bias=row, out_f32=True) as wide:
                    assert wide.dtype == "f32"
                    got = driver.download(wide)
                    assert (got.view(np.uint32) == sums.view(np.uint32)).all(), (q, r)


def test_descriptors_of_a_product(driver: PimDriver) -> None:
    """One for each piece of the inner dimension; matrices that follow each other share one."""
    depth = driver.geometry.scalar_depth
    for q, pieces in ((2, 1), (depth, 1), (depth + 1, 2), (2 * depth, 2), (2 * depth + 1, 3)):
        with driver.upload(plain(1, 2, q)) as left, driver.load_matrix(plain(2, q, 3)) as right:
            driver.matmul(left, right).free()
            assert driver.last.descriptors == pieces + 1
            assert driver.last.lists == 1
    for lead_a, lead_b, products in (
        ((2, 3), (), 1),
        ((2, 3), (1, 1), 1),
        ((2, 3), (2, 1), 2),
        ((2, 3), (2, 3), 6),
        ((2, 1), (2, 3), 6),
        ((1, 3), (2, 1), 2),
        ((2, 3), (1, 3), 6),
    ):
        with driver.upload(plain(1, *lead_a, 4, 5)) as left:
            with driver.upload(plain(2, *lead_b, 5, 6)) as right:
                driver.matmul(left, right).free()
            assert driver.last.descriptors == products + 1, (lead_a, lead_b)


# ---- element-wise: every pattern of axes -------------------------------------------------------

WHOLE = [(), (1,), (3,), (2, 3), (DEPTH + 6, 1), (DEPTH + 6, 3), (2, 3, 1), (3, 1, 35), (2, 3, 2)]


@pytest.mark.parametrize("whole", WHOLE, ids=str)
def test_elementwise_of_every_pattern_of_axes(driver: PimDriver, whole: tuple[int, ...]) -> None:
    for shape_a, shape_b in itertools.product(patterns(whole), repeat=2):
        a, b = operand(1, *shape_a), operand(2, *shape_b)
        with driver.upload(a) as left, driver.upload(b) as right, np.errstate(all="ignore"):
            for op, reference in OPERATIONS.items():
                expected = bits(np.asarray(reference(a, b)))
                check(driver, driver.elementwise(op, left, right), expected, (op, shape_a, shape_b))
            assert (bits(driver.download(left)) == bits(a)).all()
            assert (bits(driver.download(right)) == bits(b)).all()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((DEPTH + 6, 300), (DEPTH + 6, 1)),
        ((2, DEPTH, 35), (2, DEPTH, 1)),
        ((2, 3, 300), (2, 1, 300)),
        ((2 * DEPTH + 3, 1), (300,)),
        ((3, 300), (1, 300)),
        ((300,), (2, 3, 1)),
    ],
    ids=str,
)
def test_elementwise_past_the_limits(
    driver: PimDriver, a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    left, right = operand(3, *a), operand(4, *b)
    with driver.upload(left) as x, driver.upload(right) as y, np.errstate(all="ignore"):
        for op, reference in OPERATIONS.items():
            check(driver, driver.elementwise(op, x, y), bits(reference(left, right)), (op, a, b))
            check(driver, driver.elementwise(op, y, x), bits(reference(right, left)), (op, b, a))


@pytest.mark.parametrize(
    ("a", "b", "descriptors"),
    [
        ((4, 40), (4, 40), 1),
        ((4, 40), (40,), 1),
        ((4, 40), (), 1),
        ((4, 40), (4, 1), 1),
        ((DEPTH, 40), (DEPTH, 1), 1),
        ((DEPTH + 1, 40), (DEPTH + 1, 1), 2),
        ((2, 3, 40), (2, 1, 40), 2),
        ((2, 3, 40), (3, 40), 2),
        ((DEPTH + 6, 1), (DEPTH + 6, 1), 1),
        ((5, 1), (1, 1), 1),
    ],
    ids=str,
)
def test_descriptors_of_an_elementwise_operation(
    driver: PimDriver, a: tuple[int, ...], b: tuple[int, ...], descriptors: int
) -> None:
    with driver.upload(plain(1, *a)) as left, driver.upload(plain(2, *b)) as right:
        for x, y in ((left, right), (right, left)):
            driver.elementwise("mul", x, y).free()
            assert driver.last.descriptors == descriptors + 1  # and END
            assert driver.last.lists == 1


def test_results_are_operands_again(driver: PimDriver) -> None:
    """Columns, rows, and what is left of wider ones: padding never comes back as a value."""
    a, b, c = plain(1, 70, 5), plain(2, 5, 1), plain(3, 70, 40)
    with driver.upload(a) as x, driver.upload(b) as y, driver.upload(c) as z:
        column = driver.matmul(x, y)
        sums = golden.bf16_to_f32(matmul(a, b))
        check(driver, driver.elementwise("mul", z, column), bits(c * sums), "column by rows")
        check(driver, driver.elementwise("add", column, column), bits(sums + sums), "columns")
        check(driver, driver.elementwise("sub", column, z), bits(sums - c), "column less rows")
        with driver.elementwise("add", z, column) as wide:
            assert wide.shape == (70, 40)
            total = golden.bf16_to_f32(bits(c + sums))
            with driver.upload(plain(4, 40, 3)) as right:
                check(driver, driver.matmul(wide, right), matmul(total, plain(4, 40, 3)), "chain")
        column.free()


# ---- transfers ---------------------------------------------------------------------------------

#: More than the shared buffer of the small device holds at once, by rows and within one row.
LONG = [(400, 100), (3, 33_000), (40_000,), (40_000, 1)]


@pytest.mark.parametrize("shape", LONG, ids=str)
def test_transfers_in_pieces(shape: tuple[int, ...]) -> None:
    """Each byte goes once: counted bytes are the rows padded to 64 bytes."""
    driver = PimDriver(small_device("per_bank", 1 << 20))
    array = operand(5, *shape)
    flat = shape if len(shape) == 2 and shape[1] > 1 else (1, array.size)
    padded = flat[0] * -(-flat[1] * 2 // 64) * 64
    tensor = driver.upload(array)
    assert driver.last.lists > 1
    assert driver.last.host_bytes_in == padded
    assert driver.last.host_bytes_out == 0
    got = driver.download(tensor)
    assert (bits(got) == bits(array)).all()
    assert driver.last.host_bytes_in == 0
    assert driver.last.host_bytes_out == padded


def test_what_transfers_and_products_count(driver: PimDriver) -> None:
    """Bytes as they lie on the host: rows of bfloat16, padded to 64 bytes; sums take twice that."""
    with driver.upload(plain(1, 5, 40)) as left:
        assert (driver.last.host_bytes_in, driver.last.host_bytes_out) == (5 * 128, 0)
        assert (driver.last.descriptors, driver.last.lists) == (2, 1)
        with driver.load_matrix(plain(2, 40, 7)) as right:
            beat = driver.geometry.beat_columns
            assert driver.last.host_bytes_in == 40 * beat * 2
            assert right.columns == beat
            with driver.matmul(left, right, out_f32=True) as sums:
                assert (driver.last.host_bytes_in, driver.last.host_bytes_out) == (0, 0)
                driver.download(sums)
                assert driver.last.host_bytes_out == 5 * 64  # 7 sums of 4 bytes
            driver.download(left)
            assert driver.last.host_bytes_out == 5 * 128
        with driver.load_matrix(plain(2, 40, 7), opcode="MATMUL_T") as right:
            atom = driver.geometry.atom_columns
            assert right.columns == atom
            assert driver.last.host_bytes_in == -(-40 // atom) * atom * atom * 2
    totals = driver.totals
    with driver.upload(plain(1, 2, 2)):
        assert driver.totals == totals + driver.last
        assert driver.totals.host_bytes_in == totals.host_bytes_in + 2 * 64


# ---- NaN ---------------------------------------------------------------------------------------

_PAYLOADS = [0x7F80_0001, 0x7FC0_0001, 0x7FA5_0000, 0xFFC0_0000, 0xFF81_2345, 0x7FFF_FFFF]


def with_payloads(kind: str, *shape: int) -> np.ndarray:
    """Return values every third of which is a NaN with a sign or a payload."""
    size = int(np.prod(shape))
    words = np.arange(0x3F80_0000, 0x3F80_0000 + (size << 16), 1 << 16, dtype=np.uint32)
    words[::3] = np.resize(np.array(_PAYLOADS, np.uint32), words[::3].size)
    if kind == "float32":
        return words.view(np.float32).reshape(shape)
    upper = (words >> 16).astype(np.uint16)
    upper[upper == 0x7F80] = 0x7F81  # the payload was in the lower half
    return upper.view(ml_dtypes.bfloat16).reshape(shape)


def nans_of(device: ModelDevice, held: DeviceTensor | DeviceMatrix) -> set[int]:
    """Return the patterns of NaN in the memory of a tensor."""
    words = device.memory[held.address : held.address + held.nbytes].view(np.uint16)
    return {int(word) for word in words if (word & 0x7FFF) > 0x7F80}


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(7,), (3, 40), (9, 1), (2, 3, 5), (300,)], ids=str)
def test_device_memory_holds_the_canonical_nan(
    device: ModelDevice, driver: PimDriver, kind: str, shape: tuple[int, ...]
) -> None:
    array = with_payloads(kind, *shape)
    with driver.upload(array) as tensor, driver.new_tensor(shape) as placed:
        assert nans_of(device, tensor) == {0x7FC0}
        driver.write(placed, array)
        assert nans_of(device, placed) == {0x7FC0}
        got = driver.download(placed)
        nan = np.isnan(array.astype(np.float32))
        assert (bits(got)[nan] == 0x7FC0).all()
        assert (bits(got)[~nan] == bits(array.astype(np.float32))[~nan]).all()
        with driver.elementwise("mul", tensor, placed) as product:
            assert nans_of(device, product) == {0x7FC0}


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("opcode", ["MATMUL", "MATMUL_T"])
@pytest.mark.parametrize("transposed", [False, True])
def test_resident_matrices_hold_the_canonical_nan(
    device: ModelDevice, driver: PimDriver, kind: str, opcode: str, transposed: bool
) -> None:
    array = with_payloads(kind, 5, 40)
    with driver.load_matrix(array, transposed=transposed, opcode=opcode) as matrix:
        assert nans_of(device, matrix) == {0x7FC0}
        words = device.memory[matrix.address : matrix.address + matrix.nbytes].view(np.uint16)
        expected = bits(array.astype(np.float32))
        values, counts = np.unique(expected, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            assert int((words == value).sum()) == count


def test_bit_patterns_are_no_operand(driver: PimDriver) -> None:
    """uint16 would reach device memory as it is, NaN payloads and all."""
    patterns = np.array([[0x7F81, 0x3F80]], np.uint16)
    for call in (
        lambda: driver.upload(patterns),
        lambda: driver.load_matrix(patterns),
        lambda: driver.load_matrix(patterns, opcode="MATMUL_T"),
        lambda: driver.load_matrix(patterns, transposed=True),
    ):
        with pytest.raises(TypeError, match="uint16"):
            call()
    with driver.new_tensor((1, 2)) as tensor, pytest.raises(TypeError, match="uint16"):
        driver.write(tensor, patterns)


# ---- what is refused ---------------------------------------------------------------------------


def test_write_wants_the_shape_and_the_type(driver: PimDriver) -> None:
    a, b = plain(1, 3, 4), plain(2, 4, 5)
    with driver.upload(a) as left, driver.load_matrix(b) as right:
        with pytest.raises(ShapeError, match=r"\(4, 3\) to a bf16 tensor \(3, 4\)"):
            driver.write(left, a.T)
        with pytest.raises(ShapeError, match=r"\(5, 4\) to a matrix \(4, 5\)"):
            driver.write_matrix(right, b.T)
        driver.write_matrix(right, b.T, transposed=True)
        with driver.matmul(left, right, out_f32=True) as sums:
            with pytest.raises(ShapeError, match=r"to a f32 tensor \(3, 5\)"):
                driver.write(sums, plain(3, 3, 5))
            assert (driver.download(sums) == a @ b).all()
        driver.write(left, 2 * a)
        check(driver, driver.matmul(left, right), bits(2 * a @ b), "written again")


def test_rehearsal_places_as_in_earnest_and_leaves_nothing(
    device: ModelDevice, driver: PimDriver
) -> None:
    def work() -> list[tuple[int, int]]:
        with (
            driver.upload(plain(1, 70, 70)) as left,
            driver.load_matrix(plain(2, 70, 40)) as right,
            driver.matmul(left, right) as y,
            driver.elementwise("add", y, y) as z,
        ):
            return [(tensor.address, tensor.nbytes) for tensor in (left, right, y, z)]

    image, before = device.memory.copy(), driver.memory.free_ranges
    with driver.rehearsal() as blocks:
        rehearsed = work()
    assert driver.memory.free_ranges == before
    assert (device.memory == image).all()
    assert work() == rehearsed
    assert set(rehearsed) <= {(block.address, block.nbytes) for block in blocks}
