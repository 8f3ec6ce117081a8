"""Values of options: what is no number, no name or no path is said before any work begins."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pimloop.errors import PimloopError

#: The largest whole number that an option takes: what 64 bits with a sign hold.
LARGEST = 2**63 - 1

#: The longest time-out, in seconds: thirty years, which every clock and solver can hold.
LONGEST_SECONDS = 1e9


def whole_number(text: str, least: int = 0, most: int = LARGEST) -> int:
    """Parse decimal digits: no sign, no underscore, no digits of other scripts.

    >>> whole_number("16")
    16

    Raises
    ------
    argparse.ArgumentTypeError
        For anything else, and outside of `least`..`most`.
    """
    digits = text.isascii() and text.isdigit()
    # Python refuses to read thousands of digits.
    value = int(text) if digits and len(text.lstrip("0")) <= len(str(LARGEST)) else None
    if value is None or not least <= value <= most:
        too_large = digits and (value is None or value > most)
        bounded = too_large or most != LARGEST
        limit = f"from {least} to {most}" if bounded else f"of {least} or more"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {limit}")
    return value


def parse_seed(text: str) -> int:
    """Parse the seed of a random generator, 0 or more."""
    return whole_number(text)


def parse_count(text: str) -> int:
    """Parse a number of 1 or more."""
    return whole_number(text, 1)


def positive_seconds(text: str) -> float:
    """Parse a time-out: a number of seconds above 0."""
    try:
        seconds = float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive number of seconds, at most {LONGEST_SECONDS:.0f}"
        )
    return seconds


def parse_name(text: str) -> str:
    """Parse a name, which is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def parse_path(text: str) -> Path:
    """Parse a path, which is not empty: that would be the current folder."""
    return Path(parse_name(text))


def refuse(args: argparse.Namespace, useless: Mapping[str, Any], why: str) -> None:
    """Refuse options that would do nothing.

    Parameters
    ----------
    args
        What was parsed.
    useless
        Their names, as `no_cache`, and the value that each has when it is not given.
    why
        Why they do nothing.

    Raises
    ------
    PimloopError
        When one is given.
    """
    given = [name for name, unset in useless.items() if getattr(args, name, unset) != unset]
    if given:
        names = ", ".join(f"--{_SPELLING.get(name, name).replace('_', '-')}" for name in given)
        raise PimloopError(f"{names} would do nothing: {why}; leave it out")


#: Options whose value has another name.
_SPELLING: Mapping[str, str] = {"flavour": "lanes"}
