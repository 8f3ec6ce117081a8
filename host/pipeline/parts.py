"""Profiles the parts of operators that may be split: shares of the PIM, and of a measured CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pimloop.partitioner.graph as cg
from pimloop.host.execution.result import Result
from pimloop.host.execution.runner import Job, Runner
from pimloop.host.planning.costs import StoredCosts
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
    ShareBounds,
    offered_columns,
    splits,
    worth_simulating,
)
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.splits import Split


@dataclass(frozen=True)
class SplitProfile:
    """The splits of a model and how their times were found."""

    splits: Mapping[str, Sequence[Split]]  # by operator id
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
    """

    def __init__(
        self,
        runner: Runner,
        operators: cg.Graph,
        known: StoredCosts,
        shares: int,
        phase: Callable[[str], AbstractContextManager[None]],
        execute: Callable[[str, list[Job]], list[Result]],
    ) -> None:
        self._runner = runner
        self._operators = operators
        self._known = known
        self._fresh = runner.options.fresh
        self._phase = phase
        self._execute = execute
        self._offered = offered_columns(runner.fit, runner.graph, shares)
        results = {n: runner.graph.tensors[runner.graph.node(n).outputs[0]] for n in self._offered}
        self._totals = {name: info.shape[-1] for name, info in results.items()}
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
            offer = worth_simulating(self._offered, runner.fit, graph, platform, costs, modelled)
            known = splits(graph, platform, self._clocks(offer.simulated), modelled)
            return SplitProfile(known, others=offer.others)
        clocks = self._clocks(self._offered)
        plan = plan_part_runs(self._operators, self._offered, self._totals)
        expected = expected_parts(self._operators, self._offered, self._totals, plan)
        times = None if self._fresh else self._known.find_parts(*expected)
        reused, results = times is not None, []
        if times is None:
            jobs = [Job(f"parts {number}", run) for number, run in enumerate(plan.runs, start=1)]
            with self._phase("measure parts"):
                results = self._execute("parts", jobs)
            times = measured_parts(results)
            self._known.add_parts(times)
        measured = MeasuredParts(costs, times, self._totals, self._rows)
        return SplitProfile(
            splits(graph, platform, clocks, measured),
            Parts(plan, {name: measured.fit(name) for name in self._offered}, reused),
            results,
            times.disturbed,
        )

    def _clocks(self, offered: Mapping[str, Sequence[int]]) -> dict[tuple[str, int], int]:
        """Return the DRAM clocks of the PIM's parts: those that are not known are simulated."""
        clocks: dict[tuple[str, int], int] = {}
        missing: dict[str, list[int]] = {}
        for name, columns in offered.items():
            for count in columns:
                stored = None if self._fresh else self._known.find_clocks(name, count)
                if stored is None:
                    missing.setdefault(name, []).append(count)
                else:
                    clocks[name, count] = stored
        if missing:
            with self._phase("profile parts"):
                simulated = self._runner.part_clocks(missing)
            self._known.add_clocks(simulated)
            clocks |= simulated
        return clocks
