"""What the pictures call schedules, devices and counters, and the colours they give them.

The colours of devices are from Okabe and Ito's palette, those of operator types from Paul Tol's
"muted" scheme; both can be told apart with every common colour blindness. The page has its own
shades of the former for the dark theme (assets/report.css).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pimloop.host.devices.kinds import BUILT_IN, HOST_MEMORY, SPLIT_COLOUR, device_parts, kinds
from pimloop.host.report.format.report import Report
from pimloop.partitioner.percent import percent
from pimloop.rtl.tables.isa import COUNTER_TEXT

#: The lane of transfers in a timeline.
TRANSFERS = "dma"

#: Lanes of a timeline from top to bottom: the CPU, transfers, other devices; devices that a report
#: adds come after them.
LANES = (
    *(kind.name for kind in BUILT_IN if kind.memory == HOST_MEMORY),
    TRANSFERS,
    *(kind.name for kind in BUILT_IN if kind.memory != HOST_MEMORY),
)


OPERATOR_COLOURS = (
    "#332288",
    "#88ccee",
    "#117733",
    "#ddcc77",
    "#44aa99",
    "#882255",
    "#999933",
)
OTHER_COLOUR = "#9a9a9a"

#: What a part of a bar is called when its operator types are too many to show.
OTHERS = "others"


@dataclass(frozen=True)
class ScheduleWords:
    """How a schedule is called and what it does."""

    title: str
    meaning: str
    than: str  # ends "times as fast as ..."


_SCHEDULES = {
    "optimal": ScheduleWords(
        "Optimal", "the placement with the least predicted time", "the optimal placement"
    ),
    "cpu_serial": ScheduleWords(
        "CPU serial", "every operator on one CPU core", "one CPU core alone"
    ),
    "cpu_parallel_first": ScheduleWords(
        "CPU parallel first", "every operator on all CPU cores", "all CPU cores without the PIM"
    ),
    "pim_first": ScheduleWords(
        "PIM first",
        "on the PIM whatever can run there, the rest on all CPU cores",
        "putting everything possible on the PIM",
    ),
    "coexec": ScheduleWords(
        "Co-execution",
        "as Optimal, and products may be split between CPU and PIM",
        "splitting products between CPU and PIM",
    ),
    "greedy": ScheduleWords(
        "Greedy", "each operator where it is cheapest at its turn", "the greedy placement"
    ),
    "paper_dp": ScheduleWords(
        "Paper's DP",
        "the dynamic programming of Kim et al., ACM TODAES 2024",
        "the paper's dynamic programming",
    ),
}


def _phrase(text: str) -> str:
    """Return a sentence of the counters' table as a phrase; DRAM stays as it is."""
    first = text if text[1].isupper() else text[0].lower() + text[1:]
    return first.removesuffix(".")


_COUNTERS = {
    **{name.upper(): _phrase(text) for name, text in COUNTER_TEXT.items()},
    "channel_accesses": "column commands that moved an atom over the channel's data bus",
    "all_bank_accesses": "column commands that reached every bank at once, past the bus",
    "bank_accesses": "accesses by bank: an all-bank one counts once for every bank",
    "row_hits": "bank accesses less activations",
    "bytes": "bytes read and written in the banks",
    "channel_bytes": "bytes over the channel's data bus",
}


def schedule_words(name: str) -> ScheduleWords:
    """Return the words for a schedule; a plug-in's policy is called by its name."""
    return _SCHEDULES.get(name) or ScheduleWords(name, "a policy of this installation", name)


def schedule_title(name: str, schedule: Mapping[str, Any]) -> str:
    """Return what a schedule of a report is called: "Optimal" only where that is proved.

    >>> schedule_title("optimal", {"optimal": True, "predicted_us": 50.0, "lower_bound_us": 50.0})
    'Optimal'
    >>> schedule_title("optimal", {"optimal": False, "predicted_us": 50.0, "lower_bound_us": 47.0})
    'Best found (gap 6.0 %)'
    """
    if not unproved(name, schedule):
        return schedule_words(name).title
    return capitalize_first(best_found(schedule))


def unproved(name: str, schedule: Mapping[str, Any]) -> bool:
    """Return whether a schedule is the search for the optimum, without proof that it is one."""
    return name == "optimal" and not schedule.get("optimal")


def best_found(schedule: Mapping[str, Any]) -> str:
    """Return what an unproved optimum is called, with its gap where a bound says.

    >>> best_found({"predicted_us": 50.0, "lower_bound_us": 47.0}), best_found({})
    ('best found (gap 6.0 %)', 'best found')
    """
    gap = gap_text(schedule.get("predicted_us"), schedule.get("lower_bound_us"))
    return f"best found ({gap})" if gap else "best found"


