"""Lists as the cache reads them from host memory: what is refused, what names them, what is done.

The whole way, with a simulator, is in test_cached_device.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimloop.host.pim.device.chain import Step, Window, chain_key, is_done, read_chain
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.rtl.tables.isa import CONTROL_FIELDS, DESCRIPTOR, DESCRIPTOR_BYTES, Code, Opcode

BASE = 0x1_0000_4000
PLACES = 32
RECORD = 1 << CONTROL_FIELDS["record"][0]
EVERYTHING = Window(BASE, PLACES * DESCRIPTOR_BYTES, 100)


class Memory:
    """Host memory with a list of `length` descriptors, the last one END, from place 0 on."""

    def __init__(self, length: int, spacing: int = 2) -> None:
        self.slots = np.zeros(PLACES, DESCRIPTOR)
        self.places = [spacing * i for i in range(length)]
        for place in self.places[:-1]:
            self.put(place, descriptors.fence(), place + spacing)
        self.put(self.places[-1], descriptors.end(), place=None)

    @staticmethod
    def address(place: int) -> int:
        return BASE + place * DESCRIPTOR_BYTES

    def put(self, at: int, item: Descriptor, place: int | None) -> None:
        """Write a descriptor that is followed by that of `place`."""
        self.slots[at] = item
        if place is not None:
            self.slots[at]["next_lo"] = self.address(place) & 0xFFFFFFFF
            self.slots[at]["next_hi"] = self.address(place) >> 32

    def read(self, window: Window = EVERYTHING, start: int = BASE) -> tuple[Step, ...] | None:
        return read_chain(self.slots.view(np.uint8), BASE, start, window)


def test_a_list_is_read_as_it_lies_in_memory() -> None:
    memory = Memory(4)
    memory.slots["control"][2] |= RECORD
    # A bit above it is none of its business.
    memory.slots["control"][4] |= RECORD << 1
    steps = memory.read()
    assert steps is not None
    assert [step.address for step in steps] == [memory.address(place) for place in (0, 2, 4, 6)]
    assert [step.opcode for step in steps] == [Opcode.FENCE] * 3 + [Opcode.END]
    assert [step.record for step in steps] == [False, True, False, False]
    assert [step.raw for step in steps] == [memory.slots[p].tobytes() for p in memory.places]


def test_a_list_may_touch_both_ends_of_the_window_and_no_more() -> None:
    memory = Memory(4)
    last = memory.address(memory.places[-1])
    exact = Window(BASE, last + DESCRIPTOR_BYTES - BASE, 4)
    assert memory.read(exact) is not None
    assert memory.read(replace(exact, size=exact.size - 1)) is None
    assert memory.read(replace(exact, base=BASE + 1)) is None
    assert memory.read(replace(exact, chain_limit=3)) is None


@pytest.mark.parametrize("offset", [1, 32, -DESCRIPTOR_BYTES, PLACES * DESCRIPTOR_BYTES])
def test_an_address_where_no_descriptor_can_be_ends_the_reading(offset: int) -> None:
    memory = Memory(4)
    wide = Window(BASE - 4096, 1 << 20, 100)
    assert memory.read(wide) is not None
    assert memory.read(wide, start=BASE + offset) is None
    memory.slots[2]["next_lo"] = BASE + offset & 0xFFFFFFFF
    assert memory.read(wide) is None


def test_a_list_that_comes_back_to_itself_is_left_to_the_simulator() -> None:
    memory = Memory(4)
    memory.put(4, descriptors.fence(), place=0)
    assert memory.read() is None


@pytest.mark.parametrize("place", [0, 4, 6])
@pytest.mark.parametrize("byte", range(4))
def test_a_status_that_is_not_zero_is_left_to_the_simulator(place: int, byte: int) -> None:
    memory = Memory(4)
    memory.slots["status"][place] = 1 << 8 * byte
    assert memory.read() is None


@pytest.mark.parametrize(
    ("place", "rows", "refused"),
    [
        *((place, 1, True) for place in (0, 2, 4, 6)),  # descriptors
        *((place, 1, False) for place in (1, 5, 7, 20)),  # between and behind them
        (3, 1, True),  # a record
        (7, 3, False),
        (1, 2, True),  # the second row is the descriptor behind
    ],
)
def test_copies_over_the_list_are_left_to_the_simulator(
    place: int, rows: int, refused: bool
) -> None:
    memory = Memory(4)
    copy = descriptors.copy_out(
        memory.address(place), 0, rows=rows, row_bytes=64, host_stride=64, device_stride=64
    )
    memory.put(0, copy, place=2)
    memory.slots["control"][2] |= RECORD
    assert (memory.read() is None) == refused
    # Reading from there harms nothing.
    copy = descriptors.copy_in(
        memory.address(place), 0, rows=rows, row_bytes=64, host_stride=64, device_stride=64
    )
    memory.put(0, copy, place=2)
    assert memory.read() is not None


def test_a_record_over_a_descriptor_is_left_to_the_simulator() -> None:
    memory = Memory(3, spacing=1)
    assert memory.read() is not None
    memory.slots["control"][1] |= RECORD
    assert memory.read() is None


def test_the_name_of_a_list_holds_all_that_its_cost_depends_on() -> None:
    memory = Memory(3)
    steps = memory.read()
    assert steps is not None
    names = {
        chain_key("device", steps, EVERYTHING),
        chain_key("other", steps, EVERYTHING),
        chain_key("device", steps, replace(EVERYTHING, base=BASE - 64)),
        chain_key("device", steps, replace(EVERYTHING, size=EVERYTHING.size - 64)),
        chain_key("device", steps[:-1], EVERYTHING),
        chain_key("device", (*steps[:-1], replace(steps[-1], address=BASE + 640)), EVERYTHING),
    }
    for word in range(15):  # all but the status
        memory.slots.view(np.uint32)[2 * 16 + word] ^= 1 << 31
        raw = memory.slots[2].tobytes()
        changed = (steps[0], replace(steps[1], raw=raw), steps[2])
        names.add(chain_key("device", changed, EVERYTHING))
        memory.slots.view(np.uint32)[2 * 16 + word] ^= 1 << 31
    assert len(names) == 6 + 15
    assert chain_key("device", steps, EVERYTHING) in names
    assert {len(name) for name in names} == {32}


def test_a_list_is_done_when_every_status_says_so_and_nothing_else_changed() -> None:
    memory = Memory(4)
    steps = memory.read()
    assert steps is not None
    buffer = memory.slots.view(np.uint8)
    assert not is_done(buffer, BASE, steps)
    for index, place in enumerate(memory.places):
        memory.slots["status"][place] = Code.DONE | index << 8
    assert is_done(buffer, BASE, steps)
    for place in memory.places:
        for byte in (0, 20, 60, 61, 63):
            buffer[place * DESCRIPTOR_BYTES + byte] ^= 1
            assert not is_done(buffer, BASE, steps)
            buffer[place * DESCRIPTOR_BYTES + byte] ^= 1
    assert is_done(buffer, BASE, steps)


def test_a_status_has_24_bits_of_number() -> None:
    step = Step(BASE, bytes(64), Opcode.FENCE, record=False)
    assert step.status(0x123456) == 0x12345600 | Code.DONE
    assert step.status(0x1000003) == 0x00000300 | Code.DONE
