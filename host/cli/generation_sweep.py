"""`pimloop sweep --generate N`: a grid of generations."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimloop.errors import PimloopError
from pimloop.host.cli.exit_codes import CHECK_FAILED, ERROR
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.tables import numbers, print_table, prose, texts

if TYPE_CHECKING:
    from rich.console import Console

    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.execution.options import Options
    from pimloop.host.execution.runner import Event
    from pimloop.host.pipeline.sweep import Point
    from pimloop.host.platforms.platform import Platform
    from pimloop.host.report.format.sweep import SweepPoint
    from pimloop.host.report.generation.sweep import GenerationRow, GenerationSweep


def run_generation_sweep(
    args: argparse.Namespace, points: Sequence[Point], options: Options, folder: Path
) -> int:
    """Generate at every point, as `pimloop sim --generate` does; return the exit code.

    Parameters
    ----------
    args
        What `pimloop sweep` parsed, with `generate`.
    points
        The grid.
    options
        How to run.
    folder
        Where the results go.

    Raises
    ------
    PimloopError
        When a platform is wrong, before anything is run, or `folder` cannot be written to.
    """
    from pimloop.host.report.generation.sweep import FORMAT, rows_of, write_generation_sweep

    silent = args.quiet or args.json
    notes = console(stderr=True)
    rows: list[GenerationRow] = []
    ran: list[SweepPoint] = []
    for point, report, before, error in _finished(args, points, options, folder):
        if not silent:
            state = "finished before" if before else error or "finished"
            notes.print(f"{point}: {state}", markup=False, soft_wrap=True)
        passed = None if report is None else report["verification"]["passed"]
        ran.append(
            {"point": str(point), "reused": before, "passed": passed, "error": error or None}
        )
        if report is not None:
            asked = {
                "quantize": point.loading.quantize,
                "platform": Path(point.platform).stem,
                "settings": dict(point.settings),
                "shares": options.shares,
            }
            rows += rows_of(report, asked)
    result: GenerationSweep = {"format": FORMAT, "rows": rows, "points": ran}
    files = write_generation_sweep(result, folder)
    if args.json:
        emit_json(result)
    elif not args.quiet:
        print_generations(console(), result, files)
    if any(point["passed"] is None for point in ran):
        return ERROR
    return 0 if all(point["passed"] for point in ran) else CHECK_FAILED


def _finished(
    args: argparse.Namespace, points: Sequence[Point], options: Options, folder: Path
) -> Iterator[tuple[Point, dict[str, Any] | None, bool, str]]:
    """Yield every point with its generation.json, whether it was there before, and why not."""
    from pimloop.host.cli.generate import FILE_NAME
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.common.files import write_json
    from pimloop.host.common.folders import make_subfolder
    from pimloop.host.pipeline.points import kept
    from pimloop.host.pipeline.sweep import POINTS, content_keys, point_name
    from pimloop.host.planning.keys import digest, is_measured, machine_key
    from pimloop.host.platforms.platform import load_platform

    tokens = args.generate
    for point, content in content_keys(points, options).items():
        platform = load_platform(point.platform, dict(point.settings))
        key = None if content is None else digest(content, "generate", tokens)
        place = folder / POINTS / f"{point_name(point, options)}-generate-{tokens}"
        report = None if options.fresh else _kept(place / FILE_NAME, key, platform)
        if report is not None:
            yield point, report, True, ""
            continue
        try:
            with ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress:
                report = _generate(point, platform, tokens, options, progress)
        except PimloopError as error:
            yield point, None, False, str(error)
            continue
        measured_on = machine_key() if is_measured(platform) else None
        make_subfolder(folder, POINTS, place.name)
        write_json(place / FILE_NAME, kept(report, key, measured_on))
        yield point, report, False, ""


def _kept(path: Path, key: str | None, platform: Platform) -> dict[str, Any] | None:
    """Return a generation.json that still holds; None: there is none, or it does not."""
    from pimloop.host.pipeline.points import holds

    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if key is None or not isinstance(report, dict):
        return None
    return report if holds(report, key, platform) else None


def _generate(
    point: Point, platform: Platform, tokens: int, options: Options, progress: ProgressDisplay
) -> dict[str, Any]:
    """Return the generation.json of a point; growth with the cache is left to `pimloop sim`."""
    from pimloop.host.cli.generate import generate_random, generation_report
    from pimloop.host.models.generator import load_generator
    from pimloop.host.pipeline.growth import Growth
    from pimloop.host.pipeline.sweep import point_command

    command = (*point_command(point, options), "--generate", str(tokens))
    options = replace(options, command=command)

    def show(event: Event) -> None:
        progress(replace(event, job=f"{point}: {event.job}"))

    generator = load_generator(point.model, tokens, point.load_options())
    generation = generate_random(generator, point.loading.seed, platform, None, options, show)
    left_out = Growth(left_out="a sweep has none: run the point alone, with `pimloop sim`")
    return generation_report(generation, platform, options, command, left_out)


def print_generations(out: Console, result: GenerationSweep, files: list[Path]) -> None:
    """Print the executed schedule of every point beside the CPU alone."""
    for point in result["points"]:
        if point["error"]:
            out.print(
                f"{point['point']}: {point['error']}", style="red", markup=False, soft_wrap=True
            )
    cells = []
    for row in result["rows"]:
        if not row["executed"]:
            continue
        us, rate = row["us_per_token"], row["tokens_per_s"]
        settings = "".join(f", {key}={value}" for key, value in row["settings"].items())
        cells.append(
            (
                f"{row['model']}, {row['platform']}{settings}",
                f"{row['prompt_length']:,}",
                str(row["batch"]),
                row["quantize"] or "as stored",
                f"{row['time_to_first_token_us'] / 1000:,.2f}",
                "-" if us is None else f"{us / 1000:,.2f}",
                "-" if rate is None else f"{rate:,.2f}",
                "-" if row["against_cpu"] is None else f"{row['against_cpu']:.2f}",
                row["schedule"] + (", CPU times not trusted" if row["cpu_times_disturbed"] else ""),
            )
        )
    if cells:
        columns = [
            *texts("point"),
            *numbers("prompt", "batch"),
            *texts("weights"),
            *numbers("first token ms", "ms a token", "tokens/s", "CPU = 1"),
            *prose("executed"),
        ]
        print_table(out, columns, cells, "generations")
    for path in files:
        out.print(f"wrote {path}", markup=False, soft_wrap=True)
