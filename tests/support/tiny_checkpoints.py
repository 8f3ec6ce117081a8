"""Writes Hugging Face model folders for tests, without the safetensors package."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np

from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from support.tiny_models import TINY

NAMES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


class Recorder:
    """Weights that remember what was asked for."""

    def __init__(self, config, seed):
        self._weights = RandomWeights(config, seed)
        self.tensors = {}

    def get(self, name, shape):
        return self.stored(name, shape).astype(np.float32)

    def stored(self, name, shape):
        values = self._weights.stored(name, shape)
        self.tensors[name] = values.astype(np.float32)
        return values


def hugging_face_config(config):
    architecture = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert"}
    data = {"model_type": config.architecture, "vocab_size": config.vocabulary,
            "pad_token_id": config.pad_token}  # fmt: skip
    data["id2label"] = {str(i): f"LABEL_{i}" for i in range(config.labels)}
    if config.architecture == "gpt2":
        data |= {
            "architectures": ["GPT2LMHeadModel"], "n_layer": config.layers, "n_embd": config.hidden,
            "n_head": config.heads, "n_inner": config.intermediate,
            "n_positions": config.positions, "layer_norm_epsilon": config.layer_norm_epsilon,
        }  # fmt: skip
        return data
    data["architectures"] = [f"{architecture[config.architecture]}ForSequenceClassification"]
    data["max_position_embeddings"] = config.positions
    if config.architecture == "distilbert":
        return data | {
            "n_layers": config.layers, "dim": config.hidden, "n_heads": config.heads,
            "hidden_dim": config.intermediate, "activation": "gelu",
        }  # fmt: skip
    return data | {
        "num_hidden_layers": config.layers, "hidden_size": config.hidden,
        "num_attention_heads": config.heads, "intermediate_size": config.intermediate,
        "type_vocab_size": config.token_types, "hidden_act": "gelu",
        "layer_norm_eps": config.layer_norm_epsilon,
    }  # fmt: skip


def parameters(config, seed=0):
    recorder = Recorder(config, seed)
    build_graph(config, recorder, LoadOptions(sequence_length=2))
    return recorder.tensors


def write_safetensors(path, tensors, dtype="F32"):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        end = offset + array.size * np.dtype(NAMES[dtype]).itemsize
        header[name] = {
            "dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, end],
        }  # fmt: skip
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array.astype(NAMES[dtype])).tobytes())


def write_checkpoint(folder, name, seed=0):
    """Write the tiny model `name` as a Hugging Face folder; return its configuration."""
    config = TINY[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hugging_face_config(config)))
    write_safetensors(folder / "model.safetensors", parameters(config, seed))
    return config
