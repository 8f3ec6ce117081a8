"""report.html of a generation: what a token costs under every policy, and where the time goes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pimloop.host.common.files import write_text
from pimloop.host.common.text import printable
from pimloop.host.report.generation.energies import (
    FJ_PER_J,
    energy_bars,
    energy_words,
    last_phase,
    with_cpu,
)
from pimloop.host.report.generation.format import GrowthRow, KindRow, PhaseTime, ScheduleTimes
from pimloop.host.report.generation.numbers import GROUPS, TRANSFERS
from pimloop.host.report.html.charts import Breakdown
from pimloop.host.report.html.labels import (
    device_title,
    format_fj,
    format_js,
    format_number,
    format_us,
    schedule_meaning,
    schedule_order,
    schedule_title,
)
from pimloop.host.report.html.page import asset, template
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

_CACHES_SHOWN = 3

#: What a group is called, and the colour of its part of a bar.
_GROUP_TITLES = {
    "weights": "products by weights",
    "attention": "attention",
    "others": "other operators",
    TRANSFERS: "transfers",
}
_GROUP_CLASSES = {"weights": "op-0", "attention": "op-4", "others": "op-3", TRANSFERS: "dev-dma"}

#: What one execution of a phase is.
PHASE_WORDS = {"prefill": "the prompt", "decode": "a token"}


@dataclass(frozen=True)
class Row:
    """A schedule."""

    title: str
    meaning: str
    kind: str  # "executed" or "planned"
    first: str  # time to first token
    token: str  # time of a step
    rate: str  # tokens/s
    against_cpu: str  # how many times as fast as the CPU alone
    prompt_energy: str
    token_energy: str
    power: str  # average power of a step, "–" where the CPU's is not known
    energy_delay: str  # of a step, the same
    lead: bool


@dataclass(frozen=True)
class Part:
    """A part of a bar."""

    text: str
    value: str  # its time, and its share of the sum of the parts
    label: str
    share: float  # percent of the longest bar
    style: str


@dataclass(frozen=True)
class Bar:
    """One execution of a phase under a schedule."""

    title: str
    total: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class PhasePart:
    """What the page says of a phase."""

    name: str
    word: str  # what one execution is
    where: str
    caches: str  # those that have no room on the PIM
    page: str  # of its operators; "" without costs
    bars: tuple[Bar, ...]
    energies: Breakdown | None
    kinds: tuple[tuple[str, ...], ...]
    devices: tuple[str, ...]  # columns of `kinds`


def write_page(report: Mapping[str, Any], pages: Mapping[str, str], path: Path) -> None:
    """Write the page.

    Parameters
    ----------
    report
        The object of generation.json.
    pages
        Relative addresses of the phases' own pages, by phase.
    path
        The file; replaced when it exists.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    write_text(path, render(report, pages))


def render(report: Mapping[str, Any], pages: Mapping[str, str]) -> str:
    """Return the page as text; parameters as of `write_page`."""
    text = template("generation.html.j2").render(
        report=report,
        batch=report["batch"],
        sentence=_sentence(report),
        rows=_rows(report),
        energies=any(schedule["prompt_j"] is not None for schedule in report["schedules"]),
        power=with_cpu(report),
        last=PHASE_WORDS[report["phases"][-1]["name"]],
        groups=[(_GROUP_TITLES[group], _GROUP_CLASSES[group]) for group in GROUPS],
        phases=[_phase(report, phase, pages) for phase in report["phases"]],
        growth=_growth(report),
        checks=report["verification"],
        tokens=report["tokens"],
        command=shlex.join(report["command"]),
        style=asset("report.css"),
    )
    return printable(text)


def lead_of(report: Mapping[str, Any]) -> ScheduleTimes | None:
    """Return the times of the schedule that was executed; None without a clock."""
    return next((s for s in report["schedules"] if s["executed"]), None)


def against_cpu(schedule: ScheduleTimes, schedules: Sequence[ScheduleTimes]) -> float | None:
    """Return how many times as fast a step is as on the faster CPU schedule; None without one.

    Without steps it is the prompt that is compared.
    """

    def us(times: ScheduleTimes) -> float:
        return times["us_per_token"] or times["time_to_first_token_us"]

    alone = [
        us(s) for s in schedules if all(not phase["pim_nodes"] for phase in s["phases"].values())
    ]
    return min(alone) / us(schedule) if alone else None


def caches_without_room(phase: Mapping[str, Any]) -> str:
    """Return which KV caches the CPU has because device memory has no room, "" where none."""
    reasons: Mapping[str, str] = phase.get("states_without_room", {})
    if not reasons:
        return ""
    shown = [f"{name} ({reason})" for name, reason in list(reasons.items())[:_CACHES_SHOWN]]
    if len(reasons) > _CACHES_SHOWN:
        shown.append(f"{len(reasons) - _CACHES_SHOWN} more (generation.json has all)")
    caches = quantity(phase["states"], "KV cache")
    return f"{len(reasons)} of {caches} on the CPU for want of room: {'; '.join(shown)}"


