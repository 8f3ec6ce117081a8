"""One execution of a model under one assignment, from opening the device to the verdict.

`pimloop.host.execution.runner` makes the same of several assignments on a pool of devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from pimloop.host.cpu.operators import run_reference
from pimloop.host.cpu.timing import Timing
from pimloop.host.execution.accuracy import Comparison, compared_tensors
from pimloop.host.execution.executor import Execution, Executor, Progress
from pimloop.host.execution.finite import NonFinite
from pimloop.host.execution.reference.decisions import IntegerComparison
from pimloop.host.execution.reference.judge import judge
from pimloop.host.execution.verification import OPERATOR_LIMIT, Mismatch, Verifier
from pimloop.host.models.graph import Array, Graph
from pimloop.host.pim.device.open import Backend, Flavour, open_device
from pimloop.host.pim.driver import OpStats, PimDriver
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.platforms.platform import Platform
from pimloop.sim.lanes import default_flavour


@dataclass(frozen=True)
class Settings:
    """How to execute."""

    backend: Backend = "sim"
    flavour: Flavour = field(default_factory=default_flavour)
    rounds: int = 10  # of CPU timing
    device_timeout: float = 600.0  # bound of every wait for the device, wall seconds


@dataclass
class Result:
    """What an execution found out."""

    graph: Graph
    platform: Platform
    settings: Settings
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


def execute_model(
    graph: Graph,
    feeds: Mapping[str, Array],
    assignment: Mapping[str, str],
    platform: Platform,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Execute `graph` under `assignment` and check it.

    Raises
    ------
    PimloopError, SimError
        When the assignment or the inputs do not fit, or the device fails.
    """
    settings = settings or Settings()
    report = progress or (lambda _: None)
    report(Progress("reference", "float32 in ONNX Runtime", 0, 1, 0))
    tensors = compared_tensors(graph)
    wanted = run_reference(graph, feeds, outputs=tuple(dict.fromkeys((*graph.outputs, *tensors))))
    operations = pim_fit(graph, platform).operations
    with ExitStack() as stack:
        driver = resident = None
        if "pim" in assignment.values():
            report(Progress("device", f"opening {settings.backend}", 0, 1, 0))
            device = stack.enter_context(
                open_device(
                    platform,
                    settings.backend,
                    flavour=settings.flavour,
                    timeout=settings.device_timeout,
                )
            )
            driver = stack.enter_context(
                PimDriver.for_platform(device, platform, timeout=settings.device_timeout)
            )
            resident = stack.enter_context(ResidentModel(graph, operations, driver))
        verifier = stack.enter_context(Verifier(graph))
        executor = Executor(
            graph, assignment, operations, resident,
            verifier=verifier, progress=report, keep=tensors,
        )  # fmt: skip
        executor.load_weights()
        weights = executor.weight_cost
        execution = executor.run(feeds)
        report(Progress("verify", "golden model", 0, 1, 0))
        verifier.finish()
        mismatches, checked = list(verifier.mismatches), verifier.checked
        errors = dict(verifier.errors)
    first = executor.first_non_finite(
        execution, lambda names: run_reference(graph, feeds, outputs=names)
    )
    wrong_segments = executor.wrong_segments()
    verdict = judge(executor, execution, feeds, wanted)
    cpu_times: Mapping[str, Timing] = {}
    if measures_cpu(platform):
        # The device is closed: nothing else runs while the CPU is timed.
        report(Progress("cpu", "timing CPU operators", 0, 1, 0))
        cpu_times = executor.time_cpu(rounds=settings.rounds)
    return Result(
        graph=graph,
        platform=platform,
        settings=settings,
        assignment=assignment,
        execution=execution,
        cpu_times=cpu_times,
        comparisons=verdict.comparisons,
        checked=checked,
        mismatches=mismatches,
        operator_errors=errors,
        integers=verdict.integers,
        wrong_segments=wrong_segments,
        non_finite=[] if first is None else [first],
        weights=weights,
        device_totals=driver.totals if driver is not None else OpStats(),
        device_seconds=executor.device_seconds,
        static_addresses=executor.static_addresses,
    )


def measures_cpu(platform: Platform) -> bool:
    """Return whether a platform's times need CPU work to be timed on this machine."""
    return platform.cpu_model() is None or platform.driver.conversion == "measured"