def schedule_key(name: str, schedule: Mapping[str, Any]) -> str:
    """Return a schedule's name in tables: "optimal" only where that is proved, or not known.

    >>> schedule_key("optimal", {"optimal": False, "predicted_us": 50.0, "lower_bound_us": 47.0})
    'best found (gap 6.0 %)'
    >>> schedule_key("greedy", {"optimal": False, "predicted_us": 51.0})
    'greedy'
    """
    if schedule["predicted_us"] is None or not unproved(name, schedule):
        return name
    return best_found(schedule)


def schedule_meaning(name: str, schedule: Mapping[str, Any], further: Sequence[str] = ()) -> str:
    """Return what a schedule does; an unproved optimum is the best of those that were tried.

    Parameters
    ----------
    name, schedule
        Of a report.
    further
        The devices of plug-ins that a schedule uses (`further_devices`): PIM first takes every
        accelerator before the CPU.

    >>> schedule_meaning("optimal", {"optimal": False})
    'the placement with the least predicted time that the search found'
    >>> schedule_meaning("optimal", {"optimal": True, "plan_energy": {"lower_bound_fj_us": 2.0}})
    'the placement with the least predicted energy times time'
    >>> schedule_meaning("pim_first", {}, ["npu"])
    'on the PIM, else npu, whatever can run there, the rest on all CPU cores'
    """
    meaning = schedule_words(name).meaning
    if name == "optimal" and "plan_energy" in schedule:
        product = "lower_bound_fj_us" in schedule["plan_energy"]
        least = "energy times time" if product else "energy"
        meaning = meaning.replace("predicted time", f"predicted {least}")
    if name == "pim_first" and further:
        others = ", ".join(f"else {device_title(device)}" for device in further)
        meaning = meaning.replace("on the PIM", f"on the PIM, {others},", 1)
    return f"{meaning} that the search found" if unproved(name, schedule) else meaning


def gap_text(total_us: float | None, bound_us: float | None) -> str:
    """Return how far a plan may be from the shortest, "" where no bound says.

    >>> gap_text(50.0, 47.0), gap_text(50.0, 50.0), gap_text(None, 1.0)
    ('gap 6.0 %', '', '')
    """
    if not total_us or bound_us is None or bound_us >= total_us:
        return ""
    return f"gap {percent((total_us - bound_us) / total_us)}"


def schedule_order(names: Iterable[str]) -> list[str]:
    """Return schedule names in the order of every picture: known ones first.

    >>> schedule_order(["mine", "greedy", "optimal"])
    ['optimal', 'greedy', 'mine']
    """
    given = list(names)
    return [n for n in _SCHEDULES if n in given] + [n for n in given if n not in _SCHEDULES]


def executed_word(report: Report) -> str:
    """Return what the second time of a schedule is called: nothing measured is in a simulated one.

    >>> executed_word({"executed_kind": "simulated"}), executed_word({"executed_kind": "measured"})
    ('simulated', 'executed')
    """
    return "simulated" if report.get("executed_kind") == "simulated" else "executed"


def executed_meaning(report: Report) -> str:
    """Return where the parts of that time come from, and what agreement with it shows.

    >>> executed_meaning({"executed_kind": "measured", "device": "sim"})
    'CPU times are measured on this machine, PIM cycles simulated'
    """
    meaning = _executed_meaning(report)
    for device in further_devices(report) if "schedules" in report else ():
        meaning += f"; {device_title(device)} times are modelled by the plug-in of '{device}'"
    return meaning


def _executed_meaning(report: Report) -> str:
    """Return the same of the CPU and the PIM."""
    kind = report.get("executed_kind")
    if kind is not None and report.get("device") == "model":
        cpu = "measured on this machine" if kind == "measured" else "modelled"
        return f"CPU times are {cpu}; the model device has no clock, so the PIM has no time"
    if kind == "simulated":
        return (
            "PIM cycles are simulated and CPU times modelled, in the prediction and here: that both"
            " agree shows consistency, not accuracy"
        )
    if kind == "measured" and report.get("cpu_model") is not None:
        return "conversions are measured on this machine, CPU times modelled, PIM cycles simulated"
    if kind == "measured":
        return "CPU times are measured on this machine, PIM cycles simulated"
    return "the device has no clock"


def device_title(device: str) -> str:
    """Return what a device or lane is called."""
    if device == TRANSFERS:
        return "Transfers"
    known = kinds()
    titles = [known[name].title if name in known else name for name in device_parts(device)]
    return " + ".join(titles)


