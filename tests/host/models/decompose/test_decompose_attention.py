"""Attention of ONNX and of ONNX Runtime: decomposed as whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from support.fused_models import CONTRIB, assert_close, compare, load, model_of, ops

from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.decompose.registry import RULES
from pimloop.host.operators import Capabilities, pim_capable

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def draw_floats(seed: int):
    generator = np.random.default_rng(seed)
    return lambda *shape: generator.normal(size=shape).astype(np.float32)


@SETTINGS
@given(
    batch=st.integers(1, 2),
    shared=st.integers(1, 3),
    group=st.integers(1, 3),
    rows=st.integers(1, 5),
    keys=st.integers(1, 6),
    past=st.integers(0, 3),
    flat=st.booleans(),
    causal=st.booleans(),
    mask=st.sampled_from(["none", "float", "bool", "bool constant", "float constant"]),
    mask_rank=st.integers(2, 4),
    softcap=st.sampled_from([0.0, 3.0]),
    scale=st.sampled_from([None, 0.3]),
    opset=st.sampled_from([23, 24]),
    seed=st.integers(0, 99),
)
def test_attention_of_onnx(
    batch, shared, group, rows, keys, past, flat, causal, mask, mask_rank, softcap, scale, opset,
    seed,
):  # fmt: skip
    draw = draw_floats(seed)
    size, value_size = 4, 6
    heads = shared * group
    shapes = [(batch, heads, rows, size), (batch, shared, keys, size),
              (batch, shared, keys, value_size)]  # fmt: skip
    if flat:
        shapes = [(b, r, h * d) for b, h, r, d in shapes]
    inputs = dict(zip("qkv", (draw(*shape) for shape in shapes), strict=True))
    inputs["mask"] = None
    if mask != "none":
        shape = (batch, 1, rows, keys + past)[4 - mask_rank :]
        inputs["mask"] = draw(*shape)
        if mask.startswith("bool"):
            inputs["mask"] = inputs["mask"] > -0.5
    outputs = ["y"]
    if past:
        inputs["past_key"] = draw(batch, shared, past, size)
        inputs["past_value"] = draw(batch, shared, past, value_size)
        outputs += ["present_key", "present_value"]
    attributes = {"q_num_heads": heads, "kv_num_heads": shared} if flat else {}
    if scale:
        attributes["scale"] = scale
    constants = ("mask",) if "constant" in mask else ()
    model = model_of("Attention", inputs, outputs, constants=constants, opset=opset,
                     is_causal=int(causal), softcap=softcap, **attributes)  # fmt: skip
    if causal and rows == 1 and keys > 1:
        assert "one query" in next(iter(load(model).kept_whole.values()))
        return
    graph = compare(model, inputs)
    assert ops(graph).count("MatMul") == 2
    assert len(pim_capable(graph, Capabilities())) >= 2


def padding_mask(kind: str, batch: int, rows: int, keys: int, seed: int):
    generator = np.random.default_rng(seed)
    if kind == "none":
        return None
    if kind == "lengths":
        return generator.integers(1, keys + 1, batch).astype(np.int32)
    if kind == "ends and starts":
        ends = generator.integers(1, keys + 1, batch)
        return np.concatenate([ends, ends // 2]).astype(np.int32)
    shape = (batch, rows, keys) if kind == "pairs" else (batch, keys)
    return (generator.random(shape) < 0.7).astype(np.int32)


@SETTINGS
@given(
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    rows=st.integers(1, 4),
    past=st.integers(0, 3),
    value_size=st.sampled_from([4, 6]),
    causal=st.booleans(),
    mask=st.sampled_from(["none", "keys", "pairs", "lengths", "ends and starts"]),
    added=st.booleans(),
    scale=st.sampled_from([None, 0.3]),
    filter_value=st.sampled_from([None, -50.0]),
    opset=st.sampled_from([11, 14, 18]),
    seed=st.integers(0, 99),
)
def test_attention_of_onnx_runtime(
    batch, heads, rows, past, value_size, causal, mask, added, scale, filter_value, opset, seed
):
    draw = draw_floats(seed)
    width, size = 10, 4
    total = heads * (2 * size + value_size)
    if past:
        value_size, total = size, 3 * heads * size
    inputs = {
        "x": draw(batch, rows, width),
        "w": draw(width, total) / 3,
        "b": draw(total),
        "mask": padding_mask(mask, batch, rows, rows + past, seed),
        "past": draw(2, batch, heads, past, size) if past else None,
        "added": draw(batch, heads, rows, rows) if added and not past else None,
    }
    attributes = {"num_heads": heads, "unidirectional": int(causal)}
    if value_size != size:
        attributes["qkv_hidden_sizes"] = [heads * size, heads * size, heads * value_size]
    if scale:
        attributes["scale"] = scale
    if filter_value:
        attributes["mask_filter_value"] = filter_value
    model = model_of("Attention", inputs, ["y", "present"] if past else ["y"], domain=CONTRIB,
                     constants=("w", "b"), opset=opset, **attributes)  # fmt: skip
    graph = compare(model, inputs)
    assert ops(graph).count("MatMul") == 3


@SETTINGS
@given(
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    rows=st.integers(1, 4),
    keys=st.integers(1, 5),
    past=st.integers(0, 3),
    as_axis=st.booleans(),
    bias=st.booleans(),
    causal=st.booleans(),
    mask=st.sampled_from(["none", "keys", "pairs", "lengths"]),
    added=st.sampled_from([None, (1, 1), (1, 2), (2, 1)]),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 99),
)
def test_multi_head_attention(
    batch, heads, rows, keys, past, as_axis, bias, causal, mask, added, scale, seed
):
    draw = draw_floats(seed)
    size, value_size = 4, 4 if past else 6
    if causal:
        keys = rows
    if as_axis:
        value_size = size
        key, value = draw(batch, heads, keys, size), draw(batch, heads, keys, value_size)
        bias, past = False, 0
    else:
        key, value = draw(batch, keys, heads * size), draw(batch, keys, heads * value_size)
    total = keys + past
    inputs = {
        "q": draw(batch, rows, heads * size),
        "k": key,
        "v": value,
        "b": draw(heads * (2 * size + value_size)) if bias else None,
        "mask": padding_mask(mask, batch, rows, total, seed),
        "added": None,
        "past_key": draw(batch, heads, past, size) if past else None,
        "past_value": draw(batch, heads, past, value_size) if past else None,
    }
    if added:
        b, h = (
            1 if length == 1 else many for length, many in zip(added, (batch, heads), strict=True)
        )
        inputs["added"] = draw(b, h, rows, total)
    attributes = {"num_heads": heads, "unidirectional": int(causal)}
    if scale:
        attributes["scale"] = scale
    outputs = ["y", "present_key", "present_value"] if past else ["y"]
    model = model_of("MultiHeadAttention", inputs, outputs, domain=CONTRIB, **attributes)
    graph = compare(model, inputs)
    assert ops(graph).count("MatMul") == 2


@SETTINGS
@given(
    rows=st.integers(2, 5),
    keys=st.integers(1, 6),
    past=st.integers(0, 3),
    left=st.integers(-1, 3),
    right=st.integers(-1, 3),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention_of_onnx_in_a_window(rows, keys, past, left, right, causal, seed):
    draw = draw_floats(seed)
    inputs = {"q": draw(1, 2, rows, 4), "k": draw(1, 2, keys, 4), "v": draw(1, 2, keys, 4)}
    outputs = ["y"]
    if past:
        inputs |= {"mask": None, "pk": draw(1, 2, past, 4), "pv": draw(1, 2, past, 4)}
        outputs += ["present_key", "present_value"]
    model = model_of("Attention", inputs, outputs, opset=25, is_causal=int(causal),
                     left_window_size=left, right_window_size=right)  # fmt: skip
    feeds = {name: value for name, value in inputs.items() if value is not None}
    graph = load(model)
    assert "MatMul" in ops(graph)
    wanted = ReferenceEvaluator(model).run(None, feeds)
    got = run_reference(graph, feeds)
    for name, value in zip(outputs, wanted, strict=True):
        assert_close(got[name], value, 1e-5, name)


def test_what_a_rule_does_not_know_it_does_not_ignore():
    """Operators get new inputs and attributes, as Attention its window in operator set 25."""
    draw = draw_floats(0)
    inputs = {"q": draw(1, 2, 6, 4), "k": draw(1, 2, 6, 4), "v": draw(1, 2, 6, 4)}
    model = model_of("Attention", inputs, ["y"], opset=23)
    whole = load(model)
    assert "MatMul" in ops(whole)
    registered = dict(RULES)
    try:
        RULES["", "Attention"] = lambda whole, write: [write.op("Identity", whole.required(0))]
        graph = load(model)
    finally:
        RULES.update(registered)
    assert ops(graph) == ["Attention"]
    assert "input 1 and input 2" in graph.kept_whole["Attention_y"]
