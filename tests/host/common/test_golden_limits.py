"""Where the faster way to multiply is exact: around the limits, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pimloop.host.common import golden

#: Exponents (biased) of the two factors whose products stand around the limits of binary32.
LOW = [(e, f) for e in (1, 40, 60, 63) for f in range(50, 72)]
HIGH = [(254, f) for f in range(120, 132)] + [(190, f) for f in range(185, 196)]


def value(bits: int) -> Fraction:
    return Fraction(float(golden.bf16_to_f32(np.array([bits], np.uint16))[0]))


@pytest.mark.parametrize(("e", "f"), LOW + HIGH)
def test_products_are_called_exact_only_where_they_are(e: int, f: int) -> None:
    a, b = (np.array([[exponent << 7 | 0x7F]], np.uint16) for exponent in (e, f))
    if not golden._products_exact(a, b):
        return
    with np.errstate(all="ignore"):
        product = golden.bf16_to_f32(a) * golden.bf16_to_f32(b)
    assert np.isfinite(product).all()
    assert Fraction(float(product[0, 0])) == value(int(a[0, 0])) * value(int(b[0, 0]))


def test_the_faster_way_is_taken_for_ordinary_values() -> None:
    """Weights and activations of a model are far inside: both ways exist."""
    ordinary = np.array([[0x3F80, 0xBC23], [0x0000, 0x4248]], np.uint16)
    assert golden._products_exact(ordinary, ordinary)
    assert golden._products_exact(np.zeros((1, 1), np.uint16), ordinary)
    tiny, huge = np.array([[0x0001]], np.uint16), np.array([[0x7F7F]], np.uint16)
    assert not golden._products_exact(tiny, tiny)
    assert not golden._products_exact(huge, huge)
    for odd in (0x7F80, 0xFF80, 0x7FC0):
        assert not golden._products_exact(np.array([[odd]], np.uint16), ordinary)


@pytest.mark.parametrize("start", [0.0, 1.0, -1e-38])
def test_sums_around_the_limits(start: float) -> None:
    """A step rounds once: the same bits as exact fractions give, wherever the products lie."""
    from support import exact

    for e, f in LOW + HIGH:
        a, b = e << 7 | 0x55, f << 7 | 0x33
        init = np.full((1, 1), start, np.float32)
        got = golden.matmul(
            np.array([[a]], np.uint16), np.array([[b]], np.uint16), init, out_f32=True
        )
        wanted = exact.fma(a, b, int(init.view(np.uint32)[0, 0]))
        assert int(got.view(np.uint32)[0, 0]) == wanted, (e, f)
