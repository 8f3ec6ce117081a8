"""Matrix products as descriptors: right operands, batches, splits of a deep inner dimension."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from pimloop.host.pim.device.validate import right_bytes, round_up
from pimloop.host.pim.driver import descriptors, layout
from pimloop.host.pim.driver.broadcast import Run, row_map, runs
from pimloop.host.pim.driver.elementwise import Elementwise, Emit
from pimloop.host.pim.driver.errors import ShapeError
from pimloop.host.pim.driver.store import TensorStore
from pimloop.host.pim.driver.tensors import DeviceMatrix, DeviceTensor, Shape
from pimloop.host.platforms.geometry import BF16_BYTES, F32_BYTES, Geometry
from pimloop.rtl.tables.isa import Init, Weights


@dataclass(frozen=True)
class RightOperand:
    """One or more equal right operands as the words of a MATMUL or MATMUL_T descriptor."""

    address: int
    matrix_bytes: int  # bytes from one matrix to the next
    columns: int  # `cols`
    transposed: bool
    stride_b: int  # bytes
    tile: int  # MATMUL: beats, MATMUL_T: bytes
    step: int  # bytes from one inner element to the next where the inner dimension is split
    weights: Weights = Weights.BF16
    group: int = 0  # integers: log2 of the inner elements that share a scale

    def start(self, matrix: int, inner: int) -> int:
        """Return the address of a matrix from an inner element on where it may be split."""
        address = self.address + matrix * self.matrix_bytes
        if self.weights == Weights.BF16:
            return address + inner * self.step
        return address + right_bytes(inner, self.columns, self.weights, self.group)


class Products:
    """Queues the descriptors of `PimDriver.matmul`.

    Parameters
    ----------
    geometry
        Of the device.
    emit
        Queues a descriptor.
    store
        Allocates results and intermediates.
    elementwise
        Supplies changes of layout.
    """

    def __init__(
        self, geometry: Geometry, emit: Emit, store: TensorStore, elementwise: Elementwise
    ) -> None:
        self._geometry = geometry
        self._emit = emit
        self._store = store
        self._elementwise = elementwise

    def matmul(
        self,
        a: DeviceTensor,
        b: DeviceMatrix | DeviceTensor,
        transpose_b: bool,
        bias: DeviceTensor | None,
        out_f32: bool,
        columns: int | None = None,
        filled: int | None = None,
        out: DeviceTensor | None = None,
    ) -> DeviceTensor:
        """Queue a x b (+ bias) and return the result; see `PimDriver.matmul`."""
        lead, r = product_shape(a, b, transpose_b, bias)
        if columns is not None:
            self._require_tiles(b, columns)
        inner = a.columns
        if filled is not None:
            _require_rows(b, filled)
            if transpose_b or isinstance(b, DeviceMatrix):
                columns = round_up(filled, self._geometry.atom_columns)
            else:
                inner = filled
        label = f"matmul {a.shape} x {b.shape}{' transposed' if transpose_b else ''}"
        operands: tuple[DeviceTensor | DeviceMatrix, ...] = (a, b) if bias is None else (a, b, bias)
        with ExitStack() as temporaries:
            if a.packed:
                a = self._elementwise.widen(a, 1, label)
                temporaries.callback(a.free)
            right = self._right(b, transpose_b, temporaries, label)
            if out is not None:
                _require_result(out, (*lead, r), right.columns)
                self._queue_runs(a, b, right, bias, out, label, columns, inner)
                return out
            y = self._store.tensor(
                (*lead, r),
                dtype="f32" if out_f32 else "bf16",
                columns=right.columns,
                packed=False,
                apart_from=operands,
            )
            with y.freed_on_error():
                self._queue_runs(a, b, right, bias, y, label, columns, inner)
        return y

    def _queue_runs(
        self,
        a: DeviceTensor,
        b: DeviceMatrix | DeviceTensor,
        right: RightOperand,
        bias: DeviceTensor | None,
        y: DeviceTensor,
        label: str,
        columns: int | None,
        inner: int,
    ) -> None:
        for run in _runs(a, b):
            self._product(a, run, right, bias, y, label, columns or right.columns, inner)

    def _require_tiles(self, b: DeviceMatrix | DeviceTensor, columns: int) -> None:
        """Raise ShapeError where the first columns of a product are no tiles of its operand."""
        if not isinstance(b, DeviceMatrix) or b.layout != "tiled":
            raise ShapeError(f"some columns of a product by {b.shape}: it is not laid out in tiles")
        width = layout.tile_columns(b.columns, self._geometry)
        if columns % width or not 0 < columns < b.shape[-1]:
            raise ShapeError(
                f"the first {columns} columns of a product by {b.shape}: give a multiple of {width}"
                f" below {b.shape[-1]}"
            )

    def _right(
        self,
        b: DeviceMatrix | DeviceTensor,
        transpose_b: bool,
        temporaries: ExitStack,
        label: str,
    ) -> RightOperand:
        """Describe a right operand; what has to be laid out anew is, and freed with the stack."""
        g = self._geometry
        if isinstance(b, DeviceMatrix):
            step, inner = b.columns * BF16_BYTES, b.shape[-2]
            if b.weights != Weights.BF16:
                tile = layout.tile_beats(b.columns, g)
                return RightOperand(b.address, 0, b.columns, False, 0, tile, 0, b.weights, b.group)
            if b.layout == "tiled":
                tile = layout.tile_beats(b.columns, g)
                return RightOperand(b.address, inner * step, b.columns, False, 0, tile, step)
            each = round_up(inner, g.atom_columns) * step
            block = b.columns * g.atom_bytes
            return RightOperand(b.address, each, b.columns, True, g.atom_bytes, block, step)
        if b.packed:
            b = self._elementwise.widen(b, 1, label)
            temporaries.callback(b.free)
        matrix_bytes = b.shape[-2] * b.stride
        if transpose_b:
            columns = round_up(b.shape[-2], g.atom_columns)
            address, spare = b.address, (columns - b.shape[-2]) * b.stride
            if b.rows * b.stride + spare > b.nbytes:
                address = self._copy_with_room(b, spare, temporaries, label)
            return RightOperand(
                address, matrix_bytes, columns, True, b.stride, g.atom_bytes, BF16_BYTES
            )
        # Rows one stride apart are one column tile as wide as the stride.
        columns, tile, address = b.stride // BF16_BYTES, b.stride // g.beat_bytes, b.address
        if tile > g.acc_groups:
            tile, address = g.acc_groups, self._tiled_copy(b, temporaries, label)
        return RightOperand(address, matrix_bytes, columns, False, 0, tile, b.stride)

    def _copy_with_room(
        self, b: DeviceTensor, spare: int, temporaries: ExitStack, label: str
    ) -> int:
        """Copy a tensor to where `spare` bytes follow it; return the address.

        MATMUL_T reads whole atoms of rows; what is in the spare ones goes to padding columns.
        """
        block = self._store.scratch(b.rows * b.stride + spare)
        temporaries.callback(self._store.memory.free, block)
        copy = descriptors.copy_within(
            self._elementwise.ones_address,
            b.address,
            block.address,
            rows=b.rows,
            cols=b.stride // BF16_BYTES,
            stride=b.stride,
            stride_y=b.stride,
        )
        self._emit(copy, label)
        return block.address

    def _tiled_copy(self, b: DeviceTensor, temporaries: ExitStack, label: str) -> int:
        """Lay a tensor with rows wider than a column tile out in tiles; return the address."""
        g = self._geometry
        ones = self._elementwise.ones_address
        inner_total, columns = b.shape[-2], b.stride // BF16_BYTES
        block = self._store.scratch(b.rows * b.stride)
        temporaries.callback(self._store.memory.free, block)
        for first in range(0, b.rows, inner_total):
            for start, inner in layout.split(inner_total, g.scalar_depth):
                row = first + start
                for left, width in layout.split(columns, g.tile_columns):
                    copy = descriptors.copy_within(
                        ones,
                        b.address + row * b.stride + left * BF16_BYTES,
                        block.address + row * b.stride + inner * left * BF16_BYTES,
                        rows=inner,
                        cols=width,
                        stride=b.stride,
                        stride_y=width * BF16_BYTES,
                    )
                    self._emit(copy, label)
        return block.address

    def _product(
        self,
        a: DeviceTensor,
        run: Run,
        right: RightOperand,
        bias: DeviceTensor | None,
        y: DeviceTensor,
        label: str,
        columns: int,
        inner_total: int,
    ) -> None:
        """Queue some columns of a product, split along an inner dimension too deep for the device.

        A split keeps the sums as binary32 and continues them, so no bit changes.
        """
        wide = y.dtype == "f32"
        address_a = a.address + run.a * a.stride
        address_y = y.address + run.first * y.stride
        sums, sums_stride, scratch = address_y, y.stride, None
        if inner_total > self._geometry.scalar_depth and not wide:
            sums_stride = layout.row_stride(right.columns, self._geometry, F32_BYTES)
            scratch = self._store.scratch(run.count * sums_stride)
            sums = scratch.address
        for start, inner in layout.split(inner_total, self._geometry.scalar_depth):
            init, c, stride_c = Init.F32, sums, sums_stride
            if start == 0:
                init, c, stride_c = Init.ZERO, 0, 0
                if bias is not None:
                    init, c = Init.ROW, bias.address
            last = start + inner == inner_total
            product = descriptors.matmul(
                address_a + start * BF16_BYTES,
                right.start(run.b, start),
                address_y if last else sums,
                rows=run.count,
                inner=inner,
                cols=columns,
                stride_a=a.stride,
                stride_b=right.stride_b,
                stride_y=y.stride if last else sums_stride,
                tile=right.tile,
                transposed=right.transposed,
                init=init,
                c=c,
                stride_c=stride_c,
                out_f32=wide or not last,
                weights=right.weights,
                group=right.group,
            )
            self._emit(product, label)
        if scratch is not None:
            # The list runs in order: whoever gets this memory next is behind us in it.
            self._store.memory.free(scratch)


def _require_result(out: DeviceTensor, shape: Shape, columns: int) -> None:
    """Raise ShapeError where a tensor cannot hold a result with as many columns."""
    if out.shape != shape or out.packed or out.dtype != "bf16" or out.stride < columns * BF16_BYTES:
        raise ShapeError(
            f"a product {shape} into a {out.dtype} tensor {out.shape}: give a bf16 tensor of its"
            " shape, in rows"
        )


def _require_rows(b: DeviceMatrix | DeviceTensor, filled: int) -> None:
    """Raise ShapeError where not so many rows of a right operand can be read alone."""
    rows, alone = b.shape[-2], False
    if isinstance(b, DeviceTensor):
        alone = not b.packed
    elif b.layout == "blocked":
        rows, alone = b.shape[-1], True
    if not alone or not 0 < filled <= rows:
        raise ShapeError(
            f"the first {filled} rows of a right operand {b.shape}: give 1 to {rows}, of a"
            " tensor in rows or in blocks"
        )


def product_shape(
    a: DeviceTensor, b: DeviceMatrix | DeviceTensor, transpose_b: bool, bias: DeviceTensor | None
) -> tuple[Shape, int]:
    """Return (leading axes, columns) of a product; ShapeError naming the operands' shapes."""
    shapes = f"matmul of {a.shape} by {b.shape}{' transposed' if transpose_b else ''}"
    if transpose_b and isinstance(b, DeviceMatrix):
        raise ShapeError(
            f"{shapes}: a resident matrix has its orientation from load_matrix(transposed=True)"
        )
    if not a.shape or len(b.shape) < 2 or (len(b.shape) > 2 and len(a.shape) < 2):
        raise ShapeError(f"{shapes}: needs (..., p, q) or (q) by (..., q, r)")
    q, r = b.shape[:-3:-1] if transpose_b else b.shape[-2:]
    if a.columns != q:
        raise ShapeError(f"{shapes}: the inner dimensions {a.columns} and {q} differ")
    if bias is not None and bias.shape != (r,):
        raise ShapeError(f"{shapes}: the bias has the shape {bias.shape}, not ({r},)")
    for operand in (a, b, bias):
        if isinstance(operand, DeviceTensor) and operand.dtype != "bf16":
            raise ShapeError(f"{shapes}: binary32 sums {operand.shape} are not an operand")
    lead = a.shape[:-1]
    if len(b.shape) > 2:
        try:
            lead = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2])
        except ValueError:
            raise ShapeError(f"{shapes}: the leading axes do not broadcast") from None
    return lead, r


def _runs(a: DeviceTensor, b: DeviceMatrix | DeviceTensor) -> Iterator[Run]:
    """Yield the products to do: rows of the result and of `a`, number of the matrix in `b`."""
    if len(b.shape) == 2:
        yield Run(0, a.rows, 0, 0, 1, 0)
        return
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    p = a.shape[-2]
    for run in runs(row_map(a.shape[:-2], lead), row_map(b.shape[:-2], lead)):
        if (run.step_a, run.step_b) == (1, 0):
            yield Run(run.first * p, run.count * p, run.a * p, run.b, 1, 0)
            continue
        for i in range(run.count):
            left = (run.a + i * run.step_a) * p
            yield Run((run.first + i) * p, p, left, run.b + i * run.step_b, 1, 0)
