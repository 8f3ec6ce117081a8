"""The numbers of report.json, worked out again from the records of executions.

A tiny model runs on the functional model; cycles and counters, which that one does not have, are
made up, a different number for every operator and transfer, so that a mix-up shows.
"""

from __future__ import annotations

import copy
import csv
import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console
from support.tiny_models import TINY
from support.traces import area, check_counters

from pimloop.host.cli.energies import print_energies
from pimloop.host.execution.options import Options
from pimloop.host.execution.result import Result
from pimloop.host.execution.runner import execute_model
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.graph import Graph
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.driver.stats import COUNTER_REGISTERS
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pipeline import sweep_files
from pimloop.host.pipeline.sweep import Finished, Point
from pimloop.host.planning.graph import partition_graph
from pimloop.host.planning.outcome import Outcome, Schedule
from pimloop.host.planning.policies import cpu_serial, pim_first
from pimloop.host.planning.profiling import to_profile_run
from pimloop.host.planning.schedules import in_sequence, replay
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import build_report
from pimloop.host.report.chrome_trace import write_trace
from pimloop.host.report.energies import energy_json
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.versions import check_report
from pimloop.host.report.html.labels import format_fj, schedule_key, schedule_order
from pimloop.host.report.html.page import render
from pimloop.host.report.html.payload import payload
from pimloop.host.report.html.rates import rate_rows
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.place.solve import assignment_plan, partition
from pimloop.partitioner.plan import Step
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.typed_json import JsonError

PLATFORM = load_platform("htg-z920")
CLOCK_US = PLATFORM.device.tck_fs / 1e9


def invented(result: Result) -> Result:
    """Return an execution as a device with a clock would have made it."""
    rng = random.Random(3)

    def stats() -> OpStats:
        cycles = rng.randint(50_000, 90_000)
        counters = {name: rng.randint(1, 99) for name in COUNTER_REGISTERS}
        counters["rd"], counters["wr"] = rng.randint(3000, 4000), rng.randint(300, 400)
        counters["ref"], counters["open"] = rng.randint(1, 40), rng.randint(1000, 30_000)
        counters |= {"self_refresh": 8, "all_rd": 0, "all_wr": 0}
        counters["link"] = 640 + 320 + 3 * (64 + 4)
        accesses = counters["rd"] + counters["wr"]
        return OpStats(cycles, counters, 3, 1, 640, 320, channel_accesses=accesses)

    execution = replace(
        result.execution,
        pim={name: stats() for name in result.execution.pim},
        transfers=[replace(transfer, stats=stats()) for transfer in result.execution.transfers],
    )
    return replace(result, execution=execution, options=Options(backend="sim"), weights=stats())


@pytest.fixture(scope="module")
def graph() -> Graph:
    config = TINY["bert"]
    return build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=5))


@pytest.fixture(scope="module")
def outcome(graph: Graph) -> Outcome:
    fit = pim_fit(graph, PLATFORM)
    operators = partition_graph(graph, fit, PLATFORM)
    rng = random.Random(5)
    costs = CostGraph(
        operators,
        {o.id: {d: rng.uniform(1, 99) for d in o.devices} for o in operators.operators},
        {t.id: {m: rng.uniform(1, 9) for m in sorted(t.moves)} for t in operators.tensors},
    )
    feeds = random_inputs(graph, 0)
    invented_outcome = Outcome(graph, PLATFORM, Options(), fit.operations, operators, costs=costs)
    problem = Problem.of(costs)
    placements: dict[str, Any] = {
        "pim_first": pim_first(graph, PLATFORM.capabilities),
        "cpu_serial": cpu_serial(graph, PLATFORM.capabilities),
        "optimal": dict(partition(costs).assignment),
    }
    for name, assignment in placements.items():
        result = invented(
            execute_model(graph, feeds, assignment, PLATFORM, Options(backend="model"))
        )
        times = schedule_times(result)
        assert times is not None
        plan = assignment_plan(problem, name, assignment, "sequential", method=name)
        executed = in_sequence(graph, assignment, result.execution.transfers, times)
        invented_outcome.schedules[name] = Schedule(result, plan, times, executed)
    invented_outcome.usage = {
        **invented_outcome.usage,
        "cycles_simulated": 900, "wall_s_simulating": 2.0, "cycles_cached": 30,
        "lists_simulated": 7, "lists_cached": 5,
    }  # fmt: skip
    return invented_outcome


