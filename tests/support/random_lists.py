"""Random descriptor lists with the memory they work on, to hold one backend against another.

A list is made of legal descriptors over a few areas of device memory and of host memory; with
`faults` the last one is corrupted. `run` gives everything a backend did: status words, memory
images, registers, cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.integers import WEIGHTS_PER_LANE
from pimloop.host.pim.device.validate import (
    Fields,
    Rows,
    copy_sides,
    operands,
    right_bytes,
    round_up,
    validate,
)
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import BF16_BYTES, F32_BYTES, Geometry
from pimloop.partitioner.quantity import quantity
from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    COPY_OPCODES,
    COUNTERS,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    PRODUCT_OPCODES,
    UNARY_OPCODES,
    VECTOR_OPCODES,
    Broadcast,
    Code,
    Init,
    Opcode,
    Reg,
    Weights,
)
from support.raw import LIST_OFFSET, RawDevice

#: Where the host data of a list lies in the shared buffer, and its size (bytes).
HOST_OFFSET = 1 << 16
HOST_BYTES = 1 << 14

_LIST_BYTES = 1 << 14
_AREAS = 3
_ATTEMPTS = 200
# Zeros, subnormals, largest, infinities, NaNs of several payloads, 1, -1, 2.
_SPECIAL = np.array(
    [
        *(0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x0080, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80),
        *(0x7FC0, 0x7F81, 0xFFC1, 0x3F80, 0xBF80, 0x4000),
    ],
    np.uint16,
)
# Opcodes and how often they come, in parts of all.
_PARTS = {
    **dict.fromkeys(COPY_OPCODES, 10),
    **dict.fromkeys(PRODUCT_OPCODES, 25),
    **dict.fromkeys(VECTOR_OPCODES, 9),
    Opcode.FENCE: 3,
}
_MIX = {opcode: part / sum(_PARTS.values()) for opcode, part in _PARTS.items()}


@dataclass(frozen=True)
class RandomList:
    """A list and the memory it starts from."""

    descriptors: NDArray[np.void]  # the list's part of the buffer, as (slots,) descriptors
    positions: tuple[int, ...]  # slots of the descriptors in list order
    host: NDArray[np.uint8]  # (HOST_BYTES,) at HOST_OFFSET of the buffer
    areas: tuple[tuple[int, NDArray[np.uint8]], ...]  # (device address, content)


@dataclass(frozen=True)
class Outcome:
    """What a device did with a list."""

    status: int  # register STATUS
    count: int  # register DESC_COUNT
    words: tuple[int, ...]  # status words in list order
    records: NDArray[np.uint8]  # list part of the buffer, counts of records zeroed
    host: NDArray[np.uint8]
    areas: tuple[NDArray[np.uint8], ...]
    cycles: int  # DRAM clocks of the list, 0 on the model
    counters: tuple[int, ...]  # the other totals, 0 on the model

    def difference(self, other: Outcome) -> str | None:
        """Return what differs in results (not in time), or None."""
        for name in ("status", "count", "words"):
            if getattr(self, name) != getattr(other, name):
                return f"{name}: {getattr(self, name)} and {getattr(other, name)}"
        pairs = [("list", self.records, other.records), ("host", self.host, other.host)]
        pairs += [
            (f"area {index}", *both)
            for index, both in enumerate(zip(self.areas, other.areas, strict=True))
        ]
        for name, mine, theirs in pairs:
            places = np.flatnonzero(mine != theirs)
            if places.size:
                return (
                    f"{name}: {quantity(places.size, 'byte differs', 'bytes differ')}, the first"
                    f" at {places[0]}"
                )
        return None


def random_bits(rng: np.random.Generator, count: int) -> NDArray[np.uint16]:
    """Return bfloat16 bits: mostly of moderate size, some corners, some of any pattern."""
    moderate = rng.integers(0x3E00, 0x4100, count) | rng.integers(0, 2, count) << 15
    kinds = rng.random(count)
    bits = np.where(kinds < 0.9, moderate, rng.integers(0, 1 << 16, count)).astype(np.uint16)
    special = kinds > 1 - rng.choice([0.0, 0.02])
    bits[special] = rng.choice(_SPECIAL, int(special.sum()))
    return bits


def random_list(
    rng: np.random.Generator,
    geometry: Geometry,
    buffer_address: int,
    *,
    length: int = 6,
    faults: float = 0.0,
) -> RandomList:
    """Return a random list.

    Parameters
    ----------
    rng
        Source of everything random.
    geometry
        Of the devices it will run on.
    buffer_address
        Address of the shared buffer as these devices see it.
    length
        Most descriptors before END.
    faults
        Chance that the list ends with a corrupted descriptor instead of END.
    """
    return ListMaker(rng, geometry, buffer_address).make(length, faults)


def run(raw: RawDevice, case: RandomList) -> Outcome:
    """Run a list on a device that sees its buffer where the list expects it."""
    raw.prepare()
    buffer = raw.buffer
    for address, content in case.areas:
        raw.write_memory(address, content)
    size = case.descriptors.nbytes
    buffer[LIST_OFFSET : LIST_OFFSET + size] = case.descriptors.view(np.uint8)
    buffer[HOST_OFFSET : HOST_OFFSET + HOST_BYTES] = case.host
    raw.window(size=HOST_OFFSET + HOST_BYTES)
    before = [raw.read64(low) for low in COUNTERS.values()]
    raw.ring(raw.base + LIST_OFFSET + case.positions[0] * DESCRIPTOR_BYTES)
    status = raw.finish()
    count = raw.device.read32(Reg.DESC_COUNT)
    after = [raw.read64(low) for low in COUNTERS.values()]
    raw.window()
    slots = buffer[LIST_OFFSET : LIST_OFFSET + size].view(DESCRIPTOR).copy()
    host = buffer[HOST_OFFSET : HOST_OFFSET + HOST_BYTES].copy()
    spent = [int(new - old) for new, old in zip(after, before, strict=True)]
    return Outcome(
        status=status,
        count=count,
        words=tuple(int(slots["status"][position]) for position in case.positions),
        records=_without_counts(slots, case.positions),
        host=host,
        areas=tuple(raw.read_memory(address, content.size) for address, content in case.areas),
        cycles=spent[0],
        counters=tuple(spent[1:]),
    )


def _without_counts(slots: NDArray[np.void], positions: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the list's memory with the counts of completion records set to 0."""
    words = slots.view(np.uint32).reshape(-1, DESCRIPTOR_BYTES // 4)
    for position in positions:
        if CONTROL_FIELDS["record"].get(int(slots["control"][position])):
            words[position + 1, 1:] = 0
    return words.view(np.uint8).reshape(-1)


class ListMaker:
    """Makes descriptors over areas of device memory and a part of the buffer, all at random."""

    def __init__(self, rng: np.random.Generator, geometry: Geometry, base: int) -> None:
        self._rng = rng
        self._g = geometry
        self._base = base
        area_bytes = (1024 if geometry.beat_bytes <= 64 else 192) * geometry.beat_bytes
        area_bytes = min(area_bytes, geometry.capacity // 4)  # devices of two rows
        places = rng.integers(0, geometry.capacity // area_bytes, _AREAS) * area_bytes
        if rng.random() < 0.5:
            # Across the border of two banks, where the capacity has one there.
            border = geometry.bank_span * int(rng.integers(1, 4))
            if area_bytes // 2 <= border <= geometry.capacity - area_bytes:
                places[0] = border - area_bytes // 2
        chosen: list[int] = []
        for place in (int(place) for place in places):
            if all(abs(place - other) >= area_bytes for other in chosen):
                chosen.append(place)
        self.areas = tuple(
            (place, random_bits(rng, area_bytes // 2).view(np.uint8)) for place in chosen
        )
        self._area_bytes = area_bytes
        self._window = (base, base + HOST_OFFSET + HOST_BYTES)

    def make(self, length: int, faults: float) -> RandomList:
        rng = self._rng
        count = int(rng.integers(1, length + 1))
        slots = _LIST_BYTES // DESCRIPTOR_BYTES
        order = rng.permutation(slots // 2)[: count + 1] * 2
        positions = tuple(int(slot) for slot in order)
        memory: NDArray[np.void] = np.zeros(slots, DESCRIPTOR)
        bad = rng.random() < faults
        for index, slot in enumerate(positions):
            last = index == count
            following = self._address(positions[0 if last else index + 1])
            address = self._address(slot)
            if last and not bad:
                item = descriptors.end()
            else:
                item = self.legal(address, following)
                if last:
                    self._corrupt(item, address)
            record = rng.random() < 0.3
            item["control"] |= CONTROL_FIELDS["record"].put(record)
            memory[slot] = item
        host = random_bits(rng, HOST_BYTES // 2).view(np.uint8)
        return RandomList(memory, positions, host, self.areas)

    def _address(self, slot: int) -> int:
        return self._base + LIST_OFFSET + slot * DESCRIPTOR_BYTES

    def legal(self, address: int, following: int) -> Descriptor:
        """Return a descriptor the device will accept."""
        for _ in range(_ATTEMPTS):
            item = self.any()
            _link(item, following)
            fields = Fields.parse(item.tobytes())
            if validate(fields, address, self._g, self._window) is None and self.inside(fields):
                return item
        item = descriptors.fence()
        _link(item, following)
        return item

    def inside(self, d: Fields) -> bool:
        """Return whether all that is read and written is in the areas that are compared."""
        if d.opcode == Opcode.FENCE:
            return True
        if d.opcode in COPY_OPCODES:
            host, device = copy_sides(d)
            return host.address >= self._base + HOST_OFFSET and self._in_area(device)
        parts = operands(d, self._g)
        return all(
            self._in_area(part) for part in (parts.a, parts.b, parts.c, parts.y) if part is not None
        )

    def _in_area(self, part: Rows) -> bool:
        return any(
            place <= part.address and part.end <= place + self._area_bytes
            for place, _ in self.areas
        )

    def any(self) -> Descriptor:
        opcode = Opcode(int(self._rng.choice(list(_MIX), p=list(_MIX.values()))))
        if opcode in COPY_OPCODES:
            return self._copy(opcode)
        if opcode == Opcode.MATMUL:
            return self._matmul()
        if opcode == Opcode.MATMUL_T:
            return self._matmul_t()
        if opcode == Opcode.FENCE:
            return descriptors.fence()
        return self._vector(opcode)

    def _upto(self, most: int) -> int:
        """Return 1..most, small values more often."""
        return 1 + int(self._rng.integers(0, self._rng.integers(1, most + 1)))

    def _place(self, rows: int, stride: int, row_bytes: int, granule: int) -> int:
        """Return an aligned address in an area; where nothing fits, the area's start."""
        hull = Rows(0, rows, stride, row_bytes).end
        start = int(self._rng.choice([place for place, _ in self.areas]))
        room = (self._area_bytes - hull) // granule
        return start + int(self._rng.integers(0, max(room, 0) + 1)) * granule

    def _stride(self, row_bytes: int, granule: int, *, written: bool = False) -> int:
        if not written and self._rng.random() < 0.1:
            return 0
        return round_up(row_bytes, granule) + int(self._rng.choice([0, 0, 1, 3])) * granule

    def _copy(self, opcode: Opcode) -> Descriptor:
        rng = self._rng
        rows, row_bytes = self._upto(6), 64 * self._upto(20)
        inward = opcode == Opcode.COPY_IN
        host_stride = self._stride(row_bytes, 64, written=not inward)
        device_stride = self._stride(row_bytes, 64, written=inward)
        room = (HOST_BYTES - Rows(0, rows, host_stride, row_bytes).end) // 64
        host = self._base + HOST_OFFSET + int(rng.integers(0, max(room, 0) + 1)) * 64
        make = descriptors.copy_in if inward else descriptors.copy_out
        return make(
            host,
            self._place(rows, device_stride, row_bytes, 64),
            rows=rows,
            row_bytes=row_bytes,
            host_stride=host_stride,
            device_stride=device_stride,
        )

    def _result(self, rows: int, columns: int, out_f32: bool) -> tuple[int, int]:
        """Return (address, stride) for a result."""
        beat = self._g.beat_bytes
        wide = columns * (F32_BYTES if out_f32 else BF16_BYTES)
        stride = self._stride(wide, beat, written=True)
        return self._place(rows, stride, wide, beat), stride

    def _initial(
        self, rows: int, columns: int, y: int, stride_y: int, out_f32: bool
    ) -> tuple[Init, int, int]:
        """Return (init, address, stride) of an initial value."""
        g = self._g
        init = Init(int(self._rng.integers(0, 3)))
        if init == Init.ROW:
            return init, self._place(1, 0, BF16_BYTES * columns, g.beat_bytes), 0
        if init == Init.F32:
            if out_f32 and self._rng.random() < 0.5:
                return init, y, stride_y
            stride = self._stride(F32_BYTES * columns, g.beat_bytes)
            return init, self._place(rows, stride, F32_BYTES * columns, g.beat_bytes), stride
        return init, 0, 0

    def _matmul(self) -> Descriptor:
        g, rng = self._g, self._rng
        rows, inner = self._upto(5), self._upto(80)
        cols = self._upto(2 * g.acc_groups if g.beat_bytes <= 64 else 3) * g.beat_columns
        tile = self._upto(g.acc_groups)
        out_f32 = bool(rng.integers(0, 2))
        weights, group = self._weights()
        each = WEIGHTS_PER_LANE[weights]
        cols, tile = round_up(cols, each * g.beat_columns), min(round_up(tile, each), g.acc_groups)
        wide_a = round_up(BF16_BYTES * inner, g.beat_bytes)
        stride_a = self._stride(wide_a, g.beat_bytes)
        y, stride_y = self._result(rows, cols, out_f32)
        init, c, stride_c = self._initial(rows, cols, y, stride_y, out_f32)
        return descriptors.matmul(
            self._place(rows, stride_a, wide_a, g.beat_bytes),
            self._place(1, 0, right_bytes(inner, cols, weights, group), g.beat_bytes),
            y,
            rows=rows,
            inner=inner,
            cols=cols,
            stride_a=stride_a,
            stride_y=stride_y,
            tile=tile,
            init=init,
            c=c,
            stride_c=stride_c,
            out_f32=out_f32,
            weights=weights,
            group=group,
        )

    def _weights(self) -> tuple[Weights, int]:
        """Return (weights, log2 of a group) of a MATMUL that the device has."""
        rows = self._g.rows_per_beat
        known = [weights for weights, each in WEIGHTS_PER_LANE.items() if each <= rows]
        if len(known) == 1:
            return known[0], 0
        weights = known[int(self._rng.integers(0, len(known)))]
        return weights, 0 if weights == Weights.BF16 else int(self._rng.integers(0, 8))

    def _matmul_t(self) -> Descriptor:
        g, rng = self._g, self._rng
        rows, inner = self._upto(5), self._upto(80)
        # A part of a beat, beats, more beats than a device has ways.
        atoms = (
            self._upto(4)
            if rng.random() < 0.5
            else self._upto(5 * g.beat_columns // g.atom_columns)
        )
        cols = atoms * g.atom_columns
        blocks = -(-inner // g.atom_columns)
        if rng.random() < 0.5:
            stride_b, tile = g.atom_bytes, cols * g.atom_bytes  # blocked
            granule = g.beat_bytes if rng.random() < 0.7 else g.atom_bytes
        else:
            tile = g.atom_bytes  # rows
            stride_b = self._stride(blocks * g.atom_bytes, g.atom_bytes)
            granule = g.atom_bytes
        last = (blocks - 1) * tile + g.atom_bytes
        out_f32 = bool(rng.integers(0, 2))
        wide_a = round_up(BF16_BYTES * inner, g.beat_bytes)
        stride_a = self._stride(wide_a, g.beat_bytes)
        columns = round_up(cols, g.beat_columns)
        y, stride_y = self._result(rows, columns, out_f32)
        init, c, stride_c = self._initial(rows, columns, y, stride_y, out_f32)
        return descriptors.matmul(
            self._place(rows, stride_a, wide_a, g.beat_bytes),
            self._place(cols, stride_b, last, granule),
            y,
            rows=rows,
            inner=inner,
            cols=cols,
            stride_a=stride_a,
            stride_b=stride_b,
            stride_y=stride_y,
            tile=tile,
            transposed=True,
            init=init,
            c=c,
            stride_c=stride_c,
            out_f32=out_f32,
        )

    def _vector(self, opcode: Opcode) -> Descriptor:
        g, rng = self._g, self._rng
        kind = Broadcast.NONE if opcode in UNARY_OPCODES else Broadcast(int(rng.integers(0, 4)))
        rows = self._upto(70 if kind == Broadcast.COLUMN else 9)
        cols = self._upto(20 if g.beat_bytes <= 64 else 3) * g.beat_columns
        wide = BF16_BYTES * cols
        y, stride_y = self._result(rows, cols, False)
        stride_a, stride_b = (self._stride(wide, g.beat_bytes) for _ in range(2))
        a = self._place(rows, stride_a, wide, g.beat_bytes)
        b_rows, b_bytes = {
            Broadcast.NONE: (rows, wide),
            Broadcast.ROW: (1, wide),
            Broadcast.COLUMN: (1, round_up(BF16_BYTES * rows, g.beat_bytes)),
            Broadcast.SCALAR: (1, g.beat_bytes),
        }[kind]
        b = self._place(b_rows, stride_b, b_bytes, g.beat_bytes)
        in_place = rng.random()
        if in_place < 0.15:
            a, stride_a = y, stride_y
        if opcode in UNARY_OPCODES:
            item = descriptors.unary(
                opcode, a, y, rows=rows, cols=cols, stride_a=stride_a, stride_y=stride_y
            )
            # What it does not have may be anything.
            for name in ("addr_b", "stride_b", "inner", "tile", "host_lo", "host_hi"):
                item[name] = int(rng.integers(0, 1 << 32))
            return item
        if 0.15 <= in_place < 0.3 and kind == Broadcast.NONE:
            b, stride_b = y, stride_y
        return descriptors.elementwise(
            opcode,
            a,
            b,
            y,
            rows=rows,
            cols=cols,
            stride_a=stride_a,
            stride_b=stride_b if kind == Broadcast.NONE else int(rng.integers(0, 1 << 32)),
            stride_y=stride_y,
            broadcast=kind,
        )

    def _corrupt(self, item: Descriptor, address: int) -> None:
        """Change words until the device will refuse the descriptor."""
        rng = self._rng
        names = [name for name in DESCRIPTOR.names or () if name != "next_hi"]
        values = [0, 1, 2, 3, 63, 64, 0x7FFFFFFF, 0x80000000, 0xFFFFFFC0, 0xFFFFFFFF, 4097]
        for _ in range(_ATTEMPTS):
            changed = item.copy()
            for name in rng.choice(names, int(rng.integers(1, 4)), replace=False):
                old = int(changed[name])
                flipped = old ^ 1 << int(rng.integers(0, 32))
                changed[name] = int(rng.choice([*values, flipped, old + 1 & 0xFFFFFFFF]))
            fields = Fields.parse(changed.tobytes())
            refused = validate(fields, address, self._g, self._window) is not None
            if refused or fields.status != Code.PENDING:
                item[...] = changed
                return
        item["control"] = 0


def _link(item: Descriptor, following: int) -> None:
    item["next_lo"] = following & 0xFFFFFFFF
    item["next_hi"] = following >> 32
