"""Rows written in place into what stays in device memory.

A state lies in rows, as every tensor, or in blocks, as MATMUL_T reads a resident matrix: of each
block of an atom of inner elements the atoms of all rows, one after the other. In all_bank style
as many rows as a beat has atoms share the beats of a state in blocks: a group. An atom is less than
a descriptor can write in bfloat16. In binary32 it is twice as long, which COPY_IN can write. So the
group is widened, gets its new row, and is rounded again: every step is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack

from pimloop.host.pim.device.validate import HOST_GRANULE
from pimloop.host.pim.driver import descriptors, layout
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.pim.driver.elementwise import Elementwise
from pimloop.host.pim.driver.errors import ShapeError
from pimloop.host.pim.driver.memory import Block
from pimloop.host.pim.driver.queue import CommandQueue
from pimloop.host.pim.driver.store import TensorStore
from pimloop.host.pim.driver.tensors import DeviceMatrix, DeviceTensor, Shape
from pimloop.host.platforms.geometry import BF16_BYTES, F32_BYTES, Geometry
from pimloop.rtl.tables.isa import Init

#: A matrix is the transpose: its columns are the rows of the state.
State = DeviceTensor | DeviceMatrix


def state_shape(state: State) -> Shape:
    """Return (..., capacity, size) of a state."""
    if isinstance(state, DeviceTensor):
        return state.shape
    *lead, size, capacity = state.shape
    return (*lead, capacity, size)


def in_blocks_refused(geometry: Geometry) -> str | None:
    """Return why a device cannot append to states in blocks, for a person; None: it can."""
    group = geometry.beat_bytes // geometry.atom_bytes
    if geometry.atom_columns % group:
        return f"the {group} atoms of a beat do not divide the {geometry.atom_columns} of a block"
    if geometry.atom_columns * F32_BYTES % HOST_GRANULE:
        return f"an atom in binary32 is no multiple of {HOST_GRANULE} bytes"
    return None


def append_rows(
    ones: int, state: DeviceTensor, rows: DeviceTensor, first: int
) -> Iterator[Descriptor]:
    """Yield the descriptors of `PimDriver.append` to a state in rows.

    Parameters
    ----------
    ones
        Device address of a row of 1.
    state, rows, first
        As of `PimDriver.append`.
    """
    appended, each = rows.shape[-2], state.shape[-2] * state.stride
    matrices = math.prod(rows.shape[:-2])
    # One row of each matrix is one operation, otherwise each matrix is.
    count, height = (1, matrices) if appended == 1 else (matrices, appended)
    for matrix in range(count):
        yield descriptors.copy_within(
            ones,
            rows.address + matrix * appended * rows.stride,
            state.address + first * state.stride + matrix * each,
            rows=height,
            cols=rows.stride // BF16_BYTES,
            stride=rows.stride,
            stride_y=each if appended == 1 else state.stride,
        )


class BlockStates:
    """Appends to states in blocks.

    Parameters
    ----------
    geometry
        Of the device.
    queue
        Takes the descriptors, and has the host memory that rows go through.
    store
        Allocates intermediates.
    elementwise
        Has rows of 1 and of -0.
    """

    def __init__(
        self, geometry: Geometry, queue: CommandQueue, store: TensorStore, elementwise: Elementwise
    ) -> None:
        self._geometry = geometry
        self._queue = queue
        self._store = store
        self._elementwise = elementwise

    def append(self, state: DeviceMatrix, rows: DeviceTensor, first: int, label: str) -> None:
        """Queue the descriptors of `PimDriver.append`; parameters as there."""
        g = self._geometry
        pieces, tile = _pieces(state, g), state.columns * g.atom_bytes
        rows_bytes, group_bytes = rows.rows * rows.stride, pieces * g.beat_bytes
        height = g.beat_bytes // g.atom_bytes
        end = first + rows.shape[-2]
        with ExitStack() as temporaries:
            wide_rows = self._scratch(2 * rows_bytes, temporaries)
            group = self._scratch(group_bytes, temporaries)
            wide_group = self._scratch(2 * group_bytes, temporaries)
            self._convert(rows.address, wide_rows, rows_bytes, True, label)
            for start in range(first - first % height, end, height):
                there = state.address + start * g.atom_bytes
                self._move(there, group, pieces, tile, g.beat_bytes, label)
                self._convert(group, wide_group, group_bytes, True, label)
                for row in range(max(start, first), min(start + height, end)):
                    source = wide_rows + 2 * (row - first) * rows.stride
                    self._place(rows, source, wide_group, row - start, label)
                self._convert(wide_group, group, group_bytes, False, label)
                self._move(group, there, pieces, g.beat_bytes, tile, label)

    def _scratch(self, nbytes: int, temporaries: ExitStack) -> int:
        """Return the address of memory that is freed with the stack."""
        block = self._store.scratch(nbytes)
        temporaries.callback(self._store.memory.free, block)
        return block.address

    def _move(
        self, source: int, target: int, beats: int, stride: int, stride_y: int, label: str
    ) -> None:
        """Queue a copy of single beats within device memory."""
        copy = descriptors.copy_within(
            self._elementwise.ones_address,
            source,
            target,
            rows=beats,
            cols=self._geometry.beat_columns,
            stride=stride,
            stride_y=stride_y,
        )
        self._queue.add(copy, label)

    def _convert(self, source: int, target: int, nbytes: int, widen: bool, label: str) -> None:
        """Queue the conversion of a row of bfloat16 to binary32, or back.

        Both are a product that begins with the row and adds 1 * -0.

        Parameters
        ----------
        nbytes
            Of the row in bfloat16.
        """
        ones = self._elementwise.ones_address
        for start, columns in layout.split(nbytes // BF16_BYTES, self._geometry.tile_columns):
            narrow, wide = start * BF16_BYTES, start * F32_BYTES
            product = descriptors.matmul(
                ones,
                self._elementwise.zeros_address,
                target + (wide if widen else narrow),
                rows=1,
                inner=1,
                cols=columns,
                stride_a=0,
                stride_y=0,
                tile=columns // self._geometry.beat_columns,
                init=Init.ROW if widen else Init.F32,
                c=source + (narrow if widen else wide),
                out_f32=widen,
            )
            self._queue.add(product, label)

    def _place(
        self, rows: DeviceTensor, source: int, wide_group: int, place: int, label: str
    ) -> None:
        """Queue the copies of a row of each matrix to its place in the group, in binary32."""
        g, queue = self._geometry, self._queue
        atom = g.atom_columns * F32_BYTES
        blocks = -(-rows.columns // g.atom_columns)
        matrices = math.prod(rows.shape[:-2])
        step = 2 * rows.shape[-2] * rows.stride
        for start, count in layout.split(matrices, max(queue.staging_bytes // (blocks * atom), 1)):
            nbytes = count * blocks * atom
            _, host = queue.stage(nbytes)
            out = descriptors.copy_out(
                host,
                source + start * step,
                rows=count,
                row_bytes=blocks * atom,
                host_stride=blocks * atom,
                device_stride=step,
            )
            queue.add(out, label, bytes_out=nbytes)
            back = descriptors.copy_in(
                host,
                wide_group + start * blocks * 2 * g.beat_bytes + place * atom,
                rows=count * blocks,
                row_bytes=atom,
                host_stride=atom,
                device_stride=2 * g.beat_bytes,
            )
            queue.add(back, label, bytes_in=nbytes)


def require_room(state: State, shape: Shape, first: int) -> None:
    """Raise ShapeError where rows of a shape do not fit into a state from row `first` on."""
    whole = state_shape(state)
    same = (*shape[:-2], shape[-1]) == (*whole[:-2], whole[-1])
    lies = not state.packed if isinstance(state, DeviceTensor) else state.layout == "blocked"
    if not same or not lies or not 0 <= first <= first + shape[-2] <= whole[-2]:
        raise ShapeError(
            f"rows {shape} at row {first} of a state {whole}: give rows of the same leading"
            f" axes and size that end at row {whole[-2]} at the latest"
        )


def part_of(state: DeviceTensor, matrix: int, first: int, count: int) -> DeviceTensor:
    """Return some rows of a matrix of a state, as a tensor that is not freed."""
    return state.rows_from(matrix * state.shape[-2] + first, (count, state.shape[-1]))


def blocks_of(state: DeviceMatrix, geometry: Geometry, first: int, count: int) -> DeviceTensor:
    """Return the atoms of some rows of a state in blocks, as a tensor that is not freed.

    It is (matrices x blocks, count x elements of an atom). `first` and `count` are multiples of
    the atoms of a beat.
    """
    start = first * geometry.atom_bytes
    block = Block(state.address + start, state.nbytes - start)
    shape = (_pieces(state, geometry), count * geometry.atom_columns)
    return DeviceTensor(block, state.release, shape, state.columns * geometry.atom_bytes)


def _pieces(state: DeviceMatrix, geometry: Geometry) -> int:
    """Return the blocks of all matrices of a state in blocks."""
    return math.prod(state.shape[:-2]) * -(-state.shape[-2] // geometry.atom_columns)
