"""Architectures: what the registry finds, what each says of itself, and what nobody knows."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from support.tiny_checkpoints import (
    hugging_face_config,
    parameters,
    write_checkpoint,
    write_safetensors,
)
from support.tiny_models import TINY

from pimloop.errors import PimloopError
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.architectures.base import CachedDecoder
from pimloop.host.models.architectures.registry import (
    architecture_of,
    architectures,
    from_hugging_face,
)
from pimloop.host.models.builder import GraphBuilder
from pimloop.host.models.built_in import BUILT_IN, MODELS
from pimloop.host.models.decoder import DecoderNames
from pimloop.host.models.generator import LOGITS, Cache, build_generator, load_generator
from pimloop.host.models.heads import tied_lm
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph, load_model
from pimloop.host.models.weights import RandomWeights
from pimloop.host.store.closure import ROOT

ROOM = ROOT / "host/models/architectures"
NAMES = list(architectures())
HEADS = [(name, head) for name in NAMES for head in architectures()[name].heads]


#: Sizes of a tiny model, by fields of a configuration.
SIZES = {
    "layers": 2, "hidden": 64, "heads": 4, "intermediate": 96, "vocabulary": 101, "positions": 40,
    "token_types": 2,
}  # fmt: skip


def config_json(name, head):
    """Return a config.json of a tiny model, from what its architecture says."""
    architecture = architectures()[name]
    kind = next(end for end, known in architecture.head_classes.items() if known == head)
    sizes = {key: SIZES[field] for field, key in architecture.sizes.items()}
    sizes |= {"num_key_value_heads": 2, "head_dim": 16}  # of decoders; others do not read them
    return {"model_type": name, "architectures": [f"{architecture.class_prefix}{kind}"]} | sizes


def with_head(name, head):
    """Return a tiny configuration with a head; without one, with a pooler where it may have."""
    config = from_hugging_face(config_json(name, head), "config.json")
    pooler = head == "none" and architectures()[name].pooler is not None
    return replace(config, pooler=pooler)


def test_every_file_of_the_room_is_an_architecture_of_its_name():
    files = {path.stem for path in ROOM.glob("*.py")} - {"__init__", "base", "registry"}
    assert files == {name.replace("-", "_") for name in NAMES}


def test_encoders_come_first_and_older_ones_before_later_ones():
    known = list(architectures().values())
    order = [(isinstance(a, CachedDecoder), a.published) for a in known]
    assert order == sorted(order)
    first = ["bert", "roberta", "distilbert", "gpt2"]
    assert [name for name in NAMES if name in first] == first
    models = ["bert", "bert-small", "roberta", "gpt2"]
    assert [name for name in BUILT_IN if name in models] == models


def test_no_other_code_compares_an_architecture():
    """The host and the public interface ask the architecture; none of them knows one by name."""
    quoted = "|".join(NAMES)
    compared = re.compile(
        rf"architecture\s*(==|!=|in\b|not in\b)\s*[\[({{\"']|(==|!=)\s*[\"']({quoted})[\"']"
    )
    files = [*(ROOT / "host").rglob("*.py"), *(ROOT / "pimloop").glob("*.py")]
    board = ROOT / "host/board"  # the paper's three graphs, which are data of its board
    assert compared.search('if config.architecture == "gpt2":')
    for path in files:
        if board not in path.parents and ROOM not in path.parents:
            assert not compared.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("name", NAMES)
def test_what_an_architecture_says_fits_together(name):
    architecture = architectures()[name]
    fields = set(architecture.config_type.__dataclass_fields__)
    assert set(architecture.sizes) <= fields
    assert re.fullmatch(r"\d{4}-\d{2}", architecture.published)
    assert architecture.activation in architecture.activations
    assert set(architecture.head_classes.values()) >= set(architecture.heads)
    for model in architecture.built_in:
        assert model.config.architecture == name
        assert model.config.activation == architecture.activation
        architecture.check(model.config, "built in")
        assert architecture_of(MODELS[model.config.name].config) is architecture


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_parameters_of_normalizations_are_drawn_about_one_and_nothing_else_is(
    name, head, monkeypatch
):
    """`norms` names the owners of all normalization parameters of every head."""
    normalized, centred = set(), set()
    layer_norm, rms_norm = GraphBuilder.layer_norm, GraphBuilder.rms_norm

    def recorded(build, x, owner):
        normalized.add(f"{owner}.weight")
        return layer_norm(build, x, owner)

    def recorded_root(build, x, owner, width, plus_one=False):
        (centred if plus_one else normalized).add(f"{owner}.weight")
        return rms_norm(build, x, owner, width, plus_one)

    monkeypatch.setattr(GraphBuilder, "layer_norm", recorded)
    monkeypatch.setattr(GraphBuilder, "rms_norm", recorded_root)
    tensors = parameters(with_head(name, head))
    about_one = {n for n, array in tensors.items() if abs(float(array.mean()) - 1) < 0.2}
    assert about_one == normalized
    for weight in centred:  # a factor of weight + 1 is about one where the weight is about zero
        assert 0.05 < tensors[weight].std() < 0.2
        assert abs(float(tensors[weight].mean())) < 0.1
    assert len(normalized | centred) > 2 * SIZES["layers"]
    assert not (normalized and centred)


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_a_checkpoint_of_the_bare_model_has_the_names_without_the_prefix(name, head, tmp_path):
    """Reading every parameter under its shorter name gives the graph of its full name."""
    config = with_head(name, head)
    tensors = parameters(config)
    prefix = architectures()[name].base_prefix
    shorter = {n.removeprefix(prefix): array for n, array in tensors.items()}
    assert set(shorter) != set(tensors)
    (tmp_path / "config.json").write_text(json.dumps(config_json(name, head)))
    write_safetensors(tmp_path / "model.safetensors", shorter)
    options = LoadOptions(sequence_length=3)
    graph = load_model(str(tmp_path), options)
    wanted = build_graph(config, RandomWeights(config, 0), options)
    assert (graph.inputs, graph.outputs) == (wanted.inputs, wanted.outputs)
    assert list(graph.constants) == list(wanted.constants)
    for constant, value in wanted.constants.items():
        assert np.array_equal(graph.constants[constant], value), constant


def test_what_one_architecture_may_leave_unread_another_may_not(tmp_path):
    """GPT-2's buffers and copies of tied tables have no place in BERT's checkpoints."""
    write_checkpoint(tmp_path, "bert")
    tensors = parameters(TINY["bert"])
    copy = {"bert.embeddings.position_ids": np.zeros((1, 40), np.float32)}
    write_safetensors(tmp_path / "model.safetensors", tensors | copy)
    load_model(str(tmp_path))
    surplus = {"lm_head.weight": np.zeros((101, 64), np.float32)}
    write_safetensors(tmp_path / "model.safetensors", tensors | surplus)
    with pytest.raises(PimloopError, match=r"1 weight has no place.*lm_head\.weight"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("model_type", ["t5", None, ["bert"], {}, 3, ""])
def test_an_unknown_model_type_names_those_known_and_the_onnx_way_in(model_type):
    wanted = (
        f"config.json: model_type {model_type!r} is not supported;"
        f" known: {', '.join(NAMES)}; other models can be exported to ONNX and given as an .onnx"
        " file"
    )
    with pytest.raises(PimloopError) as error:
        from_hugging_face({"model_type": model_type}, "config.json")
    assert str(error.value) == wanted


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_generator_reads_all_weights_of_a_folder(tokens, tmp_path):
    config = write_checkpoint(tmp_path, "gpt2")
    options = LoadOptions(sequence_length=4)
    graph = load_generator(str(tmp_path), tokens, options).prefill
    wanted = build_generator(config, RandomWeights(config), tokens, options).prefill
    for name, value in wanted.constants.items():
        assert np.array_equal(graph.constants[name], value), name
    tensors = parameters(config)
    copy = {"lm_head.weight": tensors["transformer.wte.weight"]}
    write_safetensors(tmp_path / "model.safetensors", tensors | copy)
    load_generator(str(tmp_path), tokens, options)
    copy["lm_head.weight"] = copy["lm_head.weight"] + 1
    write_safetensors(tmp_path / "model.safetensors", tensors | copy)
    with pytest.raises(PimloopError, match=r"'lm_head\.weight' has other values than 'transf"):
        load_generator(str(tmp_path), tokens, options)
    surplus = {"transformer.h.2.ln_1.weight": np.ones(64, np.float32)}
    write_safetensors(tmp_path / "model.safetensors", tensors | surplus)
    with pytest.raises(PimloopError, match=r"1 weight has no place.*h\.2\.ln_1\.weight"):
        load_generator(str(tmp_path), tokens, options)


@pytest.mark.parametrize(("pad", "first"), [(None, 1), (0, 1), (1, 2), (5, 6)])
def test_a_configuration_made_by_hand_has_the_positions_of_its_architecture(pad, first):
    config = replace(TINY["bert"], architecture="roberta", pad_token=pad)
    assert (config.position_offset, config.max_sequence) == (first, 40 - first)
    weights, name = RandomWeights(config), "roberta.embeddings.position_embeddings.weight"
    graph = build_graph(config, weights, LoadOptions(sequence_length=3))
    wanted = weights.get(name, (40, 64))[None, first : first + 3]
    assert np.array_equal(graph.constants[f"{name}.rows"], wanted)
    assert replace(config, architecture="bert").position_offset == 0


def test_a_configuration_of_no_architecture_is_an_error():
    config = replace(TINY["bert"], architecture="t5")
    with pytest.raises(PimloopError, match="model tiny-bert: architecture 't5' is not supported"):
        RandomWeights(config)
    with pytest.raises(PimloopError, match=f"known: {', '.join(NAMES)};"):
        build_graph(config, RandomWeights(TINY["bert"]), LoadOptions())


@pytest.mark.parametrize(("name", "head"), [("bert", "lm"), ("gpt2", "masked"), ("bert", "x")])
def test_a_head_that_an_architecture_lacks_is_an_error(name, head):
    config = replace(TINY[name], head=head)
    known = ", ".join(architectures()[name].heads)
    with pytest.raises(PimloopError, match=f"{name} has no head '{head}'; known: {known}"):
        build_graph(config, RandomWeights(config), LoadOptions())


@pytest.mark.parametrize(
    "kind", ["BertLMHeadModel", "BertForNothing", "RobertaModel", "TFBertModel", "Model"]
)
def test_the_heads_in_the_message_are_those_of_the_architecture(kind):
    data = hugging_face_config(TINY["bert"]) | {"architectures": [kind]}
    wanted = (
        f"config.json: architectures names '{kind}', which is no class that is supported of"
        " model_type 'bert'; known: BertForSequenceClassification, BertForTokenClassification,"
        " BertForQuestionAnswering, BertForMaskedLM, BertModel; other models can be exported to"
        " ONNX and given as an .onnx file"
    )
    with pytest.raises(PimloopError) as error:
        from_hugging_face(data, "config.json")
    assert str(error.value) == wanted


@pytest.mark.parametrize(
    "value",
    ["x", None, [], True, -1e-5, float("nan"), float("inf"), 10**400, -(10**400), 1e300, 1e-300],
)
@pytest.mark.parametrize(
    ("name", "key"),
    [("bert", "layer_norm_eps"), ("gpt2", "layer_norm_epsilon"), ("roberta", "initializer_range")],
)
def test_a_number_that_is_none_is_an_error(name, key, value):
    data = hugging_face_config(TINY[name]) | {key: value}
    with pytest.raises(PimloopError, match=f"config.json: {key} must be a number of 0 or more"):
        from_hugging_face(data, "config.json")


@pytest.mark.parametrize(("name", "of_the_head"), [("bert", 0), ("roberta", 1), ("distilbert", 0)])
def test_the_activation_of_a_masked_language_models_head(name, of_the_head):
    """RoBERTa's is gelu whatever the layers have, as in transformers; the others' is theirs."""
    data = config_json(name, "masked") | {architectures()[name].activation_key: "relu"}
    config = from_hugging_face(data, "config.json")
    graph = build_graph(config, RandomWeights(config), LoadOptions(sequence_length=4))
    operators = [node.op for node in graph.nodes]
    assert operators.count("Erf") == of_the_head
    assert operators.count("Relu") == config.layers + 1 - of_the_head


def test_an_epsilon_that_transformers_does_not_read_of_distilbert_is_an_error():
    data = config_json("distilbert", "none")
    assert from_hugging_face(data | {"layer_norm_eps": 1e-12}, "config.json")
    message = "config.json: layer_norm_eps = 0.1 is not supported"
    with pytest.raises(PimloopError, match=message):
        from_hugging_face(data | {"layer_norm_eps": 0.1}, "config.json")


@pytest.mark.parametrize("value", ["3", True, 0, -3, 2.0, 10**400])
def test_a_number_of_labels_that_is_none_is_an_error(value):
    data = config_json("bert", "classification") | {"num_labels": value}
    with pytest.raises(PimloopError, match=r"config.json: num_labels must be a whole number from"):
        from_hugging_face(data, "config.json")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [["gelu"], {"gelu": 1}, None, 3, "swish-of-nobody"])
def test_an_activation_that_is_none_is_an_error(name, value):
    data = config_json(name, "none") | {architectures()[name].activation_key: value}
    with pytest.raises(PimloopError, match=r"config.json: .*: activation .* is not supported; kno"):
        from_hugging_face(data, "config.json")


@pytest.mark.parametrize("name", NAMES)
def test_a_quantized_checkpoint_is_an_error_that_says_what_to_give(name):
    data = config_json(name, "none") | {"quantization_config": {"bits": 4}}
    wanted = (
        "config.json: quantization_config = {'bits': 4} is not supported; give the unquantized"
        " checkpoint"
    )
    with pytest.raises(PimloopError) as error:
        from_hugging_face(data, "config.json")
    assert str(error.value) == wanted


def test_an_option_that_must_be_there_is_an_error_where_it_is_not():
    bert = architectures()["bert"]
    strict = replace(bert, fixed_options={"use_cache": (True,)})
    data = config_json("bert", "none")
    with pytest.raises(PimloopError, match=r"config.json: use_cache = None is not supported"):
        strict.read(data, "config.json")
    assert strict.read(data | {"use_cache": True}, "c") == bert.read(data, "c")


# -- one more architecture -----------------------------------------------------------------------

RENAMED = {
    "transformer.wte": "model.tokens", "transformer.wpe": "model.places",
    "transformer.ln_f": "model.last_norm", "transformer.h": "model.layers", ".ln_1": ".norm_a",
    ".attn.c_attn": ".qkv", ".attn.c_proj": ".out", ".ln_2": ".norm_b", ".mlp.c_fc": ".up",
    ".mlp.c_proj": ".down",
}  # fmt: skip


def renamed(name):
    """Return a parameter of GPT-2 as the decoder below calls it."""
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


@pytest.fixture
def other_decoder(monkeypatch):
    """A decoder with GPT-2's arithmetic, names of its own and BERT's keys, in the registry."""
    decoder = replace(
        architectures()["gpt2"],
        model_type="other",
        sizes={**architectures()["bert"].sizes},
        base_prefix="model.",
        names=DecoderNames(
            tokens="model.tokens", positions="model.places", layers="model.layers",
            attention_norm="norm_a", attention="qkv", attention_output="out",
            feed_forward_norm="norm_b", intermediate="up", output="down",
            last_norm="model.last_norm",
        ),
        norms=("norm_a", "norm_b", "last_norm"),
        heads={"lm": tied_lm("model.tokens.weight")},
        head_classes={"ForCausalLM": "lm"},
        built_in=(),
    )  # fmt: skip
    monkeypatch.setitem(architectures(), "other", decoder)
    return decoder


def test_a_decoder_under_other_names_generates_as_gpt2_does(other_decoder, tmp_path):
    """No reader, builder or generator knows which architectures generate."""
    tensors = parameters(TINY["gpt2"], seed=3)
    write_safetensors(tmp_path / "model.safetensors", {renamed(n): a for n, a in tensors.items()})
    (tmp_path / "config.json").write_text(
        json.dumps(config_json("other", "lm") | {"layer_norm_epsilon": 1e-5, "n_inner": 96})
    )
    options = LoadOptions(sequence_length=4)
    ours = load_generator(str(tmp_path), 3, options)
    theirs = build_generator(TINY["gpt2"], RandomWeights(TINY["gpt2"], 3), 3, options)
    assert ours.config.architecture == "other"
    cache, other = Cache(ours), Cache(theirs)
    feeds = random_inputs(theirs.prefill)
    for step in range(3):
        our_graph, their_graph = (
            (ours.prefill, theirs.prefill) if step == 0 else (ours.step, theirs.step)
        )
        results, wanted = (
            run_reference(graph, feeds, outputs=graph.results) for graph in (our_graph, their_graph)
        )
        assert results.keys() == wanted.keys()
        for output, value in wanted.items():
            assert np.array_equal(results[output], value), output
        cache.add(results)
        other.add(wanted)
        feeds = cache.feeds([int(results[LOGITS].argmax())])
    weights = RandomWeights(ours.config)
    spread = [
        weights.get(f"model.layers.0.{part}.weight", (64, 64)).std() for part in ("up", "out")
    ]
    assert spread[0] / spread[1] == pytest.approx(2, rel=0.1)  # sqrt(2 layers), 2 layers


def test_messages_name_every_architecture_that_generates(other_decoder, tmp_path):
    known = [name for name, a in architectures().items() if isinstance(a, CachedDecoder)]
    assert {"gpt2", "llama", "other"} <= set(known)
    with pytest.raises(PimloopError, match=rf"of an architecture of {', '.join(known)}$"):
        load_generator("nothing", 3)
    config = TINY["bert"]
    with pytest.raises(PimloopError, match=f"{' or '.join(known)} with a language-model head can"):
        build_generator(config, RandomWeights(config), 3, LoadOptions())
