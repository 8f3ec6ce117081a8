"""pim_timing_check alone: a legal sequence passes, and each broken protocol rule is named.

Values of the timing rules are tested with the scheduler, in test_pim_sched.
"""

import os

import cocotb
import pytest
from bench_tools import start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import REPOSITORY, BenchFailure, rtl, run_bench

SOURCES = (
    *rtl("pim_timing_check"),
    REPOSITORY / "tests" / "rtl" / "sv" / "pim_timing_check_bench.sv",
)

RATIO, BANKS, ROWS = 4, 8, 16
NOP, ACT, PRE, RD, WR, REF = range(6)
#: timing_t from its first field on. tRC is longer than its parts, tRAS and tRP.
TIMING = {"rcd_rd": 10, "rcd_wr": 9, "rp": 12, "ras": 20, "rc": 40, "ccd_s": 4, "ccd_l": 6}
TIMING |= {"rrd_s": 4, "rrd_l": 6, "faw": 24, "wr": 10, "rtp": 5, "wtr_s": 3, "wtr_l": 7}
TIMING |= {"refi": 400, "rfc": 40, "xs": 48, "xsdll": 58, "cl": 11, "cwl": 9, "bl": 4}
FIELDS = ("cmd", "all", "bank", "slot", "row")
IDLE = {f"{kind}_{name}_i": 0 for kind in ("col", "row") for name in FIELDS}
IDLE |= {"wake_i": 0, "asleep_i": 1}

# DRAM clock, command, bank (-1: all), row. Every value below is as early as it may be.
OPEN = [(48, ACT, 0, 3), (52, ACT, 1, 5)]
USED = [*OPEN, (58, RD, 0, 3), (62, RD, 1, 5), (70, WR, 1, 5), (86, RD, 0, 3)]
CLOSED = [*USED, (93, PRE, -1, 0)]
ASLEEP = (148, "sleep", 0, 0)
ASLEEP_LATE = (200 + 99 * 400, "sleep", 0, 0)
SLEPT = [*CLOSED, (105, REF, 0, 0), ASLEEP]
CASES = {
    "legal": ([*CLOSED, (105, REF, 0, 0), (145, ACT, -1, 9), (155, RD, -1, 9)], None),
    "closed bank": ([*OPEN, (66, RD, 2, 3)], r"closed or wrong row \(bank 2\)"),
    "wrong row": ([*OPEN, (66, RD, 1, 3)], r"closed or wrong row \(bank 1\)"),
    "one bank of all": ([*OPEN, (66, RD, -1, 3)], r"closed or wrong row \(bank 1\)"),
    "write to a closed bank": ([*CLOSED, (110, WR, 0, 3)], "closed or wrong row"),
    "open twice": ([*OPEN, (80, ACT, 0, 3)], "ACT to an open bank"),
    "same slot": ([*OPEN, (69, RD, 0, 3), (69, ACT, 4, 0)], "two commands in one slot"),
    "refresh while open": ([*OPEN, (90, PRE, 0, 0), (120, REF, 0, 0)], "REF with open banks"),
    "refresh too early": ([*CLOSED, (104, REF, 0, 0)], "tRP before REF"),
    "refresh after a row cycle": ([OPEN[0], (70, PRE, 0, 0), (88, REF, 0, 0)], None),
    "refresh in a row cycle": (
        [OPEN[0], (70, PRE, 0, 0), (87, REF, 0, 0)],
        "tRC before REF: 39 clocks, at least 40",
    ),
    "refresh twice": ([*CLOSED, (105, REF, 0, 0), (144, REF, 0, 0)], "tRFC"),
    "no refresh": ([*OPEN, (48 + 9 * 400, PRE, 0, 0)], "refresh lost"),
    "asleep": ([*SLEPT, (160, ACT, 0, 0)], "command in self-refresh"),
    "DLL not locked": ([OPEN[0], (57, WR, 0, 3)], "tXSDLL: 57 clocks"),
    "refresh too early after self-refresh": ([(47, REF, 0, 0)], "tXS before REF"),
    "no refresh between self-refreshes": ([*CLOSED, ASLEEP], "no REF before self-refresh"),
    "without refresh": ([*CLOSED, (105 + 99 * 400, ACT, 0, 3), ASLEEP_LATE], None),
}
#: Cases with tREFI = 0.
NEVER_REFRESHED = ("without refresh",)


@cocotb.test()
async def sequence(dut):
    commands, _ = CASES[os.environ["CASE"]]
    await start(dut, **IDLE)
    dut.wake_i.value = 1
    await RisingEdge(dut.clk_i)
    dut.wake_i.value = dut.asleep_i.value = 0
    for clock in range(0, commands[-1][0] + 8 * RATIO, RATIO):
        dut.col_cmd_i.value = dut.row_cmd_i.value = NOP
        for time, command, bank, row in commands:
            if time // RATIO * RATIO != clock:
                continue
            if command == "sleep":
                dut.asleep_i.value = 1
                continue
            kind = "col" if command in (RD, WR) else "row"
            fields = {"cmd": command, "slot": time - clock, "row": row}
            fields |= {"all": int(bank < 0), "bank": max(bank, 0)}
            for name, value in fields.items():
                getattr(dut, f"{kind}_{name}_i").value = value
        await RisingEdge(dut.clk_i)


@pytest.mark.parametrize("case", CASES)
def test_pim_timing_check(case):
    packed = 0
    timing = TIMING | ({"refi": 0} if case in NEVER_REFRESHED else {})
    for value in timing.values():
        packed = packed << 16 | value
    params = {"Banks": BANKS, "BankGroups": 4, "Rows": ROWS, "CkRatio": RATIO}
    params["Timing"] = f"{16 * len(TIMING)}'h{packed:x}"

    def run():
        run_bench(
            "pim_timing_check_bench",
            SOURCES,
            bench=__file__,
            params=params,
            environment={"CASE": case},
            flags=("--unroll-count", "1"),
        )

    message = CASES[case][1]
    if message is None:
        run()
    else:
        with pytest.raises(BenchFailure, match=message):
            run()
