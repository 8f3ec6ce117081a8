"""What a command, a bit, a multiply-add and a microsecond cost on a platform.

Energies of DRAM commands follow from the currents of its data sheet as in Micron's power notes and
DRAMPower (Chandrasekar, Akesson, Goossens, DSD 2011):

    ACT and PRE  VDD (IDD0 tRC - IDD3N tRAS - IDD2N (tRC - tRAS)), and the same of VPP
    RD           VDD (IDD4R - IDD3N) burst
    WR           VDD (IDD4W - IDD3N) burst
    REF          VDD (IDD5B - IDD3N) tRFC, the banks counting as open meanwhile
    background   VDD IDD3N + VPP IPP3N with a bank open, VDD IDD2N + VPP IPP3N with none,
                 VDD IDD6N + VPP IPP6N in self-refresh

all of them times the chips of the channel. Volts times milliamperes are milliwatts, times
nanoseconds picojoules. Values are fractions: nothing is rounded here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from fractions import Fraction

from pimloop.host.common.schema import Constant, PlatformError
from pimloop.host.energy.sections import EnergySections, IddSection, currents, tables
from pimloop.rtl.tables.timing import Timing

_FS_PER_NS = 10**6


@dataclass(frozen=True)
class Spread:
    """A quantity by its sources: lowest, nominal, highest."""

    low: Fraction
    nominal: Fraction
    high: Fraction

    @classmethod
    def of(cls, nominal: Fraction, others: Iterable[Fraction] = ()) -> Spread:
        """Return the spread of a nominal value and those of other sources."""
        values = (nominal, *others)
        return cls(min(values), nominal, max(values))

    @classmethod
    def of_constant(cls, constant: Constant) -> Spread:
        """Return the spread of a constant."""
        return cls.of(constant.value, constant.others)


@dataclass(frozen=True)
class Constants:
    """Energies in picojoules and powers in milliwatts, of the channel; None: not known."""

    tck_ns: Fraction  # a DRAM clock
    trfc: int  # DRAM clocks of a refresh
    atom_bits: int  # of an access over the data bus
    act_pj: Spread  # one bank activated and precharged
    rd_pj: Spread
    wr_pj: Spread
    ref_pj: Spread
    open_mw: Spread
    closed_mw: Spread
    self_refresh_mw: Spread
    mac_pj: Spread
    io_pj_per_bit: Spread
    host_link_pj_per_bit: Spread
    all_bank_rd_pj: Spread | None
    all_bank_wr_pj: Spread | None
    core_mw: Spread | None
    static_mw: Spread | None


def constants(sections: EnergySections, dram: Timing, *, tck_fs: int, atom_bytes: int) -> Constants:
    """Return the constants of a platform.

    Parameters
    ----------
    sections
        Its energies.
    dram
        Its DRAM timing, DRAM clocks.
    tck_fs
        Its DRAM clock, femtoseconds.
    atom_bytes
        Bytes of a column access.

    Raises
    ------
    PlatformError
        When the currents give a command a negative energy.
    """
    spread, tck = Spread.of_constant, Fraction(tck_fs, _FS_PER_NS)
    base, all_bank, cpu = sections.energy, sections.all_bank, sections.cpu
    if isinstance(sections.dram, IddSection):
        commands = _derived(sections.dram, dram, tck)
    else:
        commands = {
            item.name: spread(getattr(sections.dram, item.name)) for item in fields(sections.dram)
        }
    return Constants(
        tck_ns=tck,
        trfc=dram.trfc,
        atom_bits=8 * atom_bytes,
        **commands,
        mac_pj=spread(base.mac_pj),
        io_pj_per_bit=spread(base.io_pj_per_bit),
        host_link_pj_per_bit=spread(base.host_link_pj_per_bit),
        all_bank_rd_pj=spread(all_bank.rd_pj) if all_bank else None,
        all_bank_wr_pj=spread(all_bank.wr_pj) if all_bank else None,
        core_mw=spread(cpu.core_mw) if cpu else None,
        static_mw=spread(cpu.static_mw) if cpu else None,
    )


def _derived(section: IddSection, dram: Timing, tck: Fraction) -> dict[str, Spread]:
    """Return energies and powers of the channel: each table of currents gives one value of each."""
    columns = [currents(section, number_of) for number_of in range(tables(section))]

    def spread(form: Callable[[IddSection], Fraction]) -> Spread:
        nominal, *others = (section.chips * form(column) for column in columns)
        return Spread.of(nominal, others)

    act = spread(lambda c: act_mw_clocks(c, dram) * tck)
    if act.low < 0:
        raise PlatformError(
            f"energy_idd.idd0_ma is too low: an activation would take {float(act.low):g} pJ beyond"
            " the background of its tRC"
        )

    def of_vdd(more: str, clocks: int) -> Spread:
        return spread(
            lambda c: c.vdd_v.value * (getattr(c, more).value - c.idd3n_ma.value) * clocks * tck
        )

    def background(vdd: str, vpp: str) -> Spread:
        return spread(
            lambda c: c.vdd_v.value * getattr(c, vdd).value + c.vpp_v.value * getattr(c, vpp).value
        )

    return {
        "act_pj": act,
        "rd_pj": of_vdd("idd4r_ma", dram.tbl),
        "wr_pj": of_vdd("idd4w_ma", dram.tbl),
        "ref_pj": of_vdd("idd5b_ma", dram.trfc),
        "open_mw": background("idd3n_ma", "ipp3n_ma"),
        "closed_mw": background("idd2n_ma", "ipp3n_ma"),
        "self_refresh_mw": background("idd6n_ma", "ipp6n_ma"),
    }


def act_mw_clocks(table: IddSection, dram: Timing) -> Fraction:
    """Return what ACT and PRE of a bank of a chip take, milliwatts times DRAM clocks."""
    closed = dram.trc - dram.tras
    vdd = (
        table.idd0_ma.value * dram.trc
        - table.idd3n_ma.value * dram.tras
        - table.idd2n_ma.value * closed
    )
    vpp = (table.ipp0_ma.value - table.ipp3n_ma.value) * dram.trc
    return table.vdd_v.value * vdd + table.vpp_v.value * vpp
