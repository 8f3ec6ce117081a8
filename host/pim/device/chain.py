"""A descriptor list as the device will fetch it, and the name its cost is known by.

Only lists whose cost is sure to be the same next time get a name: every descriptor is in host
memory and pending, the chain ends, and nothing that the list writes to host memory changes the list
itself or a completion record.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.execution import STATUS_OFFSET, status_word
from pimloop.host.pim.device.validate import Fields, copy_sides
from pimloop.rtl.tables.isa import CONTROL_FIELDS, DESCRIPTOR, DESCRIPTOR_BYTES, Code, Opcode

_CONTROL_OFFSET = int(DESCRIPTOR.fields["control"][1]) if DESCRIPTOR.fields else 0
_NEXT_OFFSET = int(DESCRIPTOR.fields["next_lo"][1]) if DESCRIPTOR.fields else 4


@dataclass(frozen=True)
class Window:
    """What of host memory the device may touch, and how long its lists may be."""

    base: int  # host address
    size: int  # bytes
    chain_limit: int  # descriptors


@dataclass(frozen=True)
class Step:
    """One descriptor of a list."""

    address: int  # host address
    raw: bytes  # its 64 bytes, status word zero
    opcode: int
    record: bool  # a completion record follows it

    def fields(self) -> Fields:
        """Return the descriptor's words as integers."""
        return Fields.parse(self.raw)

    def status(self, index: int) -> int:
        """Return its status word when it is done as number `index` of its list."""
        return status_word(Code.DONE, index)


def read_chain(
    buffer: NDArray[np.uint8], buffer_address: int, start: int, window: Window
) -> tuple[Step, ...] | None:
    """Return the list at host address `start`, or None when its cost must not be reused.

    Parameters
    ----------
    buffer
        Host memory, (bytes,).
    buffer_address
        Its address as the device sees it.
    start
        Host address of the first descriptor.
    window
        Bounds set in the device's registers.
    """
    low = max(buffer_address, window.base)
    high = min(buffer_address + buffer.size, window.base + window.size) - DESCRIPTOR_BYTES
    steps: list[Step] = []
    seen: set[int] = set()
    address = start
    while True:
        if address % DESCRIPTOR_BYTES or not low <= address <= high or address in seen:
            return None
        if len(steps) >= window.chain_limit:
            return None
        seen.add(address)
        offset = address - buffer_address
        raw = buffer[offset : offset + DESCRIPTOR_BYTES].tobytes()
        if any(raw[STATUS_OFFSET : STATUS_OFFSET + 4]):
            return None
        control = int.from_bytes(raw[_CONTROL_OFFSET : _CONTROL_OFFSET + 4], "little")
        opcode = CONTROL_FIELDS["opcode"].get(control)
        steps.append(Step(address, raw, opcode, bool(CONTROL_FIELDS["record"].get(control))))
        if opcode == Opcode.END:
            return None if _changes_itself(steps) else tuple(steps)
        address = int.from_bytes(raw[_NEXT_OFFSET : _NEXT_OFFSET + 8], "little")


def chain_key(identity: str, steps: tuple[Step, ...], window: Window) -> bytes:
    """Return the name of a list on a device: SHA-256 of all that its cost depends on.

    `identity` stands for the device: its build, its parameters and its host memory.
    """
    digest = hashlib.sha256(identity.encode())
    digest.update(struct.pack("<QQQ", window.base, window.size, len(steps)))
    for step in steps:
        digest.update(struct.pack("<Q", step.address))
        digest.update(step.raw)
    return digest.digest()


def is_done(buffer: NDArray[np.uint8], buffer_address: int, steps: tuple[Step, ...]) -> bool:
    """Return whether memory holds this list, unchanged, with every descriptor done."""
    for index, step in enumerate(steps):
        offset = step.address - buffer_address
        wanted = step.raw[:STATUS_OFFSET] + step.status(index).to_bytes(4, "little")
        if buffer[offset : offset + DESCRIPTOR_BYTES].tobytes() != wanted:
            return False
    return True


def _changes_itself(steps: list[Step]) -> bool:
    """Return whether the list writes to one of its descriptors, or to a record after the device."""
    descriptors = sorted(step.address for step in steps)
    records = sorted(step.address + DESCRIPTOR_BYTES for step in steps if step.record)
    if not set(records).isdisjoint(descriptors):
        return True
    for step in steps:
        if step.opcode != Opcode.COPY_OUT:
            continue
        host = copy_sides(step.fields())[0]
        if _meets(host.address, host.end, descriptors) or _meets(host.address, host.end, records):
            return True
    return False


def _meets(start: int, end: int, places: list[int]) -> bool:
    """Return whether [start, end) meets one of the 64-byte `places`, which are in order."""
    index = bisect.bisect_right(places, start - DESCRIPTOR_BYTES)
    return index < len(places) and places[index] < end
