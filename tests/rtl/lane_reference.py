"""Oracles of the lane's arithmetic that share nothing with the code under test, and operand sets.

`fma_exact` and `bf16_exact` use integers of any size only. `fma_wide` goes through binary64 a step
at a time with numpy; it is fast, and the tests hold it against the integers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pimloop.rtl.tools.interface import load

ROOT = Path(__file__).parents[2]
LANE_SOURCES = tuple(ROOT / "rtl" / f"{name}.sv" for name in ("pim_pkg", "pim_lane", "pim_lanes"))
NATIVE_SOURCES = (ROOT / "rtl" / "pim_pkg.sv", ROOT / "rtl" / "pim_lanes_native_sim.sv")
PAIR_SOURCES = (
    *LANE_SOURCES,
    ROOT / "rtl" / "pim_lanes_native_sim.sv",
    Path(__file__).parent / "sv" / "pim_lane_pair.sv",
)
DPI_SOURCE = ROOT / "sim" / "dpi" / "pim_lane_dpi.cpp"
DPI_HEADER = ROOT / "sim" / "dpi" / "pim_lane_dpi.h"

# pim_pkg::lane_op_e, those that the tests name. Every operation of the table must be known to
# `lane_bench.LaneModel`: random tests draw from all of them.
MAC, MACZ, MUL, MULS, LOAD, LOAD_F32, SPLAT, RELU, MAC_I, MACZ_I, SCALE = range(11)
OPERATIONS = range(len(load()["lane"]))

NAN = 0x7FC00000
NEGATIVE_ZERO = 0x80000000

_POSITIVE_BF16 = (
    *(0x0000, 0x0001, 0x0003, 0x0040, 0x007F),  # zero and subnormals
    *(0x0080, 0x0081, 0x00FF, 0x0100),  # smallest normal numbers
    *(0x1A00, 0x1F80, 0x2000),  # 2**-75, 2**-64, 2**-63: products near the subnormals
    *(0x3380, 0x3F00, 0x3F7F, 0x3F80, 0x3F81, 0x3FFF, 0x4000, 0x4B80),  # near 1, 2**-24, 2**24
    *(0x5F00, 0x5F80, 0x5FFF),  # 2**63, 2**64: products near the overflow
    *(0x7F00, 0x7F7E, 0x7F7F),  # largest
    *(0x7F80, 0x7F81, 0x7FC0, 0x7FFF),  # infinity, NaNs
)
_POSITIVE_F32 = (
    *(0x00000000, 0x00000001, 0x00000002, 0x00400000, 0x007FFFFF),
    *(0x00800000, 0x00800001, 0x00FFFFFF, 0x01000000),
    *(0x1A000000, 0x20000000, 0x33800000, 0x34000000, 0x3F000001),
    *(0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FFFFFFF, 0x4B7FFFFF, 0x4B800000),
    *(0x5F000000, 0x73800000, 0x7F000000, 0x7F7FFFFF),
    *(0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF),
)

#: Every class of bfloat16 and binary32 with both signs.
CORNERS_BF16 = np.array([s | x for s in (0, 0x8000) for x in _POSITIVE_BF16], dtype=np.uint16)
CORNERS_F32 = np.array([s | x for s in (0, 1 << 31) for x in _POSITIVE_F32], dtype=np.uint32)


def _unpack(bits: int) -> tuple[int, int, int]:
    """Return sign, significand and weight of a finite binary32: sign * sig * 2**weight."""
    field = bits >> 23 & 0xFF
    significand = bits & 0x7FFFFF | (0x800000 if field else 0)
    return (-1 if bits >> 31 else 1), significand, max(field, 1) - 150


def _round_half_even(value: int, shift: int) -> int:
    """Return value / 2**shift rounded to the nearest integer, ties to even; value >= 0."""
    if shift <= 0:
        return value << -shift
    quotient, rest = divmod(value, 1 << shift)
    half = 1 << (shift - 1)
    return quotient + (rest > half or (rest == half and quotient & 1 == 1))


def fma_exact(a: int, b: int, c: int) -> int:
    """Return the bits of a * b + c for two bfloat16 and a binary32, with integers only."""
    a, b = a << 16, b << 16
    inf = 0x7F800000
    magnitude_a, magnitude_b, magnitude_c = (x & 0x7FFFFFFF for x in (a, b, c))
    product_sign = (a ^ b) >> 31
    if max(magnitude_a, magnitude_b, magnitude_c) > inf:
        return NAN
    if inf in (magnitude_a, magnitude_b):
        if 0 in (magnitude_a, magnitude_b):
            return NAN
        if magnitude_c == inf and c >> 31 != product_sign:
            return NAN
        return product_sign << 31 | inf
    if magnitude_c == inf:
        return c
    sign_a, sig_a, weight_a = _unpack(a)
    sign_b, sig_b, weight_b = _unpack(b)
    sign_c, sig_c, weight_c = _unpack(c)
    weight = min(weight_a + weight_b, weight_c)
    total = (sign_a * sign_b * sig_a * sig_b << (weight_a + weight_b - weight)) + (
        sign_c * sig_c << (weight_c - weight)
    )
    if total == 0:
        both_negative = sig_a * sig_b == 0 and sig_c == 0 and product_sign == 1 and c >> 31 == 1
        return NEGATIVE_ZERO if both_negative else 0
    sign = NEGATIVE_ZERO if total < 0 else 0
    size = abs(total)
    place = max(size.bit_length() - 24 + weight, -149)
    significand = _round_half_even(size, place - weight)
    if significand == 1 << 24:
        significand, place = 1 << 23, place + 1
    if significand < 1 << 23:
        return sign | significand
    if place + 150 >= 255:
        return sign | inf
    return sign | (place + 150) << 23 | significand & 0x7FFFFF


def bf16_exact(bits: int) -> int:
    """Return the bits of a binary32 rounded to bfloat16, with integers only."""
    magnitude = bits & 0x7FFFFFFF
    if magnitude > 0x7F800000:
        return NAN >> 16
    # Neighbours in the order of the bits are neighbours in value, infinity included.
    return bits >> 31 << 15 | _round_half_even(magnitude, 16)


def fma_wide(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the bits of a * b + c through binary64 (uint16, uint16, uint32; broadcasting)."""

    def value(bits: np.ndarray, shift: int) -> np.ndarray:
        words = np.asarray(bits).astype(np.uint32) << np.uint32(shift)
        return words.view(np.float32).astype(np.float64)

    with np.errstate(all="ignore"):
        total = (value(a, 16) * value(b, 16) + value(c, 0)).astype(np.float32)
    return np.where(np.isnan(total), np.uint32(NAN), total.view(np.uint32))


