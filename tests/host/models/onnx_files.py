"""Small .onnx files made in a test, and the check that they give what ONNX Runtime gives."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.operators import run_reference
from pimloop.host.cpu.segments import Segment, SessionCache
from pimloop.host.models.inputs import check_inputs
from pimloop.host.models.loader import load_model

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def tensor(array, name):
    return numpy_helper.from_array(np.asarray(array), name)


def save(folder, nodes, inputs, outputs, constants=(), opset=17, domains=(), functions=()):
    """Write a model; return its path."""
    graph = helper.make_graph(
        nodes,
        "g",
        [value(*declared) for declared in inputs],
        [value(*declared) for declared in outputs],
        [c if isinstance(c, TensorProto) else tensor(c[1], c[0]) for c in constants],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(
        graph, opset_imports=imports, ir_version=10, functions=list(functions)
    )
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def runtime(path, feeds):
    """Return what ONNX Runtime gives for the file, without its own rewriting."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def check(path, feeds, options=None):
    """Load the file, run its graph whole and by operators; return the graph."""
    graph = load_model(str(path), options)
    check_inputs(graph, feeds, "feeds")
    wanted = runtime(path, feeds)
    results = run_reference(graph, feeds)
    buffers = TensorBuffers(graph)
    for name, array in feeds.items():
        buffers.store(name, array)
    segment = Segment("cpu_serial", graph.nodes)
    SessionCache().bind(graph, segment, buffers, graph.outputs).run()
    for name, array in wanted.items():
        assert results[name].shape == array.shape
        assert np.array_equal(results[name], array, equal_nan=array.dtype.kind == "f")
        assert np.array_equal(buffers.array(name), array, equal_nan=array.dtype.kind == "f")
    return graph


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)
