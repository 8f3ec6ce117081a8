"""The whole pipeline on the simulated device: costs, plans, executions, report, resume."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_models import TINY

import pimloop.host.pipeline.pipeline
from pimloop.host.execution.options import Options
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pipeline.pipeline import Pipeline, execute_once
from pimloop.host.pipeline.state import FOLDER
from pimloop.host.planning.plans import load_plan
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import build_report
from pimloop.host.report.html.rates import LIMITS
from pimloop.host.store.folder import cache_folder
from pimloop.partitioner.costs import load_costs
from pimloop.partitioner.place.solve import partition

SCHEDULES = ["optimal", "cpu_serial", "cpu_parallel_first", "pim_first", "greedy", "paper_dp"]


def run(graph, folder, platform="htg-z920", jobs=2, **options):
    """Run the pipeline; return its outcome and the report."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = Options(folder=folder, jobs=jobs, rounds=3, **options)
    feeds = random_inputs(graph, 0)
    with Pipeline(graph, feeds, load_platform(platform), chosen) as pipeline:
        outcome = pipeline.run()
    report = build_report(outcome)
    json.dumps(report, allow_nan=False)
    return outcome, report


@pytest.fixture(scope="module")
def first(wide, tmp_path_factory):
    """Return folder, outcome and report of a run that found nothing in the caches."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path_factory.mktemp("cold")))
        yield folder, *run(wide, folder)


def test_every_schedule_is_planned_executed_and_verified(first):
    _, outcome, report = first
    assert list(report["schedules"]) == SCHEDULES
    assert outcome.passed
    assert report["verification"]["pim_bit_exact"]
    for schedule in report["schedules"].values():
        assert schedule["verification"]["passed"]
        assert len(schedule["assignment"]) == schedule["nodes"] == len(outcome.graph.nodes)
    assert report["schedules"]["optimal"]["pim_nodes"] > 0


def test_predicted_is_executed(first):
    _, _, report = first
    for name, schedule in report["schedules"].items():
        assert schedule["executed_us"] == pytest.approx(schedule["predicted_us"], rel=0.01), name
        assert schedule["executed_us"] == pytest.approx(
            schedule["compute_us"] + schedule["transfer_us"]
        )


def test_optimal_is_the_best_executed(first):
    _, _, report = first
    assert report["schedules"]["optimal"]["optimal"]
    assert min(report["speedup"].values()) >= 0.999
    assert report["speedup"]["cpu_serial"] > 1.05


def test_the_profile_is_minimal_and_complete(first):
    _, outcome, report = first
    profile = report["profile"]
    assert profile["runs"] == profile["runs_lower_bound"] == 3
    assert profile["nodes_covered"] == profile["nodes"]
    assert profile["transfers_covered"] == profile["transfers"]
    assert len(profile["matrix"]) == 3
    assert not profile["from_cost_store"]
    on_pim = [
        {name for name, device in run["assignment"].items() if device == "pim"}
        for run in profile["matrix"]
    ]
    assert set().union(*on_pim) == set(outcome.operations)
    for node in report["graph"]["nodes"]:
        capable = {"cpu_serial", "cpu_parallel"} | (
            {"pim"} if node["id"] in outcome.operations else set()
        )
        assert set(node["cost_us"]) == set(node["source"]) == capable


def test_every_operator_is_simulated_once(first):
    """Lists are the same in every schedule, so a profile simulates all that schedules need."""
    _, outcome, report = first
    simulation = report["simulation"]
    graph = outcome.graph
    work = {
        (node.op, *(graph.tensors[name].shape for name in node.inputs))
        for node in map(graph.node, outcome.operations)
    }
    # Operators of equal layers may share one list: at least one is simulated for each kind of work.
    assert len(work) > 10
    assert simulation["lists_simulated"] >= len(work)
    executed = sum(len(result.execution.pim) for result in outcome.results)
    profiled = len(outcome.operations)
    lists = simulation["lists_simulated"] + simulation["lists_cached"]
    assert lists >= executed + profiled
    assert simulation["lists_cached"] > executed - len(outcome.operations)
    assert simulation["cycles"] > 0
    assert simulation["wall_s"] > 0


def test_equal_layers_are_simulated_once(tmp_path, monkeypatch):
    """More layers are more lists, not more simulated ones: six fill more than a bank of 32 MiB."""
    simulations = []
    for layers in (3, 6):
        monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / f"cache{layers}"))
        (tmp_path / f"cache{layers}").mkdir(mode=0o700)
        config = replace(TINY["bert"], name="deep", layers=layers, hidden=512, heads=8,
                         intermediate=2048)  # fmt: skip
        graph = build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=1))
        # One simulator: two may simulate the same list at the same time.
        outcome, report = run(graph, tmp_path / f"out{layers}", jobs=1)
        assert outcome.passed
        simulations.append(report["simulation"])
    few, many = simulations
    assert few["lists_simulated"] == many["lists_simulated"]
    assert few["cycles"] == many["cycles"]
    assert many["lists_cached"] > 1.5 * few["lists_cached"]


def test_timelines_add_up(first):
    _, _, report = first
    for schedule in report["schedules"].values():
        steps = schedule["timeline"]
        assert sum(step["us"] for step in steps) == pytest.approx(schedule["executed_us"])
        assert sum(step["kind"] == "transfer" for step in steps) == schedule["transfers"]
        now = 0.0
        for step in steps:
            assert step["start_us"] == pytest.approx(now)
            now += step["us"]
        lanes = {step["node"]: step["lane"] for step in steps if step["kind"] == "node"}
        assert lanes == schedule["assignment"]


def test_files_can_be_read_by_the_next_step(first):
    folder, _, report = first
    costs = load_costs(folder / "costs.json")
    plan = partition(costs)
    written = json.loads((folder / "plan-optimal.json").read_text())
    assert written == plan.to_dict()
    assert plan.total_us == report["schedules"]["optimal"]["predicted_us"]
    assert not (folder / FOLDER).exists()


def test_counters_and_roofline_say_what_can_be(first):
    _, outcome, report = first
    counters = report["counters"]
    assert counters["act"] > 0
    assert counters["rd"] > counters["row_hits"] > 0
    for share in ("row_hit_rate", "refresh_share", "bus_use"):
        assert 0 < counters[share] < 1
    roofline = report["roofline"]
    assert len(roofline["points"]) == len(outcome.operations)
    for point in roofline["points"]:
        assert point["macs"] / point["us"] <= roofline["peak_macs_per_us"]
        assert 0 < point["roof_share"] <= 1
        assert 0 < point["bandwidth_share"] <= 1
        call_us = outcome.platform.driver.call_overhead_us
        assert point["us"] == pytest.approx(point["device_us"] + call_us)
        stats = outcome.schedules["pim_first"].result.execution.pim[point["node"]]
        # Every beat is one burst of 64 bytes here.
        assert point["bytes"] == 64 * (stats.counters["rd"] + stats.counters["wr"])
        assert point["bytes"] >= point["ideal_bytes"]
    assert {point["limited_by"] for point in roofline["points"]} <= set(LIMITS)


def test_loading_the_weights_is_said_whoever_loaded_them(first):
    """Executions share a device: the second finds weights there, and tells their cost still."""
    _, outcome, report = first
    for name, schedule in report["schedules"].items():
        weights = schedule["weights"]
        assert (weights["bytes"] > 0) == (schedule["pim_nodes"] > 0), name
        assert weights["us"] == pytest.approx(weights["cycles"] * 0.833333e-3, rel=1e-5)
    constants = {
        name
        for node in outcome.operations
        for name in outcome.graph.node(node).inputs
        if name in outcome.graph.constants
    }
    stored = 2 * sum(outcome.graph.tensors[name].elements for name in constants)
    assert report["schedules"]["pim_first"]["weights"]["bytes"] >= stored


def test_a_second_run_needs_no_profile_and_no_simulation(wide, first, tmp_path, monkeypatch):
    folder, _, report = first
    again = run(wide, tmp_path / "again")[1]
    assert again["profile"]["from_cost_store"]
    sources = {source for node in again["graph"]["nodes"] for source in node["source"].values()}
    assert sources == {"modelled, reused", "simulated, reused"}
    assert again["simulation"]["lists_simulated"] == 0
    assert again["simulation"]["cycles_per_s"] == 0
    for name in SCHEDULES:
        repeated, earlier = again["schedules"][name], report["schedules"][name]
        assert repeated["assignment"] == earlier["assignment"]
        assert repeated["executed_us"] == earlier["executed_us"]
    fresh = run(wide, tmp_path / "fresh", fresh=True)[1]
    assert not fresh["profile"]["from_cost_store"]
    assert fresh["graph"] == report["graph"]  # sources too: nothing is reused
    assert (cache_folder() / pimloop.host.store.cost_store.FILE_NAME).exists()
    assert folder.exists()


def test_results_do_not_depend_on_the_number_of_simulators(wide, first, tmp_path):
    _, _, report = first
    chosen = Options(folder=tmp_path, jobs=1, fresh=True)
    with Pipeline(wide, random_inputs(wide, 0), load_platform("htg-z920"), chosen) as pipeline:
        single = build_report(pipeline.run())
    assert single["schedules"] == report["schedules"]
    assert single["profile"] == report["profile"]


@pytest.fixture(scope="module")
def makespan(wide, tmp_path_factory):
    """Return folder and report of a run with the makespan objective."""
    folder = tmp_path_factory.mktemp("makespan")
    return folder, run(wide, folder, objective="makespan", time_limit_s=2.0)[1]


def test_overlapped_devices(first, makespan):
    _, _, sequential = first
    _, report = makespan
    for name, schedule in report["schedules"].items():
        assert schedule["executed_us"] == pytest.approx(schedule["predicted_us"], rel=0.01), name
        ends = [step["start_us"] + step["us"] for step in schedule["timeline"]]
        assert max(ends) == pytest.approx(schedule["executed_us"])
        assert schedule["executed_us"] <= schedule["compute_us"] + schedule["transfer_us"] + 1e-6
    best = report["schedules"]["optimal"]["executed_us"]
    assert best <= sequential["schedules"]["optimal"]["executed_us"] * 1.001


def test_a_makespan_plan_is_executed_overlapped(wide, makespan):
    """`pimloop run --plan`: in the plan's order, with the times of its execution."""
    folder, report = makespan
    wanted = report["schedules"]["optimal"]
    plan = load_plan(folder / "plan-optimal.json")
    assert plan.objective == "makespan"
    options = Options(objective=plan.objective, jobs=1)
    outcome = execute_once(
        wide, random_inputs(wide, 0), load_platform("htg-z920"), "plan", plan.assignment, options,
        lambda _: None, plan.schedule,
    )  # fmt: skip
    got = build_report(outcome)
    assert got["objective"] == "makespan"
    executed = got["schedules"]["plan"]
    assert executed["executed_us"] == pytest.approx(wanted["executed_us"])
    assert executed["executed_us"] < executed["compute_us"] + executed["transfer_us"] - 1.0
    assert executed["timeline"] == wanted["timeline"]


