"""Simulated DRAM clocks of products by a cache, to the clock: they grow with its rows.

docs/llm.md prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from support.paths import REPOSITORY
from support.small_devices import operand

from pimloop.host.common import golden
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import DeviceMatrix, PimDriver
from pimloop.host.pim.driver.states import State
from pimloop.host.pim.forms import append_clocks
from pimloop.host.platforms.platform import Platform, load_platform

HEADS, QUERIES, SIZE, CAPACITY = 2, 2, 64, 4096
SHAPE = (1, HEADS, CAPACITY, SIZE)
FILLED = (16, 128, 1024, 4096)

#: Scores by keys in rows and in blocks, and result of each platform, for the rows of `FILLED`.
CLOCKS = {
    "htg-z920": {
        "scores, keys in rows": (6780, 19344, 137976, 549436),
        "scores, keys in blocks": (6780, 19344, 138084, 549820),
        "result": (2644, 10436, 72964, 288368),
    },
    "aim": {
        "scores, keys in rows": (4032, 8634, 56662, 222422),
        "scores, keys in blocks": (3988, 4016, 5490, 15936),
        "result": (2004, 7218, 41426, 162038),
    },
}

#: The same on `aim` where the two queries of a head share a beat.
SHARED = {
    "scores, keys in blocks": (2128, 2156, 3746, 10480),
    "result": (1264, 3698, 20986, 81240),
}

#: Clocks of a layer on `aim` by the rows of its cache, all filled, 3 heads of keys with 3 queries
#: each: a row appended to keys in rows, in blocks; scores by both; result.
LAYER = {
    129: (926, 2900, 23106, 7034, 14298),
    513: (926, 4356, 69094, 9230, 48210),
    2049: (926, 5332, 255424, 20570, 183952),
    8193: (926, 5332, 1001268, 67970, 733186),
}

#: To append a row to keys in rows, and in blocks.
APPENDED = {"htg-z920": (3376,), "aim": (832, 4054)}


@pytest.fixture(scope="module", params=CLOCKS)
def device(request: pytest.FixtureRequest) -> Iterator[tuple[Platform, Device]]:
    platform = load_platform(request.param)
    with open_device(platform) as device:
        yield platform, device


@pytest.fixture
def opened(device: tuple[Platform, Device]) -> tuple[str, PimDriver]:
    """Name and driver of a platform, its memory free: clocks depend on where tensors lie."""
    platform, opened = device
    return platform.name, PimDriver.for_platform(opened, platform)


def _values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _scores(driver: PimDriver, keys: State, shared: int = 1) -> list[int]:
    """Return the clocks of the scores by the rows of `FILLED`; `shared` queries share a beat."""
    blocks = isinstance(keys, DeviceMatrix)
    scores = driver.new_tensor((1, HEADS, QUERIES, CAPACITY))
    query = driver.upload(_values(1, HEADS, QUERIES, SIZE))
    counted = []
    for filled in FILLED:
        driver.matmul(query, keys, transpose_b=not blocks, filled=filled, out=scores)
        counted.append(driver.last.cycles)
        # What the lanes took: every element of the rows once a query.
        multiplied = HEADS * QUERIES * SIZE * filled
        assert driver.last.counters["mac"] >= multiplied / driver.geometry.lanes
        if blocks and driver.geometry.all_bank:
            # The rows that are there are read once a query, in whole beats, and nothing else.
            beats = multiplied // driver.geometry.beat_columns
            assert driver.last.counters["all_rd"] == beats // shared
    return counted


def _results(driver: PimDriver) -> list[int]:
    """Return the clocks of the result by the rows of `FILLED`."""
    cached = driver.new_state(SHAPE)
    shares = driver.upload(_values(1, HEADS, QUERIES, CAPACITY))
    counted = []
    for filled in FILLED:
        driver.matmul(shares, cached, filled=filled).free()
        counted.append(driver.last.cycles)
    return counted


def _grows_evenly(clocks: list[int]) -> bool:
    slope = (clocks[3] - clocks[2]) / (FILLED[3] - FILLED[2])
    early = (clocks[2] - clocks[1]) / (FILLED[2] - FILLED[1])
    return slope == pytest.approx(early, rel=0.1)


def test_clocks_grow_with_the_rows_that_are_there(opened: tuple[str, PimDriver]) -> None:
    name, driver = opened
    scores = _scores(driver, driver.new_state(SHAPE))
    result = _results(driver)
    assert tuple(scores) == CLOCKS[name]["scores, keys in rows"]
    assert tuple(result) == CLOCKS[name]["result"]
    assert _grows_evenly(scores)
    assert _grows_evenly(result)


def test_clocks_of_keys_in_blocks_grow_with_their_beats(opened: tuple[str, PimDriver]) -> None:
    name, driver = opened
    keys = driver.new_state(SHAPE, blocks=True)
    counted = _scores(driver, keys)
    assert tuple(counted) == CLOCKS[name]["scores, keys in blocks"]
    if name == "htg-z920":
        assert _grows_evenly(counted)
        return
    # As many beats as there are ways wait for the lanes together: up to 4 beats of 256 tokens the
    # clocks hardly grow. Then the memory is what takes them: 2 a beat (tCCD), and its rows.
    assert counted == sorted(set(counted))
    beats = HEADS * QUERIES * SIZE * (FILLED[3] - FILLED[2]) // driver.geometry.beat_columns
    assert 2 * beats <= counted[3] - counted[2] <= 4 * beats


@pytest.mark.full  # builds a device of its own
def test_queries_of_a_head_that_share_a_beat_take_half_the_clocks() -> None:
    platform = load_platform("aim", {"device.rows_per_beat": "2"})
    with open_device(platform) as device:
        driver = PimDriver.for_platform(device, platform)
        scores = _scores(driver, driver.new_state(SHAPE, blocks=True), shared=2)
        result = _results(driver)
    assert tuple(scores) == SHARED["scores, keys in blocks"]
    assert tuple(result) == SHARED["result"]
    alone = CLOCKS["aim"]["result"]
    assert result[3] / alone[3] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("device", ["aim"], indirect=True)
@pytest.mark.parametrize("rows", LAYER)
def test_what_attention_of_a_layer_takes(opened: tuple[str, PimDriver], rows: int) -> None:
    _, driver = opened
    heads, queries, capacity = 3, 3, (1, 3, rows, SIZE)
    row, query = driver.upload(_values(1, heads, 1, SIZE)), _values(1, heads, queries, SIZE)
    appended, scored = [], []
    for blocks in (False, True):
        keys = driver.new_state(capacity, blocks=blocks)
        driver.append(keys, row, rows - 1)
        appended.append(driver.last.cycles)
        left, scores = driver.upload(query), driver.new_tensor((1, heads, queries, rows))
        driver.matmul(left, keys, transpose_b=not blocks, filled=rows, out=scores)
        scored.append(driver.last.cycles)
        for tensor in (keys, left, scores):
            tensor.free()
    cached, shares = driver.new_state(capacity), driver.upload(_values(1, heads, queries, rows))
    driver.matmul(shares, cached, filled=rows)
    clocks = (*appended, *scored, driver.last.cycles)
    assert clocks == LAYER[rows]


def test_appending_takes_as_long_wherever_the_row_goes(opened: tuple[str, PimDriver]) -> None:
    name, driver = opened
    row = driver.upload(_values(1, HEADS, 1, SIZE))
    states = [driver.new_state(SHAPE)]
    if driver.geometry.all_bank:
        states.append(driver.new_state(SHAPE, blocks=True))
    for state, clocks in zip(states, APPENDED[name], strict=True):
        for place in (0, 17, 4095):
            driver.append(state, row, place)
            assert driver.last.cycles == clocks


@pytest.mark.parametrize("device", ["aim"], indirect=True)
@pytest.mark.parametrize(
    ("heads", "size", "capacity", "clocks"),
    [(1, 64, 256, 2506), (3, 64, 64, 2730), (2, 64, 4096, 4054), (8, 64, 1024, 9676),
     (8, 128, 4096, 17590)],
)  # fmt: skip
def test_the_estimate_of_an_append_is_near(
    opened: tuple[str, PimDriver], heads: int, size: int, capacity: int, clocks: int
) -> None:
    """Of blocks against rows: what is the same of both is left out of the estimate."""
    _, driver = opened
    shape = (1, heads, capacity, size)
    row = driver.upload(_values(1, heads, 1, size))
    with driver.new_state(shape, blocks=True) as blocks:
        driver.append(blocks, row, 1)
        counted = driver.last.cycles
    with driver.new_state(shape) as rows:
        driver.append(rows, row, 1)
        more = counted - driver.last.cycles
    row.free()
    assert counted == clocks
    estimates = [
        append_clocks(driver.geometry, heads, size, capacity, driver.bank_clocks, blocks=blocks)
        for blocks in (False, True)
    ]
    assert estimates[1] - estimates[0] == pytest.approx(more, rel=0.06)


@pytest.mark.parametrize(
    ("shape", "appended"),
    [((1, 3, 20, 24), 1), ((2, 2, 300, 64), 1), ((1, 1, 40, 130), 5), ((5, 17, 7), 7)],
)
def test_the_simulator_has_the_bits_of_numpy(
    opened: tuple[str, PimDriver], shape: tuple[int, ...], appended: int
) -> None:
    """Of rows appended to blocks, any bits; of scores by them."""
    _, driver = opened
    state = driver.new_state(shape, blocks=True)
    *lead, capacity, size = shape
    wanted = golden.to_bf16_bits(operand(3, *shape))
    driver.write_matrix(state, golden.bf16_to_f32(wanted), transposed=True)
    for seed, first in enumerate((0, capacity // 2, capacity - appended)):
        first = min(first, capacity - appended)
        rows = operand(seed, *lead, appended, size)
        driver.append(state, driver.upload(rows), first)
        wanted[..., first : first + appended, :] = golden.to_bf16_bits(rows)
        read = driver.read_rows(state, 0, capacity)
        assert np.array_equal(golden.to_bf16_bits(read), wanted)
    query = golden.to_bf16_bits(operand(9, *lead, 2, size))
    scores = driver.new_tensor((*lead, 2, capacity))
    filled = capacity - 2
    driver.matmul(driver.upload(golden.bf16_to_f32(query)), state, filled=filled, out=scores)
    computed = golden.to_bf16_bits(driver.download(scores))[..., :filled]
    for index in np.ndindex(*lead):
        keys = np.ascontiguousarray(wanted[index][:filled].T)
        assert np.array_equal(computed[index], golden.matmul(query[index], keys))


def test_the_page_has_these_clocks() -> None:
    text = (REPOSITORY / "docs" / "llm.md").read_text(encoding="utf-8")
    for name, products in CLOCKS.items():
        for product, clocks in products.items():
            numbers = r" \| ".join(f"{count:,}" for count in clocks)
            assert re.search(rf"\| `{name}` \| {product} \| {numbers} \|", text), (name, product)
    for product, clocks in SHARED.items():
        numbers = " | ".join(f"{count:,}" for count in clocks)
        assert f"\n| {product} | {numbers} |\n" in text, product
    for rows, clocks in LAYER.items():
        times = " | ".join(f"{count * 0.5e-3:.2f}" for count in clocks)
        assert f"\n| {rows:,} | {times} |\n" in text, rows
    for name, appended in APPENDED.items():
        for clocks in appended:
            assert re.search(rf"`{name}`[^|]*\b{clocks:,}\b", text), (name, clocks)
