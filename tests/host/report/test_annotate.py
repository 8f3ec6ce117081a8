"""model-annotated.onnx: valid, small, and every operator says where it runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from support import report_samples as samples

from pimloop.errors import PimloopError
from pimloop.host.models.graph import Graph, Node, TensorInfo
from pimloop.host.report.annotate import annotated, write_annotated

_TOKENS, _WIDTH = 4, 64


@pytest.fixture(scope="module")
def report():
    return samples.tiny_report()


@pytest.fixture(scope="module")
def graph(report):
    """Return the model of `samples.tiny_report`, with a large and a small constant."""
    ids = [node["id"] for node in report["graph"]["nodes"]]
    ops = [node["op"] for node in report["graph"]["nodes"]]
    assert ops == ["Add", "MatMul", "Softmax", "Tanh", "Mul"]
    inputs = [("x", "small"), ("t0", "large"), ("t1",), ("t2",), ("t3", "t2")]
    info = TensorInfo((1, _TOKENS, _WIDTH), np.dtype(np.float32))
    constants = {
        "small": np.ones(_WIDTH, np.float32),
        "large": np.ones((_WIDTH, _WIDTH), np.float32),
    }
    tensors = dict.fromkeys(["x", "t0", "t1", "t2", "t3", "y"], info) | {
        name: TensorInfo(value.shape, value.dtype) for name, value in constants.items()
    }
    outputs = ["t0", "t1", "t2", "t3", "y"]
    return Graph(
        name="tiny",
        nodes=tuple(
            Node(i, op, "", names, (output,), {})
            for i, op, names, output in zip(ids, ops, inputs, outputs, strict=True)
        ),
        tensors=tensors,
        constants=constants,
        inputs=("x",),
        outputs=("y",),
        opsets={"": 17},
    )


@pytest.fixture(scope="module")
def model(graph, report, tmp_path_factory):
    path = tmp_path_factory.mktemp("annotated") / "model-annotated.onnx"
    write_annotated(graph, report, path)
    assert path.stat().st_size < 20_000
    return onnx.load(path)


def test_the_model_is_valid(model):
    onnx.checker.check_model(model, full_check=True)


def test_every_operator_says_where_it_runs_and_what_it_costs(model, report):
    for node, described in zip(model.graph.node, report["graph"]["nodes"], strict=True):
        properties = {entry.key: entry.value for entry in node.metadata_props}
        assert node.name == described["id"]
        for name, schedule in report["schedules"].items():
            assert properties[f"pimloop.device.{name}"] == schedule["assignment"][node.name]
        for device, us in described["cost_us"].items():
            assert float(properties[f"pimloop.us.{device}"]) == pytest.approx(us, abs=1e-3)
            assert properties[f"pimloop.source.{device}"] == described["source"][device]
        assert node.doc_string.startswith("Optimal: ")


def test_weights_are_left_out_and_shapes_stay(model):
    assert [tensor.name for tensor in model.graph.initializer] == ["small"]
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    assert shapes["large"] == [_WIDTH, _WIDTH]
    assert shapes["t2"] == shapes["y"] == [1, _TOKENS, _WIDTH]


def test_the_model_carries_the_totals(model, report):
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["pimloop.platform"] == report["platform"]
    executed = report["schedules"]["greedy"]["executed_us"]
    assert float(properties["pimloop.executed_us.greedy"]) == pytest.approx(executed, abs=1e-3)


def test_a_report_without_costs_is_enough(graph, tmp_path):
    report = samples.bare_report()
    report["graph"] = None
    path = tmp_path / "model.onnx"
    write_annotated(graph, report, path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    keys = {entry.key for node in model.graph.node for entry in node.metadata_props}
    assert "pimloop.device.optimal" in keys
    assert not any(key.startswith("pimloop.us") for key in keys)


def test_a_place_that_cannot_be_written_is_named(graph, report, tmp_path):
    with pytest.raises(PimloopError, match="cannot write"):
        write_annotated(graph, report, tmp_path / "nowhere" / "model.onnx")


def test_names_that_are_no_text_are_made_text(graph, report):
    """A folder's name may hold bytes that are no UTF-8, and a terminal's escape sequences."""
    changed = {**report, "platform": "mine\udcff\x1b[31m"}
    model = annotated(replace(graph, name="m\udcff\x1b"), changed)
    assert model.graph.name == "m\ufffd\ufffd"
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["pimloop.platform"] == "mine\ufffd\ufffd[31m"
    model.SerializeToString()


def test_a_split_operator_has_the_times_of_its_parts(graph, report):
    changed = {**report, "schedules": {**report["schedules"]}}
    name = graph.nodes[1].id
    greedy = report["schedules"]["greedy"]
    split = {
        "columns": {"cpu_parallel": 40, "pim": 24},
        "us": {"cpu_parallel": 12.5, "pim": 11.25},
        "gather_us": {"cpu": 1.5},
    }
    changed["schedules"]["coexec"] = {
        **greedy,
        "assignment": {**greedy["assignment"], name: "cpu_parallel+pim 3/8"},
        "splits": {name: split},
    }
    node = annotated(graph, changed).graph.node[1]
    properties = {entry.key: entry.value for entry in node.metadata_props}
    assert properties["pimloop.device.coexec"] == "cpu_parallel+pim 3/8"
    assert properties["pimloop.part_us.coexec.cpu_parallel"] == "12.500"
    assert properties["pimloop.part_us.coexec.pim"] == "11.250"
    assert properties["pimloop.columns.coexec.pim"] == "24"
    assert properties["pimloop.gather_us.coexec.cpu"] == "1.500"
    assert (
        "Co-execution: CPU parallel 40 columns in 12.5 µs, PIM 24 columns in 11.2 µs, at the same"
        " time." in node.doc_string
    )
    others = annotated(graph, changed).graph.node[0].metadata_props
    assert not any(".part_us." in entry.key for entry in others)
