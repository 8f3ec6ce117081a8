"""`pimloop dcg`: the size of a device-mapped computational graph."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import LISTED, Lines, emit_json
from pimloop.partitioner.quantity import quantity


def register(subparsers: Any) -> None:
    """Add `dcg` to `subparsers`."""
    parser = add_command(
        subparsers,
        "dcg",
        description="Count operators, edges, device-mapped nodes and edges, and DA edges.",
    )
    add_option(parser, "--costs")
    add_option(parser, "--json")
    parser.set_defaults(func=run_dcg)


def run_dcg(args: argparse.Namespace) -> int:
    """Run `pimloop dcg`."""
    from pimloop.partitioner.costs import load_costs
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
    out = Lines()
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
