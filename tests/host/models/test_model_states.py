"""What is recognized as a state, and what only looks like one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from support.tiny_decoders import config_of
from support.tiny_models import TINY

from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.generator import build_generator
from pimloop.host.models.graph import Graph
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.models.weights import RandomWeights

SHAPE = (1, 2, 6, 8)  # of a cache
ROW = (1, 2, 1, 8)


@pytest.mark.parametrize("case", ["gpt2", "llama", "qwen3", "gemma2", "phi3"])
def test_keys_and_values_of_a_decoder_are_states(case: str) -> None:
    config = TINY["gpt2"] if case == "gpt2" else config_of(case)
    generator = build_generator(
        config, RandomWeights(config, 0), 4, LoadOptions(sequence_length=5, batch=2)
    )
    step = generator.step
    assert step is not None
    assert step.outputs == ("logits",)
    assert not generator.prefill.states
    layers = range(config.layers)
    names = [f"past.{layer}.{part}" for layer in layers for part in ("key", "value")]
    assert [state.past for state in step.states] == names
    assert {s.index for s in step.states} == {"cache_index"}
    assert step.results == ("logits", *(s.rows for s in step.states))
    for state in step.states:
        # The tokens before the last one that is fed, and that one.
        assert step.tensors[state.whole].shape[2] == generator.context + 1 == 8
        readers = step.consumers[state.whole]
        kind = "FusedMatMul" if state.past.endswith("key") else "MatMul"
        assert [node.op for node in readers] == [kind]


def _model(nodes: list[onnx.NodeProto], inputs: dict, outputs: dict, opset: int) -> onnx.ModelProto:
    def infos(tensors: dict) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in ("at", "index") else TensorProto.FLOAT, shape
            )
            for name, shape in tensors.items()
        ]

    graph = helper.make_graph(nodes, "attention", infos(inputs), infos(outputs))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _attention(append: str, capacity: int, *, query: str = "q", opset: int = 17) -> onnx.ModelProto:
    """Return attention of one token, as exporters write it, with two ways to keep a cache."""
    node = helper.make_node
    if append == "Concat":
        kept = [node("Concat", [f"past_{x}", f"{x}_row"], [f"present_{x}"], axis=-2) for x in "kv"]
        extra: dict = {}
    else:
        kept = [
            node("TensorScatter", [f"past_{x}", f"{x}_row", "index"], [f"present_{x}"], axis=-2)
            for x in "kv"
        ]
        extra = {"index": (1,)}
    rows = capacity + (append == "Concat")
    nodes = [
        node("Relu", ["x"], ["k_row"]),
        node("Neg", ["x"], ["v_row"]),
        *kept,
        node("Transpose", ["present_k"], ["columns"], perm=[0, 1, 3, 2]),
        node("MatMul", [query, "columns"], ["scores"], name="scores"),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "present_v"], ["y"], name="mixed"),
    ]
    past = {"past_k": (1, 2, capacity, 8), "past_v": (1, 2, capacity, 8)}
    whole = (1, 2, rows, 8)
    return _model(
        nodes,
        {"x": ROW, "q": ROW, **extra, **past},
        {"y": ROW, "present_k": whole, "present_v": whole},
        opset,
    )


def _load(model: onnx.ModelProto, path: Path) -> Graph:
    onnx.save(model, path)
    return load_model(str(path))


@pytest.mark.parametrize(("append", "opset"), [("Concat", 17), ("TensorScatter", 24)])
def test_exports_with_past_and_present_have_the_same_states(
    tmp_path: Path, append: str, opset: int
) -> None:
    model = _attention(append, 6, opset=opset)
    graph = _load(model, tmp_path / "m.onnx")
    assert [(s.past, s.rows, s.whole) for s in graph.states] == [
        ("past_k", "k_row", "present_k"),
        ("past_v", "v_row", "present_v"),
    ]
    assert graph.outputs == ("y",)
    assert graph.results == ("y", "k_row", "v_row")
    first = graph.states[0]
    assert (first.index, first.first) == ((None, 6) if append == "Concat" else ("index", 0))
    # Scores read the keys as they lie.
    assert [n.op for n in graph.nodes if n.id in ("scores", "mixed")] == ["FusedMatMul", "MatMul"]
    assert not any(node.op == "Transpose" for node in graph.nodes)
    rng = np.random.default_rng(0)
    feeds = {
        name: np.array([3])
        if name == "index"
        else rng.standard_normal(graph.tensors[name].shape).astype(np.float32)
        for name in graph.inputs
    }
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options)
    wanted = dict(zip(("y", "present_k", "present_v"), session.run(None, feeds), strict=True))
    computed = run_reference(graph, feeds, outputs=tuple(wanted))
    for name, values in wanted.items():
        np.testing.assert_allclose(computed[name], values, rtol=1e-6, atol=1e-6)


def _kept(tmp_path: Path, nodes: list, inputs: dict, outputs: dict, opset: int = 17) -> Graph:
    graph = _load(_model(nodes, inputs, outputs, opset), tmp_path / "m.onnx")
    assert not graph.states
    assert set(outputs) == set(graph.outputs)
    return graph


def test_what_only_looks_like_a_state_is_none(tmp_path: Path) -> None:
    node = helper.make_node
    row, used = node("Relu", ["x"], ["row"]), node("Relu", ["whole"], ["y"])
    past, whole = {"x": ROW, "past": SHAPE}, (1, 2, 7, 8)
    joined = node("Concat", ["past", "row"], ["whole"], axis=2)
    # Nobody returns it: the next execution would not have the row.
    _kept(tmp_path, [row, joined, used], past, {"y": whole})
    # Another operator reads what was before.
    both = [row, joined, used, node("Neg", ["past"], ["z"])]
    _kept(tmp_path, both, past, {"y": whole, "whole": whole, "z": SHAPE})
    # The rows come first.
    first = node("Concat", ["row", "past"], ["whole"], axis=2)
    _kept(tmp_path, [row, first, used], past, {"y": whole, "whole": whole})
    # Along another axis.
    wide = node("Concat", ["past", "row"], ["whole"], axis=3)
    ends = {"x": SHAPE, "past": SHAPE}
    _kept(tmp_path, [row, wide, used], ends, {"y": (1, 2, 6, 16), "whole": (1, 2, 6, 16)})
    # Nothing else is returned.
    _kept(tmp_path, [row, joined], past, {"whole": whole})
    # A sum, no row in the place of another one; an index that the model computes; a ring.
    scattered = {**past, "at": ROW}
    summed = node("ScatterElements", ["past", "at", "row"], ["whole"], axis=2, reduction="add")
    _kept(tmp_path, [row, summed, used], scattered, {"y": SHAPE, "whole": SHAPE}, 18)
    moved = node("Abs", ["at"], ["place"])
    computed = node("ScatterElements", ["past", "place", "row"], ["whole"], axis=2)
    _kept(tmp_path, [row, moved, computed, used], scattered, {"y": SHAPE, "whole": SHAPE})
    ring = node("TensorScatter", ["past", "row", "index"], ["whole"], axis=2, mode="circular")
    _kept(tmp_path, [row, ring, used], {**past, "index": (1,)}, {"y": SHAPE, "whole": SHAPE}, 24)


def test_a_transposition_that_others_read_stays(tmp_path: Path) -> None:
    model = _attention("Concat", 6)
    model.graph.node.append(helper.make_node("Neg", ["columns"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 2, 8, 7)))
    graph = _load(model, tmp_path / "m.onnx")
    assert len(graph.states) == 2
    assert [node.op for node in graph.consumers["present_k"]] == ["Transpose"]
    assert graph.node("scores").op == "MatMul"
