"""Packed weights and products of integers: decomposed as whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from support.fused_models import (
    CONTRIB,
    compare,
    defined_values,
    load,
    model_of,
    model_of_nodes,
    ops,
)

from pimloop.host.cpu.operators import run_reference
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.platforms.platform import load_platform

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def products_on_the_pim(graph) -> int:
    capable = pim_capable(graph, Capabilities())
    return sum(graph.node(identifier).op == "MatMul" for identifier in capable)


@SETTINGS
@given(
    bits=st.sampled_from([4, 8]),
    block=st.sampled_from([16, 32]),
    inner=st.sampled_from([32, 48, 70]),
    columns=st.integers(1, 5),
    zeros=st.sampled_from(["none", "packed", "float"]),
    bias=st.booleans(),
    level=st.sampled_from([0, 1]),
    seed=st.integers(0, 99),
)
def test_packed_weights(bits, block, inner, columns, zeros, bias, level, seed):
    generator = np.random.default_rng(seed)
    blocks = -(-inner // block)
    points = None
    if bits == 8 and zeros == "float":
        zeros = "none"  # ONNX Runtime has no such form
    if zeros == "packed":
        points = generator.integers(0, 256, (columns, -(-blocks * bits // 8))).astype(np.uint8)
    elif zeros == "float":
        points = generator.integers(0, 1 << bits, (columns, blocks)).astype(np.float32)
    inputs = {
        "x": generator.normal(size=(2, 3, inner)).astype(np.float32),
        "w": generator.integers(0, 256, (columns, blocks, block * bits // 8)).astype(np.uint8),
        "scales": generator.random((columns, blocks)).astype(np.float32),
        "zeros": points,
        "groups": None,
        "bias": generator.normal(size=columns).astype(np.float32) if bias else None,
    }
    constants = tuple(n for n in ("w", "scales", "zeros", "bias") if inputs[n] is not None)
    model = model_of(
        "MatMulNBits", inputs, ["y"], domain=CONTRIB, constants=constants, K=inner, N=columns,
        bits=bits, block_size=block, accuracy_level=level,
    )  # fmt: skip
    graph = compare(model, inputs)
    assert ops(graph) == (["MatMul", "Add"] if bias else ["MatMul"])
    assert products_on_the_pim(graph) == 1


def test_groups_of_packed_weights_are_given_by_an_index():
    generator = np.random.default_rng(0)
    inputs = {
        "x": generator.normal(size=(3, 32)).astype(np.float32),
        "w": generator.integers(0, 256, (4, 2, 8)).astype(np.uint8),
        "scales": generator.random((4, 2)).astype(np.float32),
        "zeros": None,
        "groups": generator.permutation(np.repeat([0, 1], 16)).astype(np.int32),
    }
    model = model_of(
        "MatMulNBits", inputs, ["y"], domain=CONTRIB, constants=("w", "scales", "groups"),
        K=32, N=4, bits=4, block_size=16,
    )  # fmt: skip
    assert ops(compare(model, inputs)) == ["MatMul"]


def test_weights_that_are_no_constants_stay_packed():
    inputs = {
        "x": np.ones((3, 32), np.float32),
        "w": np.ones((4, 2, 8), np.uint8),
        "scales": np.ones((4, 2), np.float32),
    }
    model = model_of("MatMulNBits", inputs, ["y"], domain=CONTRIB, K=32, N=4, bits=4, block_size=16)
    graph = load(model)
    assert ops(graph) == ["MatMulNBits"]
    assert "not constant" in graph.kept_whole["MatMulNBits_y"]


def integers(generator, kind, *shape):
    bounds = np.iinfo(kind)
    return generator.integers(bounds.min, bounds.max + 1, shape).astype(kind)


@SETTINGS
@given(
    left=st.sampled_from([np.uint8, np.int8]),
    right=st.sampled_from([np.uint8, np.int8]),
    zeros=st.sampled_from(["none", "left", "both", "columns"]),
    seed=st.integers(0, 99),
)
def test_integer_products_that_become_floats(left, right, zeros, seed):
    generator = np.random.default_rng(seed)
    inputs = {
        "a": integers(generator, left, 2, 3, 40),
        "b": integers(generator, right, 40, 5),
        "za": None if zeros == "none" else integers(generator, left, 1)[0],
        "zb": None,
    }
    if zeros == "both":
        inputs["zb"] = integers(generator, right, 1)[0]
    elif zeros == "columns":
        inputs["zb"] = integers(generator, right, 5)
    names = [n if v is not None else "" for n, v in inputs.items()]
    nodes = [
        helper.make_node("MatMulInteger", names, ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=1),
    ]
    constants = tuple(n for n in ("b", "za", "zb") if inputs[n] is not None)
    graph = compare(model_of_nodes(nodes, inputs, ["y"], constants), inputs, tolerance=0)
    assert products_on_the_pim(graph) == 1


def test_an_integer_output_keeps_its_bits():
    """The file of an integer product whose result is the model's: it is not rounded to bfloat16."""
    generator = np.random.default_rng(3)
    inputs = {"a": integers(generator, np.uint8, 4, 8), "b": integers(generator, np.int8, 8, 8)}
    graph = load(model_of("MatMulInteger", inputs, ["y"], constants=("b",)))
    assert ops(graph) == ["MatMulInteger"]
    assert "rounds results to bfloat16" in graph.kept_whole["MatMulInteger_y"]
    values = run_reference(graph, {"a": inputs["a"]})["y"]
    wanted = inputs["a"].astype(np.int64) @ inputs["b"].astype(np.int64)
    np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize(("inner", "whole"), [(500, False), (520, True)])
