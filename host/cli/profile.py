"""`pimloop profile`: every cost of a model on a platform, as a file for `pimloop partition`."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.arguments import idle, parse_count, parse_name, parse_path
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.sim import (
    add_device_options,
    add_model_options,
    add_shares_option,
    load,
    model_inputs,
    pipeline_options,
)
from pimloop.host.execution.idle import ON_MODEL
from pimloop.host.models.idle import LOADING
from pimloop.partitioner.quantity import quantity
from pimloop.sim.device.lanes import lanes_text


def register(subparsers: Any) -> None:
    """Add `profile` to `subparsers`."""
    parser = subparsers.add_parser(
        "profile",
        help="measure every operator on every device, in the fewest runs",
        description=(
            "Measure every operator of a model on every device and every transfer, in the smallest"
            " number of runs, and write a cost graph (pimloop-costs). Costs that earlier runs"
            " measured are taken from the cost store. Exit code 1: a result was wrong."
        ),
    )
    parser.add_argument(
        "model",
        type=parse_name,
        help="a built-in model (`pimloop models`), a Hugging Face folder, an .onnx file",
    )
    add_model_options(parser)
    add_device_options(parser)
    add_shares_option(parser)
    parser.add_argument(
        "--jobs",
        type=parse_count,
        metavar="N",
        help="simulators side by side (default: one a core)",
    )
    parser.add_argument("--fresh", action="store_true", help="profile anew: replace stored costs")
    parser.add_argument(
        "--no-cache", action="store_true", help="simulate everything, also lists simulated before"
    )
    parser.add_argument(
        "-o", "--output", type=parse_path, required=True, metavar="FILE", help="cost graph to write"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.set_defaults(func=run_profile)


@idle(*ON_MODEL, *LOADING)
def run_profile(args: argparse.Namespace) -> int:
    """Run `pimloop profile`."""
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.cli.sim import EXIT_VERIFICATION_FAILED
    from pimloop.host.cli.summary import NOT_TRUSTED
    from pimloop.host.common.files import require_writable, write_json
    from pimloop.host.pipeline.flow import Pipeline
    from pimloop.partitioner.costs import costs_to_dict

    require_writable(args.output)
    platform, graph = load(args)
    options = pipeline_options(args)
    with (
        ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress,
        Pipeline(graph, model_inputs(args, graph), platform, options, progress) as pipeline,
    ):
        costs = pipeline.profile()
        outcome, usage = pipeline.outcome, pipeline.runner.usage
    write_json(args.output, costs_to_dict(costs))
    assert outcome.profile is not None
    plan = outcome.profile.plan
    summary = {
        "output": str(args.output),
        "nodes": len(costs.graph.operators),
        "runs": len(plan.runs),
        "runs_lower_bound": plan.lower_bound,
        "nodes_covered": plan.nodes_covered,
        "transfers_covered": plan.transfers_covered,
        "from_cost_store": outcome.reused,
        "cpu_times_disturbed": outcome.cpu_times_disturbed,
        "cycles": usage["cycles_simulated"],
        "cycles_cached": usage["cycles_cached"],
        "lanes": lanes_text(options.flavour) if args.device == "sim" else None,
        "passed": outcome.passed,
    }
    if args.json:
        emit_json(summary)
    elif not args.quiet:
        how = (
            f"{quantity(len(plan.runs), 'run')} (lower bound {summary['runs_lower_bound']})"
            if outcome.profile_results
            else "reused from earlier runs (the cost store)"
        )
        console().print(
            f"{args.output}: {quantity(plan.nodes_covered, 'operator cost')} and"
            f" {quantity(plan.transfers_covered, 'transfer')} of"
            f" {quantity(len(costs.graph.operators), 'operator')}, {how}",
            markup=False,
            soft_wrap=True,
        )
        if summary["cpu_times_disturbed"]:
            again = "; --fresh measures them again" if outcome.reused else ""
            console().print(f"{NOT_TRUSTED}{again}", style="yellow", soft_wrap=True)
    return 0 if outcome.passed else EXIT_VERIFICATION_FAILED
