"""Which schedule the page, the figures and the terminal lead with.

A report is about its main schedule, the best placement of whole operators. Where splitting
operators between devices is quicker still, that is what is shown first, and the others, the best
placement among them, are compared with it.
"""

from __future__ import annotations

from pimloop.host.report.format.report import Report

#: Times that differ by less are the same sum in another order.
SAME = 1e-9


def main_schedule(report: Report) -> str:
    """Return the name of the schedule that the report is about."""
    return str(report.get("main_schedule") or "optimal")


def lead_schedule(report: Report) -> str:
    """Return the schedule that the page leads with: the main one, or a quicker one with splits."""
    main, schedules = main_schedule(report), report["schedules"]
    took = executed_us(report, main)
    if took is None:
        return main
    quicker = {
        us: name
        for name, schedule in schedules.items()
        if schedule.get("splits")
        and (us := executed_us(report, name)) is not None
        and us < took * (1.0 - SAME)
    }
    return quicker[min(quicker)] if quicker else main


def slowdowns(report: Report) -> dict[str, float]:
    """Return how many times as long as the leading schedule each other one takes, executed."""
    main, lead = main_schedule(report), lead_schedule(report)
    against_main = {
        name: us for name, us in (report.get("speedup") or {}).items() if us is not None
    }
    took, quickest = executed_us(report, main), executed_us(report, lead)
    if lead == main or not took or not quickest:
        return against_main
    gain = took / quickest
    return {
        name: gain * ratio for name, ratio in {main: 1.0, **against_main}.items() if name != lead
    }


def executed_us(report: Report, name: str) -> float | None:
    """Return the executed time of a schedule, us; None without a clock, or such a schedule."""
    schedule = report["schedules"].get(name)
    return None if schedule is None else schedule.get("executed_us")
