"""The list cache knows lists that are moved by whole DRAM rows by one name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.moved_lists import BASE, costs, key, moved
from support.random_lists import HOST_BYTES, HOST_OFFSET, RandomList, random_list
from support.raw import LIST_OFFSET, RawDevice

from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.open import with_cache
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.host.store.list_cache import FILE_NAME, ListCache
from pimloop.rtl.tables.isa import DESCRIPTOR, DESCRIPTOR_BYTES, Opcode
from pimloop.sim.device import moves
from pimloop.sim.device.process import SimDevice
from pimloop.sim.verilator.build import COVERAGE_VARIABLE

GEOMETRIES = {name: load_platform(name).geometry() for name in ("htg-z920", "aim")}


# ---- names -------------------------------------------------------------------------------------

ROW = 8192  # htg-z920; a bank has 4096 rows
BANK = 4096 * ROW


def vector(a: int, b: int, y: int) -> Descriptor:
    return descriptors.elementwise(
        Opcode.ADD, a, b, y, rows=2, cols=512, stride_a=1024, stride_b=1024, stride_y=1024
    )


def name(*items: Descriptor, geometry: Geometry = GEOMETRIES["htg-z920"]) -> bytes | None:
    slots = np.zeros(2 * len(items) + 2, DESCRIPTOR)
    places = tuple(range(0, slots.size, 2))
    for place, item in zip(places, (*items, descriptors.end()), strict=True):
        following = BASE + LIST_OFFSET + (place + 2) * DESCRIPTOR_BYTES
        slots[place] = item
        slots["next_lo"][place], slots["next_hi"][place] = following & 0xFFFFFFFF, following >> 32
    return key(RandomList(slots, places, np.zeros(0, np.uint8), ()), geometry)


def test_what_matters_is_in_the_name_and_nothing_else() -> None:
    original = name(vector(0, BANK, 2 * BANK))
    for same in (
        vector(5 * ROW, BANK + 9 * ROW, 2 * BANK),  # other rows
        vector(4 * BANK, 5 * BANK, 6 * BANK),  # other banks of the same groups
        vector(BANK, 4 * BANK + 2 * BANK, 3 * BANK),  # three banks of three groups
    ):
        assert name(same) == original
    for other in (
        vector(64, BANK, 2 * BANK),  # another place in its row
        vector(0, BANK, BANK + ROW),  # two operands in one bank
        vector(0, BANK, 4 * BANK),  # a bank of the first one's group
        vector(0, 2048, 2 * BANK),  # two operands in one row
        vector(BANK - 1024, 2 * BANK, 3 * BANK),  # goes on in another bank
    ):
        assert name(other) not in (original, None)
    # The first operand's bank, and another one of its group.
    assert name(vector(0, BANK, 5 * ROW)) != name(vector(0, BANK, 4 * BANK))
    assert name(vector(BANK - 1024, 2 * BANK + ROW, 3 * BANK)) != name(
        vector(BANK - 1024 - 64, 2 * BANK + ROW, 3 * BANK)
    )


def test_rows_that_two_descriptors_share_stay_shared() -> None:
    shared = name(vector(0, BANK, 2 * BANK), vector(2 * BANK, BANK, 3 * BANK))
    moved_both = name(vector(0, BANK, 2 * BANK + ROW), vector(2 * BANK + ROW, BANK, 3 * BANK))
    apart = name(vector(0, BANK, 2 * BANK), vector(2 * BANK + ROW, BANK, 3 * BANK))
    assert moved_both == shared
    assert apart != shared


def test_a_copy_keeps_its_place_in_4_kib_of_host_memory() -> None:
    def copy(host: int, row: int) -> bytes | None:
        return name(
            descriptors.copy_in(
                BASE + HOST_OFFSET + host, row * ROW, rows=2, row_bytes=128, host_stride=128,
                device_stride=128,
            )
        )  # fmt: skip

    assert copy(4096 - 128, 0) == copy(8192 - 128, 7)
    assert copy(4096 - 128, 0) != copy(4096 - 64, 0)
    assert copy(HOST_BYTES, 0) is None  # outside the window: refused, and that depends on where


def test_every_size_and_the_device_are_in_the_name() -> None:
    rng = np.random.default_rng(1)
    for geometry in GEOMETRIES.values():
        case = random_list(rng, geometry, BASE)
        assert key(case, geometry, "one") != key(case, geometry, "two")
        names = {key(random_list(rng, geometry, BASE), geometry) for _ in range(50)}
        assert len(names) == 50
        assert None not in names


# ---- the cache ---------------------------------------------------------------------------------


@pytest.fixture
def cached(
    tmp_path: Path, devices: Callable[[str], Device]
) -> Iterator[Callable[[], CachedDevice]]:
    """Return a function that puts the simulator behind the cache of this test."""
    if COVERAGE_VARIABLE in os.environ:
        pytest.skip("measuring coverage simulates every list")
    opened: list[ListCache] = []

    def get() -> CachedDevice:
        plain = devices("native-per_bank")
        assert isinstance(plain, CachedDevice)
        assert isinstance(plain.inner, SimDevice)
        opened.append(ListCache(tmp_path / FILE_NAME))
        return with_cache(plain.inner, opened[-1])

    yield get
    for cache in opened:
        cache.close()


def test_a_moved_list_comes_from_the_cache_with_its_own_values(
    cached: Callable[[], CachedDevice], devices: Callable[[str], Device]
) -> None:
    raw, plain = RawDevice(cached()), RawDevice(devices("native-per_bank"))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        case = random_list(rng, raw.geometry, raw.base)
        other = moved(rng, case, raw.geometry, raw.base)
        costs(raw, case)
        spent = costs(raw, other)
        assert isinstance(raw.device, CachedDevice)
        assert not raw.device.last_list_simulated, seed
        values = [raw.read_memory(place, content.size) for place, content in other.areas]
        assert costs(plain, other) == spent
        for (place, content), value in zip(other.areas, values, strict=True):
            assert np.array_equal(plain.read_memory(place, content.size), value)


def test_changed_rtl_reuses_no_moved_list(
    cached: Callable[[], CachedDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "verified", lambda: False)
    raw = RawDevice(cached())
    rng = np.random.default_rng(0)
    case = random_list(rng, raw.geometry, raw.base)
    other = moved(rng, case, raw.geometry, raw.base)
    assert isinstance(raw.device, CachedDevice)
    for each, simulated in ((case, True), (other, True), (case, False), (other, False)):
        costs(raw, each)
        assert raw.device.last_list_simulated == simulated


def test_the_record_is_of_this_rtl() -> None:
    assert moves.verified(), "run `python -m pimloop.sim.device.moves --verify` and commit it"


def test_any_change_of_the_hardware_but_a_comment_ends_the_record(tmp_path: Path) -> None:
    before = moves.design_hash()
    for path in moves.design_files():
        copy = tmp_path / path.name
        text = path.read_text(encoding="utf-8")
        files = [copy if each == path else each for each in moves.design_files()]
        copy.write_text(f"// a comment\n{text}", encoding="utf-8")
        assert moves.design_hash(files) == before
        copy.write_text(f"{text}\nmodule more; endmodule\n", encoding="utf-8")
        assert moves.design_hash(files) != before
