"""What a report says of its origin, the board, and models that cannot use the PIM."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimloop.host.report.provenance
from pimloop.host.board.data import load_board
from pimloop.host.board.driver_work import driver_work_us, node_work_us
from pimloop.host.execution.accuracy import (
    HALF_ROUNDING,
    HalfErrors,
    compare,
    half_errors,
    tolerance,
)
from pimloop.host.execution.options import Options
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.graph import partition_graph
from pimloop.host.planning.outcome import Outcome, Schedule
from pimloop.host.platforms.platform import PLATFORM_DIR, load_platform
from pimloop.host.report.board import figure, published, with_driver_work
from pimloop.host.report.build import build_report
from pimloop.host.report.html.page import render
from pimloop.host.report.provenance import Source, rtl_hash, source
from pimloop.partitioner.costs import CostGraph


@pytest.fixture(scope="module")
def bert():
    return load_model("bert-small", LoadOptions(sequence_length=8))


def outcome(graph, platform=None, objective="sequential", costs=True):
    """Return a run of the pipeline as far as the board's column looks at it."""
    board = load_platform("htg-z920")
    operators = partition_graph(graph, pim_fit(graph, board), board)
    return Outcome(
        graph, platform or board, Options(objective=objective), {}, operators,
        costs=CostGraph(operators, {}, {}) if costs else None,
    )  # fmt: skip


