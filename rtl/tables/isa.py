"""The programming interface of the device: registers, descriptors, codes.

Generated from isa.toml by `python -m pimloop.rtl.tools.generate`: do not edit.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

DEVICE_ID = 0x50494D31
DEVICE_VERSION = 0x00010006

#: Bytes of a descriptor and of a completion record.
DESCRIPTOR_BYTES = 64


class Field(NamedTuple):
    """Some bits of a word."""

    low: int
    width: int

    @property
    def mask(self) -> int:
        """The word with these bits set and no others."""
        return (1 << self.width) - 1 << self.low

    def get(self, word: int) -> int:
        """Return the value of the field in a word."""
        return word >> self.low & (1 << self.width) - 1

    def put(self, value: int) -> int:
        """Return the word with this value in the field, what does not fit cut off, and 0 around."""
        return (value & (1 << self.width) - 1) << self.low


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
    ROWS_PER_BEAT = 0x0B4
    TRANSPOSE_WAYS = 0x0B8
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
    CNT_OPEN_LO = 0x140
    CNT_OPEN_HI = 0x144
    CNT_SELF_REFRESH_LO = 0x148
    CNT_SELF_REFRESH_HI = 0x14C
    CNT_ALL_RD_LO = 0x150
    CNT_ALL_RD_HI = 0x154
    CNT_ALL_WR_LO = 0x158
    CNT_ALL_WR_HI = 0x15C
    CNT_LINK_LO = 0x160
    CNT_LINK_HI = 0x164


# Fields of the registers: REGISTER_FIELD.
VERSION_MINOR = Field(0, 16)
VERSION_MAJOR = Field(16, 16)
CTRL_SOFT_RESET = Field(0, 1)
CTRL_IRQ_ENABLE = Field(1, 1)
STATUS_RUNNING = Field(0, 1)
STATUS_FAILED = Field(1, 1)
STATUS_CODE = Field(8, 8)
IRQ_ENDED = Field(0, 1)
STYLE_ALL_BANK = Field(0, 8)
STYLE_NATIVE_LANES = Field(8, 1)
BANKS_COUNT = Field(0, 16)
BANKS_GROUPS = Field(16, 16)

#: Values after reset of the registers that are not 0 then.
RESET: dict[Reg, int] = {
    Reg.ID: DEVICE_ID,
    Reg.VERSION: DEVICE_VERSION,
    Reg.CHAIN_LIMIT: 1048576,
}

#: Registers that keep what is written: they decide what a doorbell starts.
SETTINGS: tuple[Reg, ...] = (
    Reg.LIST_LO,
    Reg.LIST_HI,
    Reg.HOST_BASE_LO,
    Reg.HOST_BASE_HI,
    Reg.HOST_SIZE_LO,
    Reg.HOST_SIZE_HI,
    Reg.CHAIN_LIMIT,
)

#: Lower register of each counter; the upper one follows it.
COUNTERS: dict[str, Reg] = {
    "cycles": Reg.CNT_CYCLES_LO,
    "act": Reg.CNT_ACT_LO,
    "pre": Reg.CNT_PRE_LO,
    "rd": Reg.CNT_RD_LO,
    "wr": Reg.CNT_WR_LO,
    "ref": Reg.CNT_REF_LO,
    "mac": Reg.CNT_MAC_LO,
    "stall": Reg.CNT_STALL_LO,
    "open": Reg.CNT_OPEN_LO,
    "self_refresh": Reg.CNT_SELF_REFRESH_LO,
    "all_rd": Reg.CNT_ALL_RD_LO,
    "all_wr": Reg.CNT_ALL_WR_LO,
    "link": Reg.CNT_LINK_LO,
}

#: What each counter counts.
COUNTER_TEXT: dict[str, str] = {
    "cycles": "DRAM clocks spent in descriptor lists.",
    "act": "Bank activations; an all-bank ACT counts once for every bank.",
    "pre": "Banks precharged.",
    "rd": "Read column commands; an all-bank RD counts once.",
    "wr": "Write column commands; an all-bank WR counts once.",
    "ref": "All-bank refreshes.",
    "mac": "Beats of multiply-add work, padding included.",
    "stall": "DRAM clocks waiting for the host memory.",
    "open": "DRAM clocks with a bank open, from its ACT to its PRE.",
    "self_refresh": "DRAM clocks of descriptor lists in self-refresh, at their end.",
    "all_rd": "Read column commands of all banks at once.",
    "all_wr": "Write column commands of all banks at once.",
    "link": "Bytes moved between host memory and the device.",
}


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
    RELU = 0x0A


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


class Weights(IntEnum):
    """Values of `weights`; each is explained in rtl/README.md."""

    BF16 = 0x00
    W8 = 0x01
    W4 = 0x02


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


#: Moves rows between host memory and device memory.
COPY_OPCODES = (Opcode.COPY_IN, Opcode.COPY_OUT)
#: Sums of products; has an initial value, and results of two widths.
PRODUCT_OPCODES = (Opcode.MATMUL, Opcode.MATMUL_T)
#: One result for each element of the left operand; the right one may be broadcast.
ELEMENTWISE_OPCODES = (Opcode.ADD, Opcode.SUB, Opcode.MUL)
#: One result for each element of the left operand; there is no right one.
UNARY_OPCODES = (Opcode.RELU,)
#: Has no operands: about the list itself.
LIST_OPCODES = (Opcode.FENCE, Opcode.END)
#: Those that the lanes execute.
COMPUTE_OPCODES = (Opcode.MATMUL, Opcode.MATMUL_T, Opcode.ADD, Opcode.SUB, Opcode.MUL, Opcode.RELU)
#: Those of them that go through the rows of their operands beat by beat.
VECTOR_OPCODES = (Opcode.ADD, Opcode.SUB, Opcode.MUL, Opcode.RELU)

#: What each status code means.
CODE_TEXT: dict[Code, str] = {
    Code.PENDING: "Not executed yet.",
    Code.DONE: "Executed.",
    Code.OPCODE: "Unknown opcode.",
    Code.RESERVED: "Option not defined for this opcode or device, or an unused control bit set.",
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

#: Fields of the control word.
CONTROL_FIELDS: dict[str, Field] = {
    "opcode": Field(0, 8),
    "broadcast": Field(8, 2),
    "init": Field(10, 2),
    "out_f32": Field(12, 1),
    "record": Field(13, 1),
    "weights": Field(14, 2),
    "group": Field(16, 4),
}

#: Opcodes that an option may be set for; what is not here, for every one.
OPTION_OPCODES: dict[str, tuple[Opcode, ...]] = {
    "broadcast": ELEMENTWISE_OPCODES,
    "init": PRODUCT_OPCODES,
    "out_f32": PRODUCT_OPCODES,
    "weights": PRODUCT_OPCODES,
    "group": PRODUCT_OPCODES,
}

# Fields of other words of a descriptor.
DESCRIPTOR_STATUS_CODE = Field(0, 8)
DESCRIPTOR_STATUS_POSITION = Field(8, 24)

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
        ("open", "<u4"),
        ("self_refresh", "<u4"),
        ("all_rd", "<u4"),
        ("all_wr", "<u4"),
        ("link", "<u4"),
        ("unused", "<u4", (1,)),
    ]
)
