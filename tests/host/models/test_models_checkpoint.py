"""Hugging Face folders: the same graph as from the parameters; damaged and hostile ones named."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import ml_dtypes
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
from pimloop.host.models.architectures.registry import from_hugging_face
from pimloop.host.models.checkpoint import CheckpointWeights, read_config
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph, load_model
from pimloop.host.models.safetensors import SafetensorsFile
from pimloop.host.models.weights import RandomWeights

OPTIONS = LoadOptions(sequence_length=5)


@pytest.mark.parametrize("name", sorted(TINY))
def test_folder_gives_the_graph_of_its_parameters(name, tmp_path):
    config = write_checkpoint(tmp_path / "model", name, seed=7)
    graph = load_model(str(tmp_path / "model"), OPTIONS)
    wanted = build_graph(config, RandomWeights(config, 7), OPTIONS)
    assert graph.name == "model"
    assert [n.op for n in graph.nodes] == [n.op for n in wanted.nodes]
    feeds = random_inputs(wanted)
    logits = run_reference(graph, feeds)["logits"]
    assert np.array_equal(logits, run_reference(wanted, feeds)["logits"])


def test_config_round_trip():
    for config in TINY.values():
        data = json.loads(json.dumps(hugging_face_config(config)))
        assert replace(from_hugging_face(data, "here"), name=config.name) == config


def test_shards(tmp_path):
    config = write_checkpoint(tmp_path, "bert")
    whole = parameters(config)
    (tmp_path / "model.safetensors").unlink()
    places = {}
    for index in range(2):
        part = dict(list(whole.items())[index::2])
        write_safetensors(tmp_path / f"part-{index}.safetensors", part)
        places |= dict.fromkeys(part, f"part-{index}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    weights = CheckpointWeights(tmp_path)
    assert all(np.array_equal(weights.get(n, a.shape), a) for n, a in whole.items())
    for place, message in [
        ("../part-0.safetensors", "inside the model's folder"),
        ("pytorch_model.bin", "inside the model's folder"),
        ("part-1.safetensors", "lacks the weight"),
        ("part-2.safetensors", r"index\.json names the shard 'part-2.safetensors' for 1 weight"),
    ]:
        changed = places | {next(iter(whole)): place}
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(PimloopError, match=message):
            CheckpointWeights(tmp_path)
    for left, message in [
        (1, r"does not list 1 weight of its shards: bert\.embeddings\.word_embeddings\.weight;"),
        (8, r"does not list 8 weights of its shards: (bert[\w.]+, ){4}bert[\w.]+ and 3 more; is"),
    ]:
        index.write_text(json.dumps({"weight_map": dict(list(places.items())[left:])}))
        with pytest.raises(PimloopError, match=message):
            CheckpointWeights(tmp_path)
    whole_file = dict(list(whole.items())[:3])  # one of them is listed in the other shard
    write_safetensors(tmp_path / "part-0.safetensors", dict(list(whole.items())[::2]) | whole_file)
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(PimloopError, match="does not list 1 weight of its shards"):
        CheckpointWeights(tmp_path)
    index.write_text(json.dumps({"weight_map": ["a"]}))
    with pytest.raises(PimloopError, match="weight_map"):
        CheckpointWeights(tmp_path)


def test_weights_are_mapped_and_only_what_is_read_is_in_memory(tmp_path):
    """Of a file of 512 MiB, most of which is never read: the peak of a process of its own."""
    entries, end = {}, 0
    for name, size in (("first", 256 << 20), ("small", 1 << 10), ("last", (256 << 20) - 1024)):
        entries[name] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)  # a hole, which is zeros
        file.seek(8 + len(text) + (256 << 20))
        file.write(np.ones(512, ml_dtypes.bfloat16).tobytes())
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    opened, read = (int(word) for word in done.stdout.split())
    assert opened < 4 << 10  # KiB
    assert read < 4 << 10


MAPPED = """
import sys
from pathlib import Path
from pimloop.host.models.safetensors import SafetensorsFile
def peak():
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
before = peak()
file = SafetensorsFile(Path(sys.argv[1]))
opened = peak()
values = file.get("small")
assert values.shape == (512,) and (values == 1).all()
print(opened - before, peak() - before)
"""


def test_base_model_names_half_precision_and_old_names(tmp_path):
    config = write_checkpoint(tmp_path, "bert")
    whole = parameters(config)
    renamed = {
        n.removeprefix("bert.").replace("LayerNorm.weight", "LayerNorm.gamma"): a
        for n, a in whole.items()
    }
    write_safetensors(tmp_path / "model.safetensors", renamed, "F16")
    weights = CheckpointWeights(tmp_path)
    for name, array in whole.items():
        assert np.array_equal(weights.get(name, array.shape), array.astype(np.float16))


def test_base_model_without_a_head_returns_hidden_states(tmp_path):
    config = write_checkpoint(tmp_path, "roberta")
    data = hugging_face_config(config) | {"architectures": ["RobertaModel"]}
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(PimloopError, match=r"4 weights have no place.*classifier\.dense\.bias"):
        load_model(str(tmp_path), OPTIONS)
    tensors = parameters(replace(config, head="none"))
    write_safetensors(tmp_path / "model.safetensors", tensors)
    graph = load_model(str(tmp_path), OPTIONS)
    assert graph.outputs == ("last_hidden_state",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "t5"}, "model_type 't5' is not supported; known: bert"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a whole number"),
        ({"hidden_size": "64"}, "hidden_size must be a whole number"),
        ({"vocab_size": 1 << 40}, "vocab_size must be a whole number"),
        ({"num_attention_heads": 5}, "64 is no multiple of 5 heads"),
        ({"hidden_act": "swish"}, "activation 'swish' is not supported"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"hidden_size": 128}, r"has the shape \[101, 64\], config.json asks for \[101, 128\]"),
        ({"num_hidden_layers": 3}, r"weight 'bert.encoder.layer.2.*is missing"),
    ],
)
def test_wrong_configurations_are_named(change, message, tmp_path):
    config = write_checkpoint(tmp_path, "bert")
    (tmp_path / "config.json").write_text(json.dumps(hugging_face_config(config) | change))
    with pytest.raises(PimloopError, match=message):
        load_model(str(tmp_path), OPTIONS)


def test_unreadable_configurations(tmp_path):
    with pytest.raises(PimloopError, match=r"cannot read .*config\.json"):
        read_config(tmp_path)
    for text, message in [("{", "not JSON"), ("[1]", "expected a table"), ("[" * 9999, "not JSON")]:
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(PimloopError, match=message):
            read_config(tmp_path)


def test_pickled_weights_are_never_loaded(tmp_path):
    write_checkpoint(tmp_path, "bert")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(PimloopError, match="never loaded"):
        load_model(str(tmp_path), OPTIONS)


def header(**entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def place(start, end):
    """Return the header entry of a tensor of floats at some bytes."""
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read the weights"),
        (b"\x01\x02", "truncated: 2 bytes"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "header should be"),
        ((50).to_bytes(8, "little") + b"{}", "header should be 50"),
        ((2).to_bytes(8, "little") + b"{]", "not JSON"),
        ((2).to_bytes(8, "little") + b"[]", "no table"),
        (header(w=[1]), "malformed"),
        (header(w={"dtype": "F32", "shape": [2], "data_offsets": [0]}), "malformed"),
        (header(w={"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}), "whole numbers"),
        (header(w={"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}), "whole numbers"),
        (header(w={"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}), "unknown type 'X9'"),
        (header(w={"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}), "its offsets span 4"),
        (header(w={"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}), "span 4"),
        (header(w={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}), "is truncated"),
        (header(w={"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}), "span -8"),
        (header(w={"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}), "whole numbers"),
        (header(w={"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}), "dtype is no text"),
        (
            header(w={"dtype": "F32", "shape": [10**4000] * 2, "data_offsets": [0, 8]}),
            "whole numbers from 0",
        ),
        (
            header(a=place(0, 8), b=place(4, 12)) + bytes(12),
            r"weight 'b' overlaps weight 'a': it starts at byte \d+, weight 'a' ends at",
        ),
        (header(a=place(0, 8), b=place(0, 8)) + bytes(8), "weight 'b' overlaps weight 'a'"),
        (header(a=place(12, 20), b=place(0, 8)) + bytes(20), "'a' leaves a hole behind weight 'b'"),
        (header(a=place(4, 12)) + bytes(12), "weight 'a' leaves a hole behind the header"),
        (header(a=place(0, 8)) + bytes(9), "1 byte behind weight 'a' belong to no weight"),
        (header() + bytes(4), "4 bytes behind the header belong to no weight"),
    ],
)
def test_damaged_safetensors(content, message, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(PimloopError, match=message):
        SafetensorsFile(tmp_path / "x.safetensors")


def test_integer_weights_can_be_there_but_not_read(tmp_path):
    content = header(w={"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}) + bytes(8)
    (tmp_path / "x.safetensors").write_bytes(content)
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert "w" in file
    with pytest.raises(PimloopError, match="has type I64"):
        file.get("w")


def test_shapes_are_for_onnx_files(tmp_path):
    write_checkpoint(tmp_path, "bert")
    with pytest.raises(PimloopError, match=r"--shape is for \.onnx"):
        load_model(str(tmp_path), LoadOptions(shapes={"input_ids": (1, 4)}))


SURPLUS = [
    ("bert", "junk.position_ids"), ("bert", "junk.pooler.dense.weight"),
    ("bert", "bert.encoder.layer.0.cls.predictions.decoder.weight"),
    ("roberta", "junk.lm_head.weight"), ("roberta", "bert.pooler.dense.bias"),
    ("distilbert", "junk.vocab_projector.weight"), ("gpt2", "junk.lm_head.weight"),
    ("gpt2", "transformer.h.x.attn.bias"), ("gpt2", "junk.h.0.attn.masked_bias"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "surplus"), SURPLUS)
def test_a_name_that_ends_as_one_that_may_be_there_has_no_place(name, surplus, tmp_path):
    config = write_checkpoint(tmp_path, name)
    tensors = parameters(config) | {surplus: np.zeros((101, 64), np.float32)}
    write_safetensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(PimloopError, match=rf"1 weight has no place.*: {surplus};"):
        load_model(str(tmp_path), OPTIONS)


LEFT_OUT = [
    ("bert", "embeddings.position_ids", (1, 40)), ("bert", "bert.pooler.dense.weight", (64, 64)),
    ("roberta", "lm_head.decoder.weight", (101, 64)), ("roberta", "lm_head.weight", (101, 64)),
    ("roberta", "roberta.embeddings.token_type_ids", (1, 40)),
    ("distilbert", "vocab_projector.weight", (101, 64)),
    ("gpt2", "transformer.h.0.attn.bias", (1, 1, 40, 40)), ("gpt2", "h.1.attn.masked_bias", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "buffer", "shape"), LEFT_OUT)
def test_buffers_and_copies_may_be_there(name, buffer, shape, tmp_path):
    config = write_checkpoint(tmp_path, name)
    tensors = parameters(config) | {buffer: np.zeros(shape, np.float32)}
    write_safetensors(tmp_path / "model.safetensors", tensors)
    assert load_model(str(tmp_path), OPTIONS).outputs == ("logits",)


def test_more_surplus_weights_than_are_listed_are_counted(tmp_path):
    config = write_checkpoint(tmp_path, "bert")
    more = {f"more.{index}": np.zeros(2, np.float32) for index in range(7)}
    write_safetensors(tmp_path / "model.safetensors", parameters(config) | more)
    wanted = "7 weights have no place.*: more.0, more.1, more.2, more.3, more.4 and 2 more; is"
    with pytest.raises(PimloopError, match=wanted):
        load_model(str(tmp_path), OPTIONS)


# -- heads ---------------------------------------------------------------------------------------

HEAD_CLASSES = [
    ("bert", "BertForTokenClassification", {"logits": (1, 4, 3)}),
    ("bert", "BertForQuestionAnswering", {"start_logits": (1, 4), "end_logits": (1, 4)}),
    ("bert", "BertForMaskedLM", {"logits": (1, 4, 101)}),
    ("bert", "BertModel", {"last_hidden_state": (1, 4, 64), "pooler_output": (1, 64)}),
    ("roberta", "RobertaForMaskedLM", {"logits": (1, 4, 101)}),
    ("roberta", "RobertaModel", {"last_hidden_state": (1, 4, 64), "pooler_output": (1, 64)}),
    ("distilbert", "DistilBertForMaskedLM", {"logits": (1, 4, 101)}),
    ("gpt2", "GPT2ForSequenceClassification", {"logits": (1, 3)}),
    ("gpt2", "GPT2ForTokenClassification", {"logits": (1, 4, 3)}),
    ("gpt2", "GPT2ForQuestionAnswering", {"start_logits": (1, 4), "end_logits": (1, 4)}),
]


def write_head(folder, name, kind, pad=None):
    """Write a tiny checkpoint of a class of Hugging Face; return its parameters."""
    data = hugging_face_config(TINY[name]) | {"architectures": [kind], "pad_token_id": pad}
    config = from_hugging_face(data, "config.json")
    tensors = parameters(replace(config, pooler=kind in ("BertModel", "RobertaModel")))
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(data))
    write_safetensors(folder / "model.safetensors", tensors)
    return tensors


@pytest.mark.parametrize(("name", "kind", "outputs"), HEAD_CLASSES)
def test_every_head_is_built_and_no_weight_is_left_over(name, kind, outputs, tmp_path):
    """Against numpy on the last layer's output; `test_crosscheck_transformers` has the whole."""
    tensors = write_head(tmp_path, name, kind)
    graph = load_model(str(tmp_path), LoadOptions(sequence_length=4, hidden_states=True))
    values = run_reference(graph, random_inputs(graph))
    hidden = values["last_hidden_state"].astype(np.float64)
    for output, shape in outputs.items():
        assert values[output].shape == shape
    if kind.endswith("ForTokenClassification"):
        right = hidden @ tensors["classifier.weight"].T + tensors["classifier.bias"]
        np.testing.assert_allclose(values["logits"], right, rtol=1e-4, atol=1e-5)
    elif kind.endswith("ForQuestionAnswering"):
        right = hidden @ tensors["qa_outputs.weight"].T + tensors["qa_outputs.bias"]
        np.testing.assert_allclose(values["start_logits"], right[..., 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(values["end_logits"], right[..., 1], rtol=1e-4, atol=1e-5)
    elif kind == "GPT2ForSequenceClassification":
        right = hidden[:, -1] @ tensors["score.weight"].T
        np.testing.assert_allclose(values["logits"], right, rtol=1e-4, atol=1e-5)
    elif kind.endswith("Model"):
        pooler = f"{name}.pooler.dense"
        inner = hidden[:, 0] @ tensors[f"{pooler}.weight"].T + tensors[f"{pooler}.bias"]
        np.testing.assert_allclose(values["pooler_output"], np.tanh(inner), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad", [0, 5, -1])
def test_gpt2_classifies_the_last_token_that_is_no_padding(pad, tmp_path):
    """transformers' rule: the rightmost other token; the first one where all is padding."""
    tensors = write_head(tmp_path, "gpt2", "GPT2ForSequenceClassification", pad)
    ids = np.arange(20, 44).reshape(4, 6)
    if pad >= 0:
        ids[0, 4:] = ids[1, :2] = ids[2] = pad
    last = [3, 5, 0, 5] if pad >= 0 else [5] * 4
    options = LoadOptions(given={"input_ids": ids}, hidden_states=True)
    values = run_reference(load_model(str(tmp_path), options), {"input_ids": ids})
    hidden = values["last_hidden_state"].astype(np.float64)[np.arange(4), last]
    right = hidden @ tensors["score.weight"].T
    np.testing.assert_allclose(values["logits"], right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("pad", "offset"), [(0, 1), (None, 2), (3, 4)])
def test_roberta_counts_positions_from_behind_its_padding(pad, offset):
    data = hugging_face_config(TINY["roberta"]) | {"pad_token_id": pad}
    assert from_hugging_face(data, "config.json").position_offset == offset


@pytest.mark.parametrize("pad", ["0", 1.5, True, [], -2])
@pytest.mark.parametrize("name", ["gpt2", "roberta"])
def test_a_padding_token_that_is_no_token_is_an_error(name, pad):
    data = hugging_face_config(TINY[name]) | {"pad_token_id": pad}
    with pytest.raises(PimloopError, match="pad_token_id must be null or a whole number"):
        from_hugging_face(data, "config.json")


def test_weights_without_a_place_and_unknown_heads_are_errors(tmp_path):
    tensors = write_head(tmp_path, "bert", "BertForTokenClassification")
    extra = tensors | {"mystery.weight": np.zeros((2, 2), np.float32)}
    write_safetensors(tmp_path / "model.safetensors", extra)
    with pytest.raises(PimloopError, match=r"1 weight has no place.*mystery.weight"):
        load_model(str(tmp_path))
    known = tensors | {"bert.embeddings.position_ids": np.zeros((1, 40), np.float32)}
    write_safetensors(tmp_path / "model.safetensors", known)
    assert load_model(str(tmp_path)).outputs == ("logits",)
    data = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(data | {"architectures": ["BertForNothing"]}))
    with pytest.raises(PimloopError, match="names 'BertForNothing', which is no class"):
        load_model(str(tmp_path))


def test_roberta_takes_a_mask_where_one_is_given():
    ids = np.array([[5, 6, 7, 8]])
    whole = build_graph(TINY["roberta"], RandomWeights(TINY["roberta"], 0), LoadOptions(
        given={"input_ids": ids, "attention_mask": np.ones((1, 4), np.int64)}))  # fmt: skip
    short = build_graph(
        TINY["roberta"], RandomWeights(TINY["roberta"], 0), LoadOptions(sequence_length=2)
    )
    assert (whole.inputs, short.inputs) == (("input_ids", "attention_mask"), ("input_ids",))
    feeds = {"input_ids": ids, "attention_mask": np.array([[1, 1, 0, 0]])}
    masked = run_reference(whole, feeds)["logits"]
    np.testing.assert_allclose(
        masked, run_reference(short, {"input_ids": ids[:, :2]})["logits"], rtol=1e-4, atol=1e-5
    )
