"""The name of a descriptor list wherever it lies: lists moved by whole DRAM rows cost the same.

What the channel does for a list depends on the bank, the column and the row of each access only
through these: which accesses are in the same bank, which banks are in the same group, which rows
are the same, and where in its row an access is. On the host's side a copy is cut at every 4 KiB.
So the layers of a model, whose weights lie elsewhere and are of the same shapes, cost the same, and
one of them is simulated. `pimloop.sim.device.moves` says for which hardware this is verified.

A page is what one row address holds: a row of a bank, or of every bank (all_bank). Pages, banks and
bank groups are named by the order in which a list comes to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

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
    return hashlib.sha256(f"{identity} moved".encode() + moved_name(fields, geometry)).digest()


def moved_name(descriptors: Iterable[Fields], geometry: Geometry) -> bytes:
    """Return the name of legal descriptors without the device: SHA-256, 32 bytes."""
    digest = hashlib.sha256()
    pages = _Pages(geometry)
    for d in descriptors:
        places = [pages.of(part) for part in device_ranges(d, geometry)]
        digest.update(repr((_work(d), places)).encode())
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


class _Pages:
    """Names of the pages, banks and bank groups of a list, in the order in which they appear."""

    def __init__(self, geometry: Geometry) -> None:
        self._bytes = geometry.row_bytes * (geometry.banks if geometry.all_bank else 1)
        self._in_bank = geometry.bank_span // self._bytes
        self._groups = 1 if geometry.all_bank else geometry.bank_groups
        self._page: dict[int, int] = {}
        self._bank: dict[int, int] = {}
        self._group: dict[int, int] = {}

    def of(self, part: Rows) -> tuple[int, list[list[int]]]:
        """Return where in its page a range begins, and the pages that it lies in.

        As runs: the names of group, bank and first page, and how many pages follow each other.
        """
        runs: list[list[int]] = []
        for page in range(part.address // self._bytes, (part.end - 1) // self._bytes + 1):
            bank = page // self._in_bank
            group = self._group.setdefault(bank % self._groups, len(self._group))
            place = [group, self._bank.setdefault(bank, len(self._bank))]
            name = self._page.setdefault(page, len(self._page))
            if runs and runs[-1][:2] == place and runs[-1][2] + runs[-1][3] == name:
                runs[-1][3] += 1
            else:
                runs.append([*place, name, 1])
        return part.address % self._bytes, runs
