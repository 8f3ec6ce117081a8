"""The PIM operators of a model against the limits of the device: multiply-adds and bandwidth.

The bytes of an operator are those its column commands moved in the banks, counted in an execution;
weights that are read again for every row count again. Its rates are over the time its descriptor
lists ran, without the driver's cost of the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pimloop.host.pim.driver import OpStats
from pimloop.host.planning.energies import device_energy
from pimloop.host.planning.outcome import Outcome
from pimloop.host.platforms.platform import Platform
from pimloop.host.report.format.model import Roofline, RooflinePoint
from pimloop.host.report.traffic import traffic

_FS_PER_US = 1e9
_DEVICE_ELEMENT = 2  # bytes, bfloat16

#: What bounds the time of an operator; "latency": none of the others explains half of it.
LimitedBy = Literal["driver_call", "dram_bandwidth", "channel", "lanes", "latency"]


@dataclass(frozen=True)
class Limits:
    """The most a device can do in a microsecond."""

    macs_per_us: float
    bytes_per_us: float  # between the banks and the lanes


def limits(platform: Platform) -> Limits:
    """Return the limits of a platform's device.

    Lanes that do not divide the elements of a beat leave some idle in its last clock: 24 lanes take
    two clocks for 32 elements, as 16 do.
    """
    device = platform.device
    clocks = _FS_PER_US / device.tck_fs
    geometry = platform.geometry()
    return Limits(
        macs_per_us=geometry.beat_columns / lane_clocks(platform, device.lanes) * clocks,
        bytes_per_us=geometry.beat_bytes / _beat_clocks(platform) * clocks,
    )


def limited_by(stats: OpStats, platform: Platform) -> LimitedBy:
    """Return what takes most of the time of an operator's call.

    Parameters
    ----------
    stats
        Of the operator, from a device with a clock.
    """
    if platform.driver.call_overhead_us > platform.device_us(stats.cycles):
        return "driver_call"
    channel = stats.channel_accesses * platform.dram.tccd_s
    beats = stats.all_bank_accesses * _beat_clocks(platform)
    lanes = stats.counters["mac"] * lane_clocks(platform, platform.device.lanes)
    commands = command_clocks(stats, platform)
    if 2 * max(commands, lanes) < stats.cycles:
        return "latency"
    if lanes > commands:
        return "lanes"
    all_bank = platform.device.style == "all_bank"
    return "channel" if all_bank and channel > beats else "dram_bandwidth"


def roofline(outcome: Outcome) -> Roofline:
    """Return the report's `roofline`: limits, and a point for every operator with a PIM time."""
    peak = limits(outcome.platform)
    measured = counted(outcome)
    times = _pim_times(outcome)
    names = [node.id for node in outcome.graph.nodes if node.id in measured or node.id in times]
    return {
        "peak_macs_per_us": peak.macs_per_us,
        "bandwidth_bytes_per_us": peak.bytes_per_us,
        "points": [_point(outcome, peak, n, measured.get(n), times.get(n)) for n in names],
    }


def _point(
    outcome: Outcome, peak: Limits, identifier: str, stats: OpStats | None, us: float | None
) -> RooflinePoint:
    """Return what the report says of an operator; null where nothing was counted."""
    platform = outcome.platform
    macs, ideal = work(outcome, identifier)
    point: RooflinePoint = {
        "node": identifier,
        "op": outcome.graph.node(identifier).op,
        "macs": macs,
        "us": platform.pim_time_us(stats.cycles) if stats is not None else us or 0.0,
        "ideal_bytes": ideal,
        "bytes": None,
        "cycles": None,
        "device_us": None,
        "macs_per_us": None,
        "bytes_per_us": None,
        "bandwidth_share": None,
        "roof_share": None,
        "device_fj": None,
        "limited_by": None,
    }
    if stats is None:
        return point
    nbytes, device_us = traffic(stats, platform).nbytes, platform.device_us(stats.cycles)
    spent = device_energy(stats, platform)
    roof = min(peak.macs_per_us, macs / nbytes * peak.bytes_per_us)
    return {
        **point,
        "bytes": nbytes,
        "cycles": stats.cycles,
        "device_us": device_us,
        "macs_per_us": macs / device_us,
        "bytes_per_us": nbytes / device_us,
        "bandwidth_share": nbytes / device_us / peak.bytes_per_us,
        "roof_share": macs / device_us / roof,
        "device_fj": None if spent is None else spent.total.nominal,
        "limited_by": limited_by(stats, platform),
    }


def _beat_clocks(platform: Platform) -> int:
    """Return the DRAM clocks from one beat to the next at best.

    Beats of one bank group keep tCCD_L, as all-bank ones do; beats that change the group tCCD_S.
    """
    all_bank = platform.device.style == "all_bank"
    return platform.dram.tccd_l if all_bank else platform.dram.tccd_s


def command_clocks(stats: OpStats, platform: Platform) -> int:
    """Return the DRAM clocks that the column commands of an operator take at best.

    One at a time: those of the channel and those of all banks add up.
    """
    channel = stats.channel_accesses * platform.dram.tccd_s
    return channel + stats.all_bank_accesses * _beat_clocks(platform)


def lane_clocks(platform: Platform, lanes: int) -> float:
    """Return the DRAM clocks in which so many lanes work on a beat, for each row that shares it."""
    columns = platform.geometry().beat_columns
    together = max(1, min(lanes // columns, platform.device.rows_per_beat))
    return -(-columns // lanes) * platform.device.ck_ratio / together


def counted(outcome: Outcome) -> dict[str, OpStats]:
    """Return the counters of every operator that ran on the PIM, the main schedule's first."""
    if outcome.options.backend == "model":
        return {}
    counted: dict[str, OpStats] = {}
    main = outcome.schedules[outcome.main].result
    for result in (main, *outcome.results):
        counted = {**result.execution.pim, **counted}
    return counted


def _pim_times(outcome: Outcome) -> dict[str, float]:
    """Return the PIM's time of every operator that has one in the costs, microseconds."""
    if outcome.costs is None:
        return {}
    return {
        name: by_device["pim"]
        for name, by_device in outcome.costs.cost_us.items()
        if "pim" in by_device
    }


def work(outcome: Outcome, identifier: str) -> tuple[int, int]:
    """Return the multiply-adds of an operator, and the bytes of its operands and result once."""
    graph, operation = outcome.graph, outcome.operations[identifier]
    node = graph.node(identifier)
    result = graph.tensors[node.outputs[0]].elements
    elements = result + sum(graph.tensors[name].elements for name in operation.operands)
    return operation.multiply_adds(result), _DEVICE_ELEMENT * elements
