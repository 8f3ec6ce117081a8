"""Every command of `pimloop`: its name, its module and what `pimloop --help` says of it.

The modules are imported when a command is asked for: some need a second for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command of `pimloop`."""

    module: str  # of this package; its `register` adds the command's parser
    help: str


#: The commands in the order `pimloop --help` lists them.
COMMANDS: Mapping[str, Command] = {
    "doctor": Command("doctor", "name the tools found and how to mend what is missing"),
    "gemm": Command("kernels", "multiply random (P,Q) and (Q,R) on the device"),
    "elementwise": Command("kernels", "an element-wise operation of random operands on the device"),
    "selftest": Command(
        "selftest", "check a device: registers, memories, every opcode, errors, interrupt, reset"
    ),
    "sim": Command("sim", "profile, partition, execute and check a model on the simulated device"),
    "run": Command("run", "execute a model under a plan or a policy"),
    "profile": Command("profile", "measure every operator on every device, in the fewest runs"),
    "sweep": Command("sweep", "run a grid of models, lengths, platforms and settings"),
    "report": Command("report", "draw the page, trace and plots of a run, or of a sweep, again"),
    "schema": Command("schema", "print the JSON Schema of a file's format"),
    "waves": Command("waves", "record waveforms of one operator"),
    "models": Command("models", "list the built-in models, or show what one consists of"),
    "quantize": Command(
        "quantize", "state what weights of 8 or 4 bits change in a model's results"
    ),
    "platforms": Command(
        "platforms", "list the platforms, or show one with the source of every number"
    ),
    "policies": Command("policies", "list the partition policies"),
    "partition": Command("partition", "find the fastest assignment of operators to devices"),
    "profile-plan": Command(
        "profile_plan", "plan the fewest runs that measure every operator and transfer"
    ),
    "dcg": Command("dcg", "count the device-mapped computational graph"),
    "import-ort": Command("import_ort", "make a cost graph from ONNX Runtime profiling traces"),
    "calibrate": Command("calibrate", "fit a platform's CPU model to measured times"),
    "validate-board": Command(
        "validate_board", "compare the simulated platform with the paper's board"
    ),
    "bench": Command("bench", "measure the simulator's speed"),
}


def add_command(subparsers: Any, name: str, **further: Any) -> argparse.ArgumentParser:
    """Add the parser of a command; `further` is given to it."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=COMMANDS[name].help, **further
    )
    return parser