@pytest.fixture(scope="module")
def report(outcome: Outcome) -> dict[str, Any]:
    return build_report(outcome)


def node_us(outcome: Outcome, name: str) -> dict[str, float]:
    """Return the time of each operator: cycles and the call, or the model of the CPU."""
    result = outcome.schedules[name].result
    model = PLATFORM.cpu_model()
    assert model is not None
    return {
        node.id: result.execution.pim[node.id].cycles * CLOCK_US + PLATFORM.driver.call_overhead_us
        if result.assignment[node.id] == "pim"
        else model.time_us(outcome.graph, node, result.assignment[node.id])
        for node in outcome.graph.nodes
    }


def moved_us(outcome: Outcome, name: str) -> list[float]:
    prices = {f"{a}>{b}": price for (a, b), price in PLATFORM.transfers.items()}
    return [
        prices[transfer.direction].fixed_us
        + transfer.elements * prices[transfer.direction].ns_per_element / 1e3
        for transfer in outcome.schedules[name].result.execution.transfers
    ]


SCHEDULES = pytest.mark.parametrize("name", ["pim_first", "cpu_serial", "optimal"])


@SCHEDULES
def test_times_of_a_schedule(outcome: Outcome, report: dict[str, Any], name: str) -> None:
    shown, result = report["schedules"][name], outcome.schedules[name].result
    nodes, moves = node_us(outcome, name), moved_us(outcome, name)
    on_pim = {n for n, device in result.assignment.items() if device == "pim"}
    assert shown["pim_us"] == pytest.approx(sum(nodes[n] for n in on_pim))
    assert shown["cpu_us"] == pytest.approx(sum(us for n, us in nodes.items() if n not in on_pim))
    assert shown["compute_us"] == pytest.approx(sum(nodes.values()))
    assert shown["transfer_us"] == pytest.approx(sum(moves))
    assert shown["executed_us"] == pytest.approx(sum(nodes.values()) + sum(moves))
    assert shown["predicted_us"] == outcome.schedules[name].plan.total_us  # type: ignore[union-attr]
    assert shown["executed_min_us"] is None  # the CPU is modelled: nothing spreads
    assert outcome.total_us(result) == pytest.approx(shown["executed_us"])


@SCHEDULES
def test_loading_of_weights(outcome: Outcome, report: dict[str, Any], name: str) -> None:
    weights = outcome.schedules[name].result.weights
    assert report["schedules"][name]["weights"] == {
        "bytes": weights.host_bytes_in,
        "cycles": weights.cycles,
        "us": pytest.approx(weights.cycles * CLOCK_US),
    }


def test_points_of_the_roofline(outcome: Outcome, report: dict[str, Any]) -> None:
    """Rates over the time of the lists; bytes as counted, and operands and result once each."""
    graph, main = outcome.graph, outcome.schedules["optimal"].result.execution.pim
    bandwidth = report["roofline"]["bandwidth_bytes_per_us"]
    peak = report["roofline"]["peak_macs_per_us"]
    counted = {**outcome.schedules["pim_first"].result.execution.pim, **main}
    for point in report["roofline"]["points"]:
        node = graph.node(point["node"])
        names = [name for name in (*node.inputs, node.outputs[0]) if name]
        assert point["ideal_bytes"] == 2 * sum(
            int(np.prod(graph.tensors[name].shape)) for name in names
        )
        stats = counted.get(point["node"])
        if stats is None:
            assert point["bytes"] is None
            continue
        nbytes = (stats.counters["rd"] + stats.counters["wr"]) * PLATFORM.device.atom_bytes
        us = stats.cycles * CLOCK_US
        assert (point["cycles"], point["bytes"]) == (stats.cycles, nbytes)
        assert point["device_us"] == pytest.approx(us)
        assert point["us"] == pytest.approx(us + PLATFORM.driver.call_overhead_us)
        assert point["macs_per_us"] == pytest.approx(point["macs"] / us)
        assert point["bytes_per_us"] == pytest.approx(nbytes / us)
        assert point["bandwidth_share"] == pytest.approx(nbytes / us / bandwidth)
        roof = min(peak, point["macs"] * bandwidth / nbytes)
        assert point["roof_share"] == pytest.approx(point["macs"] / us / roof)


