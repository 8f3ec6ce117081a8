"""Llama (Touvron et al. 2023) and models of its architecture."""

from __future__ import annotations

from pimloop.host.models.architectures.base import BuiltIn
from pimloop.host.models.decoders.config import DecoderConfig
from pimloop.host.models.decoders.family import RotaryDecoder
from pimloop.host.models.decoders.rope import Llama3, Rope

ARCHITECTURE = RotaryDecoder(
    model_type="llama",
    class_prefix="Llama",
    published="2023-02",
    biases=("attention_bias", "mlp_bias"),
    built_in=(
        BuiltIn(
            DecoderConfig(
                name="smollm2-135m",
                architecture="llama",
                layers=30,
                hidden=576,
                heads=9,
                key_heads=3,
                intermediate=1536,
                vocabulary=49152,
                positions=8192,
                activation="silu",
                layer_norm_epsilon=1e-5,
                initializer_range=0.041666666666666664,
                rope=Rope(theta=100000.0),
                tied=True,
                weight_type="bfloat16",
                head="lm",
            ),
            "SmolLM2 135M: 30 layers, hidden 576, 9 heads on 3, language-model head",
            "Ben Allal et al. 2025",
        ),
        BuiltIn(
            DecoderConfig(
                name="llama-3.2-1b",
                architecture="llama",
                layers=16,
                hidden=2048,
                heads=32,
                key_heads=8,
                head_width=64,
                intermediate=8192,
                vocabulary=128256,
                positions=131072,
                activation="silu",
                layer_norm_epsilon=1e-5,
                rope=Rope(
                    theta=500000.0, scaling=Llama3(factor=32.0, low=1.0, high=4.0, original=8192)
                ),
                tied=True,
                weight_type="bfloat16",
                head="lm",
            ),
            "Llama 3.2 1B: 16 layers, hidden 2048, 32 heads on 8, language-model head",
            "Meta 2024",
        ),
    ),
)
