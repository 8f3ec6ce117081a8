"""`pimloop report`: draw page, trace and plots of a finished run, or of a sweep, again."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.arguments import idle, parse_path
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import Lines, console, emit_json
from pimloop.host.common.idle import Idle


def register(subparsers: Any) -> None:
    """Add `report` to `subparsers`."""
    parser = add_command(
        subparsers,
        "report",
        description=(
            "Read report.json from a folder that `pimloop sim` wrote and write report.html,"
            " trace.json and the plots beside it again; print the tables. With --why: say why an"
            " operator is where it is, and write nothing. Of a folder that `pimloop sweep` wrote:"
            " read sweep.json, or generation-sweep.json, write its CSV and the plots."
        ),
    )
    parser.add_argument(
        "folder", type=parse_path, metavar="DIR", help="folder with report.json or sweep.json"
    )
    add_option(parser, "--why")
    add_option(
        parser, "--json", help="print the report (with --why: the answer) on stdout, and no more"
    )
    add_option(parser, "--quiet", help="print nothing")
    parser.set_defaults(func=run_report)


@idle(
    Idle({"quiet": False}, "--why only prints its answer", lambda values: values["why"] is not None)
)
def run_report(args: argparse.Namespace) -> int:
    """Run `pimloop report`."""
    from pimloop.host.cli.explained import of_report
    from pimloop.host.cli.summary import print_summary
    from pimloop.host.cli.why import print_why, why
    from pimloop.host.report.build import FILE_NAME, read_report
    from pimloop.host.report.format.sweep import FILE_NAME as SWEEP
    from pimloop.host.report.generation.sweep import FILE_NAME as GENERATIONS
    from pimloop.host.report.publish import draw

    is_run = args.why is not None or (args.folder / FILE_NAME).exists()
    if not is_run and (args.folder / SWEEP).exists():
        return _draw_sweep(args)
    if not is_run and (args.folder / GENERATIONS).exists():
        return _draw_generations(args)
    report = read_report(args.folder)
    if args.why is not None:
        explained = of_report(report)
        if args.json:
            emit_json(why(explained, args.why))
        else:
            print_why(console(), explained, args.why)
        return 0
    files = draw(report, None, args.folder)
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_summary(console(), report, files)
    return 0


def _draw_sweep(args: argparse.Namespace) -> int:
    from pimloop.host.pipeline.sweep_files import draw_sweep
    from pimloop.host.report.format.sweep import read_sweep

    sweep = read_sweep(args.folder)
    files = draw_sweep(sweep, args.folder)
    if args.json:
        emit_json(sweep)
    elif not args.quiet:
        out = Lines()
        for path in files:
            out.print(f"wrote {path}")
    return 0


def _draw_generations(args: argparse.Namespace) -> int:
    from pimloop.host.cli.generation_sweep import print_generations
    from pimloop.host.report.generation.sweep import draw_generation_sweep, read_generation_sweep

    sweep = read_generation_sweep(args.folder)
    files = draw_generation_sweep(sweep, args.folder)
    if args.json:
        emit_json(sweep)
    elif not args.quiet:
        print_generations(console(), sweep, files)
    return 0
