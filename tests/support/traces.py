"""Counter tracks of trace.json, held against the trace event format (Google, 2016)."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

#: (microseconds, watts) of each sample.
Track = list[tuple[float, float]]


def area(track: Track) -> float:
    """Return the femtojoules under a power track."""
    return sum(1e9 * watts * (then - now) for (now, watts), (then, _) in pairwise(track))


def check_counters(path: Path) -> dict[int, Track]:
    """Hold the counter events of a trace against the format; return the tracks by process."""
    events = json.loads(path.read_text())["traceEvents"]
    named = {e["pid"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    ends: dict[int, tuple[float, float]] = {}
    for e in events:
        if e["ph"] == "X":
            first, last = ends.get(e["pid"], (e["ts"], 0))
            ends[e["pid"]] = min(first, e["ts"]), max(last, e["ts"] + e["dur"])
    tracks: dict[tuple[int, str], Track] = {}
    for event in events:
        if event["ph"] != "C":
            continue
        assert event.keys() == {"ph", "name", "pid", "ts", "args"}
        assert isinstance(event["name"], str)
        assert event["pid"] in named
        assert isinstance(event["ts"], (int, float))
        assert event["args"].keys() == {"W"}
        assert isinstance(event["args"]["W"], (int, float))
        assert math.isfinite(event["args"]["W"])
        tracks.setdefault((event["pid"], event["name"]), []).append(
            (event["ts"], event["args"]["W"])
        )
    assert len(tracks) == len({pid for pid, _ in tracks}), "one track a schedule"
    for (process, _), track in tracks.items():
        times = [ts for ts, _ in track]
        assert times == sorted(set(times))
        assert (times[0], times[-1]) == pytest.approx(ends[process])
        assert track[-1][1] == 0
        assert min(watts for _, watts in track) >= 0
    return {process: track for (process, _), track in tracks.items()}
