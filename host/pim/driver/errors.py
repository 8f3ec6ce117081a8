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


class DescriptorError(DeviceError):
    """The device refused or failed a descriptor."""

    def __init__(self, code: Code, index: int, operation: str) -> None:
        super().__init__(
            f"the device ended the list at descriptor {index} ({operation}) with {code.name} "
            f"(0x{code:02X}): {CODE_TEXT[code]} Later operations of the list were not executed."
        )
        self.code = code
        self.index = index
