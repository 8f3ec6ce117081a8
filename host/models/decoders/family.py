"""Llama and its descendants: rotary positions, grouped queries, a gated feed-forward product.

What `architectures` files derive from. The two graphs of a generation are those of
`CachedDecoder`; keys are kept turned by their positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.models import config_json, heads
from pimloop.host.models.architectures.base import UNQUANTIZED, CachedDecoder
from pimloop.host.models.builder import GraphBuilder, Past
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.decoders.blocks import Blocks, Rotation, Switches
from pimloop.host.models.decoders.config import DecoderConfig
from pimloop.host.models.decoders.masks import Mask, additive, sequence_mask
from pimloop.host.models.decoders.reading import (
    LeftOut,
    flag,
    layer_kinds,
    not_read,
    read_rope,
    size_or,
)
from pimloop.host.models.decoders.rope import Rope
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.heads import Head
from pimloop.host.models.parameters import Weights
from pimloop.host.models.weights import NORM_SPREAD

TOKENS = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"

#: Owners of normalization parameters, in all architectures.
_NORMS = (
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
    "post_feedforward_layernorm", "q_norm", "k_norm", "norm",
)  # fmt: skip

#: The input of a step that hides what a layer with a window does not attend to.
_WINDOW_MASK = "window_mask"

#: Options of transformers that make attention look ahead.
CAUSAL: Mapping[str, tuple[Any, ...]] = {
    "is_causal": (True, None),
    "use_bidirectional_attention": (False, None),
}


def language_model(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
    """`logits` (batch, length, vocabulary): a product with the token table or one of its own."""
    config = decoder_config(build.config)
    name = TOKENS if config.tied else OUTPUT
    columns = build.transposed(name, (config.vocabulary, config.hidden))
    logits = build.op("MatMul", x, columns)
    return {"logits": build.capped(logits, config.logit_cap)}


def decoder_config(config: ModelConfig) -> DecoderConfig:
    """Return a configuration of this family as what it is.

    Raises
    ------
    PimloopError
        When it was made without the fields of one.
    """
    if not isinstance(config, DecoderConfig):
        raise PimloopError(
            f"model {config.name}: {config.architecture} needs a DecoderConfig, for one"
            " `dataclasses.replace` of a built-in model's"
        )
    return config


@dataclass(frozen=True, kw_only=True, eq=False)
class RotaryDecoder(CachedDecoder):
    """A decoder of this family; a file sets `switches` and what its config.json leaves out."""

    config_type: type[ModelConfig] = DecoderConfig
    sizes: Mapping[str, str] = field(
        default_factory=lambda: {
            "layers": "num_hidden_layers",
            "hidden": "hidden_size",
            "heads": "num_attention_heads",
            "intermediate": "intermediate_size",
            "vocabulary": "vocab_size",
            "positions": "max_position_embeddings",
        }
    )
    heads: Mapping[str, Head] = field(
        default_factory=lambda: {"lm": language_model, "none": heads.bare}
    )
    head_classes: Mapping[str, str] = field(
        default_factory=lambda: {"ForCausalLM": "lm", "Model": "none"}
    )
    activation: str = "silu"
    epsilon_key: str = "rms_norm_eps"
    epsilon: float = 1e-6
    base_prefix: str = "model."
    norms: tuple[str, ...] = _NORMS
    # Buffers of older files.
    unread: tuple[str, ...] = (
        "model.layers.*.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq",
    )  # fmt: skip
    copies: Mapping[str, str] = field(default_factory=lambda: {OUTPUT: TOKENS})
    fixed_options: Mapping[str, tuple[Any, ...]] = field(
        default_factory=lambda: {**UNQUANTIZED, **CAUSAL}
    )
    switches: Switches = field(default_factory=Switches)
    # What a config.json leaves out: as the configuration classes of transformers 4.51 to 5.24.
    left_out_key_heads: LeftOut = field(default_factory=LeftOut)
    left_out_head_size: LeftOut = field(default_factory=LeftOut)
    tied: bool = False
    window: int | None = None
    original_positions: int | None = None  # of a scaling
    # What of a config.json the architecture reads, beside what all do.
    biases: tuple[str, ...] = ()  # of "attention_bias", "mlp_bias"
    partial_rotation: bool = False  # partial_rotary_factor
    chosen_windows: bool = False  # layer_types

    def read_fields(self, data: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the sizes and what `DecoderConfig` has besides."""
        fields = super().read_fields(data, where)
        keys = "num_key_value_heads"
        fields |= {
            "key_heads": size_or(data, keys, self.left_out_key_heads, where),
            "head_width": size_or(data, "head_dim", self.left_out_head_size, where),
            "tied": flag(data, "tie_word_embeddings", self.tied, where),
            "attention_bias": self._bias(data, "attention_bias", where),
            "feed_forward_bias": self._bias(data, "mlp_bias", where),
        }
        # Before the numbers that follow from them.
        default = "" if keys in data else f", which model_type '{self.model_type}' has without it"
        _check_heads(fields["hidden"], fields["heads"], fields["key_heads"],
                     fields["head_width"], where, default)  # fmt: skip
        return fields | self.read_attention(data, fields, where)

    def _bias(self, data: Mapping[str, Any], key: str, where: str) -> bool:
        """Return whether products have a bias, which not every architecture lets a file choose."""
        if key in self.biases:
            return flag(data, key, False, where)
        if data.get(key) not in (False, None):
            raise not_read(
                f"{key} = {config_json.shown(data[key])} is not supported: transformers does not"
                f" read it of model_type '{self.model_type}'",
                where,
            )
        return False

    def read_attention(
        self, data: Mapping[str, Any], fields: Mapping[str, Any], where: str
    ) -> dict[str, Any]:
        """Return rotary positions, windows, scales and caps; `fields` are those read so far."""
        layers = fields["layers"]
        windowed = layer_kinds(data, layers, where)
        if windowed is None:
            windowed = self.windowed(data, layers, where)
        else:
            self.check_kinds(data, windowed, where)
        window = self._window(data, where) if any(windowed) else None
        return {
            "rope": self.rope(data, fields, where),
            "window": window,
            "windowed": () if window is None else windowed,
        }

    def _window(self, data: Mapping[str, Any], where: str) -> int:
        """Return the window of the layers that have one."""
        key = "sliding_window"
        said = {key: self.window} | dict(data)
        if said[key] is None:
            raise PimloopError(
                f"{where}: {key} is missing or null, though layers have a window; give its tokens"
            )
        return config_json.size(said, key, where)

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`: none."""
        return ()

    def check_kinds(self, data: Mapping[str, Any], chosen: tuple[bool, ...], where: str) -> None:
        """Raise PimloopError when the windows that `layer_types` chooses cannot be chosen.

        `chosen` says which layers have one by it; transformers reads it of some model types only.
        """
        if self.chosen_windows:
            return
        usual = self.windowed(data, len(chosen), where)
        if (any(chosen) or any(usual)) and chosen != usual:
            raise not_read(
                f"layer_types has a window in {sum(chosen)} of {len(chosen)} layers, and model_type"
                f" '{self.model_type}' by the other keys in {sum(usual)}: transformers does not"
                " read layer_types of it",
                where,
            )

    def rope(
        self, data: Mapping[str, Any], fields: Mapping[str, Any], where: str, **further: Any
    ) -> Rope:
        """Return the rotary positions; `further` goes to `reading.read_rope`."""
        return read_rope(
            data, where,
            head_size=fields["head_width"] or fields["hidden"] // fields["heads"],
            positions=fields["positions"], original=self.original_positions,
            partial=self.partial_rotation, **further,
        )  # fmt: skip

    def check(self, config: ModelConfig, where: str) -> None:
        """Raise PimloopError when the sizes of `config` do not fit together."""
        full = decoder_config(config)
        _check_heads(full.hidden, full.heads, full.key_heads, full.head_width, where)
        self.check_activation(config, where)

    def deviation(self, config: ModelConfig, name: str) -> float:
        """Return the deviation of a random parameter, those of centred normalizations included."""
        if name.rpartition(".")[0].rpartition(".")[2] in _NORMS:
            return NORM_SPREAD
        return super().deviation(config, name)

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
        build = self.builder(config, weights, length, batch)
        ids, x, _ = self._sequence(build, masked=masked)
        return self._finish(build, x, ids, {}, hidden_states=hidden_states)

    def prefill(
        self,
        config: ModelConfig,
        weights: Weights,
        length: int,
        *,
        batch: int = 1,
        masked: bool = False,
    ) -> Graph:
        """Return the graph over a prompt; see `CachedDecoder.prefill`."""
        build = self.builder(config, weights, length, batch)
        ids, x, cache = self._sequence(build, masked=masked)
        if length > 1:
            x = build.op("Gather", x, build.integers(length - 1), axis=1)
        return self._finish(build, x, ids, cache)

    def step(self, config: ModelConfig, weights: Weights, context: int, *, batch: int = 1) -> Graph:
        """Return the graph for one more token; see `CachedDecoder.step`.

        With layers that have a window it has `window_mask` beside `cache_mask`, for them.
        """
        build = self.builder(config, weights, 1, batch)
        full = decoder_config(config)
        ids = build.input("input_ids", (batch, 1), below=config.vocabulary)
        position = build.input("position_ids", (batch, 1), below=context + 1)
        shape = (batch, 1, 1, context + 1)
        masks = [build.input("cache_mask", shape, np.float32)] * 2
        if _windows(full):
            masks[1] = build.input(_WINDOW_MASK, shape, np.float32)
        rotations = _rotations(build, full, position, context + 1)

        def mask(window: int | None) -> str:
            return masks[window is not None]

        past = build.pasts(full.cached_heads, full.head_size, context)
        x, rows = self._layers(build, ids, mask, rotations, past)
        return self._finish(build, x, ids, {}, rows)

    def step_masks(
        self, config: ModelConfig, used: int, kept: NDArray[np.bool_]
    ) -> dict[str, Array]:
        """Return the masks of a step; see `CachedDecoder.step_masks`."""
        masks = super().step_masks(config, used, kept)
        windows = _windows(decoder_config(config))
        if windows:
            (window,) = windows
            place = np.arange(kept.shape[1])
            masks[_WINDOW_MASK] = additive(kept & (place > used - window))[:, None, None]
        return masks

    def _sequence(self, build: GraphBuilder, *, masked: bool) -> tuple[str, str, dict[str, str]]:
        """Add the layers over a sequence from its start; return ids, hidden states and cache."""
        shape = (build.batch, build.sequence_length)
        ids = build.input("input_ids", shape, below=build.config.vocabulary)
        padding = build.input("attention_mask", shape, below=2) if masked else None
        config = decoder_config(build.config)
        rotations = _rotations(build, config, None, build.sequence_length)
        return ids, *self._layers(build, ids, sequence_mask(build, padding), rotations)

    def _layers(
        self,
        build: GraphBuilder,
        ids: str,
        mask: Mask,
        rotations: Mapping[Rope, Rotation],
        past: list[Past] | None = None,
    ) -> tuple[str, dict[str, str]]:
        """Add embeddings, layers and the last normalization; return what it makes and the cache."""
        config = decoder_config(build.config)
        table = build.parameter(TOKENS, (config.vocabulary, config.hidden))
        x = build.op("Gather", table, ids)
        if self.switches.scaled_embeddings:
            x = build.op("Mul", x, build.scalar(sqrt(config.hidden)))
        blocks = Blocks(build, config, self.switches, mask, rotations)
        cache: dict[str, str] = {}
        for layer in range(config.layers):
            before = None if past is None else past[layer]
            x, key, value = blocks.layer(x, layer, before)
            cache |= {f"present.{layer}.key": key, f"present.{layer}.value": value}
        return x, cache

    def _finish(
        self,
        build: GraphBuilder,
        x: str,
        ids: str,
        cache: dict[str, str],
        rows: dict[str, str] | None = None,
        *,
        hidden_states: bool = False,
    ) -> Graph:
        head = self.head(build.config)
        centred = self.switches.centred_norms
        x = build.rms_norm(x, "model.norm", build.config.hidden, centred)
        named = head(build, x, ids)
        if hidden_states or build.config.head == "none":
            named["last_hidden_state"] = x
        return build.finish({**named, **cache}, rows)


def _windows(config: DecoderConfig) -> set[int]:
    """Return the windows that layers of a configuration have: none or one."""
    windows = {config.window_of(layer) for layer in range(config.layers)}
    return {window for window in windows if window is not None}


def _rotations(
    build: GraphBuilder, config: DecoderConfig, positions: str | None, length: int
) -> dict[Rope, Rotation]:
    """Return what turns the tokens at hand, for each of the rotary positions.

    Parameters
    ----------
    positions
        Of the tokens, (batch, 1); None: they are a sequence from its start.
    length
        Positions, from 0, that the tokens may have.
    """
    ropes = dict.fromkeys(config.rope_of(layer) for layer in range(config.layers))
    rotations = {}
    for number, rope in enumerate(ropes):
        tables = rope.tables(config.head_size, length, alone=positions is not None)
        cosines, sines = (
            _rows(build, f"rope.{number}.{name}", table, positions)
            for name, table in zip(("cos", "sin"), tables, strict=True)
        )
        rotations[rope] = Rotation(cosines, sines, rope.width(config.head_size))
    return rotations


def _rows(build: GraphBuilder, name: str, table: NDArray[np.float32], positions: str | None) -> str:
    """Return the rows of a table at the positions, (batch or 1, 1, length, width)."""
    if positions is None:
        return build.constant(f"{name}.rows", table[None, None])
    return build.op(
        "Unsqueeze", build.op("Gather", build.constant(name, table), positions), build.integers(1)
    )


def _check_heads(
    hidden: int, queries: int, keys: int | None, width: int | None, where: str, default: str = ""
) -> None:
    """Raise PimloopError when heads do not divide what they must.

    `default` says where the heads of keys are from that a file does not give.
    """
    if width is None and hidden % queries:
        raise PimloopError(
            f"{where}: hidden size {hidden} is no multiple of {queries} heads; give head_dim"
            " where a head has another size"
        )
    if keys is not None and queries % keys:
        raise PimloopError(
            f"{where}: {queries} heads (num_attention_heads) are no multiple of the {keys} heads"
            f" of keys and values (num_key_value_heads{default})"
        )
