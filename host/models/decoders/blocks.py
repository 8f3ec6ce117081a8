"""The operators of a layer: attention with grouped queries, and the gated feed-forward product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from pimloop.host.models.builder import GraphBuilder, Past
from pimloop.host.models.decoders.config import DecoderConfig
from pimloop.host.models.decoders.masks import Mask
from pimloop.host.models.decoders.rope import Rope


@dataclass(frozen=True)
class Switches:
    """How the architectures differ in their operators and in the names of their parameters."""

    joint_products: bool = False  # query, key and value in one product, gate and up in another
    query_biases: bool = False  # of query, key and value, whatever the configuration says
    head_norms: bool = False  # queries and keys are normalized, each head by itself
    centred_norms: bool = False  # a normalization multiplies by its weight + 1
    norms_behind: bool = False  # also what a block adds to the sum is normalized
    scaled_embeddings: bool = False  # times sqrt(hidden)


#: Names of a layer's normalizations: before attention and before the feed-forward product.
_BEFORE = ("input_layernorm", "post_attention_layernorm")

#: The same where what they make is normalized too, and what does that.
_AROUND = ("input_layernorm", "pre_feedforward_layernorm")
_BEHIND = ("post_attention_layernorm", "post_feedforward_layernorm")


@dataclass(frozen=True)
class Rotation:
    """Cosines and signed sines of the tokens at hand, (batch or 1, 1, length, width)."""

    cosines: str
    sines: str
    width: int  # features that are turned


class Blocks:
    """Adds layers to a graph.

    Parameters
    ----------
    build
        The graph; its configuration is a `DecoderConfig`.
    switches
        Of the architecture.
    mask
        What is added to the scores of a layer, by its window.
    rotations
        Of the tokens at hand, for each of the configuration's rotary positions.
    """

    def __init__(
        self,
        build: GraphBuilder,
        config: DecoderConfig,
        switches: Switches,
        mask: Mask,
        rotations: Mapping[Rope, Rotation],
    ) -> None:
        self._build = build
        self._config = config
        self._switches = switches
        self._mask = mask
        self._rotations = rotations

    def norm(self, x: str, name: str) -> str:
        """Root mean square normalization over the last axis."""
        return self._build.rms_norm(x, name, self._config.hidden, self._switches.centred_norms)

    def layer(self, x: str, index: int, past: Past | None = None) -> tuple[str, str, str]:
        """Add one layer.

        Parameters
        ----------
        x
            (batch, length, hidden).
        index
            Of the layer.
        past
            Keys and values of the tokens before; None: there are none.

        Returns
        -------
        tuple of str
            The layer's output, and the keys and values of the tokens at hand (batch, key heads,
            length, head size).
        """
        prefix = f"model.layers.{index}"
        around = self._switches.norms_behind
        first, second = (f"{prefix}.{name}" for name in (_AROUND if around else _BEFORE))
        mixed, key, value = self._attention(self.norm(x, first), f"{prefix}.self_attn", index, past)
        if around:
            mixed = self.norm(mixed, f"{prefix}.{_BEHIND[0]}")
        x = self._build.op("Add", x, mixed)
        inner = self._feed_forward(self.norm(x, second), f"{prefix}.mlp")
        if around:
            inner = self.norm(inner, f"{prefix}.{_BEHIND[1]}")
        return self._build.op("Add", x, inner), key, value

    def _attention(self, x: str, name: str, index: int, past: Past | None) -> tuple[str, str, str]:
        build, config = self._build, self._config
        heads, size = config.heads, config.head_size
        query, key, value = self._projections(x, name)
        if self._switches.head_norms:
            centred = self._switches.centred_norms
            query = build.rms_norm(query, f"{name}.q_norm", size, centred)
            key = build.rms_norm(key, f"{name}.k_norm", size, centred)
        query, key, value = (
            build.op("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, key, value)
        )
        rotation = self._rotations[config.rope_of(index)]
        query, key = (self._turned(part, rotation) for part in (query, key))
        keys, values = key, value
        if past is not None:
            keys = build.append(past.keys, key, past.index)
            values = build.append(past.values, value, past.index)
        mixed = self._mixed(query, keys, values, self._mask(config.window_of(index)))
        mixed = build.op("Transpose", mixed, perm=[0, 2, 1, 3])
        rows = build.integers(build.batch, build.sequence_length, heads * size)
        mixed = build.op("Reshape", mixed, rows)
        bias = config.attention_bias
        output = build.linear(mixed, f"{name}.o_proj", heads * size, config.hidden, bias=bias)
        return output, key, value

    def _projections(self, x: str, name: str) -> tuple[str, ...]:
        """Return query, key and value, (batch, length, heads, head size) each."""
        build, config = self._build, self._config
        size, hidden = config.head_size, config.hidden
        heads = (config.heads, config.cached_heads, config.cached_heads)
        bias = config.attention_bias or self._switches.query_biases
        widths = [count * size for count in heads]
        if self._switches.joint_products:
            joint = build.linear(x, f"{name}.qkv_proj", hidden, sum(widths), bias=bias)
            parts = build.multi("Split", joint, build.integers(*widths), outputs=3, axis=-1)
        else:
            parts = [
                build.linear(x, f"{name}.{part}_proj", hidden, width, bias=bias)
                for part, width in zip("qkv", widths, strict=True)
            ]
        return tuple(
            build.op(
                "Reshape", part, build.integers(build.batch, build.sequence_length, count, size)
            )
            for part, count in zip(parts, heads, strict=True)
        )

    def _turned(self, x: str, rotation: Rotation) -> str:
        """Turn the first features of every head, (batch, heads, length, head size)."""
        build, width = self._build, rotation.width
        rest = self._config.head_size - width
        kept = ""
        if rest:
            x, kept = build.multi("Split", x, build.integers(width, rest), outputs=2, axis=-1)
        halves = build.integers(width // 2, width // 2)
        first, second = build.multi("Split", x, halves, outputs=2, axis=-1)
        swapped = build.op("Concat", second, first, axis=-1)
        turned = build.op(
            "Add",
            build.op("Mul", x, rotation.cosines),
            build.op("Mul", swapped, rotation.sines),
        )
        return build.op("Concat", turned, kept, axis=-1) if rest else turned

    def _mixed(self, query: str, keys: str, values: str, mask: str | None) -> str:
        """Return the values weighed by attention, (batch, heads, length, head size).

        The queries that share a head of keys are rows of one product, so no key is copied.
        """
        build, config = self._build, self._config
        batch, length, size = build.batch, build.sequence_length, config.head_size
        group = config.heads // config.cached_heads
        rows = (batch, config.cached_heads, group * length)
        scale = config.score_scale
        if group > 1:
            query = build.op("Reshape", query, build.integers(*rows, size))
        columns = build.op("Transpose", keys, perm=[0, 1, 3, 2])
        scores = build.op("MatMul", query, columns)
        scores = build.op("Mul", scores, build.scalar(1 / sqrt(size) if scale is None else scale))
        scores = build.capped(scores, config.score_cap)
        # A mask of one row is that of every query.
        apart = mask is not None and group > 1 and length > 1
        if apart:
            scores = build.op("Reshape", scores, build.integers(batch, config.heads, length, -1))
        if mask is not None:
            scores = build.op("Add", scores, mask)
        shares = build.op("Softmax", scores, axis=-1)
        if apart:
            shares = build.op("Reshape", shares, build.integers(*rows, -1))
        mixed = build.op("MatMul", shares, values)
        if group > 1:
            mixed = build.op("Reshape", mixed, build.integers(batch, config.heads, length, size))
        return mixed

    def _feed_forward(self, x: str, name: str) -> str:
        """Add down(activation(gate x) * up x)."""
        build, config = self._build, self._config
        hidden, inner, bias = config.hidden, config.intermediate, config.feed_forward_bias
        if self._switches.joint_products:
            joint = build.linear(x, f"{name}.gate_up_proj", hidden, 2 * inner, bias=bias)
            gate, up = build.multi("Split", joint, build.integers(inner, inner), outputs=2, axis=-1)
        else:
            gate, up = (
                build.linear(x, f"{name}.{part}_proj", hidden, inner, bias=bias)
                for part in ("gate", "up")
            )
        gated = build.op("Mul", build.activation(gate), up)
        return build.linear(gated, f"{name}.down_proj", inner, hidden, bias=bias)
