"""Inputs: random ones fit the model; files with wrong names, shapes or types are refused."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from support.graphs import build_encoder
from support.tiny_models import TINY

import pimloop.host.cli
from pimloop.errors import PimloopError
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.inputs import (
    as_declared,
    check_inputs,
    declared_inputs,
    model_inputs,
    random_inputs,
    read_arrays,
    write_arrays,
)
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.models.weights import RandomWeights


@pytest.fixture(scope="module")
def graph():
    return build_encoder(TINY["bert"], RandomWeights(TINY["bert"]), 6)


def test_random_inputs_fit(graph):
    values = random_inputs(graph, seed=4)
    check_inputs(graph, values, "random")
    assert values["attention_mask"].all()
    assert not np.array_equal(values["input_ids"], random_inputs(graph, seed=5)["input_ids"])


def test_file_round_trip(graph, tmp_path):
    values = random_inputs(graph)
    np.savez(tmp_path / "in.npz", **values)
    loaded = read_arrays(tmp_path / "in.npz")
    check_inputs(graph, loaded, "in.npz")
    assert all(np.array_equal(loaded[name], values[name]) for name in values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("input_ids"), "input 'input_ids' is missing"),
        (lambda v: v.update(extra=np.zeros(1)), "unknown input 'extra'"),
        (lambda v: v.update(input_ids=np.zeros((1, 5), np.int64)), r"int64\[1, 5\]"),
        (lambda v: v.update(input_ids=np.zeros((1, 6), np.int32)), r"int32\[1, 6\]"),
        (lambda v: v.update(input_ids=np.full((1, 6), 101)), "outside 0..100"),
    ],
)
def test_wrong_inputs_are_named(graph, tmp_path, change, message):
    values = random_inputs(graph)
    change(values)
    np.savez(tmp_path / "in.npz", **values)
    with pytest.raises(PimloopError, match=message):
        check_inputs(graph, read_arrays(tmp_path / "in.npz"), "in.npz")


def test_files_that_are_no_archive(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(PimloopError, match=r"text\.npz"):
        read_arrays(tmp_path / "text.npz")
    with pytest.raises(PimloopError, match=r"absent\.npz"):
        read_arrays(tmp_path / "absent.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(PimloopError, match=r"one array"):
        read_arrays(tmp_path / "one.npy")
    np.savez(tmp_path / "pickle.npz", input_ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(PimloopError, match=r"pickle\.npz"):
        read_arrays(tmp_path / "pickle.npz")


#: Types that numpy writes as bytes without a name, with values that they hold.
UNNAMED = {
    "bfloat16": [0.5, -3.0, 1e30, -np.inf],
    "float8_e4m3fn": [0.5, -3.0, 448.0, -0.0],
    "float8_e4m3fnuz": [0.5, -3.0, 240.0, 0.0],
    "float8_e5m2": [0.5, -3.0, 57344.0, np.inf],
    "float8_e5m2fnuz": [0.5, -3.0, 57344.0, 0.0],
    "int4": [0, 7, -8, -1],
    "uint4": [0, 7, 15, 1],
}


@pytest.fixture
def typed_model(tmp_path):
    """Return a function that writes a model of x, cast to float32 and doubled, for a type of x."""

    def write(dtype, shape):
        number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        nodes = [
            helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["wide", "wide"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["y"], to=number),
        ]
        graph = helper.make_graph(
            nodes,
            "typed",
            [helper.make_tensor_value_info("x", number, shape)],
            [helper.make_tensor_value_info(n, t, None) for n, t in (("sum", 1), ("y", number))],
        )
        opsets = [helper.make_opsetid("", 21)]
        path = tmp_path / "typed.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
        return str(path)

    return write


@pytest.mark.parametrize("name", UNNAMED)
@pytest.mark.parametrize("save", [lambda path, **arrays: np.savez(path, **arrays),
                                  lambda path, **arrays: write_arrays(path, arrays)])  # fmt: skip
def test_types_that_numpy_does_not_name_are_those_of_the_model(name, save, typed_model, tmp_path):
    dtype = np.dtype(getattr(ml_dtypes, name))
    wanted = np.array(UNNAMED[name], np.float32).astype(dtype).reshape(2, 2)
    save(tmp_path / "in.npz", x=wanted)
    read = read_arrays(tmp_path / "in.npz")
    assert read["x"].dtype == np.dtype(f"V{dtype.itemsize}")
    model = load_model(typed_model(dtype, ["n", 2]), LoadOptions(given=read))
    assert model.tensors["x"].shape == (2, 2)
    values = declared_inputs(model, read)
    check_inputs(model, values, "in.npz")
    assert values["x"].dtype == dtype
    assert values["x"].tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("saved", "model"),
    [("bfloat16", np.float16), ("float8_e4m3fn", np.int8), ("bfloat16", ml_dtypes.float8_e4m3fn),
     ("float8_e4m3fn", ml_dtypes.int4), ("float8_e5m2", ml_dtypes.bfloat16)],
)  # fmt: skip
def test_bytes_that_cannot_be_the_type_of_the_model(saved, model, typed_model, tmp_path, capsys):
    """Not read as whatever has their size: what to do is said."""
    np.savez(tmp_path / "in.npz", x=np.full((2, 2), -3.0, getattr(ml_dtypes, saved)))
    code = pimloop.host.cli.main(
        ["run", typed_model(model, [2, 2]), "--inputs", str(tmp_path / "in.npz")]
    )
    error = capsys.readouterr().err
    assert code == 2
    assert "input 'x'" in error
    assert ".astype(" in error
    assert np.dtype(model).name in error


def test_arrays_of_another_named_type_are_not_read_as_bytes():
    half = np.ones(3, np.float16)
    assert as_declared(half, np.dtype(ml_dtypes.bfloat16)) is half


@pytest.mark.parametrize("name", [*UNNAMED, "float8_e8m0fnu"])
def test_random_inputs_of_types_that_numpy_lacks(name, graph):
    """Finite values, not all the same; they are of use without a file."""
    info = replace(graph.tensors["input_ids"], dtype=np.dtype(getattr(ml_dtypes, name)))
    alone = replace(graph, inputs=("input_ids",), tensors={"input_ids": info}, input_ranges={})
    value = random_inputs(alone)["input_ids"].astype(np.float32)
    assert np.isfinite(value).all()
    assert len(np.unique(value)) > 1


def test_a_run_reads_and_writes_them(typed_model, tmp_path, capsys):
    x = np.array([[0.5, -3.0]], ml_dtypes.bfloat16)
    np.savez(tmp_path / "in.npz", x=x)
    code = pimloop.host.cli.main(
        ["run", typed_model(ml_dtypes.bfloat16, [1, 2]), "--inputs", str(tmp_path / "in.npz"),
         "--device", "model", "--outputs", str(tmp_path / "out.npz"), "--quiet"]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["sum"].tolist() == [[1.0, -6.0]]
        assert outputs["y"].view(ml_dtypes.bfloat16).tolist() == [[1.0, -6.0]]


# -- texts ---------------------------------------------------------------------------------------


def of_texts(folder, nodes, output, kind, *, numbers=False):
    """Write a model of the texts `s`, a constant text `k`, and the numbers `x`; return its path."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("s", TensorProto.STRING, [3])]
        + [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])] * numbers,
        [helper.make_tensor_value_info(output, kind, None)],
        [helper.make_tensor("k", TensorProto.STRING, [1], [b"a"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


EQUAL = [
    helper.make_node("Equal", ["s", "k"], ["e"]),
    helper.make_node("Cast", ["e"], ["c"], to=TensorProto.FLOAT),
    helper.make_node("Add", ["x", "c"], ["y"]),
]


@pytest.mark.parametrize("texts", [np.array(["a", "b", "ä"]), np.array([b"a", b"b", b"\xc3\xa4"])])
def test_texts_of_a_file_are_folded_away(texts, tmp_path):
    path = of_texts(tmp_path, EQUAL, "y", TensorProto.FLOAT, numbers=True)
    x = np.float32([1, 2, 3])
    np.savez(tmp_path / "in.npz", s=texts, x=x)
    values = read_arrays(tmp_path / "in.npz")
    graph = load_model(str(path), LoadOptions(given=values))
    feeds = model_inputs(graph, values, 0, "in.npz")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["y"], {"s": np.array(["a", "b", "ä"], object), "x": x})
    assert np.array_equal(run_reference(graph, feeds)["y"], wanted)
    with pytest.raises(PimloopError, match="the texts of input 's' are folded away when"):
        model_inputs(graph, {**values, "s": np.array(["a", "a", "a"])}, 0, "in.npz")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "input 's' takes texts; .* give them with --inputs, as numpy's <U or S"),
        ({"s": np.zeros(3)}, r"texts are read from numpy's <U and S: .* with \.astype\(str\)"),
        ({"s": np.array([b"\xff"] * 3)}, "texts are read from numpy's <U and S"),
    ],
)
def test_texts_that_are_missing_or_none(values, message, tmp_path):
    path = of_texts(tmp_path, EQUAL, "y", TensorProto.FLOAT, numbers=True)
    with pytest.raises(PimloopError, match=message):
        load_model(str(path), LoadOptions(given=values))


