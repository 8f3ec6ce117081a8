"""Gemma 3 for text (Gemma Team 2025): normalized heads, windows with rotary positions of their own.

Every sixth layer attends to all tokens before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pimloop.host.models import config_json
from pimloop.host.models.architectures.base import UNQUANTIZED
from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.family import CAUSAL, RotaryDecoder
from pimloop.host.models.decoders.reading import FULL, WINDOWED, LeftOut, caps_and_scale
from pimloop.host.models.decoders.rope import Rope


@dataclass(frozen=True, kw_only=True, eq=False)
class Gemma3(RotaryDecoder):
    """A decoder with normalizations around its products and two kinds of rotary positions."""

    fixed_options: Mapping[str, tuple[Any, ...]] = field(
        default_factory=lambda: {
            **UNQUANTIZED,
            **CAUSAL,
            # In transformers' configuration, but no layer of it reads it.
            "attn_logit_softcapping": (None,),
        }
    )
    # Gemma3Model is the model of texts and images.
    head_classes: Mapping[str, str] = field(
        default_factory=lambda: {"ForCausalLM": "lm", "TextModel": "none"}
    )

    def read_attention(
        self, data: Mapping[str, Any], fields: Mapping[str, Any], where: str
    ) -> dict[str, Any]:
        """Return also the rotary positions of layers with a window, caps and the scale."""
        local = super().rope(
            data, fields, where, kind=WINDOWED, theta_key="rope_local_base_freq", scaled=False
        )
        return (
            super().read_attention(data, fields, where)
            | caps_and_scale(data, where, score_cap=None, logit_cap=None)
            | {"window_rope": local}
        )

    def rope(
        self, data: Mapping[str, Any], fields: Mapping[str, Any], where: str, **further: Any
    ) -> Rope:
        """Return the rotary positions of layers without a window."""
        return super().rope(data, fields, where, **({"theta": 1000000.0, "kind": FULL} | further))

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`: all but every sixth."""
        key = "sliding_window_pattern"
        every = config_json.size({key: 6} | dict(data), key, where)
        return tuple((layer + 1) % every != 0 for layer in range(layers))


ARCHITECTURE = Gemma3(
    model_type="gemma3_text",
    class_prefix="Gemma3",
    published="2025-03",
    activation_key="hidden_activation",
    activation="gelu_pytorch_tanh",
    norms=(),  # their weights are about 0
    switches=Switches(
        head_norms=True, centred_norms=True, norms_behind=True, scaled_embeddings=True
    ),
    tied=True,
    window=4096,
    left_out_key_heads=LeftOut(4, nullable=False),
    left_out_head_size=LeftOut(256, nullable=False),
    biases=("attention_bias",),
    chosen_windows=True,
)
