"""What the page says of verification: facts, what was wrong, and the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.host.report.format.report import Report
from pimloop.host.report.format.verification import IntegerComparison
from pimloop.host.report.html.charts import error_text, main_title, verification_rows
from pimloop.host.report.html.facts import Fact
from pimloop.partitioner.quantity import quantity

#: Lines of each kind of fault that are shown.
_SHOWN = 20


@dataclass(frozen=True)
class CheckedSchedule:
    """The checks of a schedule; None: not checked."""

    title: str
    passed: bool | None
    bit_exact: bool | None
    checked: str
    error: str
    cosine: str


@dataclass(frozen=True)
class IntegerRow:
    """Integers against float32."""

    tensor: str
    elements: int
    different: int
    explained: int
    rule: str
    margin: str
    bound: str


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Checks:
    """The verdict and what it is made of."""

    passed: bool | None
    bit_exact: bool | None
    checked: str  # how many results, "" where that is not known
    facts: tuple[Fact, ...]
    missed: tuple[str, ...]  # times that are not the plan's
    wrong: tuple[tuple[str, ...], ...]  # a list for each kind of fault
    schedules: tuple[CheckedSchedule, ...]
    integers: tuple[IntegerRow, ...]
    compared: Table | None  # tensors against float32


def checks(report: Report) -> Checks:
    """Return what the page says of verification."""
    verified: Mapping[str, Any] = report.get("verification") or {}
    checked = verified.get("pim_results_checked")
    wrong = (verified.get("pim_results_wrong"), verified.get("cpu_results_wrong"))
    return Checks(
        passed=verified.get("passed"),
        bit_exact=verified.get("pim_bit_exact"),
        checked="" if checked is None else quantity(checked, "result"),
        facts=tuple(_facts(report, verified)),
        missed=tuple(verified.get("predictions_missed") or ())[:_SHOWN],
        wrong=tuple(tuple(lines[:_SHOWN]) for lines in wrong if lines),
        schedules=tuple(
            _schedule(title, verification) for title, verification in verification_rows(report)
        ),
        integers=tuple(map(_integers, verified.get("integers") or ())),
        compared=_compared(verified.get("compared") or ()),
    )


def _facts(report: Report, verified: Mapping[str, Any]) -> Iterable[Fact]:
    of_main = f"the outputs of {main_title(report)} to float32"
    if verified.get("max_abs_error") is not None:
        yield Fact(f"Largest absolute error of {of_main}", error_text(verified["max_abs_error"]))
    if verified.get("cosine") is not None:
        yield Fact(f"Cosine of {of_main}", f"{verified['cosine']:.6f}")
    operators = verified.get("pim_operators_against_float32")
    if operators:
        worst = error_text(operators["worst"]) or "not finite"
        yield Fact(
            "Worst element of a PIM operator against float32 on the same operands",
            f"{worst} of its rounding bound (at most {error_text(operators['limit'])})",
            quiet=operators["node"],
        )
    simulation = report.get("simulation")
    if simulation:
        text = f"{simulation['lists_simulated']:,} descriptor lists simulated in RTL"
        if simulation["lists_cached"]:
            text += (
                f"; {simulation['lists_cached']:,} known from earlier simulations of the same list:"
                " cycles from the cache, values computed by the bit-exact model"
            )
        yield Fact("Where the PIM's values came from", text)


def _schedule(title: str, verification: Mapping[str, Any]) -> CheckedSchedule:
    cosine = verification.get("cosine")
    return CheckedSchedule(
        title=title,
        passed=verification.get("passed"),
        bit_exact=verification.get("pim_bit_exact"),
        checked=str(verification.get("pim_results_checked", "–")),
        error=error_text(verification.get("max_abs_error")) or "–",
        cosine="–" if cosine is None else f"{cosine:.6f}",
    )


def _integers(comparison: IntegerComparison) -> IntegerRow:
    return IntegerRow(
        tensor=comparison["tensor"],
        elements=comparison["elements"],
        different=comparison["different"],
        explained=comparison["different"] - comparison["beyond"],
        rule=comparison["rule"] if comparison["different"] else "–",
        margin=error_text(comparison["margin"]) or "–",
        bound=error_text(comparison["bound"]) or "–",
    )


def _compared(compared: Iterable[Mapping[str, Any]]) -> Table | None:
    rows = list(compared)
    if not rows:
        return None
    return Table(
        tuple(key.replace("_", " ") for key in rows[0]),
        tuple(tuple(map(_cell, row.values())) for row in rows),
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return error_text(value)
    return "" if value is None else str(value)
