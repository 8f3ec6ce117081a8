"""The command queue: collects descriptors and their data, rings the doorbell, waits, counts."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.base import Device, DeviceError
from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.pim.driver.accesses import count_accesses, split_accesses
from pimloop.host.pim.driver.descriptors import Descriptor, DescriptorList
from pimloop.host.pim.driver.errors import DescriptorError, DriverError
from pimloop.host.pim.driver.memory import HostArena
from pimloop.host.pim.driver.stats import COUNTER_REGISTERS, OpStats
from pimloop.partitioner.quantity import quantity
from pimloop.rtl.tables.isa import (
    CTRL_IRQ_ENABLE,
    DESCRIPTOR_BYTES,
    IRQ_ENDED,
    STATUS_CODE,
    STATUS_FAILED,
    Code,
    Reg,
)

logger = logging.getLogger(__name__)

# A sixteenth of the buffer holds descriptors, within these bounds (bytes).
_LIST_SHARE = 16
_LIST_BYTES_MIN = 16 * DESCRIPTOR_BYTES
_LIST_BYTES_MAX = 4 << 20
# Smallest buffer that leaves room for data.
_BUFFER_BYTES_MIN = 4 * _LIST_BYTES_MIN

# DRAM clocks in which no counter comes to 2**32: the fastest is `link`, of at most 128 bytes a
# clock, a beat each way. Of a longer list the upper halves are read too, of others only lower ones.
_LONG_LIST = 2**32 // 128 - 1


class CommandQueue:
    """One list under construction or in flight.

    Parameters
    ----------
    device
        Where the lists run; it is reset.
    timeout
        Bound of every wait for the interrupt, seconds.
    """

    def __init__(self, device: Device, timeout: float) -> None:
        self._device = device
        self._geometry = read_geometry(device)
        self._timeout = timeout
        size = device.buffer.size
        if size < _BUFFER_BYTES_MIN:
            raise DriverError(
                f"the device's shared buffer has {quantity(size, 'byte')}, the driver needs at"
                f" least {_BUFFER_BYTES_MIN}: open the device with a larger one"
            )
        list_bytes = min(max(size // _LIST_SHARE, _LIST_BYTES_MIN), _LIST_BYTES_MAX)
        list_bytes -= list_bytes % DESCRIPTOR_BYTES
        self._list = DescriptorList(device.buffer[:list_bytes], device.buffer_address)
        data_bytes = (size - list_bytes) // DESCRIPTOR_BYTES * DESCRIPTOR_BYTES
        self._arena = HostArena(list_bytes, data_bytes)
        self._in_flight = False
        self._stats = OpStats()
        self._bytes_in = 0
        self._bytes_out = 0
        self._lost = False
        self.rehearsing = False  # nothing is queued: see `PimDriver.rehearsal`
        #: Takes the descriptors in place of the list: see `PimDriver.written_down`.
        self.paper: list[bytes] | None = None
        self._prepare()

    @property
    def staging_bytes(self) -> int:
        """The most bytes `stage` can give at once."""
        return self._arena.size

    def stage(self, nbytes: int) -> tuple[NDArray[np.uint8], int]:
        """Return (view, device's address) of staging memory, valid until the list has run.

        Waits for a list in flight, and runs what is queued when the memory is used up.
        """
        self.wait()
        if nbytes > self._arena.size:
            raise DriverError(
                f"{quantity(nbytes, 'byte')} of staging memory asked for, the buffer has"
                f" {self._arena.size}: copy in smaller pieces"
            )
        if nbytes > self._arena.room:
            self.run()
        offset = self._arena.take(nbytes)
        view = self._device.buffer[offset : offset + nbytes]
        return view, self._device.buffer_address + offset

    def add(
        self, descriptor: Descriptor, label: str, *, bytes_in: int = 0, bytes_out: int = 0
    ) -> None:
        """Append a descriptor, unless this is a rehearsal; `label` names it in errors.

        When the list is full it is run first: staged data of earlier descriptors has then been
        used, but the caller's own, staged just before, stays where it is.
        """
        if self.rehearsing:
            if self.paper is not None:
                self.paper.append(descriptor.tobytes())
            return
        self.wait()
        if self._list.room == 0:
            self._ring()
            self._finish()
        self._list.add(descriptor, label)
        self._bytes_in += bytes_in
        self._bytes_out += bytes_out

    def submit(self) -> None:
        """Start what is queued, if anything, and return."""
        self.wait()
        if len(self._list):
            self._ring()

    def wait(self) -> None:
        """Return when no list is in flight and the device can take one.

        Raises
        ------
        DescriptorError
            When the device ended the list with an error.
        DeviceTimeoutError
            When it did not end in time; the device is reset before the next list.
        """
        if self._lost:
            self._lost = False
            logger.warning("a list did not end: resetting the device")
            self._prepare()
        if self._in_flight:
            self._finish()
            self._arena.clear()

    def run(self) -> None:
        """Submit and wait; afterwards staging memory is empty."""
        self.submit()
        self.wait()
        self._arena.clear()

    def discard(self) -> None:
        """Drop what is queued and not yet submitted."""
        if not self._in_flight:
            self._list.clear()
            self._arena.clear()
            self._bytes_in = self._bytes_out = 0

    def collect(self) -> OpStats:
        """Return the cost of all lists since the last call."""
        stats, self._stats = self._stats, OpStats()
        return stats

    def _prepare(self) -> None:
        """Reset the device, open the host window on the whole buffer, enable the interrupt."""
        device = self._device
        device.reset()
        start, size = device.buffer_address, device.buffer.size // DESCRIPTOR_BYTES
        size *= DESCRIPTOR_BYTES
        for low, high, value in (
            (Reg.HOST_BASE_LO, Reg.HOST_BASE_HI, start),
            (Reg.HOST_SIZE_LO, Reg.HOST_SIZE_HI, size),
            (Reg.LIST_LO, Reg.LIST_HI, self._list.address),
        ):
            device.write32(low, value & 0xFFFFFFFF)
            device.write32(high, value >> 32)
        device.write32(Reg.CTRL, CTRL_IRQ_ENABLE.mask)
        self._cycles = 0
        self._counts = dict.fromkeys(COUNTER_REGISTERS, 0)

    def _ring(self) -> None:
        self._list.finish()
        self._device.write32(Reg.DOORBELL, 1)
        self._in_flight = True

    def _finish(self) -> None:
        try:
            self._device.wait_irq(self._timeout)
        except BaseException:
            # Timeout, dead device or Ctrl-C: the list is lost and may still be running.
            self._forget()
            self._lost = True
            raise
        self._device.write32(Reg.IRQ, IRQ_ENDED.mask)
        status = self._device.read32(Reg.STATUS)
        failure = self._failure(status)
        self._count(complete=failure is None)
        self._forget()
        if failure is not None:
            raise failure

    def _failure(self, status: int) -> DeviceError | None:
        """Return what the status words and register STATUS say of a list that has ended."""
        first = self._list.failure()
        if first is not None and first[0] != Code.PENDING:
            return DescriptorError(*first)
        if not status & STATUS_FAILED.mask:
            return None if first is None else DescriptorError(*first)
        code = STATUS_CODE.get(status)
        if code not in frozenset(Code):
            return DeviceError(
                f"register STATUS is 0x{status:08X}, with a code that there is not: check that the"
                " device can still be reached, and that the bitstream is loaded"
            )
        # The word of the descriptor that failed was not written, or is not seen here.
        begun = min(self._device.read32(Reg.DESC_COUNT), len(self._list))
        if begun == 0:
            return DescriptorError(Code(code), 0, "the list's address")
        return DescriptorError(Code(code), begun - 1, self._list.label(begun - 1), seen=False)

    def _forget(self) -> None:
        self._in_flight = False
        self._list.clear()
        self._bytes_in = self._bytes_out = 0

    def _count(self, *, complete: bool) -> None:
        read = self._device.read32
        cycles = read(Reg.CNT_CYCLES_LO) | read(Reg.CNT_CYCLES_HI) << 32
        spent = {}
        for name, register in COUNTER_REGISTERS.items():
            spent[name] = read(register) - self._counts[name] & 0xFFFFFFFF
            if cycles - self._cycles > _LONG_LIST:  # the upper half is of the lower one's moment
                upper = read(register + 4) - (self._counts[name] + spent[name] >> 32)
                spent[name] += (upper & 0xFFFFFFFF) << 32
            self._counts[name] += spent[name]
        channel = all_bank = 0
        if complete:
            asked = count_accesses(self._list.added, self._geometry)
            channel, all_bank = split_accesses(asked, spent, self._geometry)
        self._stats += OpStats(
            cycles=cycles - self._cycles,
            counters=spent,
            descriptors=len(self._list),
            lists=1,
            host_bytes_in=self._bytes_in,
            host_bytes_out=self._bytes_out,
            channel_accesses=channel,
            all_bank_accesses=all_bank,
        )
        self._cycles = cycles
