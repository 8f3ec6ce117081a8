"""What every command prints with: one JSON object, or a rich console."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console


def emit_json(value: Any) -> None:
    """Print `value` as the one JSON object on stdout (NaN and infinity are refused)."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def console(*, stderr: bool = False) -> Console:
    """Return a console that drops colours when its stream is not a terminal."""
    return Console(stderr=stderr, highlight=False)
