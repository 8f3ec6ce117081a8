"""Lists that take the same clocks because they differ in nothing but which pages they use.

A page is what one row address holds. The scheduler (`rtl/pim_sched.sv`) asks of a page only whether
it is the open one of its bank, and of two banks whether they are one and whether they share a
group; a list begins with every bank closed and time at zero. So no clock changes when rows change
places within a bank, banks within a group, and groups with each other. What a descriptor says
beside its addresses, and where in its page each operand begins, must be the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from pimloop.host.pim.device.validate import Fields, Rows, operands
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import COMPUTE_OPCODES, Opcode

_WITHOUT_OPERANDS = (Opcode.FENCE, Opcode.END)


def alike_key(descriptors: Iterable[bytes], geometry: Geometry) -> bytes | None:
    """Return a name that lists have in common only if they take the same clocks.

    Parameters
    ----------
    descriptors
        A list, 64 bytes each; those that the device would refuse have no name.
    geometry
        Of the device.

    Returns
    -------
    SHA-256, 32 bytes; None where a descriptor is not one of computing: what it costs depends on
    host addresses too.
    """
    digest = hashlib.sha256()
    pages = _Pages(geometry)
    for raw in descriptors:
        fields = Fields.parse(raw)
        if fields.opcode in _WITHOUT_OPERANDS:
            digest.update(b"%d" % fields.opcode)
            continue
        if fields.opcode not in COMPUTE_OPCODES or fields.record:
            return None
        said = replace(fields, addr_a=0, addr_b=0, addr_y=0, host=0, host_lo=0, next=0)
        digest.update(repr(said).encode())
        parts = operands(fields, geometry)
        for part in (parts.a, parts.b, parts.y, parts.c):
            digest.update(repr(None if part is None else pages.of(part)).encode())
    return digest.digest()


class _Pages:
    """Numbers of the pages, banks and groups of a list, in the order in which they appear."""

    def __init__(self, geometry: Geometry) -> None:
        self._bytes = geometry.row_bytes * (geometry.banks if geometry.all_bank else 1)
        self._in_bank = geometry.bank_span // self._bytes
        self._groups = 1 if geometry.all_bank else geometry.bank_groups
        self._page: dict[int, int] = {}
        self._bank: dict[int, int] = {}
        self._group: dict[int, int] = {}

    def of(self, part: Rows) -> tuple[int, list[list[int]]]:
        """Return where in its page an operand begins, and the pages that it lies in.

        As runs: the numbers of group, bank and first page, and how many pages of consecutive
        numbers there are.
        """
        runs: list[list[int]] = []
        for page in range(part.address // self._bytes, (part.end - 1) // self._bytes + 1):
            bank = page // self._in_bank
            group = self._group.setdefault(bank % self._groups, len(self._group))
            place = [group, self._bank.setdefault(bank, len(self._bank))]
            number = self._page.setdefault(page, len(self._page))
            if runs and runs[-1][:2] == place and runs[-1][2] + runs[-1][3] == number:
                runs[-1][3] += 1
            else:
                runs.append([*place, number, 1])
        return part.address % self._bytes, runs
