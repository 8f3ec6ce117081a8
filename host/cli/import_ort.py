"""`pimloop import-ort`: a cost graph from ONNX Runtime's profiling traces."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.arguments import parse_path
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import Lines, emit_json
from pimloop.partitioner.quantity import quantity


def register(subparsers: Any) -> None:
    """Add `import-ort` to `subparsers`."""
    parser = add_command(
        subparsers,
        "import-ort",
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
    add_option(parser, "--output", required=True, help="cost graph (pimloop-costs) to write")
    add_option(parser, "--json")
    parser.set_defaults(func=run_import_ort)


def run_import_ort(args: argparse.Namespace) -> int:
    """Run `pimloop import-ort`."""
    from pimloop.host.common.files import write_json
    from pimloop.partitioner.costs import costs_to_dict
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
        Lines().print(
            f"{args.output}: {quantity(len(costs.graph.operators), 'operator')} ({on_pim} on PIM),"
            f" {quantity(len(costs.graph.tensors), 'tensor')}"
        )
    return 0
