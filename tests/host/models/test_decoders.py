"""Decoders with rotary positions against the formulas of their papers, in numpy and float64.

An error is the largest difference of an element, as a part of the largest value.
`test_crosscheck_decoders` compares the same cases with transformers.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.decoder_reference import Reference
from support.tiny_checkpoints import write_checkpoint, write_safetensors
from support.tiny_decoders import (
    CASES,
    LONG,
    PUBLISHED,
    config_json,
    config_of,
    tensors_of,
    write_decoder,
)

from pimloop.errors import PimloopError
from pimloop.host.cli import main
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.architectures.registry import from_hugging_face
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.generator import LOGITS, Cache, build_generator, load_generator
from pimloop.host.models.idle import has_own_loader, has_own_weights
from pimloop.host.models.loader import LoadOptions, build_graph, load_model
from pimloop.host.models.weights import RandomWeights

LIMIT = 1e-5
STEPS = 8


def error(got, wanted):
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def sequences(length, padded):
    ids = np.random.default_rng(length).integers(0, 101, (3, length))
    mask = np.ones_like(ids)
    if padded:
        mask[0, length - 2 :] = 0
        mask[1, : length // 3] = 0
    return ids, mask


def reference(case, seed=0):
    return Reference(config_json(case), tensors_of(case, seed))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("length", "padded"), [(1, False), (15, False), (15, True)])
def test_whole_sequences(case, length, padded):
    config, oracle = config_of(case), reference(case)
    ids, mask = sequences(length, padded)
    feeds = {"input_ids": ids} | ({"attention_mask": mask} if padded else {})
    options = LoadOptions(hidden_states=True, given=feeds)
    results = run_reference(build_graph(config, RandomWeights(config), options), feeds)
    for row, (sequence, real) in enumerate(zip(ids, mask.astype(bool), strict=True)):
        hidden, logits = oracle.run(sequence, real)
        assert error(results["last_hidden_state"][row][real], hidden[real]) < LIMIT
        assert error(results["logits"][row][real], logits[real]) < LIMIT


@pytest.mark.parametrize("case", [c for c in CASES if "longrope" not in c])
@pytest.mark.parametrize(("length", "padded"), [(1, False), (9, False), (9, True)])
def test_a_prompt_and_eight_steps(case, length, padded):
    """A step gives the logits of the whole sequence so far; padding is in front here."""
    config, oracle = config_of(case), reference(case)
    ids, mask = sequences(length, padded)
    mask[0] = 1
    given = {"attention_mask": mask} if padded else {}
    options = LoadOptions(sequence_length=length, batch=len(ids), given=given)
    generator = build_generator(config, RandomWeights(config), STEPS + 1, options)
    cache = Cache(generator, padding=mask)
    feeds, graph = {"input_ids": ids} | given, generator.prefill
    for step in range(STEPS + 1):
        results = run_reference(graph, feeds, outputs=graph.results)
        for row, (sequence, real) in enumerate(zip(ids, mask, strict=True)):
            _, logits = oracle.run(sequence, np.append(real, np.ones(step)))
            assert error(results[LOGITS][row, 0], logits[-1]) < LIMIT, (step, row)
        if step < STEPS:
            cache.add(results)
            chosen = results[LOGITS].argmax(-1)
            feeds, graph = cache.feeds(chosen.reshape(-1).tolist()), generator.step
            ids = np.append(ids, chosen, axis=1)


def test_longrope_changes_its_factors_with_the_length():
    """Keys in the cache keep the turns of the length at which they were made, as in transformers.

    So a step beyond the original length is not the whole sequence's; up to it, it is.
    """
    case = "phi3-longrope"
    config, oracle = config_of(case), reference(case)
    generator = build_generator(
        config, RandomWeights(config), STEPS + 1, LoadOptions(sequence_length=9)
    )
    ids = sequences(9, False)[0][:1]
    cache, feeds, graph, near = Cache(generator), {"input_ids": ids}, generator.prefill, []
    for _ in range(STEPS):
        results = run_reference(graph, feeds, outputs=graph.results)
        near.append(error(results[LOGITS][0, 0], oracle.run(ids[0])[1][-1]) < LIMIT)
        cache.add(results)
        chosen = results[LOGITS].argmax(-1)
        feeds, graph = cache.feeds(chosen.reshape(-1).tolist()), generator.step
        ids = np.append(ids, chosen, axis=1)
    assert near == [True] * 4 + [False] * 4  # 9 to 12 tokens, then more


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_folder_gives_the_graph_of_its_parameters(case, dtype, tmp_path):
    write_decoder(tmp_path, case, seed=4, dtype=dtype)
    options = LoadOptions(sequence_length=5)
    graph = load_model(str(tmp_path), options)
    config = config_of(case)
    wanted = build_graph(config, RandomWeights(config, 4), options)
    assert graph.nodes == wanted.nodes
    rounding = {"F32": 0, "F16": 2.0**-11, "BF16": 2.0**-8}[dtype]
    for name in wanted.constants:
        if wanted.tensors[name].dtype.kind == "f":
            values = graph.value(name), wanted.value(name)
            np.testing.assert_allclose(*values, rounding, 1e-7, err_msg=name)


def test_a_decoder_in_shards_is_that_of_one_file(tmp_path):
    for place in ("whole", "shards"):
        write_decoder(tmp_path / place, "qwen3", seed=2, dtype="BF16")
    tensors, places = tensors_of("qwen3", 2), {}
    (tmp_path / "shards" / "model.safetensors").unlink()
    for index in range(3):
        file = f"model-{index + 1:05}-of-00003.safetensors"
        part = dict(list(tensors.items())[index::3])
        write_safetensors(tmp_path / "shards" / file, part, "BF16")
        places |= dict.fromkeys(part, file)
    index = tmp_path / "shards" / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    options = LoadOptions(sequence_length=4)
    whole, shards = (
        load_generator(str(tmp_path / place), 3, options) for place in ("whole", "shards")
    )
    for graph, sharded in ((whole.prefill, shards.prefill), (whole.step, shards.step)):
        assert graph.nodes == sharded.nodes
        assert graph.constants.keys() == sharded.constants.keys()
        for name, value in graph.constants.items():
            assert value.dtype == sharded.constants[name].dtype
            assert np.array_equal(value, sharded.constants[name]), name
    del places["model.norm.weight"]
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(PimloopError, match=r"does not list 1 weight of its shards: model\.norm"):
        load_generator(str(tmp_path / "shards"), 3, options)


@pytest.mark.parametrize(("file", "name"), [("config.json", "small"), ("big.json", "big")])
def test_a_configuration_alone_has_random_weights(file, name, tmp_path):
    path = tmp_path / "small" / file
    path.parent.mkdir()
    path.write_text(json.dumps(config_json("qwen3")))
    config = replace(config_of("qwen3"), name=name)
    options = LoadOptions(sequence_length=3, seed=8)
    wanted = build_generator(config, RandomWeights(config, 8), 2, options)
    generator = load_generator(str(path), 2, options)
    assert generator.config == config
    assert generator.step.nodes == wanted.step.nodes
    for weight, value in wanted.step.constants.items():
        assert np.array_equal(generator.step.constants[weight], value)
    graph = load_model(str(path), options)
    assert (graph.name, graph.built_in) == (name, False)
    assert not has_own_weights(str(path))
    assert has_own_loader(str(path))
    path.write_text("{")
    with pytest.raises(PimloopError, match=f"{file} is not JSON"):
        load_model(str(path), options)
    path.unlink()
    with pytest.raises(PimloopError, match=f"cannot read .*{file}"):
        load_generator(str(path), 2, options)


def test_keys_are_not_copied_for_the_queries_that_share_them():
    """One product for each head of keys, with the rows of its queries; no Tile, no Expand."""
    config = config_of("qwen2")
    generator = build_generator(config, RandomWeights(config), 3, LoadOptions(sequence_length=4))
    for graph, rows in ((generator.prefill, 16), (generator.step, 4)):
        assert not {node.op for node in graph.nodes} & {"Tile", "Expand"}
        products = [
            node
            for node in graph.nodes
            if node.op in ("MatMul", "FusedMatMul") and not set(node.inputs) & set(graph.constants)
        ]
        assert len(products) == 2 * config.layers
        shapes = {graph.tensors[node.inputs[0]].shape[:3] for node in products}
        assert shapes == {(1, 1, rows)}


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3-0.6b", "llama-3.2-1b"])
def test_every_product_of_a_built_in_decoder_is_an_operator(name):
    config = replace(BUILT_IN[name], layers=2, vocabulary=64)
    graph = build_generator(config, RandomWeights(config), 2, LoadOptions(sequence_length=3)).step
    weights = [
        node for node in graph.nodes
        if node.op == "MatMul" and set(node.inputs) & set(graph.constants)
    ]  # fmt: skip
    assert len(weights) == 7 * 2 + 1
    assert {node.op for node in graph.nodes} <= {
        "MatMul", "Mul", "Add", "Div", "Pow", "ReduceMean", "Sqrt", "Sigmoid", "Softmax", "Gather",
        "Unsqueeze", "Reshape", "Transpose", "Split", "Concat",
        "FusedMatMul", "ScatterElements",  # read and written by these: the cache
    }  # fmt: skip
    assert sum(node.op == "FusedMatMul" for node in graph.nodes) == 2  # scores of each layer


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_built_in_decoder_is_what_its_published_configuration_says(name):
    assert replace(from_hugging_face(PUBLISHED[name], "config.json"), name=name) == BUILT_IN[name]


def test_parameters_of_both_graphs_are_in_memory_once():
    config = config_of("llama")
    generator = build_generator(config, RandomWeights(config), 3, LoadOptions(sequence_length=4))
    step = generator.step.constants
    shared = {n for n, array in generator.prefill.constants.items() if step.get(n) is array}
    large = {n for n, array in step.items() if array.size >= config.hidden and array.ndim == 2}
    assert {n for n in large if n.startswith("model.")} <= shared
    assert "model.embed_tokens.weight.T" in shared


# -- bad input -----------------------------------------------------------------------------------


def bad(case, changes, tmp_path):
    """Return the message of a folder whose config.json has changes (None: without the key)."""
    write_decoder(tmp_path, case)
    data = {k: v for k, v in (config_json(case) | changes).items() if v != "absent"}
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(PimloopError) as caught:
        load_generator(str(tmp_path), 4, LoadOptions(sequence_length=4))
    return str(caught.value)


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("llama", {"num_key_value_heads": 3}, "4 heads (num_attention_heads) are no multiple of"),
        ("llama", {"num_attention_heads": 5}, "hidden size 48 is no multiple of 5 heads"),
        ("llama", {"num_key_value_heads": 0}, "num_key_value_heads must be a whole number from 1"),
        ("llama", {"head_dim": 12.5}, "head_dim must be a whole number from 1"),
        ("llama", {"head_dim": 24}, "has the shape [48, 48], config.json asks for [96, 48]"),
        ("llama", {"hidden_size": "absent"}, "hidden_size is missing; give a whole number from 1"),
        ("llama", {"hidden_size": None}, "hidden_size must be a whole number from 1 to 2^24, got"),
        ("qwen3", {"head_dim": None}, "head_dim must be a whole number from 1 to 2^24, got None"),
        ("gemma2", {"head_dim": None}, "head_dim must be a whole number from 1 to 2^24, got None"),
        ("gemma3", {"num_key_value_heads": None}, "num_key_value_heads must be a whole number fro"),
        ("mistral", {"num_key_value_heads": None}, "num_key_value_heads must be a whole number fr"),
        ("mistral", {"num_key_value_heads": "absent"}, "4 heads (num_attention_heads) are no mult"
         "iple of the 8 heads of keys and values (num_key_value_heads, which model_type 'mistral' "
         "has without it)"),
        ("qwen2", {"num_key_value_heads": "absent"}, "multiple of the 32 heads of keys and values "
         "(num_key_value_heads, which model_type 'qwen2' has without it)"),
        ("qwen3", {"num_key_value_heads": "absent"}, "multiple of the 32 heads of keys and values"),
        ("qwen3", {"head_dim": "absent"}, "has the shape [80, 48], config.json asks for [512, 48]"),
        ("gemma3", {"head_dim": "absent"}, "asks for [1024, 48]"),
        ("mistral", {"attention_bias": True}, "attention_bias = True is not supported: transformer"
         "s does not read it of model_type 'mistral'; take it out, or give the model_type that re"),
        ("qwen2", {"attention_bias": True}, "does not read it of model_type 'qwen2'"),
        ("phi3", {"attention_bias": "no"}, "attention_bias = 'no' is not supported"),
        ("qwen3", {"mlp_bias": True}, "mlp_bias = True is not supported: transformers does not"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, and layers of this"
         " model_type turn whole heads; take it out, or give the model_type that reads it"),
        ("qwen3-window", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "is 0.5, and layers"),
        ("llama", {"layer_types": ["full_attention"] * 2 + ["sliding_attention"]},
         "layer_types has a window in 1 of 3 layers, and model_type 'llama' by the other keys in 0:"
         " transformers does not read layer_types of it; take it out"),
        ("mistral", {"layer_types": ["full_attention"] * 3}, "layer_types has a window in 0 of 3 "
         "layers, and model_type 'mistral' by the other keys in 3"),
        ("qwen3", {"layer_types": ["sliding_attention"] * 3}, "layer_types has a window in 3 of 3 "
         "layers and use_sliding_window is false or missing; set it to true"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True is"),
        ("llama", {"is_causal": False}, "is_causal = False is not supported"),
        ("gemma2", {"query_pre_attn_scalar": None}, "query_pre_attn_scalar must be a number above"),
        ("phi3-longrope", {"original_max_position_embeddings": 24, "rope_scaling": {
            "type": "longrope", "original_max_position_embeddings": 12} | LONG},
         "original_max_position_embeddings is 12 in the table of rotary positions and 24 beside "
         "it; give the right one in both places"),
        ("phi3-longrope-tables", {"original_max_position_embeddings": "absent"},
         "is 12 in the table of rotary positions and 4096 beside it where it is missing; give the"),
        ("llama", {"max_position_embeddings": 0}, "max_position_embeddings must be a whole number"),
        ("llama", {"tie_word_embeddings": None}, "tie_word_embeddings must be true or false"),
        ("llama", {"attention_bias": True}, "weight 'model.layers.0.self_attn.q_proj.bias' of"),
        ("llama", {"num_hidden_layers": 4}, "weight 'model.layers.3.input_layernorm.weight' of"),
        ("llama", {"num_hidden_layers": 2}, "no place in the model that config.json names: model."
         "layers.2.input_layernorm.weight"),
        ("llama", {"tie_word_embeddings": False}, "weight 'lm_head.weight' of shape [101, 48]"),
        ("llama", {"hidden_act": "swish-of-nobody"}, "activation 'swish-of-nobody' is not"),
        ("llama", {"rope_theta": 0}, "rope_theta must be null or a number above 0, got 0"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config = {'bits': 4} is not"),
        ("llama", {"rope_scaling": "yarn"}, "rope_scaling must be null or a table, got 'yarn'"),
        ("llama", {"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling of type 'yarn' is not "
         "supported; known: default, linear, llama3, longrope, su; other models can be exported"),
        ("llama", {"rope_scaling": {"type": ["linear"]}}, "type ['linear'] is not supported"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "config.json: factor is missing"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 0}}, "factor must be above 0"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": "x"}}, "factor must be a number"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
         "original_max_position_embeddings is missing"),
        ("llama", {"rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32}}, "low_freq_factor must be below"),
        ("phi3", {"partial_rotary_factor": 0.25}, "of 12 features of a head turns 3: it must be"),
        ("phi3", {"partial_rotary_factor": 1.5}, "of 12 features of a head turns 18: it must be"),
        ("phi3-longrope", {"rope_scaling": {"type": "longrope", "short_factor": [1.0],
         "long_factor": [1.0]}}, "short_factor must be a list of 6 numbers above 0"),
        ("gemma3-tables", {"layer_types": ["full_attention"]}, "layer_types must be a list of 3"),
        ("gemma3-tables", {"layer_types": ["chunked_attention"] * 3},
         "layer type 'chunked_attention' is not supported; known: full_attention"),
        ("gemma3-tables", {"use_bidirectional_attention": True}, "use_bidirectional_attention = "),
        ("gemma2", {"attn_logit_softcapping": -1}, "attn_logit_softcapping must be a number of 0"),
        ("gemma2", {"sliding_window": "4"}, "sliding_window must be a whole number"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping = 50.0 is not"),
        ("gemma3", {"sliding_window_pattern": 0}, "sliding_window_pattern must be a whole number"),
        ("qwen2", {"use_sliding_window": 1}, "use_sliding_window must be true or false, got 1"),
        ("qwen2", {"max_window_layers": -1}, "max_window_layers must be a whole number, 0"),
        ("mistral", {"model_type": "mixtral"}, "model_type 'mixtral' is not supported; known: "),
        ("mistral", {"architectures": ["MistralForSequenceClassification"]},
         "architectures names 'MistralForSequenceClassification', which is no class that is "
         "supported of model_type 'mistral'; known: MistralForCausalLM, MistralModel"),
        ("mistral", {"architectures": ["MixtralForCausalLM"]}, "names 'MixtralForCausalLM', which "
         "is no class that is supported of model_type 'mistral'; known: MistralForCausalLM,"),
        ("llama", {"architectures": ["MistralForCausalLM"]}, "known: LlamaForCausalLM, LlamaModel"),
        ("llama", {"architectures": "LlamaForCausalLM"}, "architectures must be a list with the "),
        ("llama", {"architectures": [3]}, "architectures must be a list with the name of a class"),
        ("gemma3", {"architectures": ["Gemma3Model"]}, "known: Gemma3ForCausalLM, Gemma3TextModel"),
        ("llama", {"rope_scaling": {"rope_typ": "llama3", "factor": 8}},
         "the table of rotary positions has factor, rope_typ and no rope_type; add it: default, "),
        ("llama", {"rope_scaling": {"factor": 8}}, "has factor and no rope_type; add it"),
        ("llama", {"rope_scaling": {"rope_type": None}}, "type None is not supported; known: defa"),
        ("llama", {"rope_scaling": {"rope_type": "default", "factor": 8}},
         "rotary positions of type 'default' do not read factor; take them out"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 8, "factr": 2, "attention": 1}},
         "rotary positions of type 'linear' do not read attention, factr; take them out"),
        ("llama", {"rope_scaling": {"type": "linear", "rope_type": "llama3", "factor": 8}},
         "rope_type 'llama3' and type 'linear' of the rotary positions differ; keep one"),
        ("llama", {"rope_parameters": {"rope_theta": 5.0}}, "are both there and differ; keep"),
        ("qwen2", {"rope_parameters": {"full_attention": {"rope_theta": 5.0}}},
         "rope_parameters has tables of kinds of layers, and all layers of this model_type"),
        ("gemma3-tables", {"rope_parameters": {"full_attention": 3, "sliding_attention": {}}},
         "rope_parameters must have two tables, full_attention and sliding_attention, and"),
        ("gemma3-tables", {"rope_parameters": {"sliding_attention": 3, "full_attention": {}}},
         "rope_parameters must have two tables"),
        ("gemma3-tables", {"rope_parameters": {"full_attention": {"rope_theta": 3.0}}},
         "must have two tables, full_attention and sliding_attention, and nothing else; got {'ful"),
        ("gemma3-tables", {"rope_parameters": {"sliding_attention": {"rope_theta": 3.0}}},
         "rope_parameters must have two tables"),
        ("gemma3-tables", {"rope_parameters": {"rope_type": "default", "rope_theta": 3.0}},
         "rope_parameters must have two tables"),
        ("llama", {"head_dim": 11}, "config.json: head_dim is 11; rotary positions turn the "
         "features of a head in pairs: it must be an even number"),
        ("llama", {"head_dim": 1}, "config.json: head_dim is 1; rotary positions turn"),
        ("llama", {"hidden_size": 44}, "hidden_size / num_attention_heads is 11; rotary positions"),
        ("phi3", {"head_dim": 11, "partial_rotary_factor": 0.3}, "partial_rotary_factor 0.3 of 11"),
        ("gemma3", {"sliding_window": None}, "sliding_window is missing or null, though layers"),
        ("mistral", {"sliding_window": None, "layer_types": ["sliding_attention"] * 3},
         "layer_types has a window in 3 of 3 layers, and model_type 'mistral' by the other keys in"
         " 0"),
        ("qwen2", {"sliding_window": "absent"}, "use_sliding_window is true and sliding_window is "
         "missing or null; give its tokens, or set use_sliding_window to false"),
        ("qwen2", {"sliding_window": None}, "use_sliding_window is true and sliding_window is mis"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_one_clear_error(case, changes, message, tmp_path):
    assert message in bad(case, changes, tmp_path)


@pytest.mark.parametrize(
    ("model_type", "kind"),
    [
        ("gemma3", "Gemma3ForConditionalGeneration"), ("gemma3n_text", "Gemma3nForCausalLM"),
        ("gemma", "GemmaForCausalLM"), ("qwen2_moe", "Qwen2MoeForCausalLM"),
        ("qwen3_moe", "Qwen3MoeForCausalLM"), ("qwen2_vl", "Qwen2VLForConditionalGeneration"),
        ("mixtral", "MixtralForCausalLM"), ("ministral", "MinistralForCausalLM"),
        ("phi", "PhiForCausalLM"), ("phimoe", "PhimoeForCausalLM"), ("phi3_v", "Phi3VForCausalLM"),
        ("phi4_multimodal", "Phi4MultimodalForCausalLM"), ("llama4", "Llama4ForCausalLM"),
        ("llama", "LlamaForSequenceClassification"), ("llama", "LlamaForTokenClassification"),
        ("gemma3_text", "Gemma3ForConditionalGeneration"), ("phi3", "Phi3SmallForCausalLM"),
        ("gemma3_text", "Gemma3TextForSequenceClassification"), ("qwen2", "Qwen2ForRewardModel"),
        (None, "LlamaForCausalLM"), (["llama"], "LlamaForCausalLM"),
    ],
)  # fmt: skip
def test_what_is_alike_and_another_model_is_refused(model_type, kind, tmp_path, capsys):
    """By the command: one error with the names that are known and the way by ONNX."""
    data = config_json("llama") | {"model_type": model_type, "architectures": [kind]}
    (tmp_path / "config.json").write_text(json.dumps(data))
    command = ["sim", str(tmp_path / "config.json"), "--generate", "2", "--device", "model"]
    assert main(command) == 2
    printed = " ".join(capsys.readouterr().err.split())
    refused = f"architectures names '{kind}'" if "no class that" in printed else "is not supported"
    assert refused in printed
    assert "known: " in printed
    assert "other models can be exported to ONNX and given as an .onnx file" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("qwen3", {"rope_scaling": {}}),
        ("qwen3", {"rope_scaling": {"rope_type": "default"}}),
        ("qwen3", {"rope_scaling": {"type": "default", "factor": None}}),
        ("qwen3", {"rope_parameters": {"rope_theta": 1000000.0}}),
        ("qwen3", {"rope_parameters": {}, "rope_scaling": None}),
        ("llama", {"rope_parameters": {}}),
        ("llama", {"rope_parameters": CASES["llama"][1]["rope_scaling"]}),
        ("llama", {"rope_scaling": CASES["llama"][1]["rope_scaling"] | {"type": "llama3"}}),
        ("phi3-longrope", {"rope_scaling": {"rope_type": "longrope", "type": "su"} | LONG}),
        ("phi3", {"architectures": []}),
    ],
)
def test_what_is_said_in_another_way_is_the_same_model(case, changes):
    wanted = replace(config_of(case), head="none" if "architectures" in changes else "lm")
    changed = from_hugging_face(config_json(case) | changes, "config.json")
    assert replace(changed, name=wanted.name) == wanted


@pytest.mark.parametrize(
    ("case", "window", "wanted"),
    [
        ("mistral", "absent", 4096), ("mistral", None, None), ("gemma2", "absent", 4096),
        ("gemma3", "absent", 4096), ("phi3", "absent", None), ("phi3", None, None),
    ],
)  # fmt: skip
def test_a_window_that_a_file_leaves_out_is_that_of_transformers(case, window, wanted):
    """Defaults of MistralConfig, Gemma2Config, Gemma3TextConfig and Phi3Config; null is none."""
    data = config_json(case) | {"sliding_window": window}
    data = {key: value for key, value in data.items() if value != "absent"}
    assert from_hugging_face(data, "config.json").window_of(0) == wanted


#: What the configuration classes of transformers 4.51 to 5.24 have for keys that a file leaves
#: out: (heads of keys of 32, head size of hidden 256, activation, epsilon, tied, theta).
LEFT_OUT = {
    "llama": (32, 8, "silu", 1e-6, False, 10000.0),
    "mistral": (8, 8, "silu", 1e-6, False, 10000.0),
    "qwen2": (32, 8, "silu", 1e-6, False, 10000.0),
    "qwen3": (32, 128, "silu", 1e-6, False, 10000.0),
    "gemma2": (4, 256, "gelu_pytorch_tanh", 1e-6, True, 10000.0),
    "gemma3_text": (4, 256, "gelu_pytorch_tanh", 1e-6, True, 1000000.0),
    "phi3": (32, 8, "silu", 1e-5, False, 10000.0),
}


def of_sizes_alone(model_type, **further):
    data = {"model_type": model_type, "num_hidden_layers": 12, "hidden_size": 256,
            "num_attention_heads": 32, "intermediate_size": 8, "vocab_size": 9,
            "max_position_embeddings": 64}  # fmt: skip
    return from_hugging_face(data | further, "config.json")


@pytest.mark.parametrize("model_type", LEFT_OUT)
def test_what_a_file_leaves_out_is_that_of_transformers(model_type):
    """`test_crosscheck_configurations` compares with the classes themselves."""
    config = of_sizes_alone(model_type)
    assert LEFT_OUT[model_type] == (
        config.cached_heads, config.head_size, config.activation, config.layer_norm_epsilon,
        config.tied, config.rope.theta,
    )  # fmt: skip
    gemma = model_type.startswith("gemma")
    assert config.score_scale == (1 / 16 if gemma else None)
    caps = (50.0, 30.0) if model_type == "gemma2" else (None, None)
    assert (config.score_cap, config.logit_cap) == caps
    assert (config.attention_bias, config.feed_forward_bias) == (False, False)
    windows = [config.window_of(layer) for layer in range(12)]
    assert windows == {
        "mistral": [4096] * 12, "gemma2": [4096, None] * 6,
        "gemma3_text": [*[4096] * 5, None] * 2,
    }.get(model_type, [None] * 12)  # fmt: skip
    local = 10000.0 if model_type == "gemma3_text" else config.rope.theta
    assert config.rope_of(0).theta == local


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "phi3"])
def test_no_heads_of_keys_are_as_many_as_of_queries(model_type):
    """Null is not the same as a key left out: Qwen's classes have 32 then."""
    config = of_sizes_alone(model_type, num_attention_heads=16, num_key_value_heads=None)
    assert config.cached_heads == 16


