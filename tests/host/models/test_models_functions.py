"""Local functions of .onnx files: which are called, in which operator set, and what is refused.

Right is what ONNX Runtime gives for the very file; what it refuses is one error.
"""

from __future__ import annotations

import logging

import onnx
import pytest
from onnx import helper
from onnx_files import FLOAT, check, floats, runtime, save

from pimloop.errors import PimloopError
from pimloop.host.models.loader import load_model


def function(name, op, domain="f", opset=17, overload="", node_domain="", **attributes):
    """Return a function of one operator."""
    made = helper.make_function(
        domain, name, ["a"], ["b"],
        [helper.make_node(op, ["a"], ["b"], domain=node_domain, **attributes)],
        [helper.make_opsetid("", opset)],
    )  # fmt: skip
    made.overload = overload
    return made


def call(op, domain="f", overload=""):
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    node.overload = overload
    return node


def called(folder, node, functions, opset=17, domains=("f",), shape=(1, 3, 4)):
    return save(folder, [node], [("x", FLOAT, list(shape))], [("y", FLOAT, None)], (), opset,
                domains, functions)  # fmt: skip


# -- operator sets -------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [12, 16, 18])
def test_a_function_of_another_operator_set_with_the_same_definitions(opset, tmp_path, caplog):
    path = called(tmp_path, call("G"), [function("G", "Neg", opset=opset)])
    assert [n.op for n in check(path, {"x": floats(1, 3, 4)}).nodes] == ["Neg"]
    assert not caplog.records


def test_the_models_definition_counts_as_in_onnx_runtime(tmp_path, caplog):
    # Softmax of operator set 12 is over all axes from `axis` on, that of 13 over one.
    path = called(tmp_path, call("G"), [function("G", "Softmax", opset=12, axis=1)])
    with caplog.at_level(logging.WARNING):
        check(path, {"x": floats(1, 3, 4)})
    (record,) = caplog.records
    assert "'G' imports operator set 12, the model 17" in record.getMessage()
    assert record.getMessage().endswith("of Softmax")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (function("G", "Squeeze", opset=11, axes=[0]), "Squeeze has no attribute 'axes'"),
        (function("G", "Gelu", opset=20), "Gelu does not exist"),
        (function("G", "Clip", opset=6, min=0.0), "Clip has no attribute 'min'"),
    ],
)
def test_a_body_that_has_another_form_in_the_models_operator_set_is_refused(
    body, message, tmp_path
):
    path = called(tmp_path, call("G"), [body])
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        runtime(path, {"x": floats(1, 3, 4)})
    wanted = rf"'G' imports operator set {body.opset_import[0].version}, the model 17, in which"
    with pytest.raises(PimloopError, match=f"{wanted} {message}; export both in one operator set"):
        load_model(str(path))


def test_an_input_that_the_models_operator_set_does_not_know_is_refused(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        helper.make_node("ReduceMean", ["a", "axes"], ["b"]),
    ]
    body = helper.make_function("f", "G", ["a"], ["b"], nodes, [helper.make_opsetid("", 18)])
    path = called(tmp_path, call("G"), [body])
    with pytest.raises(PimloopError, match="in which ReduceMean does not take 2 inputs"):
        load_model(str(path))


def test_a_function_of_another_operator_set_inside_another_and_in_a_branch(tmp_path):
    inner = function("In", "Softmax", opset=12, axis=2)
    outer = helper.make_function(
        "f", "Out", ["a"], ["b"], [helper.make_node("In", ["a"], ["b"], domain="f")],
        [helper.make_opsetid("", 16), helper.make_opsetid("f", 1)],
    )  # fmt: skip
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["x"], [op], domain="f")],
            op,
            [],
            [helper.make_tensor_value_info(op, FLOAT, [1, 3, 4])],
        )
        for op in ("In", "Out")
    ]
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["c"], ["h"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Out", ["h"], ["y"], domain="f"),
    ]
    path = save(tmp_path, nodes, [("x", FLOAT, [1, 3, 4])], [("y", FLOAT, None)], (), 17, ["f"],
                [inner, outer])  # fmt: skip
    graph = check(path, {"x": floats(1, 3, 4)})
    assert [n.op for n in graph.nodes][-2:] == ["If_0", "Softmax"]


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "domain"),
    [("Relu", ""), ("HardSwish", ""), ("Gelu", "com.microsoft"), ("Binarizer", "ai.onnx.ml")],
)
def test_a_function_under_the_name_of_an_operator_is_never_called(op, domain, tmp_path):
    body = function(op, "Neg", domain=domain)
    path = called(tmp_path, call(op, domain), [body], domains=[domain] if domain else [])
    assert [n.op for n in check(path, {"x": floats(1, 3, 4)}).nodes] != ["Neg"]


def test_a_function_in_a_domain_of_the_runtime_under_another_name_is_called(tmp_path):
    body = function("NoSuchOperator", "Neg", domain="com.microsoft")
    path = called(tmp_path, call("NoSuchOperator", "com.microsoft"), [body],
                  domains=["com.microsoft"])  # fmt: skip
    assert [n.op for n in check(path, {"x": floats(1, 3, 4)}).nodes] == ["Neg"]


@pytest.mark.parametrize(("overload", "op"), [("", "Neg"), ("other", "Abs")])
def test_the_overload_that_is_asked_for_is_called(overload, op, tmp_path):
    functions = [function("G", "Neg"), function("G", "Abs", overload="other")]
    path = called(tmp_path, call("G", overload=overload), functions)
    assert [n.op for n in check(path, {"x": floats(1, 3, 4)}).nodes] == [op]


@pytest.mark.parametrize(
    ("node", "functions", "domains", "message"),
    [
        (call("G"), [function("G", "Neg"), function("G", "Abs")], ["f"],
         "2 of its functions are called 'G' of domain 'f'"),
        (call("G"), [function("G", "Neg")], [], "calls the function 'G' of domain 'f', of which"),
        (helper.make_node("G", ["x", "x"], ["y"], domain="f"), [function("G", "Neg")], ["f"],
         "calls the function 'G' with 2 inputs, it has 1"),
        (helper.make_node("G", ["x"], ["y", "z"], domain="f"), [function("G", "Neg")], ["f"],
         "calls the function 'G' with 2 outputs, it has 1"),
        (call("G"), [function("G", "Neg", node_domain="q")], ["f"],
         "'G' has an operator Neg of the domain 'q', of which it imports no operator set"),
    ],
)  # fmt: skip
def test_functions_that_are_refused(node, functions, domains, message, tmp_path):
    path = called(tmp_path, node, functions, domains=domains)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        runtime(path, {"x": floats(1, 3, 4)})
    with pytest.raises(PimloopError, match=message):
        load_model(str(path))
