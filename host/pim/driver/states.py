"""Rows written in place into a tensor that stays in device memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pimloop.host.pim.device.validate import round_up
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.pim.driver.errors import ShapeError
from pimloop.host.pim.driver.tensors import DeviceTensor
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import Broadcast, Opcode


def append(
    geometry: Geometry, ones: int, state: DeviceTensor, rows: DeviceTensor, first: int
) -> Iterator[Descriptor]:
    """Yield the descriptors of `PimDriver.append`.

    Parameters
    ----------
    geometry
        Of the device.
    ones
        Device address of a row of 1: multiplying by it copies exactly.
    state, rows, first
        As of `PimDriver.append`.
    """
    require_room(state, rows.shape, first)
    appended, each = rows.shape[-2], state.shape[-2] * state.stride
    matrices = math.prod(rows.shape[:-2])
    # One row of each matrix is one operation, otherwise each matrix is.
    count, height = (1, matrices) if appended == 1 else (matrices, appended)
    for matrix in range(count):
        yield descriptors.elementwise(
            Opcode.MUL,
            rows.address + matrix * appended * rows.stride,
            ones,
            state.address + first * state.stride + matrix * each,
            rows=height,
            cols=round_up(rows.columns, geometry.beat_columns),
            stride_a=rows.stride,
            stride_y=each if appended == 1 else state.stride,
            broadcast=Broadcast.SCALAR,
        )


def require_room(state: DeviceTensor, shape: tuple[int, ...], first: int) -> None:
    """Raise ShapeError where rows of a shape do not fit into a state from row `first` on."""
    same = (*shape[:-2], shape[-1]) == (*state.shape[:-2], state.shape[-1])
    if not same or state.packed or not 0 <= first <= first + shape[-2] <= state.shape[-2]:
        raise ShapeError(
            f"rows {shape} at row {first} of a state {state.shape}: give rows of the same leading"
            f" axes and size that end at row {state.shape[-2]} at the latest"
        )


def part_of(state: DeviceTensor, matrix: int, first: int, count: int) -> DeviceTensor:
    """Return some rows of a matrix of a state, as a tensor that is not freed."""
    return state.rows_from(matrix * state.shape[-2] + first, (count, state.shape[-1]))
