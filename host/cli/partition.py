"""Commands about cost graphs: `partition`, `profile-plan`, `dcg` and `import-ort`.

The solvers are imported when a command runs, so that `pimloop --help` stays quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimloop.host.cli.arguments import (
    idle,
    parse_name,
    parse_path,
    positive_seconds,
    whole_number,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.summary import NOT_TRUSTED
from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.common.files import write_json
from pimloop.host.common.idle import Idle
from pimloop.host.devices.kinds import pair_of
from pimloop.host.planning.idle import PARTITION
from pimloop.partitioner.costs import CostGraph, costs_to_dict, load_costs
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import HOME_MEMORY
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

if TYPE_CHECKING:
    from pimloop.partitioner.plan import Plan

#: Lines of a long list that the human-readable output shows.
LISTED = 12


def register(subparsers: Any) -> None:
    """Add the commands of this module to `subparsers`."""
    _register_partition(subparsers)
    _register_profile_plan(subparsers)
    _register_dcg(subparsers)
    _register_import_ort(subparsers)


def _register_partition(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "partition",
        help="find the fastest assignment of operators to devices",
        description="Find the fastest assignment of operators to devices for a cost graph.",
    )
    _add_costs(parser)
    parser.add_argument(
        "--policy",
        type=parse_name,
        default="optimal",
        help="optimal (default), cpu_serial, cpu_parallel_first, pim_first, greedy, paper_dp, "
        "one of a plug-in (`pimloop policies`), or all for a table",
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
        type=positive_seconds,
        default=60.0,
        metavar="S",
        help="bound in seconds on integer programming and on the makespan search (default 60)",
    )
    _add_json(parser)
    parser.add_argument(
        "-o", "--output", type=parse_path, help="write the plan (pimloop-plan/1) here"
    )
    parser.set_defaults(func=run_partition)


@idle(*PARTITION)
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
            }
        )
        return 0
    over_name = "over optimal" if best.optimal else f"over best found (gap {percent(best.gap)})"
    entries = any(plan.entry_us for plan in plans.values())
    kinds = ("total", "compute", "transfer", *(["entry"] if entries else []))
    columns = [*texts("policy"), *numbers(*kinds, over_name)]
    rows, notes = [], []
    for name, plan in plans.items():
        over = plan.total_us / best.total_us - 1 if best.total_us else 0.0
        shown = _shown(plan)
        notes.append((shown, plan.method if name == "optimal" else _without_first(name, costs)))
        notes.append((shown, _limit_text(plan)))
        if plan.overfull:
            notes.append((shown, f"over capacity: {_bytes_text(plan)}"))
        times = [f"{us:.3f}" for us in (plan.total_us, plan.compute_us, plan.transfer_us)]
        if entries:
            times.append(f"{plan.entry_us:.3f}")
        rows.append((shown, *times, percent(over, 2, signed=True)))
    title = f"{args.costs}: {args.objective} objective, times in us"
    print_table(console(), columns, rows, title)
    out = _Lines()
    for name, note in notes:
        if note:
            out.print(f"{name}: {note}")
    for name, message in failures.items():
        out.print(f"{name}: no plan: {message}")
    _print_trust(out, costs)
    return 0


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
    out = _Lines()
    entry = f" + {plan.entry_us:.3f} entering segments" if plan.entry_us else ""
    name = _shown(plan)
    out.print(
        f"{name} ({plan.method}), {plan.objective} objective: {plan.total_us:.3f} us "
        f"= {plan.compute_us:.3f} compute + {plan.transfer_us:.3f} transfer{entry}"
        if plan.objective == "sequential"
        else f"{name} ({plan.method}), makespan: {plan.total_us:.3f} us "
        f"({plan.compute_us:.3f} us of compute and {plan.transfer_us:.3f} us of transfer{entry}"
        " overlap)"
    )
    if plan.optimal:
        out.print(f"proved optimal: lower bound {plan.lower_bound_us:.3f} us")
    else:
        ended = _limit_text(plan)
        text = f"lower bound {plan.lower_bound_us:.3f} us (gap {percent(plan.gap, 2)})"
        out.print(f"{text}; {ended}" if ended else text)
    counts: dict[str, int] = {}
    for device in plan.assignment.values():
        counts[pair_of(device)] = counts.get(pair_of(device), 0) + 1
    listed = [device for names in costs.graph.memories.values() for device in names]
    listed += [pair for pair in counts if pair not in listed]
    out.print("operators: " + ", ".join(f"{device} {counts.get(device, 0)}" for device in listed))
    if plan.overfull:
        out.print(f"warning: weights exceed the capacity: {_bytes_text(plan)}")
    _print_trust(out, costs)


def _print_trust(out: _Lines, costs: CostGraph) -> None:
    if costs.cpu_times_disturbed:
        out.print(f"{NOT_TRUSTED} when the costs were measured")


def _limit_text(plan: Plan) -> str:
    """Return that the time limit ended the search, "" where it did not."""
    if not plan.limit_reached:
        return ""
    return f"the time limit of {plan.proof['time_limit_s']:g} s ended the search"


class _Lines:
    """Print lines as they are: no wrapping, and no markup in names that hold brackets."""

    def __init__(self) -> None:
        self._console = console()

    def print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


def _bytes_text(plan: Plan) -> str:
    return ", ".join(
        f"{memory} holds {quantity(size, 'byte')}" for memory, size in plan.overfull.items()
    )


def _write_plan(path: Path | None, plan: Plan) -> None:
    if path is not None:
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


def _register_profile_plan(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "profile-plan",
        help="plan the fewest runs that measure every operator and transfer",
        description="Plan the fewest profile runs that measure every operator on every device "
        "and every transfer, and prove their number.",
    )
    _add_costs(parser)
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
    parser.add_argument(
        "--time-limit",
        type=positive_seconds,
        default=60.0,
        metavar="S",
        help="bound in seconds on each question to the exact solver (default 60)",
    )
    _add_json(parser)
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
    from pimloop.partitioner.profile.plan import plan_profile

    costs = load_costs(args.costs)
    plan = plan_profile(costs.graph, args.mode, args.group, args.time_limit)
    if args.json:
        emit_json(plan.to_dict())
        return 0
    out = _Lines()
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


def _register_dcg(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "dcg",
        help="count the device-mapped computational graph",
        description="Count operators, edges, device-mapped nodes and edges, and DA edges.",
    )
    _add_costs(parser)
    _add_json(parser)
    parser.set_defaults(func=run_dcg)


def run_dcg(args: argparse.Namespace) -> int:
    """Run `pimloop dcg`."""
    from pimloop.partitioner.dcg import count_dcg

    counts = count_dcg(load_costs(args.costs).graph)
    if args.json:
        emit_json(
            {
                "cg_nodes": counts.cg_nodes,
                "cg_edges": counts.cg_edges,
                "dcg_nodes": counts.dcg_nodes,
                "dcg_edges": counts.dcg_edges,
                "dcg_edges_same_device": counts.dcg_edges_same_device,
                "da_edges": len(counts.da_edges),
                "da_edge_list": [vars(edge) for edge in counts.da_edges],
                "io_da_edges": len(counts.io_da_edges),
                "pim_capable": counts.offload_capable,
            }
        )
        return 0
    out = _Lines()
    out.print(f"|Vc| operators                        {counts.cg_nodes}")
    out.print(f"|Ec| pairs of operators               {counts.cg_edges}")
    out.print(f"|Vd| operators on devices             {counts.dcg_nodes}")
    out.print(f"|Ed| tensors between two devices      {counts.dcg_edges}")
    out.print(f"     the same within one device       {counts.dcg_edges_same_device}")
    out.print(f"PIM-capable operators                 {counts.offload_capable}")
    out.print(f"DA edges (transfers that differ)      {len(counts.da_edges)}")
    for edge in counts.da_edges[:LISTED]:
        size = (
            quantity(edge.bytes, "byte") if edge.bytes is not None else f"tensor {edge.tensors[0]}"
        )
        kind = f" {edge.type}" if edge.type else ""
        out.print(
            f"  {edge.source}>{edge.destination} {size}{kind}:"
            f" {quantity(len(edge.tensors), 'tensor')}"
        )
    if len(counts.da_edges) > LISTED:
        out.print("  ... (all of them with --json)")
    return 0


def _register_import_ort(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "import-ort",
        help="make a cost graph from ONNX Runtime profiling traces",
        description="Make a cost graph from ONNX Runtime profiling traces that name the "
        "neighbours of each node (input_nodes, output_nodes).",
    )
    for option, text in (
        ("--cpu-serial", "every operator on one CPU thread; the graph is read from it"),
        ("--cpu-parallel", "every operator on all CPU cores"),
        ("--pim", "every PIM-capable operator on PIM"),
    ):
        parser.add_argument(
            option, type=parse_path, required=True, metavar="FILE", help=f"trace: {text}"
        )
    parser.add_argument(
        "--edge",
        type=parse_path,
        metavar="FILE",
        help="trace: many transfers (default: those of --pim)",
    )
    parser.add_argument(
        "--statistic",
        choices=("min", "median"),
        default="min",
        help="of the repetitions of one measurement (default min)",
    )
    parser.add_argument(
        "-o", "--output", type=parse_path, required=True, help="cost graph (pimloop-costs) to write"
    )
    _add_json(parser)
    parser.set_defaults(func=run_import_ort)


def run_import_ort(args: argparse.Namespace) -> int:
    """Run `pimloop import-ort`."""
    from pimloop.partitioner.ort_trace import import_ort

    costs = import_ort(args.cpu_serial, args.cpu_parallel, args.pim, args.edge, args.statistic)
    write_json(args.output, costs_to_dict(costs))
    on_pim = sum("pim" in by_device for by_device in costs.cost_us.values())
    summary = {
        "output": str(args.output),
        "nodes": len(costs.graph.operators),
        "tensors": len(costs.graph.tensors),
        "pim_capable": on_pim,
    }
    if args.json:
        emit_json(summary)
    else:
        _Lines().print(
            f"{args.output}: {quantity(len(costs.graph.operators), 'operator')} ({on_pim} on PIM),"
            f" {quantity(len(costs.graph.tensors), 'tensor')}"
        )
    return 0


def _add_costs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--costs", type=parse_path, required=True, metavar="FILE", help="cost graph (pimloop-costs)"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object and no more")
