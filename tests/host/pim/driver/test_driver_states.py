"""Rows written in place, and products that read only those that are there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_devices import operand, plain, small_device, small_geometry

from pimloop.host.common import golden
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.moved import moved_name
from pimloop.host.pim.device.validate import Fields
from pimloop.host.pim.driver import DeviceMatrix, DeviceTensor, PimDriver
from pimloop.host.pim.driver.errors import DriverError, ShapeError
from pimloop.host.pim.driver.states import State, in_blocks_refused
from pimloop.host.platforms.platform import load_platform

STYLES = pytest.mark.parametrize("style", ["per_bank", "all_bank"])
LAYOUTS = pytest.mark.parametrize("blocks", [False, True])


def _new_state(driver: PimDriver, shape: tuple[int, ...], blocks: bool) -> State:
    return driver.new_state(shape, blocks=blocks)


def _write(driver: PimDriver, state: State, values: np.ndarray) -> None:
    if isinstance(state, DeviceMatrix):
        driver.write_matrix(state, values, transposed=True)
    else:
        driver.write(state, values)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the golden product of matrices with equal leading axes."""
    result = np.empty((*left.shape[:-1], right.shape[-1]), np.float32)
    for index in np.ndindex(*left.shape[:-2]):
        bits = golden.matmul(golden.to_bf16_bits(left[index]), golden.to_bf16_bits(right[index]))
        result[index] = golden.bf16_to_f32(bits)
    return result


