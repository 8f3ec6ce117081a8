"""Phi-3 (Abdin et al. 2024): joint products, and a window in every layer where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.family import RotaryDecoder


@dataclass(frozen=True, kw_only=True, eq=False)
class Phi3(RotaryDecoder):
    """A decoder whose layers all have the window that `sliding_window` names."""

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`: all, but for null."""
        return (data.get("sliding_window") is not None,) * layers


ARCHITECTURE = Phi3(
    model_type="phi3",
    class_prefix="Phi3",
    published="2024-04",
    epsilon=1e-5,
    switches=Switches(joint_products=True),
    original_positions=4096,
)
