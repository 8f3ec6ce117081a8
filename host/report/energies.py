"""The energy of a schedule, as the report has it."""

from __future__ import annotations

from collections.abc import Iterable

from pimloop.host.energy.forms import Energy, Joules, total
from pimloop.host.planning.energies import no_cpu_power, no_energy, schedule_energy
from pimloop.host.planning.outcome import Outcome, Schedule
from pimloop.host.platforms.platform import Platform
from pimloop.host.report.format.schedule import Energy as EnergyJson
from pimloop.host.report.format.schedule import EnergySpread
from pimloop.host.report.format.schedule import Schedule as ScheduleJson

_FJ_PER_J = 10**15
_US_PER_S = 10**6


def energy_json(schedule: Schedule) -> EnergyJson | None:
    """Return the energy of a schedule; None where it has none."""
    spent = schedule_energy(schedule)
    if spent is None:
        return None
    whole = spent.whole
    with_cpu = "cpu_static" in whole.parts
    joules = whole.total.nominal / _FJ_PER_J
    seconds = float(spent.us) / _US_PER_S
    return {
        "total_fj": _spread(whole.total),
        "causes_fj": {cause: _spread(joules) for cause, joules in whole.parts.items()},
        "with_cpu": with_cpu,
        "average_w": joules / seconds if with_cpu and seconds else None,
        "energy_delay_js": joules * seconds if with_cpu else None,
        "operators_fj": {name: _nominal(energy) for name, energy in spent.nodes.items()},
        "transfers_fj": _nominal(total(spent.transfers)),
        "overlap_fj": _nominal(spent.overlap),
    }


def energy_model(outcome: Outcome, reported: Iterable[ScheduleJson]) -> str:
    """Return where the energies of a run come from, or why there are none.

    Parameters
    ----------
    reported
        The run's schedules as the report has them.
    """
    return model_text(
        outcome.platform,
        timed=any(schedule.times is not None for schedule in outcome.schedules.values()),
        counted=any("energy" in schedule for schedule in reported),
    )


def model_text(platform: Platform, *, timed: bool, counted: bool) -> str:
    """Return where energies on a platform come from, or why there are none.

    Parameters
    ----------
    timed, counted
        Whether anything executed has times, and an energy.
    """
    text = no_energy(platform)
    if text:
        return text
    if not counted:
        if not timed:
            return "no energies: the device has no clock"
        return "no energies: the power of a plug-in's device is not known"
    text = "counters and times by the constants of the platform's file (docs/energy.md)"
    if platform.measured_power() is not None:
        text += "; the CPU's power measured by RAPL"
    missing = no_cpu_power(platform)
    return f"{text}; without the CPU, whose power is not known: {missing}" if missing else text


def _nominal(energy: Energy) -> int:
    return energy.total.nominal


def _spread(joules: Joules) -> EnergySpread:
    return {"low": joules.low, "nominal": joules.nominal, "high": joules.high}