def test_a_factor_of_longrope_is_read_where_it_is_given():
    """It is in the amplitude, instead of how much longer the positions are."""
    table = {"type": "longrope", "factor": 4.0} | LONG
    data = config_json("phi3-longrope") | {"rope_scaling": table}
    amplitude = from_hugging_face(data, "config.json").rope.scaling.amplitude
    assert amplitude == pytest.approx(np.sqrt(1 + np.log(4) / np.log(12)), rel=1e-12)
    del table["factor"]
    amplitude = from_hugging_face(data, "config.json").rope.scaling.amplitude
    assert amplitude == pytest.approx(np.sqrt(1 + np.log(64 / 12) / np.log(12)), rel=1e-12)


@pytest.mark.parametrize(
    ("surplus", "shape", "message"),
    [
        ("junk.lm_head.weight", (101, 48), "1 weight has no place in the model that config.json"),
        ("model.lm_head.weight", (101, 48), "names: model.lm_head.weight; is the head"),
        ("junk.rotary_emb.inv_freq", (6,), "names: junk.rotary_emb.inv_freq; is the head"),
        ("lm_head.weight", (101, 24), "weight 'lm_head.weight' has the shape [101, 24]; as a copy "
         "of 'model.embed_tokens.weight' it must have [101, 48]"),
        ("lm_head.weight", (101, 48), "weight 'lm_head.weight' has other values than 'model.embed_"
         "tokens.weight', which config.json ties it to; set tie_word_embeddings to false there"),
        ("model.layers.2.self_attn.rotary_emb.inv_freq", (6,), ""),
        ("layers.2.self_attn.rotary_emb.inv_freq", (6,), ""),
    ],
)  # fmt: skip
def test_only_buffers_and_the_tied_table_may_be_left_over(surplus, shape, message, tmp_path):
    write_decoder(tmp_path, "llama")
    tensors = tensors_of("llama") | {surplus: np.ones(shape, np.float32)}
    write_safetensors(tmp_path / "model.safetensors", tensors)
    options = LoadOptions(sequence_length=4)
    if not message:
        assert load_generator(str(tmp_path), 2, options).tokens == 2
        return
    with pytest.raises(PimloopError) as caught:
        load_generator(str(tmp_path), 2, options)
    assert message in str(caught.value)


