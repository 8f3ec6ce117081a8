"""Operators whose CPU time is not calibrated are named in report, terminal and page."""

from __future__ import annotations

from io import StringIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console

from pimloop.host.cli.summary import print_summary
from pimloop.host.execution.options import Options
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import build_report
from pimloop.host.report.html.page import render


def conv_model() -> onnx.ModelProto:
    """Return a Conv, a Hardmax and a product."""
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.standard_normal((8, 4, 3, 3)).astype(np.float32),
        "m": rng.standard_normal((6, 16)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Hardmax", ["c"], ["h"], name="hard"),
        helper.make_node("MatMul", ["h", "m"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8, 6, 16))],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the report of a run on the board's modelled CPU."""
    folder = tmp_path_factory.mktemp("conv")
    onnx.save(conv_model(), folder / "conv.onnx")
    graph = load_model(str(folder / "conv.onnx"), LoadOptions())
    with Pipeline(
        graph, random_inputs(graph, 0), load_platform("htg-z920"), Options(folder=folder)
    ) as pipeline:
        return build_report(pipeline.run())


def test_the_report_has_their_share_of_the_total(report):
    shares, main = report["cpu_model"], report["schedules"]["optimal"]
    assert shares["schedule"] == "optimal"
    by_op = {row["op"]: row["us"] for row in main["operators"]}
    for basis, op in (("derived", "Conv"), ("unknown", "Hardmax")):
        (row,) = shares[basis]
        assert (row["op"], row["count"]) == (op, 1)
        assert row["us"] == by_op[op] > 0
        assert row["share"] == pytest.approx(by_op[op] / main["executed_us"])
    assert shares["derived"][0]["share"] + shares["unknown"][0]["share"] < 1


def test_terminal_and_page_name_them(report):
    text = StringIO()
    print_summary(Console(file=text, width=80), report)
    page = render(report)
    for basis in ("derived", "unknown"):
        (row,) = report["cpu_model"][basis]
        assert f"{row['count']} {row['op']} {100 * row['share']:.1f} %" in text.getvalue()
        assert f"{row['count']} {row['op']} ({100 * row['share']:.1f} % of optimal)" in page
