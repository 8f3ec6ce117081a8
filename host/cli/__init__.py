"""The `pimloop` command: one module of this package for each group of subcommands.

A command module has a function `register(subparsers)` that adds its subparsers and sets their
default `func`, a callable that takes the parsed arguments and returns the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from pimloop import __version__
from pimloop.host.cli.output import ArgumentParser, make_logging_printable
from pimloop.host.common.errors import PimloopError
from pimloop.host.common.text import printable
from pimloop.partitioner.errors import PartitionerError
from pimloop.sim.errors import SimError

#: Modules of this package that add subcommands, in the order `pimloop --help` lists them.
COMMAND_MODULES = (
    "doctor",
    "kernels",
    "sim",
    "run",
    "profile",
    "sweep",
    "report",
    "waves",
    "models",
    "platforms",
    "policies",
    "partition",
    "calibrate",
    "validate_board",
    "bench",
)

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class _Version(argparse.Action):
    """Prints the version; git is asked only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from pimloop.host.report.provenance import source

        commit = source()
        print(f"pimloop {__version__}" + (f" (commit {commit})" if commit is not None else ""))
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every subcommand registered."""
    parser = ArgumentParser(
        prog="pimloop",
        description="Hardware-in-the-loop co-simulation of a DRAM processing-in-memory device.",
    )
    parser.add_argument(
        "--version", action=_Version, help="print the version, and the commit of a git checkout"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMAND_MODULES:
        importlib.import_module(f"pimloop.host.cli.{name}").register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (2: an error the user can mend, 130: Ctrl-C)."""
    # A supervisor's SIGTERM unwinds like Ctrl-C, so that devices are closed and files removed.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    make_logging_printable()
    args = build_parser().parse_args(argv)
    try:
        return int(args.func(args))
    except (PimloopError, PartitionerError, SimError) as error:
        print(printable(f"pimloop {args.command}: {error}"), file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:
        # The reader of our output went away (`pimloop ... | head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"pimloop {args.command}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
