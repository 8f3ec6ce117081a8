"""Mistral 7B (Jiang et al. 2023): Llama with a window in every layer."""

from __future__ import annotations

from pimloop.host.models.decoders.reading import LeftOut
from pimloop.host.models.decoders.windows import WindowedDecoder

ARCHITECTURE = WindowedDecoder(
    model_type="mistral",
    class_prefix="Mistral",
    published="2023-10",
    window=4096,
    left_out_key_heads=LeftOut(8, nullable=False),
)
