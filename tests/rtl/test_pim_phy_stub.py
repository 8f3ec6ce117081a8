"""pim_phy_stub: every command is the pin levels of DDR4, in its phase, `Delay` clocks later."""

import os

import cocotb
import pytest
from bench_tools import seeded, start
from cocotb.triggers import RisingEdge

from pimloop.sim.bench.unit import rtl, run_bench

NOP, ACT, PRE, RD, WR, REF = range(6)  # pim_pkg::dram_cmd_e
PARAMS = {
    "per_bank": {"AllBank": 0, "Rows": 1 << 17, "AtomBytes": 64, "RowBytes": 16384},
    "all_bank": {"AllBank": 1, "Rows": 1 << 12, "AtomBytes": 32, "RowBytes": 2048},
}
BANKS, GROUPS, RATIO = 16, 4, 4
IDLE = dict.fromkeys(
    ("row_cmd_i", "row_all_i", "row_bank_i", "row_row_i", "row_slot_i", "col_cmd_i", "col_all_i",
     "col_bank_i", "col_column_i", "col_slot_i", "read_i", "write_i", "write_data_i",
     "dfi_rddata_valid_i", "dfi_rddata_i"), 0,
)  # fmt: skip
#: Levels of cs_n, act_n, ras_n, cas_n, we_n; JESD79-4, table 17.
DESELECTED = (1, 1, 1, 1, 1)
LEVELS = {PRE: (0, 1, 0, 1, 0), RD: (0, 1, 1, 0, 1), WR: (0, 1, 1, 0, 0), REF: (0, 1, 0, 0, 1)}


def phase(dut, number):
    """Return the levels of the command pins in a phase."""
    pins = (dut.dfi_cs_n_o, dut.dfi_act_n_o, dut.dfi_ras_n_o, dut.dfi_cas_n_o, dut.dfi_we_n_o)
    return tuple(int(pin.value) >> number & 1 for pin in pins)


def field(signal, number, bits):
    return int(signal.value) >> number * bits & ((1 << bits) - 1)


def bank_of(dut, number):
    """Return the device's number of the bank on the pins: the group is its lower part."""
    return field(dut.dfi_bank_o, number, 2) << 2 | field(dut.dfi_bg_o, number, 2)


def check_pins(dut, row, col):
    """Compare every phase with what a clock's row command and column command mean."""
    for number in range(RATIO):
        address = field(dut.dfi_address_o, number, 14)
        every = int(dut.dfi_all_o.value) >> number & 1
        if row and row["slot"] == number:
            if row["cmd"] == ACT:
                assert phase(dut, number)[:2] == (0, 0)
                upper = phase(dut, number)[2:]
                assert (upper[0] << 16 | upper[1] << 15 | upper[2] << 14 | address) == row["row"]
                assert every == row["all"]
            else:
                assert phase(dut, number) == LEVELS[row["cmd"]]
                assert address == (row["cmd"] == PRE and row["all"]) << 10
            if not (row["all"] or row["cmd"] == REF):
                assert bank_of(dut, number) == row["bank"]
        elif col and col["slot"] == number:
            assert phase(dut, number) == LEVELS[col["cmd"]]
            first = col["column"] << 3  # of a burst of eight
            assert address >> 10 & 1 == 0  # no precharge by itself
            assert address >> 12 & 1 == 0
            assert (address & 0x3FF | (address >> 11 & 1) << 10 | address >> 13 << 11) == first
            assert bank_of(dut, number) == col["bank"]
            assert every == col["all"]
        else:
            assert phase(dut, number) == DESELECTED


