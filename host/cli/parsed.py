"""What commands make of parsed options: platform, model, inputs, and how a pipeline works."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pimloop.host.execution.options import Options
    from pimloop.host.models.decompose import Choice
    from pimloop.host.models.graph import Array, Graph
    from pimloop.host.models.loader import LoadOptions
    from pimloop.host.platforms.platform import Platform


def choose_lanes(args: argparse.Namespace) -> None:
    """Choose the lanes of a simulation that `--lanes` does not; a report then names them."""
    from pimloop.sim.device.lanes import default_flavour

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
        quantize=args.quantize,
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


#: Flags of a command that decide its result.
_FLAGS = ("other_shapes", "keep_fused", "im2col")

#: Options of a command that decide its result, in the order they are repeated in.
_REPEATED = ("plan", "policy", "seq", "seed", "platform", "objective", "shares", "device",
             "flavour", "jobs", "inputs", "batch", "quantize", "generate")  # fmt: skip


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
