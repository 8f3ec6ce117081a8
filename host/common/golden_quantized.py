"""The specification of products by integer weights with scales, in numpy.

W8A16 and W4A16: activations are bfloat16, weights integers of 8 or 4 bits, which bfloat16 holds
exactly. The inner dimension is cut into groups of rows. A group's partial sum is that of
`golden.matmul` from +0 on. Its significand is cut into three parts of eight bits, and total =
fma(scale, part, total) for each, the upper one first: what a lane that multiplies 8 by 8 bits can
do without losing a bit of the sum. Groups come in ascending order. Scales are bfloat16, one for
each group and column; a subnormal scale is a zero of its sign.
"""

from __future__ import annotations

from typing import Literal, overload

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.host.common import golden
from pimloop.host.common.golden import Bits, Floats

Integers = NDArray[np.int8]

#: The least magnitude of a scale other than 0; below, it counts as a zero.
LEAST_SCALE = np.float32(2.0**-126)


#: The upper bits of a binary32 up to and including each part of its significand.
_UPPER = (np.uint32(0xFFFF0000), np.uint32(0xFFFFFF00), np.uint32(0xFFFFFFFF))


def parts(partial: Floats) -> tuple[Floats, Floats, Floats]:
    """Return three parts of a binary32 whose exact sum it is, of eight bits each, the upper first.

    Each has the sign of the whole. An infinity and a NaN are all three parts of themselves.
    """
    bits = partial.view(np.uint32)
    upper, middle, lower = (np.asarray((bits & mask).view(np.float32)) for mask in _UPPER)
    with np.errstate(invalid="ignore"):
        rest = [np.copysign(a - b, partial) for a, b in ((middle, upper), (lower, middle))]
    second, third = (np.where(np.isfinite(partial), part, partial) for part in rest)
    return np.where(np.isfinite(partial), upper, partial), second, third


def add_scaled(scale: Floats, partial: Floats, total: Floats) -> Floats:
    """Return total + scale x partial as the lanes compute it: a fused step for each part.

    Parameters
    ----------
    scale
        bfloat16 values as float32; a subnormal one is a zero.
    partial, total
        Any float32, as large as the result.

    Returns
    -------
    float32, NaN canonical.
    """
    normal = np.where(np.abs(scale) < LEAST_SCALE, np.copysign(np.float32(0), scale), scale)
    for part in parts(partial):
        total = golden.fma_step(normal, part, total)
    return total


@overload
def matmul(
    a: Bits, weights: Integers, scales: Bits, group: int, init: Bits | Floats | None = ...,
    *, out_f32: Literal[False] = ...,
) -> Bits: ...  # fmt: skip
@overload
def matmul(
    a: Bits, weights: Integers, scales: Bits, group: int, init: Bits | Floats | None = ...,
    *, out_f32: Literal[True],
) -> Floats: ...  # fmt: skip
def matmul(
    a: Bits,
    weights: Integers,
    scales: Bits,
    group: int,
    init: Bits | Floats | None = None,
    *,
    out_f32: bool = False,
) -> Bits | Floats:
    """Return init + a x (weights times the scales of their groups).

    Parameters
    ----------
    a
        (p, q) bfloat16 bits.
    weights
        (q, r) int8.
    scales
        (ceil(q / group), r) bfloat16 bits.
    group
        Rows of the weights that share a scale; the last group may have fewer.
    init
        None: +0. A uint16 array (r,): a row of bfloat16, the bias. A float32 array (p, r): taken
        verbatim, the total of earlier groups.
    out_f32
        True: return the binary32 totals, False: rounded to bfloat16.

    Returns
    -------
    (p, r), uint16 bits or float32.

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    (p, q), r = a.shape, weights.shape[1]
    if weights.shape[0] != q or group < 1 or scales.shape != (-(-q // group), r):
        raise ValueError(
            f"product of {a.shape} by {weights.shape} with scales {scales.shape} of groups of"
            f" {group}"
        )
    total = np.zeros((p, r), np.float32)
    if init is not None:
        total[...] = init if init.dtype == np.float32 else golden.bf16_to_f32(init.view(np.uint16))
    for index, scale in enumerate(golden.bf16_to_f32(scales)):
        rows = slice(index * group, (index + 1) * group)
        bits = weights[rows].astype(ml_dtypes.bfloat16).view(np.uint16)
        partial = golden.matmul(a[:, rows], bits, out_f32=True)
        total = add_scaled(scale, partial, total)
    return golden.canonical_f32(total) if out_f32 else golden.to_bf16_bits(total)
