"""The PIM driver: device memory, layouts, descriptors, operations on tensors."""

from pimloop.host.pim.driver.bank import DEFAULT_BANK, BankClocks
from pimloop.host.pim.driver.driver import PimDriver
from pimloop.host.pim.driver.errors import (
    DescriptorError,
    DriverError,
    OutOfDeviceMemoryError,
    ShapeError,
)
from pimloop.host.pim.driver.stats import OpStats
from pimloop.host.pim.driver.tensors import DeviceMatrix, DeviceTensor

__all__ = [
    "DEFAULT_BANK",
    "BankClocks",
    "DescriptorError",
    "DeviceMatrix",
    "DeviceTensor",
    "DriverError",
    "OpStats",
    "OutOfDeviceMemoryError",
    "PimDriver",
    "ShapeError",
]
