"""pim_regs behind an AXI4-Lite master: every register, strobes, interrupt, doorbell, reset."""

import logging

import cocotb
import numpy as np
from bench_tools import CHANCES, seeded, start
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from pimloop.rtl.tables.isa import COUNTERS, DEVICE_ID, DEVICE_VERSION, Code, Reg
from pimloop.sim.bench.unit import REPOSITORY, rtl, run_bench

SOURCES = (*rtl("pim_regs"), REPOSITORY / "tests" / "rtl" / "sv" / "pim_regs_bench.sv")

IDLE = {f"s_axil_{name}": 0 for name in ("awvalid", "wvalid", "bready", "arvalid", "rready")}
IDLE |= {"busy_i": 0, "ended_i": 0, "end_code_i": 0, "desc_addr_i": 0, "desc_count_i": 0}
IDLE |= {"counters_i": 0}

CHAIN_LIMIT = 1048576
#: Constants of the wrapper's parameters and of the module's defaults.
CONSTANT = {
    Reg.ID: DEVICE_ID,
    Reg.VERSION: DEVICE_VERSION,
    Reg.CAPACITY_LO: 0x00001000,
    Reg.CAPACITY_HI: 3,
    Reg.STYLE: 0x101,
    Reg.BANKS: 4 << 16 | 16,
    Reg.ROW_BYTES: 8192,
    Reg.ATOM_BYTES: 64,
    Reg.BEAT_BYTES: 64,
    Reg.LANES: 32,
    Reg.ACC_GROUPS: 16,
    Reg.SCALAR_DEPTH: 4096,
    Reg.CK_RATIO: 4,
    Reg.TCK_FS: 833333,
    Reg.LANE_LATENCY: 4,
    Reg.ROWS_PER_BEAT: 1,
    Reg.TRANSPOSE_WAYS: 1,
}
PLAIN = (Reg.LIST_LO, Reg.LIST_HI, Reg.HOST_BASE_LO, Reg.HOST_BASE_HI, Reg.HOST_SIZE_LO)
PLAIN += (Reg.HOST_SIZE_HI, Reg.CHAIN_LIMIT)
LOWER = tuple(COUNTERS.values())
TIMEOUT = 4 * 2000  # ns, of one access


