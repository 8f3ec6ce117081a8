"""Energy of counted work, split by cause and summed without remainder.

Each cause of each piece of work is rounded once, to whole femtojoules; everything above is a sum of
whole numbers. So a total is exactly its parts, by cause as by operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Literal, get_args

from pimloop.host.energy.constants import Constants, Spread

Cause = Literal[
    "act_pre", "rd", "wr", "ref", "open", "closed", "self_refresh", "io", "host_link", "mac",
    "cpu_dynamic", "cpu_static",
]  # fmt: skip

#: Every cause, in the order of tables and stacked bars.
CAUSES: tuple[Cause, ...] = get_args(Cause)

#: What each cause is, for people.
CAUSE_TEXT: Mapping[Cause, str] = {
    "act_pre": "activating and precharging banks",
    "rd": "reading columns",
    "wr": "writing columns",
    "ref": "refresh",
    "open": "DRAM background, banks open or refreshing",
    "closed": "DRAM background, banks closed",
    "self_refresh": "DRAM in self-refresh, between lists",
    "io": "data bus of the channel",
    "host_link": "link between host memory and device",
    "mac": "multiply-adds",
    "cpu_dynamic": "CPU cores at work",
    "cpu_static": "CPU, static",
}

_FJ_PER_PJ = 1000
_NS_PER_US = 1000


@dataclass(frozen=True)
class Activity:
    """What a piece of work did: counted by the device and the driver, timed by the platform."""

    us: Fraction = Fraction(0)  # its time, microseconds
    core_us: Fraction = Fraction(0)  # cores at work times microseconds
    list_clocks: int = 0  # DRAM clocks in descriptor lists
    open_clocks: int = 0  # those with a bank open
    asleep_clocks: int = 0  # those in self-refresh
    activations: int = 0  # banks activated
    reads: int = 0  # RD of one atom over the data bus of the channel
    writes: int = 0  # WR of one atom over it
    all_bank_reads: int = 0  # RD of every bank at once
    all_bank_writes: int = 0  # WR of every bank at once
    refreshes: int = 0  # REF of all banks
    multiply_adds: int = 0  # that the lanes did, padding included
    link_bits: int = 0  # between host memory and device

    def __add__(self, other: Activity) -> Activity:
        """Return both, one after the other."""
        return Activity(
            **{
                item.name: getattr(self, item.name) + getattr(other, item.name)
                for item in fields(self)
            }
        )


@dataclass(frozen=True)
class Joules:
    """An energy by its sources, in whole femtojoules."""

    low: int = 0
    nominal: int = 0
    high: int = 0

    def __add__(self, other: Joules) -> Joules:
        """Return the sum."""
        return Joules(self.low + other.low, self.nominal + other.nominal, self.high + other.high)


@dataclass(frozen=True)
class Energy:
    """An energy by cause; a cause that the platform has no constant for is not there."""

    parts: Mapping[Cause, Joules] = field(default_factory=dict)

    def __add__(self, other: Energy) -> Energy:
        """Return the sum, cause by cause."""
        return Energy(
            {
                cause: self.parts.get(cause, Joules()) + other.parts.get(cause, Joules())
                for cause in CAUSES
                if cause in self.parts or cause in other.parts
            }
        )

    @property
    def total(self) -> Joules:
        """The sum of all causes."""
        return sum(self.parts.values(), Joules())


def total(energies: Iterable[Energy]) -> Energy:
    """Return the sum of energies."""
    return sum(energies, Energy())


def average(energies: Iterable[Energy], count: int) -> Energy:
    """Return the sum of energies by a count, each cause rounded to whole femtojoules."""
    whole = total(energies)
    return Energy(
        {
            cause: Joules(
                round(Fraction(each.low, count)),
                round(Fraction(each.nominal, count)),
                round(Fraction(each.high, count)),
            )
            for cause, each in whole.parts.items()
        }
    )


def energy(activity: Activity, known: Constants) -> Energy:
    """Return the energy of a piece of work.

    Parameters
    ----------
    activity
        Its counts and times. Outside of its lists, and at their end, the DRAM is in self-refresh; a
        list that takes longer than the work leaves no time for that.
    known
        The constants of the platform.

    Returns
    -------
    Energy
        Without `cpu_dynamic` and `cpu_static` where the platform does not know its CPU's power.
    """
    clock_us = known.tck_ns / _NS_PER_US
    refreshing = activity.refreshes * known.trfc
    opened = activity.open_clocks + refreshing
    awake = activity.list_clocks - activity.asleep_clocks
    closed = awake - opened
    asleep_us = max(activity.us - awake * clock_us, Fraction(0))
    accesses = activity.reads + activity.writes
    parts: dict[Cause, Joules] = {
        "act_pre": _joules((activity.activations, known.act_pj)),
        "rd": _joules(
            (activity.reads, known.rd_pj), (activity.all_bank_reads, known.all_bank_rd_pj)
        ),
        "wr": _joules(
            (activity.writes, known.wr_pj), (activity.all_bank_writes, known.all_bank_wr_pj)
        ),
        "ref": _joules((activity.refreshes, known.ref_pj)),
        "open": _joules((opened * known.tck_ns, known.open_mw)),
        "closed": _joules((closed * known.tck_ns, known.closed_mw)),
        "self_refresh": _joules((asleep_us * _NS_PER_US, known.self_refresh_mw)),
        "io": _joules((accesses * known.atom_bits, known.io_pj_per_bit)),
        "host_link": _joules((activity.link_bits, known.host_link_pj_per_bit)),
        "mac": _joules((activity.multiply_adds, known.mac_pj)),
    }
    if known.core_mw is not None and known.static_mw is not None:
        parts["cpu_dynamic"] = _joules((activity.core_us * _NS_PER_US, known.core_mw))
        parts["cpu_static"] = _joules((activity.us * _NS_PER_US, known.static_mw))
    return Energy(parts)


def standing(us: Fraction, known: Constants) -> Energy:
    """Return what `us` microseconds take in which nothing works: self-refresh and static power.

    Negative for a time that is taken away: where steps overlap, what stands by is counted once.
    """
    parts: dict[Cause, Joules] = {"self_refresh": _joules((us * _NS_PER_US, known.self_refresh_mw))}
    if known.static_mw is not None:
        parts["cpu_static"] = _joules((us * _NS_PER_US, known.static_mw))
    return Energy(parts)


def _joules(*products: tuple[int | Fraction, Spread | None]) -> Joules:
    """Return the sum of amounts times picojoules, each rounded to femtojoules together."""
    known = [(amount, each) for amount, each in products if each is not None and amount]
    if not known:  # most: an operator of the CPU reads no DRAM
        return Joules()
    return Joules(
        _femtojoules([(amount, each.low) for amount, each in known]),
        _femtojoules([(amount, each.nominal) for amount, each in known]),
        _femtojoules([(amount, each.high) for amount, each in known]),
    )


def _femtojoules(products: list[tuple[int | Fraction, Fraction]]) -> int:
    """Return the sum of amounts times picojoules as femtojoules, rounded once, half to even.

    In whole numbers: a generation has some hundred thousand of them, and Fractions are reduced in
    every step.

    >>> _femtojoules([(3, Fraction(1, 2000)), (Fraction(1, 3), Fraction(3, 1000))])
    2
    """
    top, bottom = 0, 1
    for amount, pj in products:
        below = amount.denominator * pj.denominator
        top = top * below + _FJ_PER_PJ * amount.numerator * pj.numerator * bottom
        bottom *= below
    whole, rest = divmod(top, bottom)
    return whole + (2 * rest > bottom or (2 * rest == bottom and whole % 2 == 1))
