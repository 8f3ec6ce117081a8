"""Co-execution end to end: in the table by default, executed as predicted, reported."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.commands import run_command
from support.tiny_checkpoints import write_checkpoint

from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Job, Runner
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import load_model
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.part_runs import share_name
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.plots import _timeline
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.problem import Problem


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two wide products with an element-wise operator between, and one that is not wide."""
    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape, dtype=np.float32) / np.sqrt(shape[0])
        return numpy_helper.from_array(values.astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["a"], name="up"),
            helper.make_node("Tanh", ["a"], ["t"], name="act"),
            helper.make_node("Add", ["t", "b"], ["s"], name="bias"),
            helper.make_node("MatMul", ["s", "w2"], ["c"], name="down"),
            helper.make_node("MatMul", ["c", "w3"], ["y"], name="head"),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 512])],
        [weights("w1", 256, 2048), weights("w2", 2048, 1024), weights("w3", 1024, 512),
         weights("b", 2048)],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "mlp.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture(scope="module")
def folder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run = run_command("sim", model, "--out", out)
    assert run.returncode == 0, run.stderr
    (out / "stdout").write_text(run.stdout)
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return loaded


def test_it_is_executed_as_predicted_and_bit_exact(report: dict[str, Any]) -> None:
    coexec, optimal = report["schedules"]["coexec"], report["schedules"]["optimal"]
    assert list(report["schedules"])[-1] == "coexec"
    assert report["main_schedule"] == "optimal"
    assert coexec["verification"]["passed"]
    assert coexec["optimal"]
    assert coexec["executed_us"] == pytest.approx(coexec["predicted_us"], rel=1e-9)
    assert coexec["executed_us"] < optimal["executed_us"]
    assert set(coexec["splits"]) <= {"up", "down"}
    assert coexec["splits"]


def test_the_report_has_both_parts(report: dict[str, Any]) -> None:
    """A split operator takes as long as its slower part; both are in the timeline, side by side."""
    coexec = report["schedules"]["coexec"]
    for name, split in coexec["splits"].items():
        assert sum(split["columns"].values()) == {"up": 2048, "down": 1024}[name]
        assert split["columns"]["pim"] % 512 == 0
        steps = {s["lane"]: s for s in coexec["timeline"] if s["node"] == name}
        assert set(steps) == {"cpu_parallel", "pim"}
        assert len({step["start_us"] for step in steps.values()}) == 1
        assert {lane: step["us"] for lane, step in steps.items()} == pytest.approx(split["us"])
    used = {name: device["nodes"] for name, device in coexec["devices"].items()}
    assert used["pim"] == coexec["pim_nodes"]
    parts = sum(sum(split["us"].values()) for split in coexec["splits"].values())
    slower = sum(max(split["us"].values()) for split in coexec["splits"].values())
    busy = sum(device["us"] for device in coexec["devices"].values())
    assert busy - parts + slower == pytest.approx(coexec["compute_us"])
    assert coexec["compute_us"] + coexec["transfer_us"] == pytest.approx(coexec["executed_us"])


def test_page_trace_and_annotated_model_show_it(folder: Path, report: dict[str, Any]) -> None:
    page = " ".join((folder / "report.html").read_text().split())
    count = len(report["schedules"]["coexec"]["splits"])
    assert f"splits {count} operator{'s' if count > 1 else ''} between CPU parallel and PIM" in page
    assert "Assumed: each side works in a memory of its own" in page
    assert "no placement of whole operators is faster" in page
    assert "the costs that were predicted are not those of the execution" not in page
    properties = {
        node.name: {entry.key: entry.value for entry in node.metadata_props}
        for node in onnx.load(folder / "model-annotated.onnx").graph.node
    }
    name = next(iter(report["schedules"]["coexec"]["splits"]))
    assert properties[name]["pimloop.device.coexec"].startswith("cpu_parallel+pim ")
    trace = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert {"CPU parallel", "PIM"} <= {e["args"].get("name") for e in trace if e["ph"] == "M"}
    text = " ".join((folder / "stdout").read_text().split())
    assert f"Co-execution splits {count} operator" in text
    assert "times as fast as Optimal, which splits none" in text


