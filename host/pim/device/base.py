"""The boundary between host and device: what a board, a simulator and a model all offer.

Descriptors, layouts and tiling (`pimloop.host.pim.driver`) sit above it and do not know which
device is below. Backends: `pimloop.host.pim.device.model.ModelDevice`,
`pimloop.sim.device.process.SimDevice` and `pimloop.host.pim.device.board.BoardDevice`;
`pimloop.host.pim.device.open.open_device` makes each.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pimloop.sim.errors import DeviceError, DeviceTimeoutError

__all__ = ["Device", "DeviceError", "DeviceTimeoutError"]


@runtime_checkable
class Device(Protocol):
    """A PIM device: registers, a shared buffer, an interrupt."""

    @property
    def buffer(self) -> NDArray[np.uint8]:
        """The DMA-coherent memory that host and device share, (bytes,), writable in place."""
        ...

    @property
    def buffer_address(self) -> int:
        """The address of `buffer` as the device sees it (a multiple of 64)."""
        ...

    def read32(self, offset: int) -> int:
        """Return the register at byte `offset` (`pimloop.rtl.tables.isa.Reg`)."""
        ...

    def write32(self, offset: int, value: int) -> None:
        """Write the register at byte `offset`."""
        ...

    def wait_irq(self, timeout: float) -> None:
        """Return when the interrupt line is high, at once if it already is.

        `timeout` is in seconds of wall time; DeviceTimeoutError when it passes, DeviceError when
        the device is dead.
        """
        ...

    def reset(self) -> None:
        """Soft reset: drop the list in flight, registers to their reset values, memory kept."""
        ...

    def close(self) -> None:
        """Release the device; more calls do nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
