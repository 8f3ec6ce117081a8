"""`pimloop sim`: a model through the whole pipeline on the simulated PIM device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimloop.host.cli.arguments import (
    idle,
    parse_count,
    parse_name,
    parse_path,
    parse_seed,
    whole_number,
)
from pimloop.host.cli.output import console, emit_json
from pimloop.host.common.idle import Idle, Values
from pimloop.host.execution.idle import PIPELINE_ON_MODEL, on_model
from pimloop.host.models.idle import LOADING
from pimloop.host.planning.idle import executed_anyway
from pimloop.sim.device.lanes import default_flavour

if TYPE_CHECKING:
    from pimloop.host.execution.options import Options
    from pimloop.host.models.decompose import Choice
    from pimloop.host.models.graph import Array, Graph
    from pimloop.host.models.loader import LoadOptions
    from pimloop.host.platforms.platform import Platform

EXIT_VERIFICATION_FAILED = 1


def register(subparsers: Any) -> None:
    """Add `sim` to `subparsers`."""
    parser = subparsers.add_parser(
        "sim",
        help="profile, partition, execute and check a model on the simulated device",
        description=(
            "Profile a model in the fewest runs, find the fastest placement of its operators,"
            " execute it and the baselines with PIM operators on the simulated device and the"
            " others natively, check every PIM result bit for bit and the outputs against float32,"
            " and write report.json, report.html, trace.json and plots. An interrupted run goes on"
            " where it stopped. Exit code 1: a check failed."
        ),
    )
    parser.add_argument(
        "model",
        type=parse_name,
        help="a built-in model (`pimloop models`), a Hugging Face folder, an .onnx file",
    )
    add_model_options(parser)
    add_device_options(parser)
    add_pipeline_options(parser)
    parser.add_argument(
        "--out",
        type=parse_path,
        metavar="DIR",
        help="folder of the results (default: out/<model>-...)",
    )
    parser.add_argument(
        "--policy",
        type=parse_name,
        action="append",
        default=[],
        metavar="NAME",
        help="execute this policy too: coexec where it is not by default, a plug-in's (`pimloop"
        " policies`)",
    )
    parser.add_argument(
        "--generate",
        type=parse_count,
        metavar="N",
        help="of gpt2: generate N tokens, each step on the device under its phase's plan (of"
        " --policy; default: coexec, or optimal where no product can be split)",
    )
    add_output_options(parser)
    parser.set_defaults(func=run_sim)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a model is loaded."""
    parser.add_argument("--seq", type=whole_number, metavar="N", help="tokens (default 16)")
    parser.add_argument(
        "--shape",
        type=parse_shape,
        action="append",
        default=[],
        metavar="INPUT=1,16",
        help="shape of an .onnx file's input with dynamic axes",
    )
    parser.add_argument(
        "--axis",
        type=parse_axis,
        action="append",
        default=[],
        metavar="NAME=N",
        help="length of a named axis of an .onnx file's inputs, as past_sequence_length=8",
    )
    parser.add_argument(
        "--batch", type=parse_count, metavar="N", help="sequences at once (default 1)"
    )
    parser.add_argument(
        "--inputs",
        type=parse_path,
        metavar="FILE.npz",
        help="the model's inputs, whose shapes then decide (default: random)",
    )
    parser.add_argument(
        "--seed",
        type=parse_seed,
        default=0,
        metavar="N",
        help="of random weights and inputs (default 0)",
    )
    add_form_options(parser)


