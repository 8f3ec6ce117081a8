"""The device's DMA and the simulated host memory clock by clock: what clock_model.py copies with.

Bursts of up to 16 beats of 64 bytes that do not cross 4 KiB, at most four awaited. A burst is cut
in one clock and its address goes out in the next. The memory answers a read after its latency, a
write after that of its last beat, and keeps its gap between beats.
"""

from __future__ import annotations

from collections.abc import Sequence

from pimloop.sim.device.config import HostMemory

_BEAT, _MOST, _PAGE, _AWAITED = 64, 16, 4096, 4


def bursts(rows: Sequence[tuple[int, int]]) -> list[int]:
    """Return the beats of each burst of rows given as (address, bytes).

    >>> bursts([(4096 - 128, 64 * 20)])
    [2, 16, 2]
    """
    cut = []
    for start, size in rows:
        addr, end = start, start + size
        while addr < end:
            beats = min(_MOST, (_PAGE - addr % _PAGE) // _BEAT, (end - addr) // _BEAT)
            cut.append(beats)
            addr += beats * _BEAT
    return cut


class HostRead:
    """Bursts that are read, and the clocks in which their beats come."""

    def __init__(self, rows: Sequence[tuple[int, int]], memory: HostMemory) -> None:
        self._bursts = bursts(rows)
        self._memory = memory
        self._cut = 0
        self._next_cut = 0
        self._last_beats: list[int] = []  # clock of the last beat of each burst cut
        self._beats: list[int] = []  # clocks of all beats of these
        self._seen = 0
        self.requested = 0  # beats

    def arrived(self, clock: int) -> int:
        """Return the beats that came in clocks up to `clock` and not before the last call's."""
        start = self._seen
        while self._seen < len(self._beats) and self._beats[self._seen] <= clock:
            self._seen += 1
        return self._seen - start

    def beats_before(self, clock: int) -> int:
        """Return the beats that came before `clock`, which `arrived` has counted."""
        assert all(beat >= clock for beat in self._beats[self._seen :])
        return self._seen

    def _awaited(self, clock: int) -> int:
        """Return the bursts cut before `clock` whose last beat came in it or comes later."""
        return sum(last >= clock for last in self._last_beats[-_AWAITED:])

    def busy(self, clock: int) -> bool:
        """Return whether the reader is at work."""
        return self._cut < len(self._bursts) or self._awaited(clock) > 0

    def step(self, clock: int, *, room: bool) -> bool:
        """Cut a burst where there is room for 16 beats; return whether the memory is waited for."""
        awaited = self._awaited(clock)
        stalled = awaited > 0 and clock not in self._beats[self._seen : self._seen + 1]
        cut = self._cut < len(self._bursts) and awaited < _AWAITED and room
        if cut and clock >= self._next_cut:
            first = clock + 1 + self._memory.read_latency
            for _ in range(self._bursts[self._cut]):
                gap = self._beats[-1] + self._memory.read_gap if self._beats else first
                self._beats.append(max(first, gap))
            self._last_beats.append(self._beats[-1])
            self.requested += self._bursts[self._cut]
            self._cut += 1
            self._next_cut = clock + 2
        return stalled


class HostWrite:
    """Bursts that are written, one whole before the next, and their responses."""

    def __init__(self, rows: Sequence[tuple[int, int]], memory: HostMemory) -> None:
        self._bursts = bursts(rows)
        self._memory = memory
        self._cut = 0
        self._cut_at = -1
        self._left = 0  # beats of the burst under way
        self._next_beat = 0
        self._responses: list[int] = []  # clock of each
        self.sent = 0  # beats

    def _awaited(self, clock: int) -> int:
        """Return the bursts cut before `clock` that are not answered before it."""
        answered = sum(response < clock for response in self._responses)
        return self._cut - answered

    def busy(self, clock: int) -> bool:
        """Return whether the writer is at work."""
        return self._cut < len(self._bursts) or self._awaited(clock) > 0

    def step(self, clock: int, *, data: bool) -> bool:
        """Cut a burst or send a beat; return whether the memory is waited for."""
        awaited = self._awaited(clock)
        if self._left:
            # The memory takes data when it has their address: from the clock after that on.
            takes = clock >= self._cut_at + 2 and clock >= self._next_beat
            if data and takes:
                self.sent += 1
                self._left -= 1
                self._next_beat = clock + self._memory.write_gap
                if not self._left:
                    self._responses.append(clock + self._memory.write_latency)
            return data and not takes
        if self._cut < len(self._bursts):
            if awaited < _AWAITED:
                self._cut_at = clock
                self._left = self._bursts[self._cut]
                self._cut += 1
            return False
        return awaited > 0 and clock not in self._responses
