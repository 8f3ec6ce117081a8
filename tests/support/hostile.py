"""Hostile descriptor lists: what a broken or malicious host could hand to the device.

Two kinds. A `HostileList` ends with a descriptor the device must refuse; the functional model says
with which code, and all memory must look as after the model. `disturb` changes a list, rings
doorbells, writes registers and resets while a list is running: what it computes then is not
specified, but it ends, says a code of the specification, stays inside the host window, and the
device works afterwards.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.validate import (
    HOST_GRANULE,
    Fields,
    validate,
)
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import BF16_BYTES, Geometry
from pimloop.rtl.tables.isa import (
    COMPUTE_OPCODES,
    CONTROL_FIELDS,
    COPY_OPCODES,
    CTRL_IRQ_ENABLE,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    PRODUCT_OPCODES,
    STATUS_CODE,
    STATUS_RUNNING,
    Code,
    Opcode,
    Reg,
)
from support.random_lists import HOST_BYTES, HOST_OFFSET, ListMaker, random_bits
from support.raw import LIST_OFFSET, RawDevice

#: The host window: from the lists to the end of the data, with guard bytes on both sides.
WINDOW_START = 1 << 14
WINDOW_END = HOST_OFFSET + HOST_BYTES
GUARD_BYTES = WINDOW_START
_LIST_START = LIST_OFFSET + WINDOW_START
_SLOTS = (HOST_OFFSET - _LIST_START) // DESCRIPTOR_BYTES

_RECORD = CONTROL_FIELDS["record"].mask
_OPCODE_MASK = CONTROL_FIELDS["opcode"].mask
_RESET_CHAIN_LIMIT = 1 << 20
#: Fabric clocks in which everything a disturbed list can ask for has ended.
_MOST_WAIT = 40_000_000
_WAIT_STEP = 200_000

_NASTY = (
    *(0, 1, 2, 3, 31, 32, 63, 64, 65, 127, 128, 511, 512, 4095, 4096, 4097, 65535, 65536),
    *(0x7FFFFFC0, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, 0xFFFFFE00, 0xFFFFFFC0, 0xFFFFFFFF),
)


#: A register access or a pause: ("read", offset), ("write", offset, value),
#: ("delay", fabric clocks), ("reset",).
Step = tuple[str, *tuple[int, ...]]


class MemoryDevice(Device, Protocol):
    """A device whose own memory the host can see: the simulator's and the model's."""

    @property
    def memory(self) -> NDArray[np.uint8]:
        """Device memory, (capacity,)."""
        ...


class ScriptedDevice(MemoryDevice, Protocol):
    """A device that can be disturbed at chosen fabric clocks: the simulator's."""

    def script(self, steps: Sequence[Step]) -> list[int]:
        """Do several accesses in a row at exact times."""
        ...


@dataclass(frozen=True)
class HostileList:
    """A list in its memory, and the registers it is started with."""

    slots: NDArray[np.void]  # (_SLOTS,) descriptors at _LIST_START of the buffer
    address: int  # of the first descriptor: LIST
    chain_limit: int
    accepted: tuple[Fields, ...]  # what will be executed, for the bound of cycles


@dataclass
class Tally:
    """What was done to a device."""

    lists: int = 0
    descriptors: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    opcodes: Counter[str] = field(default_factory=Counter)


