"""pim_sched and pim_timing_check: order, data times, gates, refresh, sleep, and every rule."""

import os
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
import pytest
from bench_tools import ACCESS, CHANCES, SPAN, Kind, cut, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.conditions import first_broken
from pimloop.sim.bench.unit import REPOSITORY, BenchFailure, rtl, run_bench

SCHEDULER = tuple(sorted(path.stem for path in (REPOSITORY / "rtl").glob("pim_sched*.sv")))
SOURCES = (
    *rtl(*SCHEDULER, "pim_timing_check"),
    REPOSITORY / "sim" / "rtl" / "pim_command_trace_sim.sv",
    REPOSITORY / "tests" / "rtl" / "sv" / "pim_sched_reference.sv",
    REPOSITORY / "tests" / "rtl" / "sv" / "pim_sched_bench.sv",
)

#: Small geometries with the timing of the two presets; refresh far more often than real.
DDR4 = {"AllBank": 0, "Banks": 16, "BankGroups": 4, "RowBytes": 512, "Rows": 16, "AtomBytes": 64}
DDR4 |= {"CkRatio": 4, "LaneSpacing": 4, "LaneLatency": 4, "RowsPerBeat": 1, "LaneSets": 1}
DDR4 |= {"TRcdRd": 17, "TRcdWr": 17, "TRp": 17, "TRas": 39, "TRc": 56, "TCcdS": 4, "TCcdL": 6}
DDR4 |= {"TRrdS": 4, "TRrdL": 6, "TFaw": 26, "TWr": 18, "TRtp": 9, "TWtrS": 3, "TWtrL": 9}
DDR4 |= {"TRefi": 1500, "TRfc": 90, "TXs": 100, "TXsdll": 260, "TCl": 17, "TCwl": 12, "TBl": 4}
GDDR6 = {"AllBank": 1, "Banks": 8, "BankGroups": 4, "RowBytes": 256, "Rows": 16, "AtomBytes": 32}
GDDR6 |= {"CkRatio": 2, "LaneSpacing": 2, "LaneLatency": 4, "RowsPerBeat": 4, "LaneSets": 2}
GDDR6 |= {"TRcdRd": 36, "TRcdWr": 28, "TRp": 32, "TRas": 54, "TRc": 86, "TCcdS": 2, "TCcdL": 3}
GDDR6 |= {"TRrdS": 5, "TRrdL": 7, "TFaw": 28, "TWr": 26, "TRtp": 4, "TWtrS": 9, "TWtrL": 11}
GDDR6 |= {"TRefi": 1800, "TRfc": 110, "TXs": 120, "TXsdll": 300, "TCl": 24, "TCwl": 6, "TBl": 2}
STYLES = {"per_bank": DDR4, "all_bank": GDDR6}

#: Of the parameters of a platform, those that the scheduler has.
PARAMETERS = frozenset(DDR4) - {"LaneSpacing", "LaneSets"}
SMALL = {"RowBytes", "Rows"}  # as above, so that spans often meet


