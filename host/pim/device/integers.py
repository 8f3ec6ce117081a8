"""Right operands of integers as they lie in device memory; rtl/README.md, Integer weights.

A beat of a right operand has several weights in the 16 bits of each lane: two of 8 bits or four of
4, each a sign and a magnitude. A column tile has, for each group of rows, its weights and then its
scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimloop.host.common.golden import Bits
from pimloop.rtl.tables.isa import Weights

Integers = NDArray[np.int8]

#: Weights in the 16 bits of a lane, by the option `weights` of a descriptor.
WEIGHTS_PER_LANE: Mapping[int, int] = {Weights.BF16: 1, Weights.W8: 2, Weights.W4: 4}

#: Bits of a beat that belong to a lane.
LANE_BITS = 16


@dataclass(frozen=True)
class Part:
    """The weights of a column tile in one group of rows, and their scales."""

    columns: slice
    rows: slice
    group: int  # of the product
    weight_words: int  # 16-bit words in memory
    scale_words: int


def parts(inner: int, columns: int, width: int, group: int, weights: Weights) -> Iterator[Part]:
    """Yield the parts of a right operand in the order they follow each other in memory.

    Parameters
    ----------
    inner, columns
        Its elements; whole beats of columns.
    width
        Columns of a tile.
    group
        Rows that share a scale.
    weights
        Which integers.
    """
    for left in range(0, columns, width):
        tile = slice(left, min(left + width, columns))
        for index, first in enumerate(range(0, inner, group)):
            rows = slice(first, min(first + group, inner))
            words = (rows.stop - rows.start) * (tile.stop - tile.start)
            yield Part(
                tile, rows, index, words // WEIGHTS_PER_LANE[weights], tile.stop - tile.start
            )


def pack(integers: Integers, weights: Weights, lanes: int) -> Bits:
    """Return the words of (rows, columns) integers, (rows, columns / weights a lane).

    Parameters
    ----------
    integers
        In the range of the format.
    weights
        Which integers.
    lanes
        Elements of a beat of bfloat16.
    """
    each = WEIGHTS_PER_LANE[weights]
    bits = LANE_BITS // each
    magnitude = np.abs(integers.astype(np.int16)).astype(np.uint16)
    # The magnitude of the least integer does not fit: it is the code of -0.
    code = magnitude & np.uint16((1 << bits - 1) - 1)
    code |= (integers < 0).astype(np.uint16) << np.uint16(bits - 1)
    codes = code.reshape(len(integers), -1, each, lanes)
    words = np.zeros((*codes.shape[:2], lanes), np.uint16)
    for part in range(each):
        words |= codes[:, :, part] << np.uint16(part * bits)
    return words.reshape(len(integers), -1)


def unpack(words: Bits, weights: Weights, lanes: int) -> Integers:
    """Return the (rows, columns) integers of words; the way back of `pack`."""
    each = WEIGHTS_PER_LANE[weights]
    bits = LANE_BITS // each
    shifts = (np.arange(each, dtype=np.uint16) * np.uint16(bits)).reshape(1, 1, each, 1)
    codes = words.reshape(len(words), -1, 1, lanes) >> shifts & np.uint16((1 << bits) - 1)
    negative = (codes >> np.uint16(bits - 1)).astype(bool)
    magnitude = (codes & np.uint16((1 << bits - 1) - 1)).astype(np.int16)
    least = -(1 << bits - 1)
    values = np.where(negative, np.where(magnitude == 0, least, -magnitude), magnitude)
    return values.astype(np.int8).reshape(len(words), -1)
