"""One-node sessions on shared buffers give the values of the whole graph in one session."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from tiny_models import TINY

from host.cpu.buffers import ALIGNMENT, TensorBuffers
from host.cpu.operators import OperatorFactory, run_reference
from host.errors import PimloopError
from host.models.graph import TensorInfo
from host.models.inputs import random_inputs
from host.models.loader import LoadOptions, build_graph
from host.models.normalize import RawModel, normalize
from host.models.weights import RandomWeights


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", sorted(TINY))
def test_operator_by_operator_equals_one_session(name, threads):
    config = TINY[name]
    graph = build_graph(config, RandomWeights(config), LoadOptions(sequence_length=5))
    feeds = random_inputs(graph)
    buffers = TensorBuffers(graph)
    for tensor, value in feeds.items():
        buffers.store(tensor, value)
    factory = OperatorFactory(graph, buffers, threads)
    operators = [factory.bind(node) for node in graph.nodes]
    for _ in range(2):
        assert all(operator.run() > 0 for operator in operators)
    for output, wanted in run_reference(graph, feeds, threads=threads).items():
        np.testing.assert_allclose(buffers.array(output), wanted, rtol=1e-5, atol=1e-6)


def test_buffers_are_aligned_and_keep_their_type():
    config = TINY["bert"]
    graph = build_graph(config, RandomWeights(config), LoadOptions(sequence_length=3))
    buffers = TensorBuffers(graph)
    for name in graph.inputs + graph.outputs:
        array = buffers.array(name)
        assert array.ctypes.data % ALIGNMENT == 0
        assert (array.shape, array.dtype) == (graph.tensors[name].shape, graph.tensors[name].dtype)
        assert buffers.value(name).data_ptr() == array.ctypes.data
    with pytest.raises(TypeError):
        buffers.store("input_ids", np.zeros((1, 3)))


def test_the_same_tensor_twice_is_another_operator():
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Mul", ["x", "y"], ["product"]),
    ]
    info = TensorInfo((2, 3), np.dtype(np.float32))
    graph = normalize(
        RawModel("two", nodes, {}, {"x": info, "y": info}, ("square", "product"), {"": 17})
    )
    buffers = TensorBuffers(graph)
    x, y = np.full((2, 3), 3, np.float32), np.full((2, 3), 5, np.float32)
    buffers.store("x", x)
    buffers.store("y", y)
    factory = OperatorFactory(graph, buffers, 1)
    for node in graph.nodes:
        factory.bind(node).run()
    assert np.array_equal(buffers.array("square"), x * x)
    assert np.array_equal(buffers.array("product"), x * y)


def test_operator_without_a_kernel_is_named():
    info = TensorInfo((2, 3), np.dtype(np.float64))
    node = helper.make_node("Erf", ["x"], ["y"], name="bend")
    graph = normalize(RawModel("odd", [node], {}, {"x": info}, ("y",), {"": 17}))
    with pytest.raises(PimloopError, match=r"node 'bend' \(Erf\) of model odd"):
        OperatorFactory(graph, TensorBuffers(graph), 1).bind(graph.nodes[0])
