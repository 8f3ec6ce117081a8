"""Qwen3 (Yang et al. 2025): Llama with normalized heads of queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.host.models.architectures.base import BuiltIn
from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.config import DecoderConfig
from pimloop.host.models.decoders.family import RotaryDecoder
from pimloop.host.models.decoders.reading import late_windows
from pimloop.host.models.decoders.rope import Rope


@dataclass(frozen=True, kw_only=True, eq=False)
class Qwen3(RotaryDecoder):
    """A decoder that may have a window, in its later layers."""

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`."""
        return late_windows(data, layers, where)


ARCHITECTURE = Qwen3(
    model_type="qwen3",
    class_prefix="Qwen3",
    published="2025-05",
    switches=Switches(head_norms=True),
    built_in=(
        BuiltIn(
            DecoderConfig(
                name="qwen3-0.6b",
                architecture="qwen3",
                layers=28,
                hidden=1024,
                heads=16,
                key_heads=8,
                head_width=128,
                intermediate=3072,
                vocabulary=151936,
                positions=40960,
                activation="silu",
                layer_norm_epsilon=1e-6,
                rope=Rope(theta=1000000.0),
                tied=True,
                weight_type="bfloat16",
                head="lm",
            ),
            "Qwen3 0.6B: 28 layers, hidden 1024, 16 heads on 8, language-model head",
            "Yang et al. 2025",
        ),
    ),
)
