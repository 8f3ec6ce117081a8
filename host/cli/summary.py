"""The tables that end a command: schedules, verification, simulation, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from pimloop.host.cli.energies import print_energies
from pimloop.host.cli.objectives import objective_text
from pimloop.host.cli.placement import print_splits, print_what_if
from pimloop.host.cli.rates import print_rates, weights_line
from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.run import CpuBasis
from pimloop.host.report.format.verification import Comparison, IntegerComparison
from pimloop.host.report.html.facts import parts_text
from pimloop.host.report.html.headline import contradiction, proof, together, why_no_pim
from pimloop.host.report.html.labels import (
    device_title,
    executed_meaning,
    executed_word,
    further_devices,
    schedule_key,
)
from pimloop.host.report.html.lead import lead_schedule, slowdowns
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

#: Said where times of the CPU are shown that other work on the machine disturbed.
NOT_TRUSTED = "CPU times are not trusted: other work disturbed the rounds"

_WRONG_SHOWN = 5
_OPERATOR_ROWS = 6
_KEPT_SHOWN = 5


def print_summary(out: Console, report: Report, files: Sequence[Path] = ()) -> None:
    """Print what a report says, in a page."""
    tokens = report["sequence_length"]
    length = "" if tokens is None else f", {quantity(tokens, 'token')}"
    title = (
        f"{report['model']}{length}, {report['platform']}, {quantity(_nodes(report), 'operator')};"
        " us"
    )
    _print_schedules(out, report, title)
    if report.get("executed_kind") is not None:
        _line(out, f"{executed_word(report)}: {executed_meaning(report)}", "dim")
    for name, reason in report["failed_policies"].items():
        _line(out, f"{name}: no plan: {reason}", "yellow")
    for name, reason in report.get("left_out_policies", {}).items():
        _line(out, f"{name}: left out: {reason}")
    _line(out, why_no_pim(report), "yellow")
    print_kept_on_cpu(out, report.get("kept_on_cpu", {}))
    schedule = report["schedules"][report["main_schedule"]]
    if schedule["executed_us"] is None:
        _line(out, "no times: the model device has no clock")
    else:
        _line(out, proof(report), "yellow" if contradiction(report) else "")
        for text in together(report):
            _line(out, text)
        print_splits(out, report)
        _print_operators(out, report, lead_schedule(report))
        print_rates(out, report)
        _line(out, weights_line(report))
        _line(out, f"CPU time: {report['cpu_time_source']} ({report['cpu_time_method']})", "dim")
        for device in further_devices(report):
            _line(out, f"{device_title(device)} time: modelled by the plug-in of '{device}'", "dim")
        _print_cpu_basis(out, report.get("cpu_model"))
        if report["cpu_times_disturbed"]:
            _line(out, not_trusted(report), "yellow")
        print_what_if(out, report)
    print_energies(out, report)
    _line(out, objective_text(report))
    _line(out, _profile(report))
    parts = parts_text(report["profile"])
    _line(out, parts and f"shares of the CPU: {parts}")
    _line(out, _simulation(report))
    _print_verification(out, report)
    for folder in dict.fromkeys(path.parent for path in files):
        names = ", ".join(path.name for path in files if path.parent == folder)
        _line(out, f"{folder}: {names}")


def _line(out: Console, text: str, style: str = "") -> None:
    if text:
        out.print(text, style=style or None, markup=False, soft_wrap=True)


def not_trusted(report: Report) -> str:
    """Return what is said of CPU times that other work disturbed, now or when they were stored."""
    profile = report["profile"]
    if profile is not None and profile["from_cost_store"] and profile.get("disturbed"):
        return f"{NOT_TRUSTED} when the reused costs were measured; --fresh measures them again"
    return NOT_TRUSTED


def print_kept_on_cpu(out: Console, kept: Mapping[str, str]) -> None:
    """Print which operators of kinds that the PIM has stay on the CPU, and why."""
    for name, reason in list(kept.items())[:_KEPT_SHOWN]:
        _line(out, f"kept on the CPU: {name}: {reason}", "yellow")
    if len(kept) > _KEPT_SHOWN:
        _line(out, f"kept on the CPU: {len(kept) - _KEPT_SHOWN} more (--json has all)", "yellow")


def print_missed(out: Console, missed: Sequence[str]) -> None:
    """Print exact predictions that executions did not meet."""
    if missed:
        times = quantity(
            len(missed),
            "time that no schedule changes differs",
            "times that no schedule changes differ",
        )
        _line(
            out,
            f"NOT AS PREDICTED: {times} from the plan: a stored cost is wrong; --fresh measures it"
            " again",
            "bold red",
        )
    for text in missed[:_WRONG_SHOWN]:
        _line(out, f"  {text}", "red")


def _print_schedules(out: Console, report: Report, title: str) -> None:
    rows = []
    further = further_devices(report)
    against = slowdowns(report)
    for name, row in report["schedules"].items():
        predicted, executed = row["predicted_us"], row["executed_us"]
        rows.append(
            (
                schedule_key(name, row),
                str(row["pim_nodes"]),
                *(str(row["devices"].get(device, {"nodes": 0})["nodes"]) for device in further),
                str(row["transfers"]),
                _us(predicted),
                _us(executed),
                percent(executed / predicted - 1, 2, signed=True)
                if predicted and executed is not None
                else "-",
                f"{against[name]:.2f} x" if name in against else "",
            )
        )
    columns = [
        *texts("schedule"),
        *numbers(
            "PIM",
            *(device_title(device) for device in further),
            "transfers",
            "predicted",
            executed_word(report),
            "error",
            "slowdown",
        ),
    ]
    lead = list(report["schedules"]).index(lead_schedule(report))
    print_table(out, columns, rows, title, bold=lead)


def _nodes(report: Report) -> int:
    return int(report["schedules"][report["main_schedule"]]["nodes"])


def _us(value: float | None) -> str:
    """Return a time for a table: a decimal only where it says something."""
    if value is None:
        return "-"
    return f"{value:,.1f}" if value < 10_000 else f"{value:,.0f}"


def _print_operators(out: Console, report: Report, name: str) -> None:
    schedule = report["schedules"][name]
    title = f"time by operator, {schedule_key(name, schedule)}"
    if report["objective"] == "makespan":
        title += "; these overlap"
    operators = schedule["operators"]
    rows = [
        (row["op"], row["device"], str(row["count"]), f"{row['us']:,.1f}")
        for row in operators[:_OPERATOR_ROWS]
    ]
    rest = operators[_OPERATOR_ROWS:]
    if rest:
        count, us = sum(row["count"] for row in rest), sum(row["us"] or 0.0 for row in rest)
        rows.append(("others", "", str(count), f"{us:,.1f}"))
    if schedule["transfers"]:
        moved = f"{schedule['transfer_us']:,.1f}"
        rows.append(("transfers", "dma", str(schedule["transfers"]), moved))
    print_table(out, [*texts("operator", "device"), *numbers("count", "us")], rows, title)


def _print_cpu_basis(out: Console, basis: CpuBasis | None) -> None:
    """Name the operators whose modelled CPU time is not calibrated, and their share."""
    if basis is None:
        return
    derived = "CPU times by the rate of another class, not calibrated"
    unknown = "CPU times of unknown operators, priced by their elements alone"
    for rows, style, said in (
        (basis["derived"], "dim", derived),
        (basis["unknown"], "yellow", unknown),
    ):
        named = [f"{row['count']} {row['op']} {percent(row['share'])}" for row in rows]
        if named:
            _line(out, f"{said} (share of {basis['schedule']}): {', '.join(named)}", style)


def _profile(report: Report) -> str:
    profile = report["profile"]
    if profile is None:
        return ""
    runs = f"{quantity(profile['runs'], 'run')} (lower bound {profile['runs_lower_bound']})"
    if profile["from_cost_store"]:
        return f"profile: reused from earlier runs (the cost store); it takes {runs}"
    return (
        f"profile: {runs} measured {quantity(profile['nodes_covered'], 'operator cost')} and"
        f" {quantity(profile['transfers_covered'], 'transfer')}"
    )


def _simulation(report: Report) -> str:
    simulation = report["simulation"]
    if simulation["flavour"] is None:
        return ""
    text = (
        f"simulated: {quantity(simulation['cycles'], 'DRAM clock', form=',')} in"
        f" {quantity(simulation['lists_simulated'], 'list', form=',')}"
    )
    if simulation["lists_simulated"]:
        text += f", {simulation['cycles_per_s'] / 1e6:.2f} Mcycles/s a simulator"
    if simulation.get("lanes"):
        text += f"; lanes: {simulation['lanes']}"
    if simulation["lists_cached"]:
        text += (
            f"; from the cache: {simulation['cycles_cached']:,} in"
            f" {quantity(simulation['lists_cached'], 'list', form=',')}"
        )
    return text


def _print_verification(out: Console, report: Report) -> None:
    verification = report["verification"]
    exact = "yes" if verification["pim_bit_exact"] else "NO"
    _line(
        out,
        f"PIM bit exact: {exact} ({quantity(verification['pim_results_checked'], 'result')} of"
        f" {quantity(verification['executions'], 'execution')} against the golden model)",
    )
    for text in verification["pim_results_wrong"][:_WRONG_SHOWN]:
        _line(out, f"  {text}", "red")
    for text in verification.get("non_finite", [])[:_WRONG_SHOWN]:
        _line(out, f"not finite: {text}", "red")
    print_missed(out, verification.get("predictions_missed", []))
    operators = verification["pim_operators_against_float32"]
    if operators is not None:
        worst = "not finite" if operators["worst"] is None else f"{operators['worst']:.3g}"
        _line(
            out,
            "PIM operators against float32 on the same operands: worst element"
            f" {worst} of its rounding bound (at most {operators['limit']:g}), {operators['node']}",
        )
    for text in verification.get("cpu_results_wrong", [])[:_WRONG_SHOWN]:
        _line(out, f"CPU segment wrong: {text}", "red")
    for comparison in verification["compared"]:
        _line(out, _comparison(comparison))
    for integer in verification.get("integers", []):
        _line(out, _integers(integer), "" if integer["passed"] else "red")
    passed = verification["passed"]
    _line(
        out,
        f"verification: {'passed' if passed else 'FAILED'}",
        "green" if passed else "bold red",
    )
    if not passed:
        for name, schedule in report["schedules"].items():
            if not schedule["verification"]["passed"]:
                _line(out, f"  failed: {name}", "red")


def _comparison(comparison: Comparison) -> str:
    def number(value: float | None, form: str) -> str:
        return "not finite" if value is None else format(value, form)

    least = (
        f" (at least {comparison['min_cosine']:g})"
        if comparison.get("min_cosine") is not None
        else ""
    )
    given = f" given the run's {comparison['given']}" if comparison.get("given") else ""
    measured = ", measured" if comparison.get("measured") else ""
    elements = quantity(comparison["elements"], "element")
    limit = f"{comparison['limit']:.2g}{measured}"
    return (
        f"{comparison['tensor']} against float32{given}, {elements}:"
        f" max_abs_error {number(comparison['max_abs_error'], '.3g')}, relative L2"
        f" {number(comparison['relative_l2'], '.3g')} (at most {limit}),"
        f" cosine {number(comparison['cosine'], '.6f')}{least}"
    )


def _integers(integer: IntegerComparison) -> str:
    """Return how many integers differ from float32's, and whether rounding explains them."""
    counts = f"{integer['different']} of {integer['elements']} differ"
    text = f"{integer['tensor']} against float32: {counts}"
    if not integer["different"]:
        return text
    text += f", {integer['different'] - integer['beyond']} of them explained"
    if integer["rule"] == "exact":
        return text + " (nothing that rounds is behind them)"
    margin, bound = (
        "not finite" if value is None else format(value, ".3g")
        for value in (integer["margin"], integer["bound"])
    )
    numbers = f": {margin}, bound {bound}" if integer["rule"].startswith("margin") else ""
    return f"{text} ({integer['rule']}{numbers})"
