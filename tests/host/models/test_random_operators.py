"""Operators that draw random numbers, wherever ONNX lets them be: drawn once, or refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pimloop.errors import PimloopError
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import load_model

FLOAT, BOOL, INT64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64

#: They look at no data, so that outside control flow they are drawn when the model is loaded.
DRAWN_ONCE = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")
REFUSED = ("Bernoulli", "Multinomial", "Dropout")

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
node, value = helper.make_node, helper.make_tensor_value_info


def drawing(kind, source, result):
    """Return operators that make `result` of `source`, (4,) float32, with an operator `kind`."""
    if kind == "Multinomial":
        return [
            node("Constant", [], ["square"], value_ints=[2, 2]),
            node("Reshape", [source, "square"], ["chances"]),
            node("Multinomial", ["chances"], ["drawn"], sample_size=2),
            node("Cast", ["drawn"], ["single"], to=FLOAT),
            node("Constant", [], ["row"], value_ints=[4]),
            node("Reshape", ["single", "row"], [result]),
        ]
    if kind == "Dropout":
        return [
            node("Constant", [], ["ratio"], value_float=0.5),
            node("Constant", [], ["one"], value_int=1),
            node("Cast", ["one"], ["training"], to=BOOL),
            node("Dropout", [source, "ratio", "training"], [result]),
        ]
    shaped = kind in ("RandomNormal", "RandomUniform")
    draw = node(kind, [] if shaped else [source], ["drawn"], **({"shape": [4]} if shaped else {}))
    return [draw, node("Add", ["drawn", source], [result])]


def control_flow(kind, body):
    """Return an operator `kind` around the nodes of `body`, which make `b` of `v`."""
    ends = [value("b", FLOAT, [4])]
    if kind == "If":
        body = [node("Identity", ["x"], ["v"]), *body]
        other = [node("Neg", ["x"], ["b"])]
        return node(
            "If", ["c"], ["y"],
            then_branch=helper.make_graph(body, "then", [], ends),
            else_branch=helper.make_graph(other, "else", [], ends),
        )  # fmt: skip
    if kind == "Loop":
        inputs = [value("i", INT64, []), value("go", BOOL, []), value("v", FLOAT, [4])]
        body = [node("Identity", ["go"], ["on"]), *body]
        graph = helper.make_graph(body, "loop", inputs, [value("on", BOOL, []), *ends])
        return node("Loop", ["n", "c", "x"], ["y"], body=graph)
    inputs = [value("v", FLOAT, [4]), value("e", FLOAT, [])]
    body = [*body, node("Identity", ["e"], ["scanned"])]
    graph = helper.make_graph(body, "scan", inputs, [*ends, value("scanned", FLOAT, [])])
    return node("Scan", ["x", "x"], ["y", "z"], body=graph, num_scan_inputs=1)


def loaded(tmp_path, nodes, functions=()):
    ends = [value("x", FLOAT, [4]), value("c", BOOL, []), value("n", INT64, [])]
    graph = helper.make_graph(nodes, "g", ends, [value("y", FLOAT, None)])
    model = helper.make_model(graph, opset_imports=OPSETS, functions=list(functions), ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    return load_model(str(path))


def function(name, nodes):
    return helper.make_function("f", name, ["a"], ["o"], nodes, OPSETS)


def calls(depth, kind):
    """Return functions, each but the first calling the one before; the first draws."""
    made = [function("F0", drawing(kind, "a", "o"))]
    for level in range(1, depth):
        inner = node(f"F{level - 1}", ["a"], ["i"], domain="f")
        made.append(function(f"F{level}", [inner, node("Neg", ["i"], ["o"])]))
    return made


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", DRAWN_ONCE)
def test_numbers_of_a_function_are_drawn_once(kind, depth, tmp_path):
    call = [node(f"F{depth - 1}", ["x"], ["y"], domain="f")]
    first, second = (loaded(tmp_path, call, calls(depth, kind)) for _ in range(2))
    assert kind not in {operator.op for operator in first.nodes}
    feeds = random_inputs(first)
    values = [run_reference(graph, feeds)["y"] for graph in (first, first, second)]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])
    sign = -1 if depth == 2 else 1
    assert np.std(sign * values[0] - feeds["x"]) > 0


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", REFUSED)
def test_functions_that_draw_by_their_data_are_refused(kind, depth, tmp_path):
    call = [node(f"F{depth - 1}", ["x"], ["y"], domain="f")]
    with pytest.raises(PimloopError, match=rf"\({kind}\) of model m draws random numbers"):
        loaded(tmp_path, call, calls(depth, kind))


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("outer", ["If", "Loop", "Scan"])
@pytest.mark.parametrize("kind", DRAWN_ONCE + REFUSED)
def test_bodies_that_draw_are_refused(kind, outer, called, tmp_path):
    """A body that is executed whole draws anew each time; so does a function that it calls."""
    if called:
        top = control_flow(outer, [node("F0", ["v"], ["b"], domain="f")])
        functions = calls(1, kind)
    else:
        top, functions = control_flow(outer, drawing(kind, "v", "b")), []
    with pytest.raises(
        PimloopError, match=rf"\({outer}\).*{kind} in its body draws random numbers"
    ):
        loaded(tmp_path, [top], functions)


@pytest.mark.parametrize("training", [False, True])
def test_a_flag_of_an_outer_body_decides_whether_a_dropout_draws(training, tmp_path):
    ends = [value("b", FLOAT, [4])]
    inner = node(
        "If", ["c"], ["b"],
        then_branch=helper.make_graph(
            [node("Dropout", ["x", "", "flag"], ["b"])], "then", [], ends
        ),
        else_branch=helper.make_graph([node("Neg", ["x"], ["b"])], "else", [], ends),
    )  # fmt: skip
    outer = helper.make_graph(
        [inner], "then", [], ends,
        [onnx.numpy_helper.from_array(np.array(training), "flag")],
    )  # fmt: skip
    other = helper.make_graph([node("Neg", ["x"], ["b"])], "else", [], ends)
    top = [node("If", ["c"], ["y"], then_branch=outer, else_branch=other)]
    if training:
        with pytest.raises(PimloopError, match="Dropout in its body draws random numbers"):
            loaded(tmp_path, top)
    else:
        assert len(loaded(tmp_path, top).nodes) == 1