def test_an_array_of_objects_is_not_read_and_the_way_is_said(tmp_path):
    np.savez(tmp_path / "in.npz", s=np.array(["a"], object))
    with pytest.raises(PimloopError, match=r"'s' is an array of Python objects, .*\.astype\(str\)"):
        read_arrays(tmp_path / "in.npz")


@pytest.mark.parametrize(
    ("node", "output", "message"),
    [
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING), "y", "makes the texts 'y'"),
        (helper.make_node("Neg", ["x"], ["y"]), "k", "makes the texts 'k'"),
        (helper.make_node("Identity", ["s"], ["y"]), "y", "makes the texts 'y'"),
    ],
)
def test_texts_that_are_made_or_returned_are_refused(node, output, message, tmp_path):
    path = of_texts(tmp_path, [node], output, TensorProto.STRING, numbers=True)
    with pytest.raises(PimloopError, match=message):
        load_model(str(path), LoadOptions(given={"s": np.array(["a"] * 3)}))


@pytest.mark.parametrize(
    ("nodes", "opset"),
    [
        ([helper.make_node("SplitToSequence", ["x"], ["q"]),
          helper.make_node("ConcatFromSequence", ["q"], ["y"], axis=0)], 17),
        ([helper.make_node("Optional", ["x"], ["o"]),
          helper.make_node("OptionalGetElement", ["o"], ["y"])], 18),
    ],
)  # fmt: skip
def test_values_that_are_no_tensors_are_refused_in_one_error(nodes, opset, tmp_path):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    wanted = rf"\({nodes[0].op_type}\) of model m makes no tensor; sequences, maps and optional"
    with pytest.raises(PimloopError, match=wanted):
        load_model(str(tmp_path / "m.onnx"))
