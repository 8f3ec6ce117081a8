"""The PIM driver: device memory, layouts, descriptors, operations on tensors."""

from pimloop.host.driver.driver import PimDriver
from pimloop.host.driver.errors import (
    DescriptorError,
    DriverError,
    OutOfDeviceMemoryError,
    ShapeError,
)
from pimloop.host.driver.stats import OpStats
from pimloop.host.driver.tensors import DeviceMatrix, DeviceTensor, ProductOpcode

__all__ = [
    "DescriptorError",
    "DeviceMatrix",
    "DeviceTensor",
    "DriverError",
    "OpStats",
    "OutOfDeviceMemoryError",
    "PimDriver",
    "ProductOpcode",
    "ShapeError",
]
