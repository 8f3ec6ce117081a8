"""What the descriptors of a list do to device memory and host memory, in numpy.

The functional half of `pimloop.host.pim.device.model.ModelDevice`, which adds registers and the
checks, and of `pimloop.host.pim.device.cached.CachedDevice`, which runs lists here whose cost it
knows from a simulation.
"""

from __future__ import annotations

import logging
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pimloop.host.common import golden, golden_quantized
from pimloop.host.operators.registry import elementwise
from pimloop.host.pim.device import integers
from pimloop.host.pim.device.validate import (
    Fields,
    copy_sides,
    round_up,
)
from pimloop.host.platforms.geometry import BF16_BYTES, Geometry
from pimloop.rtl.tables.isa import (
    COPY_OPCODES,
    DESCRIPTOR,
    DESCRIPTOR_STATUS_CODE,
    DESCRIPTOR_STATUS_POSITION,
    PRODUCT_OPCODES,
    UNARY_OPCODES,
    VECTOR_OPCODES,
    Broadcast,
    Code,
    Init,
    Opcode,
    Weights,
)

Element = TypeVar("Element", np.uint8, np.uint16, np.float32)

logger = logging.getLogger(__name__)

#: Offset of the status word in a descriptor (bytes).
STATUS_OFFSET = int(DESCRIPTOR.fields["status"][1]) if DESCRIPTOR.fields else 60


#: What the lanes compute of elements, by opcode.
_ARITHMETIC: dict[int, golden.Arithmetic] = {
    kind.opcode: kind.arithmetic for kind in elementwise().values()
}


def status_word(code: Code, index: int) -> int:
    """Return the status word of the descriptor at position `index` of its list."""
    return DESCRIPTOR_STATUS_CODE.put(code) | DESCRIPTOR_STATUS_POSITION.put(index)


