"""Lists moved by whole DRAM rows cost the same: every counter, every completion record.

`python -m pimloop.sim.device.moves --verify` runs this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from support.backends import PLATFORMS
from support.moved_lists import costs, key, moved
from support.random_lists import random_list
from support.raw import RawDevice

from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.moved import moved_name
from pimloop.host.pim.device.validate import Fields
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Broadcast, Init, Opcode, Reg

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


def name_of(items: Sequence[Descriptor], geometry: Geometry) -> bytes:
    return moved_name([Fields.parse(item.tobytes()) for item in items], geometry)


def clocks(raw: RawDevice, items: Sequence[Descriptor]) -> int:
    before = raw.read64(Reg.CNT_CYCLES_LO)
    raw.run(items)
    return raw.read64(Reg.CNT_CYCLES_LO) - before


@pytest.mark.parametrize("style", PLATFORMS)
def test_operands_apart_take_the_same_clocks_wherever_each_is(
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
            name = name or name_of(items, raw.geometry)
            assert name is not None
            assert name_of(items, raw.geometry) == name
            assert seen.setdefault(name, taken) == taken
    assert len(seen) == 8
    assert len(set(seen.values())) > 1


@pytest.mark.parametrize("style", PLATFORMS)
def test_what_the_clocks_depend_on_is_in_the_name(style: str) -> None:
    geometry = load_platform(PLATFORMS[style]).geometry()
    places = Places(np.random.default_rng(1), geometry)
    places.bank = dict.fromkeys(NAMES, 0)
    name = name_of(places.product_and_sum(), geometry)
    others = {name}

    def changed(**change: tuple[str, int]) -> None:
        other = places.moved(np.random.default_rng(2))
        other.bank, other.page = dict(places.bank), dict(places.page)
        for field, (operand, value) in change.items():
            getattr(other, field)[operand] = value
        others.add(name_of(other.product_and_sum(), geometry))

    changed()
    assert len(others) == 1
    changed(byte=("y", (places.byte["y"] + geometry.beat_bytes) % page_bytes(geometry)))
    changed(page=("c", places.page["a"]))  # a page that two operands share
    if not geometry.all_bank:
        changed(bank=("b", 1))  # another group
        changed(bank=("b", geometry.bank_groups))  # another bank of the group
    items = places.product_and_sum()
    items[1]["cols"] -= geometry.beat_columns
    others.add(name_of(items, geometry))
    assert len(others) == (4 if geometry.all_bank else 6)


@pytest.mark.parametrize(
    ("kind", "seeds"),
    [
        ("native-per_bank", range(40)),
        ("native-all_bank", range(40)),
        pytest.param("native-per_bank", range(40, 400), marks=pytest.mark.full),
        pytest.param("native-all_bank", range(40, 400), marks=pytest.mark.full),
    ],
)
def test_a_moved_list_costs_the_same(
    kind: str, seeds: range, devices: Callable[[str], Device]
) -> None:
    """Every counter and every completion record, in both styles, and one name for both."""
    raw = RawDevice(devices(kind))
    different = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        case = random_list(rng, raw.geometry, raw.base)
        other = moved(rng, case, raw.geometry, raw.base)
        assert key(case, raw.geometry) == key(other, raw.geometry), seed
        assert costs(raw, case) == costs(raw, other), seed
        different += case.areas[0][0] != other.areas[0][0]
    assert different > len(seeds) // 2
