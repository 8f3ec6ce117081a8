"""generation-sweep.json: a grid of generations, a row for every schedule of every point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, TypedDict

from pimloop.errors import PimloopError
from pimloop.host.common.files import write_json, write_text
from pimloop.host.common.text import csv_table
from pimloop.host.report.format.sweep import SweepPoint, SweepRow
from pimloop.host.report.generation.energies import last_phase
from pimloop.host.report.generation.page import against_cpu
from pimloop.host.report.plots_sweep import write_token_plots
from pimloop.partitioner.typed_json import JsonError, check, read_json

FORMAT: Final = "pimloop-generation-sweep/1"

FILE_NAME, CSV_NAME, PLOTS = "generation-sweep.json", "generation-sweep.csv", "plots"


class GenerationRow(TypedDict):
    """A schedule of a point."""

    model: str
    prompt_length: int  # tokens of a prompt
    generated: int  # tokens of a sequence
    batch: int  # sequences at once
    quantize: str | None  # "w8", "w4"; None: weights as they are stored
    platform: str
    settings: dict[str, str]  # values of the platform that `--set` changed
    shares: int | None  # steps in which products were shared (`--shares`); None: the default
    schedule: str
    executed: bool  # False: planned, from the costs of the profile
    optimal: bool  # whether both plans are proved the fastest by the costs
    time_to_first_token_us: float  # microseconds; of all sequences at once
    us_per_token: float | None  # of a step, all sequences; None: one token, which the prompt gives
    tokens_per_s: float | None  # of all sequences together
    against_cpu: float | None  # times as fast as on the faster CPU schedule; None: there is none
    cpu_times_disturbed: bool  # whether other work disturbed CPU times
    prompt_j: NotRequired[float | None]  # joules of all prompts, modelled; None: not known
    j_per_token: NotRequired[float | None]  # joules of a step for one sequence
    #: Of a step for all sequences, of the prompt where there is none; None: not known.
    average_w: NotRequired[float | None]  # watts
    energy_delay_js: NotRequired[float | None]  # joules x seconds


class GenerationSweep(TypedDict):
    """The file."""

    format: Literal["pimloop-generation-sweep/1"]
    rows: list[GenerationRow]
    points: list[SweepPoint]


def rows_of(report: Mapping[str, Any], asked: Mapping[str, Any]) -> list[GenerationRow]:
    """Return a row for every schedule of a generation.json.

    Parameters
    ----------
    report
        The file's content.
    asked
        `quantize`, `platform`, `settings` and `shares` of the point.
    """
    return [
        {
            "model": report["model"],
            "prompt_length": len(report["prompt"]) // report["batch"],
            "generated": len(report["tokens"]) // report["batch"],
            "batch": report["batch"],
            "quantize": asked["quantize"],
            "platform": asked["platform"],
            "settings": dict(asked["settings"]),
            "shares": asked["shares"],
            "schedule": schedule["schedule"],
            "executed": schedule["executed"],
            "optimal": schedule["optimal"],
            "time_to_first_token_us": schedule["time_to_first_token_us"],
            "us_per_token": schedule["us_per_token"],
            "tokens_per_s": schedule["tokens_per_s"],
            "against_cpu": against_cpu(schedule, report["schedules"]),
            "cpu_times_disturbed": report["cpu_times_disturbed"],
            "prompt_j": schedule["prompt_j"],
            "j_per_token": schedule["j_per_token"],
            "average_w": last_phase(schedule).get("average_w"),
            "energy_delay_js": last_phase(schedule).get("energy_delay_js"),
        }
        for schedule in report["schedules"]
    ]


def to_csv(rows: Iterable[GenerationRow]) -> str:
    """Return rows as CSV; settings as `key=value` with semicolons between.

    Text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    return csv_table(list(GenerationRow.__annotations__), rows)


def write_generation_sweep(sweep: GenerationSweep, folder: Path) -> list[Path]:
    """Write the file, its rows as CSV and its figures into a folder; return the files.

    Raises
    ------
    PimloopError
        When one cannot be written.
    """
    write_json(folder / FILE_NAME, sweep)
    return [folder / FILE_NAME, *draw_generation_sweep(sweep, folder)]


def draw_generation_sweep(sweep: GenerationSweep, folder: Path) -> list[Path]:
    """Write what is made from the file into its folder; return the files.

    Raises
    ------
    PimloopError
        When one cannot be written.
    """
    write_text(folder / CSV_NAME, to_csv(sweep["rows"]))
    return [folder / CSV_NAME, *write_token_plots(plotted(sweep["rows"]), folder / PLOTS)]


def read_generation_sweep(folder: Path) -> GenerationSweep:
    """Return the sweep of generations in a folder.

    Raises
    ------
    PimloopError
        When it cannot be read, or is damaged; says where.
    """
    path = folder / FILE_NAME
    try:
        sweep: GenerationSweep = check(read_json(path), GenerationSweep)
    except OSError as error:
        raise PimloopError(f"cannot read {path}: {error.strerror}") from error
    except JsonError as error:
        raise PimloopError(f"{path}: {error}; run the sweep again") from error
    return sweep


def plotted(rows: Sequence[GenerationRow]) -> list[SweepRow]:
    """Return rows for figures: time a token, batch and weights among the settings."""
    return [
        {
            "model": row["model"],
            "sequence_length": row["prompt_length"],
            "axes": {},
            "shapes": {},
            "inputs": None,
            "platform": row["platform"],
            "settings": {
                "batch": str(row["batch"]),
                "weights": row["quantize"] or "as stored",
                **row["settings"],
            },
            "schedule": row["schedule"],
            "predicted_us": row["us_per_token"],
            # Per token of all sequences together.
            "executed_us": None if row["tokens_per_s"] is None else 1e6 / row["tokens_per_s"],
            "optimal": row["optimal"],
            "lower_bound_us": None,
            "cpu_times_disturbed": row["cpu_times_disturbed"],
        }
        for row in rows
    ]
