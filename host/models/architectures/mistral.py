"""Mistral 7B (Jiang et al. 2023): Llama with a window in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.host.models.decoders.family import RotaryDecoder


@dataclass(frozen=True, kw_only=True, eq=False)
class Mistral(RotaryDecoder):
    """A decoder whose layers all have the window that `sliding_window` names."""

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`: all, but for null."""
        return (data.get("sliding_window", self.window) is not None,) * layers


ARCHITECTURE = Mistral(
    model_type="mistral", class_prefix="Mistral", published="2023-10", window=4096
)
