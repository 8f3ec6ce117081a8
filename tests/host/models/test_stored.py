"""Constants that are stored in bfloat16, or as a view: what ONNX Runtime computes from them."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper
from support.tiny_decoders import config_of

from pimloop.host.common import golden
from pimloop.host.cpu.operators import run_node, run_reference
from pimloop.host.models.generator import build_generator
from pimloop.host.models.graph import TensorInfo, to_model
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.models.stored import in_one_piece, is_turned
from pimloop.host.models.weights import RandomWeights
from pimloop.host.planning.keys import model_key

BF16 = np.dtype(ml_dtypes.bfloat16)


def widened(graph):
    """Return the graph with every constant as float32 in an array of its own."""
    return replace(graph, constants={name: graph.value(name).copy() for name in graph.constants})


@pytest.mark.parametrize("case", ["llama", "qwen3", "phi3"])
def test_a_decoder_of_bfloat16_gives_the_bits_of_its_values_in_float32(case):
    """Where no table is read turned; there sums are taken in another order."""
    config = replace(config_of(case), weight_type="bfloat16", tied=False)
    graph = build_graph(config, RandomWeights(config), LoadOptions(sequence_length=7))
    narrow = [name for name, array in graph.constants.items() if array.dtype == BF16]
    assert len(narrow) == {"llama": 23, "qwen3": 23, "phi3": 14}[case]
    feeds = random_inputs(graph)
    results, wanted = (run_reference(g, feeds) for g in (graph, widened(graph)))
    assert all(np.array_equal(results[name], wanted[name]) for name in graph.outputs)
    for node in graph.nodes:
        if node.op == "Gather" and node.inputs[0] in narrow:
            (rows,) = run_node(graph, node, feeds)
            np.testing.assert_array_equal(rows, graph.value(node.inputs[0])[feeds["input_ids"]])
            assert rows.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 1), (3, 64), (5, 65), (130, 7), (200, 130)])
@pytest.mark.parametrize("kind", [np.float32, np.uint16, ml_dtypes.bfloat16])
def test_a_turned_matrix_is_copied_whole_and_any_other_only_where_it_must(shape, kind):
    matrix = np.random.default_rng(1).integers(0, 200, shape).astype(kind)
    copied = in_one_piece(matrix.T)
    assert copied.flags.c_contiguous
    assert copied.dtype == kind
    np.testing.assert_array_equal(copied, matrix.T)
    assert in_one_piece(matrix) is matrix
    assert in_one_piece(np.array(3.0)).shape == ()
    np.testing.assert_array_equal(in_one_piece(matrix[:, ::-1]), matrix[:, ::-1])


def test_a_tied_table_is_there_once():
    config = config_of("llama")
    generator = build_generator(config, RandomWeights(config), 3, LoadOptions(sequence_length=4))
    arrays = {}
    for graph in (generator.prefill, generator.step):
        table, turned = (graph.constants[f"model.embed_tokens.weight{end}"] for end in ("", ".T"))
        assert np.shares_memory(table, turned)
        assert is_turned(turned)
        assert not is_turned(table)
        arrays |= {id(a.base if is_turned(a) else a): a for a in graph.constants.values()}
    matrices = sum(a.nbytes for a in arrays.values() if a.dtype == BF16)
    h, inner = 48, 72
    assert matrices == 2 * (101 * h + 3 * (2 * h * h + 2 * h * h // 2 + 3 * h * inner))
    graph = generator.prefill
    feeds = random_inputs(graph)
    results, wanted = (run_reference(g, feeds) for g in (graph, widened(graph)))
    np.testing.assert_allclose(results["logits"], wanted["logits"], rtol=0, atol=1e-6)


def operators(model):
    return [node.op_type for node in model.proto.graph.node]


def product(op, right, **attributes):
    """Return a graph of one operator on x (3, 40) and the constant w."""
    nodes = [helper.make_node(op, ["x", "w"], ["y"], name="y", **attributes)]
    inputs = {"x": TensorInfo((3, 40), np.dtype(np.float32))}
    types = {"w": np.dtype(np.float32)}
    return normalize(RawModel(op, nodes, {"w": right}, inputs, ("y",), {"": 17}, types=types))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    ("op", "turned", "wanted"),
    [
        ("MatMul", False, ["MatMul"]),
        ("MatMul", True, ["FusedMatMul"]),
        ("Gemm", True, ["Transpose", "Gemm"]),
        ("Gemm", False, ["Gemm"]),
    ],
)
def test_operators_read_constants_as_they_are_stored(op, turned, wanted, dtype):
    values = np.random.default_rng(0).standard_normal((40, 30)).astype(dtype)
    graph = product(op, values.T.copy().T if turned else values)
    model = to_model(graph)
    narrow = dtype is not np.float32
    assert operators(model) == ["Cast"] * narrow + wanted
    assert model.in_order == (narrow or turned)
    (stored,) = model.external.values()
    assert stored.dtype == np.dtype(dtype)
    assert np.shares_memory(stored, graph.constants["w"])
    feeds = random_inputs(graph)
    (result,) = run_reference(graph, feeds).values()
    np.testing.assert_allclose(result, feeds["x"] @ values.astype(np.float32), rtol=0, atol=1e-5)
    # What is timed has float32 and nothing to widen; a file has the values inside.
    packed = to_model(graph, widen=True)
    assert operators(packed) == [op]
    assert [a.dtype for a in packed.external.values()] == [np.float32]
    assert all(a.flags.c_contiguous for a in packed.external.values())
    assert operators(to_model(graph, inline=True)) == [op]
    kinds = {i.data_type for i in to_model(graph, inline=True).proto.graph.initializer}
    assert kinds == {TensorProto.FLOAT}


def test_a_constant_that_two_operators_read_is_widened_once():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a"),
        helper.make_node("Add", ["a", "w"], ["b"], name="b"),
        helper.make_node("Gather", ["w", "i"], ["c"], name="c"),
    ]
    inputs = {
        "x": TensorInfo((40, 40), np.dtype(np.float32)),
        "i": TensorInfo((2,), np.dtype(np.int64)),
    }
    values = np.random.default_rng(0).standard_normal((40, 40)).astype(BF16)
    raw = RawModel("w", nodes, {"w": values}, inputs, ("b", "c"), {"": 17},
                   input_ranges={"i": 40}, types={"w": np.dtype(np.float32)})  # fmt: skip
    graph = normalize(raw)
    assert operators(to_model(graph)) == ["Cast", "MatMul", "Add", "Gather", "Cast"]
    feeds = random_inputs(graph)
    results, wanted = (run_reference(g, feeds) for g in (graph, widened(graph)))
    assert all(np.array_equal(results[name], wanted[name]) for name in graph.outputs)


def test_what_is_folded_is_folded_in_the_type_of_the_tensor():
    values = np.random.default_rng(0).standard_normal((40, 30)).astype(BF16)
    nodes = [
        helper.make_node("Mul", ["w", "w"], ["s"], name="s"),
        helper.make_node("MatMul", ["x", "s"], ["y"], name="y"),
    ]
    inputs = {"x": TensorInfo((3, 40), np.dtype(np.float32))}
    raw = RawModel("f", nodes, {"w": values}, inputs, ("y",), {"": 17},
                   types={"w": np.dtype(np.float32)})  # fmt: skip
    graph = normalize(raw)
    assert [node.id for node in graph.nodes] == ["y"]
    single = values.astype(np.float32)
    np.testing.assert_array_equal(graph.constants["s"], single * single)


def test_bits_of_bfloat16_are_a_view_without_nan():
    values = np.array([1.0, -0.0, np.inf, 3e-40], BF16)
    assert np.shares_memory(golden.to_bf16_bits(values), values)
    odd = np.array([0x3F80, 0x7F81, 0xFFC1], np.uint16).view(BF16)
    assert [hex(bits) for bits in golden.to_bf16_bits(odd)] == ["0x3f80", "0x7fc0", "0x7fc0"]
    assert hex(odd.view(np.uint16)[1]) == "0x7f81"


def test_the_key_of_a_model_tells_types_and_views_apart():
    values = np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)
    narrow = values.astype(BF16)
    graphs = [
        product("MatMul", values), product("MatMul", narrow), product("MatMul", narrow.T),
        product("MatMul", narrow.astype(np.float32)),
    ]  # fmt: skip
    assert len({model_key(graph) for graph in graphs}) == 4
    assert model_key(graphs[1]) == model_key(product("MatMul", narrow.copy()))