def add_form_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which operators of an .onnx file become primitives."""
    parser.add_argument(
        "--keep-fused",
        action="store_true",
        help="keep fused operators of an .onnx file (attention, packed weights, ...) whole; by"
        " default they are decomposed, so that the PIM can take the products inside",
    )
    parser.add_argument(
        "--im2col",
        action="store_true",
        help="also make products of convolutions that copy their input several times for it",
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where a model or an operation runs."""
    parser.add_argument(
        "--platform",
        type=parse_name,
        metavar="NAME",
        help="a platform (`pimloop platforms`) or a .toml file (default: htg-z920)",
    )
    parser.add_argument(
        "--set",
        type=parse_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the platform, as pim.lanes=16 (`pimloop platforms show NAME`)",
    )
    parser.add_argument(
        "--device",
        choices=("sim", "model"),
        default="sim",
        help="the simulated RTL (default), or the functional model: same bits, no time",
    )
    parser.add_argument(
        "--lanes",
        "--flavour",
        dest="flavour",
        choices=("native", "rtl"),
        help="arithmetic lanes of the simulation: compiled code, or RTL, which is slower (default:"
        " compiled code, unless the lanes have changed since it was verified to give their bits)",
    )


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a pipeline works."""
    parser.add_argument(
        "--objective",
        choices=("sequential", "makespan"),
        default="sequential",
        help="sum of all times (default), or the end of a schedule where devices overlap",
    )
    add_shares_option(parser)
    parser.add_argument(
        "--jobs",
        type=parse_count,
        metavar="N",
        help="simulators side by side (default: one a core)",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="profile anew: replace stored costs, leave out what an interrupted run left",
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="simulate everything, also lists simulated before"
    )


def add_shares_option(parser: argparse.ArgumentParser) -> None:
    """Add what says in which shares products are split between CPU and PIM."""
    parser.add_argument(
        "--shares",
        type=parse_count,
        metavar="N",
        help="steps in which a product's columns are shared between CPU and PIM (default 16, where"
        " the platform models its times; 1: no product is split)",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how much is printed."""
    parser.add_argument("--json", action="store_true", help="print the report on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress, no tables")


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse `name=1,16`.

    >>> parse_shape("x=1,16")
    ('x', (1, 16))
    """
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(whole_number(size) for size in sizes.split(","))
    except argparse.ArgumentTypeError:
        shape = ()
    if not name or not shape:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form INPUT=1,16")
    return name, shape


def parse_axis(text: str) -> tuple[str, int]:
    """Parse `name=length`.

    >>> parse_axis("past_sequence_length=8")
    ('past_sequence_length', 8)
    """
    name, _, length = text.rpartition("=")
    try:
        return parse_name(name), whole_number(length)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form past_sequence_length=8"
        ) from error


def parse_setting(text: str) -> tuple[str, str]:
    """Parse `section.key=value`.

    >>> parse_setting("pim.lanes=16")
    ('pim.lanes', '16')
    """
    key, _, value = text.partition("=")
    section, _, name = key.partition(".")
    if not section or not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form pim.lanes=16")
    return key, value


def choose_lanes(args: argparse.Namespace) -> None:
    """Choose the lanes of a simulation that `--lanes` does not; a report then names them."""
    if args.device == "sim":
        args.flavour = args.flavour or default_flavour()


def pipeline_options(args: argparse.Namespace, **further: Any) -> Options:
    """Return what a command parsed of how a pipeline works.

    Parameters
    ----------
    further
        Fields of `Options` that are no options of the command.
    """
    from pimloop.host.common.machine import cores
    from pimloop.host.execution.options import Options

    parsed = {
        "objective": getattr(args, "objective", "sequential"),
        "backend": args.device,
        "jobs": getattr(args, "jobs", None) or cores(),
        "fresh": getattr(args, "fresh", False),
        "shares": getattr(args, "shares", None),
        "cache": not args.no_cache,
        "command": tuple(repeat_command(args)),
    }
    if args.flavour is not None:
        parsed["flavour"] = args.flavour
    return Options(**{**parsed, **further})


def load_options(args: argparse.Namespace) -> LoadOptions:
    """Return what `add_model_options` parsed."""
    from pimloop.host.models.loader import LoadOptions

    return LoadOptions(
        sequence_length=args.seq,
        seed=args.seed,
        shapes=dict(args.shape),
        axes=dict(args.axis),
        given=given_inputs(args) or {},
        batch=args.batch,
        decompose=form_choice(args),
    )


def form_choice(args: argparse.Namespace) -> Choice:
    """Return what `add_form_options` parsed."""
    from pimloop.host.models.decompose import Choice

    return Choice(keep_fused=args.keep_fused, im2col=args.im2col)


def given_inputs(args: argparse.Namespace) -> dict[str, Array] | None:
    """Return the values of `--inputs`, read once; None without the option."""
    from pimloop.host.models.inputs import read_arrays

    if args.inputs is None:
        return None
    if "values" not in args:
        args.values = read_arrays(args.inputs)
    values: dict[str, Array] = args.values
    return values


def model_inputs(args: argparse.Namespace, graph: Graph) -> dict[str, Array]:
    """Return the inputs of a command: those of `--inputs`, checked, or seeded random ones."""
    from pimloop.host.models import inputs

    return inputs.model_inputs(graph, given_inputs(args), args.seed, str(args.inputs))


def load(args: argparse.Namespace) -> tuple[Platform, Graph]:
    """Return the platform and the model of a command, those of plug-ins included."""
    from pimloop.host.platforms.platform import DEFAULT_PLATFORM, load_platform
    from pimloop.host.plugins.registry import load_model

    choose_lanes(args)
    platform = load_platform(args.platform or DEFAULT_PLATFORM, dict(args.set))
    return platform, load_model(args.model, load_options(args))


def _generates(values: Values) -> bool:
    return values["generate"] is not None


def _generates_whole(values: Values) -> bool:
    """Whether tokens are generated under a policy that splits no operator."""
    from pimloop.partitioner.place.solve import COEXEC

    whole = [name for name in values["policy"] if name != COEXEC]
    return _generates(values) and (bool(whole) or values["objective"] != "sequential")


@idle(
    *PIPELINE_ON_MODEL,
    *LOADING,
    Idle(
        {"policy": []},
        "it is for coexec and policies of plug-ins; every run executes the others",
        lambda values: not _generates(values) and executed_anyway(values, values["policy"]),
    ),
    Idle(
        {"keep_fused": False, "im2col": False},
        "--generate takes no .onnx file, and other models have no fused operators",
        _generates,
    ),
    Idle(
        {"shares": None},
        "--generate places by another policy than coexec",
        _generates_whole,
    ),
    Idle(
        {"fresh": False, "jobs": None},
        "the model device has no clock, so --generate profiles nothing on it",
        lambda values: _generates(values) and on_model(values),
    ),
)
def run_sim(args: argparse.Namespace) -> int:
    """Run `pimloop sim`."""
    if args.generate is not None:
        from pimloop.host.cli.generate import run_generate

        return run_generate(args)
    from pimloop.host.cli.progress import ProgressDisplay
    from pimloop.host.cli.summary import print_summary
    from pimloop.host.common.folders import check_inside, make_folder
    from pimloop.host.common.text import file_name
    from pimloop.host.pipeline.flow import Pipeline
    from pimloop.host.pipeline.state import FOLDER
    from pimloop.host.report.build import build_report
    from pimloop.host.report.publish import PLOTS, publish

    platform, graph = load(args)
    parts = [graph.name, graph.sequence_length, platform.name]
    name = "-".join(file_name(str(part)) for part in parts if part is not None)
    folder = args.out or Path("out") / name
    make_folder(folder)
    for inner in (PLOTS, FOLDER):
        check_inside(folder, inner)  # before the work, not after it
    options = pipeline_options(args, policies=tuple(args.policy), folder=folder)
    with (
        ProgressDisplay(console(stderr=True), quiet=args.quiet or args.json) as progress,
        Pipeline(graph, model_inputs(args, graph), platform, options, progress) as pipeline,
    ):
        outcome = pipeline.run()
    report = build_report(outcome)
    files = publish(report, graph, folder)
    if args.json:
        emit_json(report)
    elif not args.quiet:
        print_summary(console(), report, files)
    return 0 if outcome.passed else EXIT_VERIFICATION_FAILED


#: Flags of a command that decide its result.
_FLAGS = ("other_shapes", "keep_fused", "im2col")

#: Options of a command that decide its result, in the order they are repeated in.
_REPEATED = ("plan", "policy", "seq", "seed", "platform", "objective", "shares", "device",
             "flavour", "jobs", "inputs", "batch", "generate")  # fmt: skip


def repeat_command(args: argparse.Namespace) -> list[str]:
    """Return the command that repeats a `sim`, `profile` or `run`."""
    command = ["pimloop", args.command, args.model]
    for option in _REPEATED:
        value = getattr(args, option, None)
        for word in value if isinstance(value, list) else [value]:
            if word is not None:
                command += [f"--{option}", str(word)]
    command += [f"--{flag.replace('_', '-')}" for flag in _FLAGS if getattr(args, flag, False)]
    for key, value in args.set:
        command += ["--set", f"{key}={value}"]
    for name, shape in args.shape:
        command += ["--shape", f"{name}={','.join(str(size) for size in shape)}"]
    for name, length in args.axis:
        command += ["--axis", f"{name}={length}"]
    return command
