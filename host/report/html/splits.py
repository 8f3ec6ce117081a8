"""The operators that a schedule splits between two devices: parts, gather, and why this share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import fmean
from typing import NamedTuple

from pimloop.host.report.format.placement import Alternative, Placement
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Schedule
from pimloop.host.report.html.labels import (
    device_title,
    format_us,
    schedule_order,
    schedule_title,
)
from pimloop.host.report.html.rates import shapes_of
from pimloop.partitioner.split_names import SplitName


@dataclass(frozen=True)
class Share:
    """Another share of the columns."""

    columns: int  # of the second device; none or all: not split
    us: float  # what the schedule takes more at least, all other operators placed anew


@dataclass(frozen=True)
class SplitRow:
    """Operators of one type and shapes with the same share; their times are means.

    Those of one shape differ little: the PIM's by where their weights lie.
    """

    op: str
    shapes: str  # of the operands, as "8x512, 512x512"
    nodes: tuple[str, ...]
    devices: tuple[str, str]
    columns: tuple[int, int]  # of each device
    us: tuple[float, float] | None  # time of each device's part; None: no clock
    gather_us: tuple[tuple[str, float], ...]  # memory and time until the result is whole there
    #: Next share down of the second device, for the operator that it would cost least; None: none,
    #: or not known.
    smaller: Share | None
    larger: Share | None  # the next one up

    @property
    def share(self) -> str:
        """Columns of the second device, as "192 of 256"."""
        return f"{self.columns[1]} of {sum(self.columns)}"

    @property
    def apart_us(self) -> float | None:
        """How long one side waits for the other."""
        return None if self.us is None else abs(self.us[0] - self.us[1])

    @property
    def gathered_us(self) -> float:
        """All gathers."""
        return sum(us for _, us in self.gather_us)

    @property
    def end_us(self) -> float:
        """The slower part and the gathers after it."""
        return max(self.us or (0.0,)) + self.gathered_us


def split_rows(report: Report, name: str) -> list[SplitRow]:
    """Return the split operators of a schedule, those that take most time first."""
    schedule = report["schedules"][name]
    nodes = {node["id"]: node for node in report["graph"]["nodes"]}
    why = schedule.get("placement")
    rows = []
    for identifier, split in (schedule.get("splits") or {}).items():
        node = nodes[identifier]
        rows.append(
            split_row(
                identifier, node["op"], node.get("signature"), split["columns"], split["us"],
                split.get("gather_us") or {}, why,
            )
        )  # fmt: skip
    return grouped(rows)


def split_row(
    name: str,
    op: str,
    signature: str | None,
    columns: Mapping[str, int],
    us: Mapping[str, float] | None,
    gather_us: Mapping[str, float],
    why: Placement | None,
) -> SplitRow:
    """Return the row of one operator.

    Parameters
    ----------
    name, op, signature
        Of the operator.
    columns, us
        Of each device's part, those of the second device last; None: no clock.
    gather_us
        By memory.
    why
        What operators would cost elsewhere; None: not known.
    """
    first, second = columns
    own = columns[first], columns[second]
    others = () if why is None else why["alternatives"].get(name, ())
    smaller, larger = neighbours(others, (first, second), own)
    return SplitRow(
        op=op,
        shapes=shapes_of(signature or ""),
        nodes=(name,),
        devices=(first, second),
        columns=own,
        us=None if us is None else (us[first], us[second]),
        gather_us=tuple(gather_us.items()),
        smaller=smaller,
        larger=larger,
    )


def grouped(rows: Iterable[SplitRow]) -> list[SplitRow]:
    """Return rows of one operator each with those split alike joined, the longest first."""
    groups: dict[tuple[object, ...], list[SplitRow]] = {}
    for row in rows:
        memories = tuple(memory for memory, _ in row.gather_us)
        key = (row.op, row.shapes, row.devices, row.columns, memories, row.us is None)
        groups.setdefault(key, []).append(row)
    joined = [_joined(alike) for alike in groups.values()]
    return sorted(joined, key=lambda row: (-row.end_us * len(row.nodes), row.nodes))


def _joined(rows: Sequence[SplitRow]) -> SplitRow:
    """Return operators that are split alike as one row."""
    first = rows[0]
    times = [row.us for row in rows if row.us is not None]
    return replace(
        first,
        nodes=tuple(name for row in rows for name in row.nodes),
        us=(fmean(us for us, _ in times), fmean(us for _, us in times)) if times else None,
        gather_us=tuple(
            (memory, fmean(row.gather_us[i][1] for row in rows))
            for i, (memory, _) in enumerate(first.gather_us)
        ),
        smaller=_least(row.smaller for row in rows),
        larger=_least(row.larger for row in rows),
    )


def _least(shares: Iterable[Share | None]) -> Share | None:
    known = [share for share in shares if share is not None]
    return min(known, key=lambda share: share.us, default=None)


def neighbours(
    others: Iterable[Alternative], devices: tuple[str, str], columns: tuple[int, int]
) -> tuple[Share | None, Share | None]:
    """Return the next smaller and the next larger share of the second device.

    Parameters
    ----------
    others
        What the operator would cost elsewhere.
    devices, columns
        Of the split that it is executed as.
    """
    total = sum(columns)
    own = Fraction(columns[1], total)
    shares = _shares(others, devices)
    smaller = max((share for share in shares if share[0] < own), default=None)
    larger = min((share for share in shares if share[0] > own), default=None)
    return _share(smaller, total), _share(larger, total)


def _share(share: tuple[Fraction, float] | None, columns: int) -> Share | None:
    return None if share is None else Share(int(share[0] * columns), share[1])


def _shares(
    others: Iterable[Alternative], devices: tuple[str, str]
) -> list[tuple[Fraction, float]]:
    """Return the other shares of the same two devices, none and all too, with what they cost."""
    shares = []
    whole = {devices[0]: Fraction(0), devices[1]: Fraction(1)}
    for other in others:
        regret, split = other["regret_us"], SplitName.of(other["device"])
        if regret is None:
            continue
        if other["device"] in whole:
            shares.append((whole[other["device"]], regret))
        elif split is not None and split.devices == devices:
            shares.append((Fraction(split.share, split.shares), regret))
    return shares


@dataclass(frozen=True)
class Side:
    """A device's part of a split operator, as a bar."""

    device: str
    title: str
    columns: int
    us: str
    width: float  # of the widest row, percent


