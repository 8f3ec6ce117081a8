"""What a plan for energy takes, beside the optima of other objectives, in a line or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pimloop.host.report.format.report import Report
    from pimloop.partitioner.plan_file import PlanEnergyJson

#: What each objective makes least.
LEAST = {"sequential": "time", "energy": "energy", "edp": "energy x time"}

_FJ_PER_UJ = 1e9
_FJ_US_PER_J_S = 1e21


def totals_text(us: float, fj: int) -> str:
    """Return time, energy and their product for people.

    >>> totals_text(2000.0, 3_500_000_000_000)
    '2,000.000 us, 3,500.000 uJ, 7e-06 J s'
    """
    return f"{us:,.3f} us, {fj / _FJ_PER_UJ:,.3f} uJ, {us * fj / _FJ_US_PER_J_S:.4g} J s"


def others_text(energy: PlanEnergyJson) -> str:
    """Return what the optima of other objectives take, "" where none is known."""
    return "; ".join(
        f"the least {LEAST[name]}{'' if totals['optimal'] else ' found'} takes"
        f" {totals_text(totals['total_us'], totals['total_fj'])}"
        for name, totals in energy["others"].items()
    )


def bound_text(energy: PlanEnergyJson) -> str:
    """Return the lower bound of a plan for energy, with its unit."""
    if "lower_bound_fj_us" in energy:
        return f"{energy['lower_bound_fj_us'] / _FJ_US_PER_J_S:.4g} J s"
    return f"{energy['lower_bound_fj'] / _FJ_PER_UJ:,.3f} uJ"


def objective_text(report: Report) -> str:
    """Return what the plan of a report for energy predicts, "" where it is for time."""
    schedule = report["schedules"].get(report["main_schedule"])
    if schedule is None or "plan_energy" not in schedule:
        return ""
    energy, us = schedule["plan_energy"], schedule["predicted_us"] or 0.0
    proved = "proved" if schedule["optimal"] else f"lower bound {bound_text(energy)}"
    text = (
        f"objective {report['objective']}: least {LEAST[report['objective']]} ({proved}),"
        f" predicted {totals_text(us, energy['total_fj'])}"
    )
    parts = [text, others_text(energy), _split_text(report)]
    return "; ".join(filter(None, parts))


def _split_text(report: Report) -> str:
    """Return what the plan with split operators takes, "" where there is none beside the main."""
    from pimloop.partitioner.place.solve import COEXEC

    schedule = report["schedules"].get(COEXEC)
    if schedule is None or report["main_schedule"] == COEXEC or "plan_energy" not in schedule:
        return ""
    totals = totals_text(schedule["predicted_us"] or 0.0, schedule["plan_energy"]["total_fj"])
    return f"with split operators it takes {totals}"
