"""Element-wise operations as descriptors, with numpy's broadcasting, and changes of layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pimloop.host.operators.elementwise import Kind
from pimloop.host.operators.registry import elementwise
from pimloop.host.pim.device.validate import round_up
from pimloop.host.pim.driver import descriptors, layout
from pimloop.host.pim.driver.broadcast import row_map, runs
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.pim.driver.errors import DriverError, ShapeError
from pimloop.host.pim.driver.store import TensorStore
from pimloop.host.pim.driver.tensors import DeviceTensor, Shape
from pimloop.host.platforms.geometry import BF16_BYTES, Geometry
from pimloop.partitioner.quantity import quantity
from pimloop.rtl.tables.isa import Broadcast, Init, Opcode


class Emit(Protocol):
    """Queues a descriptor."""

    def __call__(self, descriptor: Descriptor, label: str) -> None:
        """Queue it; `label` names it in errors."""


class Elementwise:
    """Queues the descriptors of `PimDriver.elementwise`.

    It keeps a row of 1 and a row of -0 in device memory, each as wide as a column tile. With them
    the arithmetic moves data unchanged: 1 * x is x, and 1 * x + -0 is x.

    Parameters
    ----------
    geometry
        Of the device.
    emit
        Queues a descriptor.
    store
        Allocates results and intermediates.
    upload
        Puts an array into device memory; called once, for the constants.
    """

    def __init__(
        self,
        geometry: Geometry,
        emit: Emit,
        store: TensorStore,
        upload: Callable[[NDArray[np.generic]], DeviceTensor],
    ) -> None:
        self._geometry = geometry
        self._emit = emit
        self._store = store
        rows = np.ones((2, geometry.tile_columns), np.float32)
        rows[1] = -0.0
        self._constants = upload(rows)

    @property
    def ones_address(self) -> int:
        """Device address of a row of 1."""
        return self._constants.address

    @property
    def zeros_address(self) -> int:
        """Device address of a row of -0."""
        return self._constants.address + self._constants.stride

    def run(self, op: str, *operands: DeviceTensor) -> DeviceTensor:
        """Queue an operation and return the result; see `PimDriver.elementwise`."""
        kind = _kind(op, len(operands))
        shape = _result_shape(op, operands)
        label = f"{op} {', '.join(str(operand.shape) for operand in operands)}"
        if kind.operands == 1:
            return self._unary(kind, operands[0], label)
        return self._binary(kind, operands[0], operands[1], shape, label)

    def _unary(self, kind: Kind, a: DeviceTensor, label: str) -> DeviceTensor:
        """Operate on the rows of a tensor as they lie."""
        y = self._store.tensor(a.shape, packed=a.packed, apart_from=(a,))
        rows, columns = (1, a.size) if a.packed else (a.rows, a.columns)
        columns = round_up(columns, self._geometry.beat_columns)
        rows, columns = self._as_one_row(rows, columns, a.stride, y.stride)
        with y.freed_on_error():
            self._emit(
                descriptors.unary(
                    kind.opcode,
                    a.address,
                    y.address,
                    rows=rows,
                    cols=columns,
                    stride_a=a.stride,
                    stride_y=y.stride,
                ),
                label,
            )
        return y

    def _as_one_row(self, rows: int, columns: int, *strides: int) -> tuple[int, int]:
        """Return (rows, columns) of an operation whose operands lie `strides` bytes a row apart.

        all_bank: rows without a gap are one long row, which is cut where the accumulators are full.
        Other operands close the rows of the DRAM there, the less often the better.
        """
        if self._geometry.all_bank and all(step == columns * BF16_BYTES for step in strides):
            return 1, rows * columns
        return rows, columns

    def _binary(
        self, kind: Kind, a: DeviceTensor, b: DeviceTensor, shape: Shape, label: str
    ) -> DeviceTensor:
        """Operate on two tensors that are broadcast to a shape."""
        if kind.commutative and (a.columns, a.size) < (b.columns, b.size):
            # Commutative: the operand that is broadcast goes to the right, as the opcodes want it.
            a, b = b, a
        columns, rows = (shape[-1] if shape else 1), math.prod(shape[:-1])
        with ExitStack() as temporaries:
            if columns == 1 and a.size == rows and b.size in (1, rows):
                return self._one_column(kind, a, b, shape, temporaries, label)
            if a.columns < columns or a.packed:
                a = self.widen(a, columns, label)
                temporaries.callback(a.free)
            if b.size == 1:
                broadcast = Broadcast.SCALAR
            elif b.columns < columns and b.size == rows and a.rows in (1, rows):
                broadcast = Broadcast.COLUMN
                b = self._packed(b, temporaries, label)
            else:
                broadcast = Broadcast.NONE
                if b.columns < columns or b.packed:
                    b = self.widen(b, columns, label)
                    temporaries.callback(b.free)
            return self._rows(kind, a, b, broadcast, shape, label)

    def widen(self, column: DeviceTensor, columns: int, label: str) -> DeviceTensor:
        """Queue the repetition of the last axis, 1 element, to `columns`; return row layout."""
        g = self._geometry
        ones = self._constants
        shape = (*column.shape[:-1], columns)
        with ExitStack() as temporaries:
            packed = self._packed(column, temporaries, label)
            y = self._store.tensor(shape, packed=False, apart_from=(packed, ones))
            with y.freed_on_error():
                for first, rows in layout.split(y.rows, g.scalar_depth):
                    for left, width in layout.split(y.stride // BF16_BYTES, g.tile_columns):
                        self._emit(
                            descriptors.elementwise(
                                Opcode.MUL,
                                ones.address,
                                packed.address + first * BF16_BYTES,
                                y.address + first * y.stride + left * BF16_BYTES,
                                rows=rows,
                                cols=width,
                                stride_a=0,
                                stride_y=y.stride,
                                broadcast=Broadcast.COLUMN,
                            ),
                            label,
                        )
        return y

    def _packed(self, column: DeviceTensor, temporaries: ExitStack, label: str) -> DeviceTensor:
        """Return a tensor with 1 column so that its elements follow each other in memory.

        MATMUL_T of the 1 x 1 matrix 1 by the rows gathers one element of each.
        """
        if column.packed or column.rows == 1:
            return column
        g = self._geometry
        ones = self._constants
        y = self._store.tensor(column.shape, apart_from=(column, ones))
        temporaries.callback(y.free)
        for first, rows in layout.split(column.rows, g.tile_columns):
            self._emit(
                descriptors.matmul(
                    ones.address,
                    column.address + first * column.stride,
                    y.address + first * BF16_BYTES,
                    rows=1,
                    inner=1,
                    cols=round_up(rows, g.atom_columns),
                    stride_a=0,
                    stride_b=column.stride,
                    stride_y=0,
                    tile=g.atom_bytes,
                    transposed=True,
                    init=Init.ROW,
                    c=self.zeros_address,
                ),
                label,
            )
        return y

    def _one_column(
        self,
        kind: Kind,
        a: DeviceTensor,
        b: DeviceTensor,
        shape: Shape,
        temporaries: ExitStack,
        label: str,
    ) -> DeviceTensor:
        """Operate on tensors with 1 column as on one row of all their elements."""
        a = self._packed(a, temporaries, label)
        b = self._packed(b, temporaries, label)
        y = self._store.tensor(shape, apart_from=(a, b))
        with y.freed_on_error():
            self._emit(
                descriptors.elementwise(
                    kind.opcode,
                    a.address,
                    b.address,
                    y.address,
                    rows=1,
                    cols=round_up(y.size, self._geometry.beat_columns),
                    stride_a=0,
                    stride_y=0,
                    broadcast=Broadcast.SCALAR if b.size == 1 else Broadcast.ROW,
                ),
                label,
            )
        return y

    def _rows(
        self,
        kind: Kind,
        a: DeviceTensor,
        b: DeviceTensor,
        broadcast: Broadcast,
        shape: Shape,
        label: str,
    ) -> DeviceTensor:
        """Operate on rows of `a`: `b` has rows (NONE), an element a row, or one element."""
        g = self._geometry
        y = self._store.tensor(shape, packed=False, apart_from=(a, b))
        map_a = row_map(a.shape[:-1], shape[:-1])
        by_row = broadcast == Broadcast.NONE
        map_b = row_map(b.shape[:-1], shape[:-1]) if by_row else np.zeros_like(map_a)
        # The scalar buffer holds the elements of a column; the pieces start at a whole beat.
        limit = g.scalar_depth if broadcast == Broadcast.COLUMN else y.rows
        with y.freed_on_error():
            for run in runs(map_a, map_b):
                for start, rows in layout.split(run.count, limit):
                    right = b.address + (run.b + start * run.step_b) * b.stride
                    steps = [run.step_a * a.stride, y.stride]
                    if broadcast == Broadcast.NONE:
                        steps.append(run.step_b * b.stride)
                    columns = round_up(y.columns, g.beat_columns)
                    if broadcast == Broadcast.COLUMN:
                        right = b.address + start * BF16_BYTES
                    else:
                        rows, columns = self._as_one_row(rows, columns, *steps)
                    self._emit(
                        descriptors.elementwise(
                            kind.opcode,
                            a.address + (run.a + start * run.step_a) * a.stride,
                            right,
                            y.address + (run.first + start) * y.stride,
                            rows=rows,
                            cols=columns,
                            stride_a=run.step_a * a.stride,
                            stride_b=run.step_b * b.stride,
                            stride_y=y.stride,
                            broadcast=Broadcast.ROW if by_row and not run.step_b else broadcast,
                        ),
                        label,
                    )
        return y


def _kind(op: str, given: int) -> Kind:
    """Return an operation of so many operands by name; DriverError with those that there are."""
    kind = elementwise().get(op)
    if kind is None:
        raise DriverError(
            f"no element-wise operation '{op}'; the device has {', '.join(elementwise())}"
        )
    if kind.operands != given:
        takes = quantity(kind.operands, "operand")
        raise DriverError(f"{op} takes {takes}, not {given}")
    return kind


def _result_shape(op: str, operands: tuple[DeviceTensor, ...]) -> Shape:
    """Return the broadcast shape; ShapeError naming the operands' shapes."""
    for operand in operands:
        if operand.dtype != "bf16":
            raise ShapeError(f"{op}: binary32 sums {operand.shape} are not an operand")
    shapes = [operand.shape for operand in operands]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        names = " and ".join(str(shape) for shape in shapes)
        raise ShapeError(f"{op} of {names}: the shapes do not broadcast") from None