@dataclass(frozen=True)
class SplitBar:
    """Split operators as two bars that begin together, and the gather after them."""

    title: str  # as "12 × MatMul"
    shapes: str
    names: str
    share: str
    sides: tuple[Side, ...]
    gather: str  # "" where nothing is gathered
    gather_left: float  # percent
    gather_width: float
    balance: str  # why this share: how far apart both sides end
    apart: str  # the same, short
    smaller: str
    larger: str

    @property
    def times(self) -> str:
        """Those of both parts."""
        return " ∥ ".join(side.us for side in self.sides)

    @property
    def text(self) -> str:
        """All of it, on hover."""
        parts = [f"{side.title}: {side.columns} columns, {side.us}" for side in self.sides]
        lines = [f"{self.title} {self.shapes}", *parts]
        lines += [f"gather: {self.gather}"] if self.gather else []
        lines += [self.balance]
        lines += [f"{name} share: {text}" for name, text in self._neighbours() if text]
        return "\n".join([*lines, self.names])

    def _neighbours(self) -> tuple[tuple[str, str], ...]:
        return ("next smaller", self.smaller), ("next larger", self.larger)


class SideKey(NamedTuple):
    """What a colour stands for."""

    device: str
    title: str


@dataclass(frozen=True)
class SplitSchedule:
    """The split operators of a schedule."""

    title: str
    bars: tuple[SplitBar, ...]
    sides: tuple[SideKey, ...]  # what computes

    @property
    def second(self) -> str:
        """The device that shares are of."""
        return self.sides[-1].title


def split_schedules(report: Report) -> list[SplitSchedule]:
    """Return the bars of every schedule that splits operators."""
    schedules: Mapping[str, Schedule] = report["schedules"]
    drawn = []
    for name in schedule_order(schedules):
        rows = split_rows(report, name) if schedules[name].get("splits") else []
        if not rows:
            continue
        longest = max(row.end_us for row in rows) or 1.0
        devices = dict.fromkeys(device for row in rows for device in row.devices)
        drawn.append(
            SplitSchedule(
                schedule_title(name, schedules[name]),
                tuple(_bar(row, longest) for row in rows),
                tuple(SideKey(device, device_title(device)) for device in devices),
            )
        )
    return drawn


def _bar(row: SplitRow, longest: float) -> SplitBar:
    count = len(row.nodes)
    names = ", ".join(row.nodes[:3]) + (f" and {count - 3} more" if count > 3 else "")
    times = row.us or (0.0, 0.0)
    gather = " and ".join(f"{format_us(us)} to {memory}" for memory, us in row.gather_us if us)
    return SplitBar(
        title=row.op if count == 1 else f"{count} × {row.op}",
        shapes=row.shapes,
        names=names,
        share=row.share,
        sides=tuple(
            Side(
                device,
                device_title(device),
                columns,
                "no clock" if row.us is None else format_us(us),
                100.0 * us / longest,
            )
            for device, columns, us in zip(row.devices, row.columns, times, strict=True)
        ),
        gather=gather,
        gather_left=100.0 * max(times) / longest,
        gather_width=100.0 * row.gathered_us / longest,
        balance=balance_text(row),
        apart=_apart_text(row),
        smaller=_share_text(row, row.smaller),
        larger=_share_text(row, row.larger),
    )


def balance_text(row: SplitRow) -> str:
    """Return why this share: how far apart both sides end."""
    if row.us is None or row.apart_us is None:
        return ""
    if not row.apart_us:
        return "both sides finish together"
    return (
        f"both sides finish within {format_us(row.apart_us)} of each other,"
        f" {device_title(_first_done(row.devices, row.us))} first"
    )


def _apart_text(row: SplitRow) -> str:
    if row.us is None or not row.apart_us:
        return "0"
    return f"{format_us(row.apart_us)}, {device_title(_first_done(row.devices, row.us))} first"


def _first_done(devices: tuple[str, str], us: tuple[float, float]) -> str:
    return devices[0] if us[0] < us[1] else devices[1]


def _share_text(row: SplitRow, share: Share | None) -> str:
    if share is None:
        return ""
    whole = {0: row.devices[0], sum(row.columns): row.devices[1]}.get(share.columns)
    work = f"{share.columns} columns" if whole is None else f"all on the {device_title(whole)}"
    return f"{work}: +{format_us(share.us)}"
