"""The device's arithmetic in unbounded integers: slow, and free of any floating-point unit.

Independent of `pimloop.host.common.golden`: it never touches a float, so the two can be held
against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: Canonical quiet NaN.
NAN_F32 = 0x7FC00000
INF_F32 = 0x7F800000

_MANTISSA_BITS = 23
_LOWEST = -149  # exponent of the last bit of a subnormal binary32


def fma(a: int, b: int, c: int) -> int:
    """Return the bits of a * b + c rounded once, of bfloat16 bits a, b and binary32 bits c.

    >>> hex(fma(0x3F80, 0x4000, 0x3F800000))  # 1 * 2 + 1
    '0x40400000'
    """
    return fma_f32(a << 16, b << 16, c)


def fma_f32(a: int, b: int, c: int) -> int:
    """Return the bits of a * b + c rounded once, all of them binary32."""
    if any(_is_nan(x) for x in (a, b, c)):
        return NAN_F32
    product_sign = (a ^ b) >> 31
    if _is_inf(a) or _is_inf(b):
        if not (a & 0x7FFFFFFF and b & 0x7FFFFFFF) or (_is_inf(c) and c >> 31 != product_sign):
            return NAN_F32
        return product_sign << 31 | INF_F32
    if _is_inf(c):
        return c
    mantissa_a, exponent_a = _split(a)
    mantissa_b, exponent_b = _split(b)
    mantissa_c, exponent_c = _split(c)
    exponent = min(exponent_a + exponent_b, exponent_c)
    product = mantissa_a * mantissa_b << (exponent_a + exponent_b - exponent)
    addend = mantissa_c << (exponent_c - exponent)
    total = (-product if product_sign else product) + (-addend if c >> 31 else addend)
    if total == 0:
        both_negative = product_sign and c >> 31
        return 1 << 31 if both_negative and product == addend == 0 else 0
    return _round(abs(total), exponent, 1 if total < 0 else 0)


def to_bf16(bits: int) -> int:
    """Return binary32 bits rounded to bfloat16 (nearest even, canonical NaN)."""
    if _is_nan(bits):
        return NAN_F32 >> 16
    upper, lower = bits >> 16, bits & 0xFFFF
    return upper + (lower > 0x8000 or (lower == 0x8000 and upper & 1))


def dot(a: Sequence[int], b: Sequence[int], start: int = 0) -> int:
    """Return start + sum of a[k] * b[k], one fused step after the other."""
    for x, y in zip(a, b, strict=True):
        start = fma(x, y, start)
    return start


def relu(bits: int) -> int:
    """Return max(x, 0) of bfloat16 bits: NaN canonical, -0 kept.

    >>> [hex(relu(bits)) for bits in (0x3F80, 0xBF80, 0x8000, 0xFF81)]
    ['0x3f80', '0x0', '0x8000', '0x7fc0']
    """
    if _is_nan(bits << 16):
        return NAN_F32 >> 16
    return 0 if bits > 0x8000 else bits


def scaled_dot(
    a: Sequence[int], weights: Sequence[int], scales: Sequence[int], group: int, start: int = 0
) -> int:
    """Return start + sum over groups of scale * (sum of a[k] * weights[k]), fused steps all:
    three of a group, by parts of its sum.

    `a` and `scales` are bfloat16 bits, `weights` integers of at most 8 bits.
    """
    for index, scale in enumerate(scales):
        rows = slice(index * group, (index + 1) * group)
        partial = dot(a[rows], [integer(w) for w in weights[rows]])
        start = add_scaled(scale, partial, start)
    return start


def add_scaled(scale: int, partial: int, total: int) -> int:
    """Return the bits of total + scale * partial in three fused steps, the upper bits first.

    A subnormal scale is a zero. `scale` is bfloat16 bits, `partial` and `total` binary32 bits.
    """
    for kept in (0xFF0000, 0x00FF00, 0x0000FF):
        total = add_part(scale, partial, kept, total)
    return total


def add_part(scale: int, partial: int, kept: int, total: int) -> int:
    """Return scale * (some bits of the significand of partial) + total, rounded once.

    A subnormal scale is a zero. `scale` is bfloat16 bits, `partial` and `total` binary32 bits.
    """
    if scale & 0x7F80 == 0:
        scale &= 0x8000
    scale <<= 16
    if _is_nan(partial) or _is_inf(partial):
        return fma_f32(scale, partial, total)
    mantissa, exponent = _split(partial)
    part = mantissa & kept
    bits = partial & 1 << 31
    if part:
        bits |= _round(part, exponent, 0)
    return fma_f32(scale, bits, total)


def integer(value: int) -> int:
    """Return the bfloat16 bits of an integer of at most 8 bits.

    >>> hex(integer(-3))
    '0xc040'
    """
    if value == 0:
        return 0
    bits = _round(abs(value), 0, int(value < 0))
    assert bits & 0xFFFF == 0
    return bits >> 16


#: Operations of one operand by opcode: bfloat16 bits of bfloat16 bits.
UNARY: dict[str, Callable[[int], int]] = {"RELU": relu}


def _is_nan(bits: int) -> bool:
    return bits & 0x7FFFFFFF > INF_F32


def _is_inf(bits: int) -> bool:
    return bits & 0x7FFFFFFF == INF_F32


def _split(bits: int) -> tuple[int, int]:
    """Return (mantissa, exponent of its last bit) of a finite binary32."""
    field, fraction = bits >> _MANTISSA_BITS & 0xFF, bits & (1 << _MANTISSA_BITS) - 1
    if field == 0:
        return fraction, _LOWEST
    return fraction | 1 << _MANTISSA_BITS, field - 1 + _LOWEST


def _round(magnitude: int, exponent: int, sign: int) -> int:
    """Round magnitude * 2**exponent, not 0, to binary32 bits."""
    target = max(magnitude.bit_length() - 1 - _MANTISSA_BITS + exponent, _LOWEST)
    shift = target - exponent
    if shift <= 0:
        mantissa = magnitude << -shift
    else:
        mantissa, rest = divmod(magnitude, 1 << shift)
        half = 1 << (shift - 1)
        mantissa += rest > half or (rest == half and mantissa & 1)
    if mantissa >> (_MANTISSA_BITS + 1):
        mantissa >>= 1
        target += 1
    if mantissa >> _MANTISSA_BITS == 0:
        return sign << 31 | mantissa
    field = target - _LOWEST + 1
    if field >= 0xFF:
        return sign << 31 | INF_F32
    return sign << 31 | field << _MANTISSA_BITS | mantissa & (1 << _MANTISSA_BITS) - 1
