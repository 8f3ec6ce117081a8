"""`pimloop sweep`: a grid of runs, and speed-up against length for every schedule."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pimloop.errors import PimloopError
from pimloop.host.cli.arguments import idle, parse_name
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.exit_codes import CHECK_FAILED, ERROR
from pimloop.host.cli.options import (
    add_form_options,
    add_option,
    add_options,
    add_output_options,
    add_several,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import form_choice
from pimloop.host.cli.tables import numbers, print_table, prose, texts
from pimloop.host.common.idle import Idle, Values
from pimloop.host.models.idle import has_own_loader, has_own_weights

if TYPE_CHECKING:
    from rich.console import Console

    from pimloop.host.execution.options import Options
    from pimloop.host.pipeline.sweep import Finished, Point

T = TypeVar("T")


def register(subparsers: Any) -> None:
    """Add `sweep` to `subparsers`."""
    parser = add_command(
        subparsers,
        "sweep",
        description=(
            "Run `pimloop sim` for every combination and draw the speed-up of every schedule."
            " A finished point is kept in --out and not run again while model, platform, RTL,"
            " code and, where times are measured, the machine are the same. Exit code 1: a"
            " check failed, 2: a point could not be run."
        ),
    )
    parser.add_argument(
        "models",
        type=parse_name,
        nargs="+",
        metavar="MODEL",
        help="models, as `pimloop sim` takes them",
    )
    add_several(parser, "--seq", "sequence lengths to try (default: the model's)")
    add_several(
        parser,
        "--axis",
        "lengths to try of a named axis of the .onnx files' inputs, as past=8,16",
    )
    add_several(
        parser,
        "--shape",
        "shape of an .onnx file's input with dynamic axes; several of an input are tried",
    )
    add_several(
        parser,
        "--inputs",
        "the models' inputs, whose shapes then decide (default: random); several are tried",
    )
    add_several(parser, "--platform", "platforms or .toml files to try (default: htg-z920)")
    add_several(
        parser,
        "--set",
        "values of the platform to try, as pim.lanes=8,16; a list in brackets is one value",
    )
    add_several(parser, "--batch", "numbers of sequences at once to try (default 1)")
    add_several(
        parser,
        "--quantize",
        "integer weights to try, none for those as they are stored: none,w8,w4 (default: none)",
    )
    add_option(parser, "--seed")
    add_form_options(parser)
    parser.add_argument(
        "--scheduler",
        type=parse_name,
        metavar="ADDRESS",
        help="run on this Dask cluster (default: this machine)",
    )
    add_options(parser, "--objective", "--shares", "--jobs", "--no-cache")
    add_option(
        parser,
        "--generate",
        help="of decoders: generate N tokens at every point, and draw tokens/s",
    )
    add_option(parser, "--fresh", help="run every point again, replace stored costs")
    add_option(
        parser,
        "--out",
        help="default: out/sweep-<models>-<hash of what is swept>",
    )
    add_output_options(parser)
    parser.set_defaults(func=run_sweep)


def _generations(
    args: argparse.Namespace, points: Sequence[Point], options: Options, folder: Path
) -> int:
    from pimloop.host.cli.generation_sweep import run_generation_sweep

    for option in ("shape", "axis", "inputs"):
        if getattr(args, option):
            raise PimloopError(
                f"--generate takes the prompts' lengths from --seq, not from --{option}"
            )
    if args.scheduler is not None:
        raise PimloopError(
            "--scheduler: generations of a sweep run on this machine; leave it out, or split the"
            " grid into a sweep for each machine"
        )
    return run_generation_sweep(args, points, options, folder)


def split_values(text: str) -> list[str]:
    """Return the values of a setting: commas within brackets and quotes are part of a value.

    >>> split_values("8,16"), split_values('["Add","Mul"]'), split_values('["Add"],["Add","Mul"]')
    (['8', '16'], ['["Add","Mul"]'], ['["Add"]', '["Add","Mul"]'])

    Raises
    ------
    PimloopError
        When a value is empty.
    """
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
        elif character == "," and depth <= 0:
            values.append("")
            continue
        values[-1] += character
    values = [value.strip() for value in values]
    if not all(values):
        raise PimloopError(f"--set: {text!r} has an empty value; give them as pim.lanes=8,16")
    return values


def _no_onnx_file(values: Values) -> bool:
    models = values["models"]
    return all(has_own_loader(model) and not model.endswith(".onnx") for model in models)


def _own_weights_and_inputs(values: Values) -> bool:
    return bool(values["inputs"]) and all(map(has_own_weights, values["models"]))


@idle(
    Idle(
        {"jobs": None},
        "on a cluster every worker runs one simulator",
        lambda values: values["scheduler"] is not None,
    ),
    Idle(
        {"keep_fused": False, "im2col": False},
        "no model of the sweep is an .onnx file, and others have no fused operators",
        _no_onnx_file,
    ),
    Idle(
        {"seed": 0},
        "the inputs are those of --inputs, and the models have weights of their own",
        _own_weights_and_inputs,
    ),
)
def run_sweep(args: argparse.Namespace) -> int:
    """Run `pimloop sweep`."""
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.common.folders import make_folder
    from pimloop.host.common.machine import cores
    from pimloop.host.execution.options import Options
    from pimloop.host.pipeline import sweep
    from pimloop.host.pipeline.cluster import on_cluster
    from pimloop.host.pipeline.loading import Loading, bindings
    from pimloop.host.pipeline.sweep_files import summary, write_sweep
    from pimloop.host.platforms.platform import DEFAULT_PLATFORM

    settings = {key: split_values(values) for key, values in _at_once("--set", args.set).items()}
    platforms = args.platform or [DEFAULT_PLATFORM]
    loadings = [
        Loading(args.seed, batch, form_choice(args), quantize)
        for quantize, batch in product(args.quantize or [None], args.batch or [None])
    ]
    bound = bindings(
        _at_once("--axis", args.axis), _by_name(args.shape), list(map(str, args.inputs))
    )
    points = sweep.grid(args.models, args.seq or [None], platforms, settings, loadings, bound)
    options = Options(
        objective=args.objective,
        shares=args.shares,
        jobs=args.jobs or cores(),
        fresh=args.fresh,
        cache=not args.no_cache,
    )
    folder = args.out or Path("out") / sweep.sweep_name(points, options)
    make_folder(folder)
    if args.generate is not None:
        return _generations(args, points, options, folder)
    silent = args.quiet or args.json
    notes = console(stderr=True)

    def note(point: Finished) -> None:
        if not silent:
            state = "finished before" if point.before else point.error or "finished"
            notes.print(f"{point.point}: {state}", markup=False, soft_wrap=True)

    with ProgressDisplay(notes, quiet=silent) as progress:
        backend = on_cluster(args.scheduler) if args.scheduler else sweep.locally(progress)
        finished = sweep.run_sweep(points, folder, options, backend, note)
    result = summary(finished, options)
    files = write_sweep(result, folder)
    if args.json:
        emit_json(result)
    elif not args.quiet:
        _print(console(), finished, files)
    if any(point.report is None for point in finished):
        return ERROR
    passed = all(point["passed"] for point in result["points"])
    return 0 if passed else CHECK_FAILED


def _at_once(option: str, pairs: Sequence[tuple[str, T]]) -> dict[str, T]:
    """Return the values of each key.

    Raises
    ------
    PimloopError
        When a key is given twice: which of them would be tried?
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        raise PimloopError(f"{option}: give all values of a key at once, as key=8,16")
    return values


