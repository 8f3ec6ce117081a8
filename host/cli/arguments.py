"""Values of options: what is no number, no name or no path is said before any work begins."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from pimloop.host.common.idle import Rule, refuse_idle
from pimloop.host.common.numbers import LARGEST

#: Runs a command; returns its exit code.
Command = Callable[[argparse.Namespace], int]

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


#: Formats of integer weights.
WEIGHTS = ("w8", "w4")


def parse_weights(text: str) -> str | None:
    """Parse a format of weights; None: as they are stored.

    >>> parse_weights("w8"), parse_weights("none")
    ('w8', None)
    """
    if text not in ("none", *WEIGHTS):
        raise argparse.ArgumentTypeError(f"{text!r} is none of none, {', '.join(WEIGHTS)}")
    return None if text == "none" else text


def parse_objective(text: str) -> str:
    """Parse an objective: `time` is another name of the sum of all times."""
    return "sequential" if text == "time" else text


def parse_path(text: str) -> Path:
    """Parse a path, which is not empty: that would be the current folder."""
    return Path(parse_name(text))


class Several:
    """Parses several values with commas between, each as the one value of another command.

    >>> Several(parse_count)("8,16")
    [8, 16]
    """

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.parse = parse

    def __call__(self, text: str) -> list[Any]:
        """Return the values."""
        return [self.parse(part) for part in text.split(",")]


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse `name=1,16`.

    >>> parse_shape("x=1,16")
    ('x', (1, 16))
    """
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(whole_number(size) for size in sizes.split(","))
    except argparse.ArgumentTypeError:
        shape = ()
    if not name or not shape:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form INPUT=1,16")
    return name, shape


def parse_axis(text: str) -> tuple[str, int]:
    """Parse `name=length`.

    >>> parse_axis("past_sequence_length=8")
    ('past_sequence_length', 8)
    """
    name, _, length = text.rpartition("=")
    try:
        return parse_name(name), whole_number(length)
    except argparse.ArgumentTypeError as error:
        raise _no_axis(text) from error


def _no_axis(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{text!r} is not of the form past_sequence_length=8")


def parse_lengths_of_axis(text: str) -> tuple[str, list[int]]:
    """Parse `name=length,length`, each length as `parse_axis` does.

    >>> parse_lengths_of_axis("past=8,16")
    ('past', [8, 16])
    """
    name, _, lengths = text.rpartition("=")
    try:
        return name, [parse_axis(f"{name}={length}")[1] for length in lengths.split(",")]
    except argparse.ArgumentTypeError as error:
        raise _no_axis(text) from error


def parse_setting(text: str) -> tuple[str, str]:
    """Parse `section.key=value`.

    >>> parse_setting("pim.lanes=16")
    ('pim.lanes', '16')
    """
    key, _, value = text.partition("=")
    section, _, name = key.partition(".")
    if not section or not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form pim.lanes=16")
    return key, value


def idle(*table: Rule) -> Callable[[Command], Command]:
    """Let a command refuse what a table says does nothing or cannot be (`host/common/idle`)."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def checked(args: argparse.Namespace) -> int:
            refuse_idle(vars(args), table, spelt)
            return command(args)

        checked.idle = table  # type: ignore[attr-defined]
        return checked

    return decorate


def spelt(name: str) -> str:
    """Return what a user calls an option.

    >>> spelt("no_cache"), spelt("flavour")
    ('--no-cache', '--lanes')
    """
    return f"--{_SPELLING.get(name, name).replace('_', '-')}"


#: Options whose value has another name.
_SPELLING: Mapping[str, str] = {"flavour": "lanes"}
