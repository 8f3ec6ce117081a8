"""The table of energies: each schedule by cause, with the spread of its sources."""

from __future__ import annotations

from rich.console import Console

from pimloop.host.cli.tables import numbers, plain_micro, print_table, texts
from pimloop.host.report.format.report import Report
from pimloop.host.report.html.energies import GROUPS, energies, group_fj, with_energy
from pimloop.host.report.html.labels import energy_unit, schedule_key
from pimloop.host.report.html.lead import lead_schedule

#: What the columns between total and power add up, by the keys of `GROUPS`.
_COLUMNS = {
    "DRAM": ("act_pre", "access", "ref"),
    "standby": ("background",),
    "I/O": ("io",),
    "MACs": ("mac",),
    "CPU": ("cpu_dynamic", "cpu_static"),
}


def print_energies(out: Console, report: Report) -> None:
    """Print the energy of every schedule, or why there is none."""
    shown = energies(report)
    if shown is None:
        return
    if shown.bars is None:
        out.print(f"energy: {shown.model}", markup=False, soft_wrap=True)
        return
    known = with_energy(report)
    most = max(schedule["energy"]["total_fj"]["high"] for schedule in known.values())
    scale, unit = energy_unit(most)
    unit = plain_micro(unit)
    causes = {key: causes for key, _, _, causes in GROUPS}
    columns = {
        title: tuple(cause for key in keys for cause in causes[key])
        for title, keys in _COLUMNS.items()
        if title != "CPU" or shown.with_cpu
    }

    # Four digits of the largest, three of the spread: a line of the table fits 80 columns.
    digits = max(4 - len(str(most // int(scale))), 0)

    def text(femtojoules: int, digits: int = digits) -> str:
        least = 10.0**-digits
        value = femtojoules / scale
        return f"<{least:g}" if 0 < value < least / 2 else f"{value:,.{digits}f}"

    spread = max(digits - 1, 0)
    rows = []
    for name, schedule in known.items():
        energy = schedule["energy"]
        total, power = energy["total_fj"], energy["average_w"]
        rows.append(
            (
                schedule_key(name, schedule),
                text(total["nominal"]),
                f"{text(total['low'], spread)}-{text(total['high'], spread)}",
                *(text(group_fj(energy, each)) for each in columns.values()),
                *(() if power is None else (f"{power:.2f}",)),
            )
        )
    heads = numbers("total", "by source", *columns, *(("W",) if shown.with_cpu else ()))
    lead = lead_schedule(report)
    print_table(
        out, [*texts("schedule"), *heads], rows,
        f"energy, modelled; {unit}; DRAM: its commands, standby: its background",
        bold=list(known).index(lead) if lead in known else None,
    )  # fmt: skip
    out.print(f"energy: {shown.model}", style="dim", markup=False, soft_wrap=True)
