"""Errors of the driver; each says what, where and what to do next."""

from __future__ import annotations

from pimloop.errors import PimloopError
from pimloop.host.pim.device.base import DeviceError
from pimloop.rtl.tables.isa import CODE_TEXT, Code


class DriverError(PimloopError):
    """The driver was asked for something it cannot do."""


class ShapeError(DriverError):
    """Operands whose shapes do not fit each other or the operation."""


class OutOfDeviceMemoryError(DriverError):
    """Device memory has no free range of the size asked for."""


_CACHED = (
    "what the device writes is not seen in the buffer: is it cached? Set sync-mode of u-dma-buf to"
    " 2 or 3, or connect a coherent port (docs/board-bring-up.md)."
)


class DescriptorError(DeviceError):
    """The device refused or failed a descriptor.

    Parameters
    ----------
    code
        Of the error; PENDING: the list ended without one, and this descriptor does not say so.
    index, operation
        Of the descriptor: its position in the list, from 0, and what it does.
    seen
        Whether its status word says the code too.
    """

    def __init__(self, code: Code, index: int, operation: str, *, seen: bool = True) -> None:
        place = f"descriptor {index} ({operation})"
        if code == Code.PENDING:
            text = (
                f"the device ended the list without an error, and the status word of {place} does"
                f" not say that it was executed: {_CACHED}"
            )
        else:
            text = (
                f"the device ended the list at {place} with {code.name} (0x{code:02X}):"
                f" {CODE_TEXT[code]} Later operations of the list were not executed."
            )
            if code in (Code.AXI_READ, Code.AXI_WRITE):
                text += (
                    " Check the address range of the port in the block design: the buffer must be"
                    " in it (docs/board-bring-up.md)."
                )
            elif not seen:
                text += f" Its status word does not say so: {_CACHED}"
        super().__init__(text)
        self.code = code
        self.index = index
