"""What descriptor lists moved in the DRAM, in one unit, and the rates that follow.

An all-bank command is an access to every bank: one RD of 16 banks is 16 bank accesses, as its ACT
is 16 activations. Counters of commands and of banks are never combined without this.
"""

from __future__ import annotations

from dataclasses import dataclass

from pimloop.errors import PimloopError
from pimloop.host.pim.driver import OpStats
from pimloop.host.planning.energies import link_bytes
from pimloop.host.platforms.platform import Platform


@dataclass(frozen=True)
class Traffic:
    """Accesses of descriptor lists, and the share of their time that the DRAM spent on them."""

    bank_accesses: int  # column accesses, an all-bank one counted for every bank
    channel_bytes: int  # read and written over the data bus of the channel
    nbytes: int  # read and written in the banks
    row_hit_rate: float | None  # 1 - activations / bank accesses; None without accesses
    bus_use: float | None  # of the time the data bus of the channel was busy; None without a clock
    refresh_share: float | None  # of the time the banks were refreshed; None without a clock

    @property
    def row_hits(self) -> int | None:
        """Bank accesses less activations; None without accesses."""
        rate = self.row_hit_rate
        return None if rate is None else round(rate * self.bank_accesses)


def traffic(stats: OpStats, platform: Platform) -> Traffic:
    """Return what lists moved on a platform.

    Raises
    ------
    PimloopError
        When the counters contradict each other.
    """
    device, dram, counters = platform.device, platform.dram, stats.counters
    width = device.banks if device.style == "all_bank" else 1
    accesses = stats.channel_accesses + width * stats.all_bank_accesses
    commands = stats.channel_accesses + stats.all_bank_accesses
    cycles = stats.cycles
    if cycles:
        _require(
            commands == counters["rd"] + counters["wr"],
            f"{commands} accesses are accounted for, {counters['rd']} RD and {counters['wr']} WR"
            " commands were counted",
        )
        # A bank that a refresh closed before its access is activated again.
        _require(
            counters["act"] <= accesses + device.banks * counters["ref"],
            f"{counters['act']} activations for {accesses} accesses",
        )
        _require(
            stats.channel_accesses * dram.tbl <= cycles,
            f"{stats.channel_accesses} bursts of {dram.tbl} clocks in {cycles} clocks",
        )
        states = counters["open"], counters["ref"] * dram.trfc, counters["self_refresh"]
        _require(
            sum(states) <= cycles,
            f"{states[0]} clocks with a bank open, {states[1]} in refresh and {states[2]} in"
            f" self-refresh of {cycles} clocks",
        )
        # A device before version 1.6 counts none.
        _require(
            counters["link"] in (0, link_bytes(stats)),
            f"{link_bytes(stats)} bytes of the host link are accounted for, {counters['link']} were"
            " counted",
        )
    return Traffic(
        bank_accesses=accesses,
        channel_bytes=stats.channel_accesses * device.atom_bytes,
        nbytes=accesses * device.atom_bytes,
        row_hit_rate=1 - counters["act"] / accesses if accesses and cycles else None,
        bus_use=stats.channel_accesses * dram.tbl / cycles if cycles else None,
        refresh_share=counters["ref"] * dram.trfc / cycles if cycles else None,
    )


def _require(holds: bool, condition: str) -> None:
    if not holds:
        raise PimloopError(f"the device's counters contradict each other: {condition}")
