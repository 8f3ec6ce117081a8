"""trace.json: the executed schedules as a trace for Perfetto (ui.perfetto.dev) and chrome://tracing.

One process for each schedule, one thread for each lane, and a flow (arrow) from the operator that
made a tensor through its transfer to the operator that reads it there, and where the platform has
energies a counter track of power. Times are microseconds of the platform, not of the machine that
simulated it.
Source: "Trace Event Format", Google, 2016.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pimloop.host.common.files import write_text
from pimloop.host.devices.kinds import kinds
from pimloop.host.report.format.model import Node
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Energy, SplitOperator, TimelineStep
from pimloop.host.report.html.labels import device_title, lane_order, schedule_order, schedule_title

Event = dict[str, Any]

_W_PER_FJ_US = 1e-9  # watts in a femtojoule a microsecond


def write_trace(report: Report, path: Path) -> None:
    """Write the trace of a report (`pimloop-report/3`).

    Schedules without a timeline (a device without a clock) are left out.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    text = json.dumps(_trace(report), separators=(",", ":"), allow_nan=False)
    write_text(path, text + "\n")


def _trace(report: Report) -> dict[str, Any]:
    events: list[Event] = []
    names = schedule_order(report["schedules"])
    for process, name in enumerate(names, 1):
        events += _process(report, name, process)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {key: report.get(key) for key in ("model", "sequence_length", "platform")},
    }


def _process(report: Report, name: str, process: int) -> Iterator[Event]:
    """Yield the events of one schedule."""
    timeline = report["schedules"][name].get("timeline")
    if not timeline:
        return
    title = schedule_title(name, report["schedules"][name])
    yield _name("process_name", process, 0, f"{report['model']}: {title}")
    yield {
        "ph": "M",
        "name": "process_sort_index",
        "pid": process,
        "tid": 0,
        "args": {"sort_index": process},
    }
    lanes = lane_order(segment["lane"] for segment in timeline)
    threads = {lane: i for i, lane in enumerate(lanes, 1)}
    for lane, thread in threads.items():
        yield _name("thread_name", process, thread, device_title(lane))
    nodes = {node["id"]: node for node in (report.get("graph") or {}).get("nodes") or ()}
    splits = report["schedules"][name].get("splits") or {}
    for segment in timeline:
        yield _slice(segment, process, threads, nodes, splits.get(segment.get("node") or ""))
    yield from _flows(report, timeline, process, threads)
    energy = report["schedules"][name].get("energy")
    if energy is not None:
        yield from _power(energy, timeline, process)


def _power(energy: Energy, timeline: list[TimelineStep], process: int) -> Iterator[Event]:
    """Yield the power while steps run: the area under the track is the energy of the schedule.

    An operator has its average power, a transfer that of all transfers. Each energy has the
    standing power of its time, which counts once where steps overlap.
    """
    moves = [step for step in timeline if step["kind"] == "transfer"]
    moving = sum(step["us"] for step in moves)
    windows = [(step["start_us"], step["us"], energy["transfers_fj"] / moving)
               for step in moves if moving and step["us"]]  # fmt: skip
    parts: dict[str, list[TimelineStep]] = {}
    for step in timeline:
        if step["kind"] == "node":
            parts.setdefault(step["node"] or "", []).append(step)
    for identifier, mine in parts.items():
        start = min(step["start_us"] for step in mine)
        us = max(step["start_us"] + step["us"] for step in mine) - start
        fj = energy["operators_fj"].get(identifier, 0)
        windows += [(start, us, fj / us)] if us else []
    if not windows:
        return
    edges = sorted({edge for start, us, _ in windows for edge in (start, start + us)})
    overlap = edges[-1] - edges[0] - sum(us for _, us, _ in windows)
    standing = energy["overlap_fj"] / overlap if energy["overlap_fj"] else 0.0
    name = "power, W" if energy["with_cpu"] else "power without the CPU, W"
    changes = sorted(
        change
        for start, us, power in windows
        for change in ((start, 1, power), (start + us, -1, -power))
    )
    active, level, place = 0, 0.0, 0
    for edge in edges:
        while place < len(changes) and changes[place][0] <= edge:
            active, level = active + changes[place][1], level + changes[place][2]
            place += 1
        if not active:
            level = 0.0  # nothing is left of sums and differences of the powers
        watts = _W_PER_FJ_US * (level + (1 - active) * standing) if edge < edges[-1] else 0.0
        yield {"ph": "C", "name": name, "pid": process, "ts": edge, "args": {"W": watts}}


