"""Qwen3 (Yang et al. 2025): Llama with normalized queries and keys, and late windows."""

from __future__ import annotations

from pimloop.host.models.architectures.base import BuiltIn
from pimloop.host.models.decoders.blocks import Switches
from pimloop.host.models.decoders.config import DecoderConfig
from pimloop.host.models.decoders.reading import LeftOut
from pimloop.host.models.decoders.rope import Rope
from pimloop.host.models.decoders.windows import LateWindowsDecoder

ARCHITECTURE = LateWindowsDecoder(
    model_type="qwen3",
    class_prefix="Qwen3",
    published="2025-05",
    left_out_key_heads=LeftOut(32),
    left_out_head_size=LeftOut(128, nullable=False),
    biases=("attention_bias",),
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