class TB:
    """The registers with a master that pauses at random and a device that is played."""

    def __init__(self, dut, idle=0.0):
        self.dut, self.rng, self.idle = dut, seeded(dut), idle
        self.doorbells = self.resets = 0

    async def begin(self):
        dut = self.dut
        await start(dut, **IDLE)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk_i)
        if self.idle:
            write, read = self.master.write_if, self.master.read_if
            for channel in (write.aw_channel, write.w_channel, write.b_channel,
                            read.ar_channel, read.r_channel):  # fmt: skip
                channel.set_pause_generator(self.pauses())
        cocotb.start_soon(self.watch())

    def pauses(self):
        while True:
            yield bool(self.rng.random() < self.idle)

    async def watch(self):
        """Count the pulses."""
        while True:
            await RisingEdge(self.dut.clk_i)
            self.doorbells += int(self.dut.doorbell_o.value)
            self.resets += int(self.dut.soft_reset_o.value)

    async def read(self, offset):
        answer = await with_timeout(self.master.read(offset, 4), TIMEOUT, "ns")
        assert answer.resp == 0
        return int.from_bytes(answer.data, "little")

    async def write(self, offset, value, length=4):
        data = int(value).to_bytes(length, "little")
        answer = await with_timeout(self.master.write(offset, data), TIMEOUT, "ns")
        assert answer.resp == 0

    async def end_list(self, code):
        """Play the end of a list."""
        self.dut.end_code_i.value = int(code)
        self.dut.ended_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.ended_i.value = self.dut.end_code_i.value = 0
        await RisingEdge(self.dut.clk_i)

    def word(self):
        return int(self.rng.integers(1 << 32))


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def every_word_of_the_map(dut, idle):
    """Constants read as they are; what is read-only or does not exist ignores writes."""
    tb = TB(dut, idle)
    await tb.begin()
    dut.desc_addr_i.value, dut.desc_count_i.value = 0x1122334455667788, 0x99AABBCC
    expected = dict.fromkeys(range(0, 0x1000, 4), 0) | CONSTANT
    expected |= {Reg.DESC_LO: 0x55667788, Reg.DESC_HI: 0x11223344, Reg.DESC_COUNT: 0x99AABBCC}
    expected[Reg.CHAIN_LIMIT] = CHAIN_LIMIT
    writable = {*PLAIN, Reg.CTRL, Reg.IRQ, Reg.DOORBELL}
    places = sorted({*(int(reg) for reg in Reg), *range(0, 0x180, 4), 0x200, 0x300, 0xFFC})
    for offset in places:
        if offset not in writable:
            await tb.write(offset, 0xFFFFFFFF)
    for offset in places:
        assert await tb.read(offset) == expected[offset], hex(offset)
    # Every bit of what only the device writes, in both values.
    dut.desc_addr_i.value = 0x1122334455667788 ^ (1 << 64) - 1
    dut.desc_count_i.value = 0x99AABBCC ^ 0xFFFFFFFF
    for reg in (Reg.DESC_LO, Reg.DESC_HI, Reg.DESC_COUNT):
        assert await tb.read(reg) == expected[reg] ^ 0xFFFFFFFF
    assert tb.doorbells == tb.resets == 0


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def strobes(dut, idle):
    """Writes of any bytes of a word change these alone, and come out on the ports."""
    tb = TB(dut, idle)
    await tb.begin()
    model = dict.fromkeys(PLAIN, 0) | {Reg.CHAIN_LIMIT: CHAIN_LIMIT}
    for _ in range(120):
        reg = PLAIN[int(tb.rng.integers(len(PLAIN)))]
        first = int(tb.rng.integers(4))
        length = int(tb.rng.integers(1, 5 - first))
        value = int(tb.rng.integers(1 << 8 * length))
        await tb.write(reg + first, value, length)
        mask = (1 << 8 * length) - 1 << 8 * first
        model[reg] = model[reg] & ~mask | value << 8 * first
        assert await tb.read(reg) == model[reg]
    for port, low, high in (
        (dut.list_o, Reg.LIST_LO, Reg.LIST_HI),
        (dut.window_base_o, Reg.HOST_BASE_LO, Reg.HOST_BASE_HI),
        (dut.window_size_o, Reg.HOST_SIZE_LO, Reg.HOST_SIZE_HI),
    ):
        assert int(port.value) == model[low] | model[high] << 32
    assert int(dut.chain_limit_o.value) == model[Reg.CHAIN_LIMIT]
    # Without the strobe of its byte a bit of CTRL, IRQ is not there.
    await tb.end_list(Code.DONE)
    await tb.write(Reg.CTRL, 2)
    await tb.write(Reg.CTRL + 1, 0xFF, 1)
    await tb.write(Reg.IRQ + 1, 0xFFFFFF, 3)
    assert await tb.read(Reg.CTRL) == 2
    assert await tb.read(Reg.IRQ) == 1
    assert tb.resets == 0


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def interrupt_and_status(dut, idle):
    tb = TB(dut, idle)
    await tb.begin()
    for enable in (0, 1):
        await tb.write(Reg.CTRL, enable << 1)
        assert await tb.read(Reg.CTRL) == enable << 1
        for code in Code:
            if code == Code.PENDING:
                continue
            await tb.write(Reg.DOORBELL, 1)
            assert await tb.read(Reg.STATUS) == 0
            dut.busy_i.value = 1
            assert await tb.read(Reg.STATUS) == 1
            await tb.end_list(code)
            dut.busy_i.value = 0
            assert int(dut.irq_o.value) == enable
            assert await tb.read(Reg.IRQ) == 1
            failed = code != Code.DONE
            assert await tb.read(Reg.STATUS) == (code << 8 | 2 if failed else 0)
            await tb.write(Reg.IRQ, 0xFFFFFFFE)
            assert await tb.read(Reg.IRQ) == 1
            await tb.write(Reg.IRQ, 1)
            assert await tb.read(Reg.IRQ) == 0
            assert not int(dut.irq_o.value)
    # The enable bit acts on an interrupt that is already pending.
    await tb.end_list(Code.DONE)
    await tb.write(Reg.CTRL, 0)
    assert not int(dut.irq_o.value)
    await tb.write(Reg.CTRL, 2)
    assert int(dut.irq_o.value)


