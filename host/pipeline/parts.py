"""Profiles the parts of operators that may be split: shares of the PIM, and of a measured CPU."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pimloop.partitioner.graph as cg
from pimloop.host.energy.forms import Activity
from pimloop.host.execution.result import Result
from pimloop.host.execution.runner import Job, Runner
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.resident import Part
from pimloop.host.planning.costs import StoredCosts
from pimloop.host.planning.energy_costs import split_parts
from pimloop.host.planning.keys import is_measured
from pimloop.host.planning.part_runs import plan_part_runs
from pimloop.host.planning.part_times import (
    MeasuredParts,
    Parts,
    expected_parts,
    measured_parts,
)
from pimloop.host.planning.shares import (
    ModelledParts,
    Offer,
    ShareBounds,
    offered_columns,
    splits,
    worth_simulating,
)
from pimloop.host.planning.states import counts_of
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.splits import Split


@dataclass(frozen=True)
class SplitProfile:
    """The splits of a model and how their times were found."""

    splits: Mapping[str, Sequence[Split]]  # by operator id
    #: What the PIM's part of each, and what is gathered, counts; empty: only times are asked for.
    counts: Mapping[Part, Activity] = field(default_factory=dict)
    parts: Parts | None = None  # None: the platform models all but the PIM
    results: list[Result] = field(default_factory=list)  # of the runs that measured parts
    disturbed: bool = False  # other work disturbed these, now or when they were stored
    others: Mapping[str, Sequence[ShareBounds]] = field(default_factory=dict)  # not simulated


class SplitProfiler:
    """Finds the times of all splits of one model.

    Parameters
    ----------
    runner, operators
        The model on its devices, and as the partitioner sees it.
    known
        The cost store.
    shares
        Steps of the columns (`pimloop.host.planning.shares.offered_columns`).
    phase
        Times what is done in its body, under a name.
    execute
        Runs jobs of a stage; return their results.
    every
        Whether every share is simulated: one that cannot be the quickest may take less energy.
    counted
        Whether energies are asked for: what is gathered is then simulated too.
    """

    def __init__(
        self,
        runner: Runner,
        operators: cg.Graph,
        known: StoredCosts,
        shares: int,
        phase: Callable[[str], AbstractContextManager[None]],
        execute: Callable[[str, list[Job]], list[Result]],
        *,
        every: bool = False,
        counted: bool = False,
    ) -> None:
        self._runner = runner
        self._operators = operators
        self._known = known
        self._fresh = runner.options.fresh
        self._phase = phase
        self._execute = execute
        self._every, self._counted = every, counted
        self._counts: dict[Part, Activity] = {}
        self._offered = offered_columns(runner.fit, runner.graph, shares)
        results = {n: runner.graph.tensors[runner.graph.node(n).outputs[0]] for n in self._offered}
        #: Columns of the results of the operators that may be split, by id.
        self.columns = {name: info.shape[-1] for name, info in results.items()}
        self._rows = {name: info.elements // info.shape[-1] for name, info in results.items()}

    def profile(self, costs: CostGraph) -> SplitProfile:
        """Return the splits; what the store does not know is simulated or measured.

        Parameters
        ----------
        costs
            Of whole operators.

        Raises
        ------
        PimloopError, SimError
            When a device fails.
        """
        runner = self._runner
        graph, platform = runner.graph, runner.platform
        if not is_measured(platform):
            modelled = ModelledParts(graph, runner.operations, platform)
            offer = (
                Offer(self._offered, {})
                if self._every
                else worth_simulating(self._offered, runner.fit, graph, platform, costs, modelled)
            )
            known = splits(graph, platform, self._clocks(offer.simulated), modelled)
            return SplitProfile(known, self._counts_of(known), others=offer.others)
        clocks = self._clocks(self._offered)
        plan = plan_part_runs(self._operators, self._offered, self.columns)
        expected = expected_parts(self._operators, self._offered, self.columns, plan)
        times = None if self._fresh else self._known.find_parts(*expected)
        reused, results = times is not None, []
        if times is None:
            jobs = [Job(f"parts {number}", run) for number, run in enumerate(plan.runs, start=1)]
            with self._phase("measure parts"):
                results = self._execute("parts", jobs)
            times = measured_parts(results)
            self._known.add_parts(times)
        measured = MeasuredParts(costs, times, self.columns, self._rows)
        measured_splits = splits(graph, platform, clocks, measured)
        return SplitProfile(
            measured_splits,
            self._counts_of(measured_splits),
            Parts(plan, {name: measured.fit(name) for name in self._offered}, reused),
            results,
            times.disturbed,
        )

    def _clocks(self, offered: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], int]:
        """Return the DRAM clocks of the PIM's parts, by operator id and columns."""
        wanted = {
            (name, count): Part(name, count)
            for name, columns in offered.items()
            for count in columns
        }
        self._count(wanted.values())
        return {key: self._counts[part].list_clocks for key, part in wanted.items()}

    def _counts_of(self, known: Mapping[str, Sequence[Split]]) -> Mapping[Part, Activity]:
        """Return what the energies of splits are computed from; none where they are not wanted."""
        if self._counted:
            self._count(split_parts(known, self.columns))
        return self._counts if self._counted else {}

    def _count(self, parts: Collection[Part]) -> None:
        """Find what parts count: those that are not known are simulated."""

        def simulate(missing: Collection[Part]) -> Mapping[Part, OpStats]:
            with self._phase("profile parts"):
                return self._runner.part_costs(missing)

        self._counts |= counts_of(
            [part for part in parts if part not in self._counts],
            self._runner.platform, simulate, self._known,
            fresh=self._fresh, counted=self._counted,
        )  # fmt: skip
