"""The table of PIM operators: bandwidth, multiply-adds, what limits them; and loading weights."""

from __future__ import annotations

from rich.console import Console

from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.report.format.report import Report
from pimloop.host.report.html.labels import format_bytes, schedule_key
from pimloop.host.report.html.rates import LIMITS, RateRow, rate_rows
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

_ROWS = 6


def print_rates(out: Console, report: Report) -> None:
    """Print the PIM operators of the main schedule, nothing when it has none with counters.

    Operators of one type and shape are a row; the rows that take most time are shown.
    """
    name = report["main_schedule"]
    assignment = report["schedules"][name]["assignment"]
    moving = rate_rows(report, [node for node, device in assignment.items() if device == "pim"])
    moving = [row for row in moving if row.gb_per_s is not None]
    if not moving:
        return
    # A line has room for one of both in 80 columns; the page has all.
    with_energy = all(row.pj_per_bit is not None for row in moving)
    rows = [_cells(row, with_energy=with_energy) for row in moving[:_ROWS]]
    rest = moving[_ROWS:]
    if rest:
        count, us = sum(row.count for row in rest), sum(row.us for row in rest)
        rows.append((quantity(len(rest), "other shape"), str(count), f"{us:,.0f}", *4 * ("",)))
    columns = [
        *texts("PIM operator"),
        *numbers("count", "us", "GB/s", "pJ/bit" if with_energy else "of peak", "GMAC/s"),
        *texts("limited by"),
    ]
    title = f"PIM operators, {schedule_key(name, report['schedules'][name])}"
    what = "rates and the device's energy" if with_energy else "rates"
    print_table(out, columns, rows, f"{title}; {what} while their lists run")


def _cells(row: RateRow, *, with_energy: bool) -> tuple[str, ...]:
    assert row.gb_per_s is not None  # so are the others: bytes and clocks are counted together
    assert row.bandwidth_share is not None
    assert row.gmacs_per_s is not None
    return (
        f"{row.op} {row.shapes}".strip(),
        str(row.count),
        f"{row.us:,.0f}",
        f"{row.gb_per_s:,.2f}",
        f"{row.pj_per_bit:,.2f}" if with_energy else percent(row.bandwidth_share, 1),
        f"{row.gmacs_per_s:,.2f}",
        LIMITS.get(row.limited_by, row.limited_by),
    )


def weights_line(report: Report) -> str:
    """Return what loading the weights of the main schedule took, "" where nothing was loaded."""
    weights = report["schedules"][report["main_schedule"]].get("weights")
    if not weights or not weights["bytes"] or weights["us"] is None:
        return ""
    return (
        f"weights: {format_bytes(weights['bytes'])} loaded once before, in"
        f" {weights['us']:,.1f} us ({weights['cycles']:,} DRAM clocks), not in the times above"
    )
