"""DRAM clocks between accesses of one bank, for estimates of clocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pimloop.host.platforms.platform import DramSection


@dataclass(frozen=True)
class BankClocks:
    """What a stream of reads from one bank takes."""

    access: int = 1  # from a read to the next of the same row
    reopen: int = 0  # more than that to the next of another row

    @classmethod
    def of(cls, dram: DramSection) -> Self:
        """Return those of a platform: the row is closed tRTP after the read, and another opened."""
        return cls(dram.tccd_l, max(dram.trtp + dram.trp + dram.trcd_rd - dram.tccd_l, 0))


#: Of a device that no platform describes.
DEFAULT_BANK = BankClocks()
