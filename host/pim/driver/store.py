"""Where tensors get their device memory: sizes, strides, slack and banks."""

from __future__ import annotations

import math
from typing import Literal

from pimloop.host.operators.forms import ProductOpcode
from pimloop.host.pim.device.integers import WEIGHTS_PER_LANE
from pimloop.host.pim.device.validate import right_bytes, round_up
from pimloop.host.pim.driver import layout
from pimloop.host.pim.driver.memory import Block, DeviceMemory
from pimloop.host.pim.driver.tensors import DeviceMatrix, DeviceTensor, Shape
from pimloop.host.platforms.geometry import BF16_BYTES, F32_BYTES, Geometry
from pimloop.rtl.tables.isa import Weights

# Most bytes kept free behind a tensor for its use as a transposed operand.
_MOST_SPARE_BYTES = 1 << 16


class TensorStore:
    """Allocates tensors and resident matrices.

    Parameters
    ----------
    geometry
        Of the device.
    column_granule
        Columns that a resident right operand is padded to.
    """

    def __init__(self, geometry: Geometry, column_granule: int) -> None:
        self._geometry = geometry
        self.granule = column_granule
        self.memory = DeviceMemory(geometry)

    def tensor(
        self,
        shape: Shape,
        *,
        dtype: Literal["bf16", "f32"] = "bf16",
        columns: int | None = None,
        packed: bool = True,
        apart_from: tuple[DeviceTensor | DeviceMatrix, ...] = (),
    ) -> DeviceTensor:
        """Allocate a tensor whose content is not defined.

        Parameters
        ----------
        shape, dtype
            Logical shape, element type.
        columns
            Elements a row has room for (default: the last axis), padded to a beat.
        packed
            Lay several rows of one element out as one row.
        apart_from
            Operands it will be used with: it is placed in another bank where one has room.
        """
        nbytes, stride, packed = self._layout(shape, dtype, columns, packed)
        avoid = {bank for other in apart_from for bank in self.memory.banks_of(other.block)}
        block = self.memory.allocate_high(nbytes, avoid)
        return DeviceTensor(block, self.memory.free, shape, stride, dtype, packed)

    def tensor_bytes(self, shape: Shape, *, packed: bool = True) -> int:
        """Return the bytes of device memory that a bfloat16 tensor takes."""
        return self.memory.size(self._layout(shape, "bf16", None, packed)[0])

    def matrix_bytes(self, shape: Shape, opcode: ProductOpcode) -> int:
        """Return the bytes of device memory that a right operand (..., q, r) for `opcode` takes."""
        *lead, q, r = shape
        elements = math.prod(lead) * self._padded_inner(q, opcode) * self._columns(r, opcode)
        return self.memory.size(elements * BF16_BYTES)

    def _padded_inner(self, q: int, opcode: ProductOpcode) -> int:
        return q if opcode == "MATMUL" else round_up(q, self._geometry.atom_columns)

    def _columns(self, r: int, opcode: ProductOpcode) -> int:
        return round_up(r, self.granule if opcode == "MATMUL" else self._geometry.atom_columns)

    def _layout(
        self, shape: Shape, dtype: Literal["bf16", "f32"], columns: int | None, packed: bool
    ) -> tuple[int, int, bool]:
        """Return bytes and row stride of a tensor, and whether it is packed."""
        last = shape[-1] if shape else 1
        rows = math.prod(shape[:-1])
        packed = packed and last == 1 and rows > 1
        if packed:
            rows, last = 1, rows
        itemsize = F32_BYTES if dtype == "f32" else BF16_BYTES
        stride = layout.row_stride(last if columns is None else columns, self._geometry, itemsize)
        # Room for what the opcodes read past the end: a bias to the column granule and, where that
        # costs little, a transposed operand to a whole number of atoms of rows.
        widest = max(stride, round_up(last, self.granule) * itemsize)
        spare = 0
        if len(shape) > 1 and not packed:
            atom = self._geometry.atom_columns
            spare = -shape[-2] % atom
            if last == 1:
                # All rows together are one transposed operand when the column is gathered.
                spare = max(spare, -rows % atom)
            elif spare * stride > _MOST_SPARE_BYTES:
                spare = 0
        return (rows + spare - 1) * stride + widest, stride, packed

    def right_operand(self, shape: Shape) -> DeviceTensor | DeviceMatrix:
        """Allocate a right operand (..., q, r) that comes and goes, for MATMUL.

        Rows padded to a beat are one column tile; wider ones are laid out in tiles.
        """
        g = self._geometry
        columns = round_up(shape[-1], g.beat_columns)
        if columns <= g.tile_columns:
            return self.tensor(shape, packed=False)
        block = self.memory.allocate_high(math.prod(shape[:-1]) * columns * BF16_BYTES)
        return DeviceMatrix(block, self.memory.free, shape, columns, "tiled")

    def matrix(self, shape: Shape, opcode: ProductOpcode, *, changes: bool = False) -> DeviceMatrix:
        """Allocate a resident right operand (..., q, r) laid out for `opcode`.

        One that `changes` is placed as tensors are, in whole pages: that of another layer of a
        model then differs from it by whole rows of the DRAM.
        """
        allocate = self.memory.allocate_high if changes else self.memory.allocate_low
        block = allocate(self.matrix_bytes(shape, opcode))
        columns = self._columns(shape[-1], opcode)
        kind: Literal["tiled", "blocked"] = "tiled" if opcode == "MATMUL" else "blocked"
        return DeviceMatrix(block, self.memory.free, shape, columns, kind)

    def integer_bytes(self, shape: Shape, weights: Weights, group: int) -> int:
        """Return the bytes of device memory that a right operand (q, r) of integers takes.

        Parameters
        ----------
        shape, weights
            Its elements.
        group
            log2 of the rows that share a scale.
        """
        columns = self._integer_columns(shape[-1], weights)
        return self.memory.size(right_bytes(shape[-2], columns, weights, group))

    def integers(self, shape: Shape, weights: Weights, group: int) -> DeviceMatrix:
        """Allocate a resident right operand of integers; parameters as of `integer_bytes`."""
        block = self.memory.allocate_low(self.integer_bytes(shape, weights, group))
        columns = self._integer_columns(shape[-1], weights)
        return DeviceMatrix(block, self.memory.free, shape, columns, "tiled", weights, group)

    def _integer_columns(self, columns: int, weights: Weights) -> int:
        beats = WEIGHTS_PER_LANE[weights] * self._geometry.beat_columns
        return round_up(columns, math.lcm(self.granule, beats))

    def scratch(self, nbytes: int) -> Block:
        """Allocate an intermediate; `memory.free` gives it back."""
        return self.memory.allocate_high(nbytes)
