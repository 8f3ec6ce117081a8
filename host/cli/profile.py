"""`pimloop profile`: every cost of a model on a platform, as a file for `pimloop partition`."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.arguments import idle
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.exit_codes import CHECK_FAILED
from pimloop.host.cli.options import (
    add_device_options,
    add_model,
    add_model_options,
    add_option,
    add_options,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import load, model_inputs, pipeline_options
from pimloop.host.execution.idle import ON_MODEL
from pimloop.host.models.idle import LOADING
from pimloop.partitioner.quantity import quantity


def register(subparsers: Any) -> None:
    """Add `profile` to `subparsers`."""
    parser = add_command(
        subparsers,
        "profile",
        description=(
            "Measure every operator of a model on every device and every transfer, in the smallest"
            " number of runs, and write a cost graph (pimloop-costs). Costs that earlier runs"
            " measured are taken from the cost store. Exit code 1: a result was wrong."
        ),
    )
    add_model(parser)
    add_model_options(parser)
    add_device_options(parser)
    add_options(parser, "--shares", "--energies")
    add_option(parser, "--jobs")
    add_option(parser, "--fresh", help="profile anew: replace stored costs")
    add_option(parser, "--no-cache")
    add_option(parser, "--output", required=True, help="cost graph to write")
    add_options(parser, "--json", "--quiet")
    parser.set_defaults(func=run_profile)


@idle(*ON_MODEL, *LOADING)
def run_profile(args: argparse.Namespace) -> int:
    """Run `pimloop profile`."""
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.cli.summary import NOT_TRUSTED
    from pimloop.host.common.files import require_writable, write_json
    from pimloop.host.pipeline.pipeline import Pipeline
    from pimloop.partitioner.costs import costs_to_dict
    from pimloop.sim.device.lanes import lanes_text

    require_writable(args.output)
    platform, graph = load(args)
    options = pipeline_options(args, energies=args.energies)
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
        "left_out_policies": dict(outcome.left_out),
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
        for name, reason in outcome.left_out.items():
            console().print(f"no splits for {name}: {reason}", markup=False, soft_wrap=True)
        if summary["cpu_times_disturbed"]:
            again = "; --fresh measures them again" if outcome.reused else ""
            console().print(f"{NOT_TRUSTED}{again}", style="yellow", soft_wrap=True)
    return 0 if outcome.passed else CHECK_FAILED
