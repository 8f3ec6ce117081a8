"""The checks a device makes of a descriptor before it does anything, in the order it makes them.

Part of the functional model (`pimloop.host.pim.device.model`); the RTL makes the same checks in the
same order, so a descriptor with several faults gets the same code on every backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pimloop.host.pim.device.integers import WEIGHTS_PER_LANE
from pimloop.host.platforms.geometry import BF16_BYTES, F32_BYTES, Geometry
from pimloop.rtl.tables.isa import (
    COMPUTE_OPCODES,
    CONTROL_FIELDS,
    COPY_OPCODES,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    OPTION_OPCODES,
    PRODUCT_OPCODES,
    UNARY_OPCODES,
    VECTOR_OPCODES,
    Broadcast,
    Code,
    Init,
    Opcode,
    Weights,
)

#: Granule of host addresses, copied rows and descriptors in bytes.
HOST_GRANULE = 64

# Host addresses have 64 bits and do not wrap.
_HOST_SPACE = 1 << 64

_DEFINED_CONTROL = sum(field.mask for field in CONTROL_FIELDS.values())


def round_up(value: int, granule: int) -> int:
    """Return the smallest multiple of `granule` that is not below `value`."""
    return -(-value // granule) * granule


@dataclass(frozen=True)
class Fields:
    """A fetched descriptor as plain integers, its control word split."""

    opcode: int
    broadcast: int
    init: int
    out_f32: bool
    record: bool
    weights: int
    group: int  # log2 of inner elements
    control: int
    next: int
    host: int
    host_lo: int
    host_hi: int
    addr_a: int
    addr_b: int
    addr_y: int
    rows: int
    inner: int
    cols: int
    stride_a: int
    stride_b: int
    stride_y: int
    tile: int
    status: int

    @classmethod
    def parse(cls, raw: bytes) -> Fields:
        """Split the 64 bytes of a descriptor."""
        words = dict(
            zip(DESCRIPTOR.names or (), np.frombuffer(raw, "<u4", 16).tolist(), strict=True)
        )
        control = words.pop("control")

        def field(name: str) -> int:
            return CONTROL_FIELDS[name].get(control)

        return cls(
            opcode=field("opcode"),
            broadcast=field("broadcast"),
            init=field("init"),
            out_f32=bool(field("out_f32")),
            record=bool(field("record")),
            weights=field("weights"),
            group=field("group"),
            control=control,
            next=words.pop("next_lo") | words.pop("next_hi") << 32,
            host=words["host_lo"] | words["host_hi"] << 32,
            **words,
        )


@dataclass(frozen=True)
class Rows:
    """An operand in memory: `count` rows of `row_bytes`, `stride` bytes apart."""

    address: int
    count: int
    stride: int
    row_bytes: int

    @property
    def end(self) -> int:
        """The first address after the hull."""
        return self.address + (self.count - 1) * self.stride + self.row_bytes

    def meets(self, other: Rows) -> bool:
        """Return whether the two hulls share a byte."""
        return self.address < other.end and other.address < self.end

    @property
    def folds(self) -> bool:
        """Whether the rows overlap each other."""
        return self.count > 1 and self.stride < self.row_bytes


@dataclass(frozen=True)
class Operands:
    """Device memory ranges of a computation; `b` and `c` where the operation has them."""

    a: Rows
    y: Rows
    b: Rows | None = None
    c: Rows | None = None


def operands(d: Fields, geometry: Geometry) -> Operands:
    """Return the device ranges of a descriptor of legal size that computes."""
    if d.opcode in VECTOR_OPCODES:
        return _vector_operands(d, geometry)
    beat = geometry.beat_bytes
    columns = round_up(d.cols, geometry.beat_columns)
    c = None
    if d.init == Init.ROW:
        c = Rows(d.host_lo, 1, 0, BF16_BYTES * columns)
    elif d.init == Init.F32:
        c = Rows(d.host_lo, d.rows, d.host_hi, F32_BYTES * columns)
    if d.opcode == Opcode.MATMUL:
        b = Rows(d.addr_b, 1, 0, right_bytes(d.inner, d.cols, Weights(d.weights), d.group))
    else:
        blocks = -(-BF16_BYTES * d.inner // geometry.atom_bytes)
        last = (blocks - 1) * d.tile + geometry.atom_bytes
        b = Rows(d.addr_b, d.cols, d.stride_b, last)
    return Operands(
        a=Rows(d.addr_a, d.rows, d.stride_a, round_up(BF16_BYTES * d.inner, beat)),
        b=b,
        y=Rows(d.addr_y, d.rows, d.stride_y, (F32_BYTES if d.out_f32 else BF16_BYTES) * columns),
        c=c,
    )


def right_bytes(inner: int, columns: int, weights: Weights, group: int) -> int:
    """Return the bytes of a right operand of MATMUL.

    Parameters
    ----------
    inner, columns
        Its elements; whole beats of columns.
    weights
        What they are.
    group
        Of integers: log2 of the inner elements that share a scale.
    """
    words = inner * columns // WEIGHTS_PER_LANE[weights]
    if weights != Weights.BF16:
        words += -(-inner // (1 << group)) * columns
    return BF16_BYTES * words


def _vector_operands(d: Fields, geometry: Geometry) -> Operands:
    beat, wide = geometry.beat_bytes, BF16_BYTES * d.cols
    second = {
        Broadcast.NONE: Rows(d.addr_b, d.rows, d.stride_b, wide),
        Broadcast.ROW: Rows(d.addr_b, 1, 0, wide),
        Broadcast.COLUMN: Rows(d.addr_b, 1, 0, round_up(BF16_BYTES * d.rows, beat)),
        Broadcast.SCALAR: Rows(d.addr_b, 1, 0, beat),
    }[Broadcast(d.broadcast)]
    return Operands(
        a=Rows(d.addr_a, d.rows, d.stride_a, wide),
        y=Rows(d.addr_y, d.rows, d.stride_y, wide),
        b=None if d.opcode in UNARY_OPCODES else second,
    )


def copy_sides(d: Fields) -> tuple[Rows, Rows]:
    """Return (host side, device side) of a copy of legal size."""
    if d.opcode == Opcode.COPY_IN:
        return (
            Rows(d.host, d.rows, d.stride_a, d.inner),
            Rows(d.addr_y, d.rows, d.stride_y, d.inner),
        )
    return Rows(d.host, d.rows, d.stride_y, d.inner), Rows(d.addr_a, d.rows, d.stride_a, d.inner)


def validate(d: Fields, address: int, geometry: Geometry, window: tuple[int, int]) -> Code | None:
    """Return the code a descriptor is refused with, or None.

    Parameters
    ----------
    d
        The descriptor.
    address
        Its host address.
    geometry
        Of the device.
    window
        (start, end) of the host memory the device may touch.
    """
    if d.opcode not in frozenset(Opcode):
        return Code.OPCODE
    for fault, code in (
        (_bad_options(d, geometry), Code.RESERVED),
        (_bad_size(d, geometry), Code.SIZE),
        (_misaligned(d, geometry), Code.MISALIGNED),
    ):
        if fault:
            return code
    if any(part.end > geometry.capacity for part in device_ranges(d, geometry)):
        return Code.RANGE
    if not all(_inside(start, end, window) for start, end in _host_ranges(d, address)):
        return Code.HOST_RANGE
    return Code.OVERLAP if _overlaps(d, geometry) else None


def _bad_options(d: Fields, geometry: Geometry) -> bool:
    return bool(
        d.control & ~_DEFINED_CONTROL
        or any(
            d.control & CONTROL_FIELDS[name].mask and d.opcode not in opcodes
            for name, opcodes in OPTION_OPCODES.items()
        )
        or d.init not in frozenset(Init)
        or d.weights not in frozenset(Weights)
        or _bad_weights(d, geometry)
    )


def _bad_weights(d: Fields, geometry: Geometry) -> bool:
    """Return whether the opcode or the device has no such weights."""
    if d.weights == Weights.BF16:
        return d.group != 0
    return (
        d.opcode != Opcode.MATMUL or WEIGHTS_PER_LANE[Weights(d.weights)] > geometry.rows_per_beat
    )


def _bad_size(d: Fields, geometry: Geometry) -> bool:
    if d.opcode in COPY_OPCODES:
        return d.rows < 1 or d.inner < 1 or d.inner % HOST_GRANULE != 0
    if d.opcode in PRODUCT_OPCODES:
        normal = d.opcode == Opcode.MATMUL
        each = WEIGHTS_PER_LANE.get(d.weights, 1)
        granule = each * geometry.beat_columns if normal else geometry.atom_columns
        return (
            d.rows < 1
            or not 1 <= d.inner <= geometry.scalar_depth
            or d.cols < 1
            or d.cols % granule != 0
            or (normal and (not 1 <= d.tile <= geometry.acc_groups or d.tile % each != 0))
        )
    if d.opcode in VECTOR_OPCODES:
        return (
            d.rows < 1
            or d.cols < 1
            or d.cols % geometry.beat_columns != 0
            or (d.broadcast == Broadcast.COLUMN and d.rows > geometry.scalar_depth)
        )
    return False


def _misaligned(d: Fields, geometry: Geometry) -> bool:
    if d.opcode != Opcode.END and d.next % DESCRIPTOR_BYTES:
        return True
    if d.opcode in COPY_OPCODES:
        device = d.addr_y if d.opcode == Opcode.COPY_IN else d.addr_a
        return any(value % HOST_GRANULE for value in (d.host, device, d.stride_a, d.stride_y))
    if d.opcode not in COMPUTE_OPCODES:
        return False
    beat, atom = geometry.beat_bytes, geometry.atom_bytes
    beats = [d.addr_a, d.addr_y, d.stride_a, d.stride_y]
    atoms = []
    if d.opcode == Opcode.MATMUL_T:
        atoms = [d.addr_b, d.stride_b, d.tile]
    elif d.opcode not in UNARY_OPCODES:
        beats.append(d.addr_b)
        if d.opcode in VECTOR_OPCODES and d.broadcast == Broadcast.NONE:
            beats.append(d.stride_b)
    if d.init:
        beats.append(d.host_lo)
    if d.init == Init.F32:
        beats.append(d.host_hi)
    return any(value % beat for value in beats) or any(value % atom for value in atoms)


def device_ranges(d: Fields, geometry: Geometry) -> Iterator[Rows]:
    """Return the ranges of device memory of a descriptor of legal size."""
    if d.opcode in COPY_OPCODES:
        yield copy_sides(d)[1]
    elif d.opcode in COMPUTE_OPCODES:
        parts = operands(d, geometry)
        yield from (part for part in (parts.a, parts.b, parts.y, parts.c) if part is not None)


def _host_ranges(d: Fields, address: int) -> Iterator[tuple[int, int]]:
    if d.opcode != Opcode.END:
        yield d.next, d.next + DESCRIPTOR_BYTES
    if d.record:
        yield address + DESCRIPTOR_BYTES, address + 2 * DESCRIPTOR_BYTES
    if d.opcode in COPY_OPCODES:
        host = copy_sides(d)[0]
        yield host.address, host.end


def _inside(start: int, end: int, window: tuple[int, int]) -> bool:
    return window[0] <= start and end <= min(window[1], _HOST_SPACE)


def _overlaps(d: Fields, geometry: Geometry) -> bool:
    if d.opcode in COPY_OPCODES:
        host, device = copy_sides(d)
        return (device if d.opcode == Opcode.COPY_IN else host).folds
    if d.opcode not in COMPUTE_OPCODES:
        return False
    parts = operands(d, geometry)
    y = parts.y
    place = (y.address, y.stride)
    allowed: list[Rows | None] = []
    if d.opcode in VECTOR_OPCODES:
        allowed.append(parts.a)
        if d.broadcast == Broadcast.NONE:
            allowed.append(parts.b)
    elif d.init == Init.F32 and d.out_f32:
        allowed.append(parts.c)
    others = [part for part in (parts.a, parts.b, parts.c) if part is not None]
    return y.folds or any(
        y.meets(part)
        and not (any(part is a for a in allowed) and (part.address, part.stride) == place)
        for part in others
    )
