"""GPT-2 as a computational graph: prefill of a whole sequence, or one step with a KV cache.

The operators are those of the paper's GPT-2 (Kim et al., ACM TODAES 2024) with its shape
arithmetic folded away, which is 1934 nodes there and 672 here, and with the language-model head
that the paper's graph lacks.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from onnx import TensorProto

from pimloop.host.models.builder import MASKED_SCORE, GraphBuilder
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.graph import Graph
from pimloop.host.models.heads import token_head
from pimloop.host.models.weights import Weights


def build_decoder(
    config: ModelConfig,
    weights: Weights,
    sequence_length: int,
    *,
    batch: int = 1,
    hidden_states: bool = False,
    cache: bool = False,
    last_only: bool = False,
) -> Graph:
    """Return GPT-2 over a sequence from its start.

    Parameters
    ----------
    config
        The `gpt2` architecture.
    weights
        Parameters under their Hugging Face names.
    sequence_length
        Tokens, 1 to `config.max_sequence`.
    batch
        Sequences at once.
    hidden_states
        Also return the last layer's normalized output as `last_hidden_state`.
    cache
        Also return each layer's keys and values, `present.<layer>.key` and `.value`
        (batch, heads, length, head size).
    last_only
        Return the logits of the last token alone, as generating the next one needs them.

    Returns
    -------
    Graph
        Input `input_ids` (batch, length) int64; output `logits` (batch, length, vocabulary), with
        `last_only` (batch, 1, vocabulary).
    """
    build = GraphBuilder(config, weights, sequence_length, batch)
    ids = build.input("input_ids", (batch, sequence_length), below=config.vocabulary)
    table = build.parameter("transformer.wte.weight", (config.vocabulary, config.hidden))
    positions = build.table_rows(
        "transformer.wpe.weight", (config.positions, config.hidden), config.position_offset
    )
    x = build.op("Add", build.op("Gather", table, ids), positions)
    mask = _CausalMask(build)
    outputs: dict[str, str] = {}
    for layer in range(config.layers):
        x, key, value = _layer(build, x, layer, mask)
        if cache:
            outputs[f"present.{layer}.key"] = key
            outputs[f"present.{layer}.value"] = value
    if last_only:
        x = build.op("Gather", x, build.integers(sequence_length - 1), axis=1)
    return _finish(build, x, ids, outputs, hidden_states=hidden_states)


def build_decoder_step(config: ModelConfig, weights: Weights, context: int) -> Graph:
    """Return GPT-2 for one more token after up to `context` earlier ones.

    The cache has a fixed length, so that one graph and one plan serve every step; `cache_mask`
    hides the rows not written yet.

    Returns
    -------
    Graph
        Inputs `input_ids` (1, 1), `position_ids` (1, 1), `cache_mask` (1, 1, 1, context + 1)
        float32 (added to the scores: 0, or `MASKED_SCORE` for rows not in use; the last column is
        the new token), `past.<layer>.key` and `.value` (1, heads, context, head size). Outputs
        `logits` (1, 1, vocabulary) and `present.<layer>.key` and `.value` (1, heads, 1, head
        size), which the caller writes into the cache.
    """
    build = GraphBuilder(config, weights, 1)
    ids = build.input("input_ids", (1, 1), below=config.vocabulary)
    position = build.input("position_ids", (1, 1), below=config.positions)
    mask = build.input("cache_mask", (1, 1, 1, context + 1), np.float32)
    words = build.parameter("transformer.wte.weight", (config.vocabulary, config.hidden))
    places = build.parameter("transformer.wpe.weight", (config.positions, config.hidden))
    x = build.op("Add", build.op("Gather", words, ids), build.op("Gather", places, position))
    outputs: dict[str, str] = {}
    shape = (1, config.heads, context, config.head_size)
    for layer in range(config.layers):
        past = [build.input(f"past.{layer}.{part}", shape, np.float32) for part in ("key", "value")]
        x, key, value = _layer(build, x, layer, _CacheMask(build, mask), (past[0], past[1]))
        outputs[f"present.{layer}.key"] = key
        outputs[f"present.{layer}.value"] = value
    return _finish(build, x, ids, outputs, hidden_states=False)


class _CausalMask:
    """scores * m - 10000 (1 - m) with m lower triangular, as in the original export."""

    def __init__(self, build: GraphBuilder) -> None:
        length = build.sequence_length
        lower = np.tril(np.ones((1, 1, length, length), np.float32))
        self._build = build
        self._keep = build.constant("causal.keep", lower)
        self._drop = build.constant("causal.drop", (1 - lower) * np.float32(-MASKED_SCORE))

    def apply(self, scores: str) -> str:
        kept = self._build.op("Mul", scores, self._keep)
        return self._build.op("Sub", kept, self._drop)


class _CacheMask:
    """scores + mask, the mask a model input."""

    def __init__(self, build: GraphBuilder, mask: str) -> None:
        self._build = build
        self._mask = mask

    def apply(self, scores: str) -> str:
        return self._build.op("Add", scores, self._mask)


def _layer(
    build: GraphBuilder,
    x: str,
    index: int,
    mask: _CausalMask | _CacheMask,
    past: tuple[str, str] | None = None,
) -> tuple[str, str, str]:
    """Add one layer; return its output and this call's keys and values (1, heads, n, size)."""
    config = build.config
    prefix = f"transformer.h.{index}"
    width, length = config.hidden, build.sequence_length
    normal = build.layer_norm(x, f"{prefix}.ln_1")
    joint = _conv1d(build, normal, f"{prefix}.attn.c_attn", width, 3 * width)
    parts = build.multi("Split", joint, build.integers(width, width, width), outputs=3, axis=2)
    shape = build.integers(build.batch, length, config.heads, config.head_size)
    query, key, value = (build.op("Reshape", part, shape) for part in parts)
    query = build.op("Transpose", query, perm=[0, 2, 1, 3])
    key_rows = value_rows = ""
    if past is None:
        key_columns = build.op("Transpose", key, perm=[0, 2, 3, 1])
        value = value_rows = build.op("Transpose", value, perm=[0, 2, 1, 3])
        # Not needed unless the caller returns it; dead operators are removed.
        key_rows = build.op("Transpose", key, perm=[0, 2, 1, 3])
    else:
        key_rows = build.op("Transpose", key, perm=[0, 2, 1, 3])
        value_rows = build.op("Transpose", value, perm=[0, 2, 1, 3])
        all_keys = build.op("Concat", past[0], key_rows, axis=2)
        key_columns = build.op("Transpose", all_keys, perm=[0, 1, 3, 2])
        value = build.op("Concat", past[1], value_rows, axis=2)
    scores = build.op("MatMul", query, key_columns)
    scores = build.op("Div", scores, build.scalar(sqrt(config.head_size)))
    shares = build.op("Softmax", mask.apply(scores), axis=-1)
    mixed = build.op("Transpose", build.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    mixed = build.op("Reshape", mixed, build.integers(build.batch, length, width))
    x = build.op("Add", x, _conv1d(build, mixed, f"{prefix}.attn.c_proj", width, width))
    normal = build.layer_norm(x, f"{prefix}.ln_2")
    inner = _conv1d(build, normal, f"{prefix}.mlp.c_fc", width, config.intermediate)
    inner = build.activation(inner)
    inner = _conv1d(build, inner, f"{prefix}.mlp.c_proj", config.intermediate, width)
    return build.op("Add", x, inner), key_rows, value_rows


def _conv1d(build: GraphBuilder, x: str, name: str, inputs: int, outputs: int) -> str:
    """x W + b on rows, W stored (in, out): Reshape, Gemm, Reshape."""
    length = build.sequence_length
    rows = build.op("Reshape", x, build.integers(build.batch * length, inputs))
    weight = build.parameter(f"{name}.weight", (inputs, outputs))
    bias = build.parameter(f"{name}.bias", (outputs,))
    product = build.op("Gemm", rows, weight, bias, alpha=1.0, beta=1.0)
    return build.op("Reshape", product, build.integers(build.batch, length, outputs))


def _finish(
    build: GraphBuilder, x: str, ids: str, outputs: dict[str, str], *, hidden_states: bool
) -> Graph:
    config = build.config
    x = build.layer_norm(x, "transformer.ln_f")
    named: dict[str, str] = {}
    if config.head == "lm":
        # The output weight is tied to the token table; transposed here once, not in every step.
        table = build.transposed("transformer.wte.weight", (config.vocabulary, config.hidden))
        named["logits"] = build.op("MatMul", x, table)
    elif config.head == "classification":
        score = build.transposed("score.weight", (config.labels, config.hidden))
        named["logits"] = build.op("MatMul", _last_token(build, x, ids), score)
    else:
        named |= token_head(build, x)
    if hidden_states or config.head == "none":
        named["last_hidden_state"] = x
    return build.finish({**named, **outputs})


def _last_token(build: GraphBuilder, x: str, ids: str) -> str:
    """Return the rows of x (batch, hidden) at the last token that is not padding.

    As in transformers' GPT2ForSequenceClassification: padding may stand on either side, a sequence
    of padding alone is classified at its first token, and without a padding token the last counts.
    """
    length, pad = build.sequence_length, build.config.pad_token
    if pad is None:
        last = build.constant("last_token", np.array(length - 1, np.int64))
        return build.op("Gather", x, last, axis=1)
    padding = build.op("Equal", ids, build.constant("pad_token", np.array(pad, np.int64)))
    kept = build.op("Cast", build.op("Not", padding), to=TensorProto.INT64)
    places = build.constant("token_places", np.arange(length, dtype=np.int64))
    last = build.op("ArgMax", build.op("Mul", kept, places), axis=-1, keepdims=1)
    return build.op("GatherND", x, last, batch_dims=1)
