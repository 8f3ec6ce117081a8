"""What a config.json means, against transformers' own classes (optional extra `crosscheck`).

A configuration alone decides a model: a key that it leaves out, sets to null or that only some
architectures read must give transformers' model or an error, never another model. Both sides get
the same seeded weights, so equal logits say that they are the same model.
"""

from __future__ import annotations

import numpy as np
import pytest

from pimloop.errors import PimloopError
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.architectures.base import CachedDecoder
from pimloop.host.models.architectures.registry import architectures, from_hugging_face
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights

NEEDED = "needs torch and transformers: pip install 'pimloop[crosscheck]'"
torch = pytest.importorskip("torch", reason=NEEDED)
transformers = pytest.importorskip("transformers", reason=NEEDED)
errors = pytest.importorskip("huggingface_hub.errors", reason=NEEDED)

LIMIT = 1e-5
LENGTH = 14

#: What no file may leave out; as many heads as Qwen has heads of keys without the key.
SIZES = {
    "num_hidden_layers": 3, "hidden_size": 128, "num_attention_heads": 32, "intermediate_size": 16,
    "vocab_size": 101, "max_position_embeddings": 64,
    "pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.15,
}  # fmt: skip

DECODERS = [
    name
    for name, architecture in architectures().items()
    if isinstance(architecture, CachedDecoder) and name != "gpt2"
]