def test_a_policy_with_costs_is_executed_alone(wide, first):
    _, _, report = first
    options = Options(jobs=2)
    platform, feeds = load_platform("htg-z920"), random_inputs(wide, 0)
    with Pipeline(wide, feeds, platform, options) as pipeline:
        got = build_report(pipeline.run_policy("greedy"))
    wanted = report["schedules"]["greedy"]
    assert list(got["schedules"]) == ["greedy"]
    assert got["main_schedule"] == "greedy"
    for key in ("predicted_us", "executed_us", "assignment"):
        assert got["schedules"]["greedy"][key] == wanted[key]


def test_the_fastest_rounds_overlap_as_the_schedule_does(wide, tmp_path):
    """Against a schedule worked out here: every lane in the order of the timeline."""
    outcome, report = run(wide, tmp_path, platform="native", objective="makespan", time_limit_s=1.0)
    reads: dict[str, list[str]] = {}
    for edge in report["graph"]["edges"]:
        if edge["consumer"] is not None:
            reads.setdefault(edge["consumer"], []).append(edge["tensor"])
    made_by = {edge["tensor"]: edge["producer"] for edge in report["graph"]["edges"]}
    for name, schedule in report["schedules"].items():
        result = outcome.schedules[name].result
        times = schedule_times(
            replace(
                result,
                cpu_times={
                    key: replace(timing, median_us=timing.min_us)
                    for key, timing in result.cpu_times.items()
                },
            )
        )
        moved = {
            (transfer.tensor, transfer.direction): us
            for transfer, us in zip(result.execution.transfers, times.transfers, strict=True)
        }
        free: dict[str, float] = {}
        end: dict[str, float] = {}  # of operators
        arrived: dict[str, float] = {}  # tensors in the other memory
        for step in sorted(schedule["timeline"], key=lambda step: step["start_us"]):
            lane = "cpu" if step["lane"].startswith("cpu") else step["lane"]
            if step["kind"] == "transfer":
                direction = step["name"].removeprefix(f"{step['tensor']} ")
                us, ready = moved[step["tensor"], direction], end.get(made_by[step["tensor"]], 0.0)
            else:
                us, ready = times.nodes[step["node"]], 0.0
                for tensor in reads.get(step["node"], ()):
                    maker = made_by[tensor]
                    on_pim = maker is not None and schedule["assignment"][maker] == "pim"
                    here = on_pim == (step["lane"] == "pim")
                    ready = max(ready, end.get(maker, 0.0) if here else arrived[tensor])
            start = max(free.get(lane, 0.0), ready)
            free[lane] = start + us
            if step["kind"] == "transfer":
                arrived[step["tensor"]] = start + us
            else:
                end[step["node"]] = start + us
        wanted = max(*end.values(), *arrived.values(), 0.0)
        assert schedule["executed_min_us"] == pytest.approx(wanted, abs=1e-3), name
        assert schedule["executed_min_us"] <= schedule["executed_us"] + 1e-3


