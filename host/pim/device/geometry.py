"""What a device says of itself in its registers; every size the driver uses comes from here."""

from __future__ import annotations

from dataclasses import dataclass

from pimloop.host.pim.device.base import Device, DeviceError
from pimloop.rtl.isa import (
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

#: Bytes of a bfloat16 and of a binary32.
BF16_BYTES = 2
F32_BYTES = 4


@dataclass(frozen=True)
class Geometry:
    """Sizes and limits of one device."""

    capacity: int  # bytes of device memory
    all_bank: bool  # execution style: every bank reads its own column at once
    native_lanes: bool  # the arithmetic lanes are native (DPI) code
    banks: int
    bank_groups: int
    row_bytes: int  # bytes of one row of one bank
    atom_bytes: int  # bytes of one column access of one bank
    beat_bytes: int  # bytes of one operand access; alignment of device addresses
    lanes: int  # multiply-adds of one fabric clock
    acc_groups: int  # beats of results in the accumulators
    scalar_depth: int  # elements of the scalar buffer
    ck_ratio: int  # DRAM clocks in a fabric clock
    tck_fs: int  # DRAM clock period, femtoseconds
    lane_latency: int  # fabric clocks between operations on the same accumulators

    @property
    def beat_columns(self) -> int:
        """Elements (bfloat16) of a beat: the granule of a result row."""
        return self.beat_bytes // BF16_BYTES

    @property
    def atom_columns(self) -> int:
        """Elements (bfloat16) of an atom: the granule of MATMUL_T."""
        return self.atom_bytes // BF16_BYTES

    @property
    def tile_columns(self) -> int:
        """Columns of the widest column tile of MATMUL."""
        return self.acc_groups * self.beat_columns

    @property
    def bank_span(self) -> int:
        """Bytes of consecutive device addresses in one bank (all_bank: the whole memory)."""
        return self.capacity if self.all_bank else self.capacity // self.banks

    def registers(self) -> dict[Reg, int]:
        """Return what the registers of such a device read; `read_geometry` is the way back."""
        return {
            Reg.CAPACITY_LO: self.capacity & 0xFFFFFFFF,
            Reg.CAPACITY_HI: self.capacity >> 32,
            Reg.STYLE: STYLE_ALL_BANK.put(self.all_bank)
            | STYLE_NATIVE_LANES.put(self.native_lanes),
            Reg.BANKS: BANKS_COUNT.put(self.banks) | BANKS_GROUPS.put(self.bank_groups),
            **{register: getattr(self, register.name.lower()) for register in _PLAIN},
        }


#: Registers that hold the attribute of their name.
_PLAIN = (
    Reg.ROW_BYTES,
    Reg.ATOM_BYTES,
    Reg.BEAT_BYTES,
    Reg.LANES,
    Reg.ACC_GROUPS,
    Reg.SCALAR_DEPTH,
    Reg.CK_RATIO,
    Reg.TCK_FS,
    Reg.LANE_LATENCY,
)


def interface_version(word: int = DEVICE_VERSION) -> str:
    """Return the version of the interface in a VERSION register, as 1.0."""
    return f"{VERSION_MAJOR.get(word)}.{VERSION_MINOR.get(word)}"


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
    return Geometry(
        capacity=read(Reg.CAPACITY_LO) | read(Reg.CAPACITY_HI) << 32,
        all_bank=bool(STYLE_ALL_BANK.get(style)),
        native_lanes=bool(STYLE_NATIVE_LANES.get(style)),
        banks=BANKS_COUNT.get(banks),
        bank_groups=BANKS_GROUPS.get(banks),
        **{register.name.lower(): read(register) for register in _PLAIN},
    )
