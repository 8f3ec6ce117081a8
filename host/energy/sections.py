"""The sections of a platform file that give energies: constants with units, sources and spread.

Each value may have `others`, the same quantity of other sources: a result then has a lowest and a
highest value beside its nominal one. `pimloop.host.energy.constants` makes of them what a command
or a microsecond costs; docs/energy.md explains them. All sections are optional together: a platform
without them has no energy model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pimloop.host.common.schema import (
    Constant,
    PlatformError,
    constant,
    number,
    parse_section,
)

BIT = "picojoules a bit"
ACCESS = "picojoules an access"
CHIP = "milliamperes a chip"


@dataclass(frozen=True)
class EnergySection:
    """What every device needs, beside the energies of its DRAM."""

    mac_pj: Constant = constant("picojoules a multiply-add")
    io_pj_per_bit: Constant = constant(BIT)  # on the data bus of the channel
    host_link_pj_per_bit: Constant = constant(BIT)  # between host memory and device


@dataclass(frozen=True)
class IddSection:
    """Currents of the DRAM as its data sheet lists them; the platform's timings do the rest."""

    chips: int = number("chips", 1)  # of the channel, all at work in every access
    vdd_v: Constant = constant("volts")
    idd0_ma: Constant = constant(CHIP)  # one bank activated and precharged every tRC
    idd2n_ma: Constant = constant(CHIP)  # all banks closed
    idd3n_ma: Constant = constant(CHIP)  # banks open
    idd4r_ma: Constant = constant(CHIP)  # a burst read every tCCD_S, without I/O
    idd4w_ma: Constant = constant(CHIP)  # a burst written every tCCD_S
    idd5b_ma: Constant = constant(CHIP)  # a refresh every tRFC
    idd6n_ma: Constant = constant(CHIP)  # self-refresh
    vpp_v: Constant = constant("volts")
    ipp0_ma: Constant = constant(CHIP)
    ipp3n_ma: Constant = constant(CHIP)  # standby, banks open or closed, reads and writes
    ipp6n_ma: Constant = constant(CHIP)


@dataclass(frozen=True)
class DramSection:
    """Energies of the channel, where they are published instead of currents."""

    act_pj: Constant = constant("picojoules a bank")  # activated and precharged
    rd_pj: Constant = constant(ACCESS)  # without I/O
    wr_pj: Constant = constant(ACCESS)
    ref_pj: Constant = constant("picojoules a refresh")  # beyond `open_mw` during tRFC
    open_mw: Constant = constant("milliwatts")
    closed_mw: Constant = constant("milliwatts")
    self_refresh_mw: Constant = constant("milliwatts")


@dataclass(frozen=True)
class AllBankSection:
    """Accesses of all banks at once, past the data bus (all_bank style)."""

    rd_pj: Constant = constant(ACCESS)  # every bank's column to its lanes
    wr_pj: Constant = constant(ACCESS)


@dataclass(frozen=True)
class CpuEnergySection:
    """The CPU of the `[cpu]` section."""

    core_mw: Constant = constant("milliwatts a core")  # a core at work, beyond `static_mw`
    static_mw: Constant = constant("milliwatts")  # of all cores, always


@dataclass(frozen=True)
class EnergySections:
    """The sections of one platform, checked against each other."""

    energy: EnergySection
    dram: IddSection | DramSection
    all_bank: AllBankSection | None  # None: per_bank style
    cpu: CpuEnergySection | None  # None: the file does not say what its CPU takes


_BASE, _IDD, _DRAM, _ALL_BANK, _CPU = (
    "energy", "energy_idd", "energy_dram", "energy_all_bank", "energy_cpu",
)  # fmt: skip

#: The sections by their names in the file.
SECTIONS: Mapping[str, type[Any]] = {
    _BASE: EnergySection,
    _IDD: IddSection,
    _DRAM: DramSection,
    _ALL_BANK: AllBankSection,
    _CPU: CpuEnergySection,
}


def parse_energy(
    data: Mapping[str, Any], path: Path, *, all_bank: bool, has_cpu: bool
) -> EnergySections | None:
    """Return the energy sections of a platform file; None where it has none.

    Parameters
    ----------
    data
        The parsed file.
    path
        For messages.
    all_bank
        Whether the device has that style.
    has_cpu
        Whether the file models its CPU.

    Raises
    ------
    PlatformError
        For a value that is wrong, and for sections that do not fit together; names file and key.
    """
    given = {
        name: parse_section(kind, data[name], path, name)
        for name, kind in SECTIONS.items()
        if name in data
    }
    if not given:
        return None
    if _BASE not in given:
        raise PlatformError(f"{path}: the section [{next(iter(given))}] needs a section [{_BASE}]")
    if (_IDD in given) == (_DRAM in given):
        raise PlatformError(
            f"{path}: [{_BASE}] needs the energies of the DRAM, either as currents [{_IDD}] or as"
            f" energies [{_DRAM}], not {'both' if _IDD in given else 'none'}"
        )
    if all_bank != (_ALL_BANK in given):
        style = "needs a section" if all_bank else "is per_bank and has no use for"
        raise PlatformError(f"{path}: the device {style} [{_ALL_BANK}]")
    if _CPU in given and not has_cpu:
        raise PlatformError(
            f"{path}: [{_CPU}] needs a section [cpu]: without one the CPU is that of this machine,"
            " whose power the file cannot know"
        )
    if _IDD in given:
        _check_tables(given[_IDD], path)
    dram = given[_IDD] if _IDD in given else given[_DRAM]
    return EnergySections(given[_BASE], dram, given.get(_ALL_BANK), given.get(_CPU))


def tables(section: IddSection) -> int:
    """Return how many tables of currents a section has, the nominal one included."""
    return 1 + max(len(value.others) for value in _constants(section).values())


def _constants(section: IddSection) -> dict[str, Constant]:
    values = {item.name: getattr(section, item.name) for item in fields(section)}
    return {name: value for name, value in values.items() if isinstance(value, Constant)}


def _check_tables(section: IddSection, path: Path) -> None:
    """Raise unless every table is complete and its currents are in order."""
    count = tables(section)
    for name, value in _constants(section).items():
        if value.others and len(value.others) != count - 1:
            raise PlatformError(
                f"{path}: {_IDD}.{name}.others has {len(value.others)} values, another current"
                f" {count - 1}: each place is one table of currents"
            )
    for number_of in range(count):
        table = currents(section, number_of)
        for more, less in (
            ("idd3n_ma", "idd2n_ma"), ("idd4r_ma", "idd3n_ma"), ("idd4w_ma", "idd3n_ma"),
            ("idd5b_ma", "idd3n_ma"), ("ipp0_ma", "ipp3n_ma"),
        ):  # fmt: skip
            if getattr(table, more).value < getattr(table, less).value:
                raise PlatformError(
                    f"{path}: {_IDD}.{more} is below {_IDD}.{less}: a command would give energy"
                )


def currents(section: IddSection, number_of: int) -> IddSection:
    """Return one table of currents, 0 being the nominal one.

    A value without `others` is the same in every table.
    """
    chosen = {
        name: Constant(value.others[number_of - 1] if number_of and value.others else value.value)
        for name, value in _constants(section).items()
    }
    return IddSection(chips=section.chips, **chosen)