def test_native_cpu_times_show_their_spread(wide, tmp_path):
    _, report = run(wide, tmp_path, platform="native")
    assert report["cpu_time_source"].startswith("native measurement")
    for schedule in report["schedules"].values():
        assert 0 < schedule["executed_min_us"] <= schedule["executed_us"]
    sources = {source for node in report["graph"]["nodes"] for source in node["source"].values()}
    assert {source.removesuffix(", reused") for source in sources} == {"measured", "simulated"}


def test_segments_of_a_measured_cpu_are_counted_apart(wide, tmp_path, monkeypatch):
    """Plans count the entry of every segment; the cost store knows it with the operators."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    outcome, report = run(wide, tmp_path / "first", platform="native")
    assert not report["profile"]["from_cost_store"]
    entry = report["profile"]["entry_us"]
    assert set(entry) == {"cpu_serial", "cpu_parallel"}
    assert load_costs(tmp_path / "first" / "costs.json").entry_us == entry
    for name, schedule in outcome.schedules.items():
        devices = [schedule.plan.assignment[node.id] for node in wide.nodes]
        begins = [d for i, d in enumerate(devices) if i == 0 or devices[i - 1] != d]
        counted = sum(entry.get(device, 0.0) for device in begins)
        assert schedule.plan.entry_us == pytest.approx(counted, abs=1e-6), name
        parts = schedule.plan.compute_us + schedule.plan.transfer_us + schedule.plan.entry_us
        assert report["schedules"][name]["predicted_us"] == pytest.approx(parts), name
    _, again = run(wide, tmp_path / "again", platform="native")
    assert again["profile"]["from_cost_store"]
    assert again["profile"]["entry_us"] == entry
    for name, schedule in report["schedules"].items():
        assert again["schedules"][name]["predicted_us"] == schedule["predicted_us"], name


def test_an_interrupted_run_goes_on(wide, tmp_path, monkeypatch, caplog):
    """Stopped when the first two executions of the profile are done."""
    save, saved = pimloop.host.pipeline.state.State.save, []

    def stop_after_two(self, job, result):
        save(self, job, result)
        saved.append(job.name)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pimloop.host.pipeline.state.State, "save", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            run(wide, tmp_path, fresh=True, cache=False)
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "empty"))
    outcome, report = run(wide, tmp_path, cache=False)
    assert outcome.resumed == report["resumed"] == 2
    assert outcome.passed
    assert "taking up 2 executions" in caplog.text
    assert not (tmp_path / FOLDER).exists()
    left = [r for r in outcome.profile_results if not r.execution.values]
    assert len(left) == 2


def test_damaged_state_is_made_again(wide, tmp_path, monkeypatch, caplog):
    feeds = random_inputs(wide, 0)
    platform = replace(load_platform("htg-z920"))
    options = Options(folder=tmp_path, jobs=2)
    with Pipeline(wide, feeds, platform, options) as pipeline:
        costs = pipeline.profile()
        monkeypatch.setattr(pipeline._state, "clear", lambda: None)
        pipeline.schedule(costs)
    for path in (tmp_path / FOLDER).iterdir():
        path.write_text('{"format": "pimloop-state/2", "result": {}}')
    with Pipeline(wide, feeds, platform, options) as pipeline:
        outcome = pipeline.run()
    assert outcome.resumed == 0
    assert outcome.passed
    assert "is no result of an earlier run" in caplog.text


def test_the_folder_can_be_moved(first, tmp_path):
    folder, *_ = first
    assert {path.name for path in Path(folder).iterdir()} >= {
        "costs.json",
        *(f"plan-{name}.json" for name in SCHEDULES),
    }
