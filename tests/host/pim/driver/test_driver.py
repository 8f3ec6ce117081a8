"""The driver: any shape, layout, split and batch gives the golden model's bits; errors are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import exact
from support.random_lists import random_bits

from pimloop.host.common import golden
from pimloop.host.operators.registry import elementwise
from pimloop.host.pim.device.base import Device, DeviceError, DeviceTimeoutError
from pimloop.host.pim.device.execution import Execution, RefusedError
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.validate import Fields
from pimloop.host.pim.driver import (
    DescriptorError,
    DeviceMatrix,
    DeviceTensor,
    DriverError,
    OutOfDeviceMemoryError,
    PimDriver,
    ShapeError,
    descriptors,
)
from pimloop.host.pim.driver.queue import CommandQueue
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Code, Reg

#: Backends of the quick tests; open inputs are explored on the models.
QUICK = ["model-per_bank", "model-all_bank", "native-per_bank", "native-all_bank"]
MODELS = ["model-per_bank", "model-all_bank"]
EXPLORE = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

Array = np.ndarray


@pytest.fixture(params=QUICK)
def driver(request: pytest.FixtureRequest, devices: Callable[[str], Device]) -> Iterator[PimDriver]:
    """A driver of each backend; what a test frees must be all it allocated."""
    with PimDriver(devices(request.param), timeout=120) as driver:
        yield driver


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, devices: Callable[[str], Device]) -> Iterator[PimDriver]:
    with PimDriver(devices(request.param), timeout=120) as driver:
        yield driver


def values(seed: int, *shape: int) -> Array:
    """Return float32 values that bfloat16 holds exactly."""
    bits = random_bits(np.random.default_rng(seed), int(np.prod(shape)))
    return golden.bf16_to_f32(bits).reshape(shape)


def bits(array: Array) -> Array:
    return golden.to_bf16_bits(array)


def assert_bits(driver: PimDriver, tensor: DeviceTensor, expected: Array) -> None:
    """Compare a tensor with float32 values, bit for bit, and free it."""
    got = driver.download(tensor)
    assert got.shape == expected.shape
    assert (bits(got) == bits(expected)).all()
    tensor.free()


def product(a: Array, b: Array, bias: Array | None = None) -> Array:
    """Return the golden product of float32 operands, 2 axes each."""
    row = None if bias is None else bits(bias)
    return golden.bf16_to_f32(golden.matmul(bits(a), bits(b), row))


# ---- transfers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (7,), (1, 1), (5, 1), (3, 33), (2, 3, 4), (2, 3, 1)])
def test_what_goes_in_comes_out(driver: PimDriver, shape: tuple[int, ...]) -> None:
    array = values(1, *shape)
    before = driver.memory.free_bytes
    tensor = driver.upload(array)
    assert tensor.shape == shape
    assert tensor.nbytes == before - driver.memory.free_bytes
    assert_bits(driver, tensor, array)
    assert driver.memory.free_bytes == before


def test_upload_rounds_and_canonicalises(model: PimDriver) -> None:
    array = np.array([1.00390625, 1.01171875, 1e-40, -0.0, np.inf, np.nan], np.float32)
    got = model.download(model.upload(array))
    assert (bits(got) == bits(array)).all()
    odd = np.array([0x7F81, 0xFFFF, 0x3F80], np.uint16).view(ml_dtypes.bfloat16)
    assert bits(model.download(model.upload(odd))).tolist() == [0x7FC0, 0x7FC0, 0x3F80]


def test_arrays_larger_than_the_shared_buffer(model: PimDriver) -> None:
    """Several pieces, by rows and within a row."""
    for shape in ((2500, 2500), (1, 5_000_000), (5_000_000,)):
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        tensor = model.upload(array)
        assert model.last.lists > 1
        assert_bits(model, tensor, array)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.float16])
def test_other_types_are_refused(model: PimDriver, dtype: type) -> None:
    before = model.memory.free_bytes
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        model.upload(np.zeros(3, dtype))
    assert model.memory.free_bytes == before


# ---- products ----------------------------------------------------------------------------------


def check_product(driver: PimDriver, p: int, q: int, r: int, seed: int) -> None:
    """Hold every way to multiply (p,q) by (q,r) against the golden product."""
    a, b, bias = values(seed, p, q), values(seed + 1, q, r), values(seed + 2, r)
    turned = np.ascontiguousarray(b.T)
    left, row = driver.upload(a), driver.upload(bias)
    plain, with_bias = product(a, b), product(a, b, bias)
    owned: list[DeviceTensor | DeviceMatrix] = [left, row]
    for opcode in ("MATMUL", "MATMUL_T"):
        for right in (
            driver.load_matrix(b, opcode=opcode),
            driver.load_matrix(turned, transposed=True, opcode=opcode),
        ):
            assert_bits(driver, driver.matmul(left, right), plain)
            assert_bits(driver, driver.matmul(left, right, bias=row), with_bias)
            owned.append(right)
    tensor, tensor_t = driver.upload(b), driver.upload(turned)
    owned += [tensor, tensor_t]
    assert_bits(driver, driver.matmul(left, tensor, bias=row), with_bias)
    assert_bits(driver, driver.matmul(left, tensor_t, transpose_b=True, bias=row), with_bias)
    sums = driver.matmul(left, owned[2], bias=row, out_f32=True)
    exact = golden.matmul(bits(a), bits(b), bits(bias), out_f32=True)
    assert (driver.download(sums).view(np.uint32) == exact.view(np.uint32)).all()
    owned.append(sums)
    for operand in owned:
        operand.free()


@pytest.mark.parametrize(
    ("p", "q", "r"),
    [(1, 1, 1), (3, 5, 7), (2, 33, 31), (1, 64, 512), (4, 70, 513), (2, 4097, 3), (1, 9000, 40)],
)
def test_products_of_any_shape(driver: PimDriver, p: int, q: int, r: int) -> None:
    before = driver.memory.free_bytes
    check_product(driver, p, q, r, seed=p * q + r)
    assert driver.memory.free_bytes == before


@EXPLORE
@given(
    p=st.integers(1, 12),
    inner_and_columns=st.one_of(
        st.tuples(st.integers(1, 80), st.one_of(st.integers(1, 80), st.integers(500, 1100))),
        st.tuples(st.one_of(st.integers(4090, 4105), st.integers(8190, 8200)), st.integers(1, 9)),
    ),
    seed=st.integers(0, 1 << 30),
)
def test_products_explored(
    model: PimDriver, p: int, inner_and_columns: tuple[int, int], seed: int
) -> None:
    check_product(model, p, *inner_and_columns, seed)


def test_transposed_operand_with_few_long_rows(driver: PimDriver) -> None:
    """Its rows are too long to leave room for the rest of an atom of rows behind them."""
    a, b = values(1, 2, 3000), values(2, 3, 3000)
    left, right = driver.upload(a), driver.upload(b)
    before = driver.memory.free_bytes
    assert_bits(driver, driver.matmul(left, right, transpose_b=True), product(a, b.T))
    assert driver.memory.free_bytes == before
    left.free()
    right.free()


def test_split_of_a_deep_product_changes_no_bit(driver: PimDriver) -> None:
    """Sums so uneven that any other order of addition would show."""
    rng = np.random.default_rng(5)
    q = 2 * driver.geometry.scalar_depth + 17
    scale = np.float32(2.0) ** rng.integers(-30, 30, (1, q)).astype(np.float32)
    a = golden.bf16_to_f32(bits(rng.standard_normal((2, q)).astype(np.float32) * scale))
    b = values(6, q, 5)
    left, right = driver.upload(a), driver.load_matrix(b)
    result = driver.matmul(left, right)
    assert driver.last.descriptors == 4
    assert_bits(driver, result, product(a, b))
    left.free()
    right.free()


LEADS = st.tuples(st.lists(st.integers(1, 3), max_size=2), st.integers(0, 15))


def broadcastable(lead: list[int], mask: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return two shapes that broadcast to `lead`, axes set to 1 by the bits of `mask`."""
    a = tuple(1 if mask >> i & 1 else size for i, size in enumerate(lead))
    b = tuple(1 if mask >> 2 + i & 1 else size for i, size in enumerate(lead))
    return a, b


