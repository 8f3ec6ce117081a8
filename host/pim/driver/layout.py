"""How operands lie in device memory: padding, column tiles, blocks. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.host.common import golden
from pimloop.host.pim.device import integers
from pimloop.host.pim.device.validate import round_up
from pimloop.host.platforms.geometry import BF16_BYTES, Geometry
from pimloop.rtl.tables.isa import Weights


def as_bits(array: NDArray[np.generic]) -> golden.Bits:
    """Return bfloat16 bit patterns of a float32 or bfloat16 array, NaN canonical.

    Raises
    ------
    TypeError
        For any other type: a silent conversion would hide a loss.
    """
    if array.dtype == ml_dtypes.bfloat16:
        bits = np.ascontiguousarray(array).view(np.uint16).reshape(array.shape)
        nan = (bits & np.uint16(0x7FFF)) > np.uint16(0x7F80)
        return np.where(nan, np.uint16(golden.NAN_BF16), bits) if nan.any() else bits
    if array.dtype == np.float32:
        return golden.to_bf16_bits(array)  # type: ignore[arg-type]
    raise _wrong_type(array)


def require_operand(array: NDArray[np.generic]) -> None:
    """Raise TypeError when `as_bits` would."""
    if array.dtype not in (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)):
        raise _wrong_type(array)


def _wrong_type(array: NDArray[np.generic]) -> TypeError:
    return TypeError(f"operands are float32 or bfloat16 arrays, not {array.dtype}")


def split(total: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive (start, size) pieces of at most `step` that cover `total`.

    >>> list(split(10, 4))
    [(0, 4), (4, 4), (8, 2)]
    """
    for start in range(0, total, step):
        yield start, min(step, total - start)


def tile_beats(columns: int, geometry: Geometry) -> int:
    """Return the beats of a column tile for a padded number of columns."""
    return min(geometry.acc_groups, columns // geometry.beat_columns)


def tile_columns(columns: int, geometry: Geometry) -> int:
    """Return the columns of a tile of a right operand for MATMUL padded to `columns`."""
    return tile_beats(columns, geometry) * geometry.beat_columns


def tiles(matrix: NDArray[np.generic], columns: int, geometry: Geometry) -> Iterator[golden.Bits]:
    """Yield the parts of a (q, r) right operand in the order they follow each other in memory.

    Each part is one column tile of one chunk of the inner dimension, (inner, tile width), zero
    where r is padded to `columns`.
    """
    width = tile_columns(columns, geometry)
    for start, inner in split(matrix.shape[0], geometry.scalar_depth):
        for left, tile_width in split(columns, width):
            part = np.zeros((inner, tile_width), np.uint16)
            useful = matrix[start : start + inner, left : left + tile_width]
            part[:, : useful.shape[1]] = as_bits(useful)
            yield part


def integer_tiles(
    weights: NDArray[np.int8],
    scales: golden.Bits,
    columns: int,
    kind: Weights,
    group: int,
    geometry: Geometry,
) -> Iterator[tuple[int, golden.Bits]]:
    """Yield (first column, words) of the parts of a right operand of integers, as they follow.

    Parameters
    ----------
    weights
        (q, r).
    scales
        (groups, r) bfloat16 bits.
    columns
        r padded; what is added has weights and scales of 0.
    kind
        Which integers.
    group
        Rows that share a scale; of more than SCALAR_DEPTH rows, that is a multiple of it.
    geometry
        Of the device.
    """
    width = tile_columns(columns, geometry)
    for start, inner in split(weights.shape[0], geometry.scalar_depth):
        for part in integers.parts(inner, columns, width, group, kind):
            rows = slice(start + part.rows.start, start + part.rows.stop)
            size = part.columns.stop - part.columns.start
            block = np.zeros((rows.stop - rows.start, size), np.int8)
            useful = weights[rows, part.columns]
            block[:, : useful.shape[1]] = useful
            row = np.zeros(size, np.uint16)
            row[: useful.shape[1]] = scales[start // group + part.group, part.columns]
            words = integers.pack(block, kind, geometry.beat_columns)
            yield part.columns.start, np.concatenate([words.reshape(-1), row])


def blocks(rows: NDArray[np.generic], columns: int, geometry: Geometry) -> Iterator[golden.Bits]:
    """Yield the blocks of a transposed right operand given as (r, q) rows.

    Each is (columns, atom elements): an atom of each output column, zero where padded.
    """
    atom = geometry.atom_columns
    for start, inner in split(rows.shape[1], atom):
        part = np.zeros((columns, atom), np.uint16)
        part[: rows.shape[0], :inner] = as_bits(rows[:, start : start + inner])
        yield part


def row_stride(columns: int, geometry: Geometry, itemsize: int = BF16_BYTES) -> int:
    """Return the bytes of a row of `columns` elements padded to a beat of bfloat16."""
    return round_up(columns, geometry.beat_columns) * itemsize
