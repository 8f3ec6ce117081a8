"""What a device says of itself in its registers; every size the driver uses comes from here."""

from __future__ import annotations

from dataclasses import asdict

from pimloop.host.pim.device.base import Device, DeviceError
from pimloop.host.platforms.geometry import PLAIN_REGISTERS, Geometry
from pimloop.rtl.tables.isa import (
    BANKS_COUNT,
    BANKS_GROUPS,
    DEVICE_ID,
    DEVICE_VERSION,
    STYLE_ALL_BANK,
    STYLE_NATIVE_LANES,
    VERSION_MAJOR,
    VERSION_MINOR,
    Reg,
)


def interface_version(word: int = DEVICE_VERSION) -> str:
    """Return the version of the interface in a VERSION register, as 1.0."""
    return f"{VERSION_MAJOR.get(word)}.{VERSION_MINOR.get(word)}"


def differences(device: Geometry, expected: Geometry) -> list[str]:
    """Return what is not as expected, each as `banks 8 (platform: 16)`.

    How the lanes are made is no difference: it changes no result.
    """
    wanted = asdict(expected)
    return [
        f"{name} {value} (platform: {wanted[name]})"
        for name, value in asdict(device).items()
        if value != wanted[name] and name != "native_lanes"
    ]


def read_geometry(device: Device) -> Geometry:
    """Read the geometry registers; DeviceError when this is no device of this interface."""
    read = device.read32
    if read(Reg.ID) != DEVICE_ID:
        raise DeviceError(
            f"the device's ID register reads 0x{read(Reg.ID):08X}, a PIM device's is "
            f"0x{DEVICE_ID:08X}: this is another device, or its registers are not reachable"
        )
    version = read(Reg.VERSION)
    major = VERSION_MAJOR.get(DEVICE_VERSION)
    if VERSION_MAJOR.get(version) != major:
        raise DeviceError(
            f"the device speaks interface {interface_version(version)}, this driver "
            f"{major}.x: rebuild the device from the same tree as the driver"
        )
    style, banks = read(Reg.STYLE), read(Reg.BANKS)
    plain = {register.name.lower(): read(register) for register in PLAIN_REGISTERS}
    plain["rows_per_beat"] = plain["rows_per_beat"] or 1  # a device of before version 1.2
    plain["transpose_ways"] = plain["transpose_ways"] or 1  # of before version 1.3
    return Geometry(
        capacity=read(Reg.CAPACITY_LO) | read(Reg.CAPACITY_HI) << 32,
        all_bank=bool(STYLE_ALL_BANK.get(style)),
        native_lanes=bool(STYLE_NATIVE_LANES.get(style)),
        banks=BANKS_COUNT.get(banks),
        bank_groups=BANKS_GROUPS.get(banks),
        **plain,
    )