class HostileMaker:
    """Makes hostile lists over areas of one device.

    Parameters
    ----------
    rng
        Source of everything random.
    geometry
        Of the devices they will run on.
    base
        Address of the shared buffer as these devices see it.
    """

    def __init__(self, rng: np.random.Generator, geometry: Geometry, base: int) -> None:
        self._rng = rng
        self._geometry = geometry
        self._base = base
        self._window = (base + WINDOW_START, base + WINDOW_END)
        self._legal = ListMaker(rng, geometry, base)

    @property
    def areas(self) -> tuple[tuple[int, NDArray[np.uint8]], ...]:
        """Device memory that accepted descriptors use: (address, first content)."""
        return self._legal.areas

    def legal(self, address: int, following: int) -> Descriptor:
        """Return a descriptor that the device accepts at `address`."""
        return self._legal.legal(address, following)

    def make(self, length: int) -> HostileList:
        """Return a list of at most `length` legal descriptors and a last one to be refused."""
        rng = self._rng
        count = int(rng.integers(0, length + 1))
        # Every second slot: a completion record, whose counts the model does not have, must not
        # become a descriptor.
        order = rng.permutation(_SLOTS // 2)[: count + 1] * 2
        places = [self._base + _LIST_START + int(slot) * DESCRIPTOR_BYTES for slot in order]
        slots: NDArray[np.void] = np.zeros(_SLOTS, DESCRIPTOR)
        accepted = []
        for index in range(count):
            item = self._cheap(places[index], places[index + 1])
            if rng.random() < 0.2:
                item["control"] |= _RECORD
            slots[order[index]] = item
            accepted.append(Fields.parse(item.tobytes()))
        chain_limit, address = _RESET_CHAIN_LIMIT, places[0]
        kind = rng.random()
        last = self._refused(places[-1], places)
        if kind < 0.03:
            address = self._bad_address()
            accepted = []
        elif kind < 0.06 and count:
            chain_limit = int(rng.integers(0, count + 1))
            accepted = accepted[:chain_limit]
        elif kind < 0.12:
            # A loop: the last one is accepted and leads back to one that was done.
            target = int(rng.choice(places))
            last = self._cheap(places[-1], target)
            accepted.append(Fields.parse(last.tobytes()))
        slots[order[-1]] = last
        return HostileList(slots, address, chain_limit, tuple(accepted))

    def _cheap(self, address: int, following: int) -> Descriptor:
        """Return a legal descriptor inside the areas, a fence in half of the cases."""
        if self._rng.random() < 0.5:
            item = descriptors.fence()
            item["next_lo"], item["next_hi"] = following & 0xFFFFFFFF, following >> 32
            return item
        return self._legal.legal(address, following)

    def _refused(self, address: int, places: list[int]) -> Descriptor:
        """Return a descriptor that is refused where it lies."""
        rng = self._rng
        while True:
            kind = rng.random()
            if kind < 0.25:
                item: Descriptor = np.frombuffer(rng.bytes(DESCRIPTOR_BYTES), DESCRIPTOR)[0].copy()
                if rng.random() < 0.7:
                    item["status"] = 0
                if rng.random() < 0.7:
                    item["control"] = int(rng.choice([int(o) for o in Opcode]))
            else:
                item = self._legal.any()
                following = int(rng.choice(places))
                item["next_lo"], item["next_hi"] = following & 0xFFFFFFFF, following >> 32
                self._mutate(item)
            fields = Fields.parse(item.tobytes())
            refused = validate(fields, address, self._geometry, self._window) is not None
            if refused or fields.status != Code.PENDING:
                return item

    def _mutate(self, item: Descriptor) -> None:
        rng = self._rng
        for name in rng.choice(DESCRIPTOR.names or (), int(rng.integers(1, 4)), replace=False):
            old = int(item[name])
            capacity = self._geometry.capacity
            item[name] = int(
                rng.choice(
                    [
                        int(rng.choice(_NASTY)),
                        old ^ 1 << int(rng.integers(0, 32)),
                        old + int(rng.choice([-64, -1, 1, 64])) & 0xFFFFFFFF,
                        capacity - int(rng.choice([0, 1, 32, 64, 512])) & 0xFFFFFFFF,
                        self._window[1] - int(rng.choice([0, 1, 32, 64])) & 0xFFFFFFFF,
                        int(rng.integers(0, 1 << 32)),
                    ]
                )
            )

    def _bad_address(self) -> int:
        start, end = self._window
        return int(
            self._rng.choice(
                np.array(
                    [0, 1, start - 64, start + 1, start + 32, end - 63, end, 2**64 - 64, 2**64 - 1],
                    np.uint64,
                )
            )
        )


def cycle_bound(accepted: Sequence[Fields], geometry: Geometry) -> int:
    """Return DRAM clocks in which a device must have ended a list; far from tight, never a hang.

    A beat of data or of work is given 64 clocks, a row of a tile 4,000 (activations, refresh and
    the set-up of a vector operation), a descriptor 20,000 (fetch, status, self-refresh exit).
    """
    bound = 40_000
    for d in accepted:
        beats, strips = 0, 0
        if d.opcode in COPY_OPCODES:
            beats, strips = d.rows * -(-d.inner // HOST_GRANULE), d.rows
        elif d.opcode in COMPUTE_OPCODES:
            atoms = -(-d.cols * BF16_BYTES // geometry.atom_bytes)
            inner = d.inner if d.opcode in PRODUCT_OPCODES else 1
            beats, strips = d.rows * inner * (atoms + 1), d.rows * atoms
        bound += 20_000 + 64 * beats + 4_000 * strips
    return bound


class Arena:
    """A simulated device and the model side by side, guard bytes around what they may touch.

    Parameters
    ----------
    device
        Under test.
    model
        Says what should come out; with the same buffer address.
    seed
        Of everything random.
    """

    def __init__(self, device: ScriptedDevice, model: MemoryDevice, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._device, self._model = device, model
        self._raws = (RawDevice(device), RawDevice(model))
        self.geometry = self._raws[0].geometry
        self.maker = HostileMaker(self._rng, self.geometry, self._raws[0].base)
        self.tally = Tally()
        self._guards = self._rng.integers(0, 256, WINDOW_END + GUARD_BYTES, np.uint8)
        self._images = [
            slice(max(0, place - GUARD_BYTES), place + content.size + GUARD_BYTES)
            for place, content in self.maker.areas
        ]
        self._fill()

    def _fill(self) -> None:
        """Give buffers and device memories the same content, guard bytes included."""
        patterns = [
            self._rng.integers(0, 256, image.stop - image.start, np.uint8) for image in self._images
        ]
        for raw, memory in zip(self._raws, (self._device.memory, self._model.memory), strict=True):
            raw.buffer[: self._guards.size] = self._guards
            for image, pattern in zip(self._images, patterns, strict=True):
                memory[image] = pattern[: memory[image].size]
            for place, content in self.maker.areas:
                memory[place : place + content.size] = content

    def compare(self, length: int = 6) -> None:
        """Run one hostile list on both; AssertionError with what differs."""
        case = self.maker.make(length)
        data = random_bits(self._rng, HOST_BYTES // 2).view(np.uint8)
        for raw in self._raws:
            raw.buffer[_LIST_START:HOST_OFFSET] = case.slots.view(np.uint8)
            raw.buffer[HOST_OFFSET:WINDOW_END] = data
        steps: list[Step] = [
            ("read", Reg.CNT_CYCLES_LO),
            *_wide(Reg.HOST_BASE_LO, self._raws[0].base + WINDOW_START),
            *_wide(Reg.HOST_SIZE_LO, WINDOW_END - WINDOW_START),
            *_wide(Reg.LIST_LO, case.address),
            ("write", Reg.CHAIN_LIMIT, case.chain_limit),
            ("write", Reg.CTRL, CTRL_IRQ_ENABLE.mask),
            ("write", Reg.DOORBELL, 1),
        ]
        (before,) = self._device.script(steps)
        for _, *access in steps[1:]:
            self._model.write32(access[0], access[1])
        for raw in self._raws:
            raw.device.wait_irq(raw.timeout)
        end: list[Step] = [
            ("write", Reg.IRQ, 1),
            ("read", Reg.STATUS),
            ("read", Reg.DESC_COUNT),
            ("read", Reg.CNT_CYCLES_LO),
        ]
        status, count, after = self._device.script(end)
        self._model.write32(Reg.IRQ, 1)
        wanted = (self._model.read32(Reg.STATUS), self._model.read32(Reg.DESC_COUNT))
        assert (status, count) == wanted, f"STATUS and DESC_COUNT {(status, count)}, model {wanted}"
        cycles = after - before & 0xFFFFFFFF
        bound = cycle_bound(case.accepted, self.geometry)
        assert cycles <= bound, f"{cycles} DRAM clocks, at most {bound} are right"
        self._without_counts(case)
        self._check_guards()
        self._same_memory()
        self._note(case, status, count)

    def _without_counts(self, case: HostileList) -> None:
        """Clear the counts of completion records, which the model does not have."""
        for raw in self._raws:
            slots = raw.buffer[_LIST_START:HOST_OFFSET].view(np.uint32).reshape(_SLOTS, -1)
            recorded = np.flatnonzero(case.slots["control"] & _RECORD)
            slots[recorded[recorded + 1 < _SLOTS] + 1, 1:] = 0

    def _check_guards(self) -> None:
        """AssertionError when a byte outside the host window has changed."""
        buffer = self._raws[0].buffer
        for part in (slice(0, WINDOW_START), slice(WINDOW_END, self._guards.size)):
            changed = np.flatnonzero(buffer[part] != self._guards[part])
            assert not changed.size, f"guard byte {part.start + changed[0]} of the buffer changed"

    def _same_memory(self) -> None:
        """AssertionError when the buffers or the memories around the areas differ."""
        mine, other = (raw.buffer[: self._guards.size] for raw in self._raws)
        different = np.flatnonzero(mine != other)
        assert not different.size, f"byte {different[0]} of the buffer is not the model's"
        for image in self._images:
            different = np.flatnonzero(self._device.memory[image] != self._model.memory[image])
            assert not different.size, (
                f"device memory at {image.start + different[0]} is not the model's"
            )

    def _note(self, case: HostileList, status: int, count: int) -> None:
        self.tally.lists += 1
        self.tally.descriptors += count
        self.tally.codes[Code(STATUS_CODE.get(status)).name] += 1
        for word in case.slots["control"][case.slots["control"] != 0].tolist():
            opcode = word & _OPCODE_MASK
            known = opcode in frozenset(Opcode)
            self.tally.opcodes[Opcode(opcode).name if known else "unknown"] += 1

    # -- lists that are disturbed ------------------------------------------------------------

    def disturb(self) -> None:
        """Disturb one running list, then see that the device ends it and still works."""
        rng = self._rng
        raw, base = self._raws[0], self._raws[0].base
        count = int(rng.integers(4, 24))
        slots: NDArray[np.void] = np.zeros(_SLOTS, DESCRIPTOR)
        places = [base + _LIST_START + slot * DESCRIPTOR_BYTES for slot in range(count + 1)]
        for index in range(count):
            slots[index] = self.maker.legal(places[index], places[index + 1])
        slots[count] = descriptors.end()
        raw.buffer[_LIST_START:HOST_OFFSET] = slots.view(np.uint8)
        steps: list[Step] = [
            *_wide(Reg.HOST_BASE_LO, base + WINDOW_START),
            *_wide(Reg.HOST_SIZE_LO, WINDOW_END - WINDOW_START),
            *_wide(Reg.LIST_LO, places[0]),
            ("write", Reg.CHAIN_LIMIT, 4 * count),
            ("write", Reg.CTRL, CTRL_IRQ_ENABLE.mask),
            ("write", Reg.DOORBELL, 1),
        ]
        for _ in range(int(rng.integers(1, 12))):
            steps.append(("delay", int(rng.integers(1, 4 ** int(rng.integers(1, 7))))))
            steps.append(self._disturbance(places))
        vandal = threading.Thread(target=self._vandalise, args=(rng.spawn(1)[0], count))
        if rng.random() < 0.5:
            vandal.start()
        self._device.script(steps)
        self._wait_idle(steps)
        if vandal.ident is not None:
            vandal.join()
        self._check_guards()
        status = self._device.read32(Reg.STATUS)
        code = Code(STATUS_CODE.get(status))
        self.tally.lists += 1
        self.tally.descriptors += self._device.read32(Reg.DESC_COUNT)
        self.tally.codes[code.name] += 1
        raw.prepare()
        self._raws[1].prepare()
        self._fill()
        self.compare()

    def _disturbance(self, places: list[int]) -> Step:
        """Return a register access that no well-behaved host makes while a list runs."""
        rng = self._rng
        # Never a larger window than before: it is what protects the host.
        size = int(rng.integers(0, WINDOW_END - WINDOW_START + 1))
        choices: list[tuple[float, Step]] = [
            (0.2, ("write", Reg.DOORBELL, 1)),
            (0.1, ("write", Reg.LIST_LO, int(rng.choice(places)) & 0xFFFFFFFF)),
            (0.1, ("write", Reg.HOST_SIZE_LO, size)),
            (0.05, ("write", Reg.CHAIN_LIMIT, int(rng.integers(0, 64)))),
            (0.1, ("write", Reg.CTRL, int(rng.choice([0, 2])))),
            (0.1, ("write", Reg.IRQ, 1)),
            (0.05, ("write", Reg.STATUS, 0xFFFFFFFF)),
            (0.1, ("read", Reg.STATUS)),
            (0.1, ("read", int(rng.integers(0, 1 << 10)) * 4)),
            (0.05, ("write", Reg.CTRL, 0b11)),
            (0.05, ("reset",)),
        ]
        return choices[int(rng.choice(len(choices), p=[chance for chance, _ in choices]))][1]

    def _vandalise(self, rng: np.random.Generator, count: int) -> None:
        """Change words of the list while the device may be reading them."""
        words = self._raws[0].buffer[_LIST_START:HOST_OFFSET].view(np.uint32).reshape(_SLOTS, -1)
        for _ in range(int(rng.integers(1, 200))):
            place = int(rng.integers(0, count + 1)), int(rng.integers(0, 16))
            words[place] = int(rng.choice([int(words[place]) ^ 64, int(rng.choice(_NASTY)), 0]))

    def _wait_idle(self, steps: Sequence[object]) -> None:
        """Wait until no list is running, for a bounded number of fabric clocks."""
        for _ in range(_MOST_WAIT // _WAIT_STEP):
            (status,) = self._device.script([("read", Reg.STATUS)])
            if not status & STATUS_RUNNING.mask:
                return
            self._device.script([("delay", _WAIT_STEP)])
        raise AssertionError(f"a list is still running after {_MOST_WAIT} fabric clocks: {steps}")


def _wide(low: Reg, value: int) -> list[Step]:
    """Return the writes of a pair of registers."""
    return [("write", int(low), value & 0xFFFFFFFF), ("write", int(low) + 4, value >> 32)]
