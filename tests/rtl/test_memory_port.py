"""The memory port of pim_top: its rules are watched; block memory behind it gives the same bits.

`pim_memory_port_check` alone meets what is allowed and every break of a rule. Then the whole
device, with the check bound to it, works on the memory of an FPGA instead of the simulated array.
"""

import os
import re

import cocotb
import numpy as np
import pytest
from bench_tools import ACCESS, start
from cocotb.triggers import RisingEdge
from support.paths import REPOSITORY
from support.small_devices import operand

from pimloop.host.common import golden
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform
from pimloop.sim.bench.unit import BenchFailure, rtl, run_bench
from pimloop.sim.device.config import TEST_BENCH, SimConfig, fpga_sources, rtl_sources
from pimloop.sim.device.process import SimDevice

TOP = "pim_memory_port_check"
CHECKS = tuple(REPOSITORY / "rtl" / "sva" / f"{name}.sv" for name in (TOP, "pim_top_sva"))
PARAMS = {"AllBank": 0, "Banks": 4, "RowBytes": 256, "Rows": 4, "AtomBytes": 64, "CkRatio": 4}
PARAMS |= {"TCl": 11, "TCwl": 9, "TBl": 4}
DATA_CLOCKS = 4  # of reads and writes, by these timings
ROW = {"ACT": 1, "PRE": 2, "REF": 5, "RD": 3}  # pim_pkg::dram_cmd_e
COL = {"RD": 3, "WR": 4, "ACT": 1}
IDLE = dict.fromkeys(
    ("row_cmd_i", "row_all_i", "row_bank_i", "row_row_i", "row_slot_i", "col_cmd_i", "col_all_i",
     "col_bank_i", "col_row_i", "col_column_i", "col_slot_i", "asleep_i", "read_i", "write_i"), 0,
)  # fmt: skip


def row(cmd, bank=0, row=0, slot=0, every=0):
    return {"row_cmd_i": ROW[cmd], "row_bank_i": bank, "row_row_i": row, "row_slot_i": slot,
            "row_all_i": every}  # fmt: skip


def col(cmd, bank=0, row=0, column=0, slot=1, every=0):
    return {"col_cmd_i": COL[cmd], "col_bank_i": bank, "col_row_i": row, "col_column_i": column,
            "col_slot_i": slot, "col_all_i": every}  # fmt: skip


def data(way, bank=0, row=0, column=0, every=0):
    address = ((bank * PARAMS["Rows"] + row) * 4 + column) * 64
    return {f"{way}_i": ACCESS.pack({"valid": 1, "addr": address, "all": every})}


#: A clock without anything, and the clocks between a command and its data.
NOTHING = {}
WAIT = [NOTHING] * (DATA_CLOCKS - 1)
OPEN = [row("ACT", 2, 3)]
LEGAL = [
    *OPEN,
    row("ACT", 1, 2) | col("RD", 2, 3, 1),
    col("WR", 1, 2, 3),
    NOTHING,
    NOTHING,
    data("read", 2, 3, 1) | col("RD", 1, 2, 0, 0) | row("PRE", 1, slot=2),
    data("write", 1, 2, 3) | row("PRE", every=1),
    row("REF", every=1),
    NOTHING,
    data("read", 1, 2, 0),
    {"asleep_i": 1},
]
#: The clocks, and what is told.
BREAKS = {
    "row_kind": ([row("RD")], "no row command"),
    "column_kind": ([*OPEN, col("ACT", 2, 3)], "no column command"),
    "asleep": ([{"asleep_i": 1}, {"asleep_i": 1} | row("ACT")], "a command in self-refresh"),
    "asleep_open": ([*OPEN, {"asleep_i": 1}], "self-refresh with an open bank"),
    "one_slot": ([*OPEN, row("ACT", 1, slot=1) | col("RD", 2, 3)], "two commands in a slot"),
    "every_bank": ([row("ACT", every=1)], "ACT of all banks in per_bank style"),
    "act_open": ([*OPEN, row("ACT", 2, 1)], "ACT in an open bank"),
    "refresh_open": ([*OPEN, row("REF", every=1)], "REF with an open bank"),
    "access_to_all": ([*OPEN, col("RD", 2, 3, every=1)], "access to all banks in per_bank style"),
    "closed": ([*OPEN, col("RD", 1, 3)], "access to a closed bank"),
    "closes_before": ([*OPEN, col("RD", 2, 3) | row("PRE", 2)], "access to a closed bank"),
    "other_row": ([*OPEN, col("WR", 2, 2)], "access to another row"),
    "data_of_none": ([*OPEN, data("read", 2, 3)], "data of a RD at another time, or of none"),
    "data_late": ([*OPEN, col("RD", 2, 3), *WAIT, NOTHING, data("read", 2, 3)], "data of a RD at"),
    "data_early": ([*OPEN, col("RD", 2, 3), *WAIT[1:], data("read", 2, 3)], "data of a RD at"),
    "other_data": ([*OPEN, col("RD", 2, 3), *WAIT, data("read", 2, 3, 1)], "data of another RD"),
    "write_of_none": ([*OPEN, data("write", 2, 3)], "data of a WR at another time, or of none"),
    "write_lost": ([*OPEN, col("WR", 2, 3), *WAIT, NOTHING], "data of a WR at another time"),
    "other_write": ([*OPEN, col("WR", 2, 3), *WAIT, data("write", 2, 1)], "data of another WR"),
}