@STYLES
@pytest.mark.parametrize(("heads", "capacity", "size"), [(1, 1, 8), (2, 70, 24), (3, 141, 40)])
def test_products_read_the_rows_that_are_there(
    style: str, heads: int, capacity: int, size: int
) -> None:
    """As by the same rows alone; in the rest of the state is what no sum may contain."""
    shape = (1, heads, capacity, size)
    with small_device(style) as device:
        driver = PimDriver(device)
        atom = driver.geometry.atom_columns
        state = driver.new_tensor(shape)
        driver.write(state, np.zeros(shape, np.float32))
        rows = np.zeros(shape, np.float32)
        for filled in sorted({1, min(2, capacity), capacity // 2 or 1, capacity}):
            rows[:, :, :filled] = plain(filled, 1, heads, filled, size) / 64
            whole = rows.copy()
            # Behind the atom of rows that is read lies NaN.
            whole[:, :, -(-filled // atom) * atom :] = np.nan
            driver.write(state, whole)
            query = plain(filled + 1, 1, heads, 2, size) / 64
            left = driver.upload(query)
            scores = driver.new_tensor((1, heads, 2, capacity), packed=False)
            driver.write(scores, np.full(scores.shape, 7, np.float32))
            driver.matmul(left, state, transpose_b=True, filled=filled, out=scores)
            computed = driver.download(scores)
            wanted = _product(query, rows.swapaxes(-1, -2)[..., :filled])
            assert np.array_equal(computed[..., :filled], wanted)
            # The rest of the atom, which is 0, that of the beat, and what was there.
            read, beat = -(-filled // atom) * atom, driver.geometry.beat_columns
            assert not computed[..., filled:read].any()
            assert np.isin(computed[..., read:], (0, 7)).all()
            assert (computed[..., -(-filled // beat) * beat :] == 7).all()
            shares = plain(filled + 2, 1, heads, 3, capacity) / 64
            right = driver.upload(shares)
            whole[:, :, filled:] = np.nan
            driver.write(state, whole)
            mixed = driver.matmul(right, state, filled=filled)
            wanted = _product(shares[..., :filled], rows[:, :, :filled])
            assert np.array_equal(driver.download(mixed), wanted)
            for tensor in (left, scores, right, mixed):
                tensor.free()


@STYLES
@LAYOUTS
@pytest.mark.parametrize("appended", [1, 3])
def test_rows_are_written_in_place(style: str, blocks: bool, appended: int) -> None:
    shape = (2, 3, 9, 20)
    with small_device(style) as device:
        driver = PimDriver(device)
        state = _new_state(driver, shape, blocks)
        wanted = plain(1, *shape)
        _write(driver, state, wanted)
        for first in (0, 4, 9 - appended):
            rows = plain(first + 5, 2, 3, appended, 20)
            there = driver.upload(rows)
            driver.append(state, there, first)
            there.free()
            wanted[:, :, first : first + appended] = rows
            assert np.array_equal(driver.read_rows(state, first, appended), rows)
            if isinstance(state, DeviceTensor):
                assert np.array_equal(driver.download(state), wanted)
            assert np.array_equal(driver.read_rows(state, 0, 9), wanted)


def _bits(values: np.ndarray) -> np.ndarray:
    """Return the bits that a device has of values: NaN in its canonical form."""
    return golden.to_bf16_bits(np.ascontiguousarray(values, np.float32))


@STYLES
@LAYOUTS
@settings(max_examples=20, deadline=None)
@given(
    lead=st.sampled_from([(), (1, 1), (1, 3), (2, 2), (9,)]),
    size=st.integers(2, 50),
    capacity=st.integers(1, 40),
    seed=st.integers(0, 1 << 16),
    data=st.data(),
)
def test_any_bits_stay_what_they_are(
    style: str, blocks: bool, lead: tuple[int, ...], size: int, capacity: int, seed: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    """NaN, infinities, -0 and subnormals, of new rows and of those beside them; memory is freed."""
    shape = (*lead, capacity, size)
    with small_device(style, 1 << 20) as device:
        driver = PimDriver(device)
        state = _new_state(driver, shape, blocks)
        wanted = _bits(operand(seed, *shape))
        _write(driver, state, golden.bf16_to_f32(wanted))
        for turn in range(3):
            appended = data.draw(st.integers(1, min(capacity, 7)))
            first = data.draw(st.integers(0, capacity - appended))
            rows = operand(seed + turn + 1, *lead, appended, size)
            with driver.upload(rows) as there:
                free = driver.memory.free_bytes
                driver.append(state, there, first)
                assert driver.memory.free_bytes == free
            wanted[..., first : first + appended, :] = _bits(rows)
            assert np.array_equal(_bits(driver.read_rows(state, 0, capacity)), wanted)
            read = driver.read_rows(state, first, appended)
            assert np.array_equal(_bits(read), _bits(rows))


@STYLES
@settings(max_examples=12, deadline=None)
@given(
    heads=st.integers(1, 3),
    batch=st.integers(1, 2),
    size=st.integers(2, 40),
    capacity=st.integers(1, 70),
    data=st.data(),
)
def test_scores_by_a_state_in_blocks_are_those_of_numpy(
    style: str, heads: int, batch: int, size: int, capacity: int, data: st.DataObject
) -> None:
    """Rows appended one by one; scores of those that are there, 0 up to the end of their atom."""
    shape = (batch, heads, capacity, size)
    filled = data.draw(st.integers(1, capacity))
    with small_device(style, 1 << 20) as device:
        driver = PimDriver(device)
        state = _new_state(driver, shape, True)
        _write(driver, state, np.zeros(shape, np.float32))
        rows = plain(filled, batch, heads, filled, size) / 64
        for first in sorted({0, filled // 2}):
            until = filled // 2 if first == 0 and filled > 1 else filled
            with driver.upload(rows[:, :, first:until]) as there:
                driver.append(state, there, first)
        query = plain(filled + 1, batch, heads, 2, size) / 64
        scores = driver.new_tensor((batch, heads, 2, capacity), packed=False)
        driver.write(scores, np.full(scores.shape, 7, np.float32))
        driver.matmul(driver.upload(query), state, filled=filled, out=scores)
        computed = driver.download(scores)
        assert np.array_equal(computed[..., :filled], _product(query, rows.swapaxes(-1, -2)))
        atom, beat = driver.geometry.atom_columns, driver.geometry.beat_columns
        assert not computed[..., filled : -(-filled // atom) * atom].any()
        assert (computed[..., -(-filled // beat) * beat :] == 7).all()


def test_a_row_in_blocks_moves_nothing_else() -> None:
    """Group to binary32, row to binary32, through host memory, back: 8 descriptors with END."""
    with small_device("all_bank", 1 << 22) as device:
        driver = PimDriver(device)
        for capacity in (8, 800):
            state = _new_state(driver, (1, 2, capacity, 16), True)
            rows = driver.upload(plain(0, 1, 2, 1, 16))
            driver.append(state, rows, capacity - 1)
            assert driver.last.descriptors == 8
            # 16 elements of 2 heads in binary32, out and in again.
            assert driver.last.host_bytes_in == driver.last.host_bytes_out == 2 * 16 * 4


def test_rows_go_through_little_host_memory() -> None:
    with small_device("all_bank", buffer_bytes=1 << 12) as device:
        driver = PimDriver(device)
        state = _new_state(driver, (40, 5, 24), True)
        wanted = plain(1, 40, 5, 24)
        _write(driver, state, wanted)
        rows = plain(2, 40, 1, 24)
        driver.append(state, driver.upload(rows), 3)
        wanted[:, 3:4] = rows
        assert np.array_equal(driver.read_rows(state, 0, 5), wanted)


def test_a_device_whose_beats_do_not_divide_a_block_has_no_states_in_blocks() -> None:
    wide = replace(small_geometry("all_bank"), banks=32, beat_bytes=32 * 32, lanes=512)
    assert in_blocks_refused(small_geometry("all_bank")) is None
    assert in_blocks_refused(wide) == ("the 32 atoms of a beat do not divide the 16 of a block")
    with ModelDevice(wide, 1 << 16) as device:
        driver = PimDriver(device)
        state = _new_state(driver, (2, 40, 16), True)
        row = driver.upload(plain(0, 2, 1, 16))
        with pytest.raises(DriverError, match=r"in blocks: the 32 atoms.*keep the state in rows"):
            driver.append(state, row, 0)
        with pytest.raises(DriverError, match="keep the state in rows"):
            driver.read_rows(state, 0, 1)


@pytest.mark.parametrize("blocks", [False, True])
def test_states_of_equal_layers_lie_whole_rows_of_the_dram_apart(blocks: bool) -> None:
    """Their lists have one name, and one of them is simulated."""
    geometry = load_platform("aim").geometry()
    with ModelDevice(geometry, 1 << 20) as device:
        driver = PimDriver(device)
        row = driver.upload(plain(0, 1, 3, 1, 64))
        query = driver.upload(plain(0, 1, 3, 3, 64))
        names = []
        for _ in range(2):
            state = driver.new_state((1, 3, 2049, 64), blocks=blocks)
            assert state.address % (geometry.row_bytes * geometry.banks) == 0
            with driver.written_down() as written:
                driver.append(state, row, 17)
            appended = moved_name(map(Fields.parse, written), geometry)
            with driver.written_down() as written:
                driver.matmul(query, state, transpose_b=not blocks, filled=18)
            names.append((appended, moved_name(map(Fields.parse, written), geometry)))
        assert names[0] == names[1]


def test_rows_move_alone() -> None:
    """One descriptor writes the row of every head, however long the state is."""
    with small_device("per_bank", 1 << 22) as device:
        driver = PimDriver(device)
        for capacity in (8, 800):
            state = driver.new_tensor((1, 4, capacity, 16))
            rows = driver.upload(plain(0, 1, 4, 1, 16))
            driver.append(state, rows, capacity - 1)
            assert driver.last.descriptors == 2  # END is one too
            assert driver.last.host_bytes_in == 0


def test_what_does_not_fit_a_state_is_refused() -> None:
    with small_device("per_bank") as device:
        driver = PimDriver(device)
        state, other = driver.new_tensor((1, 2, 5, 8)), driver.new_tensor((1, 2, 5, 8))
        row = driver.upload(plain(0, 1, 2, 1, 8))
        for first in (-1, 5):
            with pytest.raises(ShapeError, match="rows of the same leading axes and size"):
                driver.append(state, row, first)
        with pytest.raises(ShapeError, match="end at row 5 at the latest"):
            driver.append(state, driver.upload(plain(0, 1, 3, 1, 8)), 0)
        with pytest.raises(ShapeError, match="row 4 of a state"):
            driver.read_rows(state, 4, 2)
        for filled in (0, 6):
            with pytest.raises(ShapeError, match="give 1 to 5, of a tensor in rows"):
                driver.matmul(other, state, transpose_b=True, filled=filled)
        with pytest.raises(ShapeError, match="give 1 to 8, of a tensor in rows"):
            driver.matmul(row, driver.load_matrix(plain(0, 8, 16)), filled=3)
        blocks = _new_state(driver, (1, 2, 5, 8), True)
        with pytest.raises(ShapeError, match="give 1 to 5, of a tensor in rows or in blocks"):
            driver.matmul(other, blocks, filled=6)
        with pytest.raises(ShapeError, match="end at row 5 at the latest"):
            driver.append(blocks, row, 5)
        with pytest.raises(ShapeError, match="rows of the same leading axes and size"):
            driver.append(driver.load_matrix(plain(0, 1, 2, 8, 5)), row, 0)
        with pytest.raises(ShapeError, match="give a bf16 tensor of its shape, in rows"):
            driver.matmul(other, state, transpose_b=True, out=driver.new_tensor((1, 2, 5, 4)))
        with pytest.raises(DriverError, match="has no rows 3 to 13"):
            state.rows_from(3, (10, 8))
