"""Short lines beside the numbers: chips of the header, and what is to be known of the times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pimloop.host.report.format.report import Report
from pimloop.host.report.format.run import BasisRow
from pimloop.host.report.html.charts import ScheduleRow
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

#: Reasons why operators stay on the CPU that are shown at once.
_KEPT_SHOWN = 5


@dataclass(frozen=True)
class Chip:
    """A fact of a few words."""

    text: str
    kind: Literal["", "good", "bad"] = ""


@dataclass(frozen=True)
class Note:
    """A sentence."""

    text: str
    warning: bool


def chips(report: Report, rows: Sequence[ScheduleRow]) -> tuple[Chip, ...]:
    """Return what the header says in a few words each.

    Parameters
    ----------
    rows
        Of the schedules, the main one first.
    """
    shown: list[Chip] = []
    verified = report.get("verification") or {}
    exact = verified.get("pim_bit_exact")
    if exact is not None:
        text = "✓ PIM results exact to the bit" if exact else "✗ PIM results WRONG"
        shown.append(Chip(text, "good" if exact else "bad"))
    if verified.get("passed") is False:
        shown.append(Chip("✗ verification FAILED", "bad"))
    profile = report.get("profile")
    if profile is not None:
        reused = "costs reused from earlier runs: " if profile["from_cost_store"] else ""
        least = profile["runs"] == profile["runs_lower_bound"]
        minimum = ", the provable minimum" if least else ""
        shown.append(Chip(f"{reused}{quantity(profile['runs'], 'profile run')}{minimum}"))
    if rows and rows[0].difference:
        shown.append(Chip(_agreement(report, rows[0].difference)))
    if report.get("objective"):
        shown.append(Chip(f"objective: {report['objective']}"))
    return tuple(shown)


def _agreement(report: Report, difference: str) -> str:
    """Return how the execution of the main schedule agrees with its prediction."""
    within = f"within {difference.lstrip('+-')} of the prediction"
    if report.get("executed_kind") == "simulated":
        equal = "simulated as predicted: consistent, not a measure of accuracy"
        return equal if difference == "0 %" else f"simulated {within}"
    return "executed exactly as predicted" if difference == "0 %" else f"executed {within}"


def notes_on_times(report: Report) -> tuple[Note, ...]:
    """Return which CPU times are not calibrated, and whether they are trusted at all."""
    notes: list[Note] = []
    basis = report.get("cpu_model")
    if basis is not None:
        schedule = basis["schedule"]
        if basis["unknown"]:
            said = "CPU times of unknown operators, priced by their elements alone"
            notes.append(Note(f"{said}: {_shares(basis['unknown'], schedule)}.", warning=True))
        if basis["derived"]:
            said = "CPU times by the rate of another class, not calibrated"
            notes.append(Note(f"{said}: {_shares(basis['derived'], schedule)}.", warning=False))
    if report.get("cpu_times_disturbed"):
        profile = report.get("profile")
        text = "CPU times are not trusted: other work on this machine disturbed the measurement"
        if profile is not None and profile["from_cost_store"] and profile.get("disturbed"):
            text += " of the costs that are reused here; --fresh measures them again"
        notes.append(Note(f"{text}.", warning=True))
    return tuple(notes)


def _shares(rows: Sequence[BasisRow], schedule: str) -> str:
    return ", ".join(
        f"{row['count']} {row['op']} ({percent(row['share'])} of {schedule})" for row in rows
    )


@dataclass(frozen=True)
class Kept:
    """Operators that stay on the CPU though the PIM has their kind, and policies without a plan."""

    shown: tuple[str, ...]
    more: tuple[str, ...]
    more_title: str  # "" where all are shown


def kept(report: Report) -> Kept:
    """Return what could not be done, and why."""
    failed = report.get("failed_policies") or {}
    stay = report.get("kept_on_cpu") or {}
    lines = [f"{name}: kept on the CPU ({reason})" for name, reason in stay.items()]
    left_out = report.get("left_out_policies") or {}
    shown = [f"{name}: no plan ({reason})" for name, reason in failed.items()]
    shown += [f"{name}: left out ({reason})" for name, reason in left_out.items()]
    more = lines[_KEPT_SHOWN:]
    title = quantity(len(more), "more operator is", "more operators are") + " kept on the CPU"
    return Kept((*shown, *lines[:_KEPT_SHOWN]), tuple(more), title if more else "")
