"""Lists that differ in nothing but their pages take the same clocks, and have a name in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.backends import PLATFORMS
from support.raw import RawDevice

from pimloop.host.pim.device.alike import alike_key
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.cached import CachedDevice, costs_of_alike
from pimloop.host.pim.device.open import with_cache
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.host.store.list_cache import FILE_NAME, ListCache
from pimloop.rtl.tables.isa import Broadcast, Init, Opcode, Reg
from pimloop.sim.device.process import SimDevice
from pimloop.sim.verilator.build import COVERAGE_VARIABLE

ROWS, INNER = 3, 70

#: Operands of `product_and_sum`.
NAMES = ("a", "b", "c", "y", "z")

#: Pages between operands: none of them is so large.
APART = 200


def page_bytes(geometry: Geometry) -> int:
    return geometry.row_bytes * (geometry.banks if geometry.all_bank else 1)


class Places:
    """Where the operands of a list are: bank, page and byte."""

    def __init__(self, rng: np.random.Generator, geometry: Geometry) -> None:
        self._geometry = geometry
        self._banks = 1 if geometry.all_bank else geometry.banks
        beats = page_bytes(geometry) // geometry.beat_bytes
        self.bank = {name: int(rng.integers(self._banks)) for name in NAMES}
        self.page = {name: APART * i + int(rng.integers(50)) for i, name in enumerate(NAMES)}
        self.byte = {name: int(rng.integers(beats)) * geometry.beat_bytes for name in NAMES}

    def moved(self, rng: np.random.Generator) -> Places:
        """Return places that no rule of the memory tells from these."""
        other = Places(rng, self._geometry)
        groups = 1 if self._geometry.all_bank else self._geometry.bank_groups
        members = [rng.permutation(self._banks // groups) for _ in range(groups)]
        order = rng.permutation(groups)
        for name in NAMES:
            member, group = divmod(self.bank[name], groups)
            other.bank[name] = int(members[group][member]) * groups + int(order[group])
        pages = [other.page[name] for name in NAMES]
        other.page = dict(zip(NAMES, rng.permutation(pages).tolist(), strict=True))
        other.byte = dict(self.byte)
        return other

    def address(self, name: str) -> int:
        first = self.bank[name] * self._geometry.bank_span
        return first + self.page[name] * page_bytes(self._geometry) + self.byte[name]

    def product_and_sum(self) -> list[Descriptor]:
        """Return y = a x b + c, z = y + y; b in two tiles, beyond a page."""
        g = self._geometry
        columns = (g.acc_groups + 1) * g.beat_columns
        stride = -(-columns * 2 // g.beat_bytes) * g.beat_bytes
        stride_a = -(-INNER * 2 // g.beat_bytes) * g.beat_bytes
        a, b, c, y, z = map(self.address, NAMES)
        return [
            descriptors.matmul(
                a, b, y, rows=ROWS, inner=INNER, cols=columns, stride_a=stride_a, stride_y=stride,
                tile=g.acc_groups, init=Init.ROW, c=c,
            ),
            descriptors.elementwise(
                Opcode.ADD, y, y, z, rows=ROWS, cols=columns, stride_a=stride, stride_y=stride,
                stride_b=stride, broadcast=Broadcast.NONE,
            ),
        ]  # fmt: skip


def key(items: Sequence[Descriptor], geometry: Geometry) -> bytes | None:
    return alike_key([item.tobytes() for item in items], geometry)


def clocks(raw: RawDevice, items: Sequence[Descriptor]) -> int:
    before = raw.read64(Reg.CNT_CYCLES_LO)
    raw.run(items)
    return raw.read64(Reg.CNT_CYCLES_LO) - before


@pytest.mark.parametrize("style", PLATFORMS)
def test_lists_that_are_alike_take_the_same_clocks(
    style: str, devices: Callable[[str], Device]
) -> None:
    raw = RawDevice(devices(f"native-{style}"))
    seen: dict[bytes | None, int] = {}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        places = Places(rng, raw.geometry)
        name, taken = None, 0
        for version in (places, places.moved(rng), places.moved(rng)):
            items = version.product_and_sum()
            taken = clocks(raw, items)
            name = name or key(items, raw.geometry)
            assert name is not None
            assert key(items, raw.geometry) == name
            assert seen.setdefault(name, taken) == taken
    assert len(seen) == 8
    assert len(set(seen.values())) > 1


@pytest.mark.parametrize("style", PLATFORMS)
def test_what_the_clocks_depend_on_is_in_the_name(style: str) -> None:
    geometry = load_platform(PLATFORMS[style]).geometry()
    places = Places(np.random.default_rng(1), geometry)
    places.bank = dict.fromkeys(NAMES, 0)
    name = key(places.product_and_sum(), geometry)
    others = {name}

    def changed(**change: tuple[str, int]) -> None:
        other = places.moved(np.random.default_rng(2))
        other.bank, other.page = dict(places.bank), dict(places.page)
        for field, (operand, value) in change.items():
            getattr(other, field)[operand] = value
        others.add(key(other.product_and_sum(), geometry))

    changed()
    assert len(others) == 1
    changed(byte=("y", (places.byte["y"] + geometry.beat_bytes) % page_bytes(geometry)))
    changed(page=("c", places.page["a"]))  # a page that two operands share
    if not geometry.all_bank:
        changed(bank=("b", 1))  # another group
        changed(bank=("b", geometry.bank_groups))  # another bank of the group
    items = places.product_and_sum()
    items[1]["cols"] -= geometry.beat_columns
    others.add(key(items, geometry))
    assert len(others) == (4 if geometry.all_bank else 6)
    copy = descriptors.copy_in(
        1 << 32, 0, rows=1, row_bytes=64, host_stride=64, device_stride=geometry.beat_bytes
    )
    assert key([copy], geometry) is None  # its clocks depend on the host's address


@pytest.mark.skipif(COVERAGE_VARIABLE in os.environ, reason="every list is simulated")
def test_a_list_has_the_cost_of_an_alike_one_where_that_is_asked_for(
    devices: Callable[[str], Device], tmp_path: Path
) -> None:
    plain = devices("native-per_bank")
    assert isinstance(plain, CachedDevice)
    assert isinstance(plain.inner, SimDevice)
    device = with_cache(plain.inner, ListCache(tmp_path / FILE_NAME))
    raw = RawDevice(device)
    rng = np.random.default_rng(3)
    first = Places(rng, raw.geometry)
    second, third = first.moved(rng), first.moved(rng)
    other = Places(rng, raw.geometry)
    memory = device.inner.memory

    def run(places: Places, *, alike: bool) -> tuple[int, bytes, bool]:
        for name in ("a", "b", "c"):
            start = places.address(name)
            bits = np.random.default_rng(ord(name)).integers(0, 1 << 14, 200_000, np.uint16)
            memory[start : start + bits.nbytes] = bits.view(np.uint8)
        items = places.product_and_sum()
        if alike:
            with costs_of_alike(device):
                taken = clocks(raw, items)
        else:
            taken = clocks(raw, items)
        z = places.address("z")
        return taken, memory[z : z + 1024].tobytes(), device.last_list_simulated

    taken, values, simulated = run(first, alike=True)
    assert simulated
    assert run(second, alike=True) == (taken, values, False)
    assert run(third, alike=False) == (taken, values, True)  # nobody asked
    assert run(first, alike=False) == (taken, values, False)  # the very list
    assert run(other, alike=True)[2]
