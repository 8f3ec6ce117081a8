"""The `pimloop` command: `commands.py` lists its commands, each with a module of this package.

A command module has a function `register(subparsers)` that adds its subparsers and sets their
default `func`, a callable that takes the parsed arguments and returns the exit code. It is imported
when its command is asked for: `pimloop --help` imports none of them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from pimloop import __version__
from pimloop.errors import PimloopError
from pimloop.host.cli.commands import COMMANDS, add_command
from pimloop.host.cli.exit_codes import ERROR, INTERRUPTED
from pimloop.host.cli.interrupts import interruptible
from pimloop.host.cli.output import ArgumentParser, make_logging_printable
from pimloop.host.common.text import printable


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
    """Return the parser with every command, or with those of the module of one."""
    parser, subparsers = _empty_parser()
    asked = COMMANDS[command].module if command is not None else None
    for module in dict.fromkeys(entry.module for entry in COMMANDS.values()):
        if asked in (None, module):
            importlib.import_module(f"pimloop.host.cli.{module}").register(subparsers)
    return parser


def _parser_for(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of a command line; it has the options of the command alone."""
    if words and words[0] in COMMANDS:
        return build_parser(words[0])
    parser, subparsers = _empty_parser()
    for name in COMMANDS:
        add_command(subparsers, name)
    return parser


def _empty_parser() -> tuple[argparse.ArgumentParser, Any]:
    """Return a parser without commands, and what takes them."""
    parser = ArgumentParser(
        prog="pimloop",
        description="Hardware-in-the-loop co-simulation of a DRAM processing-in-memory device.",
    )
    parser.add_argument(
        "--version", action=_Version, help="print the version, and the commit of a git checkout"
    )
    return parser, parser.add_subparsers(dest="command", metavar="COMMAND", required=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (2: an error the user can mend, 130: Ctrl-C)."""
    name = "pimloop"
    interruption = None
    try:
        with interruptible() as interruption:
            try:
                make_logging_printable()
                words = sys.argv[1:] if argv is None else argv
                args = _parser_for(words).parse_args(words)
                name = f"pimloop {args.command}"
                return int(args.func(args))
            finally:
                sys.stdout.flush()  # a full disk is told here, not when the interpreter ends
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or (interruption and interruption.seen):
            print(f"{name}: interrupted", file=sys.stderr)
            return INTERRUPTED
        # An OSError: a full disk, a folder that is gone, a limit of the system.
        if isinstance(error, PimloopError | OSError):
            print(printable(f"{name}: {error}"), file=sys.stderr)
            return ERROR
        raise