def _slice(
    segment: TimelineStep,
    process: int,
    threads: dict[str, int],
    nodes: dict[str, Node],
    split: SplitOperator | None,
) -> Event:
    """Return a step; of an operator that is split, what its own part is, not the whole."""
    event: Event = {
        "ph": "X",
        "name": segment["name"],
        "cat": segment["kind"],
        "pid": process,
        "tid": threads[segment["lane"]],
        "ts": segment["start_us"],
        "dur": segment["us"],
    }
    if segment["lane"] in kinds():
        # Trace viewers have reserved colours only.
        event["cname"] = kinds()[segment["lane"]].trace_colour
    node = nodes.get(segment.get("node") or "")
    if node is not None:
        event["args"] = {
            "op": node["op"],
            "signature": node.get("signature"),
            **(
                {f"{device} us": us for device, us in node["cost_us"].items()}
                if split is None
                else _part(split, segment["lane"])
            ),
        }
    elif segment.get("tensor"):
        event["args"] = {"tensor": segment["tensor"]}
    return event


def _part(split: SplitOperator, lane: str) -> dict[str, Any]:
    """Return what one device does of a split operator, and the time of each part."""
    columns = split["columns"]
    return {
        "columns": columns.get(lane),
        "columns of all": sum(columns.values()),
        **{f"{device} part us": us for device, us in (split["us"] or {}).items()},
        **{f"gather in {m} us": us for m, us in (split.get("gather_us") or {}).items()},
    }


def _flows(
    report: Report, timeline: list[TimelineStep], process: int, threads: dict[str, int]
) -> Iterator[Event]:
    """Yield an arrow from the producer of each moved tensor to its transfer and its first reader.

    An arrow is bound to slices by time and thread, so its ends lie in the middle of theirs.
    """
    edges = (report.get("graph") or {}).get("edges") or ()
    producer = {edge["tensor"]: edge["producer"] for edge in edges}
    readers: dict[str, set[str]] = {}
    for edge in edges:
        if edge["consumer"] is not None:
            readers.setdefault(edge["tensor"], set()).add(edge["consumer"])
    by_node: dict[str | None, list[TimelineStep]] = {}
    for segment in timeline:
        if segment["kind"] == "node":
            by_node.setdefault(segment["node"], []).append(segment)
    moves = [segment for segment in timeline if segment["kind"] == "transfer"]
    for number, move in enumerate(moves):
        tensor = move["tensor"] or ""
        sources, _, destination = move["name"].rpartition(" ")[2].partition(">")
        # Of a split operator, the part whose columns are moved.
        made = by_node.get(producer.get(tensor), [])
        maker = next((s for s in made if _memory(s["lane"]) in sources.split("+")), None)
        maker = maker or next(iter(made), None)
        done = move["start_us"] + move["us"]
        # Readers that began earlier found the tensor in their own memory; those on the maker's
        # side need no transfer either.
        side = None if maker is None else _memory(maker["lane"])
        later = [
            segment
            for node in readers.get(tensor, ())
            for segment in by_node.get(node, ())
            if segment["start_us"] >= done - 1e-6
            and _memory(segment["lane"]) != side
            and _memory(segment["lane"]) in (destination, segment["lane"])
        ]
        steps = [move, *sorted(later, key=_start)[:1]]
        if maker is not None:
            steps.insert(0, maker)
        if len(steps) < 2:
            continue
        identifier = process * 1_000_000 + number
        for place, segment in enumerate(steps):
            phase = "s" if place == 0 else "f" if place == len(steps) - 1 else "t"
            event: Event = {
                "ph": phase,
                "id": identifier,
                "name": move["tensor"],
                "cat": "transfer",
                "pid": process,
                "tid": threads[segment["lane"]],
                "ts": segment["start_us"] + segment["us"] / 2,
            }
            if phase == "f":
                event["bp"] = "e"  # bound to the slice around it
            yield event


def _start(segment: TimelineStep) -> float:
    return float(segment["start_us"])


def _name(kind: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _memory(lane: str) -> str:
    """Return the memory of a device; one that this installation does not have is its own."""
    kind = kinds().get(lane)
    return lane if kind is None else kind.memory