def test_the_board_stands_beside_its_model_on_its_platform(bert, tmp_path):
    totals = published(outcome(bert))
    assert set(totals) == {"optimal", "cpu_serial", "cpu_parallel_first", "pim_first"}
    copy = tmp_path / "htg-z920.toml"
    copy.write_text((PLATFORM_DIR / "htg-z920.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert published(outcome(bert, load_platform(str(copy)))) == totals


def test_the_board_stands_beside_nothing_else(bert, tmp_path):
    assert published(outcome(bert, load_platform("aim"))) is None
    assert published(outcome(bert, load_platform("native"))) is None
    assert published(outcome(bert, load_platform("htg-z920", {"pim.lanes": "16"}))) is None
    assert published(outcome(bert, load_platform("htg-z920", {"pim.lanes": "32"}))) is None
    assert published(outcome(bert, objective="makespan")) is None
    assert published(outcome(bert, costs=False)) is None
    assert published(outcome(replace(bert, sequence_length=64))) is None
    # Another model of the same name and length.
    assert published(outcome(replace(bert, built_in=False))) is None
    changed = (PLATFORM_DIR / "htg-z920.toml").read_text(encoding="utf-8")
    changed = re.sub(r"tcl = \{ value = \d+", "tcl = { value = 18", changed)
    file = tmp_path / "htg-z920.toml"
    file.write_text(changed, encoding="utf-8")
    other = load_platform(str(file))
    assert other.name == "htg-z920"
    assert other.dram.tcl == 18
    assert published(outcome(bert, other)) is None


def test_the_work_of_the_boards_driver_is_added_to_what_a_published_total_compares_with(bert):
    """Operators cost 100 us on the CPU, 1 us on the PIM: the work decides which are worth it."""
    board, run = load_board("bert"), outcome(bert)
    pim = {operator.id for operator in run.operators.operators if "pim" in operator.devices}
    cost_us = {
        node.id: {"cpu_serial": 100.0, **({"pim": 1.0} if node.id in pim else {})}
        for node in bert.nodes
    }
    free = {tensor.id: dict.fromkeys(tensor.moves, 0.0) for tensor in run.operators.tensors}
    run.costs = CostGraph(run.operators, cost_us, free)
    first = {node.id: "pim" if node.id in pim else "cpu_parallel" for node in bert.nodes}
    for name, assignment, total in (("pim_first", first, 1e5), ("optimal", first, 2e4)):
        result, executed = SimpleNamespace(assignment=assignment), SimpleNamespace(total_us=total)
        run.schedules[name] = Schedule(result, executed=executed)
    # The authors' graph has the same operators, by the classes of the board.
    platform = run.platform
    work = [
        driver_work_us(board.classes[kind], 8, platform)
        for node, kind in enumerate(board.node_classes)
        if board.measurements[8].cost_us["pim"][node] is not None
    ]
    assert len(work) == len(pim) == 108
    assert sum(us > 0 for us in work) == 2  # both Gemm with transB = 1
    totals = with_driver_work(run, published(run))
    assert totals["pim_first"] == pytest.approx(1e5 + sum(work))
    others = 100.0 * (len(bert.nodes) - len(pim))
    assert totals["optimal"] == pytest.approx(others + sum(min(100.0, 1.0 + us) for us in work))
    assert figure(run, published(run)) == {"pim_first": 112_000.0}
    elsewhere, overlapped = outcome(bert, load_platform("aim")), outcome(bert, objective="makespan")
    assert with_driver_work(elsewhere, published(elsewhere)) is None
    assert figure(overlapped, published(overlapped)) is None


@pytest.mark.parametrize(("model", "further"), [("roberta", 0), ("gpt2", 1)])
def test_an_operator_of_a_graph_takes_the_driver_what_its_class_takes(model, further):
    """Rows of 768 are repacked in both models; with a head, ours of GPT-2 is not the board's."""
    board, platform = load_board(model), load_platform("htg-z920")
    graph = load_model(model, LoadOptions(sequence_length=16))
    assert (published(outcome(graph)) is None) == bool(further)
    ours = [
        us
        for node in graph.nodes
        if node.op in ("MatMul", "Gemm") and set(node.inputs) & set(graph.constants)
        if (us := node_work_us(graph, node, platform))
    ]
    theirs = [
        us
        for node, kind in enumerate(board.node_classes)
        if board.classes[kind].op in ("MatMul", "Gemm")
        and board.measurements[16].cost_us["pim"][node] is not None
        if (us := driver_work_us(board.classes[kind], 16, platform))
    ]
    assert len(ours) >= 36
    assert sorted(ours)[: len(theirs)] == pytest.approx(sorted(theirs))
    assert len(ours) - len(theirs) == further


def test_only_built_in_models_say_that_they_are(bert, tmp_path):
    assert bert.built_in
    assert not load_model(str(half_model(tmp_path / "bert-small.onnx"))).built_in


def half_model(path, layers=4, width=64):
    """Write layers of products, sums, softmax and tanh in float16; return the path."""
    rng = np.random.default_rng(0)
    nodes, constants, x = [], [], "x"
    for i in range(layers):
        weights = rng.standard_normal((width, width)) / np.sqrt(width)
        constants.append(numpy_helper.from_array(weights.astype(np.float16), f"w{i}"))
        for op, operands, result in (
            ("MatMul", [x, f"w{i}"], f"m{i}"),
            ("Tanh", [f"m{i}"], f"t{i}"),
            ("Add", [f"t{i}", x], f"a{i}"),
            ("Softmax", [f"a{i}"], f"s{i}"),
            ("Mul", [f"s{i}", f"a{i}"], f"p{i}"),
            ("Add", [f"p{i}", f"a{i}"], f"y{i}"),
        ):
            nodes.append(helper.make_node(op, operands, [result], name=result))
        x = f"y{i}"
    shape = [1, 8, width]
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT16, shape)],
        constants,
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """Return graph and report of a float16 model, which no PIM operation takes."""
    graph = load_model(str(half_model(tmp_path_factory.mktemp("half") / "half.onnx")))
    platform = load_platform("htg-z920", {"dram.trp": "18"})
    with Pipeline(graph, random_inputs(graph, 0), platform, Options(jobs=1)) as pipeline:
        return graph, build_report(pipeline.run())


def test_a_model_without_pim_operators_is_told_so(half):
    _, report = half
    assert report["pim_capable"] == 0
    assert report["cpu_only"] == {
        "float16 operands, the PIM takes float32": 16,
        "the PIM has no such operation": 8,
    }
    text = render(report)
    assert "No operator can run on the PIM (float16 operands, the PIM takes float32: 16;" in text
    assert "costs time" not in text


