"""The versions of report.json: reading any of them as today's.

What older ones did not know is null, what they had wrong is left out.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pimloop.host.report.format.model import Roofline, RooflinePoint
from pimloop.host.report.format.report import Report, Report2, check_parts
from pimloop.partitioner.typed_json import check, type_of_version

#: Version that `pimloop.host.report.build` writes.
FORMAT = "pimloop-report/3"

#: The type of every version that is read.
VERSIONS: dict[str, Any] = {"pimloop-report/2": Report2, FORMAT: Report}


def check_report(data: Any) -> Report:
    """Return the object of a report of any version, checked, as one of today's.

    Raises
    ------
    JsonError
        When it is none; says where and what was expected.
    """
    report = upgrade(check(data, type_of_version(data, VERSIONS)))
    check_parts(report)
    return report


def upgrade(report: Report | Report2) -> Report:
    """Return a report with the keys of today's version.

    Version 2 counted the bytes of each operand once and called them bytes from the DRAM, and mixed
    all-bank commands with accesses of one bank in row hits and bus use.
    """
    if report["format"] == FORMAT:
        return cast(Report, report)
    upgraded = cast(Report, {**report, "format": FORMAT})
    sources = {source for node in report["graph"]["nodes"] for source in node["source"].values()}
    timed = any(schedule["executed_us"] is not None for schedule in report["schedules"].values())
    kind: Literal["measured", "simulated"] = "measured" if "measured" in sources else "simulated"
    upgraded["executed_kind"] = kind if timed else None
    if report["roofline"] is not None:
        upgraded["roofline"] = _roofline(report["roofline"])
    mixed = ("row_hits", "row_hit_rate", "bus_use")
    upgraded["counters"] = {k: v for k, v in report["counters"].items() if k not in mixed}
    return upgraded


def _roofline(roofline: Roofline) -> Roofline:
    """Return the roofline of version 2 without what it did not count."""
    points: list[RooflinePoint] = [
        {
            **point,
            "ideal_bytes": point["bytes"] or 0,
            "bytes": None,
            "cycles": None,
            "device_us": None,
            "macs_per_us": None,
            "bytes_per_us": None,
            "bandwidth_share": None,
            "roof_share": None,
            "limited_by": None,
        }
        for point in roofline["points"]
    ]
    return {**roofline, "points": points}
