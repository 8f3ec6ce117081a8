"""The specification of the device's arithmetic, in numpy.

Operands are bfloat16, held as `uint16` bit patterns. A product is exact, a sum is one fused
multiply-add a step in binary32 (round to nearest even, subnormals kept), the inner dimension runs
in ascending order, results are rounded to bfloat16 or stay binary32, and every NaN is the canonical
quiet NaN. The RTL lanes, the native lanes and `pimloop.host.pim.device.model` give these bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.common.golden_compiled import accumulator

Bits = NDArray[np.uint16]
Floats = NDArray[np.float32]
#: What the lanes compute of an element, in binary32.
Arithmetic = Callable[..., Floats]

#: The canonical quiet NaN.
NAN_BF16 = 0x7FC0
NAN_F32 = 0x7FC00000

#: The least magnitude that rounds to an infinite bfloat16, half-way between the largest finite one
#: and 2^128: 3.3961e38.
OVERFLOW = float.fromhex("0x1.ffp127")

#: Half the distance of two subnormal bfloat16: the most that rounding to one is off.
SUBNORMAL_ROUNDING = 2.0**-134

# Bits of infinity without its sign.
_INFINITY = np.uint16(0x7F80)

# Elements of the accumulator block of `matmul`: small enough for the second-level cache.
_BLOCK_ELEMENTS = 65536
# Multiply-adds of a product from which on it is worth compiled code.
_COMPILED_FROM = 1 << 16
# A product of two bfloat16 is exact in binary32 while the exponents of its factors sum to this
# range: above, it overflows; below, its last bit is under the smallest subnormal.
_EXACT_EXPONENTS = (-135, 126)


class SubnormalsFlushedError(PimloopError):
    """The floating-point unit of this thread treats subnormals as zero."""


def canonical_f32(values: Floats) -> Floats:
    """Return `values` with every NaN replaced by the canonical one (a copy when there is any)."""
    nan = np.isnan(values)
    if not nan.any():
        return values
    bits = values.view(np.uint32).copy()
    bits[nan] = NAN_F32
    return bits.view(np.float32)


def to_bf16_bits(values: NDArray[np.floating]) -> Bits:
    """Round binary32 values to bfloat16 bit patterns: nearest even, canonical NaN.

    Parameters
    ----------
    values
        float32 of any shape (another floating type is first converted to float32). The bits of
        bfloat16 without NaN are a view.
    """
    if values.dtype == ml_dtypes.bfloat16:
        bits: Bits = values.view(np.uint16)
        unlike = (bits & np.uint16(0x7FFF)) > _INFINITY
        return np.where(unlike, np.uint16(NAN_BF16), bits) if unlike.any() else bits
    single = np.asarray(values, dtype=np.float32)
    with np.errstate(all="ignore"):
        result = single.astype(ml_dtypes.bfloat16).view(np.uint16)
    nan = np.isnan(single)
    if nan.any():
        result[nan] = NAN_BF16
    return result


def operand_bits(values: NDArray[np.floating]) -> Bits:
    """Round the float32 values of an operand as `to_bf16_bits`, but keep finite ones finite.

    Between the largest bfloat16, 3.3895e38, and the largest float32, 3.4028e38, rounding to
    nearest gives an infinity; the largest bfloat16 is given instead, which is off by less than
    2^-8 of the value, as much as any rounding to a neighbour. What the device computes follows
    the rules of the arithmetic: a result of it may be infinite.
    """
    bits = to_bf16_bits(values)
    infinite = (bits & np.uint16(0x7FFF)) == _INFINITY
    if infinite.any():
        bits[infinite & np.isfinite(values)] -= np.uint16(1)
    return bits


def overflows(values: NDArray[np.floating]) -> bool:
    """Return whether a finite value among `values` rounds to an infinite bfloat16."""
    if values.size == 0:
        return False
    # NaN apart; an infinity hides the largest finite value.
    high, low = np.fmax.reduce(values, axis=None), np.fmin.reduce(values, axis=None)
    if np.isinf(high) or np.isinf(low):
        finite = values[np.isfinite(values)]
        return bool((np.abs(finite) >= OVERFLOW).any())
    return bool(high >= OVERFLOW or low <= -OVERFLOW)


def bf16_to_f32(bits: Bits) -> Floats:
    """Return the float32 values of bfloat16 bit patterns (exact)."""
    return np.left_shift(bits, np.uint32(16), dtype=np.uint32).view(np.float32)


def fma_step(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return fma(a, b, c) in binary32 where `a` and `b` hold bfloat16 values (broadcasting).

    The product is exact in binary64; the sum is off from exact only where one addend is far below
    the last bit of the other, and the larger one is then never half-way between two binary32
    values, so rounding twice gives what rounding once gives.
    """
    _require_subnormals()
    with np.errstate(all="ignore"):
        wide = a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)
        return canonical_f32(np.asarray(wide.astype(np.float32)))


