"""What an operation cost on the device."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtl.isa import Reg

#: Counters of the device by the name reports use, with their lower register.
COUNTER_REGISTERS: dict[str, Reg] = {
    "act": Reg.CNT_ACT_LO,
    "pre": Reg.CNT_PRE_LO,
    "rd": Reg.CNT_RD_LO,
    "wr": Reg.CNT_WR_LO,
    "ref": Reg.CNT_REF_LO,
    "mac": Reg.CNT_MAC_LO,
    "stall": Reg.CNT_STALL_LO,
}


@dataclass(frozen=True)
class OpStats:
    """Cost of one list, or the sum of several."""

    cycles: int = 0  # DRAM clocks (0 on the model, which has no time)
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTER_REGISTERS, 0))
    descriptors: int = 0  # END included
    lists: int = 0  # doorbells
    host_bytes_in: int = 0  # bytes copied from host to device memory
    host_bytes_out: int = 0  # bytes copied from device to host memory

    def __add__(self, other: OpStats) -> OpStats:
        """Return the sum."""
        return OpStats(
            cycles=self.cycles + other.cycles,
            counters={name: value + other.counters[name] for name, value in self.counters.items()},
            descriptors=self.descriptors + other.descriptors,
            lists=self.lists + other.lists,
            host_bytes_in=self.host_bytes_in + other.host_bytes_in,
            host_bytes_out=self.host_bytes_out + other.host_bytes_out,
        )
