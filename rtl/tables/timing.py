"""DRAM timings by the keys of a platform file.

Generated from timing.toml by `python -m pimloop.rtl.tools.generate`: do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _clocks(low: int) -> Any:
    """Declare a time of at least `low` DRAM clocks, as platform files give it."""
    return field(metadata={"unit": "DRAM clocks", "low": low})


@dataclass(frozen=True, kw_only=True)
class Timing:
    """DRAM timing in DRAM clocks, JEDEC names."""

    trcd_rd: int = _clocks(1)  # ACT to RD
    trcd_wr: int = _clocks(1)  # ACT to WR
    trp: int = _clocks(1)  # PRE to ACT or REF
    tras: int = _clocks(1)  # ACT to PRE
    trc: int = _clocks(1)  # ACT to ACT of the same bank or to REF
    tccd_s: int = _clocks(1)  # column to column, other bank group
    tccd_l: int = _clocks(1)  # column to column, same bank group
    trrd_s: int = _clocks(1)  # ACT to ACT, other bank group
    trrd_l: int = _clocks(1)  # ACT to ACT, same bank group
    tfaw: int = _clocks(1)  # window of four ACTs
    twr: int = _clocks(1)  # end of write data to PRE
    trtp: int = _clocks(1)  # RD to PRE
    twtr_s: int = _clocks(1)  # end of write data to RD, other bank group
    twtr_l: int = _clocks(1)  # end of write data to RD, same bank group
    trefi: int = _clocks(0)  # average refresh interval; 0: never refreshed
    trfc: int = _clocks(1)  # REF to ACT or REF
    txs: int = _clocks(1)  # self-refresh exit to ACT or REF
    txsdll: int = _clocks(1)  # self-refresh exit to RD or WR: the DLL has locked
    tcl: int = _clocks(1)  # RD to first data
    tcwl: int = _clocks(1)  # WR to first data
    tbl: int = _clocks(1)  # clocks of data of one burst


#: The parameter of pim_top behind each.
PARAMETERS: dict[str, str] = {
    "trcd_rd": "TRcdRd",
    "trcd_wr": "TRcdWr",
    "trp": "TRp",
    "tras": "TRas",
    "trc": "TRc",
    "tccd_s": "TCcdS",
    "tccd_l": "TCcdL",
    "trrd_s": "TRrdS",
    "trrd_l": "TRrdL",
    "tfaw": "TFaw",
    "twr": "TWr",
    "trtp": "TRtp",
    "twtr_s": "TWtrS",
    "twtr_l": "TWtrL",
    "trefi": "TRefi",
    "trfc": "TRfc",
    "txs": "TXs",
    "txsdll": "TXsdll",
    "tcl": "TCl",
    "tcwl": "TCwl",
    "tbl": "TBl",
}
