"""What an operation cost on the device."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from pimloop.rtl.tables.isa import COUNTERS, Reg

#: Counters of the device besides its cycles, with their lower register.
COUNTER_REGISTERS: dict[str, Reg] = {
    name: register for name, register in COUNTERS.items() if name != "cycles"
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
    # Column commands by what they move; together `rd` + `wr` (see
    # `pimloop.host.pim.driver.accesses`).
    channel_accesses: int = 0  # one atom over the data bus of the channel
    all_bank_accesses: int = 0  # a beat, every bank at once, past the bus (all_bank style)

    def __add__(self, other: OpStats) -> OpStats:
        """Return the sum."""
        return self._combine(other, 1)

    def __sub__(self, other: OpStats) -> OpStats:
        """Return what was done since `other`, an earlier total of the same device."""
        return self._combine(other, -1)

    def _combine(self, other: OpStats, sign: int) -> OpStats:
        numbers = {
            field.name: getattr(self, field.name) + sign * getattr(other, field.name)
            for field in fields(self)
            if field.name != "counters"
        }
        counters = {name: n + sign * other.counters[name] for name, n in self.counters.items()}
        return OpStats(counters=counters, **numbers)
