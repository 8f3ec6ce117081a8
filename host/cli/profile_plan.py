"""`pimloop profile-plan`: the fewest runs that measure every operator and transfer."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.arguments import idle
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import LISTED, Lines, emit_json
from pimloop.host.common.idle import Idle
from pimloop.partitioner.quantity import quantity


def register(subparsers: Any) -> None:
    """Add `profile-plan` to `subparsers`."""
    parser = add_command(
        subparsers,
        "profile-plan",
        description="Plan the fewest profile runs that measure every operator on every device "
        "and every transfer, and prove their number.",
    )
    add_option(parser, "--costs")
    parser.add_argument(
        "--group",
        choices=("signature", "none"),
        help="measure one of each class of equal operators and transfers, or each by itself "
        "(default: none in minimal mode; signature, for transfers only, in paper mode)",
    )
    parser.add_argument(
        "--mode",
        choices=("minimal", "paper"),
        default="minimal",
        help="runs that measure both (default), or the paper's node runs, then edge runs",
    )
    add_option(
        parser,
        "--time-limit",
        help="bound in seconds on each question to the exact solver (default 60)",
    )
    add_option(parser, "--json")
    parser.set_defaults(func=run_profile_plan)


@idle(
    Idle(
        {"time_limit": 60.0},
        "the paper's algorithm asks no exact solver",
        lambda values: bool(values["mode"] == "paper"),
    )
)
def run_profile_plan(args: argparse.Namespace) -> int:
    """Run `pimloop profile-plan`."""
    from pimloop.partitioner.costs import load_costs
    from pimloop.partitioner.profile.plan import plan_profile

    costs = load_costs(args.costs)
    plan = plan_profile(costs.graph, args.mode, args.group, args.time_limit)
    if args.json:
        emit_json(plan.to_dict())
        return 0
    out = Lines()
    kinds = f" ({plan.node_runs} node + {plan.edge_runs} edge)" if args.mode == "paper" else ""
    proof = "proved" if plan.proved else "not proved minimal"
    out.print(f"{quantity(len(plan.runs), 'run')}{kinds}, lower bound {plan.lower_bound}, {proof}")
    out.print(plan.certificate)
    out.print(
        f"measured: {plan.nodes_covered} of {quantity(plan.nodes_total, 'operator cost')},"
        f" {plan.transfers_covered} of {quantity(plan.transfers_total, 'transfer')} (grouping:"
        f" {plan.group})"
    )
    for number, run in enumerate(plan.runs, start=1):
        counts: dict[str, int] = {}
        for device in run.values():
            counts[device] = counts.get(device, 0) + 1
        listed = ", ".join(f"{device} {count}" for device, count in sorted(counts.items()))
        out.print(f"  run {number}: {listed}")
    if plan.uncoverable:
        out.print(f"{len(plan.uncoverable)} that no assignment can cause:")
        for item in plan.uncoverable[:LISTED]:
            out.print(f"  {item.kind} {item.id} {item.where}: {item.reason}")
        if len(plan.uncoverable) > LISTED:
            out.print("  ... (all of them with --json)")
    return 0
