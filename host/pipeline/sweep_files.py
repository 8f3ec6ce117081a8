"""The files of a sweep: sweep.json, sweep.csv and what the figures are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pimloop.host.common.files import write_json, write_text
from pimloop.host.common.text import csv_table
from pimloop.host.execution.options import Options
from pimloop.host.pipeline.loading import Binding
from pimloop.host.pipeline.sweep import Finished
from pimloop.host.report.format.schedule import Schedule
from pimloop.host.report.format.sweep import FILE_NAME, FORMAT, Sweep, SweepEnergy, SweepRow
from pimloop.host.report.plots import write_sweep_plots

_FJ_PER_J = 10**15

CSV_NAME = "sweep.csv"
PLOTS = "plots"

_COLUMNS = ("model", "sequence_length", "axes", "shapes", "inputs", "platform", "settings",
            "batch", "quantize", "shares", "schedule", "predicted_us", "executed_us", "optimal",
            "lower_bound_us", "cpu_times_disturbed", "energy_j", "energy_delay_js",
            "energy_with_cpu")  # fmt: skip


def rows(points: Iterable[Finished], options: Options) -> list[SweepRow]:
    """Return a row for every schedule of every point that did not fail."""
    return [
        {
            "model": done.report["model"],
            "sequence_length": done.report["sequence_length"],
            "axes": dict(done.point.binding.axes),
            "shapes": {name: list(shape) for name, shape in done.point.binding.shapes},
            "inputs": done.point.binding.inputs,
            "platform": Path(done.point.platform).stem,
            "settings": dict(done.point.settings),
            "shares": options.shares,
            "batch": done.point.loading.batch,
            "quantize": done.point.loading.quantize,
            "schedule": name,
            "predicted_us": schedule["predicted_us"],
            "executed_us": schedule["executed_us"],
            "optimal": schedule["optimal"],
            "lower_bound_us": schedule["lower_bound_us"],
            "cpu_times_disturbed": done.report["cpu_times_disturbed"],
            **_energy(schedule),
        }
        for done in points
        if done.report is not None
        for name, schedule in done.report["schedules"].items()
    ]


def _energy(schedule: Schedule) -> SweepEnergy:
    """Return what a row says of the energy of a schedule; nothing where it has none."""
    energy = schedule.get("energy")
    if energy is None:
        return {}
    row: SweepEnergy = {
        "energy_j": energy["total_fj"]["nominal"] / _FJ_PER_J,
        "energy_with_cpu": energy["with_cpu"],
    }
    if energy["energy_delay_js"] is not None:
        row["energy_delay_js"] = energy["energy_delay_js"]
    return row


def summary(points: Sequence[Finished], options: Options) -> Sweep:
    """Return sweep.json of points that were run with `options`."""
    return {
        "format": FORMAT,
        "rows": rows(points, options),
        "points": [
            {
                "point": str(done.point),
                "reused": done.before,
                "passed": None if done.report is None else done.report["verification"]["passed"],
                "error": done.error or None,
            }
            for done in points
        ],
    }


def to_csv(table: Iterable[SweepRow]) -> str:
    """Return rows as CSV; axes, shapes and settings as `key=value` with semicolons between.

    Text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    return csv_table(
        _COLUMNS,
        (
            {
                **row,
                "shapes": {
                    name: "x".join(map(str, shape)) for name, shape in row["shapes"].items()
                },
            }
            for row in table
        ),
    )


def plotted(table: Iterable[SweepRow]) -> list[SweepRow]:
    """Return rows for figures: what a point binds, its batch and weights are among its settings."""
    return [
        {**row, "settings": {**_binding(row).texts(), **_loaded(row), **row["settings"]}}
        for row in table
    ]


def _loaded(row: SweepRow) -> dict[str, str]:
    values = {"batch": row.get("batch"), "weights": row.get("quantize")}
    return {name: str(value) for name, value in values.items() if value is not None}


def _binding(row: SweepRow) -> Binding:
    shapes = tuple((name, tuple(shape)) for name, shape in row["shapes"].items())
    return Binding(tuple(row["axes"].items()), shapes, row["inputs"])


def write_sweep(sweep: Sweep, folder: Path) -> list[Path]:
    """Write the files of a sweep into a folder, and return them.

    Raises
    ------
    PimloopError
        When one cannot be written.
    """
    write_json(folder / FILE_NAME, sweep)
    return [folder / FILE_NAME, *draw_sweep(sweep, folder)]


def draw_sweep(sweep: Sweep, folder: Path) -> list[Path]:
    """Write what is made from sweep.json into its folder, and return the files.

    Raises
    ------
    PimloopError
        When one cannot be written.
    """
    write_text(folder / CSV_NAME, to_csv(sweep["rows"]))
    return [folder / CSV_NAME, *write_sweep_plots(plotted(sweep["rows"]), folder / PLOTS)]
