"""What every command prints with: one JSON object, or a rich console.

Nothing that a model or a file is called reaches the terminal as anything but characters:
`console`, `ArgumentParser` and what `make_logging_printable` sets pass through
`pimloop.host.common.text`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from pimloop.host.common.text import printable

if TYPE_CHECKING:
    from rich.console import Console

#: Lines of a long list that are printed without --json.
LISTED = 12

#: Width of a console whose stream is no terminal and nobody has set COLUMNS: a row is a line.
_UNBOUNDED = 100_000


def emit_json(value: Any) -> None:
    """Print `value` as the one JSON object on stdout (NaN and infinity are refused)."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def console(*, stderr: bool = False) -> Console:
    """Return a console that drops colours and its width when its stream is not a terminal."""
    from pimloop.host.cli.printable_console import PrintableConsole

    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    out = PrintableConsole(stderr=stderr, highlight=False, _environ=environment)
    width = _columns()
    if width is not None or not out.is_terminal:
        out.width = width or _UNBOUNDED
    return out


def _columns() -> int | None:
    """Return the width that COLUMNS asks for; None where it is unset or no width."""
    text = os.environ.get("COLUMNS", "").strip().lstrip("0")
    if not text.isascii() or not text.isdigit():
        return None
    return int(text) if len(text) < len(str(_UNBOUNDED)) else _UNBOUNDED


class ArgumentParser(argparse.ArgumentParser):
    """A parser whose messages, which repeat arguments, are printable."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)


def make_logging_printable() -> None:
    """Let warnings of libraries, which name files and operators, be printable on stderr."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_PrintableFormatter())


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class Lines:
    """Print lines as they are: no wrapping, and no markup in names that hold brackets."""

    def __init__(self) -> None:
        self._console = console()

    def print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)