def test_integer_products_whose_sums_may_not_be_exact_stay_whole(inner, whole):
    """The bound is that of the weights: 255 x 127 x 518 is the last below 2^24."""
    inputs = {"a": np.zeros((2, inner), np.uint8), "b": np.full((inner, 3), 127, np.int8)}
    nodes = [
        helper.make_node("MatMulInteger", ["a", "b"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=1),
    ]
    graph = load(model_of_nodes(nodes, inputs, ["y"], ("b",)))
    assert ("MatMulInteger" in ops(graph)) == whole
    if whole:
        assert f"{255 * 127 * inner:,}" in next(iter(graph.kept_whole.values()))


@pytest.mark.parametrize("zero", [None, "number", "columns"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_integer_products_of_onnx_runtime(op, bias, zero):
    generator = np.random.default_rng(5)
    columns = 5
    point = None
    if zero:
        point = integers(generator, np.int8, columns if zero == "columns" else 1)
        point = point if zero == "columns" else point[0]
    scale = generator.random(columns if zero == "columns" else ()).astype(np.float32) + 0.1
    inputs = {"b": integers(generator, np.int8, 24, columns)}
    if op == "DynamicQuantizeMatMul":
        inputs = {"a": generator.normal(size=(3, 24)).astype(np.float32), **inputs}
        inputs |= {"sb": np.asarray(scale, np.float32), "zb": point}
    else:
        inputs = {"a": integers(generator, np.uint8, 3, 24), **inputs}
        inputs |= {
            "sa": np.array(0.03, np.float32),
            "sb": np.asarray(scale, np.float32),
            "za": np.array(7, np.uint8),
            "zb": point,
        }
    inputs["bias"] = generator.normal(size=columns).astype(np.float32) if bias else None
    constants = tuple(n for n, v in inputs.items() if v is not None and n != "a")
    model = model_of(op, inputs, ["y"], domain=CONTRIB, constants=constants)
    graph = compare(model, inputs)
    assert products_on_the_pim(graph) == 1


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_a_quantized_product_gives_the_same_integers(kind, per_column):
    generator = np.random.default_rng(6)
    columns = 6
    scale = generator.random(columns if per_column else ()).astype(np.float32) * 0.01 + 0.01
    inputs = {
        "a": integers(generator, kind, 4, 32),
        "sa": np.array(0.05, np.float32),
        "za": np.array(3, kind),
        "b": integers(generator, np.int8, 32, columns),
        "sb": np.asarray(scale, np.float32),
        "zb": np.zeros(columns if per_column else (), np.int8),
        "sy": np.array(0.7, np.float32),
        "zy": np.array(10, kind),
    }
    constants = tuple(n for n in inputs if n != "a")
    model = model_of("QLinearMatMul", inputs, ["y"], constants=constants, opset=21)
    graph = compare(model, inputs, oracle=defined_values)
    assert products_on_the_pim(graph) == 1


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("turned", [0, 1])
def test_a_quantized_gemm_gives_the_same_values(turned, rounded, per_column):
    """Scales and zero points are those of columns, also of weights stored as rows."""
    generator = np.random.default_rng(7)
    inputs = {
        "a": integers(generator, np.uint8, 4, 32),
        "sa": np.array(0.05, np.float32),
        "za": np.array(3, np.uint8),
        "b": integers(generator, np.int8, *((6, 32) if turned else (32, 6))),
        "sb": np.array(0.02, np.float32),
        "zb": np.array(5, np.int8),
        "c": generator.integers(-1000, 1000, 6).astype(np.int32),
        "sy": np.array(0.7, np.float32) if rounded else None,
        "zy": np.array(10, np.uint8) if rounded else None,
    }
    if per_column:
        inputs["sb"] = generator.random(6).astype(np.float32) * 0.02 + 0.01
        inputs["zb"] = integers(generator, np.int8, 6)
    constants = tuple(n for n, v in inputs.items() if v is not None and n != "a")
    model = model_of("QGemm", inputs, ["y"], domain=CONTRIB, constants=constants, transB=turned)
    graph = compare(model, inputs)
    assert products_on_the_pim(graph) == 1


def test_weights_of_a_quantized_model_are_constants_and_its_activations_stay_rounded():
    """x, quantized and back, times weights of 8 bits: 0.03 (round(x / 0.03)) (0.02 w)."""
    generator = np.random.default_rng(8)
    weights = integers(generator, np.int8, 8, 8)
    inputs = {
        "x": generator.normal(size=(4, 8)).astype(np.float32),
        "w": weights,
        "s": np.array(0.02, np.float32),
        "sx": np.array(0.03, np.float32),
        "zx": np.array(128, np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "sx", "zx"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "s"], ["wf"]),
        helper.make_node("MatMul", ["xf", "wf"], ["y"]),
    ]
    graph = load(model_of_nodes(nodes, inputs, ["y"], ("w", "s", "sx", "zx")))
    assert ops(graph) == ["QuantizeLinear", "DequantizeLinear", "MatMul"]
    assert list(pim_capable(graph, load_platform("htg-z920").capabilities)) == ["MatMul_y"]
    rounded = np.clip(np.rint(inputs["x"] / np.float32(0.03)), -128, 127) * 0.03
    values = run_reference(graph, {"x": inputs["x"]})["y"]
    np.testing.assert_allclose(values, rounded @ (weights * 0.02), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("points", ["none", "number", "columns"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (4, 4), (3, 2)])
def test_convolutions_of_integers_that_become_floats(kernel, stride, points):
    """Kernels of 1 and patches are products; of 3 with padding, which is the zero point, im2col."""
    generator = np.random.default_rng(7)
    inputs = {
        "x": integers(generator, np.uint8, 2, 3, 8, 8),
        "w": integers(generator, np.uint8, 5, 3, kernel, kernel),
        "zx": None if points == "none" else np.array(9, np.uint8),
        "zw": {
            "none": None,
            "number": np.array(130, np.uint8),
            "columns": integers(generator, np.uint8, 5),
        }[points],
    }
    attributes = {"pads": [1, 0, 1, 2]} if kernel == 3 else {}
    nodes = [
        helper.make_node(
            "ConvInteger", [n if v is not None else "" for n, v in inputs.items()], ["i"],
            strides=[stride, stride], **attributes,
        ),
        helper.make_node("Cast", ["i"], ["y"], to=1),
    ]  # fmt: skip
    constants = tuple(n for n in ("w", "zx", "zw") if inputs[n] is not None)
    model = model_of_nodes(nodes, inputs, ["y"], constants)
    if kernel == 3:
        assert "ConvInteger" in ops(load(model))
    padded = np.pad(
        inputs["x"].astype(np.int64) - (0 if inputs["zx"] is None else int(inputs["zx"])),
        ((0, 0), (0, 0), *(((1, 1), (0, 2)) if kernel == 3 else ((0, 0), (0, 0)))),
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))
    zero = 0 if inputs["zw"] is None else inputs["zw"].astype(np.int64).reshape(-1, 1, 1, 1)
    weights = inputs["w"].astype(np.int64) - zero
    wanted = np.einsum("bchwij,fcij->bfhw", windows[:, :, ::stride, ::stride], weights)
    graph = load(model, im2col=kernel == 3)
    assert "ConvInteger" not in ops(graph)
    assert products_on_the_pim(graph) == 1
    np.testing.assert_array_equal(run_reference(graph, {"x": inputs["x"]})["y"], wanted)


def test_a_convolution_whose_integers_are_used_stays_whole():
    generator = np.random.default_rng(8)
    inputs = {"x": integers(generator, np.uint8, 1, 3, 4, 4),
              "w": integers(generator, np.uint8, 2, 3, 1, 1)}  # fmt: skip
    graph = load(model_of("ConvInteger", inputs, ["y"], constants=("w",)))
    assert ops(graph) == ["ConvInteger"]
    assert "rounds results to bfloat16" in graph.kept_whole["ConvInteger_y"]


def test_a_convolution_whose_sums_may_not_be_exact_stays_whole():
    inputs = {"x": np.zeros((1, 520, 2, 2), np.uint8), "w": np.full((3, 520, 1, 1), 127, np.int8)}
    nodes = [
        helper.make_node("ConvInteger", ["x", "w"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=1),
    ]
    graph = load(model_of_nodes(nodes, inputs, ["y"], ("w",)))
    assert "ConvInteger" in ops(graph)
    assert f"{255 * 127 * 520:,}" in next(iter(graph.kept_whole.values()))


def quantized_convolution(generator, bias, per_filter):
    """Return the inputs of QLinearConv, (2, 8, 4, 4) to 6 channels, and which are constant."""
    scale = generator.random(6 if per_filter else ()).astype(np.float32) * 0.01 + 0.01
    inputs = {
        "x": integers(generator, np.uint8, 2, 8, 4, 4),
        "sx": np.array(0.05, np.float32),
        "zx": np.array(3, np.uint8),
        "w": integers(generator, np.int8, 6, 8, 1, 1),
        "sw": np.asarray(scale, np.float32),
        "zw": np.zeros(6 if per_filter else (), np.int8),
        "sy": np.array(0.7, np.float32),
        "zy": np.array(10, np.uint8),
        "b": generator.integers(-4000, 4000, 6).astype(np.int32) if bias else None,
    }
    return inputs, tuple(n for n, v in inputs.items() if n != "x" and v is not None)


@pytest.mark.parametrize("domain", ["", CONTRIB])
@pytest.mark.parametrize("per_filter", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_quantized_convolution_gives_the_same_integers(bias, per_filter, domain):
    inputs, constants = quantized_convolution(np.random.default_rng(9), bias, per_filter)
    model = model_of("QLinearConv", inputs, ["y"], domain=domain, constants=constants)
    graph = compare(model, inputs, oracle=defined_values)
    assert products_on_the_pim(graph) == 1
    assert "QLinearConv" not in ops(graph)


@pytest.mark.parametrize("last", [0, 1])
def test_a_quantized_convolution_with_its_channels_last_stays_whole(last):
    """ONNX Runtime writes such operators; the attribute may also say that they are first."""
    inputs, constants = quantized_convolution(np.random.default_rng(9), True, False)
    first = model_of("QLinearConv", inputs, ["y"], constants=constants)
    wanted = defined_values(first, inputs)["y"]
    if last:
        wanted = wanted.transpose(0, 2, 3, 1)
        inputs["x"] = np.ascontiguousarray(inputs["x"].transpose(0, 2, 3, 1))
    model = model_of(
        "QLinearConv", inputs, ["y"], domain=CONTRIB, constants=constants, channels_last=last
    )
    graph = load(model)
    assert ("QLinearConv" in ops(graph)) == bool(last)
    assert list(graph.kept_whole.values()) == ["its channels are last"] * last
    result = run_reference(graph, {"x": inputs["x"]})["y"]
    np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_sums_and_products_of_quantized_tensors_stay_whole_and_say_why(op):
    """255 steps of 0.7: bfloat16 has 8 digits, so a sum rounded to it may be another integer."""
    generator = np.random.default_rng(3)
    scale, zero = np.array(0.7, np.float32), np.array(4, np.uint8)
    x, y = (integers(generator, np.uint8, 3, 8) for _ in range(2))
    inputs = {"x": x, "sx": scale, "zx": zero, "y": y, "sy": scale, "zy": zero, "s": scale,
              "z": zero}  # fmt: skip
    constants = tuple(name for name in inputs if name not in ("x", "y"))
    graph = load(model_of(op, inputs, ["out"], domain=CONTRIB, constants=constants))
    assert ops(graph) == [op]
    assert "to bfloat16 before they become integers" in graph.kept_whole[f"{op}_out"]


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("form", ["plain", "causal", "mask", "cache"])
def test_quantized_attention(form, per_column):
    """BERT's and GPT-2's, as ONNX Runtime's quantizer writes them: the projection is exact."""
    generator = np.random.default_rng(4)
    batch, rows, heads, size = 2, 5, 2, 4
    width = heads * size
    columns = 3 * width if per_column else 1
    inputs = {
        "x": integers(generator, np.uint8, batch, rows, width),
        "w": integers(generator, np.int8, width, 3 * width),
        "b": generator.normal(size=3 * width).astype(np.float32),
        "sx": np.array(0.02, np.float32),
        "sw": (generator.random(columns) * 0.01 + 0.005).astype(np.float32),
        "mask": np.array([5, 3], np.int32) if form == "mask" else None,
        "zx": np.array(121, np.uint8),
        "zw": integers(generator, np.int8, columns),
        "past": None,
    }
    if not per_column:
        inputs["sw"], inputs["zw"] = inputs["sw"][0], inputs["zw"][0]
    outputs = ["y"]
    if form == "cache":
        inputs["past"] = generator.normal(size=(2, batch, heads, 3, size)).astype(np.float32)
        outputs.append("present")
    inputs = {name: None if v is None else np.asarray(v) for name, v in inputs.items()}
    constants = tuple(
        n for n, v in inputs.items() if v is not None and n not in ("x", "mask", "past")
    )
    model = model_of(
        "QAttention", inputs, outputs, domain=CONTRIB, constants=constants, num_heads=heads,
        unidirectional=int(form in ("causal", "cache")),
    )  # fmt: skip
    graph = compare(model, inputs)
    assert products_on_the_pim(graph) == 3