@cocotb.test()
async def clocks(dut):
    name = os.environ["BREAK"]
    rows = BREAKS[name][0] if name else LEGAL
    await start(dut, **IDLE)
    for values in [*rows, NOTHING, NOTHING]:
        for port, value in (IDLE | values).items():
            getattr(dut, port).value = value
        await RisingEdge(dut.clk_i)


def run_check(name):
    sources = (*rtl()[:2], CHECKS[0])
    run_bench(TOP, sources, bench=__file__, params=PARAMS, environment={"BREAK": name})


def test_what_is_allowed():
    run_check("")


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_told(name):
    with pytest.raises(BenchFailure, match=f"memory port: {BREAKS[name][1]}"):
        run_check(name)


#: Platform, and what makes its device small enough to be built with lanes of RTL.
DEVICES = {
    "htg-z920": {"Rows": 16},
    "aim": {"Rows": 16, "Banks": 4, "BankGroups": 2, "Lanes": 64},
}
#: Of it only the rows are fewer, which moves banks to other addresses and costs nothing: simulated
#: with all of them, by the simulator that other tests have built.
ALIKE = "htg-z920"


def multiply(name, sources):
    """Return the bits of a small GEMV, the cycles it took, and its operands."""
    params = load_platform(name).rtl_parameters()
    if sources or name != ALIKE:
        params |= DEVICES[name]
    config = SimConfig(
        params=params,
        device_sources=sources,
        memory_bytes=64 << 20,
    )
    left, right = operand(1, 1, 70), operand(2, 70, 90)
    with SimDevice(config) as device, PimDriver(device) as driver:
        product = driver.matmul(driver.upload(left), driver.load_matrix(right))
        cycles = driver.last.cycles
        return golden.to_bf16_bits(driver.download(product)), cycles, left, right


def around_board_top(folder):
    """Return the simulated board with `pim_board_ram` in the place of the device and the array."""
    text = TEST_BENCH.read_text(encoding="utf-8")
    device = text.index("  pim_top #(")
    end = text.index("  );\n", text.index(") dut (")) + len("  );\n")
    instance = text[device:end].replace("pim_top", "pim_board_ram")
    # The simulated host memory has no such inputs.
    tied = {"m_axi_arcache": 4, "m_axi_awcache": 4, "m_axi_arprot": 3, "m_axi_awprot": 3}
    signals = "".join(f"  logic [{bits - 1}:0] {name};\n" for name, bits in tied.items())
    instance = instance.replace(") dut (", "\n".join([") dut (", *(f"      .{n}," for n in tied)]))
    kept = [line for line in instance.splitlines() if not re.search(r"\.(mem_|NativeLanes)", line)]
    instance = re.sub(r",\n  \);", "\n  );", "\n".join(kept) + "\n")
    rest = text[end:]
    # What follows the memory port is inside now, or has nothing to follow.
    for name in ("pim_dram_sim", "pim_command_trace_sim"):
        rest = re.sub(rf"  {name} #\(.*?\n  \);\n", "", rest, flags=re.DOTALL)
    bench = folder / TEST_BENCH.name
    unused = "".join(f"/* verilator lint_off {w} */\n" for w in ("UNUSED", "UNDRIVEN"))
    bench.write_text(unused + text[:device] + signals + instance + rest, encoding="utf-8")
    return bench


# The memory itself is tested in both styles by test_pim_memory_ram.py.
@pytest.mark.parametrize("name", ["htg-z920", pytest.param("aim", marks=pytest.mark.full)])
def test_block_memory_behind_the_port_gives_the_same_bits(name, tmp_path):
    """With lanes of RTL; the simulated array has native ones, of the same bits and clocks."""
    bench = around_board_top(tmp_path)
    bits, cycles, left, right = multiply(name, None)
    others = multiply(name, (*rtl_sources(), *fpga_sources(), *CHECKS, bench))
    wanted = golden.matmul(golden.to_bf16_bits(left), golden.to_bf16_bits(right))
    assert np.array_equal(bits, wanted)
    assert np.array_equal(others[0], bits)
    assert others[1] == cycles
