"""`pimloop sim`: a model through the whole pipeline on the simulated PIM device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pimloop.host.cli.arguments import idle
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.exit_codes import CHECK_FAILED
from pimloop.host.cli.options import (
    add_device_options,
    add_model,
    add_model_options,
    add_option,
    add_output_options,
    add_pipeline_options,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import load, model_inputs, pipeline_options
from pimloop.host.common.idle import Idle, Values
from pimloop.host.execution.idle import PIPELINE_ON_MODEL, on_model
from pimloop.host.models.idle import LOADING
from pimloop.host.planning.idle import SHARES, executed_anyway


def register(subparsers: Any) -> None:
    """Add `sim` to `subparsers`."""
    parser = add_command(
        subparsers,
        "sim",
        description=(
            "Profile a model in the fewest runs, find the fastest placement of its operators,"
            " execute it and the baselines with PIM operators on the simulated device and the"
            " others natively, check every PIM result bit for bit and the outputs against float32,"
            " and write report.json, report.html, trace.json and plots. An interrupted run goes on"
            " where it stopped. Exit code 1: a check failed."
        ),
    )
    add_model(parser)
    add_model_options(parser)
    add_device_options(parser)
    add_pipeline_options(parser)
    add_option(
        parser,
        "--out",
        help="folder of the results (default: out/<model>-...)",
    )
    add_option(
        parser,
        "--policy",
        action="append",
        default=[],
        help="execute this policy too: coexec where it is not by default, a plug-in's (`pimloop"
        " policies`)",
    )
    add_option(
        parser,
        "--generate",
        help="of a decoder: generate N tokens, each step on the device under its phase's plan (of"
        " --policy; default: coexec, or optimal where no product can be split)",
    )
    add_option(parser, "--no-plots")
    add_output_options(parser)
    parser.set_defaults(func=run_sim)


def _generates(values: Values) -> bool:
    return values["generate"] is not None


def _generates_whole(values: Values) -> bool:
    """Whether tokens are generated under a policy that splits no operator."""
    from pimloop.partitioner.place.solve import COEXEC

    whole = [name for name in values["policy"] if name != COEXEC]
    return _generates(values) and bool(whole)


@idle(
    *PIPELINE_ON_MODEL,
    *LOADING,
    *SHARES,
    Idle(
        {"policy": []},
        "it is for coexec and policies of plug-ins; every run executes the others",
        lambda values: not _generates(values) and executed_anyway(values, values["policy"]),
    ),
    Idle(
        {"keep_fused": False, "im2col": False},
        "--generate takes no .onnx file, and other models have no fused operators",
        _generates,
    ),
    Idle(
        {"shares": None},
        "--generate places by another policy than coexec",
        _generates_whole,
    ),
    Idle(
        {"fresh": False, "jobs": None},
        "the model device has no clock, so --generate profiles nothing on it",
        lambda values: _generates(values) and on_model(values),
    ),
)
def run_sim(args: argparse.Namespace) -> int:
    """Run `pimloop sim`."""
    if args.generate is not None:
        from pimloop.host.cli.generate import run_generate

        return run_generate(args)
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.cli.summary import print_summary
    from pimloop.host.common.folders import check_inside, make_folder
    from pimloop.host.common.text import file_name
    from pimloop.host.pipeline.pipeline import Pipeline
    from pimloop.host.pipeline.state import FOLDER
    from pimloop.host.report.build import build_report
    from pimloop.host.report.publish import PLOTS, publish

    platform, graph = load(args)
    parts = [graph.name, args.quantize, graph.sequence_length, platform.name]
    name = "-".join(file_name(str(part)) for part in parts if part is not None)
    folder = args.out or Path("out") / name
    make_folder(folder)
    for inner in (PLOTS, FOLDER):
        check_inside(folder, inner)  # before the work, not after it
    options = pipeline_options(args, policies=tuple(args.policy), folder=folder)
    with (
        ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress,
        Pipeline(graph, model_inputs(args, graph), platform, options, progress) as pipeline,
    ):
        outcome = pipeline.run()
    report = build_report(outcome)
    files = publish(report, graph, folder, plots=not args.no_plots)
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_summary(console(), report, files)
    return 0 if outcome.passed else CHECK_FAILED