@cocotb.test()
async def commands_are_pin_levels(dut):
    rng = seeded(dut)
    p = PARAMS[os.environ["STYLE"]]
    delay = int(os.environ["DELAY"])
    await start(dut, asleep_i=0, **IDLE)
    for _ in range(delay + 2):
        await RisingEdge(dut.clk_i)
    under_way = [(None, None)] * delay
    seen = set()
    for _ in range(3000):
        slots = rng.permutation(RATIO)
        row = col = None
        if rng.random() < 0.5:
            row = {"cmd": int(rng.choice([ACT, PRE, REF])), "slot": int(slots[0])}
            for_all = bool(p["AllBank"]) or row["cmd"] == PRE
            row["all"] = int(row["cmd"] == REF or (for_all and rng.random() < 0.3))
            row |= {"bank": int(rng.integers(BANKS)), "row": int(rng.integers(p["Rows"]))}
        if rng.random() < 0.5:
            col = {"cmd": int(rng.choice([RD, WR])), "slot": int(slots[1])}
            col["all"] = int(p["AllBank"] and rng.random() < 0.5)
            column = int(rng.integers(p["RowBytes"] // p["AtomBytes"]))
            col |= {"bank": int(rng.integers(BANKS)), "column": column}
        for prefix, command, names in (
            ("row", row, ("cmd", "all", "bank", "row", "slot")),
            ("col", col, ("cmd", "all", "bank", "column", "slot")),
        ):
            for name in names:
                getattr(dut, f"{prefix}_{name}_i").value = command[name] if command else 0
        under_way.append((row, col))
        await RisingEdge(dut.clk_i)
        # Before the edge: what was at the port `delay` clocks before this one.
        row, col = under_way.pop(0)
        check_pins(dut, row, col)
        assert int(dut.dfi_rddata_en_o.value) == bool(col and col["cmd"] == RD)
        assert int(dut.dfi_cke_o.value) == (1 << RATIO) - 1
        seen |= {command["cmd"] for command in (row, col) if command}
    assert seen == {ACT, PRE, RD, WR, REF}


@cocotb.test()
async def self_refresh_is_cke(dut):
    """Asleep after a reset, without an entry command; the entry command is REF with CKE low."""
    delay = int(os.environ["DELAY"])
    await start(dut, asleep_i=1, **IDLE)
    for _ in range(delay + 3):
        await RisingEdge(dut.clk_i)
        assert int(dut.dfi_cke_o.value) == 0
        assert all(phase(dut, number) == DESELECTED for number in range(RATIO))
    for asleep in (0, 1, 0):
        dut.asleep_i.value = asleep
        for _ in range(delay):
            await RisingEdge(dut.clk_i)
            assert int(dut.dfi_cke_o.value) == (0 if not asleep else (1 << RATIO) - 1)
        await RisingEdge(dut.clk_i)
        assert int(dut.dfi_cke_o.value) == (0 if asleep else (1 << RATIO) - 1)
        assert phase(dut, 0) == (LEVELS[REF] if asleep else DESELECTED)
        await RisingEdge(dut.clk_i)
        assert phase(dut, 0) == DESELECTED


@cocotb.test()
async def data_pass_and_a_miss_is_told(dut):
    rng = seeded(dut)
    bits = len(dut.write_data_i)
    await start(dut, asleep_i=0, **IDLE)
    written = wanted = None
    for _ in range(500):
        data = int.from_bytes(rng.bytes(bits // 8), "little")
        back = int.from_bytes(rng.bytes(bits // 8), "little")
        write, read = (int(rng.random() < 0.5) for _ in range(2))
        dut.write_i.value, dut.write_data_i.value, dut.read_i.value = write, data, read
        dut.dfi_rddata_valid_i.value, dut.dfi_rddata_i.value = int(wanted is True), back
        await RisingEdge(dut.clk_i)
        assert int(dut.dfi_wrdata_en_o.value) == (written is not None)
        if written is not None:
            assert int(dut.dfi_wrdata_o.value) == written
        assert int(dut.read_data_o.value) == back
        assert not int(dut.missed_o.value)
        written, wanted = data if write else None, bool(read)
    for late in (True, False):
        await start(dut, asleep_i=0, **IDLE)
        dut.read_i.value = int(late)
        await RisingEdge(dut.clk_i)
        dut.read_i.value = 0
        dut.dfi_rddata_valid_i.value = int(not late)
        await RisingEdge(dut.clk_i)
        dut.dfi_rddata_valid_i.value = 0
        assert not int(dut.missed_o.value)
        for _ in range(3):
            await RisingEdge(dut.clk_i)
            assert int(dut.missed_o.value)


@pytest.mark.parametrize(("style", "delay"), [("per_bank", 1), ("per_bank", 3), ("all_bank", 2)])
def test_pim_phy_stub(style, delay):
    shared = {"Banks": BANKS, "BankGroups": GROUPS, "CkRatio": RATIO, "BurstBits": 3}
    run_bench(
        "pim_phy_stub",
        rtl("pim_phy_stub"),
        bench=__file__,
        params=PARAMS[style] | shared | {"Delay": delay},
        environment={"STYLE": style, "DELAY": str(delay)},
    )
