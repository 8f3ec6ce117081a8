"""The name of a descriptor list wherever it lies: lists moved by whole DRAM rows cost the same.

What the channel does for a list depends on the bank, the column and the row of each access only
through these: which accesses are in the same bank, which banks are in the same group, which rows
are the same, and where in its row an access is. On the host's side a copy is cut at every 4 KiB.
So the layers of a model, whose weights lie elsewhere and are of the same shapes, cost the same, and
one of them is simulated. `pimloop.sim.device.moves` says for which RTL this is verified.

Ranges that share a row are moved together. The name has for each operand: which of those groups of
ranges it is in, and its place there; the bank and its group by the order in which the list comes to
them (all_bank: a row has all banks, and the place in it says the bank).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from pimloop.host.pim.device.chain import Step, Window
from pimloop.host.pim.device.validate import (
    Fields,
    Rows,
    copy_sides,
    device_ranges,
    validate,
)
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import COPY_OPCODES, Init

#: Bursts of the bus end at multiples of this many bytes.
_BURST_BORDER = 4096


def moved_key(
    identity: str, steps: Sequence[Step], window: Window, geometry: Geometry
) -> bytes | None:
    """Return the name of a list that all lists have which differ from it by a move of whole rows.

    None when the device would refuse a descriptor: that depends on where it lies.

    Parameters
    ----------
    identity
        Stands for the device: its build, its parameters and its host memory.
    steps, window
        As for `pimloop.host.pim.device.chain.chain_key`.
    geometry
        Of the device.
    """
    fields = [step.fields() for step in steps]
    bounds = (window.base, window.base + window.size)
    for step, d in zip(steps, fields, strict=True):
        if validate(d, step.address, geometry, bounds) is not None:
            return None
    ranges = [list(device_ranges(d, geometry)) for d in fields]
    places = _Places.of([part for parts in ranges for part in parts], geometry)
    digest = hashlib.sha256(f"{identity} moved".encode())
    for d, parts in zip(fields, ranges, strict=True):
        digest.update(repr((_work(d), [places.name(part) for part in parts])).encode())
    return digest.digest()


def _work(d: Fields) -> tuple[int, ...]:
    """Return all of a descriptor but its addresses; of a host address the place in its 4 KiB."""
    copies = d.opcode in COPY_OPCODES
    host = copy_sides(d)[0].address % _BURST_BORDER if copies else 0
    start_stride = d.host_hi if d.init == Init.F32 else 0
    return (
        d.control, d.rows, d.inner, d.cols, d.stride_a, d.stride_b, d.stride_y, d.tile,
        host, start_stride,
    )  # fmt: skip


@dataclass
class _Places:
    """Where the ranges of a list are, by what matters to the channel."""

    geometry: Geometry
    hulls: list[tuple[int, int]]  # first and last row of ranges that share rows, ascending
    hull_names: dict[int, int] = field(default_factory=dict)  # by index, in the list's order
    bank_names: dict[int, int] = field(default_factory=dict)
    group_names: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, ranges: Sequence[Rows], geometry: Geometry) -> _Places:
        """Join the ranges that share a row."""
        row_bytes = _row_bytes(geometry)
        hulls: list[tuple[int, int]] = []
        for first, last in sorted(
            (part.address // row_bytes, (part.end - 1) // row_bytes) for part in ranges
        ):
            if hulls and first <= hulls[-1][1]:
                hulls[-1] = hulls[-1][0], max(last, hulls[-1][1])
            else:
                hulls.append((first, last))
        return cls(geometry, hulls)

    def name(self, part: Rows) -> tuple[object, ...]:
        """Return the place of a range; sizes and stride are the descriptor's."""
        row_bytes = _row_bytes(self.geometry)
        row = part.address // row_bytes
        index = next(i for i, (_, last) in enumerate(self.hulls) if row <= last)
        first, last = self.hulls[index]
        number = self.hull_names.setdefault(index, len(self.hull_names))
        offset = part.address - first * row_bytes
        if self.geometry.all_bank:
            return number, offset
        rows = self.geometry.bank_span // row_bytes
        banks = range(first // rows, last // rows + 1)
        # Only where it goes on in another bank does it matter how far from the border it begins.
        border = rows - first % rows if len(banks) > 1 else None
        return number, offset, border, tuple(self._bank(bank) for bank in banks)

    def _bank(self, bank: int) -> tuple[int, int]:
        group = bank % self.geometry.bank_groups
        return (
            self.bank_names.setdefault(bank, len(self.bank_names)),
            self.group_names.setdefault(group, len(self.group_names)),
        )


def _row_bytes(geometry: Geometry) -> int:
    """Return the bytes of consecutive addresses in one row."""
    return geometry.row_bytes * (geometry.banks if geometry.all_bank else 1)
