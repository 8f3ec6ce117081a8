"""What the weights of a decoder take in one decode step when the PIM computes every product."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pimloop.host.execution.device import open_pim
from pimloop.host.execution.options import Options
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.platforms.platform import load_platform

#: What one channel of DDR4-2400 streams beside refresh and row changes, bytes/s: 60 % of its
#: 19.2 GB/s, which is what one bank after the other gives at tCCD_L.
STREAM = 11.6e9


def products(config):
    """Return how many products of (1, inner) x (inner, columns) a step has, by (inner, columns)."""
    hidden, inner = config.hidden, config.intermediate
    queries, keys = config.heads * config.head_size, config.cached_heads * config.head_size
    layer = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden),
             (hidden, inner), (hidden, inner), (inner, hidden)]  # fmt: skip
    shapes = Counter(layer * config.layers)
    shapes[hidden, config.vocabulary] += 1
    return shapes


@pytest.mark.parametrize("logits", [False, pytest.param(True, marks=pytest.mark.full)])
def test_a_decode_step_streams_its_weights_once(logits):
    """qwen3-0.6b: each shape of a product is simulated once; equal layers take the same."""
    platform = load_platform("htg-z920")
    config = BUILT_IN["qwen3-0.6b"]
    shapes = products(config)
    # All parameters but the normalizations'.
    assert sum(count * q * r for (q, r), count in shapes.items()) == 595_984_384
    if not logits:  # which are a quarter of the weights, and nine tenths of what is simulated
        del shapes[config.hidden, config.vocabulary]
    us = clocks = nbytes = 0.0
    with open_pim(platform, Options()) as (_, driver):
        for (inner, columns), count in shapes.items():
            left = driver.upload(np.zeros((1, inner), np.float32))
            right = driver.new_matrix((inner, columns))  # its values take no time
            result = driver.matmul(left, right)
            clocks += count * driver.last.cycles
            us += count * platform.pim_time_us(driver.last.cycles)
            nbytes += count * 2 * inner * columns
            for tensor in (left, right, result):
                tensor.free()
    wanted = nbytes / STREAM * 1e6
    assert platform.device_us(round(clocks)) == pytest.approx(wanted, rel=0.1)
    # The driver's calls are not the channel's: they come on top.
    calls = sum(shapes.values())
    assert us == pytest.approx(platform.device_us(round(clocks)) + calls * platform.pim_time_us(0))
