"""ONNX models become computational graphs with capabilities, sizes and signatures."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimloop.partitioner.dcg import count_dcg
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.onnx_graph import graph_from_onnx

MEMORIES = {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]}
TABLE = {"MatMul": ["cpu_serial", "cpu_parallel", "pim"], "*": ["cpu_serial"]}


def model(nodes, inputs, outputs, initializers=()) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "net", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def value(name: str, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name: str, *shape: int):
    return numpy_helper.from_array(np.zeros(shape, dtype=np.float32), name)


@pytest.fixture
def net() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Constant", [], ["c"], value_float=2.0),
        helper.make_node("Mul", ["h", "c"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["n"], name="first"),
        helper.make_node("Softmax", ["n"], ["y"], axis=-1),
    ]
    return model(nodes, [value("x", [4, 8])], [value("y", [4, 8])], [weight("w", 8, 8)])


def test_graph_of_a_small_model(net, tmp_path) -> None:
    graph = graph_from_onnx(net, MEMORIES, TABLE)
    assert [operator.id for operator in graph.operators] == [
        "first",
        "Mul_1",
        "MatMul_2",
        "Softmax_3",
    ]
    first, mul, second, softmax = graph.operators
    assert first.devices == ("cpu_serial", "cpu_parallel", "pim")
    assert mul.devices == ("cpu_serial",)
    assert first.signature == second.signature == "MatMul/4x8/8x8"
    assert softmax.signature == "Softmax/4x8/axis=-1"
    assert first.weight_bytes == 8 * 8 * 2
    tensors = {tensor.id: tensor for tensor in graph.tensors}
    assert set(tensors) == {"x", "h", "m", "n", "y"}
    assert (tensors["x"].producer, tensors["x"].consumers) == (None, ("first",))
    assert (tensors["h"].bytes, tensors["h"].type) == (4 * 8 * 2, "float32")
    assert [name for name, tensor in tensors.items() if tensor.output] == ["y"]
    counts = count_dcg(graph)
    assert (counts.cg_nodes, counts.cg_edges, counts.dcg_nodes) == (4, 3, 8)

    path = tmp_path / "net.onnx"
    onnx.save(net, path)
    again = graph_from_onnx(path, MEMORIES, TABLE)
    assert again.operators == graph.operators
    assert again.tensors == graph.tensors


def test_capability_can_look_at_shapes(net) -> None:
    def capability(node, types):
        small = types[0] is not None and types[0].shape == (4, 8)
        return ["cpu_serial", "pim"] if node.op_type == "Mul" and small else ["cpu_serial"]

    graph = graph_from_onnx(net, MEMORIES, capability)
    assert [len(operator.devices) for operator in graph.operators] == [1, 2, 1, 1]


def test_unknown_shapes_have_no_size_and_no_signature() -> None:
    net = model(
        [helper.make_node("Relu", ["x"], ["y"])], [value("x", ["n", 8])], [value("y", None)]
    )
    graph = graph_from_onnx(net, MEMORIES, TABLE)
    assert graph.operators[0].signature is None
    assert [tensor.bytes for tensor in graph.tensors] == [None, None]


def test_integer_tensors_keep_their_size() -> None:
    net = model(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)],
        [value("x", [3])],
        [value("y", [3], TensorProto.INT64)],
    )
    sizes = {t.id: (t.bytes, t.type) for t in graph_from_onnx(net, MEMORIES, TABLE).tensors}
    assert sizes == {"x": (6, "float32"), "y": (24, "int64")}


def test_values_read_inside_a_branch_are_inputs_of_the_if() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["h", "h"], ["z"])], "then", [], [value("z", [2])]
    )
    through = helper.make_graph([], "else", [], [value("h", [2])])
    nodes = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=through),
    ]
    net = model(nodes, [value("x", [2]), value("flag", [], TensorProto.BOOL)], [value("y", [2])])
    tensors = {tensor.id: tensor for tensor in graph_from_onnx(net, MEMORIES, TABLE).tensors}
    assert tensors["h"].consumers == ("If_1",)
    assert "z" not in tensors


def test_a_value_that_is_output_and_read_again() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    net = model(nodes, [value("x", [2])], [value("h", [2]), value("y", [2])])
    tensors = {tensor.id: tensor for tensor in graph_from_onnx(net, MEMORIES, TABLE).tensors}
    assert tensors["h"].output
    assert tensors["h"].consumers == ("Neg_1",)


def test_what_cannot_be_read(tmp_path, net) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(PartitionerError, match=r"broken\.onnx"):
        graph_from_onnx(path, MEMORIES, TABLE)
    with pytest.raises(PartitionerError, match="node 'Mul_1': no device"):
        graph_from_onnx(net, MEMORIES, {"MatMul": ["pim"], "Softmax": ["pim"]})
    empty = model([], [value("x", [1])], [value("x", [1])])
    with pytest.raises(PartitionerError, match="the graph is empty"):
        graph_from_onnx(empty, MEMORIES, TABLE)
    loose = model([helper.make_node("Relu", ["ghost"], ["y"])], [], [value("y", [1])])
    with pytest.raises(PartitionerError, match="reads 'ghost', which nothing produces"):
        graph_from_onnx(loose, MEMORIES, TABLE)