#: Keys with a value of every kind that means another model where it is read.
KEYS = {
    "num_key_value_heads": (None, 2), "head_dim": (None, 8), "hidden_act": (None, "gelu"),
    "hidden_activation": (None, "gelu"), "rms_norm_eps": (None, 0.1),
    "rope_theta": (50.0,), "tie_word_embeddings": (None, True, False),
    "attention_bias": (None, True), "mlp_bias": (None, True), "sliding_window": (None, 3),
    "use_sliding_window": (None, True), "max_window_layers": (None, 1),
    "layer_types": (
        None, ["full_attention"] * 3, ["full_attention", "sliding_attention", "full_attention"],
    ),
    "query_pre_attn_scalar": (None, 3), "final_logit_softcapping": (None, 0.5),
    "attn_logit_softcapping": (None, 0.5), "use_bidirectional_attention": (None, True),
    "is_causal": (True, False), "rope_local_base_freq": (60.0,), "sliding_window_pattern": (2,),
    "partial_rotary_factor": (1.0, 0.5), "original_max_position_embeddings": (12,),
    "rope_scaling": (
        None, {"type": "linear", "factor": 3.0}, {"rope_type": "linear", "factor": 3.0},
        {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 12,
         "short_factor": [1.0, 1.5], "long_factor": [3.0, 9.0]},
        {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [3.0, 9.0]},
    ),
    "rope_parameters": (
        {"rope_type": "default", "rope_theta": 50.0},
        {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
        {"rope_type": "llama3", "rope_theta": 50.0, "factor": 8.0, "low_freq_factor": 1.0,
         "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    ),
}  # fmt: skip

#: Windows are shorter than the tokens, so that they are seen.
WINDOW = {"sliding_window": 5}

#: What a file has beside a key.
BESIDE = [
    *((key, {}) for key in KEYS if not key.startswith("rope")),
    *((key, {"head_dim": 4}) for key in KEYS if key.startswith("rope")),
    *((key, WINDOW) for key in ("layer_types", "sliding_window_pattern", "use_sliding_window")),
    *((key, WINDOW | {"use_sliding_window": True}) for key in ("layer_types", "max_window_layers")),
]

#: What has no model in transformers, and one here that nothing else could be meant by: null for
#: keys that are not read or follow from others, and a scaling that Phi-3's class does not let by.
NO_MODEL = {
    ("qwen2", "head_dim"), ("phi3", "head_dim"), ("qwen2", "max_window_layers"),
    ("qwen3", "max_window_layers"), ("phi3", "rope_scaling"),
}  # fmt: skip


def ours(model_type, data):
    """Return our logits and what was drawn for them, or why there is no such model."""
    try:
        config = from_hugging_face(data | {"model_type": model_type}, "config.json")
    except PimloopError as error:
        return None, str(error)
    ids = np.random.default_rng(3).integers(0, 101, (1, LENGTH))
    graph = build_graph(config, RandomWeights(config, 7), LoadOptions(sequence_length=LENGTH))
    return run_reference(graph, {"input_ids": ids})["logits"], config


def theirs(model_type, data, config):
    """Return the logits of transformers' class with our parameters."""
    kind = transformers.AutoConfig.for_model(model_type, **data)
    model = transformers.AutoModelForCausalLM.from_config(
        kind, attn_implementation="eager", dtype=torch.float32
    ).eval()
    weights = RandomWeights(config, 7)
    ids = np.random.default_rng(3).integers(0, 101, (1, LENGTH))
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.from_numpy(weights.get(name, tuple(value.shape))))
        return model(input_ids=torch.from_numpy(ids)).logits.numpy()


def check(model_type, data, key=None):
    """Return our error; where there is none, the model must be that of transformers."""
    data = data | {"architectures": [f"{architectures()[model_type].class_prefix}ForCausalLM"]}
    logits, config = ours(model_type, data)
    if logits is None:
        return config
    try:
        wanted = theirs(model_type, data, config)
    except (TypeError, ValueError, errors.StrictDataclassError):
        assert (model_type, key) in NO_MODEL
        return None
    assert logits.shape == wanted.shape
    assert float(np.abs(logits - wanted).max() / np.abs(wanted).max()) < LIMIT
    return None


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_configuration_of_sizes_alone_is_the_model_of_transformers(model_type):
    assert check(model_type, SIZES) is None


@pytest.mark.parametrize("model_type", DECODERS)
@pytest.mark.parametrize(("key", "beside"), BESIDE)
def test_a_key_gives_the_model_of_transformers_or_an_error(model_type, key, beside):
    for value in KEYS[key]:
        message = check(model_type, SIZES | beside | {key: value}, key)
        named = (key, "sliding_window")
        if key.startswith("rope"):
            named = ("factor is", "partial_rotary_factor", "original_max_position_embeddings")
        assert message is None or any(name in message for name in named), message


def test_windows_that_a_file_leaves_out():
    """4096 tokens are too many for the logits of these tests: by the configuration classes."""
    for model_type, layers in (("mistral", 7), ("gemma2", 4), ("gemma3_text", 6)):
        data = SIZES | {"num_hidden_layers": 7}
        kind = transformers.AutoConfig.for_model(model_type, **data)
        config = from_hugging_face(data | {"model_type": model_type}, "config.json")
        windows = [config.window_of(layer) for layer in range(7)]
        assert sum(window is not None for window in windows) == layers
        assert {window for window in windows if window} == {kind.sliding_window}
        if hasattr(kind, "layer_types"):
            sliding = [name == "sliding_attention" for name in kind.layer_types]
            assert [window is not None for window in windows] == sliding
    for model_type in ("llama", "qwen2", "qwen3", "phi3"):
        kind = transformers.AutoConfig.for_model(model_type, **SIZES)
        assert getattr(kind, "sliding_window", None) is None


def test_the_class_of_another_model_is_no_class_of_ours():
    """Every causal class that transformers has for a type that we know is known, and no other."""
    names = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    for model_type in DECODERS:
        architecture = architectures()[model_type]
        assert names[model_type] in architecture.class_heads
        assert architecture.class_heads[names[model_type]] == "lm"
    for model_type, name in names.items():
        if model_type not in architectures():
            with pytest.raises(PimloopError, match=r"is not supported; known: bert.*ONNX"):
                from_hugging_face(SIZES | {"model_type": model_type}, "config.json")
        for kind in (isinstance(name, str) and [name]) or name:
            for known in DECODERS:
                if known != model_type and kind != names[known]:
                    assert kind not in architectures()[known].class_heads
