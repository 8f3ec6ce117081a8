"""Whatever the PIM may read, through the whole pipeline: bits, values, predicted = executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimloop.host.execution.options import Options
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.pipeline.waves import record_operator
from pimloop.host.platforms.platform import Platform, load_platform
from pimloop.host.report.build import build_report

#: The board with all that the driver can do. Its CPU is modelled, so every predicted time must be
#: the executed one.
EVERYTHING = {
    "capabilities.operands": "any",
    "capabilities.activation_matmul": "true",
    "capabilities.elementwise_max_rank": "8",
    "capabilities.types": '["float32", "float16"]',
}
#: The same with the geometry of all_bank.
ALL_BANK = {
    "device.style": "all_bank",
    "device.lanes": "512",
    "device.row_bytes": "2048",
}
STYLES = {"per_bank": EVERYTHING, "all_bank": EVERYTHING | ALL_BANK}


def model(kind: str) -> onnx.ModelProto:
    """Return products and sums of every form: heads, groups, vectors, Gemm with all flags."""
    element = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[kind]
    draw = np.random.default_rng(0)
    constants = {
        name: draw.standard_normal(shape).astype(kind)
        for name, shape in {
            "middle": (1, 1, 40, 8), "left": (24, 40), "heads": (4, 8, 12), "column": (96, 1),
            "v": (12,), "w": (12, 40),
        }.items()
    }  # fmt: skip
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"], name="p"),  # (1, 4, 40, 40)
        helper.make_node("Abs", ["y"], ["k"], name="k"),  # (1, 2, 1, 40, 8): grouped
        helper.make_node("Reshape", ["p", "grouped"], ["q"], name="q"),
        helper.make_node("MatMul", ["q", "k"], ["values"], name="values"),  # few columns: turned
        helper.make_node("Reshape", ["values", "flat"], ["f"], name="f"),
        helper.make_node("Add", ["f", "middle"], ["a"], name="a"),
        helper.make_node("MatMul", ["left", "a"], ["l"], name="l"),  # (1, 4, 24, 8)
        helper.make_node("MatMul", ["l", "heads"], ["h"], name="h"),  # (1, 4, 24, 12)
        helper.make_node("MatMul", ["h", "v"], ["u"], name="u"),  # (1, 4, 24)
        helper.make_node("Reshape", ["u", "turned"], ["u2"], name="u2"),
        helper.make_node("Sub", ["v", "u2"], ["s"], name="s"),
        helper.make_node("Transpose", ["s"], ["t"], name="t", perm=[1, 0]),
        helper.make_node("Gemm", ["t", "w", "column"], ["z"], name="z", transA=1, alpha=0.5,
                         beta=2.0),
    ]  # fmt: skip
    shapes = {"grouped": [1, 2, 2, 40, 40], "flat": [1, 4, 40, 8], "turned": [96, 1]}
    graph = helper.make_graph(
        nodes,
        f"operands-{kind}",
        [
            helper.make_tensor_value_info("x", element, [1, 4, 40, 40]),
            helper.make_tensor_value_info("y", element, [1, 2, 1, 40, 8]),
        ],
        [helper.make_empty_tensor_value_info("z")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()]
        + [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def run(folder: Path, platform: Platform, kind: str) -> tuple[Any, dict[str, Any]]:
    onnx.save(model(kind), folder / f"{kind}.onnx")
    graph = load_model(str(folder / f"{kind}.onnx"), LoadOptions())
    (folder / "out").mkdir()
    options = Options(folder=folder / "out")
    with Pipeline(graph, random_inputs(graph, 0), platform, options) as pipeline:
        outcome = pipeline.run()
        return outcome, build_report(outcome)


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_form_of_operand(style: str, kind: str, tmp_path: Path) -> None:
    platform = load_platform("htg-z920", STYLES[style])
    outcome, report = run(tmp_path, platform, kind)
    graph = outcome.graph
    arithmetic = {n.id for n in graph.nodes if n.op in ("MatMul", "Gemm", "Add", "Sub", "Mul")}
    assert set(outcome.operations) == arithmetic
    assert len(arithmetic) == 8
    first = report["schedules"]["pim_first"]
    assert first["pim_nodes"] == 8
    assert report["verification"]["passed"], report["verification"]
    assert report["verification"]["predictions_missed"] == []
    for schedule in report["schedules"].values():
        assert schedule["executed_us"] == pytest.approx(schedule["predicted_us"], rel=1e-9)


def test_waves_show_the_form_that_the_model_runs(tmp_path: Path) -> None:
    """An operator recorded alone lies as in the model, where its operands have other readers."""
    platform = load_platform("htg-z920", EVERYTHING)
    outcome, _ = run(tmp_path, platform, "float32")
    graph = outcome.graph
    cycles = record_operator(
        graph, random_inputs(graph, 0), platform, "values", tmp_path / "values.fst"
    )
    executed = outcome.schedules["pim_first"].result.execution.pim["values"].cycles
    # Its tensors may lie in other banks.
    assert cycles == pytest.approx(executed, rel=0.02)
