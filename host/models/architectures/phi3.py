"""Phi-3 (Abdin et al. 2024): joint products, and a window in every layer where there is one."""

from __future__ import annotations

from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.windows import WindowedDecoder

ARCHITECTURE = WindowedDecoder(
    model_type="phi3",
    class_prefix="Phi3",
    published="2024-04",
    epsilon=1e-5,
    switches=Switches(joint_products=True),
    original_positions=4096,
    partial_rotation=True,
)
