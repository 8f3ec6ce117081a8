"""GroupQueryAttention: decomposed as whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fused_models import CONTRIB, assert_close, load, model_of, ops, whole_values

from pimloop.host.cpu.operators import run_reference


def tables(size: int, positions: int = 32):
    angles = np.outer(np.arange(positions), 100.0 ** (-np.arange(size) / size))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    shared=st.integers(1, 2),
    group=st.integers(1, 3),
    rows=st.integers(1, 4),
    cache=st.sampled_from(["none", "dynamic", "static"]),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    packed=st.booleans(),
    rotary=st.sampled_from([None, "halves", "neighbours", "half", "most"]),
    window=st.sampled_from([-1, 1, 2, 3]),
    causal=st.sampled_from([True, True, False]),
    softcap=st.sampled_from([0.0, 2.0]),
    scale=st.sampled_from([None, 0.3]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_group_query_attention(
    shared, group, rows, cache, lengths, packed, rotary, window, causal, softcap, scale, bias, seed
):
    generator = np.random.default_rng(seed)

    def draw(*shape):
        return generator.normal(size=shape).astype(np.float32)

    # ONNX Runtime turns a multiple of 16 elements: of 64 three quarters are one.
    size, heads, batch = 64 if rotary == "most" else 32, shared * group, len(lengths)
    if cache == "none":
        before, total = [0] * batch, rows
    else:
        if batch > 1:
            rows = 1  # ONNX Runtime's restriction
        before = lengths
        total = max(before) + rows
    past = {"none": 0, "dynamic": total - rows, "static": total + 2}[cache]
    if not causal:
        window, lengths = -1, [max(lengths)] * batch
    query, key, value = (
        draw(batch, rows, heads * size),
        *(draw(batch, rows, shared * size) for _ in range(2)),
    )
    if packed:
        query, key, value = np.concatenate([query, key, value], axis=2), None, None
    # Pairs of half a head and of three quarters of it: the rest is not turned.
    pairs = {"half": size // 4, "most": 3 * size // 8}.get(rotary, size // 2)
    cosines, sines = tables(pairs)
    inputs = {
        "query": query,
        "key": key,
        "value": value,
        "past_key": draw(batch, shared, past, size) if past else None,
        "past_value": draw(batch, shared, past, size) if past else None,
        "seqlens_k": np.array([b + rows - 1 for b in before], np.int32),
        "total": np.array(total, np.int32),
        "cosines": cosines if rotary else None,
        "sines": sines if rotary else None,
        "positions": None,
        "bias": draw(1, heads, rows, total) if bias else None,
    }
    constants = ["total"] + (["cosines", "sines"] if rotary else [])
    attributes = {"scale": scale} if scale else {}
    if rotary == "neighbours":
        attributes["rotary_interleaved"] = 1
    model = model_of(
        "GroupQueryAttention", inputs, ["y", "present_key", "present_value"], domain=CONTRIB,
        constants=tuple(constants), num_heads=heads, kv_num_heads=shared,
        do_rotary=int(rotary is not None), local_window_size=window, softcap=softcap,
        causal=int(causal), **attributes,
    )  # fmt: skip
    graph = load(model)
    assert not graph.kept_whole
    assert ops(graph).count("MatMul") == 2
    feeds = {name: v for name, v in inputs.items() if v is not None}
    wanted = whole_values(model, feeds)
    got = run_reference(graph, {n: feeds[n] for n in graph.inputs})
    assert_close(got["y"], wanted["y"], 1e-5, "y")
    for name in ("present_key", "present_value"):
        assert got[name].shape == wanted[name].shape
        for sequence, count in enumerate(before):
            used = (sequence, slice(None), slice(0, count + rows))  # the others are unspecified
            assert_close(got[name][used], wanted[name][used], 1e-5, name)
