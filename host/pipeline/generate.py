"""Token by token: a prompt, then one step a token, each with a plan of its own.

Both phases run on one device, which holds their weights once. The second is profiled behind what
the first leaves there, so its operators have the addresses that they are executed with, and each
execution must take exactly what its plan counted (`pimloop.host.planning.predictions`).

The tokens are the greedy ones of what was executed. Beside them the same graphs run in float32 on
the same tokens, and wherever float32 prefers its best token by more than the tolerance, the tokens
must be the same. `pimloop.host.pipeline.generation` has what comes of it.

The tolerance follows from the placement as the limits of `pimloop.host.execution.accuracy` do, and
from the same limit: a tensor behind R roundings to bfloat16 may be off by that part of its norm, an
element of the logits thus by that part of their root mean square, and the difference of two logits
by twice as much. Where the logits come from the PIM, each of the two is rounded once more: 2^-8 of
the best one together. A step beyond either has its limit measured
(`pimloop.host.execution.reference.steps`), with the errors that the steps before left in the cache,
and is judged by that where it is more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime as ort

from pimloop.host.common.machine import cores
from pimloop.host.cpu.operators import open_session, run_reference
from pimloop.host.cpu.segments import SessionCache
from pimloop.host.devices.kinds import is_offloaded
from pimloop.host.execution.accuracy import Comparison, compare, rounding_depth
from pimloop.host.execution.device import open_pim
from pimloop.host.execution.execution import TOKENS, Progress
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.finite import NonFinite
from pimloop.host.execution.memory import Run, estimate, require_memory
from pimloop.host.execution.options import Options
from pimloop.host.execution.reference.steps import measure_steps
from pimloop.host.execution.result import Result, measures_cpu
from pimloop.host.execution.verification import Verifier
from pimloop.host.models.generator import LOGITS, Cache, Generator
from pimloop.host.models.graph import Array, to_model
from pimloop.host.models.inputs import check_inputs
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.pim.weights import DeviceWeights
from pimloop.host.pipeline.generation import Generation, Phase, Planner, Token
from pimloop.host.platforms.platform import Platform


def generate(
    generator: Generator,
    prompt: Array,
    platform: Platform,
    plan: Planner,
    options: Options | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Generation:
    """Generate tokens behind a prompt.

    Parameters
    ----------
    generator
        The model; `generator.tokens` are generated.
    prompt
        (batch, prompt length) int64.
    platform, options
        Where and how to execute.
    plan
        Makes the placement of each phase, in turn; called before the device is opened.
    progress
        Called before each operator and each weight.

    Raises
    ------
    PimloopError, SimError
        When the prompt or a placement does not fit, the run does not fit this machine's memory, or
        the device fails.
    """
    options = options or Options()
    report = progress or (lambda _: None)
    check_inputs(generator.prefill, {"input_ids": prompt}, "prompt")
    run = _Run(generator, platform, options, report)
    phases = run.plan(plan, prompt)
    run.require_memory(phases)
    generation = Generation(generator, platform, options, prompt.reshape(-1).tolist(), phases)
    with ExitStack() as stack:
        driver = run.open(stack, phases)
        runners = {}
        for runner in run.tokens(stack, generation, prompt, driver):
            runners[runner.phase.name] = runner
            generation.weights += runner.executor.weight_stats
        report(Progress("verify", "golden model", 0, 1, 0))
        for runner in runners.values():
            runner.verifier.finish("generate fewer tokens")
        if driver is not None:
            generation.device_totals = driver.totals
    # The device is closed: nothing else runs while the CPU is timed.
    driver = None
    run.leave_device(list(runners.values()))
    run.look_again(generation, prompt)
    for runner in runners.values():
        generation.device_seconds += runner.executor.device_seconds
        runner.phase.result = run.result(runner)
    return generation


@dataclass
class _Runner:
    """One phase ready to execute."""

    phase: Phase
    executor: Executor
    verifier: Verifier
    reference: ort.InferenceSession

    def execute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        execution = self.executor.run(feeds, goes_on=bool(self.phase.executions))
        self.phase.executions.append(execution)
        return execution.values

    def first_non_finite(self, feeds: Mapping[str, Array]) -> NonFinite | None:
        """Return where the last execution has NaN or infinities that float32 on `feeds` has not."""
        return self.executor.first_non_finite(
            self.phase.executions[-1],
            lambda names: run_reference(self.phase.graph, feeds, outputs=names),
        )

    def float32(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = list(self.phase.graph.results)
        return dict(zip(names, self.reference.run(names, dict(feeds)), strict=True))


class _Run:
    def __init__(
        self,
        generator: Generator,
        platform: Platform,
        options: Options,
        report: Callable[[Progress], None],
    ) -> None:
        self._generator = generator
        self._platform = platform
        self._options = options
        self._report = report
        self._sessions = SessionCache(prepack=False)
        self._packed = SessionCache()  # those that are timed
        self._checks = SessionCache(prepack=False)
        self._weights: DeviceWeights | None = None
        self._doubts: dict[int, _Doubt] = {}  # by the number of the step

    def plan(self, plan: Planner, prompt: Array) -> list[Phase]:
        """Return the phases; a phase is planned on inputs like those it will have."""
        generator = self._generator
        prefill = generator.prefill
        phases = [Phase("prefill", prefill, plan(prefill, {"input_ids": prompt}, (), ()))]
        if generator.step is not None:
            # Planned with the states at their full length.
            like = Cache(generator, used=generator.context).feeds(prompt[:, -1].tolist())
            filled = range(generator.prompt_length + 1, generator.context + 2)
            placed = plan(generator.step, like, (prefill,), filled)
            phases.append(Phase("decode", generator.step, placed))
        return phases

    def require_memory(self, phases: list[Phase]) -> None:
        """Refuse a generation that this machine's memory is too small for."""
        runs = [
            Run(
                phase.graph,
                pim_fit(phase.graph, self._platform),
                (phase.assignment,),
                repeats=1 if index == 0 else self._generator.tokens - 1,
            )
            for index, phase in enumerate(phases)
        ]
        needed = estimate(runs, jobs=1, timed=measures_cpu(self._platform))
        require_memory(self._generator.config.name, needed)

    def open(self, stack: ExitStack, phases: list[Phase]) -> PimDriver | None:
        """Open the device and the weights' store when a phase uses the PIM."""
        if not any(is_offloaded(d) for phase in phases for d in phase.assignment.values()):
            return None
        self._report(Progress("device", f"opening {self._options.backend}", 0, 1, 0))
        _, driver = stack.enter_context(open_pim(self._platform, self._options))
        self._weights = DeviceWeights(driver)
        stack.callback(self._weights.close)
        return driver

    def leave_device(self, runners: list[_Runner]) -> None:
        """Give back the memory of a closed device, which may be large."""
        self._weights = None
        for runner in runners:
            runner.executor.leave_device()

    def prepare(
        self, stack: ExitStack, on_device: ExitStack, phase: Phase, driver: PimDriver | None
    ) -> _Runner:
        """Return a phase ready to execute, its weights loaded.

        The phase before must have left the device, so that a phase has all of its memory, and lies
        there as it was profiled; weights that both read stay. `on_device` is closed for that.
        """
        operations = pim_fit(phase.graph, self._platform).operations
        resident = None
        if driver is not None:
            resident = on_device.enter_context(
                ResidentModel(phase.graph, operations, driver, self._weights)
            )
        verifier = stack.enter_context(Verifier(phase.graph))

        def report(progress: Progress) -> None:
            self._report(replace(progress, label=f"{phase.name} {progress.label}".rstrip()))

        executor = Executor(
            phase.graph, phase.assignment, operations, resident,
            verifier=verifier, progress=report, keep=phase.graph.results, sessions=self._sessions,
            checks=self._checks, devices=self._platform.devices,
        )  # fmt: skip
        executor.load_weights()
        whole = to_model(phase.graph, outputs=phase.graph.results)
        reference = open_session(whole, cores(), prepack=False)
        return _Runner(phase, executor, verifier, reference)

    def tokens(
        self, stack: ExitStack, generation: Generation, prompt: Array, driver: PimDriver | None
    ) -> Iterator[_Runner]:
        """Execute the phases in turn and append every token; yield each phase when it is ready."""
        on_device = stack.enter_context(ExitStack())
        phases = iter(generation.phases)
        runner: _Runner | None = None
        executed, reference = Cache(self._generator), Cache(self._generator)
        feeds: Mapping[str, Array] = {"input_ids": prompt}
        wanted_feeds = feeds
        depth: dict[str, int] = {}  # roundings behind the cache
        for index in range(self._generator.tokens):
            if index < len(generation.phases):
                on_device.close()
                runner = self.prepare(stack, on_device, next(phases), driver)
                yield runner
            assert runner is not None
            phase = runner.phase
            values, wanted = runner.execute(feeds), runner.float32(wanted_feeds)
            (comparison,) = compare(
                phase.graph, phase.assignment, values, {LOGITS: wanted[LOGITS]}, depth
            )
            phase.comparisons.append(comparison)
            first = runner.first_non_finite(wanted_feeds)
            phase.non_finite += [] if first is None else [first]
            phase.wrong_segments += runner.executor.wrong_segments()
            if index + 1 == self._generator.tokens:
                phase.wrong_segments += runner.executor.wrong_states()
            judged = _judge(phase, values[LOGITS], wanted[LOGITS], comparison.limit)
            generation.tokens += judged
            self._report(Progress(TOKENS, "", index + 1, self._generator.tokens, 0))
            if not (comparison.passed and all(token.passed for token in judged)):
                self._doubts[index] = _Doubt(comparison, values[LOGITS], wanted[LOGITS])
            if index + 1 < self._generator.tokens:
                executed.add(values)
                reference.add(wanted)
                chosen = [token.token for token in judged]
                feeds, wanted_feeds = executed.feeds(chosen), reference.feeds(chosen)
                behind = rounding_depth(phase.graph, phase.assignment, depth)
                for name in executed.arrays:
                    made = behind[name.replace("past.", "present.", 1)]
                    depth[name] = max(depth.get(name, 0), made)

    def look_again(self, generation: Generation, prompt: Array) -> None:
        """Judge the steps that are beyond their limits by what this model does to rounding."""
        spreads = measure_steps(
            self._generator,
            [(phase.graph, phase.assignment) for phase in generation.phases],
            prompt,
            generation.chosen(),
            {index: doubt.wanted for index, doubt in self._doubts.items()},
        )
        for index, doubt in self._doubts.items():
            limit = max(doubt.comparison.limit, spreads[index].limit(LOGITS))
            phase, execution = generation.step(index)
            phase.comparisons[execution] = replace(doubt.comparison, limit=limit, measured=True)
            generation.judge(index, _judge(phase, doubt.logits, doubt.wanted, limit))

    def result(self, runner: _Runner) -> Result:
        """Return what the last execution of a phase found, with the checks of all of them."""
        phase, verifier, executor = runner.phase, runner.verifier, runner.executor
        cpu_times = {}
        if measures_cpu(self._platform):
            self._report(Progress("cpu", f"timing CPU operators of {phase.name}", 0, 1, 0))
            cpu_times = executor.time_cpu(
                rounds=self._options.rounds,
                sessions=self._packed,
                handed_over=[t for run in phase.executions for t in run.handed_over],
            )
        return Result(
            graph=phase.graph,
            platform=self._platform,
            options=self._options,
            assignment=phase.assignment,
            execution=phase.executions[-1],
            cpu_times=cpu_times,
            comparisons=phase.comparisons,
            checked=verifier.checked,
            mismatches=list(verifier.mismatches),
            operator_errors=dict(verifier.errors),
            non_finite=phase.non_finite,
            wrong_segments=phase.wrong_segments,
            weights=executor.weight_stats,
            device_seconds=executor.device_seconds,
            static_addresses=executor.static_addresses,
        )


@dataclass(frozen=True)
class _Doubt:
    """A step that is beyond its limit."""

    comparison: Comparison
    logits: Array
    wanted: Array  # float32's


def _judge(phase: Phase, logits: Array, wanted: Array, relative: float) -> list[Token]:
    """Return the token of each sequence, of logits that may be off by `relative`.

    Parameters
    ----------
    logits, wanted
        What was executed, and float32's, (batch, 1, vocabulary).
    relative
        Relative L2 norm.
    """
    return [
        _judge_row(phase, computed, sure, relative)
        for computed, sure in zip(logits[:, 0], wanted[:, 0], strict=True)
    ]


def _judge_row(phase: Phase, computed: Array, sure: Array, relative: float) -> Token:
    second, best = np.partition(sure, -2)[-2:]
    rms = float(np.sqrt(np.mean(sure.astype(np.float64) ** 2)))
    limit = 2 * relative * rms
    if is_offloaded(phase.assignment[phase.graph.producer[LOGITS].id]):
        limit += 2.0**-8 * abs(float(best))
    return Token(
        token=int(computed.argmax()),
        reference=int(sure.argmax()),
        margin=float(best) - float(second),
        tolerance=limit,
    )