@overload
def matmul(
    a: Bits, b: Bits, init: Bits | Floats | None = ..., *, out_f32: Literal[False] = ...
) -> Bits: ...
@overload
def matmul(
    a: Bits, b: Bits, init: Bits | Floats | None = ..., *, out_f32: Literal[True]
) -> Floats: ...
@overload
def matmul(
    a: Bits, b: Bits, init: Bits | Floats | None = ..., *, out_f32: bool
) -> Bits | Floats: ...
def matmul(
    a: Bits, b: Bits, init: Bits | Floats | None = None, *, out_f32: bool = False
) -> Bits | Floats:
    """Return init + a x b as MATMUL computes it: one fused step for each k, ascending.

    Parameters
    ----------
    a
        (p, q) bfloat16 bits.
    b
        (q, r) bfloat16 bits (for MATMUL_T: the transposed view of the operand).
    init
        None: +0. A uint16 array (r,): a row of bfloat16, the bias. A float32 array (p, r): taken
        verbatim, continues an earlier sum.
    out_f32
        True: return the binary32 sums, False: rounded to bfloat16.

    Returns
    -------
    (p, r), uint16 bits or float32.
    """
    _require_subnormals()
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul of {a.shape} by {b.shape}")
    p, q = a.shape
    r = b.shape[1]
    acc = np.zeros((p, r), np.float32)
    if init is not None:
        acc[...] = init if init.dtype == np.float32 else bf16_to_f32(init.view(np.uint16))
    compiled = accumulator() if p * q * r >= _COMPILED_FROM else None
    if compiled is None:
        _accumulate(a, b, acc)
    else:
        compiled(bf16_to_f32(np.ascontiguousarray(a)), np.ascontiguousarray(b), acc)
    acc = canonical_f32(acc)
    return acc if out_f32 else to_bf16_bits(acc)


def elementwise(arithmetic: Arithmetic, *operands: Bits) -> Bits:
    """Return a function of the operands, rounded to binary32 and then to bfloat16 (broadcasting).

    >>> one = np.array([0x3F80], np.uint16)
    >>> hex(elementwise(np.add, one, one)[0])
    '0x4000'
    """
    _require_subnormals()
    with np.errstate(all="ignore"):
        return to_bf16_bits(np.asarray(arithmetic(*(bf16_to_f32(bits) for bits in operands))))


def _products_exact(a: Bits, b: Bits) -> bool:
    """Return whether every product is finite and exact in binary32."""
    low_a, high_a = _exponents(a)
    low_b, high_b = _exponents(b)
    return low_a + low_b >= _EXACT_EXPONENTS[0] and high_a + high_b <= _EXACT_EXPONENTS[1]


def _exponents(bits: Bits) -> tuple[int, int]:
    """Return (lowest, highest) exponent of the non-zero values; subnormals count as -133."""
    magnitude = bits & np.uint16(0x7FFF)
    lowest = int((magnitude - np.uint16(1)).min()) + 1  # 0 wraps around: above all others
    highest = int(magnitude.max())
    if highest == 0:
        return 0, 0
    return ((lowest >> 7) - 127 if lowest >= 0x80 else -133), (highest >> 7) - 127


def _accumulate(a: Bits, b: Bits, acc: Floats) -> None:
    """Add a x b to `acc`: the specification of `pimloop.host.common.golden_compiled`."""
    p, q = a.shape
    columns = bf16_to_f32(np.ascontiguousarray(a.T)).reshape(q, p, 1)
    accumulate = _accumulate_f32 if _products_exact(a, b) else _accumulate_f64
    width = max(1, _BLOCK_ELEMENTS // max(p, 1))
    with np.errstate(all="ignore"):
        for start in range(0, b.shape[1], width):
            block = np.ascontiguousarray(acc[:, start : start + width])
            rows = bf16_to_f32(np.ascontiguousarray(b[:, start : start + width]))
            accumulate(columns, rows, block)
            acc[:, start : start + width] = block


def _accumulate_f32(columns: Floats, rows: Floats, acc: Floats) -> None:
    # Products of several steps in one call: for few or short rows the calls are what costs.
    depth = min(len(rows), max(1, _BLOCK_ELEMENTS // max(acc.size, 1)))
    products = np.empty((depth, *acc.shape), np.float32)
    for start in range(0, len(rows), depth):
        steps = slice(start, start + depth)
        count = len(rows[steps])
        np.multiply(columns[steps], rows[steps, np.newaxis], out=products[:count])
        for product in products[:count]:
            np.add(acc, product, out=acc)


def _accumulate_f64(columns: Floats, rows: Floats, acc: Floats) -> None:
    wide_columns, wide_rows = columns.astype(np.float64), rows.astype(np.float64)
    total = np.empty(acc.shape, np.float64)
    for column, row in zip(wide_columns, wide_rows, strict=True):
        np.multiply(column, row, out=total)
        np.add(total, acc, out=total)
        acc[...] = total


def _require_subnormals() -> None:
    """Raise when a library has switched this thread's unit to flush subnormals to zero."""
    smallest = np.array([1], np.uint32).view(np.float32)
    if (smallest + np.float32(0)).view(np.uint32)[0] != 1:
        raise SubnormalsFlushedError(
            "this thread flushes subnormal floats to zero, so the golden model cannot give the "
            "device's bits: find the library loaded with -ffast-math and load it in another process"
        )
