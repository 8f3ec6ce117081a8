"""What a generation says of energy: joules of the prompt, and of a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pimloop.host.energy.forms import Energy
from pimloop.host.report.generation.format import PhaseEnergy, PhaseTime, ScheduleTimes
from pimloop.host.report.html.charts import BarKey, Breakdown, breakdown
from pimloop.host.report.html.energies import GROUPS
from pimloop.host.report.html.labels import format_fj

#: Femtojoules of a joule.
FJ_PER_J = 10**15


def phase_energy(whole: Energy, executions: int) -> PhaseEnergy:
    """Return the average of executions.

    Parameters
    ----------
    whole
        Of all executions together.
    executions
        Their number.
    """
    joules = whole.total
    return {
        "low": joules.low / executions / FJ_PER_J,
        "nominal": joules.nominal / executions / FJ_PER_J,
        "high": joules.high / executions / FJ_PER_J,
        "with_cpu": "cpu_static" in whole.parts,
        "causes": {
            cause: each.nominal / executions / FJ_PER_J for cause, each in whole.parts.items()
        },
    }


def token_energy(report: Mapping[str, Any]) -> PhaseEnergy | None:
    """Return the energy of a token behind the first; None where there is none.

    Parameters
    ----------
    report
        The object of generation.json.
    """
    for phase in report["phases"]:
        spent: PhaseEnergy | None = phase.get("energy_j")
        if phase["name"] == "decode" and spent is not None:
            batch = report.get("batch", 1)
            return {
                "low": spent["low"] / batch,
                "nominal": spent["nominal"] / batch,
                "high": spent["high"] / batch,
                "with_cpu": spent["with_cpu"],
                "causes": {cause: joules / batch for cause, joules in spent["causes"].items()},
            }
    return None


def with_cpu(report: Mapping[str, Any]) -> bool:
    """Return whether the energies of a generation have the CPU in them: those of all its phases."""
    spent = [phase["energy_j"] for phase in report["phases"] if phase.get("energy_j") is not None]
    return all(energy["with_cpu"] for energy in spent)


def last_phase(schedule: ScheduleTimes) -> PhaseTime:
    """Return the steps of a schedule, or without steps its prompt."""
    return schedule["phases"].get("decode", schedule["phases"]["prefill"])


def energy_bars(schedules: Sequence[ScheduleTimes], phase: str) -> Breakdown | None:
    """Return the energy of an execution of a phase by cause, a bar for each schedule with one."""
    sums: dict[str, dict[str, float]] = {}
    for schedule in schedules:
        time = schedule["phases"][phase]
        causes_j = time["causes_j"]
        if causes_j is not None:
            sums[schedule["schedule"]] = {
                key: FJ_PER_J * sum(causes_j.get(cause, 0.0) for cause in causes)
                for key, _, _, causes in GROUPS
            }
    keys = [BarKey(key, title, colour) for key, title, colour, _ in GROUPS]
    shown = [key for key in keys if any(by_key.get(key.key) for by_key in sums.values())]
    named = {s["schedule"]: {"optimal": s["optimal"]} for s in schedules if s["schedule"] in sums}
    return breakdown(named, shown, sums, format_fj)


def energy_words(report: Mapping[str, Any]) -> str:
    """Return one line on the energy of a generation, or why there is none; "" of early reports."""
    model: str = report.get("energy_model", "")
    prompt = next((p.get("energy_j") for p in report["phases"] if p["name"] == "prefill"), None)
    if prompt is None:
        return model
    parts = [f"prompt {_spread(prompt)}"]
    token = token_energy(report)
    if token is not None:
        parts.append(f"a token {_spread(token)}")
    return f"{', '.join(parts)}, modelled: {model}"


def _spread(joules: PhaseEnergy) -> str:
    low, nominal, high = (
        format_fj(FJ_PER_J * each) for each in (joules["low"], joules["nominal"], joules["high"])
    )
    return f"{nominal} ({low} to {high} by source)"
