"""How long simple lists take, as sums of terms derived by hand from rtl/README.md.

No RTL, no simulator code. A list is followed from the doorbell on. Clock 0 is the first fabric
clock in which the list engine is busy; DRAM clock t lies in fabric clock t // ratio, and
self-refresh is left at t = 0. Every function returns where the part it describes ends. Terms that
all lists share, in fabric clocks, with the host memory's default latencies of 2 (read) and 2
(write):

fetch       burst cut 1, address out 1, memory 2, descriptor there 1: 5, then the check starts
check       static 1, host addresses 1, overlap 1, verdict 1, list engine 1: 5 for FENCE and END;
            with operands: sizes 1 and 3 for each of five hulls (A, B, C, Y, host) more: 21
status      burst cut 1, address and data out 1, taken 1, memory 2, response taken 1, list
            engine 1: 7
stall       of a fetch: 2 (the memory's latency); of a status word: 1 (data wait for their
            address) and 1 (the response, one clock after the last beat)

Only lists that are easy to follow are here: one tile, operands in banks of their own, whole rows
open. clock_model.py has all others.
"""

from __future__ import annotations

from dataclasses import dataclass

FETCH, STATUS, CHECK_SHORT, CHECK_LONG = 5, 7, 5, 21
#: From the fetch of one FENCE to that of the next.
SHORT = FETCH + CHECK_SHORT + STATUS
#: Fetch of the first descriptor: one clock for the checks of its address.
FIRST = 1
STALL_FETCH, STALL_STATUS = 2, 2


