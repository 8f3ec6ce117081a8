"""A schedule of the report: prediction, execution, splits, and what operators cost elsewhere."""

from __future__ import annotations

from collections import Counter

from pimloop.host.devices.kinds import SplitDevice
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import ScheduleTimes
from pimloop.host.planning.outcome import Outcome, Schedule
from pimloop.host.report.energies import energy_json
from pimloop.host.report.format.schedule import (
    OnDevice,
    OperatorRow,
    ScheduleOptions,
    SplitOperator,
    Weights,
)
from pimloop.host.report.format.schedule import Schedule as ScheduleJson
from pimloop.host.report.placement import placement
from pimloop.host.report.verdicts import verification


def schedule_json(outcome: Outcome, schedule: Schedule) -> ScheduleJson:
    """Return what the report says of a schedule."""
    result, plan, times = schedule.result, schedule.plan, schedule.times
    executed = schedule.executed
    return {
        "predicted_us": plan.total_us if plan else None,
        "executed_us": executed.total_us if executed else None,
        "executed_min_us": outcome.least_us(schedule),
        "compute_us": times.compute_us if times else None,
        "transfer_us": times.transfer_us if times else None,
        "pim_us": times.pim_us if times else None,
        "cpu_us": times.cpu_us if times else None,
        "pim_nodes": len(result.execution.pim),
        "devices": _devices(result, times),
        **_options(outcome, schedule),
        "nodes": len(result.graph.nodes),
        "transfers": len(result.execution.transfers),
        "transfer_bytes": sum(t.nbytes for t in result.execution.transfers),
        "optimal": bool(plan and plan.optimal),
        "method": plan.method if plan else None,
        "lower_bound_us": plan.lower_bound_us if plan else None,
        "assignment": dict(result.assignment),
        "timeline": []
        if executed is None
        else [
            {
                "lane": step.lane,
                "start_us": step.start_us,
                "us": step.us,
                "name": step.name,
                "node": step.node,
                "tensor": step.tensor,
                "kind": step.kind,
            }
            for step in executed.steps
        ],
        "operators": _operators(schedule),
        "cycles": sum(stats.cycles for stats in result.execution.pim.values()),
        "weights": _weights(result),
        "verification": {
            **verification(result),
            "passed": result.passed and not schedule.missed,
            "predictions_missed": list(schedule.missed),
        },
    }


def _options(outcome: Outcome, schedule: Schedule) -> ScheduleOptions:
    """Return what a schedule has that not every one has."""
    options: ScheduleOptions = {}
    splits = _splits(schedule.result, schedule.times)
    if splits:
        options["splits"] = splits
    energy = energy_json(schedule)
    if energy is not None:
        options["energy"] = energy
    plan = schedule.plan
    if plan is not None and plan.energy is not None:
        options["plan_energy"] = plan.energy.to_dict(plan.objective)
    why = placement(outcome.costs, schedule.plan)
    if why is not None:
        options["placement"] = why
    return options


def _devices(result: Result, times: ScheduleTimes | None) -> dict[str, OnDevice]:
    """Return the operators of each device that has any, and what they took there together.

    One that is split counts at both devices, each with the time of its part.
    """
    devices = result.platform.devices
    counts: Counter[str] = Counter()
    for name in result.assignment.values():
        kind = devices[name]
        parts = kind.parts if isinstance(kind, SplitDevice) else (kind,)
        counts.update(part.name for part in parts)
    return {
        device: {"nodes": count, "us": times.device_us[device] if times else None}
        for device, count in counts.items()
    }


def _splits(result: Result, times: ScheduleTimes | None) -> dict[str, SplitOperator]:
    """Return the operators that two devices compute together, by id."""
    splits: dict[str, SplitOperator] = {}
    gathers: dict[str, dict[str, float]] = {}
    if times is not None:
        for transfer, us in zip(result.execution.transfers, times.transfers, strict=True):
            gathers.setdefault(transfer.tensor, {})[transfer.destination] = us
    for node in result.graph.nodes:
        kind = result.platform.devices[result.assignment[node.id]]
        if not isinstance(kind, SplitDevice):
            continue
        columns = result.graph.tensors[node.outputs[0]].shape[-1]
        first = kind.first_columns(columns)
        cpu, pim = (part.name for part in kind.parts)
        splits[node.id] = {
            "columns": {cpu: columns - first, pim: first},
            "us": None if times is None else times.parts[node.id],
        }
        if times is not None:
            splits[node.id]["gather_us"] = gathers.get(node.outputs[0], {})
    return splits


def _weights(result: Result) -> Weights:
    """Return what loading the constants of the PIM operators took, once, before the execution."""
    stats = result.weights
    timed = result.options.backend == "sim"
    return {
        "bytes": stats.host_bytes_in,
        "cycles": stats.cycles if timed else None,
        "us": result.platform.device_us(stats.cycles) if timed else None,
    }


def _operators(schedule: Schedule) -> list[OperatorRow]:
    """Return time by operator type and device, the longest first."""
    result, times = schedule.result, schedule.times
    rows: dict[tuple[str, str], OperatorRow] = {}
    for node in result.graph.nodes:
        kind = result.platform.devices[result.assignment[node.id]]
        device = kind.pair if isinstance(kind, SplitDevice) else kind.name
        row = rows.setdefault(
            (node.op, device),
            {"op": node.op, "device": device, "count": 0, "us": None if times is None else 0.0},
        )
        row["count"] += 1
        if times is not None:
            row["us"] = (row["us"] or 0.0) + times.nodes[node.id]
    return sorted(rows.values(), key=lambda row: (-(row["us"] or 0.0), row["op"]))
