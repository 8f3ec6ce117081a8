"""The registers that an error shows when the interrupt of a device does not come."""

from __future__ import annotations

from collections.abc import Callable

from pimloop.rtl.tables.isa import Reg

#: In the order of the message.
DUMP = (
    Reg.CTRL,
    Reg.STATUS,
    Reg.IRQ,
    Reg.LIST_HI,
    Reg.LIST_LO,
    Reg.DESC_HI,
    Reg.DESC_LO,
    Reg.DESC_COUNT,
    Reg.CNT_CYCLES_LO,
)


def dump_registers(read32: Callable[[int], int]) -> str:
    """Return the registers as read by `read32`: `CTRL=0x00000002, ...`."""
    return ", ".join(f"{register.name}=0x{read32(register):08X}" for register in DUMP)