class RefusedError(Exception):
    """A descriptor ended with this code."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.code = code


class Execution:
    """Executes checked descriptors, one at a time.

    Parameters
    ----------
    geometry
        Of the device.
    memory
        Device memory, (capacity,) bytes, changed in place.
    buffer
        Host memory, (bytes,), changed in place.
    buffer_address
        Its address as the device sees it.
    """

    def __init__(
        self,
        geometry: Geometry,
        memory: NDArray[np.uint8],
        buffer: NDArray[np.uint8],
        buffer_address: int,
    ) -> None:
        self._geometry = geometry
        self._memory = memory
        self._words: NDArray[np.uint16] = memory.view(np.uint16)
        self._floats: NDArray[np.float32] = memory.view(np.float32)
        self._buffer = buffer
        self._buffer_address = buffer_address

    def execute(self, d: Fields) -> None:
        """Do what `d` says; RefusedError when host memory does not answer."""
        if d.opcode in COPY_OPCODES:
            self._copy(d)
        elif d.opcode in PRODUCT_OPCODES:
            self._product(d)
        elif d.opcode in VECTOR_OPCODES:
            self._vector(d)

    def host_read(self, address: int, size: int) -> bytes:
        """Return `size` bytes of host memory; RefusedError outside of it."""
        return self._buffer[self._host_span(address, size, Code.AXI_READ)].tobytes()

    def host_write(self, address: int, data: bytes) -> None:
        """Write to host memory; RefusedError outside of it."""
        span = self._host_span(address, len(data), Code.AXI_WRITE)
        self._buffer[span] = np.frombuffer(data, np.uint8)

    def set_status(self, address: int, status: int) -> None:
        """Write a status word; where nothing answers there is no one to read it either."""
        try:
            self.host_write(address + STATUS_OFFSET, status.to_bytes(4, "little"))
        except RefusedError:
            logger.debug("status word at 0x%X is outside host memory", address)

    def _host_span(self, address: int, size: int, code: Code) -> slice:
        start = address - self._buffer_address
        if start < 0 or start + size > self._buffer.size:
            raise RefusedError(code)
        return slice(start, start + size)

    def _copy(self, d: Fields) -> None:
        host, device = copy_sides(d)
        inward = d.opcode == Opcode.COPY_IN
        code = Code.AXI_READ if inward else Code.AXI_WRITE
        self._host_span(host.address, host.end - host.address, code)
        outside = self._matrix(
            self._buffer, host.address - self._buffer_address, d.rows, d.inner, host.stride
        )
        inside = self._matrix(self._memory, device.address, d.rows, d.inner, device.stride)
        if inward:
            inside[...] = outside
        else:
            outside[...] = inside

    @staticmethod
    def _matrix(
        memory: NDArray[Element], address: int, rows: int, columns: int, stride: int
    ) -> NDArray[Element]:
        """Return a writable (rows, columns) view of elements, rows `stride` bytes apart."""
        size = memory.itemsize
        return as_strided(memory[address // size :], (rows, columns), (stride, size))

    def _product(self, d: Fields) -> None:
        g = self._geometry
        padded = round_up(d.cols, g.beat_columns)
        a = self._matrix(self._words, d.addr_a, d.rows, d.inner, d.stride_a)
        if d.init == Init.ROW:
            row = self._matrix(self._words, d.host_lo, 1, padded, 0)
            start = np.repeat(golden.bf16_to_f32(row), d.rows, axis=0)
        elif d.init == Init.F32:
            start = self._matrix(self._floats, d.host_lo, d.rows, padded, d.host_hi).copy()
        else:
            start = np.zeros((d.rows, padded), np.float32)
        # Columns past `cols` receive no product: they keep the initial value, bit for bit.
        start[:, : d.cols] = self._sums(d, a, start[:, : d.cols])
        if d.out_f32:
            self._matrix(self._floats, d.addr_y, d.rows, padded, d.stride_y)[...] = start
        else:
            y = self._matrix(self._words, d.addr_y, d.rows, padded, d.stride_y)
            y[...] = golden.to_bf16_bits(start)

    def _sums(self, d: Fields, a: golden.Bits, start: golden.Floats) -> golden.Floats:
        """Return what a product adds to its initial value, (rows, cols)."""
        if d.weights != Weights.BF16:
            weights, scales = self._integers(d)
            return golden_quantized.matmul(a, weights, scales, 1 << d.group, start, out_f32=True)
        b = self._tiles(d) if d.opcode == Opcode.MATMUL else self._blocks(d)
        return golden.matmul(a, b, start, out_f32=True)

    def _integers(self, d: Fields) -> tuple[integers.Integers, golden.Bits]:
        """Gather a right operand of integers, (inner, cols), and its scales, (groups, cols)."""
        lanes, weights, group = self._geometry.beat_columns, Weights(d.weights), 1 << d.group
        matrix = np.empty((d.inner, d.cols), np.int8)
        scales = np.empty((-(-d.inner // group), d.cols), np.uint16)
        flat = self._words[d.addr_b // BF16_BYTES :]
        for part in integers.parts(d.inner, d.cols, d.tile * lanes, group, weights):
            words, flat = flat[: part.weight_words], flat[part.weight_words :]
            rows = part.rows.stop - part.rows.start
            matrix[part.rows, part.columns] = integers.unpack(
                words.reshape(rows, -1), weights, lanes
            )
            scales[part.group, part.columns] = flat[: part.scale_words]
            flat = flat[part.scale_words :]
        return matrix, scales

    def _tiles(self, d: Fields) -> golden.Bits:
        """Gather MATMUL's right operand, (inner, cols), from its column tiles."""
        width = d.tile * self._geometry.beat_columns
        flat = self._words[d.addr_b // BF16_BYTES :][: d.inner * d.cols]
        whole = d.cols // width * width
        tiles = flat[: d.inner * whole].reshape(-1, d.inner, width)
        rest = flat[d.inner * whole :].reshape(d.inner, d.cols - whole)
        return np.concatenate([tiles.transpose(1, 0, 2).reshape(d.inner, whole), rest], axis=1)

    def _blocks(self, d: Fields) -> golden.Bits:
        """Gather MATMUL_T's right operand, (inner, cols), from its blocks of an atom."""
        atom = self._geometry.atom_columns
        blocks = -(-d.inner // atom)
        view = as_strided(
            self._words[d.addr_b // BF16_BYTES :],
            (blocks, atom, d.cols),
            (d.tile, BF16_BYTES, d.stride_b),
        )
        return view.reshape(blocks * atom, d.cols)[: d.inner]

    def _vector(self, d: Fields) -> None:
        operands = [self._matrix(self._words, d.addr_a, d.rows, d.cols, d.stride_a)]
        if d.opcode not in UNARY_OPCODES:
            operands.append(self._right(d))
        y = self._matrix(self._words, d.addr_y, d.rows, d.cols, d.stride_y)
        y[...] = golden.elementwise(_ARITHMETIC[d.opcode], *operands)

    def _right(self, d: Fields) -> golden.Bits:
        """Return the right operand of an element-wise descriptor, broadcast or not."""
        start = d.addr_b // BF16_BYTES
        if d.broadcast == Broadcast.NONE:
            return self._matrix(self._words, d.addr_b, d.rows, d.cols, d.stride_b)
        if d.broadcast == Broadcast.ROW:
            return self._words[start : start + d.cols]
        if d.broadcast == Broadcast.COLUMN:
            return self._words[start : start + d.rows].reshape(d.rows, 1)
        return self._words[start : start + 1]