def test_float16_on_the_cpu_passes_and_a_wrong_result_does_not(half):
    graph, report = half
    assert report["verification"]["passed"]
    (compared,) = report["verification"]["compared"]
    # Six results a layer, rounded in the run and in the reference, and one rounding more.
    expected = 2 * HALF_ROUNDING["float16"] * (np.sqrt(2 * 6 * 4) + 1)
    assert compared["limit"] == pytest.approx(expected)
    assert 1e-5 < compared["relative_l2"] < compared["limit"]
    on_cpu = dict.fromkeys((node.id for node in graph.nodes), "cpu_serial")
    wanted = {"y3": np.ones((1, 8, 64), np.float16)}
    for off, passes in ((1e-3, True), (1e-2, False)):
        (comparison,) = compare(graph, on_cpu, {"y3": wanted["y3"] + np.float16(off)}, wanted)
        assert comparison.passed is passes


def test_float32_keeps_its_limit(bert):
    assert set(half_errors(bert).values()) == {HalfErrors()}
    assert tolerance(0) == 1e-5


def test_a_report_says_when_and_from_what_it_was_made(half):
    _, report = half
    made = datetime.fromisoformat(report["created"])
    assert timedelta(0) <= datetime.now(UTC) - made < timedelta(hours=1)
    assert re.fullmatch("[0-9a-f]{64}", report["rtl_sha256"])
    values = {row["key"]: row for row in report["platform_values"]}
    assert values["dram.trp"] == {
        "key": "dram.trp", "value": 18, "unit": "DRAM clocks", "source": "set for this run",
        "file_value": 17,
    }  # fmt: skip
    assert values["device.banks"]["value"] == 16
    assert "file_value" not in values["device.banks"]
    assert all(row["source"] for row in values.values())
    assert report["executed_kind"] == "simulated"
    text = render(report)
    assert report["rtl_sha256"] in text
    assert "the platform's file has 17" in text


def git(folder, *arguments):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True, capture_output=True,
    )  # fmt: skip


def test_the_source_is_the_commit_of_the_checkout(tmp_path, monkeypatch):
    code = tmp_path / "host"
    code.mkdir()
    (code / "__init__.py").write_text("")
    monkeypatch.setattr(pimloop.host.report.provenance.host, "__file__", str(code / "__init__.py"))
    source.cache_clear()
    try:
        assert source() is None  # no repository
        git(tmp_path, "init")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-m", "one")
        source.cache_clear()
        clean = source()
        assert re.fullmatch("[0-9a-f]{40}", clean.commit)
        assert not clean.modified
        (code / "new.py").write_text("")
        source.cache_clear()
        assert source() == Source(clean.commit, True)
        (code / "new.py").unlink()
        (tmp_path / "notes.md").write_text("no code")
        source.cache_clear()
        assert source() == clean
    finally:
        source.cache_clear()


def test_the_hash_of_the_rtl_is_that_of_its_files(tmp_path, monkeypatch):
    files = {"pim_primitives.f": "a.sv", "pim.f": "b.sv", "pim_sim.f": "c.sv"}
    for name, file in files.items():
        (tmp_path / name).write_text(f"// A list.\n{file}\n")
        (tmp_path / file).write_text("module first; endmodule")
    (tmp_path / "harness.sv").write_text("module harness; endmodule")
    monkeypatch.setattr(pimloop.rtl.tables.source, "RTL", tmp_path)
    seen = set()
    try:
        for changed in (None, *files.values()):
            if changed is not None:
                (tmp_path / changed).write_text("module second; endmodule")
            rtl_hash.cache_clear()
            seen.add(rtl_hash())
        (tmp_path / "harness.sv").write_text("module other; endmodule")
        rtl_hash.cache_clear()
        assert len(seen | {rtl_hash()}) == 4
    finally:
        rtl_hash.cache_clear()
