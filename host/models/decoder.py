"""Decoders as computational graphs: prefill of a whole sequence, or one step with a KV cache.

The operators are those of the paper's GPT-2 (Kim et al., ACM TODAES 2024) with its shape
arithmetic folded away, which is 1934 nodes there and 672 here, and with the language-model head
that the paper's graph lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from pimloop.host.models.architectures.base import CachedDecoder
from pimloop.host.models.builder import MASKED_SCORE, GraphBuilder, Past
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.graph import Graph
from pimloop.host.models.parameters import Weights


@dataclass(frozen=True)
class DecoderNames:
    """Where a decoder keeps its parameters; those of a layer below the layer's own prefix."""

    tokens: str
    positions: str
    layers: str  # prefix of the layers, before their numbers
    attention_norm: str
    attention: str  # query, key and value in one product
    attention_output: str
    feed_forward_norm: str
    intermediate: str
    output: str
    last_norm: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoder(CachedDecoder):
    """Normalization, causal attention, normalization, feed-forward product, as in GPT-2.

    Products store their weights (in, out).
    """

    names: DecoderNames

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
        """Return the graph over whole sequences, which reads no mask; see `Architecture.graph`."""
        return self.sequence(config, weights, length, batch=batch, hidden_states=hidden_states)

    def prefill(
        self,
        config: ModelConfig,
        weights: Weights,
        length: int,
        *,
        batch: int = 1,
        masked: bool = False,
    ) -> Graph:
        """Return the graph over a prompt, which reads no mask; see `CachedDecoder.prefill`."""
        return self.sequence(config, weights, length, batch=batch, cache=True, last_only=True)

    def sequence(
        self,
        config: ModelConfig,
        weights: Weights,
        length: int,
        *,
        batch: int = 1,
        hidden_states: bool = False,
        cache: bool = False,
        last_only: bool = False,
    ) -> Graph:
        """Return the graph over a sequence from its start.

        Parameters
        ----------
        config, weights, length, batch, hidden_states
            As of `Architecture.graph`.
        cache
            Also return each layer's keys and values, `present.<layer>.key` and `.value`
            (batch, heads, length, head size).
        last_only
            Return the outputs of the last token alone, as generating the next one needs them.
        """
        build = self.builder(config, weights, length, batch)
        names = self.names
        ids = build.input("input_ids", (batch, length), below=config.vocabulary)
        table = build.parameter(f"{names.tokens}.weight", (config.vocabulary, config.hidden))
        positions = build.table_rows(
            f"{names.positions}.weight", (config.positions, config.hidden), config.position_offset
        )
        x = build.op("Add", build.op("Gather", table, ids), positions)
        mask = _CausalMask(build)
        outputs: dict[str, str] = {}
        for layer in range(config.layers):
            x, key, value = _layer(build, names, x, layer, mask)
            if cache:
                outputs[f"present.{layer}.key"] = key
                outputs[f"present.{layer}.value"] = value
        if last_only:
            x = build.op("Gather", x, build.integers(length - 1), axis=1)
        return self._finish(build, x, ids, outputs, hidden_states=hidden_states)

    def step(self, config: ModelConfig, weights: Weights, context: int, *, batch: int = 1) -> Graph:
        """Return the graph for one more token; see `CachedDecoder.step`."""
        build = self.builder(config, weights, 1, batch)
        names = self.names
        ids = build.input("input_ids", (batch, 1), below=config.vocabulary)
        position = build.input("position_ids", (batch, 1), below=config.positions)
        mask = build.input("cache_mask", (batch, 1, 1, context + 1), np.float32)
        words = build.parameter(f"{names.tokens}.weight", (config.vocabulary, config.hidden))
        places = build.parameter(f"{names.positions}.weight", (config.positions, config.hidden))
        x = build.op("Add", build.op("Gather", words, ids), build.op("Gather", places, position))
        rows: dict[str, str] = {}
        for layer, past in enumerate(build.pasts(config.heads, config.head_size, context)):
            x, key, value = _layer(build, names, x, layer, _CacheMask(build, mask), past)
            rows[f"present.{layer}.key"] = key
            rows[f"present.{layer}.value"] = value
        return self._finish(build, x, ids, {}, rows)

    def deviation(self, config: ModelConfig, name: str) -> float:
        """Return the deviation of a random parameter; residual products have a smaller one.

        Divided by sqrt(2 layers), as the authors of GPT-2 did.
        """
        deviation = super().deviation(config, name)
        residual = (f"{self.names.attention_output}.weight", f"{self.names.output}.weight")
        return deviation / sqrt(2 * config.layers) if name.endswith(residual) else deviation

    def _finish(
        self,
        build: GraphBuilder,
        x: str,
        ids: str,
        outputs: dict[str, str],
        rows: dict[str, str] | None = None,
        *,
        hidden_states: bool = False,
    ) -> Graph:
        head = self.head(build.config)
        x = build.layer_norm(x, self.names.last_norm)
        named = head(build, x, ids)
        if hidden_states or build.config.head == "none":
            named["last_hidden_state"] = x
        return build.finish({**named, **outputs}, rows)


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
    names: DecoderNames,
    x: str,
    index: int,
    mask: _CausalMask | _CacheMask,
    past: Past | None = None,
) -> tuple[str, str, str]:
    """Add one layer; return its output and this call's keys and values (1, heads, n, size)."""
    config = build.config
    prefix = f"{names.layers}.{index}"
    width, length = config.hidden, build.sequence_length
    normal = build.layer_norm(x, f"{prefix}.{names.attention_norm}")
    joint = _conv1d(build, normal, f"{prefix}.{names.attention}", width, 3 * width)
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
        keys = build.append(past.keys, key_rows, past.index)
        key_columns = build.op("Transpose", keys, perm=[0, 1, 3, 2])
        value = build.append(past.values, value_rows, past.index)
    scores = build.op("MatMul", query, key_columns)
    scores = build.op("Div", scores, build.scalar(sqrt(config.head_size)))
    shares = build.op("Softmax", mask.apply(scores), axis=-1)
    mixed = build.op("Transpose", build.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    mixed = build.op("Reshape", mixed, build.integers(build.batch, length, width))
    x = build.op(
        "Add", x, _conv1d(build, mixed, f"{prefix}.{names.attention_output}", width, width)
    )
    normal = build.layer_norm(x, f"{prefix}.{names.feed_forward_norm}")
    inner = _conv1d(build, normal, f"{prefix}.{names.intermediate}", width, config.intermediate)
    inner = build.activation(inner)
    inner = _conv1d(build, inner, f"{prefix}.{names.output}", config.intermediate, width)
    return build.op("Add", x, inner), key_rows, value_rows


def _conv1d(build: GraphBuilder, x: str, name: str, inputs: int, outputs: int) -> str:
    """x W + b on rows, W stored (in, out): Reshape, Gemm, Reshape."""
    length = build.sequence_length
    rows = build.op("Reshape", x, build.integers(build.batch * length, inputs))
    weight = build.parameter(f"{name}.weight", (inputs, outputs))
    bias = build.parameter(f"{name}.bias", (outputs,))
    product = build.op("Gemm", rows, weight, bias, alpha=1.0, beta=1.0)
    return build.op("Reshape", product, build.integers(build.batch, length, outputs))
