"""Device memory and the host's DMA buffer: who owns which range.

Where a tensor lies matters in the per_bank style: two streams in one bank close each other's rows.
Weights are therefore placed from the first bank upward and activations from the last bank
downward, each result in a bank that none of its operands is in while there is room. Equal layers
are to make lists that differ by a move of whole rows, so that one of them is simulated for all
(`pimloop.host.pim.device.moved`): while there is room, everything begins at a row and ends in the
bank that it begins in, weights are in one half of the bank groups and activations in the other. In
the all_bank style a page (the same row of all banks) is open at a time: what comes and goes begins
at a page, or stays in one, while there is room.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pimloop.host.pim.device.validate import HOST_GRANULE, round_up
from pimloop.host.pim.driver.errors import DriverError, OutOfDeviceMemoryError
from pimloop.host.platforms.geometry import Geometry
from pimloop.partitioner.quantity import quantity

#: Free ranges of device memory, (start, end) each, sorted and never adjacent.
FreeRanges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Block:
    """An allocated range of device memory."""

    address: int
    nbytes: int

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.nbytes


class DeviceMemory:
    """Allocator of device memory: best place first, free neighbours joined.

    Parameters
    ----------
    geometry
        Gives the capacity, the alignment (a beat), rows, banks and bank groups.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._capacity = geometry.capacity
        self._granule = max(geometry.beat_bytes, HOST_GRANULE)
        self._span = geometry.bank_span
        self._all_bank = geometry.all_bank
        self._page = geometry.row_bytes * (geometry.banks if geometry.all_bank else 1)
        # In the order in which weights fill them: those of the first half of the groups first.
        banks = range(-(-geometry.capacity // self._span))
        groups = 1 if geometry.all_bank else geometry.bank_groups
        self._banks = sorted(banks, key=lambda bank: (2 * (bank % groups) >= groups, bank))
        # Free ranges as sorted, disjoint, never adjacent (start, end); and those of them in which
        # a page begins: small tensors leave many others, and a place at a row is in none of those.
        self._free: list[tuple[int, int]] = [(0, geometry.capacity)]
        self._paged: list[tuple[int, int]] = [(0, geometry.capacity)]
        self._blocks: dict[int, Block] = {}
        self._taken: list[Block] | None = None  # blocks allocated in a trial
        self._compact = False
        self._preferred: int | None = None

    @property
    def capacity(self) -> int:
        """Bytes of device memory."""
        return self._capacity

    @property
    def free_bytes(self) -> int:
        """Bytes not allocated."""
        return sum(end - start for start, end in self._free)

    @property
    def used_bytes(self) -> int:
        """Bytes allocated, alignment included."""
        return self._capacity - self.free_bytes

    @property
    def free_ranges(self) -> FreeRanges:
        """What is free now, for `restricted`."""
        return tuple(self._free)

    @contextmanager
    def restricted(self, free: FreeRanges) -> Iterator[None]:
        """Allocate from `free` alone in the body; afterwards everything is as it was before.

        The caller sees to it that nothing in use lies in `free`. What the body allocates and does
        not free is not an allocation of this memory: its place belongs to whoever chose `free`.
        """
        kept = self._free, self._paged, self._blocks
        self._free, self._blocks = list(free), {}
        self._paged = [part for part in free if self._page_begins(*part)]
        try:
            yield
        finally:
            self._free, self._paged, self._blocks = kept

    @contextmanager
    def compact(self) -> Iterator[None]:
        """Allocate in the body without regard to banks: the least room, closed at both ends."""
        kept, self._compact = self._compact, True
        try:
            yield
        finally:
            self._compact = kept

    @contextmanager
    def preferring(self, address: int | None) -> Iterator[None]:
        """Allocate in the body at `address` where that is free; None: as usual."""
        kept, self._preferred = self._preferred, address
        try:
            yield
        finally:
            self._preferred = kept

    @contextmanager
    def trial(self) -> Iterator[list[Block]]:
        """Try allocations: afterwards everything is as it was before; yields the blocks taken."""
        kept = list(self._free), list(self._paged), dict(self._blocks)
        self._taken = []
        try:
            yield self._taken
        finally:
            self._free, self._paged, self._blocks = kept
            self._taken = None

    def reserve(self, block: Block) -> Block:
        """Allocate this very range.

        Raises
        ------
        OutOfDeviceMemoryError
            When a part of it is in use.
        """
        for start, end in self._free:
            if start <= block.address and block.end <= end:
                return self._take(block.address, block.nbytes)
        raise OutOfDeviceMemoryError(
            f"the {block.nbytes} bytes at device address 0x{block.address:X} are in use"
        )

    def banks_of(self, block: Block) -> range:
        """Return the indices of the banks a block lies in."""
        return range(block.address // self._span, (block.end - 1) // self._span + 1)

    def allocate_low(self, nbytes: int) -> Block:
        """Allocate the lowest place there is: for what stays, the weights."""
        size = self.size(nbytes)
        wish = self._wish(size)
        if wish is not None:
            return self._take(wish, size)
        place = None if self._all_bank or self._compact else self._lowest(size)
        if place is not None:
            return self._take(place, size)
        for start, end in self._free:
            if end - start >= size:
                return self._take(start, size)
        raise self._full(size)

    def size(self, nbytes: int) -> int:
        """Return the bytes that a block for `nbytes` takes."""
        return round_up(nbytes, self._granule)

    def _wish(self, size: int) -> int | None:
        """Return the preferred address where it is free."""
        wish = self._preferred
        if wish is None or not any(s <= wish and wish + size <= e for s, e in self._free):
            return None
        return wish

    def allocate_high(self, nbytes: int, avoid: Collection[int] = ()) -> Block:
        """Allocate the highest place in one bank, else anywhere: for what comes and goes.

        Parameters
        ----------
        nbytes
            Size in bytes.
        avoid
            Banks to stay out of while another one has room.
        """
        size = self.size(nbytes)
        wish = self._wish(size)
        if wish is not None:
            return self._take(wish, size)
        banks = [] if self._compact else self._banks[::-1]
        place = self._highest(size, [bank for bank in banks if bank not in avoid])
        if place is None:
            place = self._highest(size, banks)
        if place is not None:
            return self._take(place, size)
        for start, end in reversed(self._free):
            if end - start >= size:
                return self._take(end - size, size)
        raise self._full(size)

    def _lowest(self, size: int) -> int | None:
        """Return the lowest row from which a block fits into one bank; else into several."""
        for bank in self._banks:
            low, high = bank * self._span, (bank + 1) * self._span
            for start, end in self._paged:
                row = round_up(max(start, low), self._page)
                if row < high and row + size <= min(end, high):
                    return row
        for start, end in self._paged:
            row = round_up(start, self._page)
            if row + size <= end:
                return row
        return None

    def _highest(self, size: int, banks: Sequence[int]) -> int | None:
        """Return the highest place within the first of `banks` that has one, at a row if any is."""
        if not self._all_bank:
            for bank in banks:
                for lowest, highest in self._places(self._paged, size, bank):
                    row = highest // self._page * self._page
                    if row >= lowest:
                        return row
        for bank in banks:
            for lowest, highest in self._places(self._free, size, bank):
                return self._in_pages(lowest, highest, size) if self._all_bank else highest
        return None

    def _places(
        self, free: Sequence[tuple[int, int]], size: int, bank: int
    ) -> Iterator[tuple[int, int]]:
        """Yield the lowest and highest place in a bank in each of `free` with one, from above."""
        low, high = bank * self._span, (bank + 1) * self._span
        # From the last free range that begins in or below the bank down to the first in it.
        for index in range(bisect.bisect(free, (high,)) - 1, -1, -1):
            start, end = free[index]
            if end <= low:
                break
            lowest, highest = max(start, low), min(end, high) - size
            if lowest <= highest:
                yield lowest, highest

    def _in_pages(self, lowest: int, highest: int, size: int) -> int:
        """Return the highest place that opens no page more than it must; `highest` if none is."""
        page = self._page
        if size >= page:
            place = highest // page * page
        else:
            ends_in = (highest + size - 1) // page
            place = highest if highest // page == ends_in else ends_in * page - size
        return place if place >= lowest else highest

    def free(self, block: Block) -> None:
        """Give a block back; DriverError when it is not an allocated one (a double free)."""
        if self._blocks.get(block.address) != block:
            raise DriverError(
                f"the {block.nbytes} bytes at device address 0x{block.address:X} are not "
                "allocated: they were freed before, or belong to another device"
            )
        del self._blocks[block.address]
        start, end = block.address, block.end
        first = last = bisect.bisect(self._free, (start, end))
        if last < len(self._free) and self._free[last][0] == end:
            end = self._free[last][1]
            last += 1
        if first > 0 and self._free[first - 1][1] == start:
            first -= 1
            start = self._free[first][0]
        self._replace(first, last, [(start, end)])

    def _take(self, address: int, size: int) -> Block:
        index = bisect.bisect(self._free, (address, self._capacity)) - 1
        start, end = self._free[index]
        rest = [part for part in ((start, address), (address + size, end)) if part[0] < part[1]]
        self._replace(index, index + 1, rest)
        block = Block(address, size)
        self._blocks[address] = block
        if self._taken is not None:
            self._taken.append(block)
        return block

    def _replace(self, first: int, last: int, parts: Sequence[tuple[int, int]]) -> None:
        """Put `parts` in the place of the free ranges `first` to `last` - 1."""
        replaced = [part for part in self._free[first:last] if self._page_begins(*part)]
        self._free[first:last] = parts
        paged = [part for part in parts if self._page_begins(*part)]
        at = bisect.bisect_left(self._paged, (replaced or paged or [(0, 0)])[0])
        self._paged[at : at + len(replaced)] = paged

    def _page_begins(self, start: int, end: int) -> bool:
        """Tell whether a page begins in the free range from `start` to `end` - 1."""
        return round_up(start, self._page) < end

    def _full(self, size: int) -> OutOfDeviceMemoryError:
        largest = max((end - start for start, end in self._free), default=0)
        return OutOfDeviceMemoryError(
            f"device memory is full: {quantity(size, 'byte')} requested, {self.free_bytes} free"
            f" (largest free range {largest}), capacity {self._capacity}: free tensors that are no"
            " longer needed, or choose a platform with more memory"
        )


def joined(blocks: Collection[Block]) -> list[Block]:
    """Return the fewest blocks that cover the same addresses as `blocks`.

    >>> joined([Block(0, 64), Block(256, 64), Block(32, 96)])
    [Block(address=0, nbytes=128), Block(address=256, nbytes=64)]
    """
    blocks_joined: list[Block] = []
    for block in sorted(blocks, key=lambda b: b.address):
        if blocks_joined and block.address <= blocks_joined[-1].end:
            last = blocks_joined[-1]
            blocks_joined[-1] = Block(last.address, max(last.end, block.end) - last.address)
        else:
            blocks_joined.append(block)
    return blocks_joined


class HostArena:
    """Bump allocator over the data part of the DMA buffer; emptied after every list.

    Parameters
    ----------
    start, size
        The range of the buffer, in bytes.
    """

    def __init__(self, start: int, size: int) -> None:
        self._start = start
        self.size = size
        self._used = 0

    @property
    def room(self) -> int:
        """Bytes left."""
        return self.size - self._used

    def take(self, nbytes: int) -> int:
        """Return the buffer offset of `nbytes` (a multiple of 64); the caller has checked room."""
        offset = self._start + self._used
        self._used += round_up(nbytes, HOST_GRANULE)
        return offset

    def clear(self) -> None:
        """Forget everything taken."""
        self._used = 0
