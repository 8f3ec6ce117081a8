"""Plans of least energy, from the profile to the report: what they predict is what is executed."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from support.tiny_models import TINY

from pimloop.errors import PimloopError
from pimloop.host.cli.objectives import objective_text
from pimloop.host.energy.forms import CAUSES, Energy
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Job
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.energies import operator_energy, schedule_energy
from pimloop.host.planning.outcome import Schedule
from pimloop.host.planning.schedules import replay
from pimloop.host.platforms.platform import Platform, load_platform
from pimloop.host.report.build import build_report
from pimloop.partitioner.costs import load_costs
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.plan_file import check_plan

PLATFORM = load_platform("htg-z920")


def pipeline(options: Options, platform=PLATFORM) -> Pipeline:
    config = TINY["bert"]
    graph = build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=3))
    return Pipeline(graph, random_inputs(graph, 0), platform, options)


def test_what_is_predicted_is_executed(tmp_path: Path) -> None:
    outcomes = []
    for objective, reused in (("energy", False), ("edp", True)):
        folder = tmp_path / objective
        folder.mkdir()
        with pipeline(Options(objective=objective, folder=folder)) as run:  # type: ignore[arg-type]
            outcome = run.run()
        assert outcome.passed
        assert outcome.reused == reused
        assert "coexec" not in outcome.schedules  # no product is wide enough
        report = build_report(outcome)
        outcomes.append(outcome)
        for name, schedule in report["schedules"].items():
            planned = schedule["plan_energy"]
            assert planned["total_fj"] == schedule["energy"]["total_fj"]["nominal"], name
            assert schedule["predicted_us"] == pytest.approx(schedule["executed_us"], abs=1e-6)
        best = report["schedules"]["optimal"]
        assert best["optimal"]
        assert report["objective"] == objective
        assert objective_text(report).startswith(f"objective {objective}: least energy")
        written = json.loads((folder / "plan-optimal.json").read_text())
        assert check_plan(written)["energy"] == best["plan_energy"]
        # The file has all that the plan needs.
        costs = load_costs(folder / "costs.json")
        again = partition(costs, objective=objective)
        assert again.to_dict() == written
        fastest = partition(costs)
        others = best["plan_energy"]["others"]["sequential"]
        assert others["total_us"] == fastest.total_us
        for schedule in report["schedules"].values():
            spent, took = schedule["plan_energy"]["total_fj"], Fraction(schedule["predicted_us"])
            least = best["plan_energy"]["total_fj"]
            if objective == "energy":
                assert least <= spent
            else:
                assert least * Fraction(best["predicted_us"]) <= spent * took
    first, second = (outcome.costs for outcome in outcomes)
    assert first is not None
    assert second is not None
    assert first.energies == second.energies


def test_what_has_no_energies_to_plan_with_is_refused() -> None:
    by_energy = Options(objective="energy")
    bare = replace(PLATFORM, energy_sections=None)
    for options, platform, message in (
        (by_energy, load_platform("native"), r"'native' has no energies .* \[energy_cpu\]"),
        (by_energy, load_platform("aim"), r"'aim' has no energies .* \[energy_cpu\]"),
        (by_energy, bare, r"no energy model: the platform's file has no section \[energy\]"),
        (Options(energies=True), bare, "no energy model"),
    ):
        with pytest.raises(PimloopError, match=message):
            pipeline(options, platform)


def wide(options: Options, platform: Platform = PLATFORM) -> Pipeline:
    """Return a run of a model with a product that can be split."""
    config = replace(TINY["bert"], layers=1, intermediate=1536)
    graph = build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=3))
    return Pipeline(graph, random_inputs(graph, 0), platform, options, counted=True)


def executed_energy(run: Pipeline, assignment: dict[str, str]) -> Energy:
    """Return the energy, by cause and with its spread, of an execution."""
    (result,) = run.runner.run([Job("chosen", assignment)])
    assert result.passed
    times = schedule_times(result)
    assert times is not None
    spent = schedule_energy(Schedule(result, None, times, replay(run.operators, result, times)))
    assert spent is not None
    return spent.whole


def test_shares_take_what_is_planned_for_them_by_cause() -> None:
    """A split product is in the plan for energy; each of its shares takes what was planned."""
    with wide(Options(objective="energy", shares=3)) as run:
        costs, planned = run.profile(), run.outcome.energies
        assert planned is not None
        assert costs.energies == planned.nominal()
        assert not run.outcome.other_shares
        ((name, splits),) = costs.splits.items()
        assert len(splits) == 2
        (reader,) = next(t for t in costs.graph.tensors if t.producer == name).consumers
        whole = dict(partition(costs, objective="energy").assignment)
        for split in splits:
            for where in ("cpu_serial", "pim"):  # the result is gathered in either memory
                if where not in costs.cost_us[reader]:
                    continue
                assignment = whole | {name: split.name, reader: where}
                expected = planned.of(costs, assignment)
                assert executed_energy(run, assignment) == expected
                assert set(expected.parts) == set(CAUSES)
        # What stands by counts once: the parts together take more than the operator.
        split = splits[0]
        at_once = planned.operators[name][split.name].parts["cpu_static"].nominal
        constants = PLATFORM.energy_constants()
        assert constants is not None
        alone = operator_energy(PLATFORM, {"cpu_parallel": split.time_us}, None, constants)
        assert at_once == alone.parts["cpu_static"].nominal
        # A share that takes little energy is taken, and its plan is the least of all.
        cheap = replace(costs.energies, operators={
            n: {d: fj if d in {s.name for s in splits} or n != name else 10 * fj
                for d, fj in by_device.items()}
            for n, by_device in costs.energies.operators.items()
        })  # fmt: skip
        for objective in ("energy", "edp"):
            plan = partition(replace(costs, energies=cheap), "coexec", objective=objective)
            assert plan.optimal
            assert set(plan.splits) == {name}
            assert plan.energy is not None
            assert plan.energy.total_fj == planned.of(costs, plan.assignment).total.nominal


def test_a_share_that_cannot_be_the_quickest_is_offered_to_plans_for_energy() -> None:
    with wide(Options(shares=3)) as run:
        quick = run.profile().splits
    with wide(Options(energies=True, shares=3)) as run:
        every = run.profile().splits
        assert run.outcome.reused
    for name, splits in quick.items():
        assert {split.name for split in splits} <= {split.name for split in every[name]}
    assert [len(splits) for splits in every.values()] == [2]
