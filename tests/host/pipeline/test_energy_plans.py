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
from pimloop.host.execution.options import Options
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.platforms.platform import load_platform
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
        assert "coexec" not in outcome.schedules
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
        (replace(by_energy, shares=4), PLATFORM, "no co-execution with the objective energy"),
        (replace(by_energy, policies=("coexec",)), PLATFORM, "leave out --shares"),
    ):
        with pytest.raises(PimloopError, match=message):
            pipeline(options, platform)
    with pipeline(by_energy) as run, pytest.raises(PimloopError, match="no co-execution"):
        run.run_policy("coexec")
