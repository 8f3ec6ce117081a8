"""Convolutions as matrix products: positions by channels, times a constant matrix.

A convolution with a kernel of one element, or with kernels side by side (the patches of a vision
transformer), is a product of its input in another order. Any other reads every element of its
input several times, and becomes a product only after that many copies (im2col); the operator of the
CPU does this in its cache. So those are taken apart only where asked for: otherwise the CPU's
times would be those of the copies, and a comparison with the PIM would flatter the PIM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from pimloop.host.models.decompose.products import activation
from pimloop.host.models.decompose.registry import CONTRIB, KeptWhole, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer
from pimloop.host.models.graph import Array


@dataclass(frozen=True)
class _Window:
    """Where a convolution reads, along each axis."""

    size: tuple[int, ...]  # of the input
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]  # padding before
    ends: tuple[int, ...]  # padding behind
    out: tuple[int, ...]  # of the result

    @property
    def padded(self) -> tuple[int, ...]:
        """The size with its padding."""
        return tuple(b + s + e for b, s, e in zip(self.begins, self.size, self.ends, strict=True))

    @property
    def side_by_side(self) -> bool:
        """Whether every element is read once: kernels tile the input."""
        return (
            self.kernel == self.strides
            and all(d == 1 for d in self.dilations)
            and not any(self.begins)
            and not any(self.ends)
            and all(s == k * o for s, k, o in zip(self.size, self.kernel, self.out, strict=True))
        )

    @property
    def copies(self) -> float:
        """Elements of the left operand of the product for each element of the input."""
        return prod(self.out) * prod(self.kernel) / prod(self.size)

    def positions(self) -> NDArray[np.int64]:
        """Return which elements of the padded input each output reads, (outputs, kernel)."""
        grid = np.zeros((prod(self.out), prod(self.kernel)), np.int64)
        outputs = np.indices(self.out).reshape(len(self.out), -1)
        kernels = np.indices(self.kernel).reshape(len(self.kernel), -1)
        for axis, size in enumerate(self.padded):
            starts = outputs[axis] * self.strides[axis]
            grid = grid * size + starts[:, None] + kernels[axis] * self.dilations[axis]
        return grid


@decomposes("", "Conv")
def convolution(whole: Whole, write: Writer) -> Sequence[str]:
    """Weights (out channels, in channels, kernel...), perhaps a row added."""
    return [_product(whole, write)]


@decomposes(CONTRIB, "FusedConv")
def fused_convolution(whole: Whole, write: Writer) -> Sequence[str]:
    """A convolution, a tensor added, then an activation."""
    result = _product(whole, write)
    if whole.input(3) is not None:
        result = write.op("Add", result, whole.required(3))
    return [activation(whole, write, result, whole.attribute("activation_params", ()))]


def _product(whole: Whole, write: Writer) -> str:
    whole.check_float()
    weights = whole.constant(1)
    whole.check(weights is not None, "its weights are not constant")
    assert weights is not None
    result = write_product(whole, write, whole.required(0), weights)
    if whole.input(2) is not None:
        result = write.op("Add", result, whole.required(2))
    return by_channel(whole, write, result)


def write_product(whole: Whole, write: Writer, x: str, weights: Array) -> str:
    """Return the sums of a convolution by position: (batch, positions, filters).

    Parameters
    ----------
    whole, write
        As of a rule; input 0 has the shape of `x`.
    x
        Floats, (batch, channels, axes...).
    weights
        Floats, (filters, channels, kernel...).
    """
    whole.ignore("kernel_shape", "pads")
    # The number of groups is no part of the reason: reports group operators by it.
    whole.check(whole.integer("group", 1) == 1,
                "its groups of channels are products too small for the PIM")  # fmt: skip
    batch, channels, *size = whole.shape(0)
    window = _window(whole, tuple(size), weights.shape[2:], whole.results[0].shape[2:])
    single = prod(window.kernel) == 1
    if not (single or window.side_by_side or whole.im2col):
        kernel = "x".join(map(str, window.kernel))
        raise KeptWhole(
            f"its kernel of {kernel} makes it a product only after copies of its input (--im2col)"
        )
    rows = _rows(write, x, batch, channels, window)
    # The rows have the kernel's elements outside and the channels inside.
    order = (*range(2, weights.ndim), 1, 0)
    matrix = np.ascontiguousarray(weights.transpose(order).reshape(-1, weights.shape[0]))
    return write.op("MatMul", rows, write.large_constant("weight", matrix))


def by_channel(whole: Whole, write: Writer, x: str) -> str:
    """Return (batch, positions, filters) in the order of the convolution's result."""
    batch, filters, *out = whole.results[0].shape
    turned = write.transpose(x, (0, 2, 1))
    return write.reshape(turned, (batch, filters, *out), (batch, filters, prod(out)))


def _rows(write: Writer, x: str, batch: int, channels: int, window: _Window) -> str:
    """Return what each output reads: (batch, outputs, kernel x channels)."""
    outputs, kernel = prod(window.out), prod(window.kernel)
    if window.side_by_side:
        pairs = [n for pair in zip(window.out, window.kernel, strict=True) for n in pair]
        apart = write.reshape(x, (batch, channels, *pairs))
        axes = range(2, 2 + len(pairs))
        turned = write.transpose(apart, (0, *axes[::2], *axes[1::2], 1))
        return write.reshape(turned, (batch, outputs, kernel * channels))
    if any(window.begins) or any(window.ends):
        pads = write.integers(0, 0, *window.begins, 0, 0, *window.ends)
        x = write.op("Pad", x, pads)
    flat = write.reshape(x, (batch, channels, prod(window.padded)))
    by_position = write.transpose(flat, (0, 2, 1))
    positions = window.positions().reshape(-1)
    known = (batch, positions.size, channels)
    if not np.array_equal(positions, np.arange(prod(window.padded))):
        by_position = write.op("Gather", by_position, write.constant(positions), axis=1)
    return write.reshape(by_position, (batch, outputs, kernel * channels), known)


def _window(
    whole: Whole, size: tuple[int, ...], kernel: tuple[int, ...], out: tuple[int, ...]
) -> _Window:
    axes = len(size)

    def listed(name: str) -> tuple[int, ...]:
        return tuple(whole.attribute(name) or (1,) * axes)

    strides, dilations = listed("strides"), listed("dilations")
    padding = whole.text("auto_pad", "NOTSET")
    pads = tuple(whole.attribute("pads") or (0,) * 2 * axes)
    if padding in ("SAME_UPPER", "SAME_LOWER"):
        whole.check(all(d == 1 for d in dilations), f"its padding is {padding} with dilations")
        total = [
            max(0, (o - 1) * s + k - n)
            for o, s, k, n in zip(out, strides, kernel, size, strict=True)
        ]
        before = [t - t // 2 if padding == "SAME_LOWER" else t // 2 for t in total]
        pads = (*before, *(t - b for t, b in zip(total, before, strict=True)))
    elif padding == "VALID":
        pads = (0,) * 2 * axes
    return _Window(size, tuple(kernel), strides, dilations, pads[:axes], pads[axes:], tuple(out))
