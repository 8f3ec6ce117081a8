"""The fewest runs that determine every share of every operator, and the lines that they give."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from onnx import helper
from support.small_devices import plain

import pimloop.partitioner.graph as cg
from pimloop.host.execution.options import Options
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.part_runs import (
    DEVICES,
    gathers,
    pim_columns,
    plan_part_runs,
    share_name,
)
from pimloop.host.planning.part_times import MeasuredParts, PartTimes
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import build_report
from pimloop.partitioner.costs import costs_from_dict

MEMORIES = {"cpu": ("cpu_serial", "cpu_parallel"), "pim": ("pim",)}
TOTAL = 8


def random_case(rng: random.Random) -> tuple[cg.Graph, dict[str, tuple[int, ...]]]:
    """Return a small graph and the shares that some of its operators offer."""
    count = rng.randint(1, 4)
    names = [f"n{i}" for i in range(count)]
    offered = {
        name: tuple(sorted(rng.sample(range(1, TOTAL), rng.choice([1, 1, 1, 2, 3]))))
        for name in names
        if rng.random() < 0.6
    }
    operators = tuple(
        cg.Operator(
            name, "MatMul", (*MEMORIES["cpu"], "pim")
            if name in offered or rng.random() < 0.7 else MEMORIES["cpu"], None,
        )
        for name in names
    )  # fmt: skip
    moves = frozenset({("cpu", "pim"), ("pim", "cpu")})
    tensors = tuple(
        cg.Tensor(
            f"t{i}", names[i],
            tuple(other for other in names[i + 1 :] if rng.random() < 0.5),
            rng.random() < 0.4, None, None, moves,
        )
        for i in range(count)
    )  # fmt: skip
    return cg.Graph(MEMORIES, operators, tensors, "random"), offered


def determines(
    graph: cg.Graph, offered: Mapping[str, Sequence[int]], runs: Sequence[Mapping[str, str]]
) -> bool:
    """Whether runs show two shares of every operator with several, and every gather that can be."""
    totals = dict.fromkeys(offered, TOTAL)
    shown = [pim_columns(totals, offered, run) for run in runs]
    for name, columns in offered.items():
        if len({columns_of[name] for columns_of in shown}) < min(2, len(columns)):
            return False
    gathered = frozenset[tuple[str, str]]().union(*(gathers(graph, offered, run) for run in runs))
    return gathered == gathers(graph, offered)


def all_runs(
    graph: cg.Graph, offered: Mapping[str, Sequence[int]]
) -> list[dict[str, str]]:  # splits in every run: one that has an operator whole shows no more
    choices = [
        [share_name(columns, TOTAL) for columns in offered[operator.id]]
        if operator.id in offered
        else [device for device in DEVICES if device in operator.devices]
        for operator in graph.operators
    ]
    names = [operator.id for operator in graph.operators]
    return [dict(zip(names, choice, strict=True)) for choice in product(*choices)]


def test_no_fewer_runs_determine_every_share() -> None:
    """Against all sets of runs, on random graphs."""
    rng, numbers = random.Random(4), []
    for _ in range(400):
        graph, offered = random_case(rng)
        plan = plan_part_runs(graph, offered, dict.fromkeys(offered, TOTAL))
        numbers.append(len(plan.runs))
        assert len(plan.runs) == plan.lower_bound
        if not offered:
            assert plan.runs == ()
            continue
        assert determines(graph, offered, plan.runs)
        fewer = combinations_with_replacement(all_runs(graph, offered), len(plan.runs) - 1)
        assert not any(runs and determines(graph, offered, runs) for runs in fewer)
        for run in plan.runs:
            for operator in graph.operators:
                assert operator.id in offered or run[operator.id] in operator.devices
    assert {n: numbers.count(n) > 20 for n in (0, 1, 2)} == {0: True, 1: True, 2: True}
    assert max(numbers) == 2


def parts(cpu: Mapping[int, float], gathered: Mapping[tuple[str, int], float]) -> MeasuredParts:
    """Return the parts of one product of 8 columns and 3 rows, `y`, entered for 2 us."""
    moves = {"cpu>pim": 30.0, "pim>cpu": 50.0}
    costs = costs_from_dict(
        {
            "format": "pimloop-costs/2",
            "memories": {memory: list(devices) for memory, devices in MEMORIES.items()},
            "entry_us": {"cpu_parallel": 2.0},
            "nodes": [{"id": "p", "op": "MatMul", "cost_us": {"cpu_parallel": 85.0, "pim": 9.0}}],
            "tensors": [
                {"id": "x", "producer": None, "consumers": ["p"], "transfer_us": moves},
                {"id": "y", "producer": "p", "consumers": [], "output": True,
                 "transfer_us": moves},
            ],
        }
    )  # fmt: skip
    times = PartTimes(
        {("p", columns): us for columns, us in cpu.items()},
        {("y", memory, columns): us for (memory, columns), us in gathered.items()},
        disturbed=False,
    )
    return MeasuredParts(costs, times, {"p": TOTAL}, {"p": 3})


def test_other_shares_lie_on_the_line_through_two() -> None:
    """With what a segment costs to enter in what was measured, and not in what is planned with."""
    known = parts({2: 67.0, 6: 27.0}, {("cpu", 2): 14.0, ("cpu", 6): 38.0})
    assert [known.cpu_us("p", columns) for columns in (2, 4, 6)] == pytest.approx([65, 45, 25])
    fit = known.fit("p")
    assert fit.columns == (2, 6)
    # All 8 columns would take 87 us, and were measured to.
    assert fit.error == pytest.approx(0, abs=1e-12)
    slower = parts({2: 60.0, 6: 24.0}, {})
    assert slower.fit("p").error == pytest.approx(78 / 87 - 1)
    gathered = known.gather_us("p", "y", 4)
    assert gathered == {"cpu": pytest.approx(26.0)}  # of 24 elements 12; to the PIM: not measured


def test_one_share_is_what_was_measured() -> None:
    known = parts({4: 40.0}, {("cpu", 4): 30.0, ("pim", 4): 20.0})
    assert known.cpu_us("p", 4) == pytest.approx(38.0)
    assert known.fit("p").error is None
    assert known.gather_us("p", "y", 4) == {"cpu": pytest.approx(30), "pim": pytest.approx(20)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    """Return two runs of the pipeline on a platform whose CPU is measured, the second warm."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="up"),
        helper.make_node("Add", ["a", "b"], ["s"], name="bias"),
        helper.make_node("MatMul", ["s", "w2"], ["y"], name="down"),
    ]
    constants = {"w1": plain(1, 64, 2048) / 64, "b": plain(2, 2048)}
    constants["w2"] = plain(3, 2048, 1024) / 4096
    inputs = {"x": TensorInfo((4, 64), np.dtype(np.float32))}
    graph = normalize(RawModel("mlp", nodes, constants, inputs, ("y",), {"": 17}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        options = Options(jobs=1, rounds=2, shares=4)
        outcomes = []
        for _ in range(2):
            platform = load_platform("native")
            with Pipeline(graph, random_inputs(graph), platform, options) as pipeline:
                outcomes.append(pipeline.run())
    return outcomes


def test_two_further_runs_make_five_for_three_devices(runs) -> None:
    """An operator with two shares is executed in five ways, one in each run."""
    first, second = runs
    assert first.passed
    assert second.passed
    assert len(first.profile.plan.runs) + len(first.parts.plan.runs) == 5
    assert [len(outcome.part_results) for outcome in runs] == [2, 0]
    assert [outcome.parts.reused for outcome in runs] == [False, True]
    profiled = [r.assignment for r in (*first.profile_results, *first.part_results)]
    placed = {assignment["up"] for assignment in profiled}
    assert placed == {
        "cpu_serial", "cpu_parallel", "pim", "cpu_parallel+pim 1/4", "cpu_parallel+pim 3/4",
    }  # fmt: skip
    assert first.costs.splits.keys() == {"up", "down"}
    assert [split.name for split in first.costs.splits["up"]] == [
        "cpu_parallel+pim 1/4", "cpu_parallel+pim 1/2", "cpu_parallel+pim 3/4",
    ]  # fmt: skip
    assert second.costs.splits == first.costs.splits


def test_the_report_has_what_the_lines_miss(runs) -> None:
    outcome = runs[0]
    report = build_report(outcome)
    kept = report["profile"]["parts"]
    assert (kept["runs"], kept["runs_lower_bound"]) == (2, 2)
    assert "'up' has 3 shares: its time is a line" in kept["certificate"]
    assert kept["operators"]["up"]["columns"] == [512, 1536]
    assert kept["operators"]["up"]["error"] is not None
    assert kept["operators"]["down"] == {"columns": [512], "error": None}
    assert kept["median_error"] == abs(kept["operators"]["up"]["error"])
    row = report["schedules"]["coexec"]
    assert row["verification"]["passed"]
    assert row["predicted_us"] > 0
    assert row["executed_us"] > 0