def test_a_copy_of_the_tied_table_has_its_values(tmp_path):
    """With other values transformers does not tie it; in another type the values are compared."""
    write_decoder(tmp_path, "llama")
    table = tensors_of("llama")["model.embed_tokens.weight"]
    for copy, right in ((table, True), (np.where(table == table[3, 4], 9, table), False)):
        tensors = tensors_of("llama") | {"lm_head.weight": copy.astype(np.float32)}
        write_safetensors(tmp_path / "model.safetensors", tensors)
        options = LoadOptions(sequence_length=4)
        if right:
            load_generator(str(tmp_path), 2, options)
            continue
        with pytest.raises(PimloopError, match=r"lm_head\.weight' has other values than"):
            load_model(str(tmp_path), options)
    data = config_json("llama") | {"architectures": ["LlamaModel"]}
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert load_model(str(tmp_path), options).outputs == ("last_hidden_state",)  # reads no table


NUMBERS = [
    ("llama", "rms_norm_eps", ()), ("llama", "rope_theta", ()), ("llama", "initializer_range", ()),
    ("llama", "factor", ("rope_scaling",)), ("llama", "low_freq_factor", ("rope_scaling",)),
    ("gemma2", "attn_logit_softcapping", ()), ("gemma2", "final_logit_softcapping", ()),
    ("gemma2", "query_pre_attn_scalar", ()), ("gemma3", "rope_local_base_freq", ()),
    ("gemma3-tables", "rope_theta", ("rope_parameters", "sliding_attention")),
    ("phi3", "partial_rotary_factor", ()), ("qwen2", "max_window_layers", ()),
    ("llama", "hidden_size", ()), ("llama", "pad_token_id", ()),
    ("llama", "original_max_position_embeddings", ("rope_scaling",)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "key", "tables"), NUMBERS)
