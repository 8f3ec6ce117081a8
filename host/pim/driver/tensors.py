"""Handles of data in device memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Literal, Self

from pimloop.host.pim.driver.errors import DriverError
from pimloop.host.pim.driver.memory import Block
from pimloop.host.platforms.geometry import BF16_BYTES, F32_BYTES
from pimloop.rtl.tables.isa import Weights

Shape = tuple[int, ...]


@dataclass(eq=False)
class _Resident:
    """Something that owns a block of device memory until it is freed."""

    block: Block
    release: Callable[[Block], None] = field(repr=False)
    freed: bool = field(default=False, init=False)

    @property
    def nbytes(self) -> int:
        """Bytes of device memory held, padding included."""
        return self.block.nbytes

    @property
    def address(self) -> int:
        """Device address of the first element."""
        return self.block.address

    def free(self) -> None:
        """Give the memory back; DriverError when that was done before."""
        if self.freed:
            raise DriverError(f"{self!r} was freed before: every tensor can be freed once")
        self.release(self.block)
        self.freed = True

    @contextmanager
    def freed_on_error(self) -> Iterator[None]:
        """Free it when an exception leaves the block."""
        try:
            yield
        except BaseException:
            self.free()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.freed:
            self.free()


@dataclass(eq=False)
class DeviceTensor(_Resident):
    """A tensor in device memory, seen as rows x last axis.

    Rows are `stride` bytes apart, a multiple of the beat. A tensor of several rows whose last axis
    is 1 may instead be `packed`: its elements follow each other, as one row.
    """

    shape: Shape
    stride: int  # bytes between rows
    dtype: Literal["bf16", "f32"] = "bf16"
    packed: bool = False

    @property
    def size(self) -> int:
        """Elements, padding not counted."""
        return math.prod(self.shape)

    @property
    def columns(self) -> int:
        """Elements of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Rows of the last axis, all leading axes together."""
        return math.prod(self.shape[:-1])

    def part(self, start: int, columns: int) -> DeviceTensor:
        """Return a handle of some columns of every row, which is not freed.

        Raises
        ------
        DriverError
            When the tensor has no such columns or is packed.
        """
        if self.packed or not 0 <= start < start + columns <= self.columns:
            raise DriverError(
                f"a tensor {self.shape} has no columns {start} to {start + columns} of rows"
            )
        offset = start * (F32_BYTES if self.dtype == "f32" else BF16_BYTES)
        block = Block(self.address + offset, self.nbytes - offset)
        return replace(self, block=block, shape=(*self.shape[:-1], columns))

    def rows_from(self, first: int, shape: Shape) -> DeviceTensor:
        """Return a handle of some rows, seen as a tensor of `shape`, which is not freed.

        Raises
        ------
        DriverError
            When the tensor has no such rows or is packed.
        """
        count = math.prod(shape[:-1])
        if self.packed or shape[-1] != self.columns or not 0 <= first <= first + count <= self.rows:
            raise DriverError(f"a tensor {self.shape} has no rows {first} to {first + count}")
        start = first * self.stride
        block = Block(self.address + start, self.nbytes - start)
        return replace(self, block=block, shape=shape)

    def view(self, shape: Shape) -> DeviceTensor:
        """Return a handle of the same memory with other leading axes.

        One of the two handles is freed, not both.

        Raises
        ------
        DriverError
            When elements or the last axis differ.
        """
        if math.prod(shape) != self.size or (shape[-1] if shape else 1) != self.columns:
            raise DriverError(f"a tensor {self.shape} cannot be seen as {shape}: its rows differ")
        return replace(self, shape=shape)


@dataclass(eq=False)
class DeviceMatrix(_Resident):
    """A resident right operand of matmul, (..., q, r), laid out for one opcode.

    Its matrices follow each other. `tiled` serves MATMUL: chunks of at most SCALAR_DEPTH inner
    elements, in each chunk column tiles, in each tile rows; integers have the scales of each group
    of rows behind them. `blocked` serves MATMUL_T: blocks of an atom along q, in each block one
    atom an output column.
    """

    shape: Shape
    columns: int  # r padded, elements
    layout: Literal["tiled", "blocked"]
    weights: Weights = Weights.BF16
    group: int = 0  # integers: log2 of the rows that share a scale
