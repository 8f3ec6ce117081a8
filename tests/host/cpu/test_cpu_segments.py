"""Segments of a schedule as ONNX Runtime sessions give the values of one session."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from onnx import helper
from support.tiny_models import TINY

from pimloop.errors import PimloopError
from pimloop.host.common.machine import cores
from pimloop.host.cpu import segments
from pimloop.host.cpu.buffers import ALIGNMENT, TensorBuffers
from pimloop.host.cpu.operators import run_node, run_reference
from pimloop.host.cpu.segments import Segment, SessionCache, device_threads, split
from pimloop.host.execution.executor import Executor
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.models.weights import RandomWeights


def tiny(name, length=5):
    config = TINY[name]
    return build_graph(config, RandomWeights(config), LoadOptions(sequence_length=length))


def run_in_segments(graph, assignment, feeds, cache, keep=()):
    buffers = TensorBuffers(graph)
    for tensor, value in feeds.items():
        buffers.store(tensor, value)
    bound = [cache.bind(graph, segment, buffers, keep) for segment in split(graph, assignment)]
    for _ in range(2):
        assert all(segment.run() > 0 for segment in bound)
    return buffers


@pytest.mark.parametrize("device", ["cpu_serial", "cpu_parallel"])
@pytest.mark.parametrize("name", sorted(TINY))
def test_any_segments_equal_one_session(name, device):
    graph = tiny(name)
    feeds = random_inputs(graph)
    wanted = run_reference(graph, feeds, threads=device_threads()[device])
    generator = np.random.default_rng(1)
    mixed = {n.id: str(generator.choice(["cpu_serial", "cpu_parallel"])) for n in graph.nodes}
    for assignment in ({n.id: device for n in graph.nodes}, mixed):
        buffers = run_in_segments(graph, assignment, feeds, SessionCache())
        for output, value in wanted.items():
            np.testing.assert_allclose(buffers.array(output), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(TINY))
def test_one_operator_at_a_time_equals_one_session(name):
    graph = tiny(name)
    feeds = random_inputs(graph)
    buffers, cache = TensorBuffers(graph), SessionCache()
    for tensor, value in feeds.items():
        buffers.store(tensor, value)
    for node in graph.nodes:
        cache.bind(graph, Segment("cpu_serial", (node,)), buffers).run()
    # The two layers differ in their weights alone, so operators without weights share sessions.
    assert len(cache) < len(graph.nodes)
    for output, value in run_reference(graph, feeds, threads=1).items():
        np.testing.assert_allclose(buffers.array(output), value, rtol=1e-5, atol=1e-6)


def chain():
    """a = x + x, b = -a, c = |b|, d = b * c; float32 of two rows."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"], name="a"),
        helper.make_node("Neg", ["a"], ["b"], name="b"),
        helper.make_node("Abs", ["b"], ["c"], name="c"),
        helper.make_node("Mul", ["b", "c"], ["d"], name="d"),
    ]
    info = TensorInfo((2, 3), np.dtype(np.float32))
    return normalize(RawModel("chain", nodes, {}, {"x": info}, ("d",), {"": 17}))


def test_equal_layers_are_computed_again_in_one_session():
    """Their constants are inputs, so one session serves both layers of a model, and every run."""
    graph, cache = tiny("bert"), SessionCache(prepack=False)
    wanted = run_reference(graph, random_inputs(graph), outputs=tuple(graph.producer), threads=1)
    values = {**random_inputs(graph), **wanted}
    weights = {name for name, value in graph.constants.items() if value.shape == (64, 64)}
    products = [n for n in graph.nodes if n.op == "MatMul" and n.inputs[1] in weights]
    assert len({n.inputs[1] for n in products}) == len(products) == 8
    for _ in range(2):
        for node in products:
            again = cache.compute(
                graph, Segment("cpu_serial", (node,)), values.__getitem__, node.outputs[:1]
            )
            np.testing.assert_allclose(again[node.outputs[0]], wanted[node.outputs[0]], 1e-5, 1e-6)
    assert len(cache) == 1


def test_what_is_too_large_to_hand_over_stays_a_constant(monkeypatch):
    graph, cache = tiny("bert"), SessionCache(prepack=False)
    monkeypatch.setattr(segments, "FED_BYTES", 0)
    feeds = random_inputs(graph)
    (segment,) = split(graph, {n.id: "cpu_serial" for n in graph.nodes})
    wanted = run_reference(graph, feeds, threads=1)
    again = cache.compute(graph, segment, feeds.__getitem__, graph.outputs)
    assert all(np.array_equal(again[name], wanted[name]) for name in graph.outputs)


def test_a_segment_that_cannot_be_computed_again_is_one_error():
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"], name="look up")]
    table = np.ones((512, 2), np.float32)
    info = TensorInfo((2,), np.dtype(np.int64))
    graph = normalize(RawModel("two", nodes, {"table": table}, {"x": info}, ("y",), {"": 17}))
    (segment,) = split(graph, {graph.nodes[0].id: "cpu_serial"})
    outside = {"x": np.array([1, 9_000])}
    with pytest.raises(PimloopError, match=r"model two: .*indices element out of data bounds"):
        SessionCache(prepack=False).compute(graph, segment, outside.__getitem__, ("y",))