def test_its_files_are_plans_and_costs_as_any(folder: Path, model: Path, tmp_path: Path) -> None:
    """Planned again from its costs, and executed from its plan file."""
    made = run_command(
        "partition", "--costs", folder / "costs.json", "--policy", "coexec", "--json"
    )
    assert made.returncode == 0, made.stderr
    plan = json.loads((folder / "plan-coexec.json").read_text())
    assert json.loads(made.stdout)["total_us"] == plan["total_us"]
    shown = run_command("partition", "--costs", folder / "costs.json", "--policy", "coexec").stdout
    assert f"cpu_parallel+pim {len(plan['splits'])}" in shown
    planned = run_command("partition", "--costs", folder / "costs.json", "--policy", "all")
    assert "coexec" in planned.stdout
    run = run_command("run", model, "--plan", folder / "plan-coexec.json", "--json")
    assert run.returncode == 0, run.stderr
    (schedule,) = json.loads(run.stdout)["schedules"].values()
    assert schedule["executed_us"] == pytest.approx(plan["total_us"], rel=1e-9)
    name = next(iter(plan["splits"]))
    plan["assignment"][name] = "pim"
    (tmp_path / "other.json").write_text(json.dumps(plan))
    wrong = run_command("run", model, "--plan", tmp_path / "other.json")
    assert wrong.returncode == 2
    assert f"splits.{name} is" in wrong.stderr
    assert "but assignment has 'pim'" in " ".join(wrong.stderr.split())


def test_no_bar_of_the_plot_hides_another(report: Any) -> None:
    """Steps at the same time are beside each other in a row, not on top of each other."""
    figure = _timeline(report)
    assert figure is not None
    boxes = sorted(
        (path.get_extents() for bars in figure.axes[0].collections for path in bars.get_paths()),
        key=lambda box: box.x0,
    )
    lanes = {s["lane"] for schedule in report["schedules"].values() for s in schedule["timeline"]}
    assert len(boxes) >= len(lanes) * 2
    for number, box in enumerate(boxes):
        for other in boxes[number + 1 :]:
            across = min(box.x1, other.x1) - other.x0
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1e-6 or down <= 1e-6


def test_every_placement_costs_what_it_takes(model: Path) -> None:
    """All ways to split the two products: the plan's is the least, and every one is executed.

    Those that are not offered, because another must be quicker, are executed too.
    """
    graph, platform = load_model(model), load_platform("htg-z920")
    feeds = random_inputs(graph)
    with Pipeline(graph, feeds, platform, Options(policies=("coexec",))) as pipeline:
        costs = pipeline.profile()
    problem = Problem.of(costs)
    choices = {
        name: ["cpu_parallel", "pim", *(split.name for split in costs.splits[name])]
        for name in ("up", "down")
    }
    offered = {name: tuple(several) for name, several in choices.items()}
    columns = {"up": 2048, "down": 1024}
    for name, several in choices.items():
        every = [share_name(n, columns[name]) for n in range(512, columns[name], 512)]
        several += [split for split in every if split not in several]
    assert [len(choices[name]) for name in ("up", "down")] == [5, 3]
    rest = {"act": "cpu_parallel", "bias": "cpu_parallel", "head": "pim"}
    jobs = [
        Job(f"{up}, {down}", {"up": up, "down": down, **rest})
        for up, down in product(choices["up"], choices["down"])
    ]
    with Runner(graph, feeds, platform, Options(), lambda _: None) as runner:
        results = runner.run(jobs, last=True)
    taken = {}
    for job, result in zip(jobs, results, strict=True):
        times = schedule_times(result)
        assert times is not None
        assert result.passed
        if all(job.assignment[name] in several for name, several in offered.items()):
            predicted = problem.to_us(evaluate(problem, job.assignment).total)
            assert times.total_us == pytest.approx(predicted, rel=1e-9)
        taken[job.name] = times.total_us
    with Pipeline(graph, feeds, platform, Options(policies=("coexec",))) as pipeline:
        outcome = pipeline.run()
    plan = outcome.schedules["coexec"].plan
    assert plan is not None
    assert plan.total_us <= min(taken.values()) + 1e-6
    assert "profile parts" not in dict(outcome.phases)  # the store has them


def test_devices_of_a_schedule_overlap_beside_its_splits(model: Path) -> None:
    """The makespan objective: a split occupies both memories, its gather is a transfer."""
    graph, platform = load_model(model), load_platform("htg-z920")
    options = Options(policies=("coexec",), objective="makespan", time_limit_s=10.0)
    with Pipeline(graph, random_inputs(graph), platform, options) as pipeline:
        outcome = pipeline.run()
    assert outcome.passed
    schedule = outcome.schedules["coexec"]
    assert schedule.plan is not None
    assert schedule.times is not None
    assert schedule.executed is not None
    assert schedule.plan.splits
    assert schedule.executed.total_us == pytest.approx(schedule.plan.total_us, rel=1e-9)
    optimal = outcome.schedules["optimal"].plan
    assert optimal is not None
    assert schedule.plan.total_us < optimal.total_us
    for name in schedule.plan.splits:
        steps = {step.lane: step for step in schedule.executed.steps if step.node == name}
        assert {lane: step.us for lane, step in steps.items()} == schedule.times.parts[name]
        assert len({step.start_us for step in steps.values()}) == 1
    # By default the objective's search, which takes long, is not made twice.
    with Pipeline(graph, random_inputs(graph), platform, Options(objective="makespan")) as whole:
        assert "coexec" not in whole.policies
        assert "ask for it with --shares 16" in whole.outcome.left_out["coexec"]
    asked = Options(objective="makespan", shares=16)
    with Pipeline(graph, random_inputs(graph), platform, asked) as with_splits:
        assert "coexec" in with_splits.policies
        assert not with_splits.outcome.left_out


