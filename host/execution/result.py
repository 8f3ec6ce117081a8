"""What an execution of a model under one assignment found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pimloop.host.cpu.timing import Timing
from pimloop.host.execution.accuracy import Comparison
from pimloop.host.execution.execution import Execution
from pimloop.host.execution.finite import NonFinite
from pimloop.host.execution.options import Options
from pimloop.host.execution.reference.decisions import IntegerComparison
from pimloop.host.execution.verification import OPERATOR_LIMIT, Mismatch
from pimloop.host.models.graph import Array, Graph
from pimloop.host.pim.driver import OpStats
from pimloop.host.platforms.platform import Platform


@dataclass
class Result:
    """What an execution found out."""

    graph: Graph
    platform: Platform
    options: Options
    assignment: Mapping[str, str]
    execution: Execution
    #: CPU nodes by id and conversions by `Transfer.key`; empty where the platform models both.
    cpu_times: Mapping[str, Timing]
    comparisons: list[Comparison]  # the outputs, and what small outputs come from
    checked: int  # PIM results compared with the golden model
    mismatches: list[Mismatch] = field(default_factory=list)
    operator_errors: Mapping[str, float] = field(default_factory=dict)  # PIM nodes, to float32
    #: Integer outputs and decisions against float32 (`pimloop.host.execution.reference.judge`).
    integers: list[IntegerComparison] = field(default_factory=list)
    #: What CPU memory held that its operators do not give (`Executor.wrong_segments`).
    wrong_segments: list[str] = field(default_factory=list)
    #: The first operator with NaN or infinities that float32 does not have, of each execution.
    non_finite: list[NonFinite] = field(default_factory=list)
    #: Loading the constants that its PIM operators read, by whichever execution on its device.
    weights: OpStats = field(default_factory=OpStats)
    device_totals: OpStats = field(default_factory=OpStats)
    device_seconds: float = 0.0  # wall time of driver calls
    #: Whether every operator had the addresses that it has in every schedule.
    static_addresses: bool = True

    @property
    def pim_bit_exact(self) -> bool:
        """Whether every PIM result has the golden model's bits."""
        return not self.mismatches

    @property
    def passed(self) -> bool:
        """Whether PIM results, CPU segments, NaN and infinities and the outputs are right."""
        operators = all(error <= OPERATOR_LIMIT for error in self.operator_errors.values())
        floats = all(comparison.passed for comparison in self.comparisons)
        integers = all(comparison.passed for comparison in self.integers)
        wrong = self.mismatches or self.wrong_segments or self.non_finite
        return operators and floats and integers and not wrong

    @property
    def outputs(self) -> dict[str, Array]:
        """The model's outputs by name."""
        return {name: self.execution.values[name] for name in self.graph.outputs}


def measures_cpu(platform: Platform) -> bool:
    """Return whether a platform's times need CPU work to be timed on this machine."""
    return platform.cpu_model() is None or platform.driver.conversion == "measured"
