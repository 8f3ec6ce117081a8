"""Descriptors: one function for each operation, and the list that chains them in the DMA buffer.

The functions fill the words and check nothing: the device does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    DESCRIPTOR_STATUS_CODE,
    RECORD,
    Broadcast,
    Code,
    Init,
    Opcode,
    Weights,
)

#: A 0-d structured array of dtype `pimloop.rtl.tables.isa.DESCRIPTOR`.
Descriptor = NDArray[np.void]


def control_word(
    opcode: int,
    *,
    broadcast: int = 0,
    init: int = 0,
    out_f32: bool = False,
    record: bool = False,
    weights: int = 0,
    group: int = 0,
) -> int:
    """Return word 0 of a descriptor."""
    fields = {
        "opcode": opcode,
        "broadcast": broadcast,
        "init": init,
        "out_f32": int(out_f32),
        "record": int(record),
        "weights": weights,
        "group": group,
    }
    return sum(CONTROL_FIELDS[name].put(value) for name, value in fields.items())


def _descriptor(control: int, **words: int) -> Descriptor:
    descriptor: Descriptor = np.zeros((), DESCRIPTOR)
    descriptor["control"] = control
    for name, value in words.items():
        descriptor[name] = value
    return descriptor


def copy_in(
    host: int, device: int, *, rows: int, row_bytes: int, host_stride: int, device_stride: int
) -> Descriptor:
    """Copy `rows` rows of `row_bytes` from host memory to device memory."""
    return _descriptor(
        control_word(Opcode.COPY_IN),
        host_lo=host & 0xFFFFFFFF,
        host_hi=host >> 32,
        addr_y=device,
        rows=rows,
        inner=row_bytes,
        stride_a=host_stride,
        stride_y=device_stride,
    )


def copy_out(
    host: int, device: int, *, rows: int, row_bytes: int, host_stride: int, device_stride: int
) -> Descriptor:
    """Copy `rows` rows of `row_bytes` from device memory to host memory."""
    return _descriptor(
        control_word(Opcode.COPY_OUT),
        host_lo=host & 0xFFFFFFFF,
        host_hi=host >> 32,
        addr_a=device,
        rows=rows,
        inner=row_bytes,
        stride_a=device_stride,
        stride_y=host_stride,
    )


def matmul(
    a: int,
    b: int,
    y: int,
    *,
    rows: int,
    inner: int,
    cols: int,
    stride_a: int,
    stride_y: int,
    tile: int,
    transposed: bool = False,
    stride_b: int = 0,
    init: Init = Init.ZERO,
    c: int = 0,
    stride_c: int = 0,
    out_f32: bool = False,
    weights: Weights = Weights.BF16,
    group: int = 0,
) -> Descriptor:
    """Y = A x B (+ init); `transposed`: MATMUL_T, with `tile` bytes between blocks of B.

    `weights`: integers, of which 2 ** `group` rows share a scale.
    """
    opcode = Opcode.MATMUL_T if transposed else Opcode.MATMUL
    return _descriptor(
        control_word(opcode, init=init, out_f32=out_f32, weights=weights, group=group),
        host_lo=c,
        host_hi=stride_c,
        addr_a=a,
        addr_b=b,
        addr_y=y,
        rows=rows,
        inner=inner,
        cols=cols,
        stride_a=stride_a,
        stride_b=stride_b,
        stride_y=stride_y,
        tile=tile,
    )


def elementwise(
    opcode: Opcode,
    a: int,
    b: int,
    y: int,
    *,
    rows: int,
    cols: int,
    stride_a: int,
    stride_y: int,
    broadcast: Broadcast = Broadcast.NONE,
    stride_b: int = 0,
) -> Descriptor:
    """Y = A op B, an operation of two operands."""
    return _descriptor(
        control_word(opcode, broadcast=broadcast),
        addr_a=a,
        addr_b=b,
        addr_y=y,
        rows=rows,
        cols=cols,
        stride_a=stride_a,
        stride_b=stride_b,
        stride_y=stride_y,
    )


def copy_within(
    ones: int, source: int, target: int, *, rows: int, cols: int, stride: int, stride_y: int
) -> Descriptor:
    """Copy rows within device memory, exactly: they are multiplied by the 1 at `ones`."""
    return elementwise(
        Opcode.MUL,
        source,
        ones,
        target,
        rows=rows,
        cols=cols,
        stride_a=stride,
        stride_y=stride_y,
        broadcast=Broadcast.SCALAR,
    )


def unary(
    opcode: Opcode, a: int, y: int, *, rows: int, cols: int, stride_a: int, stride_y: int
) -> Descriptor:
    """Y = op A, an operation of one operand."""
    return _descriptor(
        control_word(opcode),
        addr_a=a,
        addr_y=y,
        rows=rows,
        cols=cols,
        stride_a=stride_a,
        stride_y=stride_y,
    )


def fence() -> Descriptor:
    """Wait until every earlier write has reached its memory."""
    return _descriptor(control_word(Opcode.FENCE))


def end() -> Descriptor:
    """End the list."""
    return _descriptor(control_word(Opcode.END))


class DescriptorList:
    """A list under construction in the descriptor part of the DMA buffer.

    Parameters
    ----------
    view
        The bytes of that part, 64-byte aligned.
    address
        Its address as the device sees it.
    """

    def __init__(self, view: NDArray[np.uint8], address: int) -> None:
        slots = view.size // DESCRIPTOR_BYTES
        self._slots = view[: slots * DESCRIPTOR_BYTES].view(DESCRIPTOR)
        self.address = address
        self._labels: list[str] = []

    def __len__(self) -> int:
        """Return the number of descriptors added."""
        return len(self._labels)

    @property
    def room(self) -> int:
        """Descriptors that can be added (the place of END is kept)."""
        return self._slots.size - len(self._labels) - 1

    @property
    def added(self) -> NDArray[np.void]:
        """The descriptors added, (n,); a view."""
        return self._slots[: len(self._labels)]

    def label(self, index: int) -> str:
        """Return the name of the descriptor at a position."""
        return self._labels[index]

    def add(self, descriptor: Descriptor, label: str) -> None:
        """Append a descriptor; `label` names it in errors."""
        index = len(self._labels)
        following = self.address + (index + 1) * DESCRIPTOR_BYTES
        self._slots[index] = descriptor
        self._slots["next_lo"][index] = following & 0xFFFFFFFF
        self._slots["next_hi"][index] = following >> 32
        self._labels.append(label)

    def finish(self) -> None:
        """Append END: the list is ready for the doorbell."""
        self.add(end(), "END")

    def failure(self) -> tuple[Code, int, str] | None:
        """Return (code, index, label) of the first descriptor that did not end with DONE."""
        status = self._slots["status"][: len(self._labels)]
        bad = np.flatnonzero((status & DESCRIPTOR_STATUS_CODE.mask) != Code.DONE)
        if bad.size == 0:
            return None
        index = int(bad[0])
        code = DESCRIPTOR_STATUS_CODE.get(int(status[index]))
        known = Code(code) if code in frozenset(Code) else Code.PENDING
        return known, index, self._labels[index]

    def clear(self) -> None:
        """Forget every descriptor."""
        self._labels.clear()


def record_at(view: NDArray[np.uint8], offset: int) -> NDArray[np.void]:
    """Return the completion record at a byte offset of the DMA buffer as a 0-d array.

    A word of 32 bits counts modulo 2**32: of a descriptor that moves 4 GiB or more `link` has the
    rest alone. Nothing reads records but tests and people; reports count by registers of 64 bits.
    """
    return view[offset : offset + RECORD.itemsize].view(RECORD)[0:1].reshape(())
