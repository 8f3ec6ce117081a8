"""Commands about cost graphs: `partition`, `profile-plan`, `dcg` and `import-ort`.

The solvers are imported when a command runs, so that `pimloop --help` stays quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.cli.output import console, emit_json
from partitioner.costs import CostGraph, load_costs
from partitioner.errors import PartitionerError
from partitioner.graph import HOME_MEMORY

if TYPE_CHECKING:
    from partitioner.plan import Plan


def register(subparsers: Any) -> None:
    """Add the commands of this module to `subparsers`."""
    _register_partition(subparsers)


def _register_partition(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "partition",
        help="find the fastest assignment of operators to devices",
        description="Find the fastest assignment of operators to devices for a cost graph.",
    )
    _add_costs(parser)
    parser.add_argument(
        "--policy",
        default="optimal",
        help="optimal (default), cpu_serial, cpu_parallel_first, pim_first, greedy, paper_dp, "
        "or all for a table",
    )
    parser.add_argument(
        "--objective",
        choices=("sequential", "makespan"),
        default="sequential",
        help="sum of all times (default), or the end of a schedule where devices overlap",
    )
    parser.add_argument(
        "--method",
        choices=("auto", "mincut", "dp", "ilp"),
        default="auto",
        help="how to find the sequential optimum (default: the quickest exact way that applies)",
    )
    parser.add_argument(
        "--capacity-bytes",
        action="append",
        default=[],
        metavar="[MEMORY=]N",
        help="room for resident weights; without a memory: each memory other than cpu",
    )
    parser.add_argument(
        "--time-limit",
        type=_positive_seconds,
        default=60.0,
        metavar="S",
        help="bound in seconds on integer programming and on the makespan search (default 60)",
    )
    _add_json(parser)
    parser.add_argument("-o", "--output", type=Path, help="write the plan (pimloop-plan/1) here")
    parser.set_defaults(func=run_partition)


def run_partition(args: argparse.Namespace) -> int:
    """Run `pimloop partition`."""
    costs = load_costs(args.costs)
    costs = costs.with_capacity(_capacities(args.capacity_bytes, costs))
    if args.policy == "all":
        return _run_all_policies(args, costs)
    plan = _solve(args, costs, args.policy)
    _write_plan(args.output, plan)
    if args.json:
        emit_json(plan.to_dict())
    else:
        _print_plan(plan, costs)
    return 0


def _solve(args: argparse.Namespace, costs: CostGraph, policy: str) -> Plan:
    from partitioner.solve import partition

    return partition(costs, policy, method=args.method, time_limit_s=args.time_limit)


def _run_all_policies(args: argparse.Namespace, costs: CostGraph) -> int:
    from rich.table import Table

    from partitioner.solve import POLICIES

    plans: dict[str, Plan] = {}
    failures: dict[str, str] = {}
    for policy in POLICIES:
        try:
            plans[policy] = _solve(args, costs, policy)
        except PartitionerError as error:
            if policy == "optimal":
                raise  # the graph itself is at fault, not the policy
            failures[policy] = str(error)
    best = plans["optimal"]
    _write_plan(args.output, best)
    if args.json:
        emit_json(
            {
                "policies": {name: plan.to_dict() for name, plan in plans.items()},
                "failed": failures,
            }
        )
        return 0
    table = Table(title=f"{args.costs}: {args.objective} objective, times in us")
    for column in ("policy", "total", "compute", "transfer", "over optimal", "note"):
        table.add_column(column, justify="left" if column in ("policy", "note") else "right")
    for name, plan in plans.items():
        over = plan.total_us / best.total_us - 1 if best.total_us else 0.0
        note = plan.method if name == "optimal" else ""
        if plan.overfull:
            note = f"over capacity: {_bytes_text(plan)}"
        table.add_row(
            name,
            f"{plan.total_us:.3f}",
            f"{plan.compute_us:.3f}",
            f"{plan.transfer_us:.3f}",
            f"{over:+.2%}",
            note,
        )
    for name, message in failures.items():
        table.add_row(name, "-", "-", "-", "-", message)
    console().print(table)
    return 0


def _print_plan(plan: Plan, costs: CostGraph) -> None:
    out = console()
    out.print(
        f"{plan.policy} ({plan.method}), {plan.objective} objective: {plan.total_us:.3f} us "
        f"= {plan.compute_us:.3f} compute + {plan.transfer_us:.3f} transfer"
        if plan.objective == "sequential"
        else f"{plan.policy} ({plan.method}), makespan: {plan.total_us:.3f} us "
        f"({plan.compute_us:.3f} us of compute and {plan.transfer_us:.3f} us of transfer overlap)"
    )
    if plan.optimal:
        out.print(f"proved optimal: lower bound {plan.lower_bound_us:.3f} us")
    else:
        out.print(f"lower bound {plan.lower_bound_us:.3f} us (gap {plan.gap:.2%})")
    counts: dict[str, int] = {}
    for device in plan.assignment.values():
        counts[device] = counts.get(device, 0) + 1
    listed = [device for names in costs.graph.memories.values() for device in names]
    out.print("operators: " + ", ".join(f"{device} {counts.get(device, 0)}" for device in listed))
    if plan.overfull:
        out.print(f"warning: weights exceed the capacity: {_bytes_text(plan)}")


def _bytes_text(plan: Plan) -> str:
    return ", ".join(f"{memory} holds {size} bytes" for memory, size in plan.overfull.items())


def _write_plan(path: Path | None, plan: Plan) -> None:
    from partitioner.plan import save_plan

    if path is not None:
        _guard_write(path, lambda: save_plan(plan, path))


def _guard_write(path: Path, write: Any) -> None:
    try:
        write()
    except OSError as error:
        raise PartitionerError(f"{path}: cannot write the file: {error}") from error


def _capacities(options: Sequence[str], costs: CostGraph) -> dict[str, int]:
    limits: dict[str, int] = {}
    for option in options:
        memory, equals, number = option.rpartition("=")
        if not number.isascii() or not number.isdigit():
            raise PartitionerError(
                f"--capacity-bytes {option}: expected N or MEMORY=N with a whole number of bytes"
            )
        targets = [memory] if equals else [m for m in costs.graph.memories if m != HOME_MEMORY]
        limits.update(dict.fromkeys(targets, int(number)))
    return limits


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def _add_costs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--costs", type=Path, required=True, metavar="FILE", help="cost graph (pimloop-costs/1)"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
