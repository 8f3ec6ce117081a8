"""The programming interface of the device: registers, descriptors, codes.

Generated from isa.toml by `python -m pimloop.rtl.generate`: do not edit.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

DEVICE_ID = 0x50494D31
DEVICE_VERSION = 0x00010000

#: Bytes of a descriptor and of a completion record.
DESCRIPTOR_BYTES = 64


class Reg(IntEnum):
    """Register offsets in bytes."""

    ID = 0x000
    VERSION = 0x004
    CTRL = 0x008
    STATUS = 0x00C
    IRQ = 0x010
    DOORBELL = 0x014
    LIST_LO = 0x018
    LIST_HI = 0x01C
    HOST_BASE_LO = 0x020
    HOST_BASE_HI = 0x024
    HOST_SIZE_LO = 0x028
    HOST_SIZE_HI = 0x02C
    CHAIN_LIMIT = 0x030
    DESC_LO = 0x034
    DESC_HI = 0x038
    DESC_COUNT = 0x03C
    DOORBELL_DROPPED = 0x040
    CAPACITY_LO = 0x080
    CAPACITY_HI = 0x084
    STYLE = 0x088
    BANKS = 0x08C
    ROW_BYTES = 0x090
    ATOM_BYTES = 0x094
    BEAT_BYTES = 0x098
    LANES = 0x09C
    ACC_GROUPS = 0x0A0
    SCALAR_DEPTH = 0x0A4
    CK_RATIO = 0x0A8
    TCK_FS = 0x0AC
    LANE_LATENCY = 0x0B0
    CNT_CYCLES_LO = 0x100
    CNT_CYCLES_HI = 0x104
    CNT_ACT_LO = 0x108
    CNT_ACT_HI = 0x10C
    CNT_PRE_LO = 0x110
    CNT_PRE_HI = 0x114
    CNT_RD_LO = 0x118
    CNT_RD_HI = 0x11C
    CNT_WR_LO = 0x120
    CNT_WR_HI = 0x124
    CNT_REF_LO = 0x128
    CNT_REF_HI = 0x12C
    CNT_MAC_LO = 0x130
    CNT_MAC_HI = 0x134
    CNT_STALL_LO = 0x138
    CNT_STALL_HI = 0x13C


class Opcode(IntEnum):
    """Values of `opcode`; each is explained in rtl/README.md."""

    COPY_IN = 0x01
    COPY_OUT = 0x02
    MATMUL = 0x03
    MATMUL_T = 0x04
    ADD = 0x05
    SUB = 0x06
    MUL = 0x07
    FENCE = 0x08
    END = 0x09


class Broadcast(IntEnum):
    """Values of `broadcast`; each is explained in rtl/README.md."""

    NONE = 0x00
    ROW = 0x01
    COLUMN = 0x02
    SCALAR = 0x03


class Init(IntEnum):
    """Values of `init`; each is explained in rtl/README.md."""

    ZERO = 0x00
    ROW = 0x01
    F32 = 0x02


class Code(IntEnum):
    """Values of `code`; each is explained in rtl/README.md."""

    PENDING = 0x00
    DONE = 0x01
    OPCODE = 0x81
    RESERVED = 0x82
    SIZE = 0x83
    MISALIGNED = 0x84
    RANGE = 0x85
    HOST_RANGE = 0x86
    OVERLAP = 0x87
    LOOP = 0x88
    CHAIN = 0x89
    AXI_READ = 0x8A
    AXI_WRITE = 0x8B


#: What each status code means.
CODE_TEXT: dict[Code, str] = {
    Code.PENDING: "Not executed yet.",
    Code.DONE: "Executed.",
    Code.OPCODE: "Unknown opcode.",
    Code.RESERVED: "Option not defined for this opcode, or an unused control bit set.",
    Code.SIZE: "A size is 0, not a multiple of its granule, or larger than the device allows.",
    Code.MISALIGNED: "An address or stride is not a multiple of its granule.",
    Code.RANGE: "A device address range leaves device memory.",
    Code.HOST_RANGE: "A host address range leaves HOST_BASE..HOST_BASE + HOST_SIZE.",
    Code.OVERLAP: "The result overlaps an operand it may not overlap.",
    Code.LOOP: "The status word is not PENDING: the chain loops, or it was not re-armed.",
    Code.CHAIN: "More than CHAIN_LIMIT descriptors in a list.",
    Code.AXI_READ: "The host memory answered a read with an error.",
    Code.AXI_WRITE: "The host memory answered a write with an error.",
}

#: Fields of the control word: (lowest bit, width).
CONTROL_FIELDS = {
    "opcode": (0, 8),
    "broadcast": (8, 2),
    "init": (10, 2),
    "out_f32": (12, 1),
    "record": (13, 1),
}

#: A descriptor, 64 bytes, little-endian.
DESCRIPTOR = np.dtype(
    [
        ("control", "<u4"),
        ("next_lo", "<u4"),
        ("next_hi", "<u4"),
        ("host_lo", "<u4"),
        ("host_hi", "<u4"),
        ("addr_a", "<u4"),
        ("addr_b", "<u4"),
        ("addr_y", "<u4"),
        ("rows", "<u4"),
        ("inner", "<u4"),
        ("cols", "<u4"),
        ("stride_a", "<u4"),
        ("stride_b", "<u4"),
        ("stride_y", "<u4"),
        ("tile", "<u4"),
        ("status", "<u4"),
    ]
)

#: A completion record, 64 bytes, little-endian.
RECORD = np.dtype(
    [
        ("status", "<u4"),
        ("cycles_lo", "<u4"),
        ("cycles_hi", "<u4"),
        ("act", "<u4"),
        ("pre", "<u4"),
        ("rd", "<u4"),
        ("wr", "<u4"),
        ("ref_count", "<u4"),
        ("mac", "<u4"),
        ("stall", "<u4"),
        ("unused", "<u4", (6,)),
    ]
)