@SCHEDULES
def test_counts_of_a_schedule(outcome: Outcome, report: dict[str, Any], name: str) -> None:
    shown, result = report["schedules"][name], outcome.schedules[name].result
    graph = outcome.graph
    assert shown["pim_nodes"] == sum(d == "pim" for d in result.assignment.values())
    assert shown["nodes"] == len(graph.nodes)
    assert shown["cycles"] == sum(s.cycles for s in result.execution.pim.values())
    assert shown["assignment"] == result.assignment
    # Transfers from the placement alone: a tensor moves once to each memory that reads it.
    place = {n: "pim" if d == "pim" else "cpu" for n, d in result.assignment.items()}
    made = {out: node.id for node in graph.nodes for out in node.outputs}
    wanted = set()
    for node in graph.nodes:
        for tensor in node.inputs:
            if tensor and tensor not in graph.constants:
                source = place[made[tensor]] if tensor in made else "cpu"
                if source != place[node.id]:
                    wanted.add((tensor, f"{source}>{place[node.id]}"))
    for tensor in graph.outputs:
        if place[made[tensor]] != "cpu":
            wanted.add((tensor, "pim>cpu"))
    moves = [(transfer.tensor, transfer.direction) for transfer in result.execution.transfers]
    assert sorted(moves) == sorted(wanted)
    assert shown["transfers"] == len(wanted)
    nbytes = sum(2 * int(np.prod(graph.tensors[tensor].shape)) for tensor, _ in wanted)
    assert shown["transfer_bytes"] == nbytes


@SCHEDULES
def test_operators_and_timeline(outcome: Outcome, report: dict[str, Any], name: str) -> None:
    shown, result = report["schedules"][name], outcome.schedules[name].result
    nodes = node_us(outcome, name)
    rows: dict[tuple[str, str], list[float]] = {}
    for node in outcome.graph.nodes:
        rows.setdefault((node.op, result.assignment[node.id]), []).append(nodes[node.id])
    assert {(r["op"], r["device"]): (r["count"], pytest.approx(r["us"])) for r in
            shown["operators"]} == {k: (len(v), sum(v)) for k, v in rows.items()}  # fmt: skip
    times = [row["us"] for row in shown["operators"]]
    assert times == sorted(times, reverse=True)
    now = 0.0
    for step in shown["timeline"]:
        assert step["start_us"] == pytest.approx(now)
        now += step["us"]
        if step["kind"] == "node":
            assert (step["lane"], step["name"]) == (result.assignment[step["node"]], step["node"])
            assert step["us"] == pytest.approx(nodes[step["node"]])
        else:
            assert (step["lane"], step["node"]) == ("dma", None)
            assert step["name"].split()[0] == step["tensor"]
    assert now == pytest.approx(shown["executed_us"])
    assert [s["node"] for s in shown["timeline"] if s["node"]] == [
        n.id for n in outcome.graph.nodes
    ]


def test_speed_ups_and_the_main_schedule(outcome: Outcome, report: dict[str, Any]) -> None:
    assert report["main_schedule"] == "optimal"
    executed = {n: s["executed_us"] for n, s in report["schedules"].items()}
    assert report["speedup"] == pytest.approx(
        {n: us / executed["optimal"] for n, us in executed.items() if n != "optimal"}
    )


def test_counters_are_sums_over_the_main_schedule(outcome: Outcome, report: dict[str, Any]) -> None:
    stats = outcome.schedules["optimal"].result.execution.pim.values()
    shown = report["counters"]
    assert shown["cycles"] == sum(s.cycles for s in stats)
    for name in COUNTER_REGISTERS:
        assert shown[name] == sum(s.counters[name] for s in stats)
    accesses = sum(s.counters["rd"] + s.counters["wr"] for s in stats)
    assert shown["channel_accesses"] == shown["bank_accesses"] == accesses
    assert shown["all_bank_accesses"] == 0
    assert shown["bytes"] == shown["channel_bytes"] == accesses * PLATFORM.device.atom_bytes
    assert shown["row_hit_rate"] == pytest.approx(1 - shown["act"] / accesses)
    assert shown["row_hits"] == accesses - shown["act"]
    assert shown["bus_use"] == pytest.approx(accesses * PLATFORM.dram.tbl / shown["cycles"])
    assert shown["refresh_share"] == pytest.approx(
        shown["ref"] * PLATFORM.dram.trfc / shown["cycles"]
    )
    simulation = report["simulation"]
    assert simulation["cycles_per_s"] == 450.0
    assert [simulation[k] for k in ("cycles", "cycles_cached", "wall_s")] == [900, 30, 2.0]
    assert [simulation[k] for k in ("lists_simulated", "lists_cached")] == [7, 5]


