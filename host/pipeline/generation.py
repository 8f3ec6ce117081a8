"""What was generated: tokens, and the executions of both phases under their placements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pimloop.host.energy.forms import Energy, total
from pimloop.host.execution.accuracy import Comparison
from pimloop.host.execution.execution import Execution
from pimloop.host.execution.finite import NonFinite
from pimloop.host.execution.options import Options
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import (
    ScheduleTimes,
    averaged,
    schedule_times,
    transfer_us,
)
from pimloop.host.models.generator import Generator
from pimloop.host.models.graph import Array, Graph
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.fit import pim_fit
from pimloop.host.planning.energies import schedule_energy, transfer_energy, work
from pimloop.host.planning.graph import partition_graph
from pimloop.host.planning.outcome import Outcome, Schedule, disturbed
from pimloop.host.planning.predictions import prediction_errors
from pimloop.host.planning.schedules import replay
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.plan import Plan


@dataclass(frozen=True)
class Placed:
    """The placement of a phase, and what it follows from."""

    assignment: Mapping[str, str]  # the device of every operator
    policy: str  # what placed them
    plan: Plan | None = None  # None: placed without costs
    costs: CostGraph | None = None  # that the plan was made from
    reused: bool = False  # the costs come from earlier runs, by the cost store
    disturbed: bool = False  # other work disturbed the CPU times among the costs
    left_out: Mapping[str, str] = field(default_factory=dict)  # policies not tried, and why
    #: Of every policy, by name; empty: placed without costs.
    plans: Mapping[str, Plan] = field(default_factory=dict)
    outcome: Outcome | None = None  # of the profile; None: placed without costs

    def costs_of(self, execution: int) -> CostGraph | None:
        """Return what the plan counted for an execution, counted from 0."""
        states = None if self.outcome is None else self.outcome.states
        if self.costs is None or states is None:
            return self.costs
        return states.of(self.costs, execution)


#: Makes a placement for a graph that will be executed on such inputs, behind the graphs that leave
#: constants on the device, with so many rows of its states in each execution: (graph, inputs,
#: graphs before, rows).
Planner = Callable[[Graph, Mapping[str, Array], Sequence[Graph], Sequence[int]], Placed]


@dataclass(frozen=True)
class Token:
    """One generated token and what float32 makes of it."""

    token: int  # greedy choice of what was executed
    reference: int  # greedy choice of float32 after the same tokens
    margin: float  # between the two best logits of float32
    tolerance: float  # a smaller margin decides nothing

    @property
    def judged(self) -> bool:
        """Whether float32 is sure enough that the tokens must be equal."""
        return self.margin > self.tolerance

    @property
    def passed(self) -> bool:
        """Whether the tokens are equal where they must be."""
        return self.token == self.reference or not self.judged


@dataclass
class Phase:
    """The executions of one graph under one plan."""

    name: str  # "prefill", "decode"
    graph: Graph
    placed: Placed
    executions: list[Execution] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)  # logits, one a token
    non_finite: list[NonFinite] = field(default_factory=list)  # at most one a token
    wrong_segments: list[str] = field(default_factory=list)  # see `Executor.wrong_segments`
    result: Result | None = None  # of the last execution, with the checks of all

    @property
    def assignment(self) -> Mapping[str, str]:
        """The device of every operator."""
        return self.placed.assignment

    @property
    def plan(self) -> Plan | None:
        """What placed the operators; None: placed without costs."""
        return self.placed.plan

    @property
    def disturbed(self) -> bool:
        """Whether other work disturbed CPU times, those of the profile or of the execution."""
        return self.placed.disturbed or (self.result is not None and disturbed(self.result))

    def cycles(self) -> list[int] | None:
        """Return the DRAM clocks of each execution, operators and transfers; None as `times`."""
        if not self._each_times():
            return None
        return [
            sum(stats.cycles for stats in execution.pim.values())
            + sum(transfer.stats.cycles for transfer in execution.transfers)
            for execution in self.executions
        ]

    def missed(self) -> list[str]:
        """Return what did not take the time that the plan counted, in any execution, each once."""
        if self.placed.plan is None or self.placed.costs is None or self.result is None:
            return []
        errors: list[str] = []
        for index, execution in enumerate(self.executions):
            costs = self.placed.costs_of(index)
            assert costs is not None  # there is a plan
            result = replace(self.result, execution=execution)
            times = schedule_times(result)
            assert times is not None  # plans are made for a device with a clock
            errors += prediction_errors(costs, self.placed.plan, result, times)
        return list(dict.fromkeys(errors))

    def profiled(self) -> Outcome | None:
        """Return the phase as a run of the whole pipeline that executed its schedule alone.

        None where it was placed without costs, or not executed.
        """
        outcome, times = self.placed.outcome, self.times()
        if outcome is None or self.result is None or times is None:
            return None
        order = () if self.plan is None else self.plan.schedule
        executed = replay(outcome.operators, self.result, times, order)
        missed = tuple(self.missed())
        schedule = Schedule(self.result, self.plan, times, executed, tuple(order), missed)
        return replace(outcome, schedules={self.placed.policy: schedule})

    def times(self) -> ScheduleTimes | None:
        """Return the times of one execution; None where the device has no clock.

        Of executions that differ, because states grow, the average. What was handed over to the PIM
        before the first one is then part of the operators that own it, as plans count it.
        """
        each = self._each_times()
        return averaged(each, self._handed_over_us(), self.assignment) if each else None

    def total_us(self) -> float | None:
        """Return the time of an execution, as the plan's objective counts it: None as `times`.

        The sum of all operators and transfers, or under a makespan plan the end of its schedule. Of
        executions that differ the average, with what was handed over, as of `times`.
        """
        each = self._schedules()
        if not each:
            return None
        us = sum(self._handed_over_us().values())
        us += sum(schedule.executed.total_us for schedule in each if schedule.executed)
        return us / len(each)

    def energy(self) -> tuple[Energy, int] | None:
        """Return the energy of executions, and how many: None without times or energies.

        Of the executions that `total_us` is the average of, with what was handed over.
        """
        known = None if self.result is None else self.result.platform.energy_constants()
        spent = [schedule_energy(schedule) for schedule in self._schedules()]
        if known is None or self.result is None or not spent or None in spent:
            return None
        platform = self.result.platform
        handed = [
            transfer_energy(
                platform, transfer_us(self.result, transfer), work(transfer.stats, platform), known
            )
            for execution in self.executions
            for transfer in execution.handed_over
        ]
        return total([*(each.whole for each in spent if each), *handed]), len(spent)

    def _schedules(self) -> list[Schedule]:
        """Return each execution that counts as it ran; none where the device has no clock."""
        each = self._each_times()
        if not each or self.result is None:
            return []
        platform = self.result.platform
        operators = partition_graph(self.graph, pim_fit(self.graph, platform), platform)
        order = () if self.plan is None else self.plan.schedule
        schedules = []
        for execution, times in zip(self._counted, each, strict=True):
            result = replace(self.result, execution=execution)
            executed = replay(operators, result, times, order)
            schedules.append(Schedule(result, self.plan, times, executed, tuple(order), ()))
        return schedules

    def _each_times(self) -> list[ScheduleTimes]:
        """Return the times of each execution that counts; none where the device has no clock."""
        if self.result is None:
            return []
        each = [
            schedule_times(replace(self.result, execution=execution)) for execution in self._counted
        ]
        return [times for times in each if times is not None]

    @property
    def _counted(self) -> Sequence[Execution]:
        """All executions where they differ, because states on the PIM grow; else the last one."""
        differ = any(execution.handed_over for execution in self.executions)
        return self.executions if differ else self.executions[-1:]

    def _handed_over_us(self) -> dict[str, float]:
        """Return the time of writing states to the PIM, by the operator that makes the tensor."""
        assert self.result is not None  # there are executions, on a device with a clock
        us: dict[str, float] = {}
        for execution in self.executions:
            for transfer in execution.handed_over:
                name = self.graph.producer[transfer.tensor].id
                us[name] = us.get(name, 0.0) + transfer_us(self.result, transfer)
        return us


@dataclass
class Generation:
    """What was generated, and how."""

    generator: Generator
    platform: Platform
    options: Options
    prompt: list[int]  # of one sequence after the other
    phases: list[Phase]
    tokens: list[Token] = field(default_factory=list)  # of a step all sequences', then the next
    weights: OpStats = field(default_factory=OpStats)  # loading them, both phases
    device_totals: OpStats = field(default_factory=OpStats)
    device_seconds: float = 0.0

    def step(self, index: int) -> tuple[Phase, int]:
        """Return the phase of a step, counted from 0, and which of its executions it is."""
        return (self.phases[0], 0) if index == 0 else (self.phases[1], index - 1)

    def chosen(self) -> list[list[int]]:
        """Return the tokens of each step, one of each sequence."""
        batch, tokens = self.generator.batch, [token.token for token in self.tokens]
        return [tokens[first : first + batch] for first in range(0, len(tokens), batch)]

    def judge(self, index: int, tokens: Sequence[Token]) -> None:
        """Put other judgements in the place of those of a step, counted from 0."""
        first = index * self.generator.batch
        self.tokens[first : first + len(tokens)] = tokens

    def wrong_steps(self) -> list[str]:
        """Return, in words, the steps whose logits or token are not what float32 allows."""
        wrong = []
        batch = self.generator.batch
        for number, token in enumerate(self.tokens):
            index, sequence = divmod(number, batch)
            phase, execution = self.step(index)
            logits = phase.comparisons[execution]
            where = f"step {index + 1} ({phase.name})"
            if sequence == 0 and not logits.passed:
                limit = f"{'measured ' if logits.measured else ''}limit {logits.limit:.3g}"
                wrong.append(f"{where}: logits off by {logits.relative_l2:.3g}, {limit}")
            if not token.passed:
                of = f" of sequence {sequence + 1}" if batch > 1 else ""
                wrong.append(
                    f"{where}: token {token.token}{of}, float32's is {token.reference}, by"
                    f" {token.margin:.3g}, tolerance {token.tolerance:.3g}"
                )
        return wrong

    @property
    def passed(self) -> bool:
        """Whether all tokens, bits, operators, logits and exact times are as they should be."""
        results = [phase.result for phase in self.phases]
        return (
            all(token.passed for token in self.tokens)
            and all(result is not None and result.passed for result in results)
            and not any(phase.missed() for phase in self.phases)
        )
