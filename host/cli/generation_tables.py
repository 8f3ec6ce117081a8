"""Tables of a generation: every schedule, and a token by kind of operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from pimloop.host.cli.tables import numbers, plain_micro, print_table, texts
from pimloop.host.report.generation.energies import FJ_PER_J, last_phase, with_cpu
from pimloop.host.report.generation.page import against_cpu
from pimloop.host.report.html.labels import (
    device_title,
    energy_unit,
    format_number,
    schedule_order,
)
from pimloop.partitioner.percent import percent

#: Schedules that the one executed is compared with at every length; the page has all.
_COMPARED = ("optimal", "pim_first", "cpu_parallel_first")

#: Rows of the table by kind; the page has all.
_KIND_ROWS = 8


def print_schedules(out: Console, report: Mapping[str, Any]) -> None:
    """Print the times of every schedule; nothing where no phase has a clock."""
    schedules = report["schedules"]
    if not schedules:
        return
    rows = []
    for schedule in schedules:
        us, rate = schedule["us_per_token"], schedule["tokens_per_s"]
        ratio = against_cpu(schedule, schedules)
        rows.append(
            (
                schedule["schedule"],
                "executed" if schedule["executed"] else "planned",
                f"{schedule['time_to_first_token_us'] / 1000:,.2f}",
                "-" if us is None else f"{us / 1000:,.2f}",
                "-" if rate is None else f"{rate:,.2f}",
                "-" if ratio is None else f"{ratio:.2f}",
            )
        )
    columns = [
        *texts("schedule", "time is"),
        *numbers("first token ms", "ms a token", "tokens/s", "CPU = 1"),
    ]
    executed = [number for number, schedule in enumerate(schedules) if schedule["executed"]]
    print_table(out, columns, rows, "schedules", bold=executed[0] if executed else None)


def print_energies(out: Console, report: Mapping[str, Any]) -> None:
    """Print the energy of every schedule; nothing where none is known."""
    schedules = [s for s in report["schedules"] if s.get("prompt_j") is not None]
    if not schedules:
        return
    most = max(max(s["prompt_j"], s["j_per_token"] or 0.0) for s in schedules)
    scale, unit = energy_unit(FJ_PER_J * most)
    unit = plain_micro(unit)

    def text(joules: float | None) -> str:
        return "-" if joules is None else format_number(FJ_PER_J * joules / scale)

    known, rows = with_cpu(report), []
    for schedule in schedules:
        watts = last_phase(schedule)["average_w"]
        rows.append(
            (
                schedule["schedule"],
                "counted" if schedule["executed"] else "planned",
                text(schedule["prompt_j"]),
                text(schedule["j_per_token"]),
                *(("-" if watts is None else f"{watts:.2f}",) if known else ()),
            )
        )
    columns = [
        *texts("schedule", "energy is"),
        *numbers(f"prompt {unit}", f"{unit} a token", *(("W",) if known else ())),
    ]
    executed = [number for number, schedule in enumerate(schedules) if schedule["executed"]]
    title = "energy, modelled, nominal constants" + ("" if known else "; without the CPU")
    print_table(out, columns, rows, title, bold=executed[0] if executed else None)


def print_growth(out: Console, report: Mapping[str, Any]) -> None:
    """Print what a step takes by the length of its cache; why there is nothing of longer ones."""
    rows = report.get("growth") or []
    left_out = report.get("growth_left_out") or ""
    if len(rows) < 2:
        if left_out:
            out.print(f"longer caches left out: {left_out}", markup=False, soft_wrap=True)
        return
    planned = schedule_order(rows[0]["us"])
    lead = next((s["schedule"] for s in report["schedules"] if s["executed"]), planned[0])
    names = [name for name in planned if name in (lead, *_COMPARED)]
    cells = [
        (
            f"{row['context']:,}",
            *(f"{row['us'][name] / 1000:,.2f}" if name in row["us"] else "-" for name in names),
            percent(row["attention"][lead]) if lead in row["attention"] else "-",
        )
        for row in rows
    ]
    columns = numbers("cache", *names, "attention")
    title = f"ms a token by rows of the cache, planned; share of attention under {lead}"
    print_table(out, columns, cells, title)
    if left_out:
        text = f"caches beyond {rows[-1]['context']:,} rows left out: {left_out}"
        out.print(text, markup=False, soft_wrap=True)


def print_kinds(out: Console, report: Mapping[str, Any]) -> None:
    """Print the last phase by kind of operator: those that take longest, the others together."""
    phase = report["phases"][-1]
    total, kinds = phase["us_per_execution"], phase["operator_kinds"]
    if not kinds or not total:
        return
    rows = [
        (
            row["kind"],
            str(row["count"]),
            f"{row['us'] / 1000:,.2f}",
            percent(row["us"] / total),
            ", ".join(map(device_title, row["devices_us"])),
        )
        for row in kinds[:_KIND_ROWS]
    ]
    others = kinds[_KIND_ROWS:]
    if others:
        us = sum(row["us"] for row in others)
        devices = dict.fromkeys(device for row in others for device in row["devices_us"])
        rows.append(("others", str(sum(row["count"] for row in others)), f"{us / 1000:,.2f}",
                     percent(us / total), ", ".join(map(device_title, devices))))  # fmt: skip
    rows.append(("transfers", str(phase["transfers"]), f"{phase['transfer_us'] / 1000:,.2f}",
                 percent(phase["transfer_us"] / total), ""))  # fmt: skip
    columns = [*texts("kind of operator"), *numbers("count", "ms", "share"), *texts("on")]
    what = "a token" if phase["name"] == "decode" else "the prompt"
    print_table(out, columns, rows, f"{what} by kind of operator")
