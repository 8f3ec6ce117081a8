"""Parts of the pipeline without a device: network, balanced runs, replayed schedules, records."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from support.tiny_models import TINY

from pimloop.host.execution.execution import Transfer
from pimloop.host.execution.options import Options
from pimloop.host.execution.times import ScheduleTimes
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.operators import pim_capable
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pipeline.pipeline import execute_once
from pimloop.host.pipeline.record import from_dict, to_dict
from pimloop.host.planning.balance import balance_runs
from pimloop.host.planning.graph import partition_graph, signature
from pimloop.host.planning.keys import device_key, model_key, run_key, transfer_key
from pimloop.host.planning.policies import pim_first
from pimloop.host.planning.profiling import plan_runs
from pimloop.host.planning.schedules import overlapped
from pimloop.host.platforms.platform import load_platform
from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.profile.coverage import Coverage
from pimloop.partitioner.profile.plan import plan_profile

PLATFORM = load_platform("htg-z920")


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def graph(request):
    config = TINY[request.param]
    return build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=5))


@pytest.fixture(scope="module")
def operations(graph):
    return pim_capable(graph, PLATFORM.capabilities)


def test_the_network_is_the_graph(graph, operations):
    operators = partition_graph(graph, pim_fit(graph, PLATFORM), PLATFORM)
    assert [operator.id for operator in operators.operators] == [node.id for node in graph.nodes]
    for operator in operators.operators:
        assert ("pim" in operator.devices) == (operator.id in operations)
        assert (operator.weight_bytes > 0) <= (operator.id in operations)
    edges = {
        (tensor.producer, consumer, tensor.id)
        for tensor in operators.tensors
        if tensor.producer is not None
        for consumer in tensor.consumers
    }
    assert edges == set(graph.edges())
    assert {tensor.id for tensor in operators.tensors if tensor.output} == set(graph.outputs)
    for tensor in operators.tensors:
        info = graph.tensors[tensor.id]
        assert bool(tensor.moves) == (info.dtype == np.float32)
        assert tensor.bytes == info.elements * (2 if tensor.moves else info.dtype.itemsize)


def test_signatures_tell_operators_apart(graph):
    nodes = [node for node in graph.nodes if node.op in ("MatMul", "Gemm")]
    shapes = {
        (
            node.op,
            tuple(graph.tensors[name].shape for name in node.inputs),
            tuple(name in graph.constants for name in node.inputs),
            tuple(sorted(node.attributes.items())),
        )
        for node in nodes
    }
    assert len({signature(graph, node) for node in nodes}) == len(shapes)


def test_balanced_runs_measure_the_same(graph, operations):
    operators = partition_graph(graph, pim_fit(graph, PLATFORM), PLATFORM)
    plan = plan_profile(operators)
    work = {name: operations[name].work(graph, graph.node(name)) for name in operations}
    runs = balance_runs(operators, plan.runs, work)
    coverage = Coverage(operators, group_operators=False, group_transfers=False)
    measured = [set().union(*(coverage.covered(run) for run in some)) for some in (plan.runs, runs)]
    assert measured[0] == measured[1]
    loads = sorted(sum(work[n] for n, d in run.items() if d == "pim") for run in runs)
    before = sorted(sum(work[n] for n, d in run.items() if d == "pim") for run in plan.runs)
    assert sum(loads) == sum(before)
    assert loads[-1] <= before[-1]
    profile = plan_runs(graph, operators, operations)
    assert profile.runs == runs
    assert [(job.name, job.assignment) for job in profile.jobs] == [
        (f"run {number}", run) for number, run in zip(range(1, len(runs) + 1), runs, strict=True)
    ]


def test_random_graphs_keep_their_coverage():
    rng = random.Random(5)
    for _ in range(30):
        count = rng.randint(2, 9)
        nodes = [
            {
                "id": f"n{i}",
                "op": "Add",
                "cost_us": {"cpu_serial": 1.0, "cpu_parallel": 1.0}
                | ({"pim": 1.0} if rng.random() < 0.7 else {}),
            }
            for i in range(count)
        ]
        tensors = [
            {
                "id": f"t{i}",
                "producer": f"n{i}",
                "consumers": [f"n{j}" for j in range(i + 1, count) if rng.random() < 0.3],
                "output": i == count - 1,
                "transfer_us": {"cpu>pim": 1.0, "pim>cpu": 1.0},
            }
            for i in range(count)
        ]
        memories = {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]}
        costs = costs_from_dict(
            {"format": "pimloop-costs/1", "memories": memories, "nodes": nodes, "tensors": tensors}
        )
        plan = plan_profile(costs.graph)
        work = {n["id"]: rng.randint(1, 100) for n in nodes if "pim" in n["cost_us"]}
        runs = balance_runs(costs.graph, plan.runs, work)
        coverage = Coverage(costs.graph, group_operators=False, group_transfers=False)
        before = set().union(*(coverage.covered(run) for run in plan.runs))
        assert before <= set().union(*(coverage.covered(run) for run in runs))


def spread(*work: int, runs: int = 3) -> list[int]:
    """Return the PIM work of each balanced run, where all of it was in the first one."""
    names = [f"n{i}" for i in range(len(work))]
    devices = ["pim", "cpu_serial", "cpu_parallel"]
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
        "nodes": [
            {"id": name, "op": "Add", "cost_us": dict.fromkeys(devices, 1.0)} for name in names
        ],
        "tensors": [],
    }
    given = [dict.fromkeys(names, device) for device in devices[:runs]]
    given += [dict.fromkeys(names, "cpu_serial")] * (runs - len(given))
    cost = dict(zip(names, work, strict=True))
    balanced = balance_runs(costs_from_dict(data).graph, given, cost)
    return [sum(cost[n] for n, device in run.items() if device == "pim") for run in balanced]


def test_work_is_spread_for_two_workers_and_then_evenly():
    assert sorted(spread(60, 50)) == [0, 50, 60]
    # Two workers take 60 each whatever the third run has; equal runs are better than unequal ones.
    assert sorted(spread(40, 40, 40)) == [40, 40, 40]
    assert sorted(spread(60, 30, 30)) == [30, 30, 60]
    # 50 against 30 + 20; the more even 30, 30, 40 would keep one worker busy for 60.
    assert sorted(spread(30, 30, 20, 20)) == [20, 30, 50]
    assert spread(60, 50, runs=1) == [110]
    # Too many orders to try them.
    assert spread(60, 50, runs=6) == [110, 0, 0, 0, 0, 0]


def test_a_replayed_schedule_keeps_the_order_of_the_plan():
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {"id": "a", "op": "Add", "cost_us": {"cpu_serial": 2.0}},
            {"id": "b", "op": "Add", "cost_us": {"cpu_serial": 9.0, "pim": 3.0}},
            {"id": "c", "op": "Add", "cost_us": {"cpu_serial": 4.0}},
            {"id": "d", "op": "Add", "cost_us": {"cpu_serial": 1.0}},
        ],
        "tensors": [
            {"id": "x", "producer": None, "consumers": ["a"], "transfer_us": {}},
            {
                "id": "y", "producer": "a", "consumers": ["b", "c"],
                "transfer_us": {"cpu>pim": 1.0},
            },
            {"id": "z", "producer": "b", "consumers": ["d"], "transfer_us": {"pim>cpu": 1.0}},
            {"id": "w", "producer": "c", "consumers": ["d"], "transfer_us": {}},
        ],
    }  # fmt: skip
    costs = costs_from_dict(data)
    plan = partition(costs, objective="makespan", time_limit_s=5.0)
    assert plan.assignment["b"] == "pim"
    assert plan.total_us == 8.0  # a, then the copy, b and the copy back beside c, then d
    stats = OpStats()
    transfers = [Transfer("y", "cpu>pim", 8, 16, stats), Transfer("z", "pim>cpu", 8, 16, stats)]
    times = ScheduleTimes(
        {"a": 2.0, "b": 5.0, "c": 4.0, "d": 1.0}, [1.0, 1.0], {"pim": 5.0, "cpu_serial": 7.0}
    )
    executed = overlapped(costs.graph, plan.assignment, plan.schedule, transfers, times)
    assert executed.total_us == 10.0  # two more on the PIM, all of it on the longest path
    starts = {step.name: step.start_us for step in executed.steps}
    assert starts["b"] == 3.0
    assert starts["c"] == 2.0
    assert starts["d"] == 9.0


def test_a_replayed_schedule_rounds_no_time_twice():
    """Beyond 2^53 ticks a product of floats misses the time that was measured."""
    long_us = 113097193828267.0
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"]},
        "nodes": [{"id": v, "op": "Add", "cost_us": {"cpu_serial": long_us}} for v in "ab"],
        "tensors": [
            {"id": "x", "producer": None, "consumers": ["a"], "transfer_us": {}},
            {"id": "y", "producer": "a", "consumers": ["b"], "transfer_us": {}},
        ],
    }
    costs = costs_from_dict(data)
    plan = partition(costs, objective="makespan", time_limit_s=5.0)
    times = ScheduleTimes(dict.fromkeys("ab", long_us), [], {"cpu_serial": 2 * long_us})
    executed = overlapped(costs.graph, plan.assignment, plan.schedule, [], times)
    assert executed.total_us == plan.total_us == 2 * long_us


def test_results_survive_json(graph, operations):
    assignment = pim_first(graph, PLATFORM.capabilities)
    outcome = execute_once(
        graph, random_inputs(graph, 0), PLATFORM, "pim_first", assignment,
        Options(backend="model", jobs=1), lambda _: None,
    )  # fmt: skip
    result = outcome.schedules["pim_first"].result
    data = json.loads(json.dumps(to_dict(result)))
    again = from_dict(data, graph, PLATFORM, result.options)
    assert to_dict(again) == data
    assert again.passed == result.passed
    assert again.execution.transfers == result.execution.transfers
    assert again.comparisons == result.comparisons


def test_keys_follow_what_results_depend_on(graph):
    feeds = random_inputs(graph, 0)
    base, model = Options(), model_key(graph)
    key = run_key(model, feeds, PLATFORM, base)
    assert key == run_key(model, feeds, load_platform("htg-z920"), Options(jobs=1, fresh=True))
    name = next(iter(feeds))
    others = {
        run_key(model, feeds | {name: feeds[name] ^ 1}, PLATFORM, base),
        run_key(model, feeds, load_platform("htg-z920", {"dram.tccd_l": "4"}), base),
        run_key(model, feeds, PLATFORM, Options(flavour="rtl")),
        key,
    }
    assert len(others) == 4
    native = load_platform("native")
    assert transfer_key(feeds, native, base) != transfer_key(feeds, PLATFORM, base)
    slow = load_platform("htg-z920", {"dram.trp": "20"})
    assert device_key(slow, base) != device_key(PLATFORM, base)
