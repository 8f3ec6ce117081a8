"""The published totals of the paper's board beside ours, and what they can be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from pimloop.host.report.format.report import Report
from pimloop.host.report.html.charts import signed_error
from pimloop.host.report.html.labels import format_us, schedule_order, schedule_title


@dataclass(frozen=True)
class BoardRow:
    """A schedule with a published total."""

    title: str
    published: str
    executed: str  # ours
    work: str  # what the board's driver does besides; "" where not known
    with_work: str  # both together
    error: str  # of that, against the published total
    figure: str  # what the paper's figure has instead; "" where it has the same


def board_rows(report: Report) -> list[BoardRow]:
    """Return the schedules that have a published total and a time of ours."""
    board, schedules = report.get("board") or {}, report["schedules"]
    drivers, figure = report.get("board_driver") or {}, report.get("board_figure") or {}
    rows = []
    for name in schedule_order(schedules):
        schedule = schedules[name]
        executed, with_work = schedule.get("executed_us"), drivers.get(name)
        if name not in board or executed is None:
            continue
        rows.append(
            BoardRow(
                title=schedule_title(name, schedule),
                published=format_us(board[name]),
                executed=format_us(executed),
                work="" if with_work is None else format_us(max(0.0, with_work - executed)),
                with_work="" if with_work is None else format_us(with_work),
                # Without that work the difference says nothing of the platform.
                error=signed_error(board[name], with_work),
                figure=format_us(figure[name]) if name in figure else "",
            )
        )
    return rows