def test_graph_and_costs(outcome: Outcome, report: dict[str, Any]) -> None:
    graph, costs = outcome.graph, outcome.costs
    assert costs is not None
    reused = ", reused" if outcome.reused else ""
    for node, shown in zip(graph.nodes, report["graph"]["nodes"], strict=True):
        assert (shown["id"], shown["op"]) == (node.id, node.op)
        assert shown["cost_us"] == dict(costs.cost_us[node.id])
        assert shown["shape"] == list(graph.tensors[node.outputs[0]].shape)
        assert shown["source"] == {
            device: ("simulated" if device == "pim" else "modelled") + reused
            for device in shown["cost_us"]
        }
    edges = {(e["tensor"], e["producer"], e["consumer"]): e for e in report["graph"]["edges"]}
    wanted = {(t, None if p is None else p, c) for p, c, t in graph.edges()}
    assert wanted <= edges.keys()
    for tensor, producer, consumer in edges:
        info = graph.tensors[tensor]
        floats = info.dtype == np.float32
        shown = edges[tensor, producer, consumer]
        width = 2 if floats else info.dtype.itemsize
        assert shown["bytes"] == int(np.prod(info.shape)) * width
        assert shown["transfer_us"] == {
            f"{a}>{b}": us for (a, b), us in costs.transfer_us[tensor].items()
        }
    assert {t for t, _, c in edges if c is None} == set(graph.outputs)


def test_verification_is_of_all_executions(outcome: Outcome, report: dict[str, Any]) -> None:
    results = [schedule.result for schedule in outcome.schedules.values()]
    shown = report["verification"]
    assert shown["executions"] == len(results)
    assert shown["pim_results_checked"] == sum(result.checked for result in results) > 0
    assert (shown["passed"], shown["pim_bit_exact"], shown["pim_results_wrong"]) == (True, True, [])
    for name, schedule in outcome.schedules.items():
        verification, result = report["schedules"][name]["verification"], schedule.result
        assert verification["pim_results_checked"] == result.checked == len(result.execution.pim)
        errors = [c.to_json() for c in result.comparisons if c.tensor in outcome.graph.outputs]
        assert verification["max_abs_error"] == max(e["max_abs_error"] for e in errors)
        assert verification["cosine"] == min(e["cosine"] for e in errors)
        if result.operator_errors:
            worst = verification["pim_operators_against_float32"]
            assert worst["worst"] == max(result.operator_errors.values())
            assert result.operator_errors[worst["node"]] == worst["worst"]
    broken = outcome.schedules["pim_first"].result
    failed = replace(outcome, schedules={
        **outcome.schedules,
        "pim_first": replace(
            outcome.schedules["pim_first"],
            result=replace(broken, operator_errors={"x": 1.0, "y": 2.0}),
        ),
    })  # fmt: skip
    assert not build_report(failed)["verification"]["passed"]
    assert build_report(failed)["schedules"]["optimal"]["verification"]["passed"]


def test_multiply_adds_of_the_roofline(outcome: Outcome, report: dict[str, Any]) -> None:
    """From the shapes alone: a product has inner multiply-adds a result, others have one."""
    graph = outcome.graph
    points = {point["node"]: point for point in report["roofline"]["points"]}
    assert points.keys() == set(outcome.operations)
    for name, point in points.items():
        node = graph.node(name)
        macs = int(np.prod(graph.tensors[node.outputs[0]].shape))
        if node.op in ("MatMul", "Gemm"):
            macs *= graph.tensors[node.inputs[0]].shape[-1]
        assert (point["op"], point["macs"]) == (node.op, macs)
        assert outcome.operations[name].work(graph, node) == macs


