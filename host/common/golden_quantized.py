"""The specification of products by integer weights with scales, in numpy.

W8A16 and W4A16: activations are bfloat16, weights integers of 8 or 4 bits, which bfloat16 holds
exactly. The inner dimension is cut into groups of rows. A group's partial sum is that of
`golden.matmul` from +0 on; then total = fma(scale, partial, total) in binary32, one fused step a
group, in ascending order. Scales are bfloat16, one for each group and column.
"""

from __future__ import annotations

from typing import Literal, overload

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.host.common import golden
from pimloop.host.common.golden import Bits, Floats

Integers = NDArray[np.int8]


def fma_scaled(scale: Floats, partial: Floats, total: Floats) -> Floats:
    """Return fma(scale, partial, total) in binary32 (broadcasting).

    Parameters
    ----------
    scale
        bfloat16 values as float32.
    partial, total
        Any float32.

    Returns
    -------
    float32, rounded once to nearest even, NaN canonical. The product, of 8 by 24 bits, is exact in
    binary64. Its sum is rounded there to odd, so that rounding it again is rounding it once.
    """
    with np.errstate(all="ignore"):
        product = scale.astype(np.float64) * partial.astype(np.float64)
        addend = total.astype(np.float64)
        near = np.asarray(product + addend)
        # What rounding to binary64 left out, exactly (Knuth's two-sum).
        back = near - product
        rest = (product - (near - back)) + (addend - back)
        even = (near.view(np.int64) & 1) == 0
        inexact = np.isfinite(near) & (rest != 0) & even
        odd = np.nextafter(near, np.where(rest > 0, np.inf, -np.inf))
        return golden.canonical_f32(np.asarray(np.where(inexact, odd, near).astype(np.float32)))


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
        total = fma_scaled(scale, partial, total)
    return golden.canonical_f32(total) if out_f32 else golden.to_bf16_bits(total)