@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "1e400", "1e308", "NaN"]
)
def test_a_number_that_no_float_holds_is_an_error_with_its_key(
    case, key, tables, number, tmp_path, capsys
):
    """As text: JSON's numbers have any length. `pimloop sim` says the same in one line."""
    data = config_json(case)
    table = data
    for name in tables:
        table[name] = dict(table[name])
        table = table[name]
    table[key] = "the number"
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data).replace('"the number"', number))
    with pytest.raises(PimloopError, match=rf"{key} must be ") as caught:
        load_generator(str(path), 4, LoadOptions(sequence_length=4))
    assert len(str(caught.value)) < len(str(path)) + 250
    assert main(["sim", str(path), "--seq", "4", "--generate", "4"]) != 0
    assert str(caught.value) in " ".join(capsys.readouterr().err.split())


def test_more_tokens_than_positions_are_an_error(tmp_path):
    write_decoder(tmp_path, "llama")
    with pytest.raises(PimloopError, match=r"a prompt of 60 and 5 generated tokens.* most 64"):
        load_generator(str(tmp_path), 5, LoadOptions(sequence_length=60))
    with pytest.raises(PimloopError, match=r"sequence length 65 is outside 1\.\.64"):
        load_model(str(tmp_path), LoadOptions(sequence_length=65))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 5)), r"attention_mask has the shape \[2, 5\]; it must be \[2, 4\], a row for"),
        (np.ones((2, 3)), r"attention_mask has the shape \[2, 3\]; it must be \[2, 4\]"),
        (np.ones((1, 4)), r"attention_mask has the shape \[1, 4\]; it must be \[2, 4\]"),
        (np.ones(4), r"attention_mask has the shape \[4\]; it must be \[2, 4\]"),
        (np.full((2, 4), 2), "attention_mask must be 1 for tokens and 0 for padding"),
        (np.full((2, 4), np.nan), "attention_mask must be 1 for tokens and 0 for padding"),
        (np.array([[1, 1, 1, 1], [1, 1, 1, 0]]), "has padding at the end of a prompt"),
    ],
)
@pytest.mark.parametrize("case", ["llama", "gpt2"])
def test_a_mask_that_is_not_that_of_the_prompts_is_an_error(case, mask, message, tmp_path):
    """Of `load_generator` and of `Cache`; a whole sequence may have padding at its end."""
    if case == "gpt2":
        write_checkpoint(tmp_path, case)
    else:
        write_decoder(tmp_path, case)
    options = LoadOptions(sequence_length=4, batch=2)
    given = replace(options, given={"attention_mask": mask})
    with pytest.raises(PimloopError, match=message):
        load_generator(str(tmp_path), 2, given)
    generator = load_generator(str(tmp_path), 2, options)
    with pytest.raises(PimloopError, match=message):
        Cache(generator, padding=mask)
    if "end" in message:
        load_model(str(tmp_path), given)
        return
    with pytest.raises(PimloopError, match=message):
        load_model(str(tmp_path), given)


@pytest.mark.parametrize("batch", [0, 17])
def test_a_batch_that_is_not_generated(batch):
    config = config_of("llama")
    with pytest.raises(PimloopError, match=f"batch {batch}: 1 to 16 sequences are generated"):
        build_generator(config, RandomWeights(config), 2, LoadOptions(batch=batch))
