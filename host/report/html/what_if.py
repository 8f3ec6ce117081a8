"""The table of changes of the platform: what each would do to the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pimloop.host.report.format.placement import WhatIf
from pimloop.host.report.format.report import Report
from pimloop.host.report.html.labels import format_us, schedule_order, schedule_title
from pimloop.partitioner.percent import percent

#: Of reports that do not say how much less a total may be. Shares that cannot be the quickest on
#: this platform are not simulated.
_SHARES = (
    "Co-execution after a change: the optimum over the shares that were simulated, which are those"
    " that may be the quickest without it. Another share may be quicker still: an upper bound."
)


@dataclass(frozen=True)
class WhatIfCell:
    """The optimum of a policy after a change."""

    total_us: float
    difference: float  # of the total before, as a fraction of it
    moved: int  # operators that change place

    @property
    def total(self) -> str:
        """The total with its unit."""
        return format_us(self.total_us)

    @property
    def difference_text(self) -> str:
        """The difference in percent."""
        return percent(self.difference, signed=True) if self.difference else "0 %"


@dataclass(frozen=True)
class WhatIfRow:
    """A change."""

    title: str
    how: str
    cells: tuple[WhatIfCell | None, ...]  # by policy; None: no optimum


@dataclass(frozen=True)
class WhatIfTable:
    """Every change, and the optima without one."""

    policies: tuple[str, ...]  # titles
    before: tuple[str, ...]  # their totals
    before_us: tuple[float, ...]
    rows: tuple[WhatIfRow, ...]
    note: str  # what the totals are not, "" where they are the optima


def what_if_table(report: Report) -> WhatIfTable | None:
    """Return the table; None where the report has none."""
    changes = report.get("what_if") or []
    schedules = report["schedules"]
    before = {
        name: us
        for name in schedule_order({name for change in changes for name in change["totals"]})
        if (us := schedules[name]["predicted_us"]) is not None
    }
    if not before:
        return None
    rows = []
    for change in changes:
        cells: list[WhatIfCell | None] = []
        for name, us in before.items():
            total = change["totals"].get(name)
            cells.append(
                None
                if total is None
                else WhatIfCell(
                    total["total_us"],
                    (total["total_us"] - us) / us if us else 0.0,
                    total["moved"],
                )
            )
        rows.append(WhatIfRow(change["title"], change["how"], tuple(cells)))
    return WhatIfTable(
        tuple(schedule_title(name, schedules[name]) for name in before),
        tuple(format_us(us) for us in before.values()),
        tuple(before.values()),
        tuple(rows),
        _note(changes),
    )


def _note(changes: Sequence[WhatIf]) -> str:
    """Return how far the totals of co-execution may be above the least, "" where they are it."""
    totals = [change["totals"]["coexec"] for change in changes if "coexec" in change["totals"]]
    most = 0.0
    for total in totals:
        if "lower_bound_us" not in total:
            return _SHARES
        if total["total_us"]:
            most = max(most, 1 - total["lower_bound_us"] / total["total_us"])
    if not most:
        return ""
    return (
        "Co-execution after a change: the PIM's time of shares that were not simulated is estimated"
        " (within 1 %); a total that uses one is an upper bound, which the least is at most"
        f" {percent(most, 2)} below."
    )