@SCHEDULES
def test_profile_runs_take_the_times_of_their_execution(outcome: Outcome, name: str) -> None:
    result = outcome.schedules[name].result
    run = to_profile_run(result)
    assert run.assignment == result.assignment
    assert {n: list(us) for n, us in run.node_us.items()} == {
        n: [pytest.approx(us)] for n, us in node_us(outcome, name).items()
    }
    moves = result.execution.transfers
    expected = {
        (transfer.tensor, *transfer.direction.split(">")): [pytest.approx(us)]
        for transfer, us in zip(moves, moved_us(outcome, name), strict=True)
    }
    assert {key: list(us) for key, us in run.transfer_us.items()} == expected


@SCHEDULES
def test_a_replay_without_a_schedule_is_the_sequence(outcome: Outcome, name: str) -> None:
    schedule = outcome.schedules[name]
    assert schedule.times is not None
    again = replay(outcome.operators, schedule.result, schedule.times)
    assert again == schedule.executed


# ---- energy ------------------------------------------------------------------------------------


def power(volts_amperes: list[tuple[float, float]]) -> float:
    """Return milliwatts of the eight chips of the channel."""
    return 8 * sum(volts * milliamperes for volts, milliamperes in volts_amperes)


def pim_pj(stats: OpStats, us: float) -> dict[str, float]:
    """Return the nominal energy of lists by cause, picojoules, from the currents of the page."""
    counters, clock_ns = stats.counters, 1e3 * CLOCK_US
    opened = counters["open"] + 420 * counters["ref"]
    awake = stats.cycles - counters["self_refresh"]
    link = 8 * counters["link"]
    return {
        "act_pre": counters["act"] * power([(1.2, 48 * 56 - 43 * 39 - 34 * 17)]) * clock_ns,
        "rd": counters["rd"] * power([(1.2, 135 - 43)]) * 4 * clock_ns,
        "wr": counters["wr"] * power([(1.2, 123 - 43)]) * 4 * clock_ns,
        "ref": counters["ref"] * power([(1.2, 250 - 43)]) * 420 * clock_ns,
        "open": opened * power([(1.2, 43), (2.5, 3)]) * clock_ns,
        "closed": (awake - opened) * power([(1.2, 34), (2.5, 3)]) * clock_ns,
        "self_refresh": max(0.0, 1e3 * us - awake * clock_ns) * power([(1.2, 30), (2.5, 5)]),
        "io": (counters["rd"] + counters["wr"]) * 512 * 5.5,
        "host_link": link * 11.25,
        "mac": counters["mac"] * 32 * 2.1,
    }


@SCHEDULES
def test_energy_of_a_schedule(outcome: Outcome, report: dict[str, Any], name: str) -> None:
    shown, result = report["schedules"][name]["energy"], outcome.schedules[name].result
    nodes, moves = node_us(outcome, name), moved_us(outcome, name)
    by_cause: dict[str, float] = {}
    by_node: dict[str, float] = {}
    cores = {"cpu_serial": 1, "cpu_parallel": 4}

    def add(parts: dict[str, float]) -> float:
        for cause, pj in parts.items():
            by_cause[cause] = by_cause.get(cause, 0.0) + pj
        return sum(parts.values())

    for node in outcome.graph.nodes:
        us, device = nodes[node.id], result.assignment[node.id]
        busy = cores[device] * us if device in cores else PLATFORM.driver.call_overhead_us
        cpu = {"cpu_dynamic": 151.7e3 * busy, "cpu_static": 57e3 * us}
        stats = result.execution.pim.get(node.id, OpStats())
        by_node[node.id] = add(pim_pj(stats, us) | cpu)
    transfers = sum(
        add(pim_pj(t.stats, us) | {"cpu_dynamic": 151.7e3 * us, "cpu_static": 57e3 * us})
        for t, us in zip(result.execution.transfers, moves, strict=True)
    )
    for cause, pj in by_cause.items():
        assert shown["causes_fj"][cause]["nominal"] == pytest.approx(1e3 * pj, rel=1e-6, abs=200)
    for identifier, pj in by_node.items():
        assert shown["operators_fj"][identifier] == pytest.approx(1e3 * pj, rel=1e-6, abs=20)
    assert shown["transfers_fj"] == pytest.approx(1e3 * transfers, rel=1e-6, abs=200)
    assert shown["overlap_fj"] == 0
    total = shown["total_fj"]["nominal"]
    assert total == sum(shown["operators_fj"].values()) + shown["transfers_fj"]
    assert total == sum(cause["nominal"] for cause in shown["causes_fj"].values())
    assert shown["total_fj"]["low"] < total < shown["total_fj"]["high"]
    seconds = 1e-6 * (sum(nodes.values()) + sum(moves))
    assert shown["average_w"] == pytest.approx(1e-15 * total / seconds)
    assert shown["energy_delay_js"] == pytest.approx(1e-15 * total * seconds)
    assert shown["with_cpu"]


