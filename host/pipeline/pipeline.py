"""The whole way: profile in the fewest runs, partition, execute every schedule, verify."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from time import perf_counter

import pimloop.partitioner.graph as cg
from pimloop.errors import PimloopError
from pimloop.host.common.files import write_json
from pimloop.host.cpu.power import measure_again
from pimloop.host.cpu.profile import CpuProfile
from pimloop.host.energy.constants import Constants
from pimloop.host.execution.execution import Progress
from pimloop.host.execution.options import Options
from pimloop.host.execution.result import Result
from pimloop.host.execution.runner import STAGE, Event, Job, Runner
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.inputs import check_inputs
from pimloop.host.pipeline.parts import SplitProfiler
from pimloop.host.pipeline.state import State
from pimloop.host.planning.costs import StoredCosts
from pimloop.host.planning.counts import Counts, count_runs
from pimloop.host.planning.energy_costs import (
    PlannedEnergies,
    no_plan_energies,
    no_schedule_energies,
    planned_energies,
    require_energies,
    with_split_energies,
)
from pimloop.host.planning.graph import partition_graph
from pimloop.host.planning.keys import is_measured, model_key, run_key
from pimloop.host.planning.outcome import Outcome, Schedule, conversions_disturbed
from pimloop.host.planning.policies import POLICIES as WITHOUT_COSTS
from pimloop.host.planning.policies import Policy, find_policies, refuse_without_clock
from pimloop.host.planning.predictions import prediction_errors
from pimloop.host.planning.profiling import cpu_runs, merge_costs, plan_runs, to_profile_run
from pimloop.host.planning.schedules import make_plans, replay
from pimloop.host.planning.shares import SHARES, why_no_splits
from pimloop.host.planning.states import state_times
from pimloop.host.platforms.platform import Platform
from pimloop.host.store.cost_store import CostStore
from pimloop.host.store.folder import cache_folder
from pimloop.partitioner.costs import CostGraph, costs_to_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.solve import COEXEC
from pimloop.partitioner.plan import Plan, Step
from pimloop.partitioner.plan_file import ENERGY_OBJECTIVES
from pimloop.partitioner.profile.merge import ProfileRun

log = logging.getLogger(__name__)


class Pipeline:
    """One model on one platform with one set of options; a context manager.

    Parameters
    ----------
    graph, feeds
        The model and its inputs.
    platform
        Its device and its CPU.
    options
        How.
    progress
        Called with an `Event` from any thread.
    before
        Models that have a device before this one, and leave their constants there.
    filled
        Of a model with states that is executed several times: rows that they have in each
        execution, with those that it appends. Plans are for all executions.
    counted
        Whether energies are found beside the times, where schedules on the platform have any; they
        are in any case where plans are to be made for energy.

    Attributes
    ----------
    policies
        What plans are made by, by name; None: the partitioner's own.

    Raises
    ------
    PimloopError, SimError
        When the inputs do not fit the model.
    """

    def __init__(
        self,
        graph: Graph,
        feeds: Mapping[str, Array],
        platform: Platform,
        options: Options | None = None,
        progress: Callable[[Event], None] | None = None,
        before: Sequence[Graph] = (),
        filled: Sequence[int] = (),
        *,
        counted: bool = False,
    ) -> None:
        options = options or Options()
        self._filled = filled
        self._counted = counted and not no_schedule_energies(platform)
        check_inputs(graph, feeds, "inputs")
        if options.fresh and platform.cpu is None:
            measure_again()
        self.graph, self.platform, self.options = graph, platform, options
        self._progress = progress or (lambda _: None)
        self.runner = Runner(graph, feeds, platform, options, self._progress, before)
        self.operators: cg.Graph = partition_graph(graph, self.runner.fit, platform)
        self.outcome = Outcome(
            graph, platform, options, self.runner.operations, self.operators,
            kept_on_cpu=self.runner.fit.kept_on_cpu,
        )  # fmt: skip
        self._require_energies()
        self.policies = self._chosen_policies()
        with self._phase("prepare"):
            self._before = [model_key(graph) for graph in before]
            context = ""
            if options.folder is not None:
                context = run_key(self._model, feeds, platform, options, self._before)
        self._state = State(options.folder, context, graph, platform, options)
        if options.fresh:
            self._state.clear()

    def __enter__(self) -> Pipeline:
        self.runner.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.__exit__()

    @cached_property
    def _model(self) -> str:
        return model_key(self.graph)

    def run(self) -> Outcome:
        """Do everything; files are left in the folder of the options."""
        if self.options.backend == "model":
            self._place_without_costs()
        else:
            costs = self.profile()
            self.schedule(costs)
        self._state.clear()
        self.outcome.usage = self.runner.usage
        return self.outcome

    def run_policy(self, name: str) -> Outcome:
        """Profile, plan with one policy, and execute its plan alone.

        Raises
        ------
        PimloopError, SimError
            When the policy is unknown or has no plan, or the device has no clock or fails.
        """
        self.policies = {name: find_policies([name])[name]}
        self.outcome.left_out.clear()  # no other policy is executed
        refuse_without_clock(name, self.options.backend)
        self.schedule(self.profile())
        if name in self.outcome.failed:
            raise PimloopError(f"no plan of policy '{name}': {self.outcome.failed[name]}")
        self.outcome.usage = self.runner.usage
        return self.outcome

    def profile(self) -> CostGraph:
        """Return every cost: what the store knows, or what the profile runs measure.

        Raises
        ------
        PimloopError, SimError
            When the device has no clock, or fails.
        """
        if self.options.backend == "model":
            raise PimloopError("the model device has no clock: profile on --device sim")
        with self._phase("plan profile"):
            profile = plan_runs(
                self.graph, self.operators, self.runner.operations, self.runner.fit.weight_room
            )
        self.outcome.profile = profile
        with CostStore(cache_folder()) as store:
            known = StoredCosts(
                store, self._model, self.operators, self.runner.feeds, self.platform,
                self.options, self._before,
            )  # fmt: skip
            costs, energies = None if self.options.fresh else self._merge_known(known), None
            if costs is not None and self._wants_energies:
                energies = self._energies(costs, known.find_counts())
            if costs is None or (self._wants_energies and energies is None):
                self.runner.require_memory(profile.jobs, profile=True)
                with self._phase("profile"):
                    results = self._execute("profile", profile.jobs)
                self.outcome.profile_results = results
                measured = [to_profile_run(result) for result in results]
                conversions = any(map(conversions_disturbed, results))
                cpu = self._profile_cpu()
                # Without static addresses an operator's cycles may be others in another schedule.
                if all(result.static_addresses for result in results):
                    known.add(measured, disturbed=conversions)
                    known.add(cpu_runs(self.operators, cpu), disturbed=cpu.disturbed)
                    known.add_entry(cpu.entry_us, disturbed=cpu.disturbed)
                self.outcome.cpu_profile_disturbed = cpu.disturbed or conversions
                measured += cpu_runs(self.operators, cpu)
                costs = self._merge(measured, cpu.entry_us)
                if self._wants_energies:
                    energies = self._energies(costs, self._count(results, known))
                    assert energies is not None  # the runs counted everything
            else:
                self.outcome.cpu_profile_disturbed = known.disturbed
            costs, energies = self._with_states(costs, energies, known)
            costs, energies = self._with_splits(costs, energies, known)
        self.outcome.energies = energies
        if energies is not None and not no_plan_energies(self.platform):
            costs = replace(costs, energies=energies.nominal())
        costs = replace(costs, cpu_times_disturbed=self.outcome.cpu_profile_disturbed)
        self.outcome.costs, self.outcome.usage = costs, self.runner.usage
        self._write("costs.json", costs_to_dict(costs))
        return costs

    def _require_energies(self) -> None:
        """Raise where plans are to be for energy and there is no energy to plan with."""
        if self._for_energy:
            require_energies(self.platform)

    @property
    def _for_energy(self) -> bool:
        """Whether plans are to be made for energy, here or from the costs that are returned."""
        return self.options.energies or self.options.objective in ENERGY_OBJECTIVES

    @property
    def _wants_energies(self) -> bool:
        return self._counted or self._for_energy

    @property
    def _constants(self) -> Constants:
        known = self.platform.energy_constants()
        assert known is not None  # who asks for energies has found that there are
        return known

    def _energies(self, costs: CostGraph, counts: Counts) -> PlannedEnergies | None:
        """Return the energies of whole operators; None where something was not counted."""
        return planned_energies(costs, counts, self.platform, self._constants)

    def _count(self, results: Sequence[Result], known: StoredCosts) -> Counts:
        """Return what the profile runs counted, and keep it."""
        counts = count_runs(results)
        if all(result.static_addresses for result in results):
            known.add_counts(counts)
        return counts

    def _chosen_policies(self) -> dict[str, Policy | None]:
        """Return the policies of a run: co-execution last, where it is possible or asked for.

        It must be asked for, as a policy or by a number of shares, where it takes long: under the
        makespan objective, whose search takes minutes, and where parts are timed on this machine.
        Where it is left out, the outcome says why, unless one share was asked for.
        """
        options = self.options
        policies = find_policies(options.policies)
        asked = COEXEC in policies or (options.shares or 1) > 1
        policies.pop(COEXEC, None)
        why = "" if asked else self._why_not_by_default()
        if not why:
            policies[COEXEC] = None
        elif options.shares != 1 and options.backend == "sim":
            self.outcome.left_out[COEXEC] = why
        return policies

    def _why_not_by_default(self) -> str:
        """Return why co-execution is not tried unless it is asked for, "" where it is."""
        if self.why_no_splits:
            return self.why_no_splits
        ask = f"ask for it with --shares {SHARES}"
        if self.options.objective == "makespan":
            return f"with the objective makespan its search may take the whole time limit; {ask}"
        if is_measured(self.platform):
            return f"parts of operators are timed on this machine, which takes more runs; {ask}"
        return ""

    @property
    def _shares(self) -> int:
        return self.options.shares or SHARES

    @property
    def why_no_splits(self) -> str:
        """Why no operator can be split between CPU and PIM, "" where some can."""
        return why_no_splits(self.runner.fit, self._shares)

    def _with_splits(
        self, costs: CostGraph, energies: PlannedEnergies | None, known: StoredCosts
    ) -> tuple[CostGraph, PlannedEnergies | None]:
        """Return costs with the ways to split operators between CPU and PIM, where asked for."""
        if COEXEC not in self.policies or self.why_no_splits:
            return costs, energies
        profiler = SplitProfiler(
            self.runner, self.operators, known, self._shares, self._phase, self._execute,
            every=self._for_energy, counted=energies is not None,
        )  # fmt: skip
        profile = profiler.profile(costs)
        self.outcome.parts, self.outcome.part_results = profile.parts, profile.results
        self.outcome.other_shares = profile.others
        self.outcome.cpu_profile_disturbed |= profile.disturbed
        costs = replace(costs, splits=profile.splits)
        if energies is not None:
            energies = with_split_energies(
                energies, costs, profile.counts, profiler.columns, self.platform, self._constants
            )
        return costs, energies

    def _with_states(
        self, costs: CostGraph, energies: PlannedEnergies | None, known: StoredCosts
    ) -> tuple[CostGraph, PlannedEnergies | None]:
        """Return the costs of an execution on average, where states grow in each."""
        if not self._filled or not self.graph.states or not self.runner.fit.static:
            return costs, energies
        with self._phase("profile states"):
            states = state_times(
                self.graph, self.runner.operations, self.platform, self._filled,
                self.runner.part_costs, known,
                fresh=self.options.fresh, counted=energies is not None,
            )  # fmt: skip
        self.outcome.states = states
        if energies is not None:
            energies = states.average_energies(energies, self.platform, self._constants)
        return states.average(costs), energies

    def _profile_cpu(self) -> CpuProfile:
        """Return the times of the CPU, empty where the platform models them."""
        if self.platform.cpu_model() is not None:
            return CpuProfile({}, {}, disturbed=False)
        self._progress(Event("profile CPU", Progress(STAGE, "", 0, 1, 0)))
        with self._phase("profile CPU"):
            return self.runner.profile_cpu()

    def schedule(self, costs: CostGraph) -> None:
        """Plan with every policy, execute every distinct plan, and time it."""
        policies = self.policies
        why = self.why_no_splits
        if why:
            policies = {name: own for name, own in policies.items() if name != COEXEC}
        with self._phase("partition"):
            plans, failed = make_plans(
                costs, policies, self.options.objective, self.options.time_limit_s
            )
        if why and COEXEC in self.policies:
            failed[COEXEC] = why
        self.outcome.failed = failed
        for name, plan in plans.items():
            self._write(f"plan-{name}.json", plan.to_dict())
        jobs: dict[tuple[tuple[str, str], ...], Job] = {}
        for name, plan in plans.items():
            jobs.setdefault(_key(plan.assignment), Job(name, plan.assignment))
        with self._phase("execute"):
            executed = self._execute("schedules", list(jobs.values()), last=True)
            results = dict(zip(jobs, executed, strict=True))
        with self._phase("evaluate"):
            for name, plan in plans.items():
                result = results[_key(plan.assignment)]
                schedule = _timed(self.operators, result, plan)
                assert schedule.times is not None  # plans are made for a device with a clock
                missed = prediction_errors(costs, plan, result, schedule.times)
                self.outcome.schedules[name] = replace(schedule, missed=tuple(missed))

    def _place_without_costs(self) -> None:
        """Execute the placements that need no costs: the device has no clock."""
        for name in self.options.policies:
            refuse_without_clock(name)
        capabilities = self.platform.capabilities
        jobs = [
            Job(name, self.runner.fit.within(self.graph, place(self.graph, capabilities)))
            for name, place in WITHOUT_COSTS.items()
        ]
        with self._phase("execute"):
            results = self._execute("schedules", jobs, last=True)
        for job, result in zip(jobs, results, strict=True):
            self.outcome.schedules[job.name] = _timed(self.operators, result)

    def _execute(self, stage: str, jobs: list[Job], *, last: bool = False) -> list[Result]:
        """Return the results of `jobs`: those of a placement executed before are not made again.

        Only those that an interrupted run left count as resumed. `last`: see `Runner.run`.
        """
        results_of = {job.name: self._state.load(job) for job in jobs}
        waiting = [job for job in jobs if results_of[job.name] is None]
        known = [job for job in jobs if results_of[job.name] is not None]
        left = [job.name for job in known if self._state.take_up(job)]
        self.outcome.resumed += len(left)
        total = len(left) + len(waiting)
        self._progress(Event(stage, Progress(STAGE, ", ".join(left), len(left), total, 0)))
        if left:
            log.info("taking up %d executions of a run before", len(left))
        results = self.runner.run(waiting, self._state.save, last=last)
        for job, result in zip(waiting, results, strict=True):
            results_of[job.name] = result
        return [result for result in results_of.values() if result is not None]

    def _merge_known(self, known: StoredCosts) -> CostGraph | None:
        """Return the costs when all are known."""
        entry_us = known.find_entry() if self.platform.cpu_model() is None else {}
        if entry_us is None:
            return None
        try:
            return self._merge(known.find(), entry_us)
        except PartitionerError as error:
            log.debug("profiling: %s", error)
            return None

    def _merge(self, runs: list[ProfileRun], entry_us: Mapping[str, float]) -> CostGraph:
        return merge_costs(self.operators, runs, self.runner.fit.weight_room, entry_us)

    def _write(self, name: str, data: object) -> None:
        if self.options.folder is not None:
            write_json(self.options.folder / name, data)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.outcome.phases.append((name, perf_counter() - start))


def execute_once(
    graph: Graph,
    feeds: Mapping[str, Array],
    platform: Platform,
    name: str,
    assignment: Mapping[str, str],
    options: Options,
    progress: Callable[[Event], None],
    schedule: Sequence[Step] = (),
) -> Outcome:
    """Execute one placement, made elsewhere; return it as a run of one schedule called `name`.

    Parameters
    ----------
    schedule
        The steps of the placement's makespan plan; empty: one step at a time.

    Raises
    ------
    PimloopError, SimError
        When an operator cannot run where the placement has it, which says why, or the device fails.
    """
    with Runner(graph, feeds, platform, options, progress) as runner:
        _refuse_kept_on_cpu(assignment, runner.fit.kept_on_cpu)
        operators = partition_graph(graph, runner.fit, platform)
        outcome = Outcome(
            graph, platform, options, runner.operations, operators,
            kept_on_cpu=runner.fit.kept_on_cpu,
        )  # fmt: skip
        start = perf_counter()
        (result,) = runner.run([Job(name, assignment)], last=True)
        outcome.phases.append(("execute", perf_counter() - start))
        outcome.schedules[name] = _timed(operators, result, schedule=schedule)
        outcome.usage = runner.usage
    return outcome


def _refuse_kept_on_cpu(assignment: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Say why, where an assignment has an operator on the PIM that must stay on the CPU."""
    for name, reason in kept.items():
        if assignment.get(name) == "pim":
            raise PimloopError(
                f"node '{name}' cannot run on the PIM: {reason}; make the plan from this platform's"
                " costs (pimloop profile, pimloop partition)"
            )


def _key(assignment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(assignment.items()))


def _timed(
    operators: cg.Graph,
    result: Result,
    plan: Plan | None = None,
    schedule: Sequence[Step] = (),
) -> Schedule:
    """Return an execution with its times; without a clock it has none."""
    order = schedule if plan is None else plan.schedule
    times = schedule_times(result)
    executed = None if times is None else replay(operators, result, times, order)
    return Schedule(result, plan, times, executed, tuple(order))