def _by_name(pairs: Sequence[tuple[str, T]]) -> dict[str, list[T]]:
    """Return the values of each key, which may be given several times."""
    values: dict[str, list[T]] = {}
    for key, value in pairs:
        if value not in values.setdefault(key, []):
            values[key].append(value)
    return values


def _print(out: Console, finished: list[Finished], files: list[Path]) -> None:
    from pimloop.host.report.html.labels import best_found, unproved

    reports = [point.report for point in finished if point.report is not None]
    names = list(dict.fromkeys(name for report in reports for name in report["speedup"]))
    rows = []
    for point in finished:
        if point.report is None:
            out.print(f"{point.point}: {point.error}", style="red", markup=False, soft_wrap=True)
            continue
        speedup, best = point.report["speedup"], point.report["schedules"]["optimal"]
        marks = []
        if unproved("optimal", best):
            marks.append(best_found(best))
        if point.report["cpu_times_disturbed"]:
            marks.append("CPU times not trusted")
        if point.before:
            marks.append("reused from an earlier sweep")
        rows.append(
            (
                str(point.point),
                f"{best['executed_us']:,.1f}",
                *(f"{speedup[name]:.2f}" if name in speedup else "-" for name in names),
                ", ".join(marks),
            )
        )
    columns = [*texts("point"), *numbers("optimal us", *names)]
    if any(row[-1] for row in rows):
        columns += prose("mark")
    else:
        rows = [row[:-1] for row in rows]
    print_table(out, columns, rows, "how many times as long as optimal, which splits no operator")
    left_out = Counter(
        f"{name}: left out: {reason}"
        for report in reports
        for name, reason in report.get("left_out_policies", {}).items()
    )
    for text, count in left_out.items():
        where = "" if count == len(reports) else f" ({count} of {len(reports)} points)"
        out.print(f"{text}{where}", markup=False, soft_wrap=True)
    for path in files:
        out.print(f"wrote {path}", markup=False, soft_wrap=True)
