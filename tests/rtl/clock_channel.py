"""The DRAM channel clock by clock, from rtl/README.md: what clock_model.py runs lists on.

Nothing here comes from the RTL: the rules between commands are the table of
`pimloop.sim.check.protocol`, and what the scheduler does with them is written from "Timing" of
rtl/README.md. A fabric clock has `CkRatio` slots for commands, numbered in DRAM clocks from the
exit of self-refresh on. In each:

- one column (RD, WR) at most, in order, in the first slot that the rules allow;
- one row command (ACT, PRE, REF) at most, likewise, not in the slot of the column;
- all that is decided in a clock knows what was sent up to the clock before.

Data of a read are there CL + tBL after it, whole clocks; data of a write are handed over two clocks
before theirs are over (the accumulators are read, then rounded).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pimloop.sim.check.protocol import Channel, Rule, rules

_LONG_AGO = -(1 << 40)


def ceil(a: int, b: int) -> int:
    """Return a / b rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Stream:
    """Accesses to consecutive device addresses."""

    addr: int
    count: int
    kind: str  # load, scalar, mac, scale, ew, block, copy_out: reads; result, copy_in: writes
    all: bool = False  # every bank at once
    hold: bool = False  # waits until earlier reads are used and the lanes have settled
    period: int = 0  # mac: beats until the same accumulators are met again
    rows: int = 1  # mac, scale: whose lanes each beat takes; with integers one for each column
    scaled: int = 0  # scale: rows of the result, of which a beat scales sums
    last: bool = True  # its last access ends the stream

    @property
    def write(self) -> bool:
        """Whether these are writes."""
        return self.kind in ("result", "copy_in")


@dataclass(frozen=True)
class Sent:
    """A column that has just been sent."""

    clock: int  # fabric clock
    stream: Stream
    last: bool  # of its stream


