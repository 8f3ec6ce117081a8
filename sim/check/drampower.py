"""A command trace as DRAMPower reads it: CSV, `timestamp,CMD,rank,bankgroup,bank,row,column`.

DRAMPower (Kaiserslautern; github.com/tukl-msd/DRAMPower) computes the energy of such a file from a
table of currents. Its command line wants the data of RD and WR in an eighth column; a trace has
none, so it is zeros: energies of the banks are right, those of toggling data lines are not.

    python -m pimloop.sim.check.drampower TRACE --platform htg-z920 > trace.csv

`pimloop gemm .. --command-trace FILE --command-trace-format drampower` writes it at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pimloop.sim.check.command_trace import Command, read_commands
from pimloop.sim.check.protocol import Channel
from pimloop.sim.errors import SimError

#: DRAMPower's names of commands that reach every bank.
_WHOLE = {"PRE": "PREA", "REF": "REFA", "SRE": "SREFEN", "SRX": "SREFEX"}


def drampower_lines(lines: Iterable[str], channel: Channel) -> Iterator[str]:
    """Yield the lines of DRAMPower's file; the last one is END, at the last command's clock.

    Commands of all banks at once that DRAMPower does not have (ACT, RD, WR of an all_bank device)
    are a command for each bank, in the same clock. A reset closes the banks that are open; the
    device is in self-refresh from then until it is woken.

    Parameters
    ----------
    lines
        A command trace (`pimloop.sim.check.command_trace`).
    channel
        Of the platform that it was made on.

    Raises
    ------
    TraceError
        A line is not a command.
    """
    data = "00" * channel.atom_bytes
    opened: set[int] = set()
    asleep, clock = False, 0
    for command in read_commands(lines):
        clock = command.clock
        if command.name == "RES":
            if opened:
                yield _line(clock, "PREA")
                opened.clear()
            if not asleep:
                yield _line(clock, "SREFEN")
            asleep = True
            continue
        asleep = command.name == "SRE" or (asleep and command.name != "SRX")
        banks = _banks(command, channel)
        if command.name == "ACT":
            opened.update(banks)
        elif command.name == "PRE":
            opened.difference_update(banks)
        if command.bank is None and command.name in _WHOLE:
            yield _line(clock, _WHOLE[command.name])
            continue
        ends = f",{data}" if command.name in ("RD", "WR") else ""
        for bank in banks:
            group = bank % channel.bank_groups
            yield (
                f"{clock},{command.name},0,{group},{bank},{command.row or 0},"
                f"{command.column or 0}{ends}\n"
            )
    yield _line(clock, "END")


def _line(clock: int, name: str) -> str:
    return f"{clock},{name},0,0,0,0,0\n"


def _banks(command: Command, channel: Channel) -> Iterable[int]:
    return range(channel.banks) if command.bank is None else (command.bank,)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 2 when the trace or the platform cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m pimloop.sim.check.drampower", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", type=Path, metavar="TRACE", help="command trace of a simulation")
    parser.add_argument("--platform", required=True, metavar="NAME", help="a platform or .toml")
    args = parser.parse_args(argv)
    try:
        channel = Channel.of_platform(args.platform)
        with args.file.open(encoding="utf-8") as lines:
            sys.stdout.writelines(drampower_lines(lines, channel))
    except (OSError, SimError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
