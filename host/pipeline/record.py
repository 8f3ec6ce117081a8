"""Results of executions as JSON and back: what an interrupted run keeps.

Everything that a report needs is kept; the model's values are not.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pimloop.host.cpu.timing import Timing
from pimloop.host.execution.accuracy import Comparison
from pimloop.host.execution.execution import Execution, Transfer
from pimloop.host.execution.finite import NonFinite
from pimloop.host.execution.options import Options
from pimloop.host.execution.reference.decisions import IntegerComparison
from pimloop.host.execution.result import Result
from pimloop.host.execution.verification import Mismatch
from pimloop.host.models.graph import Graph
from pimloop.host.pim.driver import OpStats
from pimloop.host.platforms.platform import Platform


def to_dict(result: Result) -> dict[str, Any]:
    """Return a result as plain data; NaN and infinity are kept (Python's JSON reads them back)."""
    execution = result.execution
    return {
        "assignment": dict(result.assignment),
        "pim": {name: asdict(stats) for name, stats in execution.pim.items()},
        "transfers": [asdict(transfer) for transfer in execution.transfers],
        "cpu_times": {name: asdict(timing) for name, timing in result.cpu_times.items()},
        "comparisons": [asdict(comparison) for comparison in result.comparisons],
        "checked": result.checked,
        "mismatches": [asdict(mismatch) for mismatch in result.mismatches],
        "operator_errors": dict(result.operator_errors),
        "integers": [asdict(comparison) for comparison in result.integers],
        "wrong_segments": list(result.wrong_segments),
        "non_finite": [asdict(first_operator) for first_operator in result.non_finite],
        "weights": asdict(result.weights),
        "device_totals": asdict(result.device_totals),
        "device_seconds": result.device_seconds,
        "static_addresses": result.static_addresses,
    }


def from_dict(data: dict[str, Any], graph: Graph, platform: Platform, options: Options) -> Result:
    """Return the result that `to_dict` described.

    Raises
    ------
    KeyError, TypeError
        When `data` is something else.
    """
    transfers = [
        Transfer(**{**transfer, "stats": OpStats(**transfer["stats"])})
        for transfer in data["transfers"]
    ]
    pim = {name: OpStats(**stats) for name, stats in data["pim"].items()}
    return Result(
        graph=graph,
        platform=platform,
        options=options,
        assignment=data["assignment"],
        execution=Execution(pim=pim, transfers=transfers),
        cpu_times={name: Timing(**timing) for name, timing in data["cpu_times"].items()},
        comparisons=[Comparison(**comparison) for comparison in data["comparisons"]],
        checked=data["checked"],
        mismatches=[
            Mismatch(**{**mismatch, "first": tuple(mismatch["first"])})
            for mismatch in data["mismatches"]
        ],
        operator_errors=data["operator_errors"],
        integers=[IntegerComparison(**comparison) for comparison in data["integers"]],
        wrong_segments=data["wrong_segments"],
        non_finite=[
            NonFinite(**{**entry, "first": tuple(entry["first"])}) for entry in data["non_finite"]
        ],
        weights=OpStats(**data["weights"]),
        device_totals=OpStats(**data["device_totals"]),
        device_seconds=data["device_seconds"],
        static_addresses=data["static_addresses"],
    )