class ClockChannel:
    """Queue of two spans, banks, rules, refresh.

    Parameters
    ----------
    params
        Parameters of `pim_top` by their names.
    """

    def __init__(self, params: Mapping[str, int]) -> None:
        self.p = p = params
        self.ratio = p["CkRatio"]
        self.all_bank = bool(p["AllBank"])
        self.banks = p["Banks"]
        self.beat_bytes = p["AtomBytes"] * (self.banks if self.all_bank else 1)
        elements = self.beat_bytes // 2
        self.passes = ceil(elements, p["Lanes"])  # for a beat and the rows at the same time
        self.together = ceil(p["Lanes"], elements)  # rows
        self.read_clocks = ceil(p["TCl"] + p["TBl"], self.ratio)
        self.write_clocks = ceil(p["TCwl"] + p["TBl"], self.ratio) - 2
        self.counts: Counter[str] = Counter()
        self.channel = Channel.of_parameters(params)
        self._rules: dict[str, list[Rule]] = {}
        for rule in rules(self.channel):
            self._rules.setdefault(rule.following, []).append(rule)
        # Without refresh nothing but tXS itself keeps the device from going back to sleep.
        self._rules["SRE"].append(Rule("tXS", "SRX", "SRE", "channel", p["TXs"]))
        sizes = {"bank": self.banks, "group": p["BankGroups"], "channel": 1}
        self._last = {
            name: {scope: [_LONG_AGO] * size for scope, size in sizes.items()}
            for name in ("ACT", "PRE", "RD", "WR", "REF", "SRX")
        }
        self._last["SRX"]["channel"][0] = 0
        self._activates: deque[int] = deque([_LONG_AGO] * 4, maxlen=4)
        self._open: dict[int, int] = {}  # bank: row
        self._open_late = 0  # slots with a bank open in the clock before: counted a clock later
        self._together = False  # all of them were opened by one ACT
        self._lanes_free = _LONG_AGO  # slot in which they can take another beat
        self._macs: deque[int] = deque(maxlen=64)  # clocks of multiply beats, newest last
        self._refreshes = 0
        self._look = 0
        self.cutting: Stream | None = None  # being cut at page ends
        self.head: Stream | None = None
        self.next: Stream | None = None
        self.asleep = False
        #: Last clock in which data are on their way, and in which the lanes count as busy.
        self.read_until = self.write_until = self.lanes_until = -1

    # ---- what others see at the start of a clock -------------------------------------------------

    def memory_idle(self, clock: int) -> bool:
        """Return whether nothing waits and no data are on their way."""
        waits = self.cutting or self.head or self.next
        return not waits and clock > max(self.read_until, self.write_until)

    def settled(self, clock: int) -> bool:
        """Return whether all data read are used and the lanes have settled."""
        return clock > max(self.read_until, self.lanes_until)

    def lane_clocks(self, rows: int) -> int:
        """Return the fabric clocks of the lanes for a beat that so many rows share."""
        return self.passes * ceil(rows, self.together)

    def lanes_fed(self, clock: int, rows: int = 1) -> None:
        """Note data for the lanes in `clock`: a beat takes their clocks and their latency."""
        settle = self.p["LaneLatency"] + self.lane_clocks(rows)
        self.lanes_until = max(self.lanes_until, clock + settle)

    # ---- addresses -------------------------------------------------------------------------------

    def _page(self) -> int:
        return self.p["RowBytes"] * (self.banks if self.all_bank else 1)

    def _place(self, addr: int) -> tuple[int, int]:
        """Return (bank, row) of an address."""
        if self.all_bank:
            return addr // self.p["AtomBytes"] % self.banks, addr // self._page()
        rows = addr // self.p["RowBytes"]
        return rows // self.p["Rows"], rows % self.p["Rows"]

    def _hit(self, addr: int) -> bool:
        bank, row = self._place(addr)
        return self._open.get(bank) == row

    # ---- rules -----------------------------------------------------------------------------------

    def _earliest(self, name: str, bank: int | None) -> int:
        """Return the first slot for a command to a bank, or to all."""
        first = _LONG_AGO
        for rule in self._rules[name]:
            last = self._last[rule.previous][rule.scope]
            latest = max(last) if bank is None else last[bank % len(last)]
            first = max(first, latest + rule.delay)
        if name == "ACT":
            first = max(first, self._activates[0] + self.channel.tfaw)
        if name == "RD":
            first = max(first, self._lanes_free)
        return first

    def _send(self, name: str, bank: int | None, slot: int) -> None:
        for places in self._last[name].values():
            for place in range(len(places)) if bank is None else (bank % len(places),):
                places[place] = slot
        if name == "ACT":
            self._activates.append(slot)

    # ---- a clock ---------------------------------------------------------------------------------

    def owed(self, clock: int) -> int:
        """Return the refreshes that are due: one for the exit, one every tREFI."""
        interval = self.p["TRefi"]
        return clock * self.ratio // interval + 1 - self._refreshes if interval else 0

    def step(self, clock: int, *, copy_ready: bool, sleep: bool) -> Sent | None:
        """Send the commands of a clock; return its column.

        Parameters
        ----------
        clock
            Fabric clock since the exit of self-refresh.
        copy_ready
            There is an atom to be written, or room for one more that is read.
        sleep
            The list is over.
        """
        if self.asleep:
            return None
        owed = self.owed(clock)
        stream = self.head
        ready = stream is not None and self._head_open(stream)
        slot = self._column(clock, stream, copy_ready) if ready and not owed else None
        row = self._row(clock, stream, slot, owed, sleep)
        if sleep and not self._open and not owed:
            self.asleep |= self._earliest("SRE", None) <= clock * self.ratio
        sent = None
        if stream is not None and slot is not None:
            sent = Sent(clock, stream, stream.last and stream.count == 1)
        self._move_look(stream, sent is not None)
        before = bool(self._open)
        if row is not None:
            self._apply_row(*row)
        self._count_open(clock, before, None if row is None else row[3])
        if sent is not None and slot is not None:
            self._apply_column(sent, slot)
        self._advance(sent)
        return sent

    def _head_open(self, stream: Stream) -> bool:
        return self._hit(stream.addr) and (self._together or not stream.all)

    def _column(self, clock: int, stream: Stream | None, copy_ready: bool) -> int | None:
        """Return the slot of this clock's column."""
        assert stream is not None
        if stream.kind.startswith("copy") and not copy_ready:
            return None
        if stream.hold and not self.settled(clock):
            return None
        # The beat a period ago met the same accumulators.
        ago = self._macs[-stream.period] if 0 < stream.period <= len(self._macs) else _LONG_AGO
        if ago + self.p["LaneLatency"] > clock:
            return None
        bank = None if stream.all else self._place(stream.addr)[0]
        slot = max(self._earliest("WR" if stream.write else "RD", bank), clock * self.ratio)
        return slot if slot < (clock + 1) * self.ratio else None

    def _row(
        self, clock: int, stream: Stream | None, column: int | None, owed: int, sleep: bool
    ) -> tuple[str, int | None, int, int] | None:
        """Return this clock's row command: name, bank (None: all), row, slot."""
        name, bank, row = "", None, 0
        if owed or sleep:
            name = "PRE" if self._open else "REF" if owed else ""
        elif stream is not None:
            wanted = self._wanted(stream)
            if wanted is not None:
                bank, row = (None, self._place(wanted)[1]) if stream.all else self._place(wanted)
                is_open = bool(self._open) if bank is None else bank in self._open
                name = "PRE" if is_open else "ACT"
        if not name:
            return None
        slot = max(self._earliest(name, bank), clock * self.ratio)
        if slot == column:
            slot += 1
        return (name, bank, row, slot) if slot < (clock + 1) * self.ratio else None

    def _wanted(self, stream: Stream) -> int | None:
        """Return an address whose row is to be opened: the head's, or ahead of it.

        per_bank: that of the next span in another bank. all_bank: an atom of the head's, looked for
        a place further in each clock without a column.
        """
        if not self._head_open(stream):
            return stream.addr
        if self.all_bank:
            ahead = stream.addr + self._look * self.p["AtomBytes"]
            wanted = not stream.all and self._look < stream.count and not self._hit(ahead)
            return ahead if wanted else None
        if self.next is None or self._place(self.next.addr)[0] == self._place(stream.addr)[0]:
            return None
        return None if self._hit(self.next.addr) else self.next.addr

    def _move_look(self, stream: Stream | None, sent: bool) -> None:
        if stream is None or (sent and stream.count == 1):
            self._look = 0
        elif sent:
            self._look = max(self._look - 1, 0)
        elif self._look < min(stream.count, self.banks - 1) and self._hit(
            stream.addr + self._look * self.p["AtomBytes"]
        ):
            self._look += 1

    def _apply_row(self, name: str, bank: int | None, row: int, slot: int) -> None:
        banks = range(self.banks) if bank is None else (bank,)
        self._send(name, bank, slot)
        if name == "ACT":
            self._open |= dict.fromkeys(banks, row)
            self._together = bank is None
            self.counts["act"] += len(banks)
        elif name == "PRE":
            self.counts["pre"] += len(self._open.keys() & set(banks))
            self._open = {key: value for key, value in self._open.items() if key not in banks}
            self._together = False
        else:
            self._refreshes += 1
            self.counts["ref"] += 1

    def _count_open(self, clock: int, before: bool, slot: int | None) -> None:
        """Count slots with a bank open: those of the clock before, which is when they are known."""
        self.counts["open"] += self._open_late
        begin, end = clock * self.ratio, (clock + 1) * self.ratio
        cut = end if slot is None else slot
        self._open_late = (cut - begin) * before + (end - cut) * bool(self._open)

    def _apply_column(self, sent: Sent, slot: int) -> None:
        stream, clock = sent.stream, sent.clock
        bank = None if stream.all else self._place(stream.addr)[0]
        self._send("WR" if stream.write else "RD", bank, slot)
        self.counts["wr" if stream.write else "rd"] += 1
        self.counts["all_wr" if stream.write else "all_rd"] += stream.all
        if stream.write:
            self.write_until = clock + self.write_clocks
            return
        self.read_until = clock + self.read_clocks
        self.lanes_fed(self.read_until, stream.rows)
        if stream.kind in ("mac", "ew", "scale"):
            self._lanes_free = slot + self.ratio * self.lane_clocks(stream.rows)
            self.counts["mac"] += stream.scaled or stream.rows
        if stream.kind == "mac":
            self._macs.append(clock)

    # ---- queue -----------------------------------------------------------------------------------

    def takes(self) -> bool:
        """Return whether a stream offered in this clock is taken."""
        return self.cutting is None or (self.next is None and self._span(self.cutting)[1] is None)

    def _span(self, stream: Stream) -> tuple[Stream, Stream | None]:
        """Cut a stream at the end of its page: what lies in it, what is left."""
        size = self.beat_bytes if stream.all else self.p["AtomBytes"]
        count = min(stream.count, (self._page() - stream.addr % self._page()) // size)
        if count == stream.count:
            return stream, None
        rest = replace(
            stream, addr=stream.addr + count * size, count=stream.count - count, hold=False
        )
        return replace(stream, count=count, last=False), rest

    def _advance(self, sent: Sent | None) -> None:
        """Move the queue: a place a clock."""
        if sent is not None:
            size = self.beat_bytes if sent.stream.all else self.p["AtomBytes"]
            left = sent.stream.count - 1
            self.head = (
                replace(sent.stream, addr=sent.stream.addr + size, count=left, hold=False)
                if left
                else None
            )
        moved = self.next
        room = moved is None
        if self.head is None:
            self.head, self.next = moved, None
        if room and self.cutting is not None:
            span, self.cutting = self._span(self.cutting)
            if self.head is None:
                self.head = span
            else:
                self.next = span
