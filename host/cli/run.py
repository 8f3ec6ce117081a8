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
    load_options,
    print_report,
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
    parser.add_argument("--json", action="store_true", help="print the report on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress, no tables")
    parser.set_defaults(func=run_run)


def run_run(args: argparse.Namespace) -> int:
    """Run `pimloop run`."""
    from host.cli.progress import ProgressDisplay
    from host.models.inputs import load_inputs, random_inputs
    from host.models.loader import load_model
    from host.plans import load_assignment
    from host.platform import DEFAULT_PLATFORM, load_platform
    from host.policies import POLICIES
    from host.report import build_report
    from host.session import Settings, execute_model

    platform = load_platform(args.platform or DEFAULT_PLATFORM)
    policy = args.policy or "pim_first"
    if policy not in POLICIES:
        raise PimloopError(f"unknown policy '{policy}'; known: {', '.join(POLICIES)}")
    graph = load_model(args.model, load_options(args))
    if args.inputs is None:
        feeds = random_inputs(graph, args.seed)
    else:
        feeds = load_inputs(graph, args.inputs)
    if args.plan is None:
        assignment, schedule = POLICIES[policy](graph, platform.capabilities), policy
    else:
        assignment, schedule = load_assignment(args.plan), "plan"
    with ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress:
        result = execute_model(
            graph,
            feeds,
            assignment,
            platform,
            Settings(backend=args.device, flavour=args.flavour),
            progress,
        )
    if args.outputs is not None:
        _save(args.outputs, result.outputs)
    report = build_report(result, schedule, repeat_command(args))
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_report(console(), report, result)
    return 0 if result.passed else EXIT_VERIFICATION_FAILED


def _save(path: Path, values: Mapping[str, Array]) -> None:
    import numpy as np

    try:
        with path.open("wb") as file:
            np.savez(file, **dict(values))  # type: ignore[arg-type]
    except OSError as error:
        raise PimloopError(f"cannot write the outputs {path}: {error.strerror}") from error