def test_split_is_maximal_and_in_order():
    graph = chain()
    devices = {"a": "pim", "b": "cpu_serial", "c": "cpu_serial", "d": "cpu_parallel"}
    assert [(s.device, [n.id for n in s.nodes]) for s in split(graph, devices)] == [
        ("pim", ["a"]), ("cpu_serial", ["b", "c"]), ("cpu_parallel", ["d"]),
    ]  # fmt: skip
    assert device_threads() == {"cpu_serial": 1, "cpu_parallel": cores()}


def test_only_what_is_read_outside_leaves_a_segment():
    graph = chain()
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assignment = {"a": "cpu_serial", "b": "cpu_serial", "c": "cpu_serial", "d": "cpu_parallel"}
    for keep in ((), ("a",)):
        buffers = run_in_segments(graph, assignment, {"x": x}, SessionCache(), keep)
        assert np.array_equal(buffers.array("d"), -4 * x * x)
        assert np.array_equal(buffers.array("b"), -2 * x)
        # A buffer nobody wrote to is zero.
        assert np.array_equal(buffers.array("a"), 2 * x * bool(keep))


def test_tensors_to_keep_come_from_inside_a_segment():
    graph = chain()
    x = np.ones((2, 3), np.float32)
    executor = Executor(graph, dict.fromkeys("abcd", "cpu_serial"), {}, keep=("a", "c"))
    values = executor.run({"x": x}).values
    assert set(values) == {"a", "c", "d"}
    assert np.array_equal(values["c"], 2 * x)


def test_the_same_tensor_twice_is_another_segment():
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Mul", ["x", "y"], ["product"]),
    ]
    info = TensorInfo((2, 3), np.dtype(np.float32))
    graph = normalize(
        RawModel("two", nodes, {}, {"x": info, "y": info}, ("square", "product"), {"": 17})
    )
    buffers, cache = TensorBuffers(graph), SessionCache()
    x, y = np.full((2, 3), 3, np.float32), np.full((2, 3), 5, np.float32)
    buffers.store("x", x)
    buffers.store("y", y)
    for node in graph.nodes:
        cache.bind(graph, Segment("cpu_serial", (node,)), buffers).run()
    assert len(cache) == 2
    assert np.array_equal(buffers.array("square"), x * x)
    assert np.array_equal(buffers.array("product"), x * y)


def products(count):
    """Products of x by one weight each; the weights (4 KiB) are too large to be inlined."""
    generator = np.random.default_rng(0)
    weights = {f"w{i}": generator.standard_normal((32, 32), np.float32) for i in range(count)}
    nodes = [
        helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"], name=f"n{i}") for i in range(count)
    ]
    info = TensorInfo((2, 32), np.dtype(np.float32))
    outputs = tuple(f"y{i}" for i in range(count))
    return normalize(RawModel("products", nodes, weights, {"x": info}, outputs, {"": 17}))


def test_the_cache_keeps_to_its_limit_and_lets_go():
    graph = products(4)
    cache = SessionCache(limit_bytes=2 * 4096)
    feeds = random_inputs(graph)
    buffers = TensorBuffers(graph)
    buffers.store("x", feeds["x"])
    for node in (*graph.nodes, *graph.nodes):
        cache.bind(graph, Segment("cpu_serial", (node,)), buffers).run()
        assert len(cache) <= 2
    for name, value in run_reference(graph, feeds, threads=1).items():
        np.testing.assert_allclose(buffers.array(name), value, rtol=1e-5, atol=1e-6)
    gone = weakref.ref(cache._open[next(iter(cache._open))].session)
    cache.bind(graph, Segment("cpu_serial", graph.nodes), buffers)
    gc.collect()
    assert gone() is None


def test_buffers_are_aligned_and_keep_their_type():
    graph = tiny("bert", 3)
    buffers = TensorBuffers(graph)
    for name in graph.inputs + graph.outputs:
        array = buffers.array(name)
        assert array.ctypes.data % ALIGNMENT == 0
        assert (array.shape, array.dtype) == (graph.tensors[name].shape, graph.tensors[name].dtype)
        assert buffers.value(name).data_ptr() == array.ctypes.data
    with pytest.raises(TypeError):
        buffers.store("input_ids", np.zeros((1, 3)))


def test_operator_without_a_kernel_is_named_before_anything_runs():
    info = TensorInfo((2, 3), np.dtype(np.float64))
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="first"),
        helper.make_node("Erf", ["n"], ["y"], name="bend"),
    ]
    graph = normalize(RawModel("odd", nodes, {}, {"x": info}, ("y",), {"": 17}))
    message = r"node 'bend' \(Erf\) of model odd"
    with pytest.raises(PimloopError, match=message):
        Executor(graph, {"first": "cpu_serial", "bend": "cpu_serial"}, {})
    with pytest.raises(PimloopError, match=message):
        run_node(graph, graph.nodes[1], {"n": np.zeros((2, 3))})
