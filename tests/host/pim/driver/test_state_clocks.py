"""Simulated DRAM clocks of products by a cache, to the clock: they grow with its rows.

docs/llm.md prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from support.paths import REPOSITORY

from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform

HEADS, QUERIES, SIZE, CAPACITY = 2, 2, 64, 4096
FILLED = (16, 128, 1024, 4096)

#: Scores and result of each platform, for the rows of `FILLED`.
CLOCKS = {
    "htg-z920": ((6780, 19344, 137976, 549436), (2644, 10436, 72964, 288368)),
    "aim": ((4032, 8634, 56662, 222422), (2004, 7218, 41426, 162038)),
}


@pytest.fixture(scope="module", params=CLOCKS)
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[str, PimDriver]]:
    platform = load_platform(request.param)
    with open_device(platform) as device:
        yield request.param, PimDriver.for_platform(device, platform)


def test_clocks_grow_with_the_rows_that_are_there(opened: tuple[str, PimDriver]) -> None:
    name, driver = opened
    rng = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    keys = driver.new_tensor((1, HEADS, CAPACITY, SIZE))
    cached = driver.new_tensor((1, HEADS, CAPACITY, SIZE))
    scores = driver.new_tensor((1, HEADS, QUERIES, CAPACITY))
    query = driver.upload(values(1, HEADS, QUERIES, SIZE))
    shares = driver.upload(values(1, HEADS, QUERIES, CAPACITY))
    row = driver.upload(values(1, HEADS, 1, SIZE))
    counted: tuple[list[int], list[int]] = ([], [])
    appended = []
    for filled in FILLED:
        driver.append(keys, row, filled - 1)
        appended.append(driver.last.cycles)
        driver.matmul(query, keys, transpose_b=True, filled=filled, out=scores)
        counted[0].append(driver.last.cycles)
        # What the lanes took: every element of the rows once a query.
        multiplied = driver.last.counters["mac"]
        assert multiplied >= HEADS * QUERIES * SIZE * filled / driver.geometry.lanes
        driver.matmul(shares, cached, filled=filled).free()
        counted[1].append(driver.last.cycles)
    assert tuple(map(tuple, counted)) == CLOCKS[name]
    assert len(set(appended)) == 1  # as long wherever the row goes
    for clocks in counted:
        slope = (clocks[3] - clocks[2]) / (FILLED[3] - FILLED[2])
        early = (clocks[2] - clocks[1]) / (FILLED[2] - FILLED[1])
        assert slope == pytest.approx(early, rel=0.1)


def test_the_page_has_these_clocks() -> None:
    text = (REPOSITORY / "docs" / "llm.md").read_text(encoding="utf-8")
    for name, (scores, result) in CLOCKS.items():
        for product, clocks in (("scores", scores), ("result", result)):
            numbers = r" \| ".join(f"{count:,}" for count in clocks)
            assert re.search(rf"\| `{name}` \| {product} \| {numbers} \|", text), (name, product)