def test_the_power_track_of_every_schedule_has_its_energy(
    report: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    write_trace(cast(Report, report), path)
    tracks = check_counters(path)
    assert len(tracks) == len(report["schedules"])
    for process, name in enumerate(schedule_order(report["schedules"]), 1):
        total = report["schedules"][name]["energy"]["total_fj"]["nominal"]
        assert area(tracks[process]) == pytest.approx(total, rel=1e-9), name


def test_the_page_has_the_energy_of_each_operator_on_hover(report: dict[str, Any]) -> None:
    data = payload(cast(Report, report))
    names = [node[0] for node in data["nodes"]]
    for schedule in data["schedules"]:
        spent = report["schedules"][schedule["name"]]["energy"]["operators_fj"]
        assert schedule["energy"] == pytest.approx([1e-9 * spent[name] for name in names], rel=1e-3)
    page = render(report)
    assert "energy here, modelled: " in page  # what the script of the page shows
    bare = copy.deepcopy(report)
    for schedule in bare["schedules"].values():
        del schedule["energy"]
    assert not any("energy" in schedule for schedule in payload(cast(Report, bare))["schedules"])


def test_energy_of_the_device_for_each_bit(outcome: Outcome, report: dict[str, Any]) -> None:
    """pJ/bit of the table: DRAM, data bus and lanes while the lists ran, by the bits counted."""
    ran = outcome.schedules[outcome.main].result.execution.pim
    points = {point["node"]: point for point in report["roofline"]["points"]}
    for identifier, stats in ran.items():
        parts = pim_pj(stats, 0.0)
        del parts["host_link"]
        assert parts.pop("self_refresh") == 0
        assert points[identifier]["device_fj"] == pytest.approx(
            1e3 * sum(parts.values()), rel=1e-6, abs=20
        )
        (row,) = rate_rows(report, [identifier])
        assert row.pj_per_bit == pytest.approx(sum(parts.values()) / (8 * row.nbytes))
    assert ran
    without = on_platform(outcome, energy_sections=None)
    assert all(point["device_fj"] is None for point in without["roofline"]["points"])
    assert all(row.pj_per_bit is None for row in rate_rows(without))


def test_energy_in_the_rows_of_a_sweep(outcome: Outcome, report: dict[str, Any]) -> None:
    point = Point("tiny-bert", 5, "htg-z920")
    rows = sweep_files.rows([Finished(point, report)], Options())
    for row in rows:
        energy, executed = report["schedules"][row["schedule"]]["energy"], row["executed_us"]
        assert row["energy_j"] == pytest.approx(1e-15 * energy["total_fj"]["nominal"])
        assert row["energy_delay_js"] == pytest.approx(1e-6 * executed * row["energy_j"])
        assert row["energy_with_cpu"] is True
    assert len(rows) == len(report["schedules"])
    (line, *_) = csv.DictReader(io.StringIO(sweep_files.to_csv(rows)))
    assert float(line["energy_j"]) == rows[0]["energy_j"]
    # No model of energy: nothing is said, not zero.
    without = on_platform(outcome, energy_sections=None)
    bare = sweep_files.rows([Finished(point, without)], Options())
    assert not any(key.startswith("energy") for row in bare for key in row)
    (line, *_) = csv.DictReader(io.StringIO(sweep_files.to_csv(bare)))
    assert (line["energy_j"], line["energy_delay_js"], line["energy_with_cpu"]) == ("", "", "")


def test_what_stands_by_is_counted_once_where_steps_overlap(outcome: Outcome) -> None:
    schedule = outcome.schedules["pim_first"]
    assert schedule.executed is not None
    took = schedule.executed.total_us
    overlapped = replace(
        schedule, order=(Step("operator", "x", "pim", "pim", 0, took),),
        executed=replace(schedule.executed, total_us=took / 2),
    )  # fmt: skip
    alone, together = energy_json(schedule), energy_json(overlapped)
    assert alone is not None
    assert together is not None
    standing = (57 + power([(1.2, 30), (2.5, 5)])) * 1e6 * took / 2
    assert together["overlap_fj"] == pytest.approx(-standing, rel=1e-6)
    assert together["total_fj"]["nominal"] - alone["total_fj"]["nominal"] == together["overlap_fj"]
    assert together["operators_fj"] == alone["operators_fj"]


def on_platform(outcome: Outcome, **changes: Any) -> dict[str, Any]:
    """Return the report of the same run on another platform."""
    platform = replace(PLATFORM, **changes)
    schedules = {
        name: replace(schedule, result=replace(schedule.result, platform=platform))
        for name, schedule in outcome.schedules.items()
    }
    return build_report(replace(outcome, platform=platform, schedules=schedules))


def test_without_constants_there_is_no_energy(outcome: Outcome) -> None:
    report = on_platform(outcome, energy_sections=None)
    assert report["energy_model"].startswith("no energy model: the platform's file has no section")
    assert not any("energy" in schedule for schedule in report["schedules"].values())
    assert "No energy model" in render(report)
    assert "no energy model" in printed(report)


def test_without_the_cpus_power_its_energy_is_left_out(
    outcome: Outcome, report: dict[str, Any]
) -> None:
    assert PLATFORM.energy_sections is not None
    partly = on_platform(outcome, energy_sections=replace(PLATFORM.energy_sections, cpu=None))
    missing = "without the CPU, whose power is not known: its file has no [energy_cpu]"
    assert partly["energy_model"].endswith(missing)
    for name, schedule in partly["schedules"].items():
        energy, whole = schedule["energy"], report["schedules"][name]["energy"]
        assert (energy["with_cpu"], energy["average_w"], energy["energy_delay_js"]) == (
            False, None, None,
        )  # fmt: skip
        cpu = sum(whole["causes_fj"][f"cpu_{kind}"]["nominal"] for kind in ("dynamic", "static"))
        assert energy["total_fj"]["nominal"] == whole["total_fj"]["nominal"] - cpu
    assert "Average power" not in render(partly)


def printed(report: dict[str, Any], width: int = 160) -> str:
    out = Console(record=True, width=width, file=io.StringIO())
    print_energies(out, report)
    return out.export_text()


def test_energy_in_the_terminal_and_on_the_page(report: dict[str, Any]) -> None:
    text, page = printed(report), render(report)
    for name, schedule in report["schedules"].items():
        energy, key = schedule["energy"], schedule_key(name, schedule)
        (line,) = [line for line in text.splitlines() if line.startswith(f"│ {key} ")]
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        total = energy["total_fj"]["nominal"] / 1e12
        numbers = [float(cell.replace("<", "")) for cell in (cells[1], *cells[3:8])]
        digits = cells[1].rpartition(".")[2]
        half = 0.5 * 10.0 ** -len(digits)
        assert numbers[0] == pytest.approx(total, abs=1.001 * half)
        assert sum(numbers[1:]) == pytest.approx(total, abs=6 * half)
        for part, bound in zip(cells[2].split("-"), ("low", "high"), strict=True):
            assert float(part) == pytest.approx(energy["total_fj"][bound] / 1e12, abs=10.01 * half)
        # A line of the table fits a terminal of 80 columns.
        (narrow,) = [line for line in printed(report, 80).splitlines() if line.startswith(key)]
        assert narrow.split()[-8:] == cells[1:]
        assert float(cells[8]) == pytest.approx(energy["average_w"], abs=5e-3)
        assert format_fj(energy["total_fj"]["nominal"]) in page
    assert "mJ" in text
    assert 'id="energy"' in page
    assert 'data-view="energy"' in page


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("total_fj", r"schedules.*optimal.*energy\.total_fj is not the sum of causes_fj"),
        ("transfers_fj", "energy.total_fj is not the sum of operators and transfers"),
    ],
)
def test_an_energy_that_is_not_its_parts_is_refused(
    report: dict[str, Any], key: str, message: str
) -> None:
    check_report(copy.deepcopy(report))
    changed = copy.deepcopy(report)
    energy = changed["schedules"]["optimal"]["energy"]
    if key == "total_fj":
        energy[key]["low"] += 1
    else:
        energy[key] += 1
    with pytest.raises(JsonError, match=message):
        check_report(changed)
