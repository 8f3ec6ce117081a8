"""Options that several commands have: each is written once, with its type, help and default.

A command that takes several values of an option, as `sweep` does, has each of them parsed as the
one value of another command is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from pimloop.host.cli.arguments import (
    Several,
    parse_axis,
    parse_count,
    parse_lengths_of_axis,
    parse_name,
    parse_objective,
    parse_path,
    parse_seed,
    parse_setting,
    parse_shape,
    parse_weights,
    positive_seconds,
    whole_number,
)

#: What `add_argument` takes, by option.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # How a model is loaded
    "--seq": {"type": whole_number, "metavar": "N", "help": "tokens (default 16)"},
    "--shape": {
        "type": parse_shape,
        "action": "append",
        "default": [],
        "metavar": "INPUT=1,16",
        "help": "shape of an .onnx file's input with dynamic axes",
    },
    "--axis": {
        "type": parse_axis,
        "action": "append",
        "default": [],
        "metavar": "NAME=N",
        "help": "length of a named axis of an .onnx file's inputs, as past_sequence_length=8",
    },
    "--batch": {"type": parse_count, "metavar": "N", "help": "sequences at once (default 1)"},
    "--inputs": {
        "type": parse_path,
        "metavar": "FILE.npz",
        "help": "the model's inputs, whose shapes then decide (default: random)",
    },
    "--seed": {
        "type": parse_seed,
        "default": 0,
        "metavar": "N",
        "help": "of random weights and inputs (default 0)",
    },
    "--keep-fused": {
        "action": "store_true",
        "help": "keep fused operators of an .onnx file (attention, packed weights, ...) whole; by"
        " default they are decomposed, so that the PIM can take the products inside",
    },
    "--im2col": {
        "action": "store_true",
        "help": "also make products of convolutions that copy their input several times for it",
    },
    "--quantize": {
        "type": parse_weights,
        "metavar": "{none,w8,w4}",
        "help": "integer weights for products by constants: none (default), w8 (8 bits, a scale a"
        " column) or w4 (4 bits, groups of 128); rounded to nearest, or those of an .onnx file as"
        " they are. The PIM takes such products where device.rows_per_beat is at least 2 (w8) or"
        " 4 (w4)",
    },
    "--generate": {"type": parse_count, "metavar": "N"},
    # Where it runs
    "--platform": {
        "type": parse_name,
        "metavar": "NAME",
        "help": "a platform (`pimloop platforms`) or a .toml file (default: htg-z920)",
    },
    "--set": {
        "type": parse_setting,
        "action": "append",
        "default": [],
        "metavar": "KEY=VALUE",
        "help": "change a value of the platform, as pim.lanes=16 (`pimloop platforms show NAME`)",
    },
    "--device": {
        "choices": ("sim", "model"),
        "default": "sim",
        "help": "the simulated RTL (default), or the functional model: same bits, no time",
    },
    "--lanes": {
        "dest": "flavour",
        "choices": ("native", "rtl"),
        "help": "arithmetic lanes of the simulation: compiled code, or RTL, which is slower"
        " (default: compiled code, unless the lanes have changed since it was verified to give"
        " their bits)",
    },
    "--timeout": {
        "type": positive_seconds,
        "default": 600.0,
        "metavar": "S",
        "help": "bound of each wait for the device, its start included, seconds (default: 600)",
    },
    # How a pipeline and the solvers work
    "--objective": {
        "type": parse_objective,
        "choices": ("sequential", "makespan", "energy", "edp"),
        "default": "sequential",
        "help": "what plans make least: the sum of all times (default; or `time`), the end of a"
        " schedule where devices overlap, the energy, or energy times time (edp)",
    },
    "--energies": {
        "action": "store_true",
        "help": "energies beside the times, for `partition --objective energy` and `edp`",
    },
    "--policy": {"type": parse_name, "metavar": "NAME", "help": "a policy (`pimloop policies`)"},
    "--shares": {
        "type": parse_count,
        "metavar": "N",
        "help": "steps in which a product's columns are shared between CPU and PIM (default 16,"
        " where the platform models its times; 1: no product is split)",
    },
    "--jobs": {
        "type": parse_count,
        "metavar": "N",
        "help": "simulators side by side (default: one a core)",
    },
    "--fresh": {
        "action": "store_true",
        "help": "profile anew: replace stored costs, leave out what an interrupted run left",
    },
    "--no-cache": {
        "action": "store_true",
        "help": "simulate everything, also descriptor lists simulated before",
    },
    "--time-limit": {
        "type": positive_seconds,
        "default": 60.0,
        "metavar": "S",
        "help": "bound in seconds on each call of an exact solver (default 60)",
    },
    # What goes in and out
    "--output": {"type": parse_path, "metavar": "FILE"},
    "--out": {"type": parse_path, "metavar": "DIR"},
    "--no-plots": {
        "action": "store_true",
        "help": "leave the plots out, which take seconds (`pimloop report DIR` draws them later)",
    },
    "--costs": {
        "type": parse_path,
        "required": True,
        "metavar": "FILE",
        "help": "cost graph (pimloop-costs)",
    },
    "--why": {
        "type": parse_name,
        "metavar": "OPERATOR",
        "help": "say what the operator would cost elsewhere, and how far it is from changing place",
    },
    "--json": {"action": "store_true", "help": "print one JSON object on stdout, and no more"},
    "--quiet": {"action": "store_true", "help": "no progress, no tables"},
}

#: All names of an option that has several.
_NAMES = {"--lanes": ("--lanes", "--flavour"), "--output": ("-o", "--output")}

_MODEL = (
    "a built-in model (`pimloop models`), a Hugging Face folder, its config.json alone (random"
    " weights), an .onnx file"
)

#: How several values of an option are written: the parser of all, from that of one.
_SEVERAL: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "--seq": (Several(whole_number), "N,N"),
    "--axis": (parse_lengths_of_axis, "NAME=N,N"),
    "--batch": (Several(parse_count), "N,N"),
    "--quantize": (Several(parse_weights), "A,B"),
    "--platform": (Several(parse_name), "A,B"),
    "--set": (parse_setting, "KEY=A,B"),  # a value may have commas: `sweep` splits them
}


def add_option(parser: argparse._ActionsContainer, option: str, **changes: Any) -> None:
    """Add an option; `changes` take the place of what `add_argument` is given."""
    parser.add_argument(*_NAMES.get(option, (option,)), **{**OPTIONS[option], **changes})


def add_options(parser: argparse.ArgumentParser, *options: str) -> None:
    """Add options as every command has them."""
    for option in options:
        add_option(parser, option)


def add_several(parser: argparse.ArgumentParser, option: str, help: str) -> None:
    """Add an option that takes several values."""
    if option in _SEVERAL:
        parse, metavar = _SEVERAL[option]
        add_option(parser, option, type=parse, metavar=metavar, help=help)
    else:
        add_option(parser, option, action="append", default=[], help=help)


def add_model(parser: argparse.ArgumentParser, **changes: Any) -> None:
    """Add the operand that names a model."""
    parser.add_argument("model", **{"type": parse_name, "help": _MODEL, **changes})


def add_model_options(parser: argparse.ArgumentParser, *, quantize: bool = True) -> None:
    """Add what says how a model is loaded, `--quantize` where the command has nothing like it."""
    add_options(parser, "--seq", "--shape", "--axis", "--batch", "--inputs", "--seed")
    if quantize:
        add_option(parser, "--quantize")
    add_form_options(parser)


def add_form_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which operators of an .onnx file become primitives."""
    add_options(parser, "--keep-fused", "--im2col")


def add_device_options(parser: argparse.ArgumentParser, *, board: bool = False) -> None:
    """Add what says where a model or an operation runs; with `board`, also on a board."""
    add_options(parser, "--platform", "--set")
    if board:
        device = OPTIONS["--device"]
        choices = (*device["choices"], "board")
        text = f"{device['help']}; or the board that this runs on (docs/board-bring-up.md)"
        add_option(parser, "--device", choices=choices, help=text)
    else:
        add_option(parser, "--device")
    add_option(parser, "--lanes")


def add_pipeline_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a pipeline works."""
    add_options(parser, "--objective", "--shares", "--jobs", "--fresh", "--no-cache")


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how much is printed."""
    add_option(parser, "--json", help="print the report on stdout, and no more")
    add_options(parser, "--quiet")
