"""Older reports as today's: what they did not know is null, what they had wrong is left out."""

from __future__ import annotations

from typing import Any

#: Version that `pimloop.host.report.build` writes.
FORMAT = "pimloop-report/3"

#: Versions that are read.
READABLE = ("pimloop-report/2", FORMAT)

_COUNTED = ("bytes", "cycles", "device_us", "macs_per_us", "bytes_per_us", "bandwidth_share",
            "roof_share", "limited_by")  # fmt: skip


def upgrade(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report of a readable version with the keys of today's.

    Version 2 counted the bytes of each operand once and called them bytes from the DRAM, and mixed
    all-bank commands with accesses of one bank in row hits and bus use.
    """
    if report.get("format") == FORMAT:
        return report
    upgraded = dict(report)
    sources = {
        source
        for node in (report.get("graph") or {}).get("nodes") or ()
        for source in (node.get("source") or {}).values()
    }
    timed = any(
        schedule.get("executed_us") is not None
        for schedule in (report.get("schedules") or {}).values()
    )
    measured = "measured" in sources
    upgraded["executed_kind"] = ("measured" if measured else "simulated") if timed else None
    if report.get("roofline"):
        roofline = report["roofline"]
        points = [
            {**point, "ideal_bytes": point["bytes"], **dict.fromkeys(_COUNTED)}
            for point in roofline.get("points") or ()
        ]
        upgraded["roofline"] = {**roofline, "points": points}
    if report.get("counters"):
        mixed = ("row_hits", "row_hit_rate", "bus_use")
        upgraded["counters"] = {k: v for k, v in report["counters"].items() if k not in mixed}
    return upgraded
