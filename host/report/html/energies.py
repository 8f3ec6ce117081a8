"""Energy by cause and schedule: stacked bars on the page, and the rows of the terminal's table."""

from __future__ import annotations

from dataclasses import dataclass

from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Energy, Schedule
from pimloop.host.report.html.charts import BarKey, Breakdown, breakdown
from pimloop.host.report.html.labels import (
    capitalize_first,
    format_fj,
    format_js,
    format_number,
    schedule_order,
    schedule_title,
)

#: Causes that are drawn and listed together, from left to right, with their colours.
GROUPS: tuple[tuple[str, str, int | None, tuple[str, ...]], ...] = (
    ("act_pre", "ACT/PRE", 2, ("act_pre",)),
    ("access", "RD and WR", 1, ("rd", "wr")),
    ("ref", "refresh", 5, ("ref",)),
    ("background", "DRAM background", 0, ("open", "closed", "self_refresh")),
    ("io", "I/O and host link", 3, ("io", "host_link")),
    ("mac", "multiply-adds", 6, ("mac",)),
    ("cpu_dynamic", "CPU at work", 4, ("cpu_dynamic",)),
    ("cpu_static", "CPU, static", None, ("cpu_static",)),
)


@dataclass(frozen=True)
class EnergyRow:
    """A schedule."""

    title: str
    total: str
    spread: str  # from the lowest to the highest
    power: str  # "" without the CPU
    energy_delay: str  # the same


@dataclass(frozen=True)
class Energies:
    """The section of the page."""

    model: str  # where the numbers come from, or why there are none
    with_cpu: bool
    rows: tuple[EnergyRow, ...]
    bars: Breakdown | None

    @property
    def sentence(self) -> str:
        """What the section begins with."""
        if self.bars is None:
            return f"{capitalize_first(self.model)}."
        return (
            f"From {self.model}. Every constant has its unit and source in the platform's file;"
            " where sources disagree, the spread goes from the lowest to the highest."
        )


def energies(report: Report) -> Energies | None:
    """Return the energies of a report's schedules; None of an early report, which has none."""
    model = report.get("energy_model")
    if model is None:
        return None
    known = with_energy(report)
    return Energies(
        model,
        all(schedule["energy"]["with_cpu"] for schedule in known.values()),
        tuple(_row(name, schedule) for name, schedule in known.items()),
        _bars(known),
    )


def group_fj(energy: Energy, causes: tuple[str, ...]) -> int:
    """Return the nominal energy of some causes, femtojoules."""
    return sum(
        energy["causes_fj"][cause]["nominal"] for cause in causes if cause in energy["causes_fj"]
    )


def with_energy(report: Report) -> dict[str, Schedule]:
    """Return the schedules that have an energy, in their order."""
    schedules = report["schedules"]
    return {
        name: schedules[name] for name in schedule_order(schedules) if "energy" in schedules[name]
    }


def _row(name: str, schedule: Schedule) -> EnergyRow:
    energy = schedule["energy"]
    total, power, delay = energy["total_fj"], energy["average_w"], energy["energy_delay_js"]
    return EnergyRow(
        schedule_title(name, schedule),
        format_fj(total["nominal"]),
        f"{format_fj(total['low'])} to {format_fj(total['high'])}",
        "" if power is None else f"{format_number(power)} W",
        "" if delay is None else format_js(delay),
    )


def _bars(known: dict[str, Schedule]) -> Breakdown | None:
    sums = {
        name: {key: float(group_fj(schedule["energy"], causes)) for key, _, _, causes in GROUPS}
        for name, schedule in known.items()
    }
    keys = [
        BarKey(key, title, colour)
        for key, title, colour, _ in GROUPS
        if any(by_key[key] for by_key in sums.values())
    ]
    return breakdown(known, keys, sums, format_fj)
