"""Gemma 2 (Gemma Team 2024): capped scores and logits, a window in every other layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.family import RotaryDecoder
from pimloop.host.models.decoders.reading import LeftOut, caps_and_scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Gemma2(RotaryDecoder):
    """A decoder with normalizations around its products, and caps."""

    def read_attention(
        self, data: Mapping[str, Any], fields: Mapping[str, Any], where: str
    ) -> dict[str, Any]:
        """Return also the caps and the scale of scores."""
        return super().read_attention(data, fields, where) | caps_and_scale(
            data, where, score_cap=50.0, logit_cap=30.0
        )

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`: the first, the third, ..."""
        return tuple(layer % 2 == 0 for layer in range(layers))


ARCHITECTURE = Gemma2(
    model_type="gemma2",
    class_prefix="Gemma2",
    published="2024-08",
    activation_key="hidden_activation",
    activation="gelu_pytorch_tanh",
    norms=(),  # their weights are about 0
    switches=Switches(centred_norms=True, norms_behind=True, scaled_embeddings=True),
    tied=True,
    window=4096,
    left_out_key_heads=LeftOut(4, nullable=False),
    left_out_head_size=LeftOut(256, nullable=False),
    biases=("attention_bias",),
    chosen_windows=True,
)
