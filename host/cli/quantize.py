"""`pimloop quantize`: what weights of 8 or 4 bits change in a model's results."""

from __future__ import annotations

import argparse
from statistics import median
from typing import TYPE_CHECKING, Any

from pimloop.host.cli.arguments import WEIGHTS, idle, parse_count
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import (
    add_model,
    add_model_options,
    add_option,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import load_options, model_inputs
from pimloop.host.common.idle import Idle
from pimloop.host.models.idle import LOADING
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pimloop.host.pipeline.quantization import ProductError, StepError

#: Products that the table shows, those that are off by most.
_ROWS = 12


def register(subparsers: Any) -> None:
    """Add `quantize` to `subparsers`."""
    parser = add_command(
        subparsers,
        "quantize",
        description=(
            "State the errors of weights of 8 or 4 bits, computed on the CPU: of every product on"
            " its float32 operands in the device's arithmetic and, with --steps, of the next"
            " token in float32, step by step on the same tokens."
        ),
    )
    add_model(parser)
    parser.add_argument(
        "--weights", required=True, dest="quantize", choices=WEIGHTS,
        help="w8: 8 bits with a scale a column; w4: 4 bits in groups of 128",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=parse_count, metavar="N", help="of a decoder: compare N tokens"
    )
    add_model_options(parser, quantize=False)
    add_option(parser, "--json")
    add_option(parser, "--quiet", help="no tables")
    parser.set_defaults(func=run_quantize)


@idle(
    *LOADING,
    Idle(
        {"shape": [], "axis": [], "inputs": None, "batch": None, "keep_fused": False,
         "im2col": False},
        "--steps compares one sequence of a model that is built here, with random tokens",
        lambda values: values["steps"] is not None,
    ),
)  # fmt: skip
def run_quantize(args: argparse.Namespace) -> int:
    """Run `pimloop quantize`."""
    from dataclasses import replace

    from pimloop.host.models.generator import load_generator, quantized_generator
    from pimloop.host.models.inputs import random_inputs
    from pimloop.host.models.quantize.products import Quantizer
    from pimloop.host.pipeline.quantization import product_errors, step_errors
    from pimloop.host.plugins.registry import load_model

    options = load_options(args)
    plain = replace(options, quantize=None)
    steps: list[StepError] = []
    if args.steps is not None:
        generator = load_generator(args.model, args.steps, plain)
        quantized = quantized_generator(generator, Quantizer.of(args.quantize))
        prompt = random_inputs(generator.prefill, args.seed)["input_ids"]
        products = list(product_errors(generator.prefill, quantized.prefill, {"input_ids": prompt}))
        steps = list(step_errors(generator, quantized, prompt))
    else:
        graph, integers = load_model(args.model, plain), load_model(args.model, options)
        products = list(product_errors(graph, integers, model_inputs(args, graph)))
    if args.json:
        emit_json(_report(args, products, steps))
    elif not args.quiet:
        _print(console(), args, products, steps)
    return 0


def _report(
    args: argparse.Namespace, products: Sequence[ProductError], steps: Sequence[StepError]
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "model": args.model,
        "weights": args.quantize,
        "products": [product.to_json() for product in products],
        "steps": [step.to_json() for step in steps],
    }
    if steps:
        report["top1_agreement"] = sum(step.agrees for step in steps) / len(steps)
        report["divergence_mean"] = sum(step.divergence for step in steps) / len(steps)
        report["divergence_max"] = max(step.divergence for step in steps)
    return report


def _print(
    out: Console,
    args: argparse.Namespace,
    products: Sequence[ProductError],
    steps: Sequence[StepError],
) -> None:
    from pimloop.host.cli.tables import numbers, print_table, texts
    from pimloop.host.models.quantize.weights import KINDS

    worst = sorted(products, key=lambda product: -product.result_error)[:_ROWS]
    rows = [
        (
            product.node,
            f"({product.inner},{product.columns})",
            "-" if product.weight_error is None else percent(product.weight_error, 2),
            percent(product.result_error, 2),
        )
        for product in worst
    ]
    title = f"{args.model}, {KINDS[args.quantize].words}: relative L2 error against float32"
    columns = [*texts("product", "weights"), *numbers("error of weights", "error of result")]
    print_table(out, columns, rows, title)
    errors = [product.result_error for product in products]
    nbytes = sum(product.bytes for product in products)
    out.print(
        f"{quantity(len(products), 'product')}, {nbytes / 1e6:,.1f} MB of integers and scales (a"
        " shared matrix counted each time); error of a result: median"
        f" {percent(median(errors), 2)}, largest {percent(max(errors), 2)}; activations"
        " bfloat16, computed by the golden model",
        soft_wrap=True,
    )
    if steps:
        agreeing = sum(step.agrees for step in steps)
        divergences = [step.divergence for step in steps]
        out.print(
            f"next token: {agreeing} of {quantity(len(steps), 'step')} agree with float32;"
            f" Kullback-Leibler divergence mean {sum(divergences) / len(steps):.3g}, largest"
            f" {max(divergences):.3g} nats; both in float32 on the CPU, fed the same tokens",
            soft_wrap=True,
        )
