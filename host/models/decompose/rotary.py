"""Rotary positions: pairs of elements of a head, turned by an angle of their position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pimloop.host.models.decompose.writer import Writer


@dataclass(frozen=True)
class Rotation:
    """The tables of an attention as factors of whole heads."""

    cosines: str  # (positions, head size)
    sines: str  # the same; negative for the first of each pair
    turned: int  # elements of a head that are turned; the others stay
    size: int  # of a head
    interleaved: bool  # pairs are neighbours; otherwise halves

    def at(self, write: Writer, positions: str) -> tuple[str, str]:
        """Return the factors at positions (batch, rows), as (batch, 1, rows, head size)."""
        cosines, sines = (
            write.op("Gather", table, positions, axis=0) for table in (self.cosines, self.sines)
        )
        return _with_head_axis(write, cosines), _with_head_axis(write, sines)

    def apply(self, write: Writer, x: str, rows: tuple[int, ...], factors: tuple[str, str]) -> str:
        """Turn x, (*rows, head size)."""
        cosines, sines = factors
        swapped = write.op("Mul", self._swapped(write, x, rows), sines)
        return write.op("Add", write.op("Mul", x, cosines), swapped)

    def _swapped(self, write: Writer, x: str, rows: tuple[int, ...]) -> str:
        """Return x with the elements of each pair exchanged."""
        axis, half = len(rows), self.turned // 2
        rest = []
        if self.turned < self.size:
            rest = [write.slice(x, axis, self.turned, self.size)]
        if not self.interleaved:
            first, second = write.slice(x, axis, 0, half), write.slice(x, axis, half, self.turned)
            return write.concat([second, first, *rest], axis)
        if rest:
            x = write.slice(x, axis, 0, self.turned)
        pairs = write.reshape(x, (*rows, half, 2))
        parts = [write.slice(pairs, axis + 1, start, start + 1) for start in (1, 0)]
        swapped = write.reshape(write.concat(parts, axis + 1), (*rows, self.turned))
        return write.concat([swapped, *rest], axis)


def rotation(
    write: Writer, cosines: str, sines: str, shape: tuple[int, ...], size: int, interleaved: bool,
    dtype: Any,
) -> Rotation:  # fmt: skip
    """Return the rotation by tables of a `shape` (positions, pairs), for heads of `size`."""
    positions, pairs = shape
    wide = _both(write, cosines, cosines, shape, interleaved)
    signed = _both(write, write.op("Neg", sines), sines, shape, interleaved)
    if 2 * pairs < size:
        rest = (positions, size - 2 * pairs)
        wide = write.concat([wide, write.constant(np.ones(rest, dtype))], 1)
        signed = write.concat([signed, write.constant(np.zeros(rest, dtype))], 1)
    return Rotation(wide, signed, 2 * pairs, size, interleaved)


def _both(write: Writer, first: str, second: str, shape: tuple[int, ...], interleaved: bool) -> str:
    """Return a factor for each element of a pair, from one for the first and for the second."""
    if not interleaved:
        return write.concat([first, second], 1)
    positions, pairs = shape
    parts = [write.reshape(name, (positions, pairs, 1)) for name in (first, second)]
    return write.reshape(write.concat(parts, 2), (positions, 2 * pairs))


def _with_head_axis(write: Writer, x: str) -> str:
    if write.opset >= 13:
        return write.op("Unsqueeze", x, write.integers(1))
    return write.op("Unsqueeze", x, axes=[1])
