"""`pimloop sim`: a whole model on the simulated PIM device, checked number for number."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.cli.output import console, emit_json

if TYPE_CHECKING:
    from rich.console import Console

    from host.models.loader import LoadOptions
    from host.session import Result

EXIT_VERIFICATION_FAILED = 1

_OPERATOR_ROWS = 12

_TIMES = (
    ("PIM time", "pim_us"),
    ("CPU time", "cpu_us"),
    ("transfer time", "transfer_us"),
    ("total time", "executed_us"),
)


def register(subparsers: Any) -> None:
    """Add `sim` to `subparsers`."""
    parser = subparsers.add_parser(
        "sim",
        help="run a model with its PIM operators on the simulated device",
        description=(
            "Run a model with every PIM-capable operator on the simulated PIM device and the"
            " others natively on the CPU, check every PIM result bit for bit and the output"
            " against float32, and write report.json. Exit code 1: the check failed."
        ),
    )
    parser.add_argument(
        "model", help="a built-in model (`pimloop models`), a Hugging Face folder, an .onnx file"
    )
    add_model_options(parser)
    add_device_options(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of report.json (default: out/<model>-...)"
    )
    parser.add_argument("--json", action="store_true", help="print the report on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress, no tables")
    parser.set_defaults(func=run_sim)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a model is loaded."""
    parser.add_argument("--seq", type=int, metavar="N", help="tokens (default 16)")
    parser.add_argument(
        "--shape",
        type=parse_shape,
        action="append",
        default=[],
        metavar="INPUT=1,16",
        help="shape of an .onnx file's input with dynamic axes",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of random weights and inputs (default 0)"
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where a model or an operation runs."""
    parser.add_argument(
        "--platform",
        metavar="NAME",
        help="a platform (`pimloop platforms`) or a .toml file (default: htg-z920)",
    )
    parser.add_argument(
        "--device",
        choices=("sim", "model"),
        default="sim",
        help="the simulated RTL (default), or the functional model: same bits, no time",
    )
    parser.add_argument(
        "--flavour",
        choices=("native", "rtl"),
        default="native",
        help="arithmetic lanes of the simulation: compiled code (default) or RTL, same bits",
    )


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse `name=1,16`.

    >>> parse_shape("x=1,16")
    ('x', (1, 16))
    """
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form INPUT=1,16")
    return name, shape


def load_options(args: argparse.Namespace) -> LoadOptions:
    """Return what `add_model_options` parsed."""
    from host.models.loader import LoadOptions

    return LoadOptions(sequence_length=args.seq, seed=args.seed, shapes=dict(args.shape))


def run_sim(args: argparse.Namespace) -> int:
    """Run `pimloop sim`."""
    from host.cli.progress import ProgressDisplay
    from host.models.inputs import random_inputs
    from host.models.loader import load_model
    from host.platform import DEFAULT_PLATFORM, load_platform
    from host.policies import pim_first
    from host.report import build_report, make_folder, write_report
    from host.session import Settings, execute_model

    platform = load_platform(args.platform or DEFAULT_PLATFORM)
    graph = load_model(args.model, load_options(args))
    parts = [graph.name, graph.sequence_length, platform.name]
    folder = args.out or Path("out") / "-".join(str(part) for part in parts if part is not None)
    make_folder(folder)
    with ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress:
        result = execute_model(
            graph,
            random_inputs(graph, args.seed),
            pim_first(graph, platform.capabilities),
            platform,
            Settings(backend=args.device, flavour=args.flavour),
            progress,
        )
    report = build_report(result, "pim_first", repeat_command(args))
    path = write_report(report, folder)
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_report(console(), report, result)
        console().print(f"report: {path}", soft_wrap=True)
    return 0 if result.passed else EXIT_VERIFICATION_FAILED


def repeat_command(args: argparse.Namespace) -> list[str]:
    """Return the command that repeats a `sim` or `run`."""
    command = ["pimloop", args.command, args.model]
    for option in ("plan", "policy", "seq", "seed", "platform", "device", "flavour", "inputs"):
        value = getattr(args, option, None)
        if value is not None:
            command += [f"--{option}", str(value)]
    for name, shape in args.shape:
        command += ["--shape", f"{name}={','.join(str(size) for size in shape)}"]
    return command


def print_report(out: Console, report: dict[str, Any], result: Result) -> None:
    """Print the tables that end a run."""
    from rich.table import Table

    (schedule,) = report["schedules"].values()
    simulation = report["simulation"]
    tokens = report["sequence_length"]
    length = "" if tokens is None else f", {tokens} tokens"
    title = f"{report['model']}{length}, {report['platform']}"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    nodes = f"{schedule['pim_nodes']} of {schedule['nodes']}"
    table.add_row("operators on the PIM", nodes)
    moved = f"{schedule['transfers']} transfers, {schedule['transfer_bytes'] / 1024:,.0f} KiB"
    table.add_row("moved between CPU and PIM", moved)
    if schedule["executed_us"] is None:
        table.add_row("time", "none: the model device has no clock")
    else:
        for label, key in _TIMES:
            table.add_row(label, f"{schedule[key]:,.1f} us")
        table.add_row("simulated DRAM clocks", f"{simulation['cycles']:,}")
        speed = f"{simulation['cycles_per_s'] / 1e6:.2f} Mcycles/s for {simulation['wall_s']:.1f} s"
        table.add_row("simulation speed", speed)
    out.print(table)
    if schedule["executed_us"] is not None:
        out.print(_operator_table(report))
        source = f"CPU time: {report['cpu_time_source']} ({report['cpu_time_method']})"
        out.print(source, style="dim", soft_wrap=True)
        if report["cpu_times_disturbed"]:
            out.print("CPU times are not trusted: other work disturbed the rounds", style="yellow")
    _print_verification(out, report["verification"], result)


def _operator_table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="time by operator", title_justify="left")
    table.add_column("operator")
    table.add_column("device")
    table.add_column("count", justify="right")
    table.add_column("us", justify="right")
    rows = report["operators"]
    for row in rows[:_OPERATOR_ROWS]:
        table.add_row(row["op"], row["device"], str(row["count"]), f"{row['us']:,.1f}")
    rest = rows[_OPERATOR_ROWS:]
    if rest:
        count, us = sum(row["count"] for row in rest), sum(row["us"] for row in rest)
        table.add_row("others", "", str(count), f"{us:,.1f}")
    return table


