"""What a run of the pipeline found out: everything that its report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pimloop.partitioner.graph as cg
from pimloop.host.execution.options import Options
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import ScheduleTimes, schedule_times
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Operation
from pimloop.host.pim.device.usage import Usage, total_usage
from pimloop.host.planning.energy_costs import PlannedEnergies
from pimloop.host.planning.part_times import Parts
from pimloop.host.planning.profiling import Profile
from pimloop.host.planning.schedules import Executed, replay
from pimloop.host.planning.shares import ShareBounds
from pimloop.host.planning.states import StateTimes
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.plan import Plan, Step


@dataclass(frozen=True)
class Schedule:
    """One placement of the model, planned and executed."""

    result: Result
    plan: Plan | None = None  # None: placed without costs
    times: ScheduleTimes | None = None  # None: the device has no clock
    executed: Executed | None = None  # the same
    order: tuple[Step, ...] = ()  # of a makespan plan; empty: one step at a time
    missed: tuple[str, ...] = ()  # exact predictions that the execution did not meet


@dataclass
class Outcome:
    """A run, from its model to its schedules."""

    graph: Graph
    platform: Platform
    options: Options
    operations: Mapping[str, Operation]
    operators: cg.Graph  # the same model as the partitioner sees it
    schedules: dict[str, Schedule] = field(default_factory=dict)
    profile: Profile | None = None  # None: placed without costs
    profile_results: list[Result] = field(default_factory=list)  # empty: the costs were known
    parts: Parts | None = None  # how splits were timed; None: none are, or by the platform's model
    part_results: list[Result] = field(default_factory=list)  # of the runs that measured parts
    costs: CostGraph | None = None
    energies: PlannedEnergies | None = None  # of the costs, by cause; None: not asked for
    #: By operator id: shares that cannot be the quickest, which were therefore not simulated.
    other_shares: Mapping[str, Sequence[ShareBounds]] = field(default_factory=dict)
    #: Other work disturbed CPU times of the profile, now or when they were stored.
    cpu_profile_disturbed: bool = False
    failed: dict[str, str] = field(default_factory=dict)  # policies without a plan, and why
    left_out: dict[str, str] = field(default_factory=dict)  # policies not tried by default, and why
    usage: Usage = field(default_factory=lambda: total_usage([]))
    kept_on_cpu: Mapping[str, str] = field(default_factory=dict)  # operator id: why not on the PIM
    resumed: int = 0  # executions taken up from an interrupted run
    phases: list[tuple[str, float]] = field(default_factory=list)  # name, wall seconds
    states: StateTimes | None = None  # of a model whose states grow; None: costs are of one run

    @property
    def main(self) -> str:
        """The schedule that the report is about."""
        return "optimal" if "optimal" in self.schedules else next(iter(self.schedules))

    @property
    def passed(self) -> bool:
        """Whether every execution is verified and took what its plan counted."""
        predicted = not any(schedule.missed for schedule in self.schedules.values())
        return predicted and all(result.passed for result in self.results)

    @property
    def reused(self) -> bool:
        """Whether the costs come from earlier runs, by the cost store."""
        return self.profile is not None and not self.profile_results

    @property
    def cpu_times_disturbed(self) -> bool:
        """Whether other work disturbed any CPU time, of the profile or of an execution."""
        return self.cpu_profile_disturbed or any(map(disturbed, self.results))

    @property
    def results(self) -> list[Result]:
        """Every execution once, profile runs first."""
        executed = [
            *self.profile_results,
            *self.part_results,
            *(s.result for s in self.schedules.values()),
        ]
        return list({id(result): result for result in executed}.values())

    def total_us(self, result: Result) -> float | None:
        """Return operators and transfers of an execution, one after the other."""
        times = schedule_times(result)
        return None if times is None else times.total_us

    def least_us(self, schedule: Schedule) -> float | None:
        """Return a schedule's time with the fastest of all rounds, where CPU times are measured.

        The same steps in the same order, overlapped where the schedule overlaps them. The distance
        to the executed time, which takes medians, shows how much they spread.
        """
        if self.platform.cpu_model() is not None or schedule.executed is None:
            return None
        timings = schedule.result.cpu_times.items()
        fastest = {name: replace(timing, median_us=timing.min_us) for name, timing in timings}
        result = replace(schedule.result, cpu_times=fastest)
        times = schedule_times(result)
        assert times is not None  # a schedule that was executed in time has a clock
        return replay(self.operators, result, times, schedule.order).total_us


def disturbed(result: Result) -> bool:
    """Return whether other work disturbed a CPU time of an execution."""
    return any(timing.disturbed for timing in result.cpu_times.values())


def conversions_disturbed(result: Result) -> bool:
    """Return whether other work disturbed a conversion of an execution."""
    times = result.cpu_times
    return any(t.key in times and times[t.key].disturbed for t in result.execution.transfers)
