"""What a device says of itself in its registers; every size the driver uses comes from here."""

from __future__ import annotations

from dataclasses import dataclass

from pimloop.host.pim.device.base import Device, DeviceError
from pimloop.rtl.isa import DEVICE_ID, DEVICE_VERSION, Reg

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


def read_geometry(device: Device) -> Geometry:
    """Read the geometry registers; DeviceError when this is no device of this interface."""
    read = device.read32
    if read(Reg.ID) != DEVICE_ID:
        raise DeviceError(
            f"the device's ID register reads 0x{read(Reg.ID):08X}, a PIM device's is "
            f"0x{DEVICE_ID:08X}: this is another device, or its registers are not reachable"
        )
    version = read(Reg.VERSION)
    if version >> 16 != DEVICE_VERSION >> 16:
        raise DeviceError(
            f"the device speaks interface {version >> 16}.{version & 0xFFFF}, this driver "
            f"{DEVICE_VERSION >> 16}.x: rebuild the device from the same tree as the driver"
        )
    style, banks = read(Reg.STYLE), read(Reg.BANKS)
    return Geometry(
        capacity=read(Reg.CAPACITY_LO) | read(Reg.CAPACITY_HI) << 32,
        all_bank=bool(style & 0xFF),
        native_lanes=bool(style >> 8 & 1),
        banks=banks & 0xFFFF,
        bank_groups=banks >> 16,
        row_bytes=read(Reg.ROW_BYTES),
        atom_bytes=read(Reg.ATOM_BYTES),
        beat_bytes=read(Reg.BEAT_BYTES),
        lanes=read(Reg.LANES),
        acc_groups=read(Reg.ACC_GROUPS),
        scalar_depth=read(Reg.SCALAR_DEPTH),
        ck_ratio=read(Reg.CK_RATIO),
        tck_fs=read(Reg.TCK_FS),
        lane_latency=read(Reg.LANE_LATENCY),
    )