def relu_exact(bits: int) -> int:
    """Return the binary32 bits of the larger one of a bfloat16 and 0; -0 stays, NaN is canonical.

    In sign and magnitude: what has a sign and is more than nothing is less than 0.
    """
    sign, magnitude = bits >> 15, bits & 0x7FFF
    if magnitude > 0x7F80:
        return NAN
    return 0 if sign and magnitude else bits << 16


def bf16_wide(bits: np.ndarray) -> np.ndarray:
    """Return binary32 bits rounded to bfloat16 bits, with 64-bit integers."""
    words = bits.astype(np.int64)
    upper, tail = words >> 16, words & 0xFFFF
    upper += (tail > 0x8000) | ((tail == 0x8000) & (upper & 1 == 1))
    return np.where((words & 0x7FFFFFFF) > 0x7F800000, NAN >> 16, upper).astype(np.uint16)


def directed_triples() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return operands (uint16, uint16, uint32 of one length) of what a sum can run into, by name.

    Every class of one operand meets every class of the others elsewhere (`CORNERS_BF16`,
    `CORNERS_F32`); here the addend is chosen for the product.
    """
    rng = np.random.default_rng(11)
    product_fields = np.arange(1, 254)
    signs = rng.integers(0, 2, (2, 253, 8)).astype(np.uint16)
    fractions = rng.integers(0, 128, (2, 253, 8)).astype(np.uint16)
    fractions[:, :, 0] = 0
    fractions[:, :, 1] = 127
    a = signs[0] << 15 | np.uint16(0x3F80) | fractions[0]
    b = signs[1] << 15 | (product_fields[:, None] << 7).astype(np.uint16) | fractions[1]
    a, b = a.ravel(), b.ravel()
    product = fma_wide(a, b, np.zeros(len(a), dtype=np.uint32))
    negative = product ^ np.uint32(NEGATIVE_ZERO)

    def moved(words: np.ndarray, places: int) -> np.ndarray:
        """Return numbers with the sign of `words` and an exponent `places` higher, clipped."""
        field = np.clip((words >> 23 & 0xFF).astype(np.int64) + places, 0, 254)
        return words & np.uint32(NEGATIVE_ZERO) | field.astype(np.uint32) << np.uint32(23)

    ones, odd = np.uint32(0x7FFFFF), np.uint32(1)
    # A power of two as the product, half a place of the addend: 2**-24 of it.
    flat = a & np.uint16(0xFF80)
    power = b & np.uint16(0xFF80)
    powers = fma_wide(flat, power, np.zeros(len(a), dtype=np.uint32))
    sets = {
        "tie, even": (flat, power, moved(powers, 24)),
        "tie, odd": (flat, power, moved(powers, 24) | odd),
        "tie, carry": (flat, power, moved(powers, 24) | ones),
        "tie below a power of two": (flat, power, moved(powers ^ np.uint32(NEGATIVE_ZERO), 25)),
        "almost a tie": (flat, power | np.uint16(1), moved(powers, 24) | odd),
        "carry into the next binade": (a, b, moved(product, 0) | ones),
        "carry from far below": (a, b, moved(product, 20) | ones),
        "borrow from a power of two": (a, b, moved(negative, 12)),
    }
    for places in range(-2, 3):
        close = (negative.astype(np.int64) + places).astype(np.uint32)
        sets[f"cancellation, {places:+d}"] = (a, b, close)
    for distance in (-45, -43, -42, -41, -26, -25, 16, 17, 18, 19, 25, 26):
        sets[f"addend {distance:+d}"] = (a, b, moved(product, distance) | odd)
        sets[f"power {distance:+d}"] = (a, b, moved(negative, distance))
    return sets


def random_bf16(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Return bfloat16 bits: half of them uniform, the rest subnormal, near 1, large or corners."""
    bits = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    kind = rng.integers(0, 8, shape)
    bits = np.where(kind == 0, bits & np.uint16(0x807F), bits)
    bits = np.where(kind == 1, bits & np.uint16(0x87FF) ^ np.uint16(0x3F80), bits)
    bits = np.where(kind == 2, bits & np.uint16(0x80FF) | np.uint16(0x7F00), bits)
    return np.where(kind == 3, rng.choice(CORNERS_BF16, shape), bits)


def random_f32(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return binary32 bits to be added to a * b: half of them of a similar exponent."""
    shape = np.broadcast_shapes(np.shape(a), np.shape(b))
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    kind = rng.integers(0, 8, shape)
    field = (a.astype(np.int64) >> 7 & 0xFF) + (b.astype(np.int64) >> 7 & 0xFF) - 127
    field = np.clip(field + rng.integers(-28, 46, shape), 0, 254).astype(np.uint32)
    near = bits & np.uint32(0x807FFFFF) | field << np.uint32(23)
    bits = np.where(kind >= 4, near, bits)
    bits = np.where(kind >= 6, bits & np.uint32(0xFFFF0000), bits)
    bits = np.where(kind == 0, bits & np.uint32(0x807FFFFF), bits)
    return np.where(kind == 1, rng.choice(CORNERS_F32, shape), bits)
