"""What a PIM device is like: sizes and limits, as a platform has them and registers say them."""

from __future__ import annotations

from dataclasses import dataclass

from pimloop.partitioner.quantity import quantity
from pimloop.rtl.tables.isa import (
    BANKS_COUNT,
    BANKS_GROUPS,
    STYLE_ALL_BANK,
    STYLE_NATIVE_LANES,
    Reg,
)

#: Bytes of a bfloat16 and of a binary32.
BF16_BYTES = 2
F32_BYTES = 4


def memory_size(count: int) -> str:
    """Return bytes of a memory in the largest unit up to MiB of which they are a whole number.

    >>> memory_size(512 << 20), memory_size(512 << 10), memory_size(1600)
    ('512 MiB', '512 KiB', '1600 bytes')
    """
    for shift, unit in ((20, "MiB"), (10, "KiB")):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift} {unit}"
    return quantity(count, "byte")


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
    rows_per_beat: int = 1  # rows of the left operand that a beat of the right one is multiplied by
    transpose_ways: int = 1  # blocks of a MATMUL_T whose slices leave in turns

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
            **{register: getattr(self, register.name.lower()) for register in PLAIN_REGISTERS},
        }


#: Registers that hold the attribute of their name.
PLAIN_REGISTERS = (
    Reg.ROW_BYTES,
    Reg.ATOM_BYTES,
    Reg.BEAT_BYTES,
    Reg.LANES,
    Reg.ACC_GROUPS,
    Reg.SCALAR_DEPTH,
    Reg.CK_RATIO,
    Reg.TCK_FS,
    Reg.LANE_LATENCY,
    Reg.ROWS_PER_BEAT,
    Reg.TRANSPOSE_WAYS,
)
