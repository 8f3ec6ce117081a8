"""Encoders as computational graphs, after the exporters' decomposition.

With the built-in sizes the graphs of BERT and RoBERTa have the operators of the graphs that the
paper measured (Kim et al., ACM TODAES 2024, Table 3): 222 for the reduced BERT, 616 for RoBERTa.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from pimloop.host.models.architectures.base import Architecture
from pimloop.host.models.builder import MASKED_SCORE, GraphBuilder
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.graph import Graph
from pimloop.host.models.parameters import Weights

#: (graph, embeddings so far, name of the token-type table) -> embeddings with the token types.
TokenTypes = Callable[[GraphBuilder, str, str], str]


@dataclass(frozen=True)
class LayerNames:
    """Where one layer keeps its parameters below the layer's own prefix."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    intermediate: str
    output: str
    output_norm: str


#: The keys of BERT's config.json, by fields of ModelConfig.
BERT_SIZES: Mapping[str, str] = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
}

#: The names of BERT, which most of its descendants have.
BERT_LAYER = LayerNames(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    intermediate="intermediate.dense",
    output="output.dense",
    output_norm="output.LayerNorm",
)


def given_token_types(build: GraphBuilder, x: str, table: str) -> str:
    """Add the types of an input `token_type_ids` (batch, length)."""
    config = build.config
    shape = (build.batch, build.sequence_length)
    ids = build.input("token_type_ids", shape, below=config.token_types)
    rows = build.parameter(table, (config.token_types, config.hidden))
    return build.op("Add", x, build.op("Gather", rows, ids))


def first_token_type(build: GraphBuilder, x: str, table: str) -> str:
    """Add the first type to all tokens."""
    row = build.weights.get(table, (build.config.token_types, build.config.hidden))[:1]
    repeated = row[None].repeat(build.sequence_length, axis=1)
    return build.op("Add", x, build.constant(f"{table}.rows", repeated))


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder(Architecture):
    """Attention and feed-forward product with a normalization behind each, as in BERT.

    The graph's inputs are `input_ids`, `attention_mask` (see `mask_optional`) and those of
    `token_types`. An architecture with other embeddings or layers overrides `embed`, `layer` or
    `behind_layers`.
    """

    embeddings: str  # prefix of the tables and of their normalization
    layers: str  # prefix of the layers, before their numbers
    names: LayerNames = BERT_LAYER
    token_types: TokenTypes | None = None
    mask_optional: bool = False  # no mask is read unless one is given: all tokens are attended to

    def graph(
        self,
        config: ModelConfig,
        weights: Weights,
        length: int,
        *,
        batch: int = 1,
        hidden_states: bool = False,
        masked: bool = False,
    ) -> Graph:
        """Return the graph over whole sequences; see `Architecture.graph`."""
        head = self.head(config)
        build = self.builder(config, weights, length, batch)
        shape = (batch, length)
        ids = build.input("input_ids", shape, below=config.vocabulary)
        mask = None
        if masked or not self.mask_optional:
            mask = build.input("attention_mask", shape, below=2)
        x = self.embed(build, ids)
        bias = _mask_bias(build, mask)
        for index in range(config.layers):
            x = self.layer(build, x, bias, f"{self.layers}.{index}")
        x = self.behind_layers(build, x)
        outputs = head(build, x, ids)
        if hidden_states or config.head == "none":
            outputs["last_hidden_state"] = x
        return build.finish(outputs)

    def embed(self, build: GraphBuilder, ids: str) -> str:
        """Add the embeddings; return the first layer's input (batch, length, hidden)."""
        return build.layer_norm(self.tables(build, ids), f"{self.embeddings}.LayerNorm")

    def tables(self, build: GraphBuilder, ids: str) -> str:
        """Return the sum of the rows of all tables, (batch, length, hidden)."""
        config, prefix = build.config, self.embeddings
        words = build.parameter(
            f"{prefix}.word_embeddings.weight", (config.vocabulary, config.hidden)
        )
        x = build.op("Gather", words, ids)
        if self.token_types is not None:
            x = self.token_types(build, x, f"{prefix}.token_type_embeddings.weight")
        positions = build.table_rows(
            f"{prefix}.position_embeddings.weight",
            (config.positions, config.hidden),
            config.position_offset,
        )
        return build.op("Add", x, positions)

    def layer(self, build: GraphBuilder, x: str, bias: str, prefix: str) -> str:
        """Add one layer.

        Parameters
        ----------
        build
            The graph.
        x
            The layer's input, (batch, length, hidden).
        bias
            What is added to the scores, (batch or 1, 1, 1, length).
        prefix
            Of the layer's parameters.

        Returns
        -------
        str
            The layer's output, (batch, length, hidden).
        """
        names = self.names
        attention = build.op("Add", self.attention(build, x, bias, prefix), x)
        attention = build.layer_norm(attention, f"{prefix}.{names.attention_norm}")
        output = build.op("Add", self.feed_forward(build, attention, prefix), attention)
        return build.layer_norm(output, f"{prefix}.{names.output_norm}")

    def behind_layers(self, build: GraphBuilder, x: str) -> str:
        """Return the hidden states, given the last layer's output."""
        return x

    def attention(self, build: GraphBuilder, x: str, bias: str, prefix: str) -> str:
        """Add a layer's attention, its output product included; arguments as of `layer`."""
        config, names = build.config, self.names
        width = config.hidden

        def linear(source: str, name: str) -> str:
            return build.linear(source, f"{prefix}.{name}", width, width)

        def heads(source: str, order: list[int]) -> str:
            shape = build.integers(
                build.batch, build.sequence_length, config.heads, config.head_size
            )
            return build.op("Transpose", build.op("Reshape", source, shape), perm=order)

        query = linear(x, names.query)
        key = heads(linear(x, names.key), [0, 2, 3, 1])
        value = heads(linear(x, names.value), [0, 2, 1, 3])
        query = heads(query, [0, 2, 1, 3])
        scores = build.op("MatMul", query, key)
        scores = build.op("Div", scores, build.scalar(sqrt(config.head_size)))
        shares = build.op("Softmax", build.op("Add", scores, bias), axis=-1)
        mixed = build.op("Transpose", build.op("MatMul", shares, value), perm=[0, 2, 1, 3])
        shape = build.integers(build.batch, build.sequence_length, width)
        return linear(build.op("Reshape", mixed, shape), names.attention_output)

    def feed_forward(self, build: GraphBuilder, x: str, prefix: str) -> str:
        """Add a layer's two products and the activation between; arguments as of `layer`."""
        config, names = build.config, self.names
        inner = build.linear(
            x, f"{prefix}.{names.intermediate}", config.hidden, config.intermediate
        )
        inner = build.activation(inner)
        return build.linear(inner, f"{prefix}.{names.output}", config.intermediate, config.hidden)


def _mask_bias(build: GraphBuilder, mask: str | None) -> str:
    """Return what is added to the scores, (batch or 1, 1, 1, length): 0 or `MASKED_SCORE`."""
    if mask is None:
        zeros = np.zeros((1, 1, 1, build.sequence_length), np.float32)
        return build.constant("attention_mask.bias", zeros)
    wide = build.op("Unsqueeze", mask, build.integers(1))
    wide = build.op("Unsqueeze", wide, build.integers(2))
    real = build.op("Cast", wide, to=1)
    hidden = build.op("Sub", build.scalar(1.0), real)
    return build.op("Mul", hidden, build.scalar(MASKED_SCORE))
