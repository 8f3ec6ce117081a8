"""The numbers of the bars and tables that the template prints.

Everything here is a pure function of the report; percentages are widths of bars.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pimloop.host.devices.kinds import pair_of
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Schedule
from pimloop.host.report.format.verification import Verification
from pimloop.host.report.html.labels import (
    LANES,
    OPERATOR_COLOURS,
    OTHERS,
    counter_meaning,
    device_title,
    format_bytes,
    format_number,
    format_us,
    further_devices,
    lane_order,
    schedule_meaning,
    schedule_order,
    schedule_title,
)
from pimloop.host.report.html.lead import main_schedule
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

#: What a letter of a part's name takes of the longest bar in the page's full width, percent, and
#: what no name is shorter than.
_LETTER, _LEAST_LABEL = 1.0, 7.0


class OnFurther(NamedTuple):
    """The operators of a schedule on a device of a plug-in."""

    nodes: int
    us: str


@dataclass(frozen=True)
class ScheduleRow:
    """A schedule, predicted against executed."""

    name: str
    title: str
    meaning: str
    predicted: str
    executed: str  # "" without a clock
    difference: str
    predicted_share: float  # of the longest, percent
    executed_share: float
    pim_nodes: int
    split: int  # operators that two devices compute together
    nodes: int
    transfers: int
    kib: float  # moved between the memories
    pim: str
    cpu: str
    further: tuple[OnFurther, ...]  # of each further device
    transfer: str
    board: str  # published; "" where the board has no such total
    board_share: float
    driver_share: float  # executed, with the work of the board's driver

    @property
    def moved(self) -> str:
        """What transfers moved, and how many they were."""
        if not self.transfers:
            return "nothing"
        return f"{self.kib:,.0f} KiB, {quantity(self.transfers, 'time')}"


@dataclass(frozen=True)
class Part:
    """A piece of a stacked bar."""

    key: str  # operator type, or lane
    label: str  # "" where there is no room
    text: str  # on hover and in the table
    share: float  # of the longest bar, percent
    colour: int | None  # index into OPERATOR_COLOURS; None: a lane, or the others


class BarKey(NamedTuple):
    """What a colour of stacked bars stands for."""

    key: str  # operator type, or lane
    title: str
    colour: int | None  # as of `Part`


@dataclass(frozen=True)
class Bar:
    """A stacked bar."""

    title: str
    total: str
    parts: tuple[Part, ...]


class BarRow(NamedTuple):
    """A row of the table behind stacked bars."""

    title: str
    times: tuple[str, ...]  # of each bar


@dataclass(frozen=True)
class Breakdown:
    """Stacked bars of all schedules, and the table behind them."""

    keys: tuple[BarKey, ...]
    bars: tuple[Bar, ...]
    table: tuple[BarRow, ...]

    @property
    def legend(self) -> tuple[BarKey, ...]:
        """The keys, by a name that templates do not take for a method."""
        return self.keys


def schedule_rows(report: Report) -> list[ScheduleRow]:
    """Return the rows of the table of schedules."""
    schedules = report["schedules"]
    board = report.get("board") or {}
    drivers = report.get("board_driver") or {}
    times = [*_times(schedules.values()), *board.values(), *drivers.values()]
    longest = max(_present(times), default=1.0) or 1.0
    rows = []
    for name in schedule_order(schedules):
        schedule = schedules[name]
        predicted, executed = schedule.get("predicted_us"), schedule.get("executed_us")
        published = board.get(name)
        rows.append(
            ScheduleRow(
                name=name,
                title=schedule_title(name, schedule),
                meaning=schedule_meaning(name, schedule, further_devices(report)),
                predicted=_time(predicted),
                executed=_time(executed),
                difference=signed_error(predicted, executed),
                predicted_share=100.0 * (predicted or 0.0) / longest,
                executed_share=100.0 * (executed or 0.0) / longest,
                pim_nodes=schedule["pim_nodes"],
                split=len(schedule.get("splits") or {}),
                nodes=schedule["nodes"],
                transfers=schedule["transfers"],
                kib=(schedule.get("transfer_bytes") or 0) / 1024,
                pim=_time(schedule.get("pim_us")),
                cpu=_time(schedule.get("cpu_us")),
                further=tuple(_on_device(schedule, device) for device in further_devices(report)),
                transfer=_time(schedule.get("transfer_us")),
                board=_time(published),
                board_share=100.0 * (published or 0.0) / longest,
                driver_share=100.0 * drivers.get(name, 0.0) / longest,
            )
        )
    return rows


def _on_device(schedule: Schedule, device: str) -> OnFurther:
    """Return number and time of the operators of a device."""
    entry = (schedule.get("devices") or {}).get(device, {"nodes": 0, "us": 0.0})
    return OnFurther(entry["nodes"], _time(entry["us"]))


def operator_breakdown(report: Report) -> Breakdown | None:
    """Return time by operator type for every schedule; None where no schedule has times."""
    schedules = _timed(report)
    sums: dict[str, dict[str, float]] = {}
    overall: dict[str, float] = defaultdict(float)
    for name, schedule in schedules.items():
        sums[name] = defaultdict(float)
        for row in schedule["operators"]:
            sums[name][row["op"]] += row["us"] or 0.0
            overall[row["op"]] += row["us"] or 0.0
    ranked = sorted(overall, key=lambda op: (-overall[op], op))
    colours = {op: i for i, op in enumerate(ranked[: len(OPERATOR_COLOURS)])}
    for by_op in sums.values():
        rest = sum(by_op.pop(op) for op in list(by_op) if op not in colours)
        if rest:
            by_op[OTHERS] = rest
    keys = [BarKey(op, op, colours[op]) for op in colours]
    if len(ranked) > len(colours):
        keys.append(BarKey(OTHERS, OTHERS, None))
    keys.append(BarKey("dma", device_title("dma"), None))
    for name, schedule in schedules.items():
        sums[name]["dma"] = schedule.get("transfer_us") or 0.0
    return breakdown(schedules, keys, sums, format_us)


def device_breakdown(report: Report) -> Breakdown | None:
    """Return time by device for every schedule; None where no schedule has times."""
    schedules = _timed(report)
    sums: dict[str, dict[str, float]] = {}
    for name, schedule in schedules.items():
        sums[name] = defaultdict(float)
        for row in schedule["operators"]:
            sums[name][row["device"]] += row["us"] or 0.0
        sums[name]["dma"] = schedule.get("transfer_us") or 0.0
    lanes = lane_order(lane for by_lane in sums.values() for lane in by_lane)
    keys = [BarKey(lane, device_title(lane), None) for lane in lanes]
    return breakdown(schedules, keys, sums, format_us)


def operator_colours(report: Report) -> dict[str, int]:
    """Return the colour of each operator type, the same in every picture of the page."""
    bars = operator_breakdown(report)
    keys = () if bars is None else bars.keys
    return {key: colour for key, _, colour in keys if colour is not None}


@dataclass(frozen=True)
class Meter:
    """A share of a whole."""

    title: str
    meaning: str
    share: float  # percent


class Counter(NamedTuple):
    """A counter of the device."""

    name: str
    value: str
    meaning: str


def counters(report: Report) -> tuple[list[Meter], list[Counter]]:
    """Return the rates of the DRAM, and all counters."""
    values = report.get("counters") or {}
    meters = [
        Meter(title, meaning, 100.0 * share)
        for key, title, meaning in (
            ("row_hit_rate", "Row hits", "bank accesses that needed no activation"),
            (
                "bus_use",
                "Channel",
                "of the time its data bus was busy; all-bank accesses pass it by",
            ),
            ("refresh_share", "Refresh", "of the time the banks were refreshed"),
        )
        if (share := values.get(key)) is not None
    ]
    rates = ("row_hit_rate", "bus_use", "refresh_share")
    rows = [
        Counter(name.removeprefix("CNT_"), f"{value:,}", counter_meaning(name))
        for name, value in values.items()
        if name not in rates and value is not None
    ]
    return meters, rows


def weights_text(report: Report) -> str:
    """Return what loading the weights of the main schedule took, "" where none were loaded."""
    main = report["schedules"].get(main_schedule(report))
    weights = None if main is None else main.get("weights")
    if weights is None or not weights.get("bytes") or weights["us"] is None:
        return ""
    named = main_title(report)
    return (
        f"Before the first execution the weights of {named}'s PIM operators are loaded once:"
        f" {format_bytes(weights['bytes'])} in {format_us(weights['us'])}"
        f" ({weights['cycles']:,} DRAM clocks). No time above has this in it."
    )


def main_title(report: Report) -> str:
    """Return what the schedule that the report is about is called."""
    main = main_schedule(report)
    return schedule_title(main, report["schedules"].get(main, {"optimal": True}))


def devices_used(report: Report) -> list[str]:
    """Return the devices of all assignments, in drawing order, without the DMA engine."""
    graph = report.get("graph") or {}
    devices = {d for node in graph.get("nodes") or () for d in node["cost_us"]}
    for schedule in report["schedules"].values():
        devices.update(map(pair_of, (schedule.get("assignment") or {}).values()))
    return lane_order(devices | (set(LANES) - {"dma"}))


def _timed(report: Report) -> dict[str, Schedule]:
    schedules = report["schedules"]
    return {
        name: schedules[name]
        for name in schedule_order(schedules)
        if schedules[name].get("executed_us") is not None and schedules[name].get("operators")
    }


def breakdown(
    schedules: Mapping[str, Mapping[str, Any]],
    keys: list[BarKey],
    sums: Mapping[str, Mapping[str, float]],
    text_of: Callable[[float], str],
) -> Breakdown | None:
    """Return stacked bars of schedules; None where there are none.

    Parameters
    ----------
    schedules
        In the order of the bars.
    keys
        The parts of a bar, in order.
    sums
        By schedule and key, not negative.
    text_of
        A sum with its unit.
    """
    if not schedules:
        return None
    totals = {name: sum(by_key.values()) for name, by_key in sums.items()}
    longest = max(totals.values()) or 1.0
    bars = []
    for name in schedules:
        parts = []
        for key, text, colour in keys:
            value = sums[name].get(key, 0.0)
            share = 100.0 * value / longest
            hint = f"{text}: {text_of(value)}, {percent(value / (totals[name] or 1.0))}"
            if value:
                label = text if share > max(_LETTER * len(text), _LEAST_LABEL) else ""
                parts.append(Part(key, label, hint, share, colour))
        title = schedule_title(name, schedules[name])
        bars.append(Bar(title, text_of(totals[name]), tuple(parts)))
    table = [
        BarRow(text, tuple(text_of(sums[name].get(key, 0.0)) for name in schedules))
        for key, text, _ in keys
    ]
    table.append(BarRow("total", tuple(text_of(totals[name]) for name in schedules)))
    return Breakdown(tuple(keys), tuple(bars), tuple(table))


def _times(schedules: Iterable[Schedule]) -> list[float | None]:
    return [
        us
        for schedule in schedules
        for us in (schedule.get("predicted_us"), schedule.get("executed_us"))
    ]


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _time(us: float | None) -> str:
    return "" if us is None else format_us(us)


def signed_error(base: float | None, value: float | None) -> str:
    """Return how far `value` is from `base`, signed percent."""
    if base is None or value is None or not base:
        return ""
    ratio = (value - base) / base
    if abs(ratio) < 5e-6:
        return "0 %"
    return percent(ratio, 3 if abs(ratio) < 0.001 else 1, signed=True)


def verification_rows(report: Report) -> list[tuple[str, Verification]]:
    """Return (title, verification) of every schedule."""
    schedules = report["schedules"]
    return [
        (schedule_title(name, schedules[name]), schedules[name]["verification"])
        for name in schedule_order(schedules)
    ]


def error_text(value: float | None) -> str:
    """Return an error or a cosine for people, "" where it is missing.

    >>> error_text(0.00123), error_text(0.0), error_text(None)
    ('0.00123', '0', '')
    """
    if value is None:
        return ""
    return format_number(value) if value >= 10 else f"{value:.3g}"
