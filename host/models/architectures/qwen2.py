"""Qwen2 (Yang et al. 2024): Llama with biases of query, key and value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.family import RotaryDecoder
from pimloop.host.models.decoders.reading import late_windows


@dataclass(frozen=True, kw_only=True, eq=False)
class Qwen2(RotaryDecoder):
    """A decoder that may have a window, in its later layers."""

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`."""
        return late_windows(data, layers, where)


ARCHITECTURE = Qwen2(
    model_type="qwen2",
    class_prefix="Qwen2",
    published="2024-07",
    switches=Switches(query_biases=True),
)
