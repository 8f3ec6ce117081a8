"""Qwen2 (Yang et al. 2024): Llama with biases of queries, keys and values, and late windows."""

from __future__ import annotations

from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.reading import LeftOut
from pimloop.host.models.decoders.windows import LateWindowsDecoder

ARCHITECTURE = LateWindowsDecoder(
    model_type="qwen2",
    class_prefix="Qwen2",
    published="2024-07",
    left_out_key_heads=LeftOut(32),
    switches=Switches(query_biases=True),
)