def _sentence(report: Mapping[str, Any]) -> str:
    lead = lead_of(report)
    if lead is None:
        return "No times: the model device has no clock."
    energy = energy_words(report)
    joules = f" Energy: {energy}." if energy else ""
    first = f"The first token is there after {format_us(lead['time_to_first_token_us'])}"
    if lead["us_per_token"] is None:
        return f"{first}.{joules}"
    each = "each further one" if report["batch"] == 1 else f"each further {report['batch']}"
    rate = f"{format_number(lead['tokens_per_s'] or 0.0)} tokens/s"
    return f"{first}, {each} takes {format_us(lead['us_per_token'])} ({rate}).{joules}"


def _rows(report: Mapping[str, Any]) -> list[Row]:
    schedules: Sequence[ScheduleTimes] = report["schedules"]
    rows = []
    for schedule in schedules:
        name, ratio = schedule["schedule"], against_cpu(schedule, schedules)
        us, rate = schedule["us_per_token"], schedule["tokens_per_s"]
        last = last_phase(schedule)
        watts, delay = last["average_w"], last["energy_delay_js"]
        rows.append(
            Row(
                title=_title(schedule),
                meaning=schedule_meaning(name, {"optimal": schedule["optimal"]}),
                kind="executed" if schedule["executed"] else "planned",
                first=format_us(schedule["time_to_first_token_us"]),
                token="–" if us is None else format_us(us),
                rate="–" if rate is None else f"{rate:,.2f}",
                against_cpu="–" if ratio is None else f"{ratio:.2f}×",
                prompt_energy=_joules(schedule["prompt_j"]),
                token_energy=_joules(schedule["j_per_token"]),
                power="–" if watts is None else f"{format_number(watts)} W",
                energy_delay="–" if delay is None else format_js(delay),
                lead=schedule["executed"],
            )
        )
    return rows


def _joules(joules: float | None) -> str:
    return "–" if joules is None else format_fj(FJ_PER_J * joules)


def _phase(
    report: Mapping[str, Any], phase: Mapping[str, Any], pages: Mapping[str, str]
) -> PhasePart:
    name = phase["name"]
    times = {_title(s): s["phases"][name] for s in report["schedules"]}
    longest = max((time["us"] for time in times.values()), default=1.0) or 1.0
    kinds: Sequence[KindRow] = phase["operator_kinds"]
    devices = tuple(dict.fromkeys(d for row in kinds for d in row["devices_us"]))
    where = f"{phase['pim_nodes']} of {phase['nodes']} operators on the PIM"
    if phase["split_nodes"]:
        where += f", {phase['split_nodes']} of them split between CPU and PIM"
    return PhasePart(
        name=name,
        word=PHASE_WORDS[name],
        where=where,
        caches=caches_without_room(phase),
        page=pages.get(name, ""),
        bars=tuple(_bar(title, time, longest) for title, time in times.items()),
        energies=energy_bars(report["schedules"], name),
        kinds=tuple(_kind(row, devices, phase["us_per_execution"]) for row in kinds),
        devices=tuple(map(device_title, devices)),
    )


@dataclass(frozen=True)
class GrowthTable:
    """Time of a step by the length of its cache."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: str


def _growth(report: Mapping[str, Any]) -> GrowthTable:
    """Return a step's time and the share of attention under every schedule."""
    rows: Sequence[GrowthRow] = report["growth"]
    names = schedule_order(rows[0]["us"]) if rows else []
    titles = {s["schedule"]: _title(s) for s in report["schedules"]}

    def cell(row: GrowthRow, name: str) -> str:
        if name not in row["us"]:
            return "–"
        return f"{format_us(row['us'][name])} ({percent(row['attention'][name])})"

    return GrowthTable(
        tuple(titles.get(name, name) for name in names),
        tuple((f"{row['context']:,}", *(cell(row, name) for name in names)) for row in rows),
        report["growth_left_out"],
    )


def _title(schedule: ScheduleTimes) -> str:
    # Whole phases have no gap of their own to name.
    return schedule_title(schedule["schedule"], {"optimal": schedule["optimal"]})


def _bar(title: str, time: PhaseTime, longest: float) -> Bar:
    # Overlapping parts add up to more than the time; they are drawn to its length.
    total = sum(time["groups_us"].values()) or 1.0
    parts = []
    for group in GROUPS:  # columns of the table too
        us = time["groups_us"][group]
        share = us / total
        amount, percentage = format_us(us), percent(share)
        parts.append(
            Part(
                text=f"{_GROUP_TITLES[group]}: {amount}, {percentage}",
                value=f"{amount} ({percentage})",
                label=percentage if share * time["us"] > 0.08 * longest else "",
                share=100 * share * time["us"] / longest,
                style=_GROUP_CLASSES[group],
            )
        )
    return Bar(title, format_us(time["us"]), tuple(parts))


def _kind(row: KindRow, devices: Sequence[str], total: float) -> tuple[str, ...]:
    return (
        row["kind"],
        str(row["count"]),
        format_us(row["us"]),
        percent(row["us"] / total) if total else "–",
        *(format_us(row["devices_us"][d]) if d in row["devices_us"] else "–" for d in devices),
    )
