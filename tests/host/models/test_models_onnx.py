"""Any .onnx file: folding, dynamic axes, external data, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny_models import TINY

from pimloop.errors import PimloopError
from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.operators import run_reference
from pimloop.host.cpu.segments import Segment, SessionCache
from pimloop.host.models.graph import to_model
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph, load_model
from pimloop.host.models.weights import RandomWeights

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def save(path, nodes, inputs, outputs, constants=(), opsets=(("", 17),)):
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    imports = [helper.make_opsetid(*opset) for opset in opsets]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_written_graph_reads_back_the_same(name, tmp_path):
    config = TINY[name]
    graph = build_graph(config, RandomWeights(config), LoadOptions(sequence_length=4))
    path = tmp_path / "m.onnx"
    path.write_bytes(to_model(graph, inline=True).proto.SerializeToString())
    again = load_model(str(path))
    assert [n.op for n in again.nodes] == [n.op for n in graph.nodes]
    assert len(again.edges()) == len(graph.edges())
    assert again.input_ranges["input_ids"] == config.vocabulary
    feeds = random_inputs(graph)
    assert np.array_equal(
        run_reference(again, feeds)["logits"], run_reference(graph, feeds)["logits"]
    )


def exporter_like(path):
    """x (batch, seq, 6) -> heads, with the shape arithmetic that exporters write."""
    value = numpy_helper.from_array(np.array([3], np.int64))
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array(1))),
        helper.make_node("Gather", ["s", "one"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Constant", [], ["three"], value=value),
        helper.make_node("Concat", ["batch", "n1", "three", "two"], ["shape"], axis=0),
        helper.make_node("Identity", ["x"], ["x1"]),
        helper.make_node("Dropout", ["x1"], ["x2"]),
        helper.make_node("Reshape", ["x2", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1, 3]),
        helper.make_node("Neg", ["r"], ["unused"]),
    ]
    constants = [("axis", np.array([0])), ("batch", np.array([1])), ("two", np.array([2]))]
    return save(
        path,
        nodes,
        [("x", FLOAT, ["batch", "sequence", 6])],
        [("y", FLOAT, None)],
        constants,
    )


def test_shape_arithmetic_and_dead_operators_are_folded_away(tmp_path):
    graph = load_model(exporter_like(tmp_path / "m.onnx"), LoadOptions(sequence_length=5))
    assert [n.op for n in graph.nodes] == ["Reshape", "Transpose"]
    assert graph.tensors["y"].shape == (1, 3, 5, 2)
    assert graph.sequence_length == 5
    x = np.arange(30, dtype=np.float32).reshape(1, 5, 6)
    result = run_reference(graph, {"x": x})["y"]
    assert np.array_equal(result, x.reshape(1, 5, 3, 2).transpose(0, 2, 1, 3))


def test_dynamic_axes(tmp_path):
    path = exporter_like(tmp_path / "m.onnx")
    assert load_model(path, LoadOptions(shapes={"x": (1, 7, 6)})).tensors["y"].shape[2] == 7
    with pytest.raises(PimloopError, match=r"axis 1 \(sequence\).*--seq N or --shape x="):
        load_model(path)
    with pytest.raises(PimloopError, match=r"\[1, 7, 5\] does not fit \[batch, sequence, 6\]"):
        load_model(path, LoadOptions(shapes={"x": (1, 7, 5)}))
    with pytest.raises(PimloopError, match="no input 'z'; its inputs: x"):
        load_model(path, LoadOptions(sequence_length=3, shapes={"z": (1,)}))
    with pytest.raises(PimloopError, match="at most"):
        load_model(path, LoadOptions(shapes={"x": (1, 1 << 40, 6)}))
    with pytest.raises(PimloopError, match="sequence length 0"):
        load_model(path, LoadOptions(sequence_length=0))


def test_shapes_that_depend_on_data_are_refused(tmp_path):
    nodes = [helper.make_node("NonZero", ["x"], ["y"], name="find")]
    path = save(tmp_path / "m.onnx", nodes, [("x", FLOAT, [4])], [("y", INT64, None)])
    with pytest.raises(PimloopError, match=r"node 'find' \(NonZero\).*depends on the data"):
        load_model(path)


def test_constants_of_every_form(tmp_path):
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=2.0),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0]),
        helper.make_node("Mul", ["a", "b"], ["c"]),
        helper.make_node("Size", ["x"], ["n"]),
        helper.make_node("Cast", ["n"], ["m"], to=FLOAT),
        helper.make_node("Add", ["c", "m"], ["d"]),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, [("x", FLOAT, [3, 2])], [("y", FLOAT, None)])
    graph = load_model(path)
    assert [n.op for n in graph.nodes] == ["Add"]
    result = run_reference(graph, {"x": np.zeros((3, 2), np.float32)})["y"]
    assert np.array_equal(result, [[8, 10]] * 3)


def test_fused_operators_of_onnx_runtime_run_on_the_cpu(tmp_path):
    nodes = [
        helper.make_node("FusedMatMul", ["x", "w"], ["h"], domain="com.microsoft", transB=1),
        helper.make_node("Gelu", ["h"], ["y"], domain="com.microsoft"),
    ]
    w = np.random.default_rng(0).standard_normal((5, 4), np.float32)
    path = save(
        tmp_path / "m.onnx", nodes, [("x", FLOAT, [3, 4])], [("y", FLOAT, None)], [("w", w)],
        (("", 17), ("com.microsoft", 1)),
    )  # fmt: skip
    graph = load_model(path)
    assert graph.tensors["y"].shape == (3, 5)
    feeds = random_inputs(graph)
    buffers = TensorBuffers(graph)
    buffers.store("x", feeds["x"])
    SessionCache().bind(graph, Segment("cpu_serial", graph.nodes), buffers).run()
    np.testing.assert_allclose(buffers.array("y"), run_reference(graph, feeds)["y"], rtol=1e-6)


def test_unknown_operators_are_named(tmp_path):
    for domain, message in (("", "no such operator"), ("com.microsoft", "ONNX Runtime refuses")):
        nodes = [helper.make_node("Frobnicate", ["x"], ["y"], name="odd", domain=domain)]
        path = save(
            tmp_path / "m.onnx", nodes, [("x", FLOAT, [3])], [("y", FLOAT, None)],
            opsets=(("", 17), ("com.microsoft", 1)),
        )  # fmt: skip
        with pytest.raises(PimloopError, match=rf"node 'odd' \(Frobnicate\).*{message}"):
            load_model(path)


def test_control_flow_and_broken_wiring_are_named(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["z"])],
        "b",
        [],
        [helper.make_tensor_value_info("z", FLOAT, [2])],
    )
    nodes = [helper.make_node("If", ["c"], ["y"], name="fork", then_branch=body, else_branch=body)]
    inputs = [("x", FLOAT, [2]), ("c", TensorProto.BOOL, [])]
    path = save(tmp_path / "m.onnx", nodes, inputs, [("y", FLOAT, None)])
    (whole,) = load_model(path).nodes
    assert (whole.id, set(whole.inputs)) == ("fork", {"c", "x"})
    nodes = [helper.make_node("Neg", ["ghost"], ["y"], name="n")]
    path = save(tmp_path / "m.onnx", nodes, inputs, [("y", FLOAT, None)])
    with pytest.raises(PimloopError, match=r"node 'n'.*reads 'ghost'"):
        load_model(path)
    nodes = [helper.make_node("Neg", ["x"], ["z"], name="n")]
    path = save(tmp_path / "m.onnx", nodes, inputs, [("y", FLOAT, None)])
    with pytest.raises(PimloopError, match="no operator makes the output 'y'"):
        load_model(path)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")]
    path = save(
        tmp_path / "m.onnx", nodes, inputs, [("y", FLOAT, None)], [("w", np.ones((3, 2), "f4"))]
    )
    with pytest.raises(PimloopError, match=r"node 'n' \(MatMul\).*shapes do not fit"):
        load_model(path)


@pytest.mark.parametrize("version", range(11, 24))
def test_every_operator_set_of_the_range(version, tmp_path):
    """Axes as attributes and as inputs, and Softmax over what each set says its axis means."""
    three, axes = np.array([3]), [("axes", np.array([-1]))]
    unsqueeze = helper.make_node("Unsqueeze", ["x", "axes"], ["u"])
    if version < 13:
        unsqueeze = helper.make_node("Unsqueeze", ["x"], ["u"], axes=[2])
    mean = helper.make_node("ReduceMean", ["p", "axes"], ["m"], keepdims=1)
    if version < 18:
        mean = helper.make_node("ReduceMean", ["p"], ["m"], axes=[-1], keepdims=1)
    nodes = [
        unsqueeze,
        helper.make_node("Expand", ["u", "shape"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["p"], name="product"),
        mean,
        helper.make_node("Sub", ["p", "m"], ["c"]),
        helper.make_node("Softmax", ["c"], ["y"], axis=1),
    ]
    w = np.random.default_rng(version).standard_normal((3, 5), np.float32)
    constants = [("shape", np.array([2, 4, 3])), ("w", w), *axes, ("unused", three)]
    path = save(
        tmp_path / "m.onnx", nodes, [("x", FLOAT, [2, 4])], [("y", FLOAT, None)], constants,
        (("", version),),
    )  # fmt: skip
    graph = load_model(path)
    assert [n.op for n in graph.nodes] == [n.op_type for n in nodes]
    x = np.random.default_rng(0).standard_normal((2, 4), np.float32)
    product = np.repeat(x[..., None], 3, axis=-1) @ w
    power = np.exp(product - product.mean(-1, keepdims=True))
    # Before set 13 the axes from `axis` on are one.
    wanted = power / power.sum(1 if version >= 13 else (1, 2), keepdims=True)
    result = run_reference(graph, {"x": x})["y"]
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-6)
    buffers = TensorBuffers(graph)
    buffers.store("x", x)
    SessionCache().bind(graph, Segment("cpu_serial", graph.nodes), buffers).run()
    np.testing.assert_allclose(buffers.array("y"), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("version", [0, 99])
def test_operator_sets_outside_the_range(version, tmp_path):
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    path = save(
        tmp_path / "m.onnx", nodes, [("x", FLOAT, [2])], [("y", FLOAT, None)],
        opsets=(("", version),),
    )  # fmt: skip
    with pytest.raises(PimloopError, match=rf"operator set {version} is not supported"):
        load_model(path)


def test_a_constant_that_would_eat_the_memory_is_refused(tmp_path):
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["big"], name="big"),
        helper.make_node("ReduceMax", ["big"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    path = save(
        tmp_path / "m.onnx", nodes, [("x", FLOAT, [2])], [("y", FLOAT, None)],
        [("huge", np.array([1 << 20, 1 << 20]))],
    )  # fmt: skip
    with pytest.raises(PimloopError, match=r"node 'big'.*1099511627776 elements"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x08\x12" + bytes(40)])
def test_files_that_are_no_onnx(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(PimloopError, match=r"m\.onnx is damaged or no ONNX"):
        load_model(str(tmp_path / "m.onnx"))
    with pytest.raises(PimloopError, match=r"cannot read .*absent\.onnx"):
        load_model(str(tmp_path / "absent.onnx"))


def test_truncated_files(tmp_path):
    path = tmp_path / "m.onnx"
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    constants = [("w", np.arange(64, dtype=np.float32))]
    save(path, nodes, [("x", FLOAT, [64])], [("y", FLOAT, None)], constants)
    whole = path.read_bytes()
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(PimloopError):
            load_model(str(path))


def with_external(path, **entries):
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    save(path, [helper.make_node("Add", ["x", "w"], ["y"])], [("x", FLOAT, [4])],
         [("y", FLOAT, None)])  # fmt: skip
    model = onnx.load(str(path))
    model.graph.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())
    return str(path)


def test_external_data_in_the_models_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    values = np.arange(8, dtype=np.float32)
    (folder / "w.bin").write_bytes(values.tobytes())
    path = with_external(folder / "m.onnx", location="w.bin", offset="16", length="16")
    assert np.array_equal(load_model(path).constants["w"], values[4:])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../w.bin"}, "outside the model's folder"),
        ({"location": "link.bin"}, "outside the model's folder"),
        ({}, "outside the model's folder"),
        ({"location": "w.bin", "offset": "20"}, "takes 16 bytes"),
        ({"location": "w.bin", "offset": "-4"}, "takes 16 bytes"),
        ({"location": "w.bin", "length": "8"}, "takes 16 bytes"),
        ({"location": "w.bin", "offset": "a"}, "whole numbers"),
        ({"location": "absent.bin"}, "cannot read its data"),
    ],
)
def test_external_data_that_is_refused(entries, message, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(32))
    (folder / "w.bin").write_bytes(bytes(32))
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(PimloopError, match=message):
        load_model(with_external(folder / "m.onnx", **entries))
    absolute = with_external(folder / "m.onnx", location=str(tmp_path / "w.bin"))
    with pytest.raises(PimloopError, match="outside the model's folder"):
        load_model(absolute)


def test_constants_shorter_than_their_shape(tmp_path):
    path = tmp_path / "m.onnx"
    save(path, [helper.make_node("Add", ["x", "w"], ["y"])], [("x", FLOAT, [4])],
         [("y", FLOAT, None)], [("w", np.zeros(4, np.float32))])  # fmt: skip
    model = onnx.load(str(path))
    model.graph.initializer[0].dims[:] = [1 << 40]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(PimloopError, match="constant 'w' is truncated"):
        load_model(str(path))


def constant_node(path, value):
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]
    return save(path, nodes, [("x", FLOAT, [4])], [("y", FLOAT, None)])


def test_a_constant_node_is_decoded_once(tmp_path, monkeypatch):
    decoded = []
    to_array = numpy_helper.to_array

    def counted(tensor, *rest):
        decoded.append(tensor.name)
        return to_array(tensor, *rest)

    monkeypatch.setattr(numpy_helper, "to_array", counted)
    value = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w value")
    graph = load_model(constant_node(tmp_path / "m.onnx", value))
    assert decoded == ["w value"]
    assert graph.constants["w"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (TensorProto(name="w", data_type=FLOAT, dims=[4], raw_data=bytes(12)),
         r"attribute 'w' is truncated: \[4\] of float32 takes 16 bytes, it has 12"),
        (TensorProto(name="w", data_type=FLOAT, dims=[4], float_data=[1, 2, 3]),
         r"\(Constant\) of model m is malformed: cannot reshape"),
        (TensorProto(name="w", data_type=99, dims=[4]), "attribute 'w' has the unknown type 99"),
        (TensorProto(name="w", data_type=FLOAT, dims=[-4]), r"attribute 'w' has the shape \[-4\]"),
    ],
)  # fmt: skip
def test_constant_nodes_that_are_refused(value, message, tmp_path):
    with pytest.raises(PimloopError, match=message):
        load_model(constant_node(tmp_path / "m.onnx", value))


def test_local_functions_are_inlined(tmp_path):
    double = helper.make_function(
        "local", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Double", ["x"], ["y"], domain="local")],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [2])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, functions=[double], opset_imports=imports, ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    loaded = load_model(str(tmp_path / "m.onnx"))
    assert [n.op for n in loaded.nodes] == ["Add"]
