"""The PIM operators of a report by type and shape: rates, and what limits them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pimloop.host.report.format.model import RooflinePoint
from pimloop.host.report.format.report import Report

#: Numbers of a point that a row adds up.
_Summed = Literal["bytes", "ideal_bytes", "macs", "device_us", "device_fj"]

#: What `limited_by` of a report says, in words.
LIMITS = {
    "driver_call": "driver call",
    "dram_bandwidth": "DRAM bandwidth",
    "channel": "channel",
    "lanes": "lanes",
    "latency": "latency",
}

#: The same, explained.
LIMIT_MEANINGS = {
    "driver_call": "the driver's cost of a call is longer than the work on the device",
    "dram_bandwidth": "reading and writing the banks takes most of the time",
    "channel": "atoms over the channel, past the all-bank accesses, take most of the time",
    "lanes": "multiplying takes most of the time",
    "latency": "neither takes half of the time: row changes, set-up, lane latency, refresh",
}


@dataclass(frozen=True)
class RateRow:
    """Equal operators: one type, the same shapes."""

    op: str
    shapes: str  # of the operands, as "8x512, 512x512"
    count: int
    us: float  # of all, the driver's calls included
    nbytes: int | None  # of all; None: not counted
    ideal_bytes: int  # operands and results once
    macs: int
    device_us: float | None  # of all, while their lists ran
    device_fj: int | None  # of all, while their lists ran; None: no energies
    bandwidth: float  # the most bytes a microsecond
    limited_by: str  # a key of LIMITS, "" where it is not known

    @property
    def gb_per_s(self) -> float | None:
        """GB/s moved in the banks while the lists ran."""
        if self.nbytes is None or not self.device_us:
            return None
        return self.nbytes / self.device_us / 1e3

    @property
    def pj_per_bit(self) -> float | None:
        """Picojoules of the device for each bit moved in the banks."""
        if self.device_fj is None or not self.nbytes:
            return None
        return self.device_fj / (8e3 * self.nbytes)

    @property
    def limit(self) -> str:
        """What limits them, in words."""
        return LIMITS.get(self.limited_by, self.limited_by)

    @property
    def limit_meaning(self) -> str:
        """The same, explained."""
        return LIMIT_MEANINGS.get(self.limited_by, "")

    @property
    def bandwidth_share(self) -> float | None:
        """The same as a fraction of the DRAM's peak."""
        rate = self.gb_per_s
        return None if rate is None else 1e3 * rate / self.bandwidth

    @property
    def gmacs_per_s(self) -> float | None:
        """Useful multiply-adds, 10^9 a second, while the lists ran."""
        return self.macs / self.device_us / 1e3 if self.device_us else None


def rate_rows(report: Report, nodes: Iterable[str] | None = None) -> list[RateRow]:
    """Return the PIM operators of a report, the ones that take most time first.

    Parameters
    ----------
    nodes
        Ids of the operators to take; None: every operator that has a PIM time.
    """
    roofline = report.get("roofline")
    if roofline is None:
        return []
    wanted = None if nodes is None else set(nodes)
    signatures = {
        node["id"]: node.get("signature") or ""
        for node in (report.get("graph") or {}).get("nodes") or ()
    }
    groups: dict[tuple[str, str, str | None], list[RooflinePoint]] = {}
    for point in roofline["points"]:
        if wanted is None or point["node"] in wanted:
            shapes = shapes_of(signatures.get(point["node"], ""))
            key = (point["op"], shapes, point.get("limited_by"))
            groups.setdefault(key, []).append(point)
    rows = [
        RateRow(
            op=op,
            shapes=shapes,
            count=len(points),
            us=sum(point["us"] for point in points),
            nbytes=_sum(points, "bytes"),
            ideal_bytes=_sum(points, "ideal_bytes") or 0,
            macs=_sum(points, "macs") or 0,
            device_us=_sum(points, "device_us"),
            device_fj=_sum(points, "device_fj"),
            bandwidth=roofline["bandwidth_bytes_per_us"],
            limited_by=limit or "",
        )
        for (op, shapes, limit), points in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row.us, row.op, row.shapes))


def shapes_of(signature: str) -> str:
    """Return the operands' shapes of a signature for people, leading ones left out.

    >>> shapes_of("MatMul/1x8x512/512x512/const=1"), shapes_of("Add/1x8x512/scalar/const=1")
    ('8x512, 512x512', '8x512, scalar')
    """
    _, *parts = signature.split("/")
    return ", ".join(_without_ones(part) for part in parts if "=" not in part)


def _without_ones(shape: str) -> str:
    sizes = shape.split("x")
    while len(sizes) > 2 and sizes[0] == "1":
        sizes = sizes[1:]
    return "x".join(sizes)


def _sum(points: list[RooflinePoint], key: _Summed) -> Any:
    """Return the sum of a number over points, None where one lacks it."""
    values = [point.get(key) for point in points]
    return None if None in values else sum(values)
