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
from pimloop.host.models.inputs import random_inputs
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


#: Sizes of the architectures with a table of positions, by the fields of their configurations.
SMALL = {"layers": 2, "hidden": 32, "heads": 4, "intermediate": 48, "vocabulary": 101,
         "positions": 40, "token_types": 3}  # fmt: skip

#: Classes of each, by the name of our head.
CLASSES = {
    "bert": {"classification": "BertForSequenceClassification", "masked": "BertForMaskedLM"},
    "roberta": {"classification": "RobertaForSequenceClassification",
                "masked": "RobertaForMaskedLM"},
    "distilbert": {"classification": "DistilBertForSequenceClassification",
                   "masked": "DistilBertForMaskedLM"},
    "gpt2": {"classification": "GPT2ForSequenceClassification", "lm": "GPT2LMHeadModel"},
}  # fmt: skip

#: Keys with values that mean another model where they are read, else an error here.
TABLE_KEYS = {
    "hidden_act": ("relu", "gelu_new"), "activation": ("relu", "gelu_new"),
    "activation_function": ("relu", "gelu"), "layer_norm_eps": (0.1,),
    "layer_norm_epsilon": (0.1,), "pad_token_id": (None, 0, 3), "n_inner": (None, 40),
    "num_labels": (3,), "id2label": ({"0": "a", "1": "b", "2": "c"},),
    "tie_word_embeddings": (True, False), "is_decoder": (False, True),
    "add_cross_attention": (False,), "scale_attn_weights": (True, False),
    "scale_attn_by_inverse_layer_idx": (False, True), "reorder_and_upcast_attn": (False, True),
    "sinusoidal_pos_embds": (False, True), "chunk_size_feed_forward": (0, 7),
    "problem_type": ("regression",), "position_embedding_type": ("absolute", "relative_key"),
}  # fmt: skip

#: What has no model in transformers: positions behind a padding that there is none of.
NO_TABLE_MODEL = [("roberta", "pad_token_id", None)]


def table_logits(model_type, kind, data):
    """Return our logits and those of transformers with our parameters, or our error."""
    data = data | {"architectures": [kind]}
    try:
        config = from_hugging_face(data | {"model_type": model_type}, "config.json")
    except PimloopError as error:
        return str(error)
    weights = RandomWeights(config, 7)
    graph = build_graph(config, weights, LoadOptions(sequence_length=LENGTH))
    feeds = random_inputs(graph, 3)
    feeds["input_ids"] = np.maximum(feeds["input_ids"], 4)  # no padding
    logits = run_reference(graph, feeds)["logits"]
    known = transformers.AutoConfig.for_model(model_type, **data)
    known._attn_implementation = "eager"
    model = getattr(transformers, kind)(known).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.from_numpy(weights.get(name, tuple(value.shape))))
        wanted = model(**{name: torch.from_numpy(value) for name, value in feeds.items()})
    return logits, wanted.logits.numpy()


def equal(logits, wanted):
    return (
        logits.shape == wanted.shape
        and np.abs(logits - wanted).max() < LIMIT * np.abs(wanted).max()
    )


def table_sizes(model_type):
    return {key: SMALL[field] for field, key in architectures()[model_type].sizes.items()} | {
        "initializer_range": 0.3
    }


TABLED = [(name, head) for name, heads in CLASSES.items() for head in heads]


@pytest.mark.parametrize(("model_type", "head"), TABLED)
def test_sizes_alone_are_the_model_of_transformers_with_tables_of_positions(model_type, head):
    """Activation, epsilon, padding, labels and ties are what the configuration classes have."""
    logits, wanted = table_logits(model_type, CLASSES[model_type][head], table_sizes(model_type))
    assert equal(logits, wanted)


@pytest.mark.parametrize(("model_type", "head"), TABLED)
def test_a_key_of_a_table_of_positions_gives_the_model_of_transformers_or_an_error(
    model_type, head
):
    for key, values in TABLE_KEYS.items():
        for value in values:
            data = table_sizes(model_type) | {key: value}
            if (model_type, key, value) in NO_TABLE_MODEL:
                continue
            both = table_logits(model_type, CLASSES[model_type][head], data)
            if isinstance(both, str):
                assert key in both
            else:
                assert equal(*both), (key, value)


def test_what_the_configuration_classes_have_where_no_logits_show_it():
    """An epsilon of 1e-12 is below the rounding of the sums beside it."""
    for model_type in CLASSES:
        data = table_sizes(model_type)
        kind = transformers.AutoConfig.for_model(model_type, **data)
        config = from_hugging_face(data | {"model_type": model_type}, "config.json")
        architecture = architectures()[model_type]
        epsilon = getattr(kind, architecture.epsilon_key, 1e-12)  # DistilBERT's is no key
        assert config.layer_norm_epsilon == epsilon
        assert config.activation == getattr(kind, architecture.activation_key)
        assert config.labels == kind.num_labels
        if architecture.positions_behind_padding:
            assert config.pad_token == kind.pad_token_id
        del data["initializer_range"]
        config = from_hugging_face(data | {"model_type": model_type}, "config.json")
        assert config.initializer_range == kind.__class__().initializer_range
