"""The device on a board: registers, interrupt and DMA memory that Linux gives to a process.

Nothing here knows how they are reached: `pimloop.host.pim.device.uio` opens those of UIO and
u-dma-buf. Registers have the methods of PYNQ's MMIO, so that one serves as well. A board has a
clock of its own: cycles come from its counters, as for the simulator.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.base import DeviceError, DeviceTimeoutError
from pimloop.host.pim.device.geometry import differences, read_geometry
from pimloop.host.pim.device.uio import WINDOW_BYTES, BoardNames, open_buffer, open_uio
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import (
    CTRL_IRQ_ENABLE,
    CTRL_SOFT_RESET,
    IRQ_ENDED,
    STATUS_RUNNING,
    Reg,
)
from pimloop.sim.device.dump import dump_registers

logger = logging.getLogger(__name__)

#: Longest wait without a look at the registers and at whether the device was closed, seconds.
_SLICE_SECONDS = 0.1

#: Time for an interrupt to come whose cause the registers show already, seconds.
_GRACE_SECONDS = 0.05


class Registers(Protocol):
    """Access to the register window; one call is one access of 32 bits."""

    def read(self, offset: int) -> int:
        """Return the register at `offset` (bytes)."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Write the register at `offset` (bytes)."""
        ...


class Interrupt(Protocol):
    """An interrupt that is masked whenever it has come."""

    def arm(self) -> None:
        """Unmask it: it comes at once while the line is high."""
        ...

    def disarm(self) -> None:
        """Mask it."""
        ...

    def wait(self, seconds: float) -> bool:
        """Return whether it has come; wait for it at most `seconds`."""
        ...


class ClosableRegisters(Registers, Protocol):
    """Registers that are opened for one device."""

    def close(self) -> None:
        """Release them."""


class ClosableInterrupt(Interrupt, Protocol):
    """An interrupt that is opened for one device."""

    def close(self) -> None:
        """Release it."""


