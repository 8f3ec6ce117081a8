"""A network with Relu through the whole pipeline, with Relu on the PIM."""

from __future__ import annotations

from itertools import pairwise
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
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import build_report

#: The board, whose CPU is modelled, with every operation of the device.
BOARD = {"capabilities.operators": '["all"]'}
ALL_BANK = {"device.style": "all_bank", "device.lanes": "512", "device.row_bytes": "2048"}
STYLES = {"per_bank": BOARD, "all_bank": BOARD | ALL_BANK}
#: Elements of a layer; no multiple of a beat.
WIDTHS = (48, 200, 90, 10)


def relu_model() -> onnx.ModelProto:
    """Return products with a bias, Relu or a Clip from 0 on between them; x is (4, 48)."""
    draw = np.random.default_rng(0)
    constants = {"zero": np.float32(0)}
    nodes, x = [], "x"
    for layer, (inner, columns) in enumerate(pairwise(WIDTHS)):
        constants[f"w{layer}"] = draw.standard_normal((inner, columns), np.float32)
        constants[f"b{layer}"] = draw.standard_normal(columns, np.float32)
        nodes += [
            helper.make_node("MatMul", [x, f"w{layer}"], [f"m{layer}"], name=f"product{layer}"),
            helper.make_node("Add", [f"m{layer}", f"b{layer}"], [f"a{layer}"], name=f"sum{layer}"),
        ]
        x = f"r{layer}"
        rest = ["zero"] if layer else []
        kind = "Clip" if layer else "Relu"
        nodes.append(helper.make_node(kind, [f"a{layer}", *rest], [x], name=f"relu{layer}"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, WIDTHS[0]])],
        [helper.make_empty_tensor_value_info(x)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def run(folder: Path, settings: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    onnx.save(relu_model(), folder / "network.onnx")
    graph = load_model(str(folder / "network.onnx"), LoadOptions())
    platform = load_platform("htg-z920", settings)
    options = Options(folder=folder / "out")
    (folder / "out").mkdir()
    with Pipeline(graph, random_inputs(graph, 0), platform, options) as pipeline:
        outcome = pipeline.run()
        return outcome, build_report(outcome)


@pytest.mark.parametrize("style", STYLES)
def test_relu_runs_on_the_pim(style: str, tmp_path: Path) -> None:
    outcome, report = run(tmp_path, STYLES[style])
    activations = {"relu0", "relu1", "relu2"}
    assert activations < set(outcome.operations)
    first = outcome.schedules["pim_first"].result.execution
    assert activations < set(first.pim)
    # Every tile is written; no second operand is read.
    for name in sorted(activations):
        counters = first.pim[name].counters
        assert counters["mac"] == counters["wr"] > 0
    assert report["schedules"]["pim_first"]["pim_nodes"] == 9
    assert report["verification"]["passed"], report["verification"]
    assert report["verification"]["predictions_missed"] == []
    for schedule in report["schedules"].values():
        assert schedule["executed_us"] == pytest.approx(schedule["predicted_us"], rel=1e-9)


def test_the_papers_board_keeps_it_on_the_cpu(tmp_path: Path) -> None:
    outcome, report = run(tmp_path, {})
    assert {name[:-1] for name in outcome.operations} == {"product", "sum"}
    assert report["verification"]["passed"], report["verification"]