@EXPLORE
@given(
    lead=LEADS,
    p=st.integers(1, 9),
    q=st.integers(1, 40),
    r=st.one_of(st.integers(1, 40), st.integers(510, 600)),
    turned=st.booleans(),
    cut=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
def test_batches_explored(
    model: PimDriver,
    lead: tuple[list[int], int],
    p: int,
    q: int,
    r: int,
    turned: bool,
    cut: bool,
    seed: int,
) -> None:
    lead_a, lead_b = broadcastable(*lead)
    if cut:
        lead_b = lead_b[1:]
    a, b = values(seed, *lead_a, p, q), values(seed + 1, *lead_b, q, r)
    result = np.broadcast_shapes(lead_a, lead_b)
    wide_a = np.broadcast_to(a, (*result, p, q)).reshape(-1, p, q)
    wide_b = np.broadcast_to(b, (*result, q, r)).reshape(-1, q, r)
    expected = np.stack([product(x, y) for x, y in zip(wide_a, wide_b, strict=True)])
    left = model.upload(a)
    right = model.upload(np.swapaxes(b, -1, -2).copy() if turned else b)
    y = model.matmul(left, right, transpose_b=turned)
    assert_bits(model, y, expected.reshape(*result, p, r))
    left.free()
    right.free()


def test_one_row_without_leading_axis(driver: PimDriver) -> None:
    a, b = values(1, 40), values(2, 40, 50)
    left, right = driver.upload(a), driver.load_matrix(b)
    assert_bits(driver, driver.matmul(left, right), product(a[None], b)[0])
    left.free()
    right.free()


def test_columns_are_padded_to_the_granule_of_the_platform(
    devices: Callable[[str], Device],
) -> None:
    """On the board r is padded to 512 columns: same bits, more work."""
    a, b = values(1, 3, 40), values(2, 40, 520)
    for granule, columns in ((None, 544), (512, 1024)):
        with PimDriver(devices("native-per_bank"), timeout=120, column_granule=granule) as driver:
            left, right = driver.upload(a), driver.load_matrix(b)
            assert right.columns == columns
            result = driver.matmul(left, right, bias=driver.upload(b[0]))
            assert driver.last.counters["mac"] == 3 * 40 * columns // driver.geometry.beat_columns
            assert_bits(driver, result, product(a, b, b[0]))


# ---- element-wise ------------------------------------------------------------------------------

OPERATIONS = (("add", np.add), ("sub", np.subtract), ("mul", np.multiply))


def check_elementwise(driver: PimDriver, a: Array, b: Array) -> None:
    """Hold the three operations in both orders against numpy (exact: one rounding in float32)."""
    left, right = driver.upload(a), driver.upload(b)
    with np.errstate(all="ignore"):
        for op, reference in OPERATIONS:
            assert_bits(driver, driver.elementwise(op, left, right), np.asarray(reference(a, b)))
            assert_bits(driver, driver.elementwise(op, right, left), np.asarray(reference(b, a)))
    left.free()
    right.free()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((4, 40), (4, 40)),
        ((4, 40), (40,)),
        ((4, 40), (4, 1)),
        ((4, 40), (1,)),
        ((4, 40), ()),
        ((4, 1), (40,)),
        ((70, 1), (70, 1)),
        ((70, 1), (1,)),
        ((5000, 3), (5000, 1)),
        ((2, 3, 40), (3, 1)),
        ((2, 3, 40), (2, 1, 40)),
        ((2, 3, 40), (2, 1, 1)),
        ((2, 3, 1), (2, 1, 1)),
        ((2, 1, 600), (1, 3, 1)),
    ],
)
def test_broadcasts(driver: PimDriver, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    before = driver.memory.free_bytes
    check_elementwise(driver, values(1, *a), values(2, *b))
    assert driver.memory.free_bytes == before


UNARY = [name for name, kind in elementwise().items() if kind.operands == 1]


def check_unary(driver: PimDriver, op: str, a: Array) -> None:
    """Hold an operation of one operand against integers, as it lies and in a product's layout."""
    before = driver.memory.free_bytes
    with driver.upload(a) as operand, driver.elementwise(op, operand) as result:
        wanted = [exact.UNARY[op.upper()](int(x)) for x in bits(a).flat]
        got = golden.to_bf16_bits(driver.download(result))
        assert result.shape == a.shape
        assert got.reshape(-1).tolist() == wanted
    assert driver.memory.free_bytes == before


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize(
    "shape", [(), (1,), (40,), (4, 40), (4, 1), (70, 1), (2, 3, 600), (3, 1, 33), (5000, 3)]
)
def test_one_operand_of_every_shape(driver: PimDriver, op: str, shape: tuple[int, ...]) -> None:
    a = golden.bf16_to_f32(random_bits(np.random.default_rng(len(shape)), math.prod(shape)))
    check_unary(driver, op, a.reshape(shape))


@EXPLORE
@pytest.mark.parametrize("op", UNARY)
@given(
    shape=st.lists(st.integers(1, 5), max_size=3),
    last=st.integers(1, 80),
    seed=st.integers(0, 1 << 30),
)
def test_one_operand_explored(
    model: PimDriver, op: str, shape: list[int], last: int, seed: int
) -> None:
    full = (*shape, last)
    a = golden.bf16_to_f32(random_bits(np.random.default_rng(seed), math.prod(full)))
    check_unary(model, op, a.reshape(full))


@pytest.mark.parametrize("op", UNARY)
def test_one_operand_of_a_result_in_rows_of_one_element(driver: PimDriver, op: str) -> None:
    """It lies as the product left it, and so does what comes of it."""
    a, b, c = values(1, 70, 5), values(2, 5, 1), values(3, 70, 40)
    column = driver.matmul(driver.upload(a), driver.load_matrix(b))
    kept = driver.elementwise(op, column)
    sums = golden.matmul(bits(a), bits(b))
    wanted = np.array([exact.UNARY[op.upper()](int(x)) for x in sums.flat], np.uint16)
    wanted = golden.bf16_to_f32(wanted).reshape(70, 1)
    with np.errstate(all="ignore"):
        scaled = np.asarray(c * wanted)
    assert_bits(driver, driver.elementwise("mul", driver.upload(c), kept), scaled)
    assert_bits(driver, kept, wanted)


def test_operations_take_as_many_operands_as_they_have(model: PimDriver) -> None:
    a = model.upload(values(1, 2, 8))
    with pytest.raises(DriverError, match="add takes 2 operands, not 1"):
        model.elementwise("add", a)
    for op in UNARY:
        with pytest.raises(DriverError, match=f"{op} takes 1 operand, not 2"):
            model.elementwise(op, a, a)
    sums = model.matmul(a, model.load_matrix(values(2, 8, 32)), out_f32=True)
    for op in UNARY:
        with pytest.raises(ShapeError, match="binary32 sums"):
            model.elementwise(op, sums)


@EXPLORE
@given(
    shape=st.lists(st.integers(1, 5), max_size=3),
    last=st.integers(1, 80),
    masks=st.tuples(st.integers(0, 15), st.integers(0, 15)),
    cut=st.integers(0, 3),
    seed=st.integers(0, 1 << 30),
)
def test_broadcasts_explored(
    model: PimDriver, shape: list[int], last: int, masks: tuple[int, int], cut: int, seed: int
) -> None:
    full = [*shape, last]
    a, b = (tuple(1 if mask >> i & 1 else size for i, size in enumerate(full)) for mask in masks)
    check_elementwise(model, values(seed, *a), values(seed + 1, *b[cut:]))


def test_one_column_results_are_operands_again(driver: PimDriver) -> None:
    """A product with 1 column lies in rows; as a broadcast column it has to be gathered.

    Signs of zeros survive.
    """
    a, b, c = values(1, 70, 5), values(2, 5, 1), values(3, 70, 40)
    b[:] = -0.0
    left, right, wide = driver.upload(a), driver.load_matrix(b), driver.upload(c)
    column = driver.matmul(left, right)
    expected = product(a, b)
    assert_bits(driver, driver.elementwise("add", column, column), expected + expected)
    with np.errstate(invalid="ignore"):
        scaled = c * expected
    assert_bits(driver, driver.elementwise("mul", wide, column), scaled)
    # And a packed column as the left operand of a product.
    packed = driver.upload(expected)
    row = driver.upload(values(4, 1, 9))
    assert_bits(driver, driver.matmul(packed, row), product(expected, values(4, 1, 9)))
    for tensor in (left, right, wide, column, packed, row):
        tensor.free()


# ---- batches, overlap, statistics --------------------------------------------------------------


def test_batch_is_one_list(driver: PimDriver) -> None:
    a, b = values(1, 6, 40), values(2, 40, 40)
    right = driver.load_matrix(b)
    totals = driver.totals
    with driver.batch():
        left = driver.upload(a)
        first = driver.matmul(left, right)
        left.free()
        second = driver.elementwise("add", first, first)
        third = driver.matmul(second, right)
    assert driver.last.lists == 1
    assert driver.last.descriptors == 5
    assert driver.last.host_bytes_in == 6 * 128
    assert driver.totals == totals + driver.last
    products = product(a, b)
    sums = golden.bf16_to_f32(golden.elementwise(np.add, bits(products), bits(products)))
    assert_bits(driver, third, product(sums, b))
    assert_bits(driver, first, products)
    second.free()
    right.free()


def test_batch_longer_than_the_list(model: PimDriver) -> None:
    """More descriptors than places: the list is run in between."""
    a = model.upload(values(1, 2, 8))
    with model.batch():
        results = [model.elementwise("mul", a, a) for _ in range(9000)]
        for tensor in results[:-1]:
            tensor.free()
    assert model.last.lists > 1
    square = golden.elementwise(np.multiply, bits(values(1, 2, 8)), bits(values(1, 2, 8)))
    assert_bits(model, results[-1], golden.bf16_to_f32(square))
    a.free()


def test_submit_and_wait(driver: PimDriver) -> None:
    a, b = values(1, 6, 40), values(2, 40, 40)
    with driver.batch():
        left, right = driver.upload(a), driver.load_matrix(b)
        first = driver.matmul(left, right)
        driver.submit()
        host_work = product(a, b)
        driver.wait()
        second = driver.matmul(left, right)
        driver.submit()
        third = driver.upload(host_work)
    for tensor in (first, second, third):
        assert_bits(driver, tensor, host_work)
    left.free()
    right.free()


def test_failed_batch_is_dropped(model: PimDriver) -> None:
    a = model.upload(values(1, 2, 8))
    totals = model.totals

    def fail() -> None:
        with model.batch():
            model.elementwise("add", a, a)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert model.totals.lists == totals.lists
    assert_bits(model, model.elementwise("add", a, a), values(1, 2, 8) * 2)
    a.free()


def test_statistics_of_the_simulated_device(devices: Callable[[str], Device]) -> None:
    with PimDriver(devices("native-per_bank"), timeout=120) as driver:
        left, right = driver.upload(values(1, 4, 64)), driver.load_matrix(values(2, 64, 64))
        assert driver.last.host_bytes_in == 64 * 64 * 2
        driver.matmul(left, right)
        assert driver.last.cycles > 0
        assert driver.last.counters["mac"] == 4 * 64 * 2
        assert driver.last.host_bytes_in == driver.last.host_bytes_out == 0
        assert driver.totals.cycles > driver.last.cycles


# ---- device memory -----------------------------------------------------------------------------


def test_weights_and_activations_lie_in_different_banks(devices: Callable[[str], Device]) -> None:
    """Two streams in one bank would close each other's rows."""
    with PimDriver(devices("model-per_bank")) as driver:
        a, b = driver.upload(values(1, 8, 64)), driver.load_matrix(values(2, 64, 64))
        y = driver.matmul(a, b)
        span = driver.geometry.bank_span
        assert b.address < span
        assert len({tensor.address // span for tensor in (a, b, y)}) == 3
        z = driver.elementwise("add", a, y)
        assert len({tensor.address // span for tensor in (a, y, z)}) == 3


def small_device(capacity: int) -> ModelDevice:
    geometry = load_platform("htg-z920").geometry()
    return ModelDevice(replace(geometry, capacity=capacity), buffer_bytes=1 << 20)


def test_out_of_memory_says_the_numbers() -> None:
    with PimDriver(small_device(1 << 20)) as driver:
        free = driver.memory.free_bytes
        with pytest.raises(OutOfDeviceMemoryError) as caught:
            driver.load_matrix(np.zeros((1024, 1024), np.float32))
        text = str(caught.value)
        for number in (2 << 20, free, 1 << 20):
            assert str(number) in text
        assert driver.memory.free_bytes == free
        block = np.zeros((64, 512), np.float32)
        tensors = [driver.upload(block) for _ in range(free // (block.size * 2))]
        with pytest.raises(OutOfDeviceMemoryError):
            driver.upload(block)
        for tensor in tensors:
            tensor.free()
        assert driver.memory.free_bytes == free


def test_memory_left_by_a_failed_operation_is_free_again() -> None:
    with PimDriver(small_device(1 << 20)) as driver:
        a = driver.upload(np.zeros((64, 2048), np.float32))
        b = driver.load_matrix(np.zeros((2048, 32), np.float32))
        free = driver.memory.free_bytes
        filler = driver.load_matrix(np.zeros((free // 64 - 16, 32), np.float32))
        left = driver.memory.free_bytes
        with pytest.raises(OutOfDeviceMemoryError):
            driver.matmul(a, b)
        assert driver.memory.free_bytes == left
        filler.free()
        driver.matmul(a, b).free()
        assert driver.memory.free_bytes == free


def test_double_free_and_use_after_free(model: PimDriver) -> None:
    tensor = model.upload(values(1, 3, 3))
    tensor.free()
    with pytest.raises(DriverError, match="freed before"):
        tensor.free()
    with pytest.raises(DriverError, match=r"\(3, 3\) was freed before"):
        model.download(tensor)
    with model.upload(values(1, 3, 3)) as scoped:
        pass
    assert scoped.freed


def test_tensor_of_another_device_is_refused(model: PimDriver) -> None:
    with PimDriver(small_device(1 << 20)) as other:
        foreign = other.upload(values(1, 3, 3))
        with pytest.raises(DriverError, match="another device"):
            model.elementwise("add", foreign, foreign)


# ---- errors ------------------------------------------------------------------------------------


def test_shape_errors_name_the_shapes(model: PimDriver) -> None:
    a, b, v = (model.upload(values(1, *shape)) for shape in ((2, 3), (4, 5), (3,)))
    matrix, batch = model.load_matrix(values(1, 3, 5)), model.upload(values(1, 2, 3, 5))
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: model.matmul(a, b), r"\(2, 3\) by \(4, 5\).*3 and 4"),
        (lambda: model.matmul(a, b, transpose_b=True), r"3 and 5"),
        (lambda: model.matmul(a, v), r"\(2, 3\) by \(3,\)"),
        (lambda: model.matmul(v, batch), r"\(3,\) by \(2, 3, 5\)"),
        (lambda: model.matmul(a, matrix, bias=v), r"bias has the shape \(3,\), not \(5,\)"),
        (lambda: model.matmul(a, matrix, transpose_b=True), r"load_matrix\(transposed=True\)"),
        (lambda: model.elementwise("add", a, b), r"add of \(2, 3\) and \(4, 5\)"),
        (lambda: model.load_matrix(values(1, 3)), r"at least 2 axes, not the shape \(3,\)"),
        (lambda: model.upload(np.zeros((3, 0), np.float32)), r"\(3, 0\): an axis is 0"),
        (lambda: model.load_matrix(np.zeros((0, 3), np.float32)), r"\(0, 3\): an axis is 0"),
    ]
    free = model.memory.free_bytes
    for call, text in cases:
        with pytest.raises(ShapeError, match=text):
            call()
    assert model.memory.free_bytes == free


def test_sums_are_no_operand(model: PimDriver) -> None:
    a, matrix = model.upload(values(1, 2, 3)), model.load_matrix(values(1, 3, 3))
    sums = model.matmul(a, matrix, out_f32=True)
    with pytest.raises(ShapeError, match="not an operand"):
        model.elementwise("add", sums, sums)
    with pytest.raises(ShapeError, match="not an operand"):
        model.matmul(sums, matrix)


def test_batches_that_do_not_broadcast(model: PimDriver) -> None:
    a, b = model.upload(values(1, 2, 3, 4)), model.upload(values(1, 3, 4, 5))
    with pytest.raises(ShapeError, match="leading axes"):
        model.matmul(a, b)


def test_closed_driver(model: PimDriver) -> None:
    tensor = model.upload(values(1, 3, 3))
    model.close()
    model.close()
    for call in (
        lambda: model.upload(values(1, 3)),
        lambda: model.download(tensor),
        lambda: model.elementwise("add", tensor, tensor),
    ):
        with pytest.raises(DriverError, match="closed"):
            call()


def test_closed_device() -> None:
    device = small_device(1 << 20)
    driver = PimDriver(device)
    device.close()
    device.close()
    with pytest.raises(DeviceError, match="closed"):
        driver.upload(values(1, 3))


def test_granule_must_suit_the_device() -> None:
    for granule in (0, 33, -32):
        with pytest.raises(DriverError, match=str(granule)):
            PimDriver(small_device(1 << 20), column_granule=granule)


def test_shared_buffer_must_have_room() -> None:
    geometry = load_platform("htg-z920").geometry()
    with pytest.raises(DriverError, match="4096"):
        PimDriver(ModelDevice(geometry, buffer_bytes=2048))


class OtherDevice(ModelDevice):
    """A device with one register changed."""

    def __init__(self, geometry: Geometry, offset: int, value: int) -> None:
        super().__init__(geometry, buffer_bytes=1 << 20)
        self.changed = (offset, value)

    def read32(self, offset: int) -> int:
        return self.changed[1] if offset == self.changed[0] else super().read32(offset)


def test_another_device_or_version_is_refused() -> None:
    geometry = load_platform("htg-z920").geometry()
    with pytest.raises(DeviceError, match="0x12345678"):
        PimDriver(OtherDevice(geometry, Reg.ID, 0x12345678))
    with pytest.raises(DeviceError, match=r"2\.5"):
        PimDriver(OtherDevice(geometry, Reg.VERSION, 0x00020005))
    PimDriver(OtherDevice(geometry, Reg.VERSION, 0x00010007))


class SilentDevice(ModelDevice):
    """A device that swallows doorbells while `deaf`."""

    deaf = False
    resets = 0

    def write32(self, offset: int, value: int) -> None:
        self.resets += offset == Reg.CTRL and value & 1
        if not (self.deaf and offset == Reg.DOORBELL):
            super().write32(offset, value)


def test_timeout_and_recovery() -> None:
    """A list that does not end is an error in time; the driver resets the device and goes on."""
    device = SilentDevice(load_platform("htg-z920").geometry(), buffer_bytes=1 << 20)
    with PimDriver(device, timeout=0.01) as driver:
        a = driver.upload(values(1, 2, 3))
        free = driver.memory.free_bytes
        device.deaf = True
        with pytest.raises(DeviceTimeoutError, match=r"0\.01 s"):
            driver.elementwise("add", a, a)
        assert driver.memory.free_bytes == free
        device.deaf = False
        device.resets = 0
        assert_bits(driver, driver.elementwise("add", a, a), values(1, 2, 3) * 2)
        assert device.resets == 1  # before the next list, and not again


class FaultyDevice(ModelDevice):
    """A device whose chain limit is lowered behind the driver's back."""

    def write32(self, offset: int, value: int) -> None:
        if offset == Reg.DOORBELL:
            super().write32(Reg.CHAIN_LIMIT, self.limit)
        super().write32(offset, value)

    limit = 1 << 20


class _Unseen(Execution):
    """Status words that do not reach the host: the buffer is cached, or the bus refuses them."""

    def set_status(self, address: int, status: int) -> None:
        """Write none."""


class PortDevice(ModelDevice):
    """A device whose status words are not seen, and whose port may refuse what it reads."""

    error: Code | None = None
    list_address: int | None = None
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(load_platform("htg-z920").geometry(), buffer_bytes=1 << 20)
        self._execution = _Unseen(self.geometry, self.memory, self.buffer, self.buffer_address)

    def _fetch(self, address: int, index: int) -> Fields:
        if self.error is not None and index == 1:
            raise RefusedError(self.error)
        return super()._fetch(address, index)

    def read32(self, offset: int) -> int:
        value = super().read32(offset)
        return self.status if offset == Reg.STATUS and self.status is not None else value

    def write32(self, offset: int, value: int) -> None:
        if offset == Reg.DOORBELL and self.list_address is not None:
            super().write32(Reg.LIST_LO, self.list_address)
        super().write32(offset, value)


@pytest.mark.parametrize(
    ("error", "list_address", "code", "index", "parts"),
    [
        (
            *(Code.AXI_READ, None, Code.AXI_READ, 1),
            ("at descriptor 1 (END) with AXI_READ (0x8A)", "Check the address range of the port"),
        ),
        (
            *(Code.LOOP, None, Code.LOOP, 1),
            ("at descriptor 1 (END) with LOOP", "Its status word does not say so", "is it cached?"),
        ),
        (
            *(None, None, Code.PENDING, 0),
            ("without an error, and the status word of descriptor 0 (", "sync-mode of u-dma-buf"),
        ),
        (
            *(None, 32, Code.MISALIGNED, 0),
            ("at descriptor 0 (the list's address) with MISALIGNED",),
        ),
    ],
)
def test_a_status_word_that_was_not_written_does_not_hide_what_status_says(
    error: Code | None, list_address: int | None, code: Code, index: int, parts: tuple[str, ...]
) -> None:
    device = PortDevice()
    queue = CommandQueue(device, 1.0)
    device.error, device.list_address = error, list_address
    queue.add(descriptors.fence(), "FENCE")
    with pytest.raises(DescriptorError) as caught:
        queue.run()
    assert (caught.value.code, caught.value.index) == (code, index)
    for part in parts:
        assert part in str(caught.value)


def test_a_status_register_that_nothing_answers() -> None:
    device = PortDevice()
    queue = CommandQueue(device, 1.0)
    device.status = 0xFFFFFFFF
    queue.add(descriptors.fence(), "FENCE")
    with pytest.raises(DeviceError, match="STATUS is 0xFFFFFFFF, with a code that there is not"):
        queue.run()


def test_refused_descriptor_is_named() -> None:
    device = FaultyDevice(load_platform("htg-z920").geometry(), buffer_bytes=1 << 20)
    with PimDriver(device) as driver:
        a = driver.upload(values(1, 2, 3))
        free = driver.memory.free_bytes
        device.limit = 1
        batch = driver.batch()
        batch.__enter__()
        first = driver.elementwise("add", a, a)
        second = driver.elementwise("mul", a, first)
        with pytest.raises(DescriptorError) as caught:
            batch.__exit__(None, None, None)
        assert (caught.value.code, caught.value.index) == (Code.CHAIN, 1)
        assert "mul (2, 3), (2, 3)" in str(caught.value)
        first.free()
        second.free()
        device.limit = 0
        with pytest.raises(DescriptorError, match="CHAIN"):
            driver.elementwise("add", a, a)
        assert driver.memory.free_bytes == free
        device.limit = 1 << 20
        assert_bits(driver, driver.elementwise("add", a, a), values(1, 2, 3) * 2)
