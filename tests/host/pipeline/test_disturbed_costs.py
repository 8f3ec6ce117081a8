"""CPU times that other work disturbed: marked in the cost store, and shown when they are reused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper
from rich.console import Console

import pimloop.host.execution.runner
import pimloop.host.pipeline.pipeline
from pimloop.host.cli import main
from pimloop.host.cli.summary import NOT_TRUSTED, print_summary
from pimloop.host.cpu.profile import profile_cpu
from pimloop.host.execution.options import Options
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.costs import StoredCosts
from pimloop.host.planning.graph import partition_graph
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import build_report
from pimloop.host.report.html.page import render
from pimloop.host.store.cost_store import CostStore
from pimloop.partitioner.profile.merge import ProfileRun


def two_products():
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.standard_normal((64, 64), np.float32) / 8 for i in range(2)}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["y"], name="first"),
        helper.make_node("MatMul", ["y", "w1"], ["z"], name="second"),
    ]
    inputs = {"x": TensorInfo((4, 64), np.dtype(np.float32))}
    return normalize(RawModel("two", nodes, weights, inputs, ("z",), {"": 17}))


@pytest.mark.parametrize("mark", [True, False])
def test_the_mark_of_a_profile_is_shown_when_its_costs_are_reused(
    mark, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    graph, calls = two_products(), []

    def profiled(*args):
        calls.append(args)
        return replace(profile_cpu(*args), disturbed=mark)

    monkeypatch.setattr(pimloop.host.execution.runner, "profile_cpu", profiled)
    monkeypatch.setattr(
        pimloop.host.pipeline.pipeline, "conversions_disturbed", lambda result: False
    )  # conversions

    def run(**options):
        chosen = Options(jobs=1, rounds=2, folder=tmp_path, **options)
        feeds = random_inputs(graph, 0)
        with Pipeline(graph, feeds, load_platform("native"), chosen) as pipeline:
            return build_report(pipeline.run())

    for reused in (False, True):
        report = run()
        assert len(calls) == 1
        assert report["profile"]["from_cost_store"] == reused
        # Of a profile that was made now, the conversions are timed too.
        assert report["profile"]["disturbed"] == mark
        assert report["cpu_times_disturbed"] or not mark
        costs = json.loads((tmp_path / "costs.json").read_text())
        plan = json.loads((tmp_path / "plan-optimal.json").read_text())
        assert costs.get("cpu_times_disturbed", False) == mark
        assert plan.get("cpu_times_disturbed", False) == mark
    for policy in ("optimal", "all"):
        assert main(["partition", "--costs", str(tmp_path / "costs.json"), "--policy", policy]) == 0
        said = capsys.readouterr().out
        assert (f"{NOT_TRUSTED} when the costs were measured" in said) == mark
    print_summary(Console(width=80), report)
    said = " ".join(capsys.readouterr().out.split())
    assert ("when the reused costs were measured; --fresh measures them again" in said) == mark
    assert ("of the costs that are reused here" in render(report)) == mark
    again = run(fresh=True)
    assert len(calls) == 2
    assert not again["profile"]["from_cost_store"]


def test_cycles_of_the_pim_are_never_marked(tmp_path):
    graph = two_products()
    feeds = random_inputs(graph, 0)
    run = ProfileRun(
        {"first": "pim", "second": "cpu_serial"},
        {"first": [1.0], "second": [2.0]},
        {("y", "pim", "cpu"): [0.5]},
    )
    on_pim = replace(run, node_us={"first": [1.0]}, transfer_us={})
    platform = load_platform("native")
    operators = partition_graph(graph, pim_fit(graph, platform), platform)
    with CostStore(tmp_path) as store:
        for name, kept, marked in (("all", run, True), ("PIM alone", on_pim, False)):
            known = StoredCosts(store, name, operators, feeds, platform, Options())
            known.add([kept], disturbed=True)
            times = {n: us for stored in known.find() for n, us in stored.node_us.items()}
            assert times == kept.node_us
            assert known.disturbed == marked