def test_that_it_is_left_out_is_said(model: Path, tmp_path: Path) -> None:
    """Every command that does not try it by default says so in a line, unless asked for whole."""
    reason = "with the objective makespan its search may take the whole time limit; ask for it"
    out = tmp_path / "out"
    for command, line in (
        (("sim", model, "--objective", "makespan", "--no-plots", "--out", out),
         f"coexec: left out: {reason}"),
        (("sweep", model, "--objective", "makespan", "--out", tmp_path / "s"), f": {reason}"),
        (("profile", model, "--platform", "native", "--output", tmp_path / "c.json"),
         "no splits for coexec: parts of operators are timed on this machine"),
        (("partition", "--costs", out / "costs.json", "--policy", "all"),
         "coexec: left out: the costs offer no splits"),
        (("partition", "--costs", out / "costs.json", "--policy", "coexec"),
         "every operator is whole: the costs offer no splits"),
    ):  # fmt: skip
        run = run_command(*command)
        assert run.returncode == 0, run.stderr
        said = " ".join(run.stdout.split())
        assert said.count(line) == 1, command
    report = json.loads((out / "report.json").read_text())
    assert list(report["left_out_policies"]) == ["coexec"]
    assert f"coexec: left out ({reason}" in " ".join((out / "report.html").read_text().split())
    whole = run_command(
        "sim", model, "--objective", "makespan", "--shares", "1", "--no-plots", "--out", out
    )
    assert whole.returncode == 0, whole.stderr
    assert "left out" not in whole.stdout


def test_why_nothing_is_split_is_said(model: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "narrow", "bert")
    run = run_command(
        "sim", tmp_path / "narrow", "--policy", "coexec", "--no-plots", "--out", tmp_path / "out"
    )
    assert run.returncode == 0, run.stderr
    said = " ".join(run.stdout.split())
    assert "coexec: no plan: no product by constant weights is wider than a column tile" in said
    whole = run_command(
        "sim", model, "--policy", "coexec", "--shares", "1", "--out", tmp_path / "one"
    )
    assert (whole.returncode, whole.stdout) == (2, "")
    assert "--policy coexec cannot be done with --shares 1" in " ".join(whole.stderr.split())
    assert not (tmp_path / "one").exists()


def test_a_sweep_shares_its_products_as_asked(model: Path, tmp_path: Path) -> None:
    """`--shares` of a sweep: quarters, or none; rows, table and each point's command have it."""
    schedules = {}
    for shares in ("4", "1"):
        out = tmp_path / shares
        run = run_command("sweep", model, "--shares", shares, "--out", out, "--quiet")
        assert run.returncode == 0, run.stderr
        rows = json.loads((out / "sweep.json").read_text())["rows"]
        assert {row["shares"] for row in rows} == {int(shares)}
        with (out / "sweep.csv").open() as file:
            assert {row["shares"] for row in csv.DictReader(file)} == {shares}
        (path,) = (out / "points").glob("*/report.json")
        point = json.loads(path.read_text())
        assert point["command"][-2:] == ["--shares", shares]
        schedules[shares] = point["schedules"]
    assert "coexec" not in schedules["1"]
    columns = [split["columns"] for split in schedules["4"]["coexec"]["splits"].values()]
    assert columns
    assert all(split["pim"] * 4 % sum(split.values()) == 0 for split in columns)


def test_parts_are_measured_where_the_cpu_is(model: Path, tmp_path: Path) -> None:
    """Two runs more; what the lines through their shares miss, and what is assumed, is said."""
    run = run_command(
        "sim", model, "--platform", "native", "--policy", "coexec", "--no-plots",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    text = " ".join(run.stdout.split())
    assert "shares of the CPU: 2 further runs (lower bound 2); the lines through them miss" in text
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["schedules"])[-1] == "coexec"
    split = report["schedules"]["coexec"].get("splits")
    assert not split or "Assumed: each side works in a memory of its own" in text
    assert set(report["profile"]["parts"]["operators"]) == {"up", "down"}
