"""Integer products of mixed signs: exact on every CPU, also one that saturates their sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from support.fused_models import CONTRIB, load, model_of, model_of_nodes, ops

from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.graph import Node, TensorInfo
from pimloop.host.models.integer_weights import with_weights_of_one_type

ONE = np.array(1, np.float32)


def extremes(generator, kind, *shape):
    """Return integers of which most are the largest or the smallest of their type."""
    info = np.iinfo(kind)
    values = generator.choice([info.min, info.max, info.max, 0], shape)
    return values.astype(kind)


def product_of(op, left, right, generator, zeros, constant):
    """Return a model of a product (4, 40) x (40, 6), what is fed to it, and its exact sums."""
    a = extremes(generator, left, 4, 40)
    b = extremes(generator, right, 40, 6)
    za = np.array(generator.integers(0, 9), left) if zeros else np.zeros((), left)
    zb = np.array(generator.integers(0, 9), right) if zeros else np.zeros((), right)
    exact = (a.astype(np.int64) - int(za)) @ (b.astype(np.int64) - int(zb))
    domain = CONTRIB
    match op:
        case "MatMulInteger":
            inputs, domain = {"a": a, "b": b, "za": za, "zb": zb if zeros else None}, ""
        case "MatMulIntegerToFloat":
            inputs = {"a": a, "b": b, "sa": ONE, "sb": ONE, "za": za, "zb": zb}
        case "QLinearMatMul":
            inputs = {"a": a, "sa": ONE, "za": za, "b": b, "sb": ONE, "zb": zb}
            inputs |= {"sy": np.float32(2**14), "zy": np.zeros((), left)}
            domain = ""
        case "QGemm":
            inputs = {"a": a, "sa": ONE, "za": za, "b": b, "sb": ONE, "zb": zb, "c": None}
            inputs |= {"sy": None, "zy": None}
    inputs = {name: None if v is None else np.asarray(v) for name, v in inputs.items()}
    known = tuple(n for n, v in inputs.items() if v is not None and (n != "a" or constant))
    model = model_of(op, inputs, ["y"], domain=domain, constants=known, opset=21)
    return model, {} if constant else {"a": a}, exact


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    op=st.sampled_from(["MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "QGemm"]),
    signed=st.booleans(),
    zeros=st.booleans(),
    constant=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_product_kept_whole_is_exact(op, signed, zeros, constant, seed):
    """Whether it is executed or, of constants alone, folded when the model is loaded."""
    generator = np.random.default_rng(seed)
    left = np.int8 if signed else np.uint8
    model, feeds, exact = product_of(op, left, np.int8, generator, zeros, constant)
    graph = load(model, keep_fused=True)
    assert ops(graph) == (["Identity"] if constant else [op])
    values = run_reference(graph, feeds)["y"]
    if op == "QLinearMatMul":
        info = np.iinfo(left)
        exact = np.clip(np.rint(exact / 2**14), info.min, info.max)
    np.testing.assert_array_equal(values, exact)


@pytest.mark.parametrize("right", [np.uint8, np.int8])
@pytest.mark.parametrize("left", [np.uint8, np.int8])
@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_kept_whole_is_exact(size, left, right):
    x = np.full((1, 8, 5, 5), np.iinfo(left).max, left)
    w = np.full((6, 8, size, size), np.iinfo(right).max, right)
    zero = np.array(2, left)
    inputs = {"x": x, "w": w, "zx": zero}
    model = model_of("ConvInteger", inputs, ["y"], constants=("w", "zx"))
    graph = load(model)
    assert ops(graph) == ["ConvInteger"]
    values = run_reference(graph, {"x": x})["y"]
    exact = (int(x.flat[0]) - 2) * int(w.flat[0]) * 8 * size * size
    assert values.shape == (1, 6, 6 - size, 6 - size)
    assert (values == exact).all()


def test_a_product_that_quantizes_its_input_itself_is_exact():
    """DynamicQuantizeMatMul makes uint8 of float32: 0 to 255 here, with the scale 1."""
    a = np.full((2, 32), 255, np.float32)
    a[:, 0] = 0
    b = np.full((32, 3), 127, np.int8)
    inputs = {"a": a, "b": b, "sb": ONE}
    model = model_of("DynamicQuantizeMatMul", inputs, ["y"], domain=CONTRIB, constants=("b", "sb"))
    graph = load(model, keep_fused=True)
    assert ops(graph) == ["DynamicQuantizeMatMul"]
    np.testing.assert_array_equal(run_reference(graph, {"a": a})["y"], a @ b.astype(np.float32))


def test_what_is_known_only_when_the_model_runs_is_left_as_it_is():
    node = Node("n", "MatMulInteger", "", ("a", "b", "za", "zb"), ("y",), {})
    eight = np.dtype(np.int8)
    infos = {"a": TensorInfo((2, 3), np.dtype(np.uint8)), "b": TensorInfo((3, 4), eight)}
    weight, zero = np.ones((3, 4), np.int8), np.zeros((), np.int8)
    assert with_weights_of_one_type(node, infos, {"zb": zero}) == (node, {})
    assert with_weights_of_one_type(node, infos, {"b": weight}) == (node, {})
    moved, new = with_weights_of_one_type(node, infos, {"b": weight, "zb": zero})
    assert moved.inputs == ("a", "b/uint8", "za", "zb/uint8")
    assert (new["b/uint8"] == 129).all()
    assert new["zb/uint8"] == 128


def test_weights_that_two_operators_share_stay_one_constant():
    generator = np.random.default_rng(1)
    a, b = extremes(generator, np.uint8, 2, 8), extremes(generator, np.int8, 8, 4)
    nodes = [
        helper.make_node("MatMulInteger", ["a", "b"], ["y"]),
        helper.make_node("MatMulInteger", ["a2", "b"], ["z"]),
    ]
    inputs = {"a": a, "a2": a[::-1].copy(), "b": b}
    graph = load(model_of_nodes(nodes, inputs, ["y", "z"], ("b",)))
    assert {name for name, value in graph.constants.items() if value.shape == b.shape} == {
        "b/uint8"
    }
    values = run_reference(graph, {"a": a, "a2": inputs["a2"]})
    np.testing.assert_array_equal(values["y"], a.astype(np.int32) @ b.astype(np.int32))
    np.testing.assert_array_equal(values["z"], values["y"][::-1])
