"""The tables of split operators, and of what changes of the platform would do."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.report.format.report import Report
from pimloop.host.report.html.labels import device_title, schedule_key, schedule_order
from pimloop.host.report.html.splits import Share, SplitRow, split_rows
from pimloop.host.report.html.what_if import what_if_table
from pimloop.partitioner.quantity import quantity

_ROWS = 8


def print_splits(out: Console, report: Report) -> None:
    """Print which operators are split in each schedule: share, both times, the next shares."""
    for name in schedule_order(report["schedules"]):
        schedule = report["schedules"][name]
        if schedule.get("splits"):
            print_split_rows(out, split_rows(report, name), schedule_key(name, schedule))


def print_split_rows(out: Console, rows: Sequence[SplitRow], schedule: str) -> None:
    """Print the split operators of a schedule, nothing where none is.

    Parameters
    ----------
    rows
        Operators of one type and shape that are split alike are one.
    schedule
        What the schedule is called.
    """
    if not rows:
        return
    first, second = (device_title(device) for device in rows[0].devices)
    short = [title.partition(" ")[0] for title in (first, second)]
    cells = [_cells(row) for row in rows[:_ROWS]]
    rest = rows[_ROWS:]
    if rest:
        count = sum(len(row.nodes) for row in rest)
        cells.append((quantity(len(rest), "other kind"), str(count), *[""] * 6))
    columns = [
        *texts("operator"),
        *numbers("count", f"{short[1]} has", *short, "gather", "less", "more"),
    ]
    title = f"split: {first} and {second}, {schedule}; mean us"
    if any(row.smaller or row.larger for row in rows):
        title += f"; less, more: at {short[1]}'s next share"
    print_table(out, columns, cells, title)


def _cells(row: SplitRow) -> tuple[str, ...]:
    first, second = ("-", "-") if row.us is None else map(_us, row.us)
    return (
        f"{row.op} {row.shapes}".strip(),
        str(len(row.nodes)),
        f"{row.columns[1]}/{sum(row.columns)}",
        first,
        second,
        _us(row.gathered_us) if row.gather_us else "-",
        _share(row.smaller),
        _share(row.larger),
    )


def _share(share: Share | None) -> str:
    return "-" if share is None else f"+{_us(share.us)}"


def _us(us: float) -> str:
    return f"{us:,.1f}" if us < 100 else f"{us:,.0f}"


def print_what_if(out: Console, report: Report) -> None:
    """Print the optimum after each change of the platform, by the predicted costs."""
    table = what_if_table(report)
    if table is None:
        return
    columns = texts("what if (predicted)")
    for policy in table.policies:
        columns += numbers(policy, "", "moved")
    rows = []
    for row in table.rows:
        cells = [row.title]
        for cell in row.cells:
            cells += (
                ["-", "", ""]
                if cell is None
                else [f"{cell.total_us:,.0f}", cell.difference_text, str(cell.moved)]
            )
        rows.append(cells)
    print_table(out, columns, rows, "optimum by changed costs, us; moved: operators elsewhere")
    for row in table.rows:
        out.print(f"{row.title}: {row.how}", style="dim", markup=False, soft_wrap=True)
    if table.note:
        out.print(table.note, style="dim", markup=False, soft_wrap=True)
