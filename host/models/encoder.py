"""BERT, RoBERTa and DistilBERT as computational graphs, after the exporters' decomposition.

With the built-in sizes the graphs of BERT and RoBERTa have the operators of the graphs that the
paper measured (Kim et al., ACM TODAES 2024, Table 3): 222 for the reduced BERT, 616 for RoBERTa.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from pimloop.host.models.builder import MASKED_SCORE, GraphBuilder
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.graph import Graph
from pimloop.host.models.heads import encoder_head
from pimloop.host.models.weights import Weights


@dataclass(frozen=True)
class _Names:
    """Where one layer keeps its parameters below the layer's own prefix."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    intermediate: str
    output: str
    output_norm: str


_BERT_NAMES = _Names(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    intermediate="intermediate.dense",
    output="output.dense",
    output_norm="output.LayerNorm",
)

_DISTILBERT_NAMES = _Names(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    intermediate="ffn.lin1",
    output="ffn.lin2",
    output_norm="output_layer_norm",
)


def build_encoder(
    config: ModelConfig,
    weights: Weights,
    sequence_length: int,
    *,
    batch: int = 1,
    hidden_states: bool = False,
    masked: bool = False,
) -> Graph:
    """Return the graph of an encoder for sequences of `sequence_length` tokens.

    Parameters
    ----------
    config
        An architecture of `bert`, `roberta` or `distilbert`.
    weights
        Parameters under their Hugging Face names.
    sequence_length
        Tokens, 1 to `config.max_sequence`.
    batch
        Sequences at once.
    hidden_states
        Also return the last layer's output (batch, length, hidden) as `last_hidden_state`;
        without a head it is returned in any case.
    masked
        Whether RoBERTa reads an attention mask too; the others always do.

    Returns
    -------
    Graph
        Inputs `input_ids` (batch, length) int64; `attention_mask` and `token_type_ids` where the
        original's export has them (RoBERTa reads neither: every token is attended to and none is
        padding). Outputs by the head:
        see `heads.encoder_head`.
    """
    build = GraphBuilder(config, weights, sequence_length, batch)
    shape = (batch, sequence_length)
    ids = build.input("input_ids", shape, below=config.vocabulary)
    mask = None
    if masked or config.architecture != "roberta":
        mask = build.input("attention_mask", shape, below=2)
    x = _embeddings(build, ids)
    bias = _mask_bias(build, mask)
    layer = f"{config.architecture}.encoder.layer"
    names = _BERT_NAMES
    if config.architecture == "distilbert":
        layer, names = "distilbert.transformer.layer", _DISTILBERT_NAMES
    for index in range(config.layers):
        x = _layer(build, x, bias, f"{layer}.{index}", names)
    outputs = encoder_head(build, x)
    if hidden_states or config.head == "none":
        outputs["last_hidden_state"] = x
    return build.finish(outputs)


def _embeddings(build: GraphBuilder, ids: str) -> str:
    config = build.config
    prefix = f"{config.architecture}.embeddings"
    width = config.hidden
    words = build.parameter(f"{prefix}.word_embeddings.weight", (config.vocabulary, width))
    x = build.op("Gather", words, ids)
    types = f"{prefix}.token_type_embeddings.weight"
    if config.architecture == "bert":
        type_ids = build.input(
            "token_type_ids", (build.batch, build.sequence_length), below=config.token_types
        )
        table = build.parameter(types, (config.token_types, width))
        x = build.op("Add", x, build.op("Gather", table, type_ids))
    elif config.architecture == "roberta":
        row = build.weights.get(types, (config.token_types, width))[:1]
        repeated = row[None].repeat(build.sequence_length, axis=1)
        x = build.op("Add", x, build.constant(f"{types}.rows", repeated))
    positions = build.table_rows(
        f"{prefix}.position_embeddings.weight",
        (config.positions, width),
        config.position_offset,
    )
    return build.layer_norm(build.op("Add", x, positions), f"{prefix}.LayerNorm")


def _mask_bias(build: GraphBuilder, mask: str | None) -> str:
    """Return what is added to the scores, (1, 1, 1, length): 0 or `MASKED_SCORE`."""
    if mask is None:
        zeros = np.zeros((1, 1, 1, build.sequence_length), np.float32)
        return build.constant("attention_mask.bias", zeros)
    wide = build.op("Unsqueeze", mask, build.integers(1))
    wide = build.op("Unsqueeze", wide, build.integers(2))
    real = build.op("Cast", wide, to=1)
    hidden = build.op("Sub", build.scalar(1.0), real)
    return build.op("Mul", hidden, build.scalar(MASKED_SCORE))


def _layer(build: GraphBuilder, x: str, bias: str, prefix: str, names: _Names) -> str:
    config = build.config
    width = config.hidden

    def linear(source: str, name: str, inputs: int, outputs: int) -> str:
        return build.linear(source, f"{prefix}.{name}", inputs, outputs)

    def heads(source: str, order: list[int]) -> str:
        shape = build.integers(build.batch, build.sequence_length, config.heads, config.head_size)
        return build.op("Transpose", build.op("Reshape", source, shape), perm=order)

    query = linear(x, names.query, width, width)
    key = heads(linear(x, names.key, width, width), [0, 2, 3, 1])
    value = heads(linear(x, names.value, width, width), [0, 2, 1, 3])
    query = heads(query, [0, 2, 1, 3])
    scores = build.op("Div", build.op("MatMul", query, key), build.scalar(sqrt(config.head_size)))
    shares = build.op("Softmax", build.op("Add", scores, bias), axis=-1)
    mixed = build.op("Transpose", build.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    mixed = build.op("Reshape", mixed, build.integers(build.batch, build.sequence_length, width))
    attention = build.op("Add", linear(mixed, names.attention_output, width, width), x)
    attention = build.layer_norm(attention, f"{prefix}.{names.attention_norm}")
    inner = linear(attention, names.intermediate, width, config.intermediate)
    inner = build.activation(inner)
    output = linear(inner, names.output, config.intermediate, width)
    return build.layer_norm(build.op("Add", output, attention), f"{prefix}.{names.output_norm}")
