"""`pimloop models`: the models that are built in, and what a model consists of."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pimloop.errors import PimloopError
from pimloop.host.cli.arguments import idle
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_model, add_model_options, add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import load_options
from pimloop.host.cli.tables import numbers, print_table, prose, texts
from pimloop.host.common.idle import Idle
from pimloop.host.models.idle import has_own_loader
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

if TYPE_CHECKING:
    from rich.console import Console

    from pimloop.host.models.graph import Graph
    from pimloop.host.platforms.platform import Platform


#: Options about a model that is loaded, and what they are when they are not given.
_OF_A_MODEL: Mapping[str, Any] = {
    "seq": None, "shape": [], "axis": [], "batch": None, "inputs": None, "seed": 0,
    "keep_fused": False, "im2col": False, "quantize": None, "platform": None,
}  # fmt: skip


def register(subparsers: Any) -> None:
    """Add `models` to `subparsers`."""
    parser = add_command(
        subparsers,
        "models",
        description="List the built-in models; `models show MODEL` shows the graph of any model.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "show"), default="list")
    add_model(parser, nargs="?")
    add_model_options(parser)
    add_option(parser, "--platform", help="whose PIM operators to mark (default: htg-z920)")
    add_option(parser, "--json")
    parser.set_defaults(func=run_models)


@idle(
    Idle(
        _OF_A_MODEL,
        "the list has no model to load; `models show MODEL` takes it",
        lambda values: bool(values["action"] == "list" and values["model"] is None),
    ),
    Idle(
        {"seed": 0},
        "a model is shown without the values of its weights and inputs",
        lambda values: values["action"] == "show" and has_own_loader(values["model"]),
    ),
)
def run_models(args: argparse.Namespace) -> int:
    """Run `pimloop models`."""
    if args.action == "list":
        if args.model is not None:
            raise PimloopError(f"`models list` takes no model; try `models show {args.model}`")
        return _list(args)
    if args.model is None:
        raise PimloopError("which model? `pimloop models` lists the built-in ones")
    return _show(args)


def _list(args: argparse.Namespace) -> int:
    from pimloop.host.models.built_in import MODELS
    from pimloop.host.plugins import registry as plugins

    models = [
        {
            "name": name,
            "description": model.description,
            "layers": model.config.layers,
            "hidden": model.config.hidden,
            "max_sequence": model.config.max_sequence,
        }
        for name, model in MODELS.items()
    ]
    further = plugins.listed(plugins.MODELS)
    if args.json:
        rows = [{"name": name, "package": package} for name, package in further.items()]
        emit_json({"models": models, "plugins": rows})
        return 0
    cells = [
        (str(model["name"]), f"1..{model['max_sequence']}", str(model["description"]))
        for model in models
    ]
    cells += [(name, "", f"plug-in of package {package}") for name, package in further.items()]
    print_table(console(), [*texts("model", "sequence"), *prose("what")], cells)
    return 0


def _show(args: argparse.Namespace) -> int:
    from pimloop.host.platforms.platform import DEFAULT_PLATFORM, load_platform
    from pimloop.host.plugins.registry import load_model

    platform = load_platform(args.platform or DEFAULT_PLATFORM)
    graph = load_model(args.model, load_options(args))
    summary = summarize(graph, platform)
    if args.json:
        emit_json(summary)
    else:
        _print(summary)
    return 0


def summarize(graph: Graph, platform: Platform) -> dict[str, Any]:
    """Return what a graph consists of, and which operators `platform` can put on its PIM."""
    from pimloop.host.pim.fit import pim_fit
    from pimloop.host.planning.coverage import coverage
    from pimloop.host.planning.reasons import reasons

    fit = pim_fit(graph, platform)
    covered = coverage(graph, fit.operations)
    capable = fit.operations
    count = Counter(node.op for node in graph.nodes)
    on_pim = Counter(graph.node(identifier).op for identifier in capable)

    def describe(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "type": str(graph.tensors[name].dtype),
                "shape": list(graph.tensors[name].shape),
            }
            for name in names
        ]

    return {
        "model": graph.name,
        "sequence_length": graph.sequence_length,
        "platform": platform.name,
        "nodes": len(graph.nodes),
        "edges": len(graph.edges()),
        "pim_nodes": len(capable),
        "kept_on_cpu": dict(fit.kept_on_cpu),
        "decomposed": dict(graph.decomposed),
        "parameters": graph.parameters,
        "opsets": dict(graph.opsets),
        "inputs": describe(graph.inputs),
        "outputs": describe(graph.outputs),
        "operators": [
            {"op": op, "count": n, "pim": on_pim.get(op, 0)} for op, n in count.most_common()
        ],
        "multiply_adds": covered.total,
        "pim_multiply_adds": covered.on_pim,
        "cpu_only": [
            {
                "reason": group.reason,
                "count": group.count,
                "operators": dict(group.operators),
                "multiply_adds": group.multiply_adds,
            }
            for group in reasons(graph, capable, platform.capabilities, fit.kept_on_cpu)
        ],
    }


def _print(summary: dict[str, Any]) -> None:
    from pimloop.host.cli.summary import print_kept_on_cpu

    out = console()
    out.print(
        f"{summary['model']}: {quantity(summary['nodes'], 'operator')},"
        f" {quantity(summary['edges'], 'edge')}, {quantity(summary['pim_nodes'], 'operator')} can"
        f" run on the PIM of {summary['platform']},"
        f" {quantity(summary['parameters'], 'parameter', form=',')}",
        soft_wrap=True,
    )
    for kind in ("inputs", "outputs"):
        for tensor in summary[kind]:
            text = f"  {kind[:-1]} {tensor['name']}: {tensor['type']} {tensor['shape']}"
            out.print(text, markup=False, soft_wrap=True)
    if summary["decomposed"]:
        parts = ", ".join(f"{count} {op}" for op, count in summary["decomposed"].items())
        text = f"  decomposed into primitives: {parts} (--keep-fused keeps them whole)"
        out.print(text, markup=False, soft_wrap=True)
    rows = [(row["op"], str(row["count"]), str(row["pim"] or "")) for row in summary["operators"]]
    print_table(out, [*texts("operator"), *numbers("count", "on the PIM")], rows)
    _print_reasons(out, summary)
    print_kept_on_cpu(out, summary["kept_on_cpu"])


def _print_reasons(out: Console, summary: dict[str, Any]) -> None:
    """Print the share of multiply-adds that the PIM can take, and why not the rest."""
    total = summary["multiply_adds"]
    if total:
        share = percent(summary["pim_multiply_adds"] / total)
        text = (
            f"{quantity(total, 'multiply-add', form=',')} in products, {share} of them can run on"
            " the PIM"
        )
        out.print(text, soft_wrap=True)
    rows = [
        (
            group["reason"],
            ", ".join(f"{count} {op}" for op, count in group["operators"].items()),
            str(group["count"]),
            percent(group["multiply_adds"] / total) if group["multiply_adds"] else "",
        )
        for group in summary["cpu_only"]
    ]
    if rows:
        columns = [*prose("not on the PIM because", "operators"), *numbers("count", "mult.-adds")]
        print_table(out, columns, rows)
