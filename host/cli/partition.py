"""`pimloop partition`: the fastest assignment of a cost graph's operators to devices."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimloop.host.cli.arguments import idle, whole_number
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import Lines, console, emit_json
from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.common.idle import Idle
from pimloop.host.planning.idle import PARTITION
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import HOME_MEMORY
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

if TYPE_CHECKING:
    from pimloop.partitioner.costs import CostGraph
    from pimloop.partitioner.plan import Plan


def register(subparsers: Any) -> None:
    """Add `partition` to `subparsers`."""
    parser = add_command(
        subparsers,
        "partition",
        description="Find the fastest assignment of operators to devices for a cost graph.",
    )
    add_option(parser, "--costs")
    add_option(
        parser,
        "--policy",
        default="optimal",
        help="optimal (default), cpu_serial, cpu_parallel_first, pim_first, greedy, paper_dp, "
        "one of a plug-in (`pimloop policies`), or all for a table",
    )
    add_option(parser, "--objective")
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
    add_option(
        parser,
        "--time-limit",
        help="bound in seconds on integer programming and on the makespan search (default 60)",
    )
    add_option(parser, "--why")
    add_option(parser, "--json", help="print the plan (with --why: the answer) on stdout")
    add_option(parser, "--output", help="write the plan (pimloop-plan) here")
    parser.set_defaults(func=run_partition)


@idle(
    *PARTITION,
    Idle(
        {"why": None},
        "it explains an optimum of the sum of all times, that of --policy optimal or coexec",
        lambda values: (
            values["policy"] not in ("optimal", "coexec") or values["objective"] != "sequential"
        ),
    ),
)
def run_partition(args: argparse.Namespace) -> int:
    """Run `pimloop partition`."""
    from pimloop.partitioner.costs import load_costs

    costs = load_costs(args.costs)
    costs = costs.with_capacity(_capacities(args.capacity_bytes, costs))
    if args.policy == "all":
        return _run_all_policies(args, costs)
    plan = _solve(args, costs, args.policy)
    _write_plan(args.output, plan)
    if args.why is not None:
        _print_why(args, plan, costs)
    elif args.json:
        emit_json(plan.to_dict())
    else:
        _print_plan(plan, costs)
    return 0


def _print_why(args: argparse.Namespace, plan: Plan, costs: CostGraph) -> None:
    from pimloop.host.cli.explained import of_plan
    from pimloop.host.cli.why import print_why, why

    explained = of_plan(costs, plan)
    if args.json:
        emit_json(why(explained, args.why))
    else:
        print_why(console(), explained, args.why)


def _solve(args: argparse.Namespace, costs: CostGraph, policy: str) -> Plan:
    from pimloop.host.planning.policies import find_policies, make_plan

    return make_plan(
        costs,
        policy,
        find_policies([policy])[policy],
        args.objective,
        args.time_limit,
        args.method,
    )


def _run_all_policies(args: argparse.Namespace, costs: CostGraph) -> int:
    from pimloop.partitioner.place.solve import COEXEC, POLICIES

    plans: dict[str, Plan] = {}
    failures: dict[str, str] = {}
    for policy in (*POLICIES, *([COEXEC] if costs.splits else [])):
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
                "left_out": {} if costs.splits else {COEXEC: _NO_SPLITS},
            }
        )
        return 0
    over_name = "over optimal" if best.optimal else f"over best found (gap {percent(best.gap)})"
    entries = any(plan.entry_us for plan in plans.values())
    energies = best.energy is not None
    kinds = ("total", "compute", "transfer", *(["entry"] if entries else []))
    kinds += ("energy, uJ",) if energies else ()
    columns = [*texts("policy"), *numbers(*kinds, over_name)]
    rows, notes = [], []
    for name, plan in plans.items():
        over = float(plan.value / best.value) - 1 if best.value else 0.0
        shown = _shown(plan)
        notes.append((shown, plan.method if name == "optimal" else _without_first(name, costs)))
        notes.append((shown, _limit_text(plan)))
        if plan.overfull:
            notes.append((shown, f"over capacity: {_bytes_text(plan)}"))
        times = [f"{us:.3f}" for us in (plan.total_us, plan.compute_us, plan.transfer_us)]
        if entries:
            times.append(f"{plan.entry_us:.3f}")
        if plan.energy is not None:
            times.append(f"{plan.energy.total_fj / 1e9:.3f}")
        rows.append((shown, *times, percent(over, 2, signed=True)))
    title = f"{args.costs}: {args.objective} objective, times in us"
    print_table(console(), columns, rows, title)
    out = Lines()
    for name, note in notes:
        if note:
            out.print(f"{name}: {note}")
    for name, message in failures.items():
        out.print(f"{name}: no plan: {message}")
    if not costs.splits:
        out.print(f"{COEXEC}: left out: {_NO_SPLITS}")
    _print_trust(out, costs)
    return 0


_NO_SPLITS = "the costs offer no splits; `pimloop profile --shares 16` makes costs with them"

#: The device that a policy is named after, where that is the name of a device.
_NAMED_AFTER = {"cpu_serial": "cpu_serial", "cpu_parallel_first": "cpu_parallel"}


def _without_first(policy: str, costs: CostGraph) -> str:
    """Return where a policy could not do what its name says, "" where it could."""
    memory_of = costs.graph.memory_of
    device = _NAMED_AFTER.get(policy)
    if policy == "pim_first" and set(memory_of.values()) == {HOME_MEMORY}:
        return f"no device outside the memory '{HOME_MEMORY}'"
    if device is None:
        return ""
    if device not in memory_of:
        return f"no device '{device}'"
    others = sum(device not in operator.devices for operator in costs.graph.operators)
    return f"{quantity(others, 'operator')} cannot run on {device}" if others else ""


def _shown(plan: Plan) -> str:
    """Return what a plan is called: its policy, of which "optimal" is one only by proof."""
    return "best found" if plan.policy == "optimal" and not plan.optimal else plan.policy


def _print_plan(plan: Plan, costs: CostGraph) -> None:
    from pimloop.host.devices.kinds import pair_of
    from pimloop.partitioner.place.solve import COEXEC

    out = Lines()
    entry = f" + {plan.entry_us:.3f} entering segments" if plan.entry_us else ""
    name = _shown(plan)
    if plan.energy is not None:
        _print_energy_plan(out, name, plan)
    else:
        _print_times(out, name, plan, entry)
    counts: dict[str, int] = {}
    for device in plan.assignment.values():
        counts[pair_of(device)] = counts.get(pair_of(device), 0) + 1
    listed = [device for names in costs.graph.memories.values() for device in names]
    listed += [pair for pair in counts if pair not in listed]
    out.print("operators: " + ", ".join(f"{device} {counts.get(device, 0)}" for device in listed))
    if plan.splits:
        from pimloop.host.cli.explained import plan_split_rows
        from pimloop.host.cli.placement import print_split_rows

        print_split_rows(console(), plan_split_rows(costs, plan), name)
    elif plan.policy == COEXEC and not costs.splits:
        out.print(f"every operator is whole: {_NO_SPLITS}")
    if plan.overfull:
        out.print(f"warning: weights exceed the capacity: {_bytes_text(plan)}")
    _print_trust(out, costs)


def _print_energy_plan(out: Lines, name: str, plan: Plan) -> None:
    from pimloop.host.cli.objectives import LEAST, bound_text, others_text, totals_text

    assert plan.energy is not None
    energy = plan.energy.to_dict(plan.objective)
    out.print(
        f"{name} ({plan.method}), objective {plan.objective}, {LEAST[plan.objective]}:"
        f" {totals_text(plan.total_us, plan.energy.total_fj)}"
    )
    _print_bound(out, plan, bound_text(energy))
    others = others_text(energy)
    if others:
        out.print(others)


def _print_times(out: Lines, name: str, plan: Plan, entry: str) -> None:
    out.print(
        f"{name} ({plan.method}), {plan.objective} objective: {plan.total_us:.3f} us "
        f"= {plan.compute_us:.3f} compute + {plan.transfer_us:.3f} transfer{entry}"
        if plan.objective == "sequential"
        else f"{name} ({plan.method}), makespan: {plan.total_us:.3f} us "
        f"({plan.compute_us:.3f} us of compute and {plan.transfer_us:.3f} us of transfer{entry}"
        " overlap)"
    )
    _print_bound(out, plan, f"{plan.lower_bound_us:.3f} us")


def _print_bound(out: Lines, plan: Plan, bound: str) -> None:
    if plan.optimal:
        out.print(f"proved optimal: lower bound {bound}")
    else:
        ended = _limit_text(plan)
        text = f"lower bound {bound} (gap {percent(plan.gap, 2)})"
        out.print(f"{text}; {ended}" if ended else text)


def _print_trust(out: Lines, costs: CostGraph) -> None:
    if costs.cpu_times_disturbed:
        from pimloop.host.cli.summary import NOT_TRUSTED

        out.print(f"{NOT_TRUSTED} when the costs were measured")


def _limit_text(plan: Plan) -> str:
    """Return that the time limit ended the search, "" where it did not."""
    if not plan.limit_reached:
        return ""
    return f"the time limit of {plan.proof['time_limit_s']:g} s ended the search"


def _bytes_text(plan: Plan) -> str:
    return ", ".join(
        f"{memory} holds {quantity(size, 'byte')}" for memory, size in plan.overfull.items()
    )


def _write_plan(path: Path | None, plan: Plan) -> None:
    if path is not None:
        from pimloop.host.common.files import write_json

        write_json(path, plan.to_dict())


def _capacities(options: Sequence[str], costs: CostGraph) -> dict[str, int]:
    limits: dict[str, int] = {}
    for option in options:
        memory, equals, number = option.rpartition("=")
        try:
            limit = whole_number(number)
        except argparse.ArgumentTypeError as error:
            raise PartitionerError(
                f"--capacity-bytes {option}: expected N or MEMORY=N with a whole number of bytes:"
                f" {error}"
            ) from error
        targets = [memory] if equals else [m for m in costs.graph.memories if m != HOME_MEMORY]
        limits.update(dict.fromkeys(targets, limit))
    return limits