@cocotb.test()
async def a_list_that_ends_while_the_interrupt_is_cleared_is_not_lost(dut):
    """An end before the write is cleared; one in its clock, or later, stays."""
    tb = TB(dut)
    await tb.begin()
    kept = {"before": set(), "same clock": set(), "after": set()}
    for delay in range(12):
        await tb.write(Reg.IRQ, 1)
        clear = tb.master.init_write(Reg.IRQ, (1).to_bytes(4, "little"))
        written = -1
        for clock in range(24):
            dut.ended_i.value = int(clock == delay)
            dut.end_code_i.value = int(Code.DONE)
            await RisingEdge(dut.clk_i)
            # The response is up one clock after the write.
            if int(dut.s_axil_bvalid.value) and int(dut.s_axil_bready.value):
                written = clock - 1
        await with_timeout(clear.wait(), TIMEOUT, "ns")
        when = "same clock" if delay == written else "before" if delay < written else "after"
        kept[when].add(await tb.read(Reg.IRQ))
    assert kept == {"before": {0}, "same clock": {1}, "after": {1}}


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def doorbells(dut, idle):
    """One pulse a write; while a list runs they are counted and dropped."""
    tb = TB(dut, idle)
    await tb.begin()
    rung = dropped = 0
    for _ in range(30):
        busy = int(tb.rng.integers(2))
        dut.busy_i.value = busy
        await tb.write(Reg.DOORBELL, tb.word())
        rung, dropped = rung + (not busy), dropped + busy
        await RisingEdge(dut.clk_i)
        assert tb.doorbells == rung
        assert await tb.read(Reg.DOORBELL_DROPPED) == dropped
        assert await tb.read(Reg.DOORBELL) == 0


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def soft_reset(dut, idle):
    """Everything is as after a reset but the interrupt enable, which the same write sets."""
    tb = TB(dut, idle)
    await tb.begin()
    for enable in (0, 1):
        for reg in PLAIN:
            await tb.write(reg, tb.word())
        dut.busy_i.value = 1
        await tb.write(Reg.DOORBELL, 1)
        await tb.end_list(Code.RANGE)
        before = tb.resets
        await tb.write(Reg.CTRL, 1 | enable << 1)
        dut.busy_i.value = 0
        await ClockCycles(dut.clk_i, 2)
        assert tb.resets == before + 1
        for reg in PLAIN:
            assert await tb.read(reg) == (CHAIN_LIMIT if reg == Reg.CHAIN_LIMIT else 0)
        for reg in (Reg.IRQ, Reg.STATUS, Reg.DOORBELL_DROPPED):
            assert await tb.read(reg) == 0
        assert await tb.read(Reg.CTRL) == enable << 1


@cocotb.test()
async def a_list_that_ends_during_a_soft_reset_leaves_nothing(dut):
    """The core runs until the clock after the pulse: an end in it belongs to the dropped list."""
    tb = TB(dut)
    await tb.begin()
    for late in (0, 1):
        reset = tb.master.init_write(Reg.CTRL, (1).to_bytes(4, "little"))
        await with_timeout(RisingEdge(dut.soft_reset_o), TIMEOUT, "ns")
        for _ in range(late):
            await RisingEdge(dut.clk_i)
        # `ended_i` is up in the clock of the pulse, or in the next one.
        await tb.end_list(Code.RANGE)
        await with_timeout(reset.wait(), TIMEOUT, "ns")
        assert await tb.read(Reg.IRQ) == 0, f"{late} clocks after the pulse"
        assert await tb.read(Reg.STATUS) == 0


@cocotb.test()
async def a_doorbell_right_behind_a_soft_reset_is_heard(dut):
    """Both writes are under way together; the core's busy falls two clocks after the pulse."""
    tb = TB(dut)
    await tb.begin()
    dut.busy_i.value = 1
    writes = [
        tb.master.init_write(reg, (1).to_bytes(4, "little")) for reg in (Reg.CTRL, Reg.DOORBELL)
    ]
    await with_timeout(RisingEdge(dut.soft_reset_o), TIMEOUT, "ns")
    await ClockCycles(dut.clk_i, 2)
    dut.busy_i.value = 0
    for write in writes:
        await with_timeout(write.wait(), TIMEOUT, "ns")
    await ClockCycles(dut.clk_i, 2)
    assert tb.doorbells == 1
    assert await tb.read(Reg.DOORBELL_DROPPED) == 0


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def reading_a_low_half_latches_the_high_half(dut, idle):
    tb = TB(dut, idle)
    await tb.begin()
    for _ in range(40):
        totals = tb.rng.integers(0, 1 << 63, len(LOWER), dtype=np.uint64) * np.uint64(2)
        dut.counters_i.value = int.from_bytes(totals.tobytes(), "little")
        which = int(tb.rng.integers(len(LOWER)))
        assert await tb.read(LOWER[which]) == int(totals[which]) & 0xFFFFFFFF
        dut.counters_i.value = int(tb.rng.integers(1 << 62))
        # Any counter's upper half reads as latched.
        assert await tb.read(LOWER[which] + 4) == int(totals[which]) >> 32


def test_pim_regs():
    run_bench("pim_regs_bench", SOURCES, bench=__file__)
