"""Convolutions of 8-bit integers as float products that give the same integers.

What `convolution` says of kernels and `integer_products` of sums and of integer results holds here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pimloop.host.models.decompose.convolution import by_channel, write_product
from pimloop.host.models.decompose.integer_products import (
    check_becomes_float,
    check_exact,
    constant_row,
    constant_scales,
    less_zero_point,
    quantized,
)
from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer


@decomposes("", "ConvInteger")
def integer_convolution(whole: Whole, write: Writer) -> Sequence[str]:
    """int32 sums of products of 8-bit integers, each less a zero point."""
    check_becomes_float(whole)
    result = by_channel(whole, write, _sums(whole, write, zero=2, right=1, right_zero=3))
    return [write.cast(result, np.int32)]


@decomposes(CONTRIB, "QLinearConv")
def quantized_convolution_of_onnx_runtime(whole: Whole, write: Writer) -> Sequence[str]:
    """ONNX's own, with an attribute for another order of the axes."""
    whole.check(not whole.integer("channels_last", 0), "its channels are last")
    return _quantized(whole, write)


@decomposes("", "QLinearConv")
def quantized_convolution(whole: Whole, write: Writer) -> Sequence[str]:
    """The integer sums with a row of integers added, scaled and rounded to 8 bits again."""
    return _quantized(whole, write)


def _quantized(whole: Whole, write: Writer) -> Sequence[str]:
    row = constant_row(whole, 8)
    left, right, out = constant_scales(whole, 1, 4, 6)
    result = _sums(whole, write, zero=2, right=3, right_zero=5,
                   further=int(np.abs(row).max(initial=0)))  # fmt: skip
    if row.any():
        result = write.op("Add", result, write.constant(row.astype(np.float32)))
    factor = np.asarray(left.reshape(()) * right / out.reshape(()), np.float32)
    scaled = write.op("Mul", result, write.constant(factor))
    return [by_channel(whole, write, quantized(whole, write, scaled, 7))]


def _sums(
    whole: Whole, write: Writer, *, zero: int, right: int, right_zero: int, further: int = 0
) -> str:
    """Return the integer sums in float32, (batch, positions, filters).

    `right` and the zero points are inputs; `further` is the largest integer added to the sums.
    """
    integers, point = whole.constant(right), whole.constant(right_zero)
    whole.check(integers is not None, "its weights are not constant")
    whole.check(whole.input(right_zero) is None or point is not None,
                "the zero point of its weights is not constant")  # fmt: skip
    assert integers is not None
    points = np.zeros(1, np.int64) if point is None else point.astype(np.int64).reshape(-1)
    weights = integers.astype(np.int64) - points.reshape(-1, *(1,) * (integers.ndim - 1))
    most = int(np.abs(weights).reshape(len(weights), -1).sum(axis=1).max(initial=0)) * 255
    check_exact(whole, most + further)
    # Padding is the zero point, and so 0 here.
    left = less_zero_point(whole, write, 0, zero)
    return write_product(whole, write, left, weights.astype(np.float32))
