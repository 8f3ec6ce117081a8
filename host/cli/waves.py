"""`pimloop waves`: the signals of the device while it runs one operator of a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.cli.arguments import idle, parse_name
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import (
    add_device_options,
    add_model,
    add_model_options,
    add_option,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import load, model_inputs
from pimloop.host.common.text import file_name
from pimloop.host.execution.idle import ON_MODEL
from pimloop.host.models.idle import LOADING

_NAMES_SHOWN = 8


def register(subparsers: Any) -> None:
    """Add `waves` to `subparsers`."""
    parser = add_command(
        subparsers,
        "waves",
        description=(
            "Run one operator of a model on the simulated device and record every signal meanwhile"
            " to an FST file (GTKWave, Surfer). The operands are those of the model, computed in"
            " float32 up to the operator."
        ),
    )
    add_model(parser)
    add_model_options(parser)
    add_device_options(parser)
    parser.add_argument(
        "--node", type=parse_name, required=True, metavar="NAME", help="the operator's name"
    )
    add_option(parser, "--output", metavar="FILE.fst", help="where to (default: <node>.fst)")
    add_option(parser, "--json")
    parser.set_defaults(func=run_waves)


@idle(*ON_MODEL, *LOADING)
def run_waves(args: argparse.Namespace) -> int:
    """Run `pimloop waves`."""
    from pimloop.host.cli.progress import build_notes
    from pimloop.host.common.files import require_writable
    from pimloop.host.pim.fit import pim_fit
    from pimloop.host.pipeline.waves import record_operator
    from pimloop.sim.device.lanes import lanes_text

    if args.device != "sim":
        raise PimloopError("the model device has no signals: record waves with --device sim")
    platform, graph = load(args)
    fit = pim_fit(graph, platform)
    operations = fit.operations
    if args.node not in {node.id for node in graph.nodes}:
        raise PimloopError(
            f"model {graph.name} has no operator '{args.node}'; some that the PIM runs:"
            f" {', '.join(list(operations)[:_NAMES_SHOWN])}"
        )
    if args.node not in operations:
        why = f": {fit.kept_on_cpu[args.node]}" if args.node in fit.kept_on_cpu else ""
        raise PimloopError(
            f"operator '{args.node}' ({graph.node(args.node).op}) does not run on the PIM of"
            f" {platform.name}{why}; some that do: {', '.join(list(operations)[:_NAMES_SHOWN])}"
        )
    output = args.output or Path(f"{file_name(args.node)}.fst")
    require_writable(output)
    with build_notes(console(stderr=True), quiet=args.json):
        cycles = record_operator(
            graph, model_inputs(args, graph), platform, args.node, output, args.flavour
        )
    lanes = lanes_text(args.flavour)
    result = {"node": args.node, "cycles": cycles, "lanes": lanes, "output": str(output)}
    if args.json:
        emit_json(result)
    else:
        console().print(
            f"{output}: {cycles:,} DRAM clocks of {args.node}; lanes: {lanes}",
            markup=False,
            soft_wrap=True,
        )
    return 0
