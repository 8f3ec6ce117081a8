"""Small transformers for tests, and a plain numpy forward pass as an independent oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import erf

from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.config import ModelConfig

TINY = {
    name: replace(
        BUILT_IN[name],
        name=f"tiny-{name}",
        layers=2,
        hidden=64,
        heads=4,
        intermediate=96,
        vocabulary=101,
        positions=40,
        labels=3,
    )
    for name in ("bert", "roberta", "gpt2")
}
TINY["distilbert"] = replace(
    TINY["bert"], name="tiny-distilbert", architecture="distilbert", token_types=0
)


def _norm(x, weights, name, config):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    n = config.hidden
    scale, bias = weights.get(f"{name}.weight", (n,)), weights.get(f"{name}.bias", (n,))
    return (x - mean) / np.sqrt(variance + config.layer_norm_epsilon) * scale + bias


def _linear(x, weights, name, outputs):
    w = weights.get(f"{name}.weight", (outputs, x.shape[-1])).astype(np.float64)
    return x @ w.T + weights.get(f"{name}.bias", (outputs,))


def _conv1d(x, weights, name, outputs):
    w = weights.get(f"{name}.weight", (x.shape[-1], outputs)).astype(np.float64)
    return x @ w + weights.get(f"{name}.bias", (outputs,))


def _attend(q, k, v, heads, bias):
    def split(x):
        return x.reshape(x.shape[0], heads, -1).transpose(1, 0, 2)

    q, k, v = split(q), split(k), split(v)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]) + bias
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return (shares @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)


def encoder_logits(config: ModelConfig, weights, ids, mask, types):
    """Logits of an encoder for one sequence in float64; `ids`, `mask`, `types` are (length,)."""
    arch, n = config.architecture, config.hidden
    emb = f"{arch}.embeddings"
    x = weights.get(f"{emb}.word_embeddings.weight", (config.vocabulary, n))[ids].astype(np.float64)
    start = config.position_offset
    table = weights.get(f"{emb}.position_embeddings.weight", (config.positions, n))
    x = x + table[start : start + len(ids)]
    if config.token_types:
        x = x + weights.get(f"{emb}.token_type_embeddings.weight", (config.token_types, n))[types]
    x = _norm(x, weights, f"{emb}.LayerNorm", config)
    bias = (1.0 - mask) * -10000.0
    for layer in range(config.layers):
        if arch == "distilbert":
            p = f"distilbert.transformer.layer.{layer}"
            names = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
                     "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm")  # fmt: skip
        else:
            p = f"{arch}.encoder.layer.{layer}"
            names = ("attention.self.query", "attention.self.key", "attention.self.value",
                     "attention.output.dense", "attention.output.LayerNorm",
                     "intermediate.dense", "output.dense", "output.LayerNorm")  # fmt: skip
        q, k, v = (_linear(x, weights, f"{p}.{name}", n) for name in names[:3])
        a = _linear(_attend(q, k, v, config.heads, bias), weights, f"{p}.{names[3]}", n)
        x = _norm(x + a, weights, f"{p}.{names[4]}", config)
        h = _linear(x, weights, f"{p}.{names[5]}", config.intermediate)
        h = h * 0.5 * (1 + erf(h / np.sqrt(2)))
        x = _norm(x + _linear(h, weights, f"{p}.{names[6]}", n), weights, f"{p}.{names[7]}", config)
    first = x[:1]
    if arch == "distilbert":
        pooled = np.maximum(_linear(first, weights, "pre_classifier", n), 0)
        return _linear(pooled, weights, "classifier", config.labels)
    if arch == "bert":
        pooled = np.tanh(_linear(first, weights, "bert.pooler.dense", n))
        return _linear(pooled, weights, "classifier", config.labels)
    pooled = np.tanh(_linear(first, weights, "classifier.dense", n))
    return _linear(pooled, weights, "classifier.out_proj", config.labels)


def decoder_logits(config: ModelConfig, weights, ids):
    """Logits (length, vocabulary) of GPT-2 in float64."""
    n = config.hidden
    table = weights.get("transformer.wte.weight", (config.vocabulary, n)).astype(np.float64)
    x = table[ids] + weights.get("transformer.wpe.weight", (config.positions, n))[: len(ids)]
    bias = np.triu(np.full((len(ids), len(ids)), -1e9), 1)
    for layer in range(config.layers):
        p = f"transformer.h.{layer}"
        h = _norm(x, weights, f"{p}.ln_1", config)
        q, k, v = np.split(_conv1d(h, weights, f"{p}.attn.c_attn", 3 * n), 3, axis=-1)
        mixed = _attend(q, k, v, config.heads, bias)
        x = x + _conv1d(mixed, weights, f"{p}.attn.c_proj", n)
        h = _norm(x, weights, f"{p}.ln_2", config)
        h = _conv1d(h, weights, f"{p}.mlp.c_fc", config.intermediate)
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + _conv1d(h, weights, f"{p}.mlp.c_proj", n)
    return _norm(x, weights, "transformer.ln_f", config) @ table.T