def of_platform(name: str, lanes: int, rows: int = 1) -> dict[str, int]:
    """Return the bench's parameters: a platform with so many lanes and rows for a beat."""
    settings = {"device.lanes": str(lanes), "device.rows_per_beat": str(rows)}
    values = load_platform(name, settings).rtl_parameters()
    style = STYLES["all_bank" if values["AllBank"] else "per_bank"]
    chosen = {key: values[key] for key in PARAMETERS - SMALL} | {key: style[key] for key in SMALL}
    beat = values["AtomBytes"] * (values["Banks"] if values["AllBank"] else 1)
    spacing = values["CkRatio"] * max(1, beat // 2 // lanes)
    return chosen | {"LaneSpacing": spacing, "LaneSets": max(1, lanes // (beat // 2))}


def random_timing(seed: int) -> dict[str, int]:
    """Return parameters that a device may have, of either style, with timings from 1 clock on."""
    rng = np.random.default_rng(seed)
    platform = ("htg-z920", "aim")[seed % 2]
    whole = load_platform(platform).rtl_parameters() | {"NativeLanes": 0}
    while True:
        ratio = int(rng.choice([2, 4, 8]))
        short = {name: int(rng.integers(1, 40)) for name in ("TRcdRd", "TRcdWr", "TRp", "TRas")}
        short |= {name: int(rng.integers(1, 14)) for name in ("TRrdS", "TWtrS", "TRtp", "TBl")}
        short |= {name: int(rng.integers(ratio, 20)) for name in ("TCcdS", "TCl", "TCwl")}
        short |= {"TFaw": int(rng.integers(1, 90)), "TWr": int(rng.integers(1, 40))}
        short |= {f"T{name}L": short[f"T{name}S"] + int(rng.integers(6)) for name in _PAIRS}
        short["TRc"] = short["TRas"] + short["TRp"] + int(rng.integers(-3, 20))
        short["TRfc"] = int(rng.integers(100, 300))
        short |= {name: short["TRfc"] + int(rng.integers(200)) for name in ("TXs", "TXsdll")}
        short |= {"TRefi": int(rng.choice([0, 3000])), "CkRatio": ratio}
        if first_broken(whole | short) is None:
            break
    style = STYLES["all_bank" if whole["AllBank"] else "per_bank"]
    rows = {"RowsPerBeat": 8, "LaneSets": int(rng.choice([1, 2, 8]))} if seed % 4 > 1 else {}
    return style | short | {"LaneSpacing": ratio * int(rng.choice([1, 2]))} | rows


_PAIRS = ("Ccd", "Rrd", "Wtr")

#: Timings with which the commands are held against the reference.
TIMINGS: dict[str, dict[str, int]] = {
    **STYLES,
    "htg-z920": of_platform("htg-z920", 32),
    "aim": of_platform("aim", 256),
    "aim with 64 lanes": of_platform("aim", 64),
    "htg-z920, 8 rows": of_platform("htg-z920", 64, 8),
    **{f"random {seed}": random_timing(seed) for seed in range(8)},
}

#: timing_t from its last field on, with what pim_timing_check says when the rule is broken.
RULES = {"cl": (2, "tRTW"), "xsdll": (3, "tXSDLL"), "xs": (4, "tXS"), "rfc": (5, "tRFC")}
RULES |= {"refi": (6, "refresh lost"), "wtr_l": (7, "tWTR_L"), "wtr_s": (8, "tWTR_S")}
RULES |= {"rtp": (9, "tRTP"), "wr": (10, "tWR"), "faw": (11, "tFAW"), "rrd_l": (12, "tRRD_L")}
RULES |= {"rrd_s": (13, "tRRD_S"), "ccd_l": (14, "tCCD_L"), "ccd_s": (15, "tCCD_S")}
RULES |= {"rc": (16, "tRC"), "ras": (17, "tRAS"), "rp": (18, "tRP"), "rcd_wr": (19, "tRCD")}
RULES |= {"rcd_rd": (20, "tRCD")}

#: Rules broken in each style: those that its commands come up against.
STRICT = {
    "per_bank": [rule for rule in RULES if rule != "faw"],
    "all_bank": ["faw"],
}

NOP, ACT, PRE, RD, WR, REF = range(6)
VALID = ACCESS.bits - 1  # bit of an access
ALL_KINDS = (Kind.LOAD, Kind.LOAD_F32, Kind.MAC, Kind.EW, Kind.BF16, Kind.F32)


@dataclass
class Column:
    """A column command as seen: fabric clock, DRAM clock, and the access it is."""

    clock: int
    time: int
    access: dict[str, int]
    index: int  # in its stream
    hold: bool
    period: int


@dataclass
class TB:
    """Feeds spans, opens and closes the gates, and checks every output of every clock."""

    dut: Any
    p: dict[str, int]
    rng: np.random.Generator
    idle: float = 0.0  # chance of a clock without an offered span
    closed: float = 0.0  # chance of a gate to change to, or stay, closed
    clock: int = 0
    columns: list[Column] = field(default_factory=list)
    rows: list[tuple[int, int, int]] = field(default_factory=list)  # time, command, bank
    expected: list[Column] = field(default_factory=list)  # commands still to come, in order
    offered: list[dict[str, int]] = field(default_factory=list)
    reads: dict[int, dict[str, int]] = field(default_factory=dict)  # by the clock of their data
    writes: dict[int, dict[str, int]] = field(default_factory=dict)
    now: dict[str, int] = field(default_factory=dict)  # inputs of this clock
    seen: int = 0  # outputs of the last clock
    woken: int = 0  # fabric clock of the last wake-up

    def __post_init__(self) -> None:
        p = self.p
        self.beat = p["AtomBytes"] * (p["Banks"] if p["AllBank"] else 1)
        self.page = p["RowBytes"] * (p["Banks"] if p["AllBank"] else 1)
        self.capacity = p["Banks"] * p["RowBytes"] * p["Rows"]
        self.read_latency = -(-(p["TCl"] + p["TBl"]) // p["CkRatio"])
        self.write_latency = -(-(p["TCwl"] + p["TBl"]) // p["CkRatio"]) - 2

    async def begin(self) -> None:
        inputs = {"wake_i": 0, "sleep_i": 0, "flush_i": 0, "valid_i": 0, "span_i": 0}
        inputs |= {"copy_out_room_i": 1, "copy_in_ready_i": 1, "lanes_busy_i": 0}
        self.now = dict(inputs)
        await start(self.dut, stricter_i=int(os.environ.get("STRICTER", "0")), **inputs)

    def drive(self, **inputs: int) -> None:
        for name, value in inputs.items():
            if self.now[name] != value:
                self.now[name] = value
                getattr(self.dut, name).value = value

    def place(self, addr: int) -> tuple[int, int]:
        """Return bank and row of a byte address."""
        p = self.p
        if p["AllBank"]:
            return addr // p["AtomBytes"] % p["Banks"], addr // self.page
        bank, rest = divmod(addr, p["RowBytes"] * p["Rows"])
        return bank, rest // p["RowBytes"]

    def stream(
        self, kind: Kind, addr: int, count: int, hold: int = 0, period: int = 0, row: int = 0
    ) -> None:
        """Queue a stream."""
        every = int(bool(self.p["AllBank"]) and kind in ALL_KINDS)
        step = self.beat if every else self.p["AtomBytes"]
        whole = {"addr": addr, "count": count, "kind": kind, "all": every, "hold": hold}
        whole |= {"period": period, "row": row}
        self.offered += cut(whole, self.page, step)
        for i in range(count):
            access = {"valid": 1, "addr": addr + i * step, "kind": kind, "all": every}
            access["step_end"] = int(period != 0 and i % period == period - 1)
            access |= {"last": int(i == count - 1), "row": row}
            self.expected.append(Column(0, 0, access, i, bool(hold and i == 0), period))

    def random_stream(self, near: int) -> int:
        """Queue a random stream, often in the page or the bank of address `near`."""
        rng = self.rng
        kind = Kind(int(rng.integers(10)))
        step = self.beat if self.p["AllBank"] and kind in ALL_KINDS else self.p["AtomBytes"]
        where = rng.random()
        if where < 0.3:
            addr = near - near % self.page + int(rng.integers(self.page))
        elif where < 0.5:
            addr = near + int(rng.integers(-3, 4)) * self.page
        else:
            addr = int(rng.integers(self.capacity))
        addr = addr % self.capacity // step * step
        room = (self.capacity - addr) // step
        count = min(room, int(rng.choice([1, 1, 2, 5, 12, 40])))
        period = 0
        if kind == Kind.MAC:
            period = min(int(rng.choice([1, 2, 3, 4, 6, 16])), room)
            count = period * max(1, count // period)
        row = 0 if kind == Kind.EW else int(rng.integers(self.p["RowsPerBeat"]))
        self.stream(kind, addr, count, int(rng.random() < 0.25), period, row)
        return addr

    def check(self, word: int) -> None:
        """Check the outputs of one clock."""
        read, write = word >> 112 & (1 << ACCESS.bits) - 1, word >> 156 & (1 << ACCESS.bits) - 1
        due = self.reads.pop(self.clock, None)
        assert (ACCESS.unpack(read) if read >> VALID else None) == due, f"read at {self.clock}"
        due = self.writes.pop(self.clock, None)
        seen = ACCESS.unpack(write) if write >> VALID else None
        assert seen == due, f"write at {self.clock}"
        column, row = word >> 4 & 15, word >> 8 & 15
        base = self.clock * self.p["CkRatio"]
        if row != NOP:
            bank = -1 if word >> 13 & 1 else word >> 24 & 255
            self.rows.append((base + (word >> 40 & 255), row, bank))
        issue = 0
        if column != NOP:
            issue = self.check_column(word, column, base + (word >> 32 & 255))
        assert word >> 3 & 1 == issue
        idle = not (self.reads or self.writes or self.expected) or bool(word & 1 and self.offered)
        assert idle or not word >> 1 & 1, "idle with work left"

    def check_column(self, word: int, command: int, time: int) -> int:
        """Check a column command against the next one expected; return copy_issue_o."""
        assert self.expected, "a command that nobody asked for"
        wanted = self.expected.pop(0)
        wanted.clock, wanted.time = self.clock, time
        access, kind = wanted.access, Kind(wanted.access["kind"])
        assert command == (WR if kind.writes else RD)
        bank, row = self.place(access["addr"])
        assert word >> 12 & 1 == access["all"]
        assert word >> 48 & 0xFFFF == row
        assert access["all"] or word >> 16 & 255 == bank
        if wanted.hold:
            assert not self.reads, "hold, but read data are still on their way"
            assert not self.now["lanes_busy_i"], "hold, but the lanes are busy"
        assert kind != Kind.COPY_OUT or self.now["copy_out_room_i"]
        assert kind != Kind.COPY_IN or self.now["copy_in_ready_i"]
        self.check_pace(wanted, kind)
        self.columns.append(wanted)
        later = self.writes if kind.writes else self.reads
        later[self.clock + (self.write_latency if kind.writes else self.read_latency)] = access
        return int(kind in (Kind.COPY_IN, Kind.COPY_OUT))

    def check_pace(self, wanted: Column, kind: Kind) -> None:
        """Lanes need their clocks for a beat, and LaneLatency between steps of one sum."""
        fed = (Kind.MAC, Kind.EW)
        if kind in fed and self.columns and self.columns[-1].access["kind"] in fed:
            passes = self.columns[-1].access["row"] // self.p["LaneSets"] + 1
            assert wanted.time - self.columns[-1].time >= self.p["LaneSpacing"] * passes
        if kind == Kind.MAC and wanted.index >= wanted.period:
            gap = wanted.clock - self.columns[-wanted.period].clock
            assert gap >= self.p["LaneLatency"], (
                f"{gap} clocks between two products of one accumulator, period {wanted.period}"
            )

    async def step(self) -> None:
        """One clock: sample, check, choose the inputs of the next one."""
        await RisingEdge(self.dut.clk_i)
        word = int(self.dut.monitor_o.value)
        self.check(word)
        self.seen = word
        if self.now["flush_i"]:
            self.offered.clear()
            self.expected.clear()
            self.drive(valid_i=0, flush_i=0)
        elif self.now["valid_i"] and word & 1:
            self.offered.pop(0)
            self.drive(valid_i=0)
        rng = self.rng
        if self.offered and not self.now["valid_i"] and rng.random() >= self.idle:
            self.drive(valid_i=1, span_i=SPAN.pack(self.offered[0]))
        if self.closed:
            chances = rng.random(3) < self.closed
            self.drive(
                copy_out_room_i=int(not chances[0]),
                copy_in_ready_i=int(not chances[1]),
                lanes_busy_i=int(chances[2]),
            )
        self.clock += 1

    async def wake(self) -> None:
        self.drive(wake_i=1)
        await self.step()
        self.drive(wake_i=0)
        self.woken = self.clock

    async def drain(self) -> None:
        """Go on until everything queued has been done and its data have passed."""
        bound = 400 + 200 * len(self.offered) + 40 * len(self.expected)
        for _ in range(bound):
            if not self.expected and not self.reads and not self.writes and self.seen >> 1 & 1:
                return
            await self.step()
        raise AssertionError(f"{len(self.expected)} accesses left after {bound} clocks")

    async def sleep(self) -> None:
        self.drive(sleep_i=1)
        await self.step()
        for _ in range(400):
            if self.seen >> 2 & 1:
                break
            await self.step()
        assert self.seen >> 2 & 1, "does not fall asleep"
        assert self.seen >> 80 & 0xFFFFFFFF == 0, "asleep with open banks"
        self.drive(sleep_i=0)

    def refreshes(self) -> list[int]:
        """DRAM clocks of the refreshes since the last wake-up, counted from there."""
        since = self.woken * self.p["CkRatio"]
        return [time - since for time, command, _ in self.rows if command == REF and time > since]


def bench(dut: Any, **options: float) -> TB:
    return TB(dut, TIMINGS[os.environ["STYLE"]], seeded(dut), **options)


@cocotb.test()
@cocotb.parametrize(idle=CHANCES, closed=(0.0, 0.5, 0.9))
async def random_spans(dut, idle, closed):
    tb = bench(dut, idle=idle, closed=closed)
    await tb.begin()
    near = 0
    for _ in range(4):
        await tb.wake()
        for _ in range(int(tb.rng.integers(0, 25))):
            near = tb.random_stream(near)
        await tb.drain()
        await tb.sleep()
        for _ in range(int(tb.rng.integers(0, 20))):
            await tb.step()
            assert tb.seen >> 2 & 1, "woke up by itself"


@cocotb.test()
@cocotb.parametrize(closed=(0.0, 0.8))
async def flushed_spans_are_forgotten(dut, closed):
    """Commands already sent still bring their data; what waited is gone; the next spans work."""
    tb = bench(dut, closed=closed)
    await tb.begin()
    await tb.wake()
    near = 0
    for _ in range(40):
        for _ in range(int(tb.rng.integers(1, 6))):
            near = tb.random_stream(near)
        for _ in range(int(tb.rng.integers(1, 60))):
            await tb.step()
        tb.drive(flush_i=1)
        await tb.step()
        if tb.rng.random() < 0.5:
            await tb.drain()
    await tb.drain()
    await tb.sleep()


@cocotb.test()
@cocotb.parametrize(kind=(Kind.SCALAR, Kind.MAC))
async def stream_of_reads_runs_at_the_rate_of_the_timing(dut, kind):
    """One read every tCCD_L; tRTP + tRP + tRCD from the last read of a row to the next one."""
    tb = bench(dut)
    p = tb.p
    await tb.begin()
    await tb.wake()
    every = p["AllBank"] and kind == Kind.MAC
    step = tb.beat if every else p["AtomBytes"]
    in_row = tb.page // step
    tb.stream(kind, 0, 3 * in_row, hold=1, period=8 if kind == Kind.MAC else 0)
    await tb.drain()
    gaps = np.diff([column.time for column in tb.columns])
    if p["AllBank"] and not every:
        # Neighbouring atoms lie in other bank groups; rows are opened ahead within a page.
        assert set(gaps[p["Banks"] : in_row - 1]) == {p["TCcdS"]}
        return
    boundary = np.arange(1, len(gaps) + 1) % in_row == 0
    assert set(gaps[~boundary]) == {p["TCcdL"]}
    assert set(gaps[boundary]) == {p["TRtp"] + p["TRp"] + p["TRcdRd"]}


@cocotb.test()
async def rows_of_other_banks_are_opened_ahead(dut):
    """A stream that walks through the banks row by row loses nothing at the changes (per_bank)."""
    tb = bench(dut)
    if tb.p["AllBank"]:
        return
    await tb.begin()
    await tb.wake()
    in_row = tb.page // tb.beat
    for bank in (0, 1, 5, 2):
        tb.stream(Kind.SCALAR, bank * tb.page * tb.p["Rows"], in_row)
    await tb.drain()
    gaps = np.diff([column.time for column in tb.columns])
    changes = gaps[in_row - 1 :: in_row]
    assert changes.tolist() == [tb.p["TCcdS"], tb.p["TCcdL"], tb.p["TCcdS"]]


@cocotb.test()
@cocotb.parametrize(busy=(False, True))
async def refresh_keeps_its_average(dut, busy):
    """Every tREFI one refresh, never later than the open rows need to be closed."""
    tb = bench(dut)
    p = tb.p
    await tb.begin()
    await tb.wake()
    intervals = 12
    while tb.clock - tb.woken < intervals * p["TRefi"] // p["CkRatio"]:
        if busy and len(tb.offered) < 3:
            tb.random_stream(int(tb.rng.integers(tb.capacity)))
        await tb.step()
    extra, *rest = tb.refreshes()
    # Self-refresh leaves one to be done: in the first clock that it may.
    assert extra == p["TXs"]
    times = np.array(rest)
    late = times - p["TRefi"] * np.arange(1, len(times) + 1)
    close = p["TRas"] + p["TCwl"] + p["TBl"] + p["TWr"] + p["TRp"] + 4 * p["CkRatio"]
    assert len(times) >= intervals - 1
    assert late.min() >= -p["CkRatio"]
    assert late.max() <= close
    if not busy and p["TRefi"] % p["CkRatio"] == 0:
        assert not late.any()  # nothing is open: in the very clock it falls due


def options(style: str) -> dict[str, Any]:
    """Return the arguments of `run_bench` that all runs of a style share."""
    rules = sum(1 << RULES[rule][0] for rule in STRICT[style])
    return {
        "bench": __file__,
        "params": STYLES[style] | {"StrictFields": rules},
        # The checkers' loops over the banks: a third of the build time when not unrolled.
        "flags": ("--unroll-count", "1"),
    }


@pytest.mark.parametrize("style", STYLES)
def test_pim_sched(style):
    run_bench("pim_sched_bench", SOURCES, environment={"STYLE": style}, **options(style))


@pytest.mark.parametrize(
    "timing", [pytest.param(t, marks=() if t in STYLES else pytest.mark.full) for t in TIMINGS]
)
def test_commands_and_data_times_are_those_of_the_reference(timing):
    """In every clock, slot by slot: nothing is lost to what is known a clock ahead."""
    run_bench(
        "pim_sched_bench",
        SOURCES,
        bench=__file__,
        params=TIMINGS[timing] | {"Reference": 1},
        environment={"STYLE": timing, "COCOTB_TEST_FILTER": "random_spans|flushed_spans"},
        flags=("--unroll-count", "1"),
    )


@pytest.mark.parametrize(
    ("style", "rule"), [(style, rule) for style, rules in STRICT.items() for rule in rules]
)
def test_pim_timing_check_sees_a_rule_kept_one_clock_too_short(style, rule):
    """The checker's value is one above the scheduler's: also shows that no clock is wasted."""
    field, message = RULES[rule]
    environment = {"STYLE": style, "STRICTER": str(field + 1), "COCOTB_TEST_FILTER": "random_spans"}
    with pytest.raises(BenchFailure, match=message):
        run_bench("pim_sched_bench", SOURCES, environment=environment, **options(style))
