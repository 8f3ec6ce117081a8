"""The PIM operators of a model against the limits of the device: multiply-adds and bandwidth."""

from __future__ import annotations

from typing import Any

from host.capabilities import MatmulOperation
from host.pipeline.outcome import Outcome
from host.platform import Platform

_FS_PER_US = 1e9
_DEVICE_ELEMENT = 2  # bytes, bfloat16


def roofline(outcome: Outcome) -> dict[str, Any]:
    """Return the report's `roofline`: limits, and a point for every operator with a PIM time.

    The bytes of a point are operands and result once each, in bfloat16. The device may read
    weights again for every row, so points can lie far below the bandwidth.
    """
    peak, bandwidth = limits(outcome.platform)
    points = []
    for identifier, us in _pim_times(outcome).items():
        node = outcome.graph.node(identifier)
        macs, nbytes = _work(outcome, identifier)
        points.append({"node": identifier, "op": node.op, "macs": macs, "bytes": nbytes, "us": us})
    return {"peak_macs_per_us": peak, "bandwidth_bytes_per_us": bandwidth, "points": points}


def limits(platform: Platform) -> tuple[float, float]:
    """Return the device's most multiply-adds, and bytes from the banks, a microsecond."""
    device = platform.device
    clocks = _FS_PER_US / device.tck_fs
    all_bank = device.style == "all_bank"
    beat = device.atom_bytes * (device.banks if all_bank else 1)
    # Beats of one bank group keep tCCD_L, beats that change the group only tCCD_S.
    spacing = platform.dram.tccd_l if all_bank else platform.dram.tccd_s
    return device.lanes / device.ck_ratio * clocks, beat / spacing * clocks


def _pim_times(outcome: Outcome) -> dict[str, float]:
    """Return the PIM's time of every operator that has one, microseconds."""
    if outcome.costs is not None:
        return {
            name: by_device["pim"]
            for name, by_device in outcome.costs.cost_us.items()
            if "pim" in by_device
        }
    found: dict[str, float] = {}
    for schedule in outcome.schedules.values():
        if schedule.times is not None:
            found |= {name: schedule.times.nodes[name] for name in schedule.result.execution.pim}
    return found


def _work(outcome: Outcome, identifier: str) -> tuple[int, int]:
    """Return the multiply-adds and the bytes of an operator."""
    graph, operation = outcome.graph, outcome.operations[identifier]
    node = graph.node(identifier)
    result = graph.tensors[node.outputs[0]].elements
    names = [operation.left, operation.right]
    macs = result
    if isinstance(operation, MatmulOperation):
        macs *= graph.tensors[operation.left].shape[-1]
        names += [operation.bias] if operation.bias is not None else []
    elements = result + sum(graph.tensors[name].elements for name in names)
    return macs, _DEVICE_ELEMENT * elements
