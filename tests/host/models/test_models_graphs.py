"""The built-in graphs: the paper's counts, values against a numpy forward pass, bad lengths."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support.graphs import build_decoder, build_decoder_step, build_encoder
from support.tiny_models import TINY, decoder_logits, encoder_logits

from pimloop.errors import PimloopError
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph, load_model
from pimloop.host.models.weights import RandomWeights


def relative_l2(computed, wanted):
    return np.linalg.norm(computed - wanted) / np.linalg.norm(wanted)


def paper_sized(name):
    """A built-in model's graph with narrow matrices: the operators do not depend on the width."""
    config = replace(BUILT_IN[name], hidden=BUILT_IN[name].heads * 2, intermediate=8, vocabulary=9)
    return build_graph(config, RandomWeights(config), LoadOptions(sequence_length=8))


def test_operators_of_the_papers_bert():
    graph = paper_sized("bert-small")
    assert (len(graph.nodes), len(graph.edges())) == (222, 262)
    assert Counter(node.op for node in graph.nodes) == {
        "Add": 60, "MatMul": 32, "ReduceMean": 18, "Mul": 18, "Div": 17, "Reshape": 16,
        "Transpose": 16, "Sub": 10, "Pow": 9, "Sqrt": 9, "Softmax": 4, "Erf": 4, "Gather": 3,
        "Unsqueeze": 2, "Gemm": 2, "Cast": 1, "Tanh": 1,
    }  # fmt: skip


def test_operators_of_the_papers_roberta():
    graph = paper_sized("roberta")
    assert (len(graph.nodes), len(graph.edges())) == (616, 725)
    assert Counter(node.op for node in graph.nodes) == {
        "Add": 172, "MatMul": 96, "ReduceMean": 50, "Div": 49, "Mul": 49, "Reshape": 48,
        "Transpose": 48, "Sub": 25, "Pow": 25, "Sqrt": 25, "Softmax": 12, "Erf": 12, "Gather": 2,
        "Gemm": 2, "Tanh": 1,
    }  # fmt: skip


def test_gpt2_is_the_papers_without_shape_arithmetic_and_with_a_head():
    count = Counter(node.op for node in paper_sized("gpt2").nodes)
    # As in the paper's graph: everything that computes on activations.
    assert {op: count[op] for op in ("Add", "ReduceMean", "Sqrt", "Gemm", "Softmax", "Tanh")} == {
        "Add": 99, "ReduceMean": 50, "Sqrt": 25, "Gemm": 48, "Softmax": 12, "Tanh": 12,
    }  # fmt: skip
    assert count["MatMul"] == 24 + 1  # the language-model head, tied to the token table
    assert count["Sub"] == 61 - 24  # shape arithmetic and the mask's 1 - m, both constant
    assert count["Mul"] == 109 - 24
    assert not {"Shape", "Unsqueeze", "Slice", "Concat"} & set(count)


def test_bert_base_has_the_layers_of_bert_small_three_times():
    small, base = paper_sized("bert-small"), paper_sized("bert")
    assert len(base.nodes) == len(small.nodes) + 8 * 50


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("length", [1, 7])
def test_encoder_values(name, length):
    config = TINY[name]
    weights = RandomWeights(config, seed=3)
    graph = build_encoder(config, weights, length)
    feeds = random_inputs(graph, seed=length)
    mask = np.ones(length, np.int64)
    if "attention_mask" in feeds and length > 2:
        feeds["attention_mask"][0, -2:] = 0
        mask = feeds["attention_mask"][0]
    types = feeds.get("token_type_ids", np.zeros((1, length), np.int64))[0]
    wanted = encoder_logits(config, weights, feeds["input_ids"][0], mask, types)
    logits = run_reference(graph, feeds)["logits"]
    assert logits.shape == (1, config.labels)
    assert relative_l2(logits, wanted) < 1e-5


@pytest.mark.parametrize("length", [1, 9])
def test_decoder_values(length):
    config = TINY["gpt2"]
    weights = RandomWeights(config, seed=5)
    graph = build_decoder(config, weights, length, hidden_states=True)
    feeds = random_inputs(graph, seed=length)
    results = run_reference(graph, feeds)
    wanted = decoder_logits(config, weights, feeds["input_ids"][0])
    assert relative_l2(results["logits"][0], wanted) < 1e-5
    assert results["last_hidden_state"].shape == (1, length, config.hidden)


def test_decoder_steps_equal_prefill():
    config, context, start, length = TINY["gpt2"], 12, 5, 9
    weights = RandomWeights(config, seed=5)
    step = build_decoder_step(config, weights, context)
    ids = np.random.default_rng(1).integers(0, config.vocabulary, (1, length))
    prefill = build_decoder(config, weights, start, cache=True)
    made = run_reference(prefill, {"input_ids": ids[:, :start]})
    cache = {
        name: np.zeros(step.tensors[name].shape, np.float32)
        for name in step.inputs
        if name.startswith("past.")
    }
    for name, past in cache.items():
        past[:, :, :start] = made[name.replace("past", "present")]
    wanted = decoder_logits(config, weights, ids[0])
    for position in range(start, length):
        mask = np.full((1, 1, 1, context + 1), -10000.0, np.float32)
        mask[..., : position + 1] = 0
        made = run_reference(
            step,
            {
                "input_ids": ids[:, position : position + 1],
                "position_ids": np.array([[position]]),
                "cache_mask": mask,
                "cache_index": np.full(step.tensors["cache_index"].shape, position),
                **cache,
            },
            outputs=step.results,
        )
        assert relative_l2(made["logits"][0, 0], wanted[position]) < 1e-5
        for name, past in cache.items():
            past[:, :, position] = made[name.replace("past", "present")][:, :, 0]


def test_random_weights_depend_on_seed_and_name_only():
    config = TINY["bert"]
    first = RandomWeights(config, 1).get("bert.embeddings.LayerNorm.bias", (64,))
    assert np.array_equal(
        first, RandomWeights(config, 1).get("bert.embeddings.LayerNorm.bias", (64,))
    )
    assert not np.array_equal(
        first, RandomWeights(config, 2).get("bert.embeddings.LayerNorm.bias", (64,))
    )
    assert first.all()
    scale = RandomWeights(config, 1).get("bert.embeddings.LayerNorm.weight", (64,))
    assert 0.9 < scale.mean() < 1.1
    matrix = RandomWeights(config, 1).get("classifier.weight", (300, 300))
    assert abs(matrix.std() / config.initializer_range - 1) < 0.02


@pytest.mark.parametrize("length", [0, -1, 513])
def test_sequence_length_outside_the_model(length):
    with pytest.raises(PimloopError, match=rf"sequence length {length} is outside 1\.\.512"):
        load_model("bert", LoadOptions(sequence_length=length))


def test_roberta_reads_512_tokens_of_its_514_positions():
    assert BUILT_IN["roberta"].max_sequence == 512
    assert BUILT_IN["gpt2"].max_sequence == 1024


def test_unknown_model_lists_the_known_ones():
    with pytest.raises(PimloopError, match=r"unknown model 'bart'.*bert-small.*gpt2"):
        load_model("bart")
