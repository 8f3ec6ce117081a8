"""The PIM driver: device memory, layouts, descriptors, operations on tensors."""

from host.driver.driver import PimDriver
from host.driver.errors import (
    DescriptorError,
    DriverError,
    OutOfDeviceMemoryError,
    ShapeError,
)
from host.driver.stats import OpStats
from host.driver.tensors import DeviceMatrix, DeviceTensor, ProductOpcode

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
