"""The `pimloop` command: one module of this package for each group of subcommands.

A command module has a function `register(subparsers)` that adds its subparsers and sets their
default `func`, a callable that takes the parsed arguments and returns the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pimloop import __version__
from pimloop.errors import PimloopError
from pimloop.host.cli.interrupts import interruptible
from pimloop.host.cli.output import ArgumentParser, make_logging_printable
from pimloop.host.common.text import printable

#: Modules of this package that add subcommands, in the order `pimloop --help` lists them.
COMMAND_MODULES: Sequence[str] = (
    "doctor",
    "kernels",
    "sim",
    "run",
    "profile",
    "sweep",
    "report",
    "schema",
    "waves",
    "models",
    "platforms",
    "policies",
    "partition",
    "calibrate",
    "validate_board",
    "bench",
)

#: Modules that add commands of other names than theirs.
COMMANDS_OF = {
    "kernels": ("gemm", "elementwise"),
    "partition": ("partition", "profile-plan", "dcg", "import-ort"),
    "validate_board": ("validate-board",),
}

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


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser with every subcommand registered, or with those of the module of one.

    Some modules need a second to be imported, which no other command has to wait for.
    """
    parser = ArgumentParser(
        prog="pimloop",
        description="Hardware-in-the-loop co-simulation of a DRAM processing-in-memory device.",
    )
    parser.add_argument(
        "--version", action=_Version, help="print the version, and the commit of a git checkout"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = [name for name in COMMAND_MODULES if command in COMMANDS_OF.get(name, (name,))]
    for name in asked or COMMAND_MODULES:
        importlib.import_module(f"pimloop.host.cli.{name}").register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (2: an error the user can mend, 130: Ctrl-C)."""
    name = "pimloop"
    interruption = None
    try:
        with interruptible() as interruption:
            try:
                make_logging_printable()
                words = sys.argv[1:] if argv is None else argv
                args = build_parser(*words[:1]).parse_args(words)
                name = f"pimloop {args.command}"
                return int(args.func(args))
            finally:
                sys.stdout.flush()  # a full disk is told here, not when the interpreter ends
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or (interruption and interruption.seen):
            print(f"{name}: interrupted", file=sys.stderr)
            return EXIT_INTERRUPTED
        # An OSError: a full disk, a folder that is gone, a limit of the system.
        if isinstance(error, PimloopError | OSError):
            print(printable(f"{name}: {error}"), file=sys.stderr)
            return EXIT_ERROR
        raise
