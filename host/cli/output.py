"""What every command prints with: one JSON object, or a rich console."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rich.console import Console

#: Width of a console whose stream is no terminal and nobody has set COLUMNS: a row is a line.
_UNBOUNDED = 100_000


def emit_json(value: Any) -> None:
    """Print `value` as the one JSON object on stdout (NaN and infinity are refused)."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def console(*, stderr: bool = False) -> Console:
    """Return a console that drops colours and its width when its stream is not a terminal."""
    out = Console(stderr=stderr, highlight=False)
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _UNBOUNDED
    return out
