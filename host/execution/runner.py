"""Executes assignments of one model on a pool of devices and checks every one of them.

`Runner.run` takes assignments and returns a `pimloop.host.execution.result.Result` for each, in
order. Executions run side by side, each on a device of its own that keeps the model's weights for
the next one; the golden model works beside them. CPU operators are timed afterwards, when no
simulator runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.operators import run_reference
from pimloop.host.cpu.profile import CpuProfile, profile_cpu
from pimloop.host.cpu.segments import SessionCache
from pimloop.host.cpu.timing import Step, Timing, time_rounds
from pimloop.host.devices.kinds import is_offloaded
from pimloop.host.execution.accuracy import compared_tensors
from pimloop.host.execution.execution import Execution, Progress
from pimloop.host.execution.executor import Executor, check_assignment
from pimloop.host.execution.finite import NonFinite
from pimloop.host.execution.memory import Present, Run, estimate, require_memory
from pimloop.host.execution.options import Options
from pimloop.host.execution.reference.judge import Verdict, judge
from pimloop.host.execution.result import Result, measures_cpu
from pimloop.host.execution.verification import Verifier
from pimloop.host.models.graph import Array, Graph
from pimloop.host.pim.device.pool import DevicePool, Worker
from pimloop.host.pim.device.usage import Usage
from pimloop.host.pim.driver import OpStats, PimDriver
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.resident import Part, ResidentModel, leave_constants
from pimloop.host.pim.weights import ConstantBits, DeviceWeights
from pimloop.host.platforms.platform import Platform

#: Phase of an event that begins a stage of several executions: its progress counts them, those
#: that an interrupted run left are done and named in the label.
STAGE = "stage"

#: Key of a `Worker`'s state under which its device has the model.
_RESIDENT = "resident"


@dataclass(frozen=True)
class Job:
    """One execution of the model."""

    name: str  # for progress and reports: "run 1", "optimal"
    assignment: Mapping[str, str]


@dataclass(frozen=True)
class Event:
    """Where an execution is."""

    job: str
    progress: Progress


@dataclass(frozen=True)
class _Executed:
    """An execution that is over, but neither verified nor timed."""

    executor: Executor
    execution: Execution
    verifier: Verifier
    weights: OpStats  # loading what it reads, by whichever job of its device
    totals: OpStats  # of the device, weights it loaded itself included
    static_addresses: bool
    # Known once it is verified.
    non_finite: NonFinite | None = None
    wrong_segments: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)


class Runner:
    """Executes assignments of one model; a context manager that closes the devices.

    Parameters
    ----------
    graph, feeds
        The model and its inputs.
    platform
        Whose device.
    options
        Backend, flavour, number of devices, caches.
    progress
        Called with an `Event` from the thread of each job.
    before
        Models that have a device before this one, and leave their constants there.
    """

    def __init__(
        self,
        graph: Graph,
        feeds: Mapping[str, Array],
        platform: Platform,
        options: Options,
        progress: Callable[[Event], None],
        before: Sequence[Graph] = (),
    ) -> None:
        self.graph, self.feeds, self.platform, self.options = graph, feeds, platform, options
        self.fit = pim_fit(graph, platform)
        self.operations = self.fit.operations
        self._progress = progress
        self._before = before
        self._tensors = compared_tensors(graph)
        # Shared by all jobs: CPU sessions, and the bits of the constants. Only sessions that are
        # timed pack their weights, when no device is at work.
        self._sessions = SessionCache(prepack=False)
        self._packed = SessionCache()
        self._checks = SessionCache(prepack=False)
        self._bits = ConstantBits()
        # What executions left in CPU memory, for timing them one after the other.
        self._buffers = TensorBuffers(graph)
        self._wanted: Mapping[str, Array] | None = None
        self._non_finite: dict[str, Array] = {}  # float32 values where an execution has any
        self._pool = DevicePool(
            platform,
            options.backend,
            flavour=options.flavour,
            jobs=options.jobs,
            cache=options.cache,
            timeout=options.device_timeout,
        )

    def __enter__(self) -> Runner:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    @property
    def usage(self) -> Usage:
        """What the simulators did so far."""
        return self._pool.usage

    def run(
        self,
        jobs: Sequence[Job],
        done: Callable[[Job, Result], None] | None = None,
        *,
        last: bool = False,
    ) -> list[Result]:
        """Execute `jobs`; return their results in order.

        Parameters
        ----------
        done
            Called with each result as soon as it is complete, CPU times included.
        last
            Whether no other jobs follow: the devices are closed before the CPU is timed.

        Raises
        ------
        PimloopError, SimError
            When an assignment does not fit the model or the run this machine's memory, or a device
            fails twice.
        """
        for job in jobs:
            check_assignment(self.graph, job.assignment, self.operations, self.platform.devices)
        self.require_memory(jobs, last=last)
        results: dict[int, Result] = {}

        def finish(index: int, executed: _Executed, cpu_times: Mapping[str, Timing]) -> None:
            result = self._result(jobs[index], executed, cpu_times)
            results[index] = result
            if done is not None:
                done(jobs[index], result)
            self._report(jobs[index], "done", "")

        with ExitStack() as stack:
            futures = {self._start(jobs[index], stack): index for index in _devices_first(jobs)}
            waiting: dict[int, _Executed] = {}
            for future in as_completed(futures):
                # No reference stays: an executor has a buffer for every tensor it handed over.
                index, executed = futures.pop(future), future.result()
                self._report(jobs[index], "verify", "")
                executed.verifier.finish()
                if executed.verifier.mismatches:
                    self._pool.distrust()
                executed = self._judged(executed)
                executed.executor.leave_device()
                if measures_cpu(self.platform):
                    executed.executor.share_buffers(self._buffers)
                    waiting[index] = executed
                else:
                    finish(index, executed, {})
                del future, executed
            if last:
                self._pool.release()
            for index, executed in sorted(waiting.items()):
                finish(index, executed, self._cpu_times(jobs[index], executed.executor))
        return [results[index] for index in range(len(jobs))]

    def part_costs(self, parts: Collection[Part]) -> dict[Part, OpStats]:
        """Return what parts of operators cost, each simulated by itself.

        Of those that cost the same (`pimloop.host.pim.device.moved`) one is simulated.

        Parameters
        ----------
        parts
            Their columns are out of `PimFit.first_columns`.

        Raises
        ------
        SimError
            When a device fails twice.
        """
        if not parts:  # no device is opened for nothing
            return {}
        job, done = Job("parts", {}), itertools.count(1)

        def grouped(worker: Worker) -> list[list[Part]]:
            resident = self._resident(job, worker)
            equal: dict[object, list[Part]] = {}
            for part in parts:
                key = resident.moved(part)
                equal.setdefault(part if key is None else key, []).append(part)
            return list(equal.values())

        def simulate(part: Part, worker: Worker) -> OpStats:
            cost = self._resident(job, worker).cost(part)
            self._progress(Event(job.name, Progress("run", part.node, next(done), len(groups), 0)))
            return cost

        groups = self._pool.submit(grouped).result()
        # The longest first: the devices then end at about the same time.
        groups.sort(key=lambda group: -self._part_work(group[0]))
        futures = [self._pool.submit(partial(simulate, group[0])) for group in groups]
        return {
            part: future.result()
            for group, future in zip(groups, futures, strict=True)
            for part in group
        }

    def _part_work(self, part: Part) -> Fraction:
        """Return about the multiply-adds of a part of an operator; of a copy its elements."""
        node = self.graph.node(part.node)
        if part.moves is not None:
            return Fraction(self.graph.tensors[part.moves[0]].elements)
        if part.copy is not None:
            return Fraction(self.graph.tensors[node.outputs[0]].elements)
        whole = self.operations[part.node].work(self.graph, node)
        if part.columns is None:
            return Fraction(whole * (part.filled or 1))
        return Fraction(whole * part.columns, self.graph.tensors[node.outputs[0]].shape[-1])

    def require_memory(
        self, jobs: Sequence[Job], *, profile: bool = False, last: bool = False
    ) -> None:
        """Refuse jobs that this machine's memory is too small for.

        Parameters
        ----------
        profile
            Whether `profile_cpu` follows.
        last
            As for `run`.

        Raises
        ------
        PimloopError
            With the numbers.
        """
        assignments = [job.assignment for job in jobs]
        timed = measures_cpu(self.platform)
        run = Run(self.graph, self.fit, assignments, profiled=profile and timed)
        needed = estimate(
            [run],
            self.options.jobs,
            timed=timed,
            devices_stay=not last,
            present=Present(
                self._buffers.nbytes, self._packed.held, self._bits.nbytes, self._pool.opened
            ),
        )
        require_memory(self.graph.name, needed)

    def profile_cpu(self) -> CpuProfile:
        """Time every operator on the CPU devices, and what entering a segment takes.

        Raises
        ------
        PimloopError
            When an operator cannot run on the CPU.
        """
        job = Job("CPU", {})
        self._report(job, "cpu", "every operator on the CPU")
        with self._pool.quiet():
            profile = profile_cpu(
                self.graph, self.feeds, self._packed, self._kept, self.options.rounds, self._buffers
            )
        self._report(job, "done", "")
        return profile

    def time(self, steps: Callable[[], list[Step]]) -> dict[str, Timing]:
        """Return the times of steps, which are made and run while no device is at work."""
        self._report(Job("CPU", {}), "cpu", "operators and conversions")
        with self._pool.quiet():
            return time_rounds(steps(), rounds=self.options.rounds)

    @property
    def _kept(self) -> tuple[str, ...]:
        """The tensors that every execution writes to CPU memory."""
        return tuple(dict.fromkeys((*self.graph.outputs, *self._tensors)))

    def _report(self, job: Job, phase: str, label: str) -> None:
        self._progress(Event(job.name, Progress(phase, label, 0, 1, 0)))

    def _reference(self) -> Mapping[str, Array]:
        """Return the float32 values to compare with, computed once, beside the devices."""
        if self._wanted is None:
            names = tuple(dict.fromkeys((*self.graph.outputs, *self._tensors)))
            self._wanted = run_reference(self.graph, self.feeds, outputs=names)
        return self._wanted

    def _judged(self, executed: _Executed) -> _Executed:
        """Return an execution with what its values in CPU memory show."""
        return replace(
            executed,
            non_finite=executed.executor.first_non_finite(executed.execution, self._float32),
            wrong_segments=executed.executor.wrong_segments(),
            verdict=judge(executed.executor, executed.execution, self.feeds, self._reference()),
        )

    def _float32(self, names: tuple[str, ...]) -> Mapping[str, Array]:
        """Return the float32 values of tensors with NaN or infinities, each computed once."""
        missing = tuple(name for name in names if name not in self._non_finite)
        if missing:
            self._non_finite |= run_reference(self.graph, self.feeds, outputs=missing)
        return self._non_finite

    def _start(self, job: Job, stack: ExitStack) -> Future[_Executed]:
        """Execute a job on a device of the pool, or here and now when it needs none."""

        def on_device(worker: Worker) -> _Executed:
            # A job that is done again on a fresh device is verified anew.
            return self._execute(job, self._resident(job, worker), stack)

        if any(is_offloaded(device) for device in job.assignment.values()):
            return self._pool.submit(on_device)
        future: Future[_Executed] = Future()
        future.set_result(self._execute(job, None, stack))
        return future

    def _resident(self, job: Job, worker: Worker) -> ResidentModel:
        """Return the model on a worker's device, opened at its first job."""
        resident = worker.state.get(_RESIDENT)
        if not isinstance(resident, ResidentModel):
            self._report(job, "device", "")
            driver = PimDriver.for_platform(
                worker.device, self.platform, timeout=self.options.device_timeout
            )
            weights = DeviceWeights(driver, self._bits)
            for graph in self._before:
                leave_constants(graph, pim_fit(graph, self.platform).operations, driver, weights)
            resident = worker.state[_RESIDENT] = ResidentModel(
                self.graph, self.operations, driver, weights
            )
        return resident

    def _execute(self, job: Job, resident: ResidentModel | None, stack: ExitStack) -> _Executed:
        verifier = stack.enter_context(Verifier(self.graph))
        executor = Executor(
            self.graph, job.assignment, self.operations, resident,
            verifier=verifier,
            progress=lambda progress: self._progress(Event(job.name, progress)),
            keep=self._tensors,
            sessions=self._sessions,
            checks=self._checks,
            devices=self.platform.devices,
        )  # fmt: skip
        before = OpStats() if resident is None else resident.driver.totals
        executor.load_weights()
        weights = executor.weight_cost
        execution = executor.run(self.feeds)
        after = OpStats() if resident is None else resident.driver.totals
        return _Executed(
            executor, execution, verifier, weights, after - before,
            static_addresses=executor.static_addresses,
        )  # fmt: skip

    def _cpu_times(self, job: Job, executor: Executor) -> Mapping[str, Timing]:
        """Return the CPU times of an execution, measured while no simulator runs."""
        if not measures_cpu(self.platform):
            return {}
        self._report(job, "cpu", "")
        with self._pool.quiet():
            return executor.time_cpu(rounds=self.options.rounds, sessions=self._packed)

    def _result(
        self,
        job: Job,
        executed: _Executed,
        cpu_times: Mapping[str, Timing],
    ) -> Result:
        return Result(
            graph=self.graph,
            platform=self.platform,
            options=self.options,
            assignment=job.assignment,
            execution=executed.execution,
            cpu_times=cpu_times,
            comparisons=executed.verdict.comparisons,
            checked=executed.verifier.checked,
            mismatches=list(executed.verifier.mismatches),
            operator_errors=dict(executed.verifier.errors),
            integers=executed.verdict.integers,
            wrong_segments=executed.wrong_segments,
            non_finite=[] if executed.non_finite is None else [executed.non_finite],
            weights=executed.weights,
            device_totals=executed.totals,
            device_seconds=executed.executor.device_seconds,
            static_addresses=executed.static_addresses,
        )


def execute_model(
    graph: Graph,
    feeds: Mapping[str, Array],
    assignment: Mapping[str, str],
    platform: Platform,
    options: Options | None = None,
    progress: Callable[[Event], None] | None = None,
) -> Result:
    """Execute a model under one assignment and check it; parameters as of `Runner`.

    Raises
    ------
    PimloopError, SimError
        When the assignment or the inputs do not fit, or the device fails.
    """
    options = options or Options(jobs=1, cache=False)
    with Runner(graph, feeds, platform, options, progress or (lambda _: None)) as runner:
        (result,) = runner.run([Job("execution", assignment)], last=True)
    return result


def _devices_first(jobs: Sequence[Job]) -> list[int]:
    """Return the numbers of `jobs`, those that need a device first: others run meanwhile."""
    return sorted(
        range(len(jobs)),
        key=lambda i: not any(map(is_offloaded, jobs[i].assignment.values())),
    )
