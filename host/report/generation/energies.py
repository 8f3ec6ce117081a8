"""What a generation says of energy: joules of the prompt, and of a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pimloop.host.energy.forms import Energy
from pimloop.host.report.generation.format import PhaseEnergy, ScheduleTimes
from pimloop.host.report.html.labels import format_fj

#: Femtojoules of a joule.
FJ_PER_J = 10**15

_US_PER_S = 10**6


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
            }
    return None


def average_w(schedule: ScheduleTimes) -> float | None:
    """Return the average power of a schedule's steps, or without steps of its prompt, watts.

    None where an energy is not known.
    """
    phase = schedule["phases"].get("decode", schedule["phases"]["prefill"])
    joules, us = phase["energy_j"], phase["us"]
    return None if joules is None or not us else _US_PER_S * joules / us


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
