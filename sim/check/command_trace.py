"""The command trace of a simulation: every DRAM command, one a line of text.

A run writes it with `SimConfig.command_trace` (the simulator's `+command_trace=FILE`), on every
build. A line is `clock command bank row column`: DRAM clocks since the start of the simulation,
one of `COMMANDS`, and the operands the command has (`-` for none, `all` for every bank). Lines of
two commands of one fabric clock come in the order of their clocks. `#` starts a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pimloop.sim.errors import SimError

#: ACT, PRE, RD, WR, REF; entry to and exit of self-refresh; reset (banks lose their state).
COMMANDS = ("ACT", "PRE", "RD", "WR", "REF", "SRE", "SRX", "RES")

#: Commands that name a bank, a row, a column.
_WITH_BANK = frozenset({"ACT", "PRE", "RD", "WR"})
_WITH_ROW = frozenset({"ACT", "RD", "WR"})
_WITH_COLUMN = frozenset({"RD", "WR"})


class TraceError(SimError):
    """A command trace cannot be read; the message has the line and what is wrong."""


@dataclass(frozen=True)
class Command:
    """One DRAM command."""

    clock: int  # DRAM clocks since the start of the simulation
    name: str  # one of COMMANDS
    bank: int | None  # None: all banks
    row: int | None
    column: int | None
    line: int  # in the file, from 1

    def __str__(self) -> str:
        bank = "all banks" if self.bank is None else f"bank {self.bank}"
        row = "" if self.row is None else f" row {self.row}"
        return f"{self.name} {bank}{row} at clock {self.clock} (line {self.line})"


def read_commands(lines: Iterable[str]) -> Iterator[Command]:
    """Yield the commands of a trace in order.

    >>> [str(command) for command in read_commands(["# made by hand", "48 ACT 3 17 -"])]
    ['ACT bank 3 row 17 at clock 48 (line 2)']

    Raises
    ------
    TraceError
        A line is not a command, or the clocks go back.
    """
    last = 0
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        words = line.split()
        try:
            clock, name, bank, row, column = words
            if name not in COMMANDS:
                raise ValueError(f"unknown command {name!r}")
            command = Command(
                clock=int(clock),
                name=name,
                bank=None if bank == "all" else _operand(bank, name in _WITH_BANK),
                row=_operand(row, name in _WITH_ROW),
                column=_operand(column, name in _WITH_COLUMN),
                line=number,
            )
        except ValueError as error:
            raise TraceError(
                f"line {number} of the command trace is not "
                f"'clock command bank row column': {line.rstrip()!r} ({error})"
            ) from None
        if command.clock < last:
            raise TraceError(f"line {number} of the command trace goes back to {command.clock}")
        last = command.clock
        yield command


def _operand(word: str, present: bool) -> int | None:
    if (word != "-") != present:
        raise ValueError("an operand too many" if word != "-" else "an operand is missing")
    return int(word) if present else None