def ceil(a: int, b: int) -> int:
    """Return a / b rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class Model:
    """The device: parameters of `pim_top` by their names."""

    p: dict[str, int]

    # ---- what all lists share ------------------------------------------------------------------

    @property
    def passes(self) -> int:
        """Fabric clocks the lanes need for a beat."""
        return ceil(self.beat_elements, self.p["Lanes"])

    @property
    def beat_elements(self) -> int:
        """Elements of a beat."""
        return self.p["AtomBytes"] * (self.p["Banks"] if self.p["AllBank"] else 1) // 2

    @property
    def first_act(self) -> int:
        """DRAM clock of the first ACT: the refresh of the exit goes out at tXS."""
        return self.p["TXs"] + (self.p["TRfc"] if self.p["TRefi"] else 0)

    def first_column(self, delay: int) -> int:
        """Return the DRAM clock of the first column, `delay` = tRCD after that ACT."""
        return max(self.first_act + delay, self.p["TXsdll"])

    def clock(self, t: int) -> int:
        """Return the fabric clock of a DRAM clock."""
        return t // self.p["CkRatio"]

    def cycles(self, clocks: int) -> int:
        """Return the DRAM clocks of a number of fabric clocks."""
        return clocks * self.p["CkRatio"]

    def ended(self, end_fetch: int, opened: bool) -> int:
        """Return the cycles of a list whose END is fetched at this clock.

        Then the device sleeps: a PRE of what is open and tRP; one clock to be asleep, one for the
        list engine to see it, one for the interrupt.
        """
        sleep = end_fetch + SHORT
        ratio, p = self.p["CkRatio"], self.p
        if opened:
            awake = sleep + ceil(p["TRp"], ratio)
        else:
            # Nothing was opened: tRFC of the last refresh, tXS without refresh.
            awake = max(sleep, ceil(self.first_act, ratio))
            intervals = self.cycles(sleep) // p["TRefi"] if p["TRefi"] else 0
            if intervals:
                refresh = self.cycles(ceil(intervals * p["TRefi"], ratio))
                awake = max(awake, ceil(refresh + p["TRfc"], ratio))
        return self.cycles(awake + 1 + 2)

    # ---- lists ---------------------------------------------------------------------------------

    def fences(self, count: int) -> tuple[int, int]:
        """Return cycles and stall of `count` FENCEs and END."""
        stall = (count + 1) * (STALL_FETCH + STALL_STATUS)
        return self.ended(FIRST + count * SHORT, opened=False), self.cycles(stall)

    def fences_before(self, clock: int) -> int:
        """Return the fewest FENCEs of a list that goes to sleep in `clock` or later."""
        return ceil(clock - FIRST, SHORT) - 1

    def columns(self, first: int, count: int, gap: int) -> int:
        """Return the DRAM clock of the last of `count` columns."""
        return first + (count - 1) * gap

    def written(self, last: int) -> int:
        """Return the clock in which memory is idle after its last WR.

        Write data are handed over two clocks before their time on the bus.
        """
        p = self.p
        return self.clock(last) + ceil(p["TCwl"] + p["TBl"], p["CkRatio"]) - 2 + 1

    def copy_in(self, lines: int) -> tuple[int, int]:
        """Return cycles and stall of COPY_IN of up to 16 lines in one row, and END.

        The data wait in the buffer when the bank is open. After the last write: StDrain 1, StDone
        1, list engine 1. Stalls: fetch, the data's latency, status; END.
        """
        first = self.first_column(self.p["TRcdWr"])
        idle = self.written(self.columns(first, lines, self.p["TCcdL"]))
        stall = 2 * (STALL_FETCH + STALL_STATUS) + 2
        return self.ended(idle + 3 + STATUS, opened=True), self.cycles(stall)

    def copy_out(self, lines: int) -> tuple[int, int]:
        """Return cycles and stall of COPY_OUT of up to 16 lines in one row, and END.

        From the last RD: its data (CL + burst), handed over 1, through the buffer 1; the host
        memory takes it, response 2 clocks later, seen 1; StDrain 1, StDone 1, list engine 1. The
        response is waited for in 1 clock.
        """
        p = self.p
        first = self.first_column(p["TRcdRd"])
        last = self.clock(self.columns(first, lines, p["TCcdL"]))
        sent = last + ceil(p["TCl"] + p["TBl"], p["CkRatio"]) + 2
        stall = 2 * (STALL_FETCH + STALL_STATUS) + 1
        return self.ended(sent + 3 + 3 + STATUS, opened=True), self.cycles(stall)

    def left_operand(self, atoms: int) -> int:
        """Return the clock of the last RD of a row of A, per_bank: one every tCCD_L."""
        first = self.first_column(self.p["TRcdRd"])
        return self.clock(self.columns(first, atoms, self.p["TCcdL"]))

    def settled(self, last_read: int) -> int:
        """Return the clock of the first WR that waited for the lanes after the last RD.

        Data of the read 1 clock after their time, then LaneLatency + passes clocks to settle.
        """
        p = self.p
        data = self.clock(last_read) + ceil(p["TCl"] + p["TBl"], p["CkRatio"])
        return data + 1 + p["LaneLatency"] + self.passes

    def result(self, last_read: int, beats: int) -> int:
        """Return cycles of the list whose result of `beats` beats follows `last_read`, and END.

        After the last write: StDrain 1, StDone 1 (list engine: its next state in that clock).
        """
        first = self.cycles(self.settled(last_read))
        idle = self.written(self.columns(first, beats, self.p["TCcdL"]))
        return self.ended(idle + 2 + STATUS, opened=True)

    def add(self, rows: int, beats: int) -> int:
        """Return cycles of ADD of at least two rows of 4..16 beats whose set-up hides the data.

        A row: tile 1, VectorSetup, load 1, stream 1, result 1, next 1. The last row's load finds
        its banks open: it is at the head of the queue 2 clocks after the sequencer asks for it.
        """
        p = self.p
        period = p["VectorSetup"] + 5
        asked = FIRST + FETCH + CHECK_LONG + 1 + p["VectorSetup"] + (rows - 1) * period
        load = self.cycles(asked + 2)
        last = self.columns(load, beats, p["TCcdL"])
        # Another bank group, the next clock at the earliest.
        operand = max(last + p["TCcdS"], self.cycles(self.clock(last) + 1))
        gap = max(p["TCcdL"], p["CkRatio"] * self.passes)
        return self.result(self.columns(operand, beats, gap), beats)

    def right_operand(self, inner: int) -> tuple[int, int]:
        """Return the DRAM clocks of B's ACT and first RD, after the reads of a row of A."""
        p = self.p
        last = self.columns(
            self.first_column(p["TRcdRd"]), ceil(inner * 2, p["AtomBytes"]), p["TCcdL"]
        )
        opened = self.first_act + p["TRrdS"]
        following = max(last + p["TCcdS"], self.cycles(self.clock(last) + 1))
        return opened, max(following, opened + p["TRcdRd"])

    def matmul(self, inner: int, beats: int) -> int:
        """Return cycles of MATMUL of one row, one tile of 3 or more beats, per_bank.

        A, B and Y lie in banks of their own, B from the start of a page on. Reads of A, then the
        stream of B: every tCCD_L or as the lanes need it; at the end of a page tRTP, tRP, tRCD. A
        refresh that falls due closes the bank, tRAS after its ACT and tRTP after the last read,
        comes tRP after that and tRC after the ACT, takes tRFC, and the bank is opened again.
        """
        p, ratio = self.p, self.p["CkRatio"]
        page = p["RowBytes"] // p["AtomBytes"]
        opened, t = self.right_operand(inner)
        gap = max(p["TCcdL"], ratio * self.passes)
        due, last = p["TRefi"] or 1 << 60, t
        for index in range(inner * beats):
            if index:
                if index % page:
                    t = last + gap
                else:
                    opened = last + p["TRtp"] + p["TRp"]
                    t = max(opened + p["TRcdRd"], last + gap)
            if t >= due:
                precharge = max(due, last + p["TRtp"], opened + p["TRas"])
                refresh = max(precharge + p["TRp"], opened + p["TRc"])
                opened = refresh + p["TRfc"]
                t = opened + p["TRcdRd"]
                due += p["TRefi"]
            last = t
        return self.result(last, beats)
