"""Just enough of the FST waveform format to see what a file covers and names.

Written from the format's description: blocks of a type byte and a big-endian length; the header
block starts with start and end time; the hierarchy block is LZ4 and holds names as text.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER, _HIERARCHY_LZ4 = 0, 6


def lz4_block(data: bytes) -> bytes:
    """Return what an LZ4 block decompresses to; checks the rules for the end of a block."""
    out = bytearray()
    at = 0

    def length(nibble: int) -> int:
        nonlocal at
        total = nibble
        if nibble == 15:
            while True:
                total += data[at]
                at += 1
                if data[at - 1] != 255:
                    break
        return total

    while True:
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at == len(data):
            assert not out or literals >= min(5, len(out)), "a block ends with 5 literals"
            return bytes(out)
        (offset,) = struct.unpack_from("<H", data, at)
        at += 2
        assert 1 <= offset <= len(out)
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])


@dataclass(frozen=True)
class Fst:
    """What `read` found."""

    start: int  # time of the first value, in time units
    end: int
    exponent: int  # time unit is 10**exponent s
    hierarchy: bytes


def read(path: Path) -> Fst:
    """Read a complete FST file."""
    data = path.read_bytes()
    at = 0
    start = end = exponent = None
    hierarchy = b""
    while at < len(data):
        kind = data[at]
        (size,) = struct.unpack_from(">Q", data, at + 1)
        block = data[at + 9 : at + 1 + size]
        if kind == _HEADER:
            start, end = struct.unpack_from(">QQ", block, 0)
            (exponent,) = struct.unpack_from("b", block, 64)
        elif kind == _HIERARCHY_LZ4:
            hierarchy = lz4_block(block[8:])
            assert len(hierarchy) == struct.unpack_from(">Q", block)[0]
        at += 1 + size
    assert start is not None
    return Fst(start, end, exponent, hierarchy)
