"""Normalizations and activations with sums in front: decomposed as whole."""

from __future__ import annotations

import numpy as np
import pytest
from support.fused_models import CONTRIB, compare, load, model_of, ops


def floats(seed: int, *shape: int):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("simplified", [False, True])
@pytest.mark.parametrize("opset", [11, 17])
def test_skip_normalizations(simplified, bias, total, opset):
    inputs = {"x": floats(0, 2, 3, 8), "skip": floats(1, 2, 3, 8), "gamma": floats(2, 8)}
    if not simplified:
        inputs["beta"] = floats(3, 8)
    inputs["bias"] = floats(4, 8) if bias else None
    op = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    outputs = ["y", "", "", "sum"] if total else ["y"]
    constants = tuple(n for n in ("gamma", "beta", "bias") if inputs.get(n) is not None)
    model = model_of(
        op, inputs, outputs, domain=CONTRIB, constants=constants, opset=opset, epsilon=1e-6
    )
    graph = compare(model, inputs)
    assert ops(graph) == ["Add"] * (1 + bias) + [op.removeprefix("Skip")]


@pytest.mark.parametrize("kinds", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("places", [False, True])
def test_embedding_normalization(kinds, mask, places):
    generator = np.random.default_rng(0)
    batch, rows, width = 2, 4, 8
    tokens = generator.integers(0, 10, (batch, rows)).astype(np.int32)
    inputs = {
        "tokens": tokens,
        "kinds": (tokens % 2) if kinds else None,
        "words": floats(1, 10, width),
        "positions": floats(2, 6, width),
        "segments": floats(3, 2, width) if kinds else None,
        "gamma": floats(4, width),
        "beta": floats(5, width),
        "mask": (tokens > 2).astype(np.int32) if mask else None,
        "places": (tokens % 6).astype(np.int32) if places else None,
    }
    tables = ("words", "positions", "segments", "gamma", "beta")
    constants = tuple(n for n in tables if inputs[n] is not None)
    outputs = ["y", "lengths", "sum"] if mask else ["y", "", "sum"]
    model = model_of("EmbedLayerNormalization", inputs, outputs, domain=CONTRIB,
                     constants=constants)  # fmt: skip
    assert ops(compare(model, inputs)).count("Add") == 1 + kinds


@pytest.mark.parametrize("op", ["BiasGelu", "FastGelu"])
def test_activations_with_a_bias(op):
    inputs = {"x": floats(0, 2, 3, 8), "bias": floats(1, 8)}
    graph = compare(model_of(op, inputs, ["y"], domain=CONTRIB, constants=("bias",)), inputs)
    assert ops(graph) == ["Add", op.removeprefix("Bias")]


def test_an_activation_without_a_bias_is_a_primitive():
    inputs = {"x": floats(0, 2, 3)}
    graph = load(model_of("FastGelu", inputs, ["y"], domain=CONTRIB))
    assert ops(graph) == ["FastGelu"]
    assert not graph.kept_whole