def place_title(name: str) -> str:
    """Return what a device is called, or a split with the share of its second device.

    >>> place_title("cpu_parallel+pim 5/16"), place_title("pim")
    ('CPU parallel + PIM, 5/16 on the PIM', 'PIM')
    """
    share = name.partition(" ")[2]
    parts = device_parts(name)
    if len(parts) == 1 or not share:
        return device_title(name)
    return f"{device_title(name)}, {share} on the {device_title(parts[1])}"


def further_devices(report: Report) -> list[str]:
    """Return the devices of plug-ins that any schedule of a report uses, in drawing order."""
    used = {
        device
        for schedule in report["schedules"].values()
        for name in (schedule.get("assignment") or {}).values()
        for device in device_parts(name)
    }
    return [device for device in lane_order(used) if device not in LANES]


def device_colour(device: str) -> str:
    """Return the colour of a device or lane on white."""
    if device == TRANSFERS:
        return "#cc79a7"
    if len(device_parts(device)) > 1:
        return SPLIT_COLOUR
    kind = kinds().get(device)
    return OTHER_COLOUR if kind is None else kind.colour


def counter_meaning(name: str) -> str:
    """Return what a counter counts, "" for one unknown here."""
    key = name.upper().removeprefix("CNT_")
    return _COUNTERS.get(key) or _COUNTERS.get(name, "")


def lane_order(lanes: Iterable[str]) -> list[str]:
    """Return lanes in drawing order.

    >>> lane_order({"pim", "npu", "cpu_serial"})
    ['cpu_serial', 'pim', 'npu']
    """
    given = set(lanes)
    return [lane for lane in LANES if lane in given] + sorted(given - set(LANES))


def format_us(us: float) -> str:
    """Return a time with its unit.

    >>> format_us(0), format_us(0.5), format_us(1234.5), format_us(2_345_678)
    ('0', '0.500 µs', '1.23 ms', '2.35 s')
    """
    if not us:
        return "0"
    scale, unit = (1.0, "µs") if us < 1e3 else (1e3, "ms") if us < 1e6 else (1e6, "s")
    return f"{format_number(us / scale)} {unit}"


def format_js(joule_seconds: float) -> str:
    """Return an energy times a time with its unit.

    >>> format_js(7.4e-6), format_js(0.0074), format_js(1481)
    ('7.40 µJ s', '7.40 mJ s', '1,481 J s')
    """
    scale, unit = (1e-6, "µJ s") if joule_seconds < 1e-3 else (1e-3, "mJ s")
    if joule_seconds >= 1:
        scale, unit = 1.0, "J s"
    return f"{format_number(joule_seconds / scale)} {unit}"


def format_fj(femtojoules: float) -> str:
    """Return an energy with its unit.

    >>> format_fj(0), format_fj(2_500_000), format_fj(12_345_678_000_000)
    ('0', '2.50 nJ', '12.3 mJ')
    """
    if not femtojoules:
        return "0"
    scale, unit = energy_unit(femtojoules)
    return f"{format_number(femtojoules / scale)} {unit}"


def energy_unit(largest_fj: float) -> tuple[float, str]:
    """Return what to divide femtojoules by, and the unit that gives; for the largest of several.

    >>> energy_unit(2_500_000), energy_unit(-3e9), energy_unit(0)
    ((1000000.0, 'nJ'), (1000000000.0, 'µJ'), (1.0, 'fJ'))
    """
    scales = ((1e15, "J"), (1e12, "mJ"), (1e9, "µJ"), (1e6, "nJ"), (1e3, "pJ"), (1.0, "fJ"))
    return next((pair for pair in scales if abs(largest_fj) >= pair[0]), scales[-1])


def format_number(value: float) -> str:
    """Return a number to three significant digits, whole from a hundred on.

    >>> format_number(0.123456), format_number(12.345), format_number(12345)
    ('0.123', '12.3', '12,345')
    """
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def format_bytes(count: float) -> str:
    """Return a number of bytes with its unit.

    >>> format_bytes(512), format_bytes(4096), format_bytes(3_351_000_000)
    ('512 B', '4.00 KiB', '3.12 GiB')
    """
    for scale, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= scale:
            return f"{format_number(count / scale)} {unit}"
    return f"{count:.0f} B"


def capitalize_first(text: str) -> str:
    """Return a text with its first letter large and the others as they are.

    >>> capitalize_first("DRAM bandwidth"), capitalize_first("driver call")
    ('DRAM bandwidth', 'Driver call')
    """
    return text[:1].upper() + text[1:]


def format_value(value: Any) -> str:
    """Return a value of a platform as its file writes it, without quotes.

    >>> format_value(2048), format_value(0.25), format_value(True), format_value(["Add", "Mul"])
    ('2048', '0.25', 'true', 'Add, Mul')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
