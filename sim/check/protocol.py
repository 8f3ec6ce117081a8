"""Checks a DRAM command trace against a table of timing rules, and says how tight it was.

    python -m pimloop.sim.check.protocol FILE --platform htg-z920 [--json]

Nothing here comes from the RTL: the rules are a table of (previous command, next command, scope,
delay), with tFAW, the refresh budget and the states of the banks beside it (JESD79-4 for DDR4), and
the numbers come from the platform's TOML file. Only the names of the timings are shared, in
rtl/timing.toml. Exit code 1 when a rule is broken.

Tightness: a command is "earliest" when it came in the first clock that all the rules allowed; the
rest had to wait for something else (data, an earlier command of the same cycle), or nobody asked
for them sooner. Of each rule the smallest distance seen shows whether the trace came up to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pimloop.rtl.tables.timing import Timing
from pimloop.sim.check.command_trace import COMMANDS, Command, read_commands
from pimloop.sim.errors import SimError
from pimloop.sim.paths import REPOSITORY

#: Refreshes that may be postponed, or sent ahead (JESD79-4, 4.26).
REFRESH_BUDGET = 8

#: Clocks on the data bus between read and write data (JESD79-4, 4.25).
_TURNAROUND = 2

#: Violations kept in a report; the rest are only counted.
_KEPT = 20

_LONG_AGO = -(1 << 40)

Scope = Literal["bank", "group", "channel"]


@dataclass(frozen=True)
class Channel(Timing):
    """Geometry and timing of a DRAM channel; times in DRAM clocks, JEDEC names."""

    banks: int
    bank_groups: int  # bank b is in group b modulo bank_groups
    rows: int
    row_bytes: int
    atom_bytes: int

    @classmethod
    def of_platform(cls, name: str) -> Channel:
        """Read the channel of a platform: a name of host/platforms, or the path of a .toml file.

        Raises
        ------
        SimError
            The file cannot be read or lacks a value.
        """
        path = Path(name)
        if path.suffix != ".toml":
            path = REPOSITORY / "host" / "platforms" / f"{name}.toml"
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
            values = data["device"] | data["dram"]
            return cls(**{field.name: int(values[field.name]["value"]) for field in fields(cls)})
        except OSError as error:
            raise SimError(f"cannot read the platform {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SimError(f"{path} is no platform file: {error!r}") from error

    @classmethod
    def of_parameters(cls, params: Mapping[str, int]) -> Channel:
        """Return the channel that parameters named as in `pim_top` describe (TRcdRd, Banks)."""
        lower = {name.lower(): value for name, value in params.items()}
        return cls(**{field.name: lower[field.name.replace("_", "")] for field in fields(cls)})


@dataclass(frozen=True)
class Rule:
    """`following` comes at least `delay` clocks after `previous` in the same bank, group, ..."""

    name: str
    previous: str
    following: str
    scope: Scope
    delay: int


def rules(c: Channel) -> list[Rule]:
    """Return the table of rules between two commands."""
    write_end = c.tcwl + c.tbl  # from WR to the end of its data
    table: list[tuple[str, str, str, Scope, int]] = [
        ("tRCD", "ACT", "RD", "bank", c.trcd_rd),
        ("tRCD", "ACT", "WR", "bank", c.trcd_wr),
        ("tRAS", "ACT", "PRE", "bank", c.tras),
        ("tRC", "ACT", "ACT", "bank", c.trc),
        ("tRP", "PRE", "ACT", "bank", c.trp),
        ("tRTP", "RD", "PRE", "bank", c.trtp),
        ("tWR", "WR", "PRE", "bank", write_end + c.twr),
        ("tCCD_L", "RD", "RD", "group", c.tccd_l),
        ("tCCD_L", "WR", "WR", "group", c.tccd_l),
        ("tCCD_S", "RD", "RD", "channel", c.tccd_s),
        ("tCCD_S", "WR", "WR", "channel", c.tccd_s),
        ("tWTR_L", "WR", "RD", "group", write_end + c.twtr_l),
        ("tWTR_S", "WR", "RD", "channel", write_end + c.twtr_s),
        ("tRTW", "RD", "WR", "channel", c.tcl + c.tbl + _TURNAROUND - c.tcwl),
        ("tRRD_L", "ACT", "ACT", "group", c.trrd_l),
        ("tRRD_S", "ACT", "ACT", "channel", c.trrd_s),
        # tRC is from ACT to ACT or REF (JESD79-4, speed bins); SRE is a REF that stays.
        ("tRC", "ACT", "REF", "channel", c.trc),
        ("tRC", "ACT", "SRE", "channel", c.trc),
        ("tRP", "PRE", "REF", "channel", c.trp),
        ("tRP", "PRE", "SRE", "channel", c.trp),
        ("tRFC", "REF", "ACT", "channel", c.trfc),
        ("tRFC", "REF", "REF", "channel", c.trfc),
        ("tRFC", "REF", "SRE", "channel", c.trfc),
        ("tXS", "SRX", "ACT", "channel", c.txs),
        ("tXS", "SRX", "REF", "channel", c.txs),
        # Columns need a locked DLL.
        ("tXSDLL", "SRX", "RD", "channel", c.txsdll),
        ("tXSDLL", "SRX", "WR", "channel", c.txsdll),
    ]
    return [Rule(*row) for row in table]


@dataclass
class Report:
    """What a trace did."""

    commands: Counter[str] = field(default_factory=Counter)
    earliest: Counter[str] = field(default_factory=Counter)  # of them, in the first legal clock
    #: "tRCD ACT-RD": (delay, smallest distance seen, times exactly at the delay)
    distances: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    awake_clocks: int = 0
    most_postponed: int = 0  # refreshes due and not sent
    violations: list[str] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)  # rule: times

    @property
    def passed(self) -> bool:
        """Whether no rule was broken."""
        return not self.broken

    def json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "passed": self.passed,
            "commands": dict(self.commands),
            "earliest": dict(self.earliest),
            "rules": {
                name: {"delay": delay, "smallest": smallest, "at_delay": times}
                for name, (delay, smallest, times) in self.distances.items()
            },
            "awake_clocks": self.awake_clocks,
            "most_refreshes_postponed": self.most_postponed,
            "broken": dict(self.broken),
            "violations": self.violations,
        }

    def text(self) -> str:
        """Return the report for a reader."""
        lines = [f"commands: {sum(self.commands.values())}, clocks awake: {self.awake_clocks}"]
        lines.append("command   count  in the first legal clock")
        for name in COMMANDS:
            count, first = self.commands[name], self.earliest[name]
            if count:
                lines.append(f"{name:<7} {count:7d}  {first:7d} ({first / count:.1%})")
        lines.append("rule             clocks  closest  exactly")
        for name, (delay, smallest, times) in self.distances.items():
            lines.append(f"{name:<16} {delay:6d}  {smallest:7d}  {times:7d}")
        lines.append(f"refreshes postponed at most: {self.most_postponed} of {REFRESH_BUDGET}")
        if self.passed:
            lines.append("no rule broken")
        else:
            lines.append("BROKEN: " + ", ".join(f"{k}: {n}" for k, n in self.broken.items()))
            lines += self.violations
        return "\n".join(lines)


class Checker:
    """Takes the commands of a trace one by one.

    Parameters
    ----------
    channel
        What they went to.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.report = Report()
        self._rules: dict[str, list[Rule]] = {name: [] for name in COMMANDS}
        for rule in rules(channel):
            self._rules[rule.following].append(rule)
        self._last: dict[str, dict[Scope, list[int]]] = {}
        self._open: list[int | None] = []
        self._activates: deque[int] = deque(maxlen=4)
        self._clock = -1  # of the last command
        self._asleep = True
        self._forget()

    def _forget(self) -> None:
        """Start as after a reset: nothing is open and no earlier command counts."""
        c = self.channel
        self._last = {
            name: {
                "bank": [_LONG_AGO] * c.banks,
                "group": [_LONG_AGO] * c.bank_groups,
                "channel": [_LONG_AGO],
            }
            for name in COMMANDS
        }
        self._open = [None] * c.banks
        self._activates.clear()
        self._asleep = True
        self._woken = 0
        self._refreshes = 0  # since then
        self._carried = 0  # refreshes owed before then

    def take(self, command: Command) -> None:
        """Check the next command."""
        self.report.commands[command.name] += 1
        if command.name == "RES":
            self._count_awake(command.clock)
            self._forget()
            self._clock = command.clock
            return
        if command.bank is not None and command.bank >= self.channel.banks:
            self._break("geometry", f"{command}: no such bank")
            return
        if command.clock == self._clock and command.name not in ("SRE", "SRX"):
            self._break("command bus", f"{command}: a second command in one clock")
        self._check_state(command)
        self._check_timing(command)
        self._check_refresh(command)
        self._apply(command)
        self._clock = command.clock

    def finish(self) -> Report:
        """Return the report, after the last command."""
        self._count_awake(self._clock)
        return self.report

    def _break(self, rule: str, fault: str) -> None:
        self.report.broken[rule] += 1
        if len(self.report.violations) < _KEPT:
            self.report.violations.append(f"{rule}: {fault}")

    def _banks(self, command: Command) -> list[int]:
        return list(range(self.channel.banks)) if command.bank is None else [command.bank]

    def _places(self, command: Command, scope: Scope) -> Iterable[int]:
        """Return the banks, groups, ... of a scope that a command belongs to."""
        if scope == "channel":
            return (0,)
        count = self.channel.banks if scope == "bank" else self.channel.bank_groups
        return range(count) if command.bank is None else (command.bank % count,)

    def _check_state(self, command: Command) -> None:
        name = command.name
        if self._asleep != (name == "SRX"):
            self._break("self-refresh", f"{command}: {'asleep' if self._asleep else 'awake'}")
        states = [self._open[bank] for bank in self._banks(command)]
        if name == "ACT" and any(row is not None for row in states):
            self._break("bank state", f"{command}: a row is open")
        if name in ("REF", "SRE") and any(row is not None for row in states):
            self._break("bank state", f"{command}: banks are open")
        if name in ("RD", "WR"):
            if any(row != command.row for row in states):
                self._break("bank state", f"{command}: that row is not open")
            columns = self.channel.row_bytes // self.channel.atom_bytes
            if command.column is None or command.column >= columns:
                self._break("geometry", f"{command}: no such column")
        if name == "ACT" and (command.row is None or command.row >= self.channel.rows):
            self._break("geometry", f"{command}: no such row")

    def _check_timing(self, command: Command) -> None:
        first = _LONG_AGO
        bounds: list[tuple[str, int, int]] = []
        for rule in self._rules[command.name]:
            last = self._last[rule.previous][rule.scope]
            latest = max(last[place] for place in self._places(command, rule.scope))
            bounds.append((f"{rule.name} {rule.previous}-{rule.following}", latest, rule.delay))
        if command.name == "ACT" and len(self._activates) == 4:
            bounds.append(("tFAW", self._activates[0], self.channel.tfaw))
        for name, latest, delay in bounds:
            if latest == _LONG_AGO:
                continue
            distance = command.clock - latest
            first = max(first, latest + delay)
            _, smallest, times = self.report.distances.get(name, (delay, distance, 0))
            at_delay = times + (distance == delay)
            self.report.distances[name] = (delay, min(smallest, distance), at_delay)
            if distance < delay:
                self._break(
                    name.split()[0], f"{command}: {distance} clocks after {name}, least {delay}"
                )
        self.report.earliest[command.name] += first == command.clock

    def _check_refresh(self, command: Command) -> None:
        """Hold the refreshes since the last wake-up against those that fell due.

        Leaving self-refresh costs one on top: it must come before self-refresh is entered again,
        and a debt from before is kept through it (JESD79-4, 4.26 and 4.27).
        """
        if self._asleep or not self.channel.trefi:
            return
        if command.name == "SRE" and not self._refreshes:
            self._break("REF before self-refresh", f"{command}: none since the last self-refresh")
        due = self._due(command.clock)
        debt = due - self._refreshes
        self.report.most_postponed = max(self.report.most_postponed, debt)
        if debt > REFRESH_BUDGET:
            self._break("refresh", f"{command}: {debt} refreshes are due")
            self._refreshes = due  # said once
        if command.name == "REF":
            self._refreshes += 1
            if self._refreshes - due > REFRESH_BUDGET:
                self._break("refresh", f"{command}: {self._refreshes - due} ahead")

    def _due(self, clock: int) -> int:
        """Return the refreshes that should have gone out by `clock`, since the last wake-up."""
        return self._carried + 1 + (clock - self._woken) // self.channel.trefi

    def _apply(self, command: Command) -> None:
        name = command.name
        banks = self._banks(command)
        if name == "PRE":
            # A bank that is closed takes no notice: its tRP is not started again.
            banks = [bank for bank in banks if self._open[bank] is not None]
            for bank in banks:
                self._open[bank] = None
        elif name == "ACT":
            self._activates.append(command.clock)
            for bank in banks:
                self._open[bank] = command.row
        elif name == "SRX":
            carried = self._carried
            self._forget()
            self._carried = carried
            self._asleep = False
            self._woken = command.clock
        elif name == "SRE":
            self._count_awake(command.clock)
            self._asleep = True
            if self.channel.trefi:
                self._carried = self._due(command.clock) - self._refreshes
        last = self._last[name]
        for bank in banks:
            last["bank"][bank] = command.clock
            last["group"][bank % self.channel.bank_groups] = command.clock
        if banks:
            last["channel"][0] = command.clock

    def _count_awake(self, clock: int) -> None:
        if not self._asleep:
            self.report.awake_clocks += clock - self._woken


def check(lines: Iterable[str], channel: Channel) -> Report:
    """Check a whole trace.

    Raises
    ------
    TraceError
        A line is not a command.
    """
    checker = Checker(channel)
    for command in read_commands(lines):
        checker.take(command)
    return checker.finish()


def check_file(path: Path, channel: Channel) -> Report:
    """Check the trace in a file.

    Raises
    ------
    TraceError
        A line is not a command.
    SimError
        The file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            return check(lines, channel)
    except OSError as error:
        raise SimError(f"cannot read the command trace {path}: {error.strerror}") from error


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 when a rule is broken, 2 when the trace cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m pimloop.sim.check.protocol", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", type=Path, metavar="FILE", help="command trace of a simulation")
    parser.add_argument("--platform", required=True, metavar="NAME", help="a platform or .toml")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        report = check_file(args.file, Channel.of_platform(args.platform))
    except SimError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write((json.dumps(report.json()) if args.json else report.text()) + "\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
