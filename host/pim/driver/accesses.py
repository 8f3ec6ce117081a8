"""Column commands that descriptors ask for, by what they move: exact, from the descriptors alone.

In all_bank style an RD or WR command either moves one atom over the data bus of the channel or
reaches every bank at once and leaves the bus alone. The device counts both (all_rd and all_wr
since version 1.4 of its interface), and the descriptors tell: copies, and scalars and blocks of
MATMUL_T that are not read in whole beats, go through the channel, all other operands and results of
compute descriptors use all banks (rtl/pim_seq.sv, rtl/pim_copy.sv). In per_bank style every column
command uses the channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.driver.errors import DriverError
from pimloop.host.platforms.geometry import BF16_BYTES, Geometry
from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    COPY_OPCODES,
    DESCRIPTOR,
    PRODUCT_OPCODES,
    UNARY_OPCODES,
    VECTOR_OPCODES,
    Broadcast,
    Init,
    Opcode,
    Weights,
)

Counts = NDArray[np.int64]

# Descriptors of a list whose accesses are kept.
_SHORT = 64


@dataclass(frozen=True)
class Accesses:
    """Column commands by direction and by what they move."""

    channel_rd: int = 0  # RD of one atom over the data bus of the channel
    channel_wr: int = 0  # WR of one atom over it
    all_bank_rd: int = 0  # RD of every bank at once
    all_bank_wr: int = 0  # WR of every bank at once


def count_accesses(descriptors: NDArray[np.void], geometry: Geometry) -> Accesses:
    """Return the column commands of a list that ends without an error.

    Parameters
    ----------
    descriptors
        (n,) of `pimloop.rtl.tables.isa.DESCRIPTOR`.
    geometry
        Of the device.
    """
    if len(descriptors) <= _SHORT:
        return _of_short(descriptors.tobytes(), geometry)
    return _count(descriptors, geometry)


# A model rings the same lists at every step; counting a short one takes as long as computing it.
@lru_cache(maxsize=4096)
def _of_short(data: bytes, geometry: Geometry) -> Accesses:
    return _count(np.frombuffer(data, DESCRIPTOR), geometry)


def _count(descriptors: NDArray[np.void], geometry: Geometry) -> Accesses:
    control = descriptors["control"].astype(np.int64)
    opcode = _field(control, "opcode")
    copies = _copies(descriptors, opcode, geometry)
    computed = _computed(descriptors, opcode, control, geometry)
    narrow_rd, wide_rd, wide_wr = computed
    counts = Accesses(
        channel_rd=int((copies * (opcode == Opcode.COPY_OUT) + narrow_rd).sum()),
        channel_wr=int((copies * (opcode == Opcode.COPY_IN)).sum()),
        all_bank_rd=int(wide_rd.sum()),
        all_bank_wr=int(wide_wr.sum()),
    )
    if geometry.all_bank:
        return counts
    # A beat is one atom of one bank here.
    return replace(
        counts,
        channel_rd=counts.channel_rd + counts.all_bank_rd,
        channel_wr=counts.channel_wr + counts.all_bank_wr,
        all_bank_rd=0,
        all_bank_wr=0,
    )


def _field(control: Counts, name: str) -> Counts:
    field = CONTROL_FIELDS[name]
    return control >> field.low & (1 << field.width) - 1


def _words(descriptors: NDArray[np.void], *names: str) -> list[Counts]:
    return [descriptors[name].astype(np.int64) for name in names]


def _copies(descriptors: NDArray[np.void], opcode: Counts, geometry: Geometry) -> Counts:
    """Return the atoms of every copy, (n,)."""
    rows, inner = _words(descriptors, "rows", "inner")
    return np.where(np.isin(opcode, COPY_OPCODES), rows * (inner // geometry.atom_bytes), 0)


def _computed(
    descriptors: NDArray[np.void], opcode: Counts, control: Counts, geometry: Geometry
) -> tuple[Counts, Counts, Counts]:
    """Return (atoms read, beats read, beats written) of every compute descriptor, each (n,)."""
    rows, inner, cols = _words(descriptors, "rows", "inner", "cols")
    atom = geometry.atom_columns
    beats = -(-cols // (geometry.beat_bytes // BF16_BYTES))
    product, vector = np.isin(opcode, PRODUCT_OPCODES), np.isin(opcode, VECTOR_OPCODES)
    transposed = opcode == Opcode.MATMUL_T
    blocks = -(-inner // atom)  # of the inner dimension
    row_atoms, row_beats = _scalars(inner, _words(descriptors, "addr_a", "stride_a"), geometry)

    # MATMUL_T: every block of `atom` columns and `atom` steps of the inner dimension, row by row.
    turned = np.where(transposed, cols * blocks, 0)
    whole = transposed & _in_beats(descriptors, geometry)
    parts = geometry.beat_bytes // geometry.atom_bytes
    by_atom, by_beat = np.where(whole, 0, turned), np.where(whole, turned // parts, 0)
    init = _field(control, "init")
    start = np.select([init == Init.ROW, init == Init.F32], [beats, 2 * beats], 0)
    stream = np.where(transposed, 0, inner * beats)
    result = np.where(_field(control, "out_f32") != 0, 2 * beats, beats)

    broadcast = _field(control, "broadcast")
    column, single = broadcast == Broadcast.COLUMN, broadcast == Broadcast.SCALAR
    scalars = np.select([column, single], [rows, 1], 0)
    alone = (scalars != 0) | np.isin(opcode, UNARY_OPCODES)  # no beats of a right operand
    atoms, whole_beats = _scalars(scalars, _words(descriptors, "addr_b"), geometry)
    operands = np.where(alone, beats, 2 * beats)

    # Integers: several in the place of a bfloat16, and for each group of the inner dimension a row
    # of scales, three times.
    weights = _field(control, "weights")
    scaled = -(-inner // (1 << _field(control, "group"))) * (weights != Weights.BF16)
    stream = (stream >> weights) + 3 * scaled * beats
    # The right operand of a product is read once for each group of rows.
    groups = -(-rows // (geometry.rows_per_beat >> weights))
    narrow_rd = np.where(product, rows * row_atoms + groups * by_atom, 0)
    narrow_rd += np.where(vector, atoms, 0)
    wide_rd = np.where(product, rows * (row_beats + start) + groups * (stream + by_beat), 0)
    wide_rd += np.where(vector, whole_beats + rows * operands, 0)
    wide_wr = np.where(product, rows * result, 0) + np.where(vector, rows * beats, 0)
    return narrow_rd, wide_rd, wide_wr


def _scalars(count: Counts, places: list[Counts], geometry: Geometry) -> tuple[Counts, Counts]:
    """Return (atoms, beats) of a row of scalars whose address and stride are `places`, each (n,).

    All banks bring what begins at a beat and lies in more than half of them.
    """
    columns = geometry.beat_bytes // BF16_BYTES
    aligned = np.bitwise_or.reduce(places) % geometry.beat_bytes == 0
    possible = geometry.all_bank and geometry.scalar_depth > columns
    whole = possible & aligned & (2 * count > columns)
    atoms = -(-count // geometry.atom_columns)
    return np.where(whole, 0, atoms), np.where(whole, -(-count // columns), 0)


def _in_beats(descriptors: NDArray[np.void], geometry: Geometry) -> NDArray[np.bool_]:
    """Return whether a MATMUL_T reads its blocks from all banks at once, (n,)."""
    address, stride, tile = _words(descriptors, "addr_b", "stride_b", "tile")
    aligned = (address | tile) % geometry.beat_bytes == 0
    parts = geometry.beat_bytes // geometry.atom_bytes
    possible = geometry.all_bank and geometry.atom_columns % parts == 0
    whole: NDArray[np.bool_] = possible & (stride == geometry.atom_bytes) & aligned
    return whole


def split_accesses(
    asked: Accesses, counted: Mapping[str, int], geometry: Geometry
) -> tuple[int, int]:
    """Return (channel accesses, all-bank accesses) of a list.

    Parameters
    ----------
    asked
        What the list's descriptors ask for.
    counted
        What the device counted: rd and wr are 0 on a device that counts nothing (the functional
        model), which does what was asked for; all_rd and all_wr are 0 before version 1.4.
    geometry
        Of the device.

    Raises
    ------
    DriverError
        When the device counted other commands than its copies, scalars and blocks alone need.
    """
    reads, writes = counted["rd"], counted["wr"]
    if not reads and not writes:
        return asked.channel_rd + asked.channel_wr, asked.all_bank_rd + asked.all_bank_wr
    if not geometry.all_bank:
        return reads + writes, 0
    wide = reads - asked.channel_rd, writes - asked.channel_wr
    together = counted["all_rd"], counted["all_wr"]
    if min(wide) < 0 or (any(together) and together != wide):
        raise DriverError(
            f"the device counted {reads} RD and {writes} WR commands, {together[0]} and"
            f" {together[1]} of them of all banks; the channel's part of the list alone needs"
            f" {asked.channel_rd} and {asked.channel_wr}: the counters of this"
            " RTL and host/pim/driver/accesses.py disagree on what a descriptor reads"
        )
    return asked.channel_rd + asked.channel_wr, sum(wide)
