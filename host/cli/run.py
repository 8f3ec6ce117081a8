"""`pimloop run`: execute a model under a plan or a policy, with inputs and outputs as files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pimloop.errors import PimloopError
from pimloop.host.cli.arguments import idle, parse_path
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.exit_codes import CHECK_FAILED
from pimloop.host.cli.options import (
    add_device_options,
    add_model,
    add_model_options,
    add_option,
    add_output_options,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import load, model_inputs, pipeline_options
from pimloop.host.common.idle import Idle
from pimloop.host.execution.idle import ON_MODEL
from pimloop.host.models.idle import LOADING

if TYPE_CHECKING:
    from pimloop.host.models.graph import Graph
    from pimloop.host.planning.plans import PlanFile
    from pimloop.host.platforms.platform import Platform


def register(subparsers: Any) -> None:
    """Add `run` to `subparsers`."""
    parser = add_command(
        subparsers,
        "run",
        description=(
            "Execute a model with every operator where a plan or a policy puts it, and check the"
            " result as `pimloop sim` does. Exit code 1: the check failed."
        ),
    )
    add_model(parser)
    placement = parser.add_mutually_exclusive_group()
    placement.add_argument("--plan", type=parse_path, metavar="FILE", help="a plan (pimloop-plan)")
    add_option(
        placement,
        "--policy",
        help="pim_first (default), cpu_serial or cpu_parallel_first, which need no costs; optimal,"
        " greedy, paper_dp or one of a plug-in, for which the model is profiled first",
    )
    parser.add_argument(
        "--other-shapes",
        action="store_true",
        help="execute a plan that was made for another length or shape too",
    )
    add_model_options(parser)
    add_device_options(parser)
    parser.add_argument(
        "--outputs", type=parse_path, metavar="FILE.npz", help="write the outputs here"
    )
    add_option(parser, "--no-cache")
    add_output_options(parser)
    parser.set_defaults(func=run_run)


@idle(
    *ON_MODEL,
    *LOADING,
    Idle(
        {"other_shapes": False},
        "only a plan (--plan) is made for a shape",
        lambda values: values["plan"] is None,
    ),
    Idle(
        {"flavour": None, "no_cache": False},
        "policy {policy} puts no operator on the PIM",
        lambda values: values["policy"] in ("cpu_serial", "cpu_parallel_first"),
    ),
)
def run_run(args: argparse.Namespace) -> int:
    """Run `pimloop run`."""
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.cli.summary import print_summary
    from pimloop.host.common.files import require_writable
    from pimloop.host.models.inputs import write_arrays
    from pimloop.host.pim.fit import pim_fit
    from pimloop.host.pipeline.pipeline import Pipeline, execute_once
    from pimloop.host.planning.plans import PlanFile, load_plan
    from pimloop.host.planning.policies import POLICIES, find_policies
    from pimloop.host.report.build import build_report

    require_writable(args.outputs)
    policy = args.policy or "pim_first"
    find_policies([policy])
    platform, graph = load(args)
    feeds = model_inputs(args, graph)
    plan = None
    if args.plan is not None:
        plan = load_plan(args.plan)
        _check_shapes(args, plan, graph, platform)
    elif policy in POLICIES:
        placed = POLICIES[policy](graph, platform.capabilities)
        plan = PlanFile(pim_fit(graph, platform).within(graph, placed), "sequential")
    name = policy if args.plan is None else "plan"
    options = pipeline_options(
        args, objective="makespan" if plan is not None and plan.schedule else "sequential"
    )
    with ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress:
        if plan is None:
            with Pipeline(graph, feeds, platform, options, progress) as pipeline:
                outcome = pipeline.run_policy(policy)
        else:
            outcome = execute_once(
                graph, feeds, platform, name, plan.assignment, options, progress, plan.schedule
            )
    if args.outputs is not None:
        write_arrays(args.outputs, outcome.schedules[name].result.outputs)
    report = build_report(outcome)
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_summary(console(), report)
    return 0 if outcome.passed else CHECK_FAILED


def _check_shapes(
    args: argparse.Namespace, plan: PlanFile, graph: Graph, platform: Platform
) -> None:
    """Refuse a plan made for other shapes, or say that it was."""
    from pimloop.host.pim.fit import pim_fit
    from pimloop.host.planning.graph import partition_graph
    from pimloop.host.planning.plans import other_shapes

    other = other_shapes(plan, partition_graph(graph, pim_fit(graph, platform), platform))
    if not other:
        return
    if not args.other_shapes:
        raise PimloopError(
            f"the plan {args.plan} was made from the costs of another length or shape: {other}."
            " Make one for this model (pimloop profile, pimloop partition), or execute this one"
            " with --other-shapes"
        )
    if not args.json and not args.quiet:
        note = f"the plan was made from the costs of another length or shape: {other}"
        console(stderr=True).print(note, style="yellow", markup=False, soft_wrap=True)
