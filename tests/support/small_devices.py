"""Functional devices so small that small shapes meet every limit: splits, tiles, full memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pimloop.host.common import golden
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.platforms.platform import load_platform
from support.random_lists import random_bits

#: An operand of 65 to 128 elements is split in two; a tile has 2 beats.
DEPTH = 64
TILE_BEATS = 2


def small_geometry(style: str, capacity: int = 1 << 18) -> Geometry:
    """Return a device of 4 banks with beats of 64 bytes (per_bank) or 128 bytes (all_bank)."""
    platform = {"per_bank": "htg-z920", "all_bank": "aim"}[style]
    whole = load_platform(platform).geometry()
    beat = 4 * whole.atom_bytes if whole.all_bank else whole.atom_bytes
    return replace(
        whole,
        capacity=capacity,
        banks=4,
        beat_bytes=beat,
        lanes=beat // 2,
        acc_groups=TILE_BEATS,
        scalar_depth=DEPTH,
    )


def small_device(style: str, capacity: int = 1 << 18, buffer_bytes: int = 1 << 16) -> ModelDevice:
    """Return an open device with memory full of ones bits: what is read before it is written."""
    device = ModelDevice(small_geometry(style, capacity), buffer_bytes, 1 << 32)
    device.memory[:] = 0xAA
    return device


def operand(seed: int, *shape: int) -> np.ndarray:
    """Return float32 values that bfloat16 holds exactly, NaN and infinities among them."""
    bits = random_bits(np.random.default_rng(seed), int(np.prod(shape)))
    return golden.bf16_to_f32(bits).reshape(shape)


def plain(seed: int, *shape: int) -> np.ndarray:
    """Return different small integers, never 0: any mix-up of elements shows in every sum."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 120, shape).astype(np.float32) * rng.choice([-1.0, 1.0], shape).astype(
        np.float32
    )
