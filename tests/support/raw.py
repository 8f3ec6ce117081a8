"""Raw access to a device: descriptors at chosen places, device memory by copies, no driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import Geometry
from pimloop.partitioner.quantity import quantity
from pimloop.rtl.tables.isa import (
    CTRL_IRQ_ENABLE,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    DESCRIPTOR_STATUS_CODE,
    DESCRIPTOR_STATUS_POSITION,
    IRQ_ENDED,
    Code,
    Reg,
)

#: Where `RawDevice` puts lists and bulk data in the shared buffer (bytes).
LIST_OFFSET = 0
DATA_OFFSET = 1 << 20


@dataclass(frozen=True)
class Status:
    """A status word."""

    code: Code
    index: int

    @classmethod
    def parse(cls, word: int) -> Status:
        """Split a status word."""
        return cls(Code(DESCRIPTOR_STATUS_CODE.get(word)), DESCRIPTOR_STATUS_POSITION.get(word))


class RawDevice:
    """A device with lists placed by hand.

    Parameters
    ----------
    device
        An open device.
    timeout
        Bound of every wait, seconds.
    """

    def __init__(self, device: Device, timeout: float = 120.0) -> None:
        self.device = device
        self.timeout = timeout
        self.geometry: Geometry = read_geometry(device)
        self.buffer: NDArray[np.uint8] = device.buffer
        self.base = device.buffer_address
        self.prepare()

    def prepare(self, *, start: int | None = None, size: int | None = None) -> None:
        """Reset the device, open the host window (default: the buffer), enable the interrupt."""
        self.device.reset()
        self.window(start, size)
        self.device.write32(Reg.CTRL, CTRL_IRQ_ENABLE.mask)

    def window(self, start: int | None = None, size: int | None = None) -> None:
        """Set the host window; default: the whole buffer."""
        self.write64(Reg.HOST_BASE_LO, self.base if start is None else start)
        self.write64(Reg.HOST_SIZE_LO, self.buffer.size if size is None else size)

    def write64(self, low: Reg, value: int) -> None:
        """Write a pair of registers."""
        self.device.write32(low, value & 0xFFFFFFFF)
        self.device.write32(low + 4, value >> 32)

    def read64(self, low: Reg) -> int:
        """Read a pair of registers, the lower one first."""
        return self.device.read32(low) | self.device.read32(low + 4) << 32

    def slot(self, offset: int) -> NDArray[np.void]:
        """Return the descriptor at a buffer offset as a 1-element view."""
        return self.buffer[offset : offset + DESCRIPTOR_BYTES].view(DESCRIPTOR)

    def chain(
        self,
        items: Sequence[Descriptor],
        offset: int = LIST_OFFSET,
        spacing: int = DESCRIPTOR_BYTES,
    ) -> None:
        """Write descriptors `spacing` bytes apart from `offset` on, each linked to the next.

        A descriptor whose `next` is set already keeps it.
        """
        for index, item in enumerate(items):
            place = self.slot(offset + index * spacing)
            place[0] = item
            if not (int(item["next_lo"]) or int(item["next_hi"])):
                following = self.base + offset + (index + 1) * spacing
                place["next_lo"][0] = following & 0xFFFFFFFF
                place["next_hi"][0] = following >> 32

    def ring(self, address: int) -> None:
        """Start the list at a host address."""
        self.write64(Reg.LIST_LO, address)
        self.device.write32(Reg.DOORBELL, 1)

    def finish(self) -> int:
        """Wait for the interrupt, clear it, return the STATUS register."""
        self.device.wait_irq(self.timeout)
        self.device.write32(Reg.IRQ, IRQ_ENDED.mask)
        return self.device.read32(Reg.STATUS)

    def run(
        self,
        items: Sequence[Descriptor],
        *,
        offset: int = LIST_OFFSET,
        spacing: int = DESCRIPTOR_BYTES,
        end: bool = True,
    ) -> list[Status]:
        """Run descriptors (and END) and return the status of each, END's last."""
        full = [*items, descriptors.end()] if end else list(items)
        self.chain(full, offset, spacing)
        self.ring(self.base + offset)
        self.finish()
        return self.statuses(len(full), offset, spacing)

    def statuses(
        self, count: int, offset: int = LIST_OFFSET, spacing: int = DESCRIPTOR_BYTES
    ) -> list[Status]:
        """Return the status words of `count` descriptors."""
        return [
            Status.parse(int(self.slot(offset + index * spacing)["status"][0]))
            for index in range(count)
        ]

    def write_memory(self, address: int, data: NDArray[np.generic]) -> None:
        """Copy an array (a multiple of 64 bytes) to device memory."""
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.buffer[DATA_OFFSET : DATA_OFFSET + raw.size] = raw
        self._copy("in", address, raw.size)

    def read_memory(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Return `nbytes` (a multiple of 64) of device memory."""
        self._copy("out", address, nbytes)
        return self.buffer[DATA_OFFSET : DATA_OFFSET + nbytes].copy()

    def _copy(self, direction: Literal["in", "out"], address: int, nbytes: int) -> None:
        make = descriptors.copy_in if direction == "in" else descriptors.copy_out
        copy = make(
            self.base + DATA_OFFSET,
            address,
            rows=1,
            row_bytes=nbytes,
            host_stride=0,
            device_stride=0,
        )
        saved = self.buffer[LIST_OFFSET : LIST_OFFSET + 2 * DESCRIPTOR_BYTES].copy()
        statuses = self.run([copy])
        self.buffer[LIST_OFFSET : LIST_OFFSET + 2 * DESCRIPTOR_BYTES] = saved
        if any(status.code != Code.DONE for status in statuses):
            raise AssertionError(
                f"a copy of {quantity(nbytes, 'byte')} at 0x{address:X} failed: {statuses}"
            )
