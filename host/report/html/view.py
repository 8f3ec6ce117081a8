"""Everything that the template prints, as one typed structure.

The template has no look-ups of its own: it names attributes of these types, and a test holds every
name against them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pimloop.host.report.format.report import Report
from pimloop.host.report.html import charts, headline, labels
from pimloop.host.report.html.board import BoardRow, board_rows
from pimloop.host.report.html.charts import Breakdown, Counter, Meter, ScheduleRow
from pimloop.host.report.html.checks import Checks, checks
from pimloop.host.report.html.energies import Energies, energies
from pimloop.host.report.html.facts import (
    Fact,
    PlatformRow,
    ProfileFacts,
    platform_rows,
    profile_facts,
    repeat_facts,
)
from pimloop.host.report.html.headline import Card
from pimloop.host.report.html.lead import lead_schedule
from pimloop.host.report.html.notes import Chip, Kept, Note, chips, kept, notes_on_times
from pimloop.host.report.html.rates import LIMIT_MEANINGS, LIMITS, RateRow, rate_rows
from pimloop.host.report.html.splits import SplitSchedule, split_schedules
from pimloop.host.report.html.what_if import WhatIfTable, what_if_table

#: Devices whose colour and shape the style sheet knows.
_STYLED = ("pim", "cpu_serial", "cpu_parallel")


@dataclass(frozen=True)
class Head:
    """The top of the page."""

    title: str
    platform: str
    platform_title: str
    sentence: str
    where: str
    proof: str
    together: tuple[str, ...]
    cards: tuple[Card, ...]
    cards_of: str  # the schedule that they are about, with its time; "" without a clock
    chips: tuple[Chip, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class DeviceMark:
    """A device in a legend or a heading."""

    name: str
    title: str
    shape: str


@dataclass(frozen=True)
class Schedules:
    """The table of schedules and what belongs to it."""

    rows: tuple[ScheduleRow, ...]
    lead: str  # name of the schedule that the page leads with
    further: tuple[DeviceMark, ...]  # devices of plug-ins that any schedule uses
    executed: str  # what the second time is called
    executed_meaning: str
    totals: str  # how times become a total
    board: tuple[BoardRow, ...]  # schedules with a total published for the paper's board
    kept: Kept


@dataclass(frozen=True)
class Limit:
    """What may limit a PIM operator."""

    title: str
    meaning: str


@dataclass(frozen=True)
class Page:
    """The page."""

    head: Head
    format: str
    makespan: bool  # whether steps overlap
    schedules: Schedules
    devices: tuple[DeviceMark, ...]
    transfers: str  # what the lane of transfers is called
    by_operator: Breakdown | None
    by_device: Breakdown | None
    energy: Energies | None  # None: an early report
    splits: tuple[SplitSchedule, ...]
    what_if: WhatIfTable | None
    rates: tuple[RateRow, ...]
    limits: tuple[Limit, ...]  # those of `rates`
    main: str  # the schedule that operators' rates and counters are of
    weights: str
    meters: tuple[Meter, ...]
    counters: tuple[Counter, ...]
    profile: ProfileFacts | None
    checks: Checks
    command: str
    facts: tuple[Fact, ...]
    platform: tuple[PlatformRow, ...]
    values_set: int  # values of the platform that were set for the run


def view(report: Report) -> Page:
    """Return what the page of a report prints."""
    meters, counters = charts.counters(report)
    rates = tuple(rate_rows(report))
    limited = {row.limited_by for row in rates}
    schedules = _schedules(report)
    platform = platform_rows(report)
    return Page(
        head=_head(report, schedules.rows),
        format=report["format"],
        makespan=report.get("objective") == "makespan",
        schedules=schedules,
        devices=tuple(map(_mark, charts.devices_used(report))),
        transfers=labels.device_title(labels.TRANSFERS),
        by_operator=charts.operator_breakdown(report),
        by_device=charts.device_breakdown(report),
        energy=energies(report),
        splits=tuple(split_schedules(report)),
        what_if=what_if_table(report),
        rates=rates,
        limits=tuple(
            Limit(title, LIMIT_MEANINGS[key]) for key, title in LIMITS.items() if key in limited
        ),
        main=charts.main_title(report),
        weights=charts.weights_text(report),
        meters=tuple(meters),
        counters=tuple(counters),
        profile=profile_facts(report.get("profile")),
        checks=checks(report),
        command=shlex.join(report.get("command") or ()),
        facts=repeat_facts(report),
        platform=platform,
        values_set=sum(row.changed for row in platform),
    )


def _head(report: Report, rows: tuple[ScheduleRow, ...]) -> Head:
    return Head(
        title=headline.title(report),
        platform=report["platform"],
        platform_title=report.get("platform_title") or "",
        sentence=headline.sentence(report),
        where=headline.where(report),
        proof=headline.proof(report),
        together=tuple(headline.together(report)),
        cards=tuple(headline.cards(report)),
        cards_of=headline.cards_of(report),
        chips=chips(report, rows),
        notes=notes_on_times(report),
    )


def _schedules(report: Report) -> Schedules:
    overlapped = report.get("objective") == "makespan"
    return Schedules(
        rows=tuple(charts.schedule_rows(report)),
        lead=lead_schedule(report),
        further=tuple(map(_mark, labels.further_devices(report))),
        executed=labels.executed_word(report),
        executed_meaning=labels.executed_meaning(report),
        totals="overlapped as the plan overlaps them" if overlapped else "added up",
        board=tuple(board_rows(report)),
        kept=kept(report),
    )


def _mark(device: str) -> DeviceMark:
    shape = device if device in _STYLED else "split" if "+" in device else "other"
    return DeviceMark(device, labels.device_title(device), shape)