class BoardDevice:
    """A `pimloop.host.pim.device.base.Device` on a board.

    The interrupt must be a level, as the device's is. Stores to the buffer must reach memory before
    a later store to a register does: so they do on a coherent port.

    Parameters
    ----------
    registers, interrupt
        Of the device.
    buffer
        DMA-coherent memory, (bytes,) uint8.
    buffer_address
        Its address as the device sees it (a multiple of 64).
    release
        Called once, when the device is closed.
    """

    def __init__(
        self,
        registers: Registers,
        interrupt: Interrupt,
        buffer: NDArray[np.uint8],
        buffer_address: int,
        release: Callable[[], object] = lambda: None,
    ) -> None:
        self._registers = registers
        self._interrupt = interrupt
        self._buffer: NDArray[np.uint8] | None = buffer
        self._buffer_address = buffer_address
        self._release = release
        self._closed = False
        self._waiting = threading.Lock()  # held by who waits: only then the device is released

    @property
    def buffer(self) -> NDArray[np.uint8]:
        """The memory shared with the device, (bytes,); DeviceError once it is closed."""
        if self._buffer is None:
            raise _closed_error()
        return self._buffer

    @property
    def buffer_address(self) -> int:
        """Its address as the device sees it."""
        return self._buffer_address

    def read32(self, offset: int) -> int:
        """Return the register at `offset` (bytes).

        Raises
        ------
        DeviceError
            There is no register at such an offset, or the device is closed.
        """
        self._check(offset)
        try:
            return int(self._registers.read(offset))
        except ValueError:  # closed by another thread in this moment
            raise _closed_error() from None

    def write32(self, offset: int, value: int) -> None:
        """Write `value`, of which 32 bits count, to the register at `offset` (bytes).

        Raises
        ------
        DeviceError
            There is no register at such an offset, or the device is closed.
        """
        self._check(offset)
        try:
            self._registers.write(offset, value & 0xFFFFFFFF)
        except ValueError:
            raise _closed_error() from None

    def wait_irq(self, timeout: float) -> None:
        """Wait until the interrupt line is high; at once when it is.

        Parameters
        ----------
        timeout
            Bound in seconds of wall time.

        Raises
        ------
        DeviceTimeoutError
            It does not rise in time, the device is idle and will not raise it, or it is high and
            the kernel does not say so. The message has the registers; the device can still be used.
        DeviceError
            The device was closed, or its interrupt cannot be waited for.
        """
        with self._waiting:
            self._require_open()
            try:
                try:
                    self._await(timeout)
                finally:
                    self._interrupt.disarm()  # none comes while nobody waits
            except OSError as error:
                raise DeviceError(
                    f"the board's interrupt cannot be waited for: {error.strerror}: is the overlay"
                    " still loaded?"
                ) from error

    def _await(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._interrupt.arm()
        while True:
            left = deadline - time.monotonic()
            came = self._interrupt.wait(min(max(left, 0.0), _SLICE_SECONDS))
            reason = None if came else self._given_up()
            if reason is not None:
                came = self._interrupt.wait(_GRACE_SECONDS)
            if came:
                if self._line_is_high():
                    return
                self._interrupt.arm()  # that was of an earlier list
            elif reason is not None:
                # Read again: the list may have ended meanwhile.
                reason = self._given_up() or reason
                raise DeviceTimeoutError(f"{reason}; {dump_registers(self.read32)}")
            if left <= 0:
                raise DeviceTimeoutError(
                    f"no interrupt within {timeout:g} s; {dump_registers(self.read32)}"
                )

    def _line_is_high(self) -> bool:
        enabled = self.read32(Reg.CTRL) & CTRL_IRQ_ENABLE.mask
        return bool(enabled and self.read32(Reg.IRQ) & IRQ_ENDED.mask)

    def _given_up(self) -> str | None:
        """Return why it is of no use to wait longer; None while a list is running."""
        if self.read32(Reg.STATUS) & STATUS_RUNNING.mask:
            return None
        if not self._line_is_high():
            return "the device is idle and raises no interrupt"
        return (
            "the device raises its interrupt and the kernel does not see it: the interrupt number"
            " or its type (level, high) in the device tree is wrong"
        )

    def reset(self) -> None:
        """Soft reset; memory keeps its contents. DeviceError when the device is closed."""
        self.write32(Reg.CTRL, CTRL_SOFT_RESET.mask)
        self.read32(Reg.STATUS)  # answered after the write has arrived

    def close(self) -> None:
        """Stop a list that still runs and release the device; does nothing the second time.

        Who waits for the interrupt in another thread gets a DeviceError first. The buffer stays
        mapped as long as somebody has a view of it.
        """
        if self._closed:
            return
        self._closed = True
        with self._waiting:
            try:
                if self._registers.read(Reg.STATUS) & STATUS_RUNNING.mask:
                    # It would go on writing to memory that others may get.
                    self._registers.write(Reg.CTRL, CTRL_SOFT_RESET.mask)
                    self._registers.read(Reg.STATUS)
            except DeviceError:
                logger.debug("the board's registers cannot be reached any more")
            finally:
                self._buffer = None
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, offset: int) -> None:
        self._require_open()
        if offset % 4 or not 0 <= offset < WINDOW_BYTES:
            raise DeviceError(
                f"0x{offset:X} is no register: offsets are multiples of 4 below 0x{WINDOW_BYTES:X}"
            )

    def _require_open(self) -> None:
        if self._closed:
            raise _closed_error()


def _closed_error() -> DeviceError:
    return DeviceError("the board's device is closed: open it again")


#: Opens registers and interrupt by their names; both have a `close`.
Opener = Callable[[BoardNames], tuple[ClosableRegisters, ClosableInterrupt]]


def open_board(
    geometry: Geometry,
    platform: str,
    names: BoardNames | None = None,
    opener: Opener = open_uio,
) -> BoardDevice:
    """Open the PIM device of the board that this process runs on.

    Parameters
    ----------
    geometry
        What its registers must say; how the lanes are made does not matter.
    platform
        The platform's name, for messages.
    names
        Where the board is found; default: as the environment says.
    opener
        Opens registers and interrupt; default: those of UIO.

    Raises
    ------
    DeviceError
        There is no such board, it may not be opened, its registers are no PIM device's, or those
        of another platform's.
    """
    names = names or BoardNames.of_environment()
    with ExitStack() as stack:
        registers, interrupt = opener(names)
        stack.callback(interrupt.close)
        stack.callback(registers.close)
        buffer, address = open_buffer(names)
        held = ExitStack()
        device = BoardDevice(registers, interrupt, buffer, address, held.close)
        _require_geometry(read_geometry(device), geometry, names, platform)
        held.push(stack.pop_all())
    logger.info("board: %s, %d bytes at 0x%X", names.uio, buffer.size, address)
    return device


def _require_geometry(board: Geometry, wanted: Geometry, names: BoardNames, platform: str) -> None:
    """Raise DeviceError when a board is not what its platform says."""
    different = differences(board, wanted)
    if different:
        raise DeviceError(
            f"the board's {names.uio} is no device of platform {platform}: its registers say"
            f" {', '.join(different)}; choose the platform of the bitstream that is loaded"
        )