def _print_verification(out: Console, verification: dict[str, Any], result: Result) -> None:
    exact = "yes" if verification["pim_bit_exact"] else "NO"
    checked = verification["pim_results_checked"]
    out.print(f"PIM bit exact: {exact} ({checked} results against the golden model)")
    for line in verification["pim_results_wrong"][:5]:
        out.print(f"  {line}", style="red", markup=False, soft_wrap=True)
    operators = verification["pim_operators_against_float32"]
    if operators is not None:
        worst = "not finite" if operators["worst"] is None else f"{operators['worst']:.2g}"
        out.print(
            f"PIM operators against float32 on the same operands: worst {worst}"
            f" (at most {operators['limit']:.2g}), {operators['node']}",
            soft_wrap=True,
        )
    for one in result.comparisons:
        bound = f" (at most {one.limit:.2g})"
        cosine = "" if one.min_cosine is None else f" (at least {one.min_cosine})"
        out.print(
            f"{one.tensor} against float32, {one.elements} elements:"
            f" max_abs_error {one.max_abs_error:.3g}, relative L2 {one.relative_l2:.3g}{bound},"
            f" cosine {one.cosine:.6f}{cosine}",
            soft_wrap=True,
        )
    passed = verification["passed"]
    out.print(
        f"verification: {'passed' if passed else 'FAILED'}", style="green" if passed else "bold red"
    )
