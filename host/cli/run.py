"""`pimloop run`: execute a model under a plan or a policy, with inputs and outputs as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.cli.output import console, emit_json
from host.cli.sim import (
    EXIT_VERIFICATION_FAILED,
    add_device_options,
    add_model_options,
    add_output_options,
    load,
    repeat_command,
)
from host.errors import PimloopError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from host.models.graph import Array


def register(subparsers: Any) -> None:
    """Add `run` to `subparsers`."""
    parser = subparsers.add_parser(
        "run",
        help="execute a model under a plan or a policy",
        description=(
            "Execute a model with every operator where a plan or a policy puts it, and check the"
            " result as `pimloop sim` does. Exit code 1: the check failed."
        ),
    )
    parser.add_argument(
        "model", help="a built-in model (`pimloop models`), a Hugging Face folder, an .onnx file"
    )
    placement = parser.add_mutually_exclusive_group()
    placement.add_argument("--plan", type=Path, metavar="FILE", help="a pimloop-plan/1 file")
    placement.add_argument(
        "--policy", metavar="NAME", help="pim_first (default), cpu_serial or cpu_parallel"
    )
    add_model_options(parser)
    add_device_options(parser)
    parser.add_argument(
        "--inputs", type=Path, metavar="FILE.npz", help="the model's inputs (default: random)"
    )
    parser.add_argument("--outputs", type=Path, metavar="FILE.npz", help="write the outputs here")
    parser.add_argument(
        "--no-cache", action="store_true", help="simulate everything, also lists simulated before"
    )
    add_output_options(parser)
    parser.set_defaults(func=run_run)


def run_run(args: argparse.Namespace) -> int:
    """Run `pimloop run`."""
    from host.cli.progress import ProgressDisplay
    from host.cli.summary import print_summary
    from host.models.inputs import load_inputs, random_inputs
    from host.pipeline.flow import execute_once
    from host.pipeline.options import Options
    from host.plans import load_assignment
    from host.policies import POLICIES
    from host.report import build_report

    policy = args.policy or "pim_first"
    if policy not in POLICIES:
        raise PimloopError(f"unknown policy '{policy}'; known: {', '.join(POLICIES)}")
    platform, graph = load(args)
    if args.inputs is None:
        feeds = random_inputs(graph, args.seed)
    else:
        feeds = load_inputs(graph, args.inputs)
    if args.plan is None:
        assignment, schedule = POLICIES[policy](graph, platform.capabilities), policy
    else:
        assignment, schedule = load_assignment(args.plan), "plan"
    options = Options(
        backend=args.device,
        flavour=args.flavour,
        jobs=1,
        cache=not args.no_cache,
        command=tuple(repeat_command(args)),
    )
    with ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress:
        outcome = execute_once(graph, feeds, platform, schedule, assignment, options, progress)
    if args.outputs is not None:
        _save(args.outputs, outcome.schedules[schedule].result.outputs)
    report = build_report(outcome)
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_summary(console(), report)
    return 0 if outcome.passed else EXIT_VERIFICATION_FAILED


def _save(path: Path, values: Mapping[str, Array]) -> None:
    import numpy as np

    try:
        with path.open("wb") as file:
            np.savez(file, **dict(values))  # type: ignore[arg-type]
    except OSError as error:
        raise PimloopError(f"cannot write the outputs {path}: {error.strerror}") from error
