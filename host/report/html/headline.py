"""The top of the page: what was gained, in a sentence and one card for each baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Schedule, SplitOperator
from pimloop.host.report.html.labels import (
    device_title,
    format_us,
    further_devices,
    gap_text,
    schedule_meaning,
    schedule_order,
    schedule_title,
    schedule_words,
)
from pimloop.host.report.html.lead import (
    SAME,
    executed_us,
    lead_schedule,
    main_schedule,
    slowdowns,
)
from pimloop.partitioner.quantity import quantity

#: Ratios this close to 1 are called equally fast.
_EQUAL = 0.005

#: What times of operators that are split take for granted.
ASSUMED = "Assumed: each side works in a memory of its own, so neither slows the other."


@dataclass(frozen=True)
class Card:
    """The speed-up over one baseline."""

    title: str
    meaning: str
    ratio: float
    share: float  # of the widest card's bar, percent
    executed: str


#: What plans for energy make least, by objective, and as a comparison.
_LEAST = {"energy": "least energy", "edp": "least energy times time"}
_LESS = {"least energy": "energy", "least energy times time": "energy times time"}


def least(report: Report) -> str:
    """Return what the plans of a report make least where that is no time, "" where it is."""
    return _LEAST.get(str(report.get("objective")), "")


def title(report: Report) -> str:
    """Return the heading: the model and its length."""
    return _with_length(report, ", ")


def sentence(report: Report) -> str:
    """Return what the run found, in plain words."""
    model, platform = _with_length(report, " with "), report["platform"]
    schedules = report["schedules"]
    best = schedules.get(main_schedule(report))
    if best is None:
        return f"{model} ran on {platform} under {quantity(len(schedules), 'placement')}."
    executed = best.get("executed_us")
    if executed is None:
        checked = (report.get("verification") or {}).get("pim_results_checked")
        results = "every PIM result" if checked is None else f"PIM results ({checked})"
        return (
            f"{model} ran on the functional model of {platform}, which checks {results}"
            " but has no clock: the PIM has no time in this report."
        )
    return f"{model} takes {_led(report, platform)}{_compared(report)}."


def _led(report: Report, platform: str) -> str:
    """Return what the leading schedule takes, and what it is, in a sentence."""
    lead = lead_schedule(report)
    took = format_us(executed_us(report, lead) or 0.0)
    if lead == main_schedule(report):
        placement = _placement(report, lead, report["schedules"][lead])
        return f"{took} on {platform} in the {placement}"
    splits = report["schedules"][lead].get("splits") or {}
    count = quantity(len(splits), "operator")
    return f"{took} on {platform} with {count} split between {_pair(splits)}"


def _compared(report: Report) -> str:
    """Return how many times as fast that is as what every reader knows."""
    gains = _ratios(report)
    said = [_gain(schedule_words(name).than, gains[name]) for name in _told(gains)]
    main = main_schedule(report)
    if main in gains:
        placement = _placement(report, main, report["schedules"][main])
        took = format_us(executed_us(report, main) or 0.0)
        than = f"the {placement}{' of whole operators' * (main == 'optimal')}, {took}"
        said.append(_gain(than, gains[main]))
    return ": " + ", ".join(said) if said else ""


def _pair(splits: Mapping[str, SplitOperator]) -> str:
    """Return the devices that compute split operators."""
    return " and ".join(map(device_title, next(iter(splits.values()))["columns"]))


def _placement(report: Report, main: str, best: Schedule) -> str:
    """Return what the main schedule is called in a sentence."""
    if main != "optimal":
        return f"placement {schedule_words(main).title}"
    if least(report):
        return f"placement of {least(report)}{' found' * (not best.get('optimal'))}"
    if not best.get("optimal"):
        gap = gap_text(best.get("predicted_us"), best.get("lower_bound_us"))
        return "best placement found" + (f" ({gap})" if gap else "")
    return "placement that is best by predicted costs" if faster(report) else "best placement"


def _with_length(report: Report, link: str) -> str:
    length = report.get("sequence_length")
    tokens = "" if length is None else f"{link}{quantity(length, 'token')}"
    return f"{report['model']}{tokens}"


def where(report: Report) -> str:
    """Return where the operators of the leading schedule run, "" without one."""
    lead = lead_schedule(report)
    best = report["schedules"].get(lead)
    if best is None:
        return ""
    if lead != main_schedule(report):
        return _split_where(best)
    nodes, pim = best["nodes"], best["pim_nodes"]
    on = best.get("devices") or {}
    further = [
        (on[device]["nodes"], f"the {device_title(device)}")
        for device in further_devices(report)
        if device in on
    ]
    if further:
        return _on_several(best, [*([(pim, "the PIM")] if pim else []), *further])
    if not pim:
        everything = "The only operator is" if nodes == 1 else f"All {nodes} operators are"
        return f"{everything} on the CPU. {why_no_pim(report)}"
    moved = f", with {quantity(best['transfers'], 'transfer')} between their memories"
    rest = "" if pim == nodes else ", the others on the CPU"
    return (
        f"{pim} of {quantity(nodes, 'operator')} {'runs' if pim == 1 else 'run'} on the"
        f" PIM{rest}{moved}."
    )


def _split_where(best: Schedule) -> str:
    """Return where the operators of a schedule with splits run."""
    nodes, splits = best["nodes"], best.get("splits") or {}
    together = sum("pim" in split["columns"] for split in splits.values())
    alone = best["pim_nodes"] - together
    more = f", {alone} on the PIM alone" if alone else ""
    rest = ", the others on the CPU" if len(splits) + alone < nodes else ""
    return (
        f"{len(splits)} of {quantity(nodes, 'operator')} {'is' if len(splits) == 1 else 'are'} on"
        f" both{more}{rest}, with {quantity(best['transfers'], 'transfer')} between their memories."
    )


def _on_several(best: Schedule, places: list[tuple[int, str]]) -> str:
    """Return where the operators of a placement run that uses a device of a plug-in."""
    nodes = best["nodes"]
    first, *others = [f"{count} on {where}" for count, where in places]
    first = first.replace(" on ", f" of {quantity(nodes, 'operator')} run on ", 1)
    rest = ["the others on the CPU"] if sum(count for count, _ in places) < nodes else []
    moved = f"with {quantity(best['transfers'], 'transfer')} between their memories"
    return ", ".join([first, *others, *rest, moved]) + "."


def why_no_pim(report: Report) -> str:
    """Return why no operator of the main schedule is on the PIM, "" where one is."""
    best = report["schedules"][main_schedule(report)]
    if best["pim_nodes"]:
        return ""
    capable, reasons = report.get("pim_capable"), report.get("cpu_only") or {}
    if capable is None:
        nodes = (report.get("graph") or {}).get("nodes") or ()
        capable = sum("pim" in node["cost_us"] for node in nodes)
    if capable == 0:
        counts = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
        return "No operator can run on the PIM" + (f" ({counts})." if counts else ".")
    can = f"{quantity(capable, 'operator')} can run on the PIM"
    if main_schedule(report) == "optimal" and best.get("optimal"):
        better = f"has less {_LESS[least(report)]}" if least(report) else "is faster"
        return f"{can}: by the predicted costs no placement with the PIM {better}."
    return f"{can}; this placement leaves it unused."


def proof(report: Report) -> str:
    """Return what is known about faster placements, "" when nothing is.

    A proof is about the predicted costs. Where an execution contradicts it, that comes first.
    """
    best = report["schedules"].get(main_schedule(report))
    if best is None:
        return ""
    bound = best.get("lower_bound_us")
    split = any(schedule.get("splits") for schedule in report["schedules"].values())
    whole = " of whole operators" if split and not best.get("splits") else ""
    main, than = main_schedule(report), ""
    if lead_schedule(report) != main:
        than = f" than {schedule_title(main, best)}, {format_us(executed_us(report, main) or 0.0)}"
    if least(report):
        worse = f"By the predicted costs no placement{whole} has less {_LESS[least(report)]}"
        known = f"{worse}: proved ({best['method']})." if best.get("optimal") else ""
    elif best.get("optimal"):
        # A schedule is found by search; what proves it is that it ends at a lower bound.
        overlaps = report.get("objective") == "makespan"
        how = "the schedule ends at a lower bound" if overlaps else best["method"]
        known = f"By the predicted costs no placement{whole} is faster{than}: proved ({how})."
    elif bound:
        at_least = format_us(bound)
        known = f"By the predicted costs no placement{whole} takes less than {at_least}: proved."
    else:
        known = ""
    return " ".join(part for part in (contradiction(report), known) if part)


def contradiction(report: Report) -> str:
    """Return which executed schedules took less time than the main one, "" where none did."""
    quicker = faster(report)
    if not quicker:
        return ""
    main = main_schedule(report)
    best = report["schedules"][main]
    took = best["executed_us"] or 0.0
    texts = [
        f"{schedule_title(name, report['schedules'][name])} took {format_us(us)}"
        for name, us in sorted(quicker.items(), key=lambda item: item[1])
    ]
    ratio = took / min(quicker.values())
    return (
        f"Executed, {' and '.join(texts)}, less than the {format_us(took)} of"
        f" {schedule_title(main, best)} ({ratio:.3g} times as long): the costs that were predicted"
        " are not those of the execution."
    )


def faster(report: Report) -> dict[str, float]:
    """Return the executed times, us, of the schedules that beat the planned optimum."""
    schedules = report["schedules"]
    optimal = schedules.get("optimal")
    took = None if optimal is None else optimal.get("executed_us")
    if main_schedule(report) != "optimal" or took is None or least(report):
        return {}  # a plan for energy may be slower than others
    return {
        name: executed
        for name, schedule in schedules.items()
        if (executed := schedule.get("executed_us")) is not None
        and not schedule.get("splits")
        and executed < took * (1.0 - SAME)
    }


def cards(report: Report) -> list[Card]:
    """Return the speed-up over each baseline; none without a clock."""
    gains = _ratios(report)
    widest = max([1.0, *gains.values()])
    made = []
    for name in schedule_order(gains):
        schedule = dict(report["schedules"].get(name) or {})
        us = executed_us(report, name)
        executed = "" if us is None else format_us(us)
        share = 100.0 * gains[name] / widest
        title = schedule_title(name, schedule) if schedule else schedule_words(name).title
        meaning = schedule_meaning(name, schedule, further_devices(report))
        made.append(Card(title, meaning, gains[name], share, executed))
    return made


def cards_of(report: Report) -> str:
    """Return the schedule that the cards are about, with its time."""
    lead = lead_schedule(report)
    took = executed_us(report, lead)
    if took is None:
        return ""
    return f"{schedule_title(lead, report['schedules'][lead])}, {format_us(took)}"


def _ratios(report: Report) -> dict[str, float]:
    """Return the speed-up of the leading schedule over each placement of whole operators."""
    schedules = report["schedules"]
    return {
        name: ratio
        for name, ratio in slowdowns(report).items()
        if not (name in schedules and schedules[name].get("splits"))
    }


def together(report: Report) -> list[str]:
    """Return a sentence on each schedule that splits operators between devices."""
    schedules = report["schedules"]
    main = schedules.get(main_schedule(report))
    took = None if main is None else main.get("executed_us")
    sentences = []
    for name in schedule_order(schedules):
        schedule = schedules[name]
        splits, us = schedule.get("splits"), schedule.get("executed_us")
        if name == "coexec" and not splits:
            sentences.append(
                f"{schedule_title(name, schedule)} splits no operator: no share is quicker than"
                " the whole."
            )
        if not splits or us is None or not took:
            continue
        pair = _pair(splits)
        gain = took / us
        speed = "as fast" if abs(gain - 1.0) < _EQUAL else f"{gain:.2f} times as fast"
        other = schedule_title(main_schedule(report), schedules[main_schedule(report)])
        sentences.append(
            f"{schedule_title(name, schedule)} splits {quantity(len(splits), 'operator')} between"
            f" {pair}, which compute at the same time: {format_us(us)}, {speed} as {other}, which"
            f" splits none. Times on both sides of a split overlap, so its devices and transfers"
            f" add up to more than its time. {ASSUMED}"
        )
    return sentences


def _told(gains: dict[str, float]) -> list[str]:
    """Return the two baselines that every reader knows, else the first one there is."""
    known: list[str] = [name for name in ("cpu_serial", "cpu_parallel_first") if name in gains]
    return known or list(gains)[:1]


def _gain(than: str, ratio: float) -> str:
    if abs(ratio - 1.0) < _EQUAL:
        return f"as fast as {than}"
    return f"{ratio:.2f} times as fast as {than}"
