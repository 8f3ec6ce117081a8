"""Lists moved: device memory by whole DRAM rows and to like banks, host memory by 4 KiB."""

from __future__ import annotations

import numpy as np

from pimloop.host.pim.device.chain import Window, read_chain
from pimloop.host.pim.device.moved import moved_key
from pimloop.host.pim.device.validate import Fields, copy_sides, device_ranges
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    COPY_OPCODES,
    COUNTERS,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    Init,
    Opcode,
)
from support.random_lists import HOST_BYTES, HOST_OFFSET, RandomList
from support.raw import LIST_OFFSET, RawDevice

#: Address of the shared buffer of all backends.
BASE = 1 << 32

_WINDOW = Window(BASE, HOST_OFFSET + HOST_BYTES, 1 << 20)
_PAGE = 4096


def moved(rng: np.random.Generator, case: RandomList, geometry: Geometry, base: int) -> RandomList:
    """Return a list of equal cost elsewhere in both memories, its descriptors at other places.

    Parameters
    ----------
    rng
        Source of everything random.
    case
        Of `support.random_lists.random_list`.
    geometry
        Of the device.
    base
        Address of the shared buffer as the device sees it.
    """
    shifts = _shifts(rng, [(place, content.size) for place, content in case.areas], geometry)
    slots = case.descriptors.size
    positions = tuple(int(n) for n in rng.permutation(slots // 2)[: len(case.positions)] * 2)
    memory = np.zeros(slots, DESCRIPTOR)
    for index, (old, new) in enumerate(zip(case.positions, positions, strict=True)):
        item = case.descriptors[old : old + 1].copy()
        _move(rng, item, shifts, geometry, base)
        if index + 1 < len(positions):
            following = base + LIST_OFFSET + positions[index + 1] * DESCRIPTOR_BYTES
            item["next_lo"], item["next_hi"] = following & 0xFFFFFFFF, following >> 32
        memory[new] = item[0]
    areas = tuple(
        (place + shifts[place, size], content)
        for place, size, content in (
            (place, content.size, content) for place, content in case.areas
        )
    )
    return RandomList(memory, positions, case.host, areas)


def _shifts(
    rng: np.random.Generator, areas: list[tuple[int, int]], geometry: Geometry
) -> dict[tuple[int, int], int]:
    """Return how far each area moves: by rows, and all by the same number of banks."""
    row_bytes = geometry.row_bytes * (geometry.banks if geometry.all_bank else 1)
    span = geometry.bank_span
    highest = max((place + size - 1) // span for place, size in areas)
    lowest = min(place // span for place, size in areas)
    turn = int(rng.integers(-lowest, geometry.capacity // span - highest))
    taken: list[tuple[int, int]] = []
    shifts = {}
    for place, size in areas:
        first, last = place // span, (place + size - 1) // span
        while True:
            start = place + turn * span
            if first == last:  # else it must keep its distance to the border
                room = (span - size - place % row_bytes) // row_bytes
                start = (first + turn) * span + int(rng.integers(0, room + 1)) * row_bytes
                start += place % row_bytes
            if all(start + size <= other or end <= start for other, end in taken):
                break
        taken.append((start, start + size))
        shifts[place, size] = start - place
    return shifts


def _move(
    rng: np.random.Generator,
    item: np.ndarray,
    shifts: dict[tuple[int, int], int],
    geometry: Geometry,
    base: int,
) -> None:
    d = Fields.parse(item.tobytes())

    def elsewhere(address: int) -> int:
        return address + next(
            shift for (place, size), shift in shifts.items() if place <= address < place + size
        )

    if d.opcode in COPY_OPCODES:
        host, _ = copy_sides(d)
        low, high = base + HOST_OFFSET, base + HOST_OFFSET + HOST_BYTES
        fitting = [
            pages * _PAGE
            for pages in range(-HOST_BYTES // _PAGE, HOST_BYTES // _PAGE + 1)
            if low <= host.address + pages * _PAGE and host.end + pages * _PAGE <= high
        ]
        address = host.address + int(rng.choice(fitting))
        item["host_lo"], item["host_hi"] = address & 0xFFFFFFFF, address >> 32
        name = "addr_y" if d.opcode == Opcode.COPY_IN else "addr_a"
        item[name] = elsewhere(getattr(d, name))
        return
    used = {part.address for part in device_ranges(d, geometry)}
    for name in ("addr_a", "addr_b", "addr_y"):
        if getattr(d, name) in used:
            item[name] = elsewhere(getattr(d, name))
    if d.init in (Init.ROW, Init.F32):
        item["host_lo"] = elsewhere(d.host_lo)


def costs(raw: RawDevice, case: RandomList) -> tuple[object, ...]:
    """Run a list without a cache; return its counters and completion records."""
    raw.prepare()
    for address, content in case.areas:
        raw.write_memory(address, content)
    size = case.descriptors.nbytes
    raw.buffer[LIST_OFFSET : LIST_OFFSET + size] = case.descriptors.view(np.uint8)
    raw.buffer[HOST_OFFSET : HOST_OFFSET + HOST_BYTES] = case.host
    raw.window(size=HOST_OFFSET + HOST_BYTES)
    before = [raw.read64(low) for low in COUNTERS.values()]
    raw.ring(raw.base + LIST_OFFSET + case.positions[0] * DESCRIPTOR_BYTES)
    assert raw.finish() == 0
    after = [raw.read64(low) for low in COUNTERS.values()]
    slots = raw.buffer[LIST_OFFSET : LIST_OFFSET + size].reshape(-1, DESCRIPTOR_BYTES)
    records = [
        slots[place + 1].tobytes()
        for place in case.positions
        if CONTROL_FIELDS["record"].get(int(case.descriptors["control"][place]))
    ]
    raw.window()
    return (*(new - old for new, old in zip(after, before, strict=True)), *records)


def key(case: RandomList, geometry: Geometry, identity: str = "device") -> bytes | None:
    """Return the name of a list that lies in the buffer of a test's device."""
    buffer = np.zeros(HOST_OFFSET + HOST_BYTES, np.uint8)
    buffer[LIST_OFFSET : LIST_OFFSET + case.descriptors.nbytes] = case.descriptors.view(np.uint8)
    start = BASE + LIST_OFFSET + case.positions[0] * DESCRIPTOR_BYTES
    steps = read_chain(buffer, BASE, start, _WINDOW)
    assert steps is not None
    return moved_key(identity, steps, _WINDOW, geometry)
