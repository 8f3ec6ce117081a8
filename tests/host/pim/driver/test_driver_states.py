"""Rows written in place, and products that read only those that are there."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_devices import plain, small_device

from pimloop.host.common import golden
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.driver.errors import DriverError, ShapeError

STYLES = pytest.mark.parametrize("style", ["per_bank", "all_bank"])


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
@pytest.mark.parametrize("appended", [1, 3])
def test_rows_are_written_in_place(style: str, appended: int) -> None:
    shape = (2, 3, 9, 20)
    with small_device(style) as device:
        driver = PimDriver(device)
        state = driver.new_tensor(shape)
        wanted = plain(1, *shape)
        driver.write(state, wanted)
        for first in (0, 4, 9 - appended):
            rows = plain(first + 5, 2, 3, appended, 20)
            there = driver.upload(rows)
            driver.append(state, there, first)
            there.free()
            wanted[:, :, first : first + appended] = rows
            assert np.array_equal(driver.read_rows(state, first, appended), rows)
            assert np.array_equal(driver.download(state), wanted)
            assert np.array_equal(driver.read_rows(state, 0, 9), wanted)


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
        with pytest.raises(ShapeError, match="give a bf16 tensor of its shape, in rows"):
            driver.matmul(other, state, transpose_b=True, out=driver.new_tensor((1, 2, 5, 4)))
        with pytest.raises(DriverError, match="has no rows 3 to 13"):
            state.rows_from(3, (10, 8))
