"""What the modelled CPU times of a run rest on, for its report."""

from __future__ import annotations

from pimloop.host.cpu.amounts import Basis
from pimloop.host.cpu.model import CpuModel
from pimloop.host.devices.kinds import HOST_MEMORY
from pimloop.host.planning.outcome import Outcome
from pimloop.host.report.format.run import BasisRow, CpuBasis

#: What is reported.
BASES: tuple[Basis, ...] = ("derived", "unknown")


def cpu_basis(outcome: Outcome) -> CpuBasis | None:
    """Return the operators whose CPU time is not calibrated, and their share of the total.

    Of the main schedule, by type, the longest first: `derived` (an amount of work at the rate of
    another class) and `unknown` (nothing but the elements read and written). None where CPU times
    are measured, or there is no time.
    """
    schedule = outcome.schedules[outcome.main]
    if outcome.platform.cpu_model() is None or schedule.times is None or schedule.executed is None:
        return None
    assignment = schedule.result.assignment
    cpu = outcome.platform.memories[HOST_MEMORY]
    on_cpu = {name: us for name, us in schedule.times.nodes.items() if assignment[name] in cpu}
    total = schedule.executed.total_us
    rows = CpuModel.by_basis(outcome.graph, on_cpu)
    reported: dict[Basis, list[BasisRow]] = {
        basis: [
            {
                "op": row.op,
                "count": row.count,
                "us": row.us,
                "share": row.us / total if total else 0.0,
            }
            for row in rows[basis]
        ]
        for basis in BASES
    }
    return {
        "schedule": outcome.main,
        "derived": reported["derived"],
        "unknown": reported["unknown"],
    }
