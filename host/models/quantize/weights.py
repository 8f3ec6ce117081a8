"""Integer weights with scales: what kinds there are, rounding to them, and how they are packed.

Packed they are as MatMulNBits of ONNX Runtime has them: (columns, blocks, bytes) of unsigned
integers, the low bits first, the zero in the middle of their range; blocks of 128 along the inner
dimension, the last one padded with zeros; scales (columns, blocks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.host.common import golden_quantized
from pimloop.host.common.golden import Bits
from pimloop.host.models.decompose.packed_weights import bytes_apart
from pimloop.host.models.graph import Array

#: Rows of the inner dimension in a block.
BLOCK = 128

#: Rows whose sum gets a scale at a time where a column has one for all its rows.
COLUMN_ROWS = 4096

#: Elements that are rounded together.
_BAND = 1 << 22


@dataclass(frozen=True)
class Kind:
    """A kind of weights."""

    name: str  # as `--quantize` takes it
    bits: int
    grouped: bool  # a scale for each block and column; else one for each column

    @property
    def largest(self) -> int:
        """The largest magnitude that rounding gives: the range is symmetric."""
        return (1 << (self.bits - 1)) - 1

    @property
    def words(self) -> str:
        """What it is, for a person."""
        scales = f"groups of {BLOCK}" if self.grouped else "a scale a column"
        return f"{self.bits} bits, {scales}"


#: By name.
KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (Kind("w8", 8, grouped=False), Kind("w4", 4, grouped=True))
}


@dataclass(frozen=True)
class Quantized:
    """A matrix (inner, columns) of integers and scales."""

    kind: Kind
    inner: int
    packed: NDArray[np.uint8]  # (columns, blocks, bytes)
    scales: NDArray[np.float32]  # (columns, blocks), each of them a bfloat16, none subnormal

    @property
    def columns(self) -> int:
        """Columns of the matrix."""
        return int(self.packed.shape[0])

    @property
    def group(self) -> int:
        """Rows that are summed up before the sum gets their scale."""
        return BLOCK if self.kind.grouped else COLUMN_ROWS

    @property
    def stored_bytes(self) -> int:
        """Bytes of the integers and of their scales as bfloat16, each once, without padding."""
        groups = self.scales.shape[1] if self.kind.grouped else 1
        return self.inner * self.columns * self.kind.bits // 8 + 2 * groups * self.columns

    def integers(self) -> NDArray[np.int8]:
        """Return the integers, (inner, columns)."""
        bits = self.kind.bits
        apart = bytes_apart(self.packed, bits).reshape(self.columns, -1)
        values = apart[:, : self.inner].astype(np.int16)
        return (values - (1 << (bits - 1))).astype(np.int8).T

    def scale_bits(self) -> Bits:
        """Return the scales of the groups as bfloat16 bits, (groups, columns)."""
        groups = self.scales if self.kind.grouped else self.scales[:, :: COLUMN_ROWS // BLOCK]
        return np.ascontiguousarray(groups.T).astype(ml_dtypes.bfloat16).view(np.uint16)

    def floats(self) -> NDArray[np.float32]:
        """Return the matrix that the integers stand for, (inner, columns)."""
        scales = np.repeat(self.scales, BLOCK, axis=1)[:, : self.inner]
        return self.integers().astype(np.float32) * scales.T


def quantize(matrix: Array, kind: Kind) -> Quantized:
    """Round a matrix to the nearest integers of a kind.

    Parameters
    ----------
    matrix
        (inner, columns) of a floating-point type.

    Returns
    -------
    Scales are the largest magnitude of a group by the largest integer, rounded to bfloat16. A group
    whose scale would be subnormal is zeros.

    Raises
    ------
    ValueError
        When an element is NaN or infinite.
    """
    inner, columns = matrix.shape
    blocks = -(-inner // BLOCK)
    packed = np.empty((columns, blocks, BLOCK * kind.bits // 8), np.uint8)
    scales = np.empty((columns, blocks), np.float32)
    step = max(1, _BAND // inner)
    for first in range(0, columns, step):
        band = slice(first, first + step)
        rows = np.zeros((packed[band].shape[0], blocks * BLOCK), np.float32)
        rows[:, :inner] = matrix[:, band].T
        if not np.isfinite(rows).all():
            raise ValueError("it has NaN or infinite elements")
        groups = rows.reshape(len(rows), blocks if kind.grouped else 1, -1)
        scale = _scales(np.abs(groups).max(axis=2) / np.float32(kind.largest))
        # A group of zeros, or one so small that its scale is 0, is zeros.
        divisor = np.where(scale == 0, np.float32(np.inf), scale)[:, :, None]
        whole = np.clip(np.rint(groups / divisor), -kind.largest, kind.largest)
        packed[band] = _packed(whole.astype(np.int8).reshape(len(rows), -1), kind.bits)
        scales[band] = scale
    return Quantized(kind, inner, packed, scales)


def pack(integers: Array, scales: Array, kind: Kind) -> Quantized:
    """Return integers as they are given, with their scales in bfloat16, a subnormal one as 0.

    Parameters
    ----------
    integers
        (inner, columns), in the range of the kind.
    scales
        (blocks, columns); of a kind with a scale a column all blocks have the same.
    """
    inner, columns = integers.shape
    blocks = -(-inner // BLOCK)
    rows = np.zeros((columns, blocks * BLOCK), np.int8)
    rows[:, :inner] = integers.T
    return Quantized(kind, inner, _packed(rows, kind.bits), _scales(scales.T))


def _scales(values: Array) -> NDArray[np.float32]:
    """Return values as scales: bfloat16, of which subnormal ones are 0, as the device has them."""
    rounded = np.asarray(values.astype(ml_dtypes.bfloat16).astype(np.float32))
    normal = np.abs(rounded) >= golden_quantized.LEAST_SCALE
    return np.ascontiguousarray(np.where(normal | np.isnan(rounded), rounded, np.float32(0)))


def _packed(integers: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Return (columns, blocks * BLOCK) integers as (columns, blocks, bytes)."""
    raised = (integers.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    if bits == 4:
        raised = raised[:, ::2] | (raised[:, 1::2] * np.uint8(16)).astype(np.uint8)
    return raised.reshape(len(integers), -1, BLOCK * bits // 8)
