"""pim_list with its neighbours played in Python: chains, codes, records, bus errors, sleep."""

import cocotb
import numpy as np
from bench_tools import CHANCES, JOB, descriptor, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.rtl.tables.isa import COUNTERS, DESCRIPTOR_BYTES, RECORD, Code, Opcode
from pimloop.sim.bench.unit import rtl, run_bench

LINE = 64
BASE, SIZE = 0xFFFF_0000, 1 << 18  # of the window: crosses 4 GiB
COPIES = (Opcode.COPY_IN, Opcode.COPY_OUT)
NOTHING = (Opcode.FENCE, Opcode.END)
IDLE = dict.fromkeys(
    ("doorbell_i", "list_i", "window_base_i", "window_size_i", "chain_limit_i", "asleep_i",
     "rd_busy_i", "rd_error_i", "rd_valid_i", "rd_data_i", "wr_busy_i", "wr_error_i",
     "wr_ready_i", "check_done_i", "check_code_i", "copy_done_i", "copy_code_i", "seq_done_i",
     "count_i", "count_cycles_i"), 0,
)  # fmt: skip


class TB:
    """Host memory, DMA engines, checker, engines, counters and DRAM sleep, with random delays."""

    def __init__(self, dut, idle=0.0):
        self.dut, self.rng, self.idle = dut, seeded(dut), idle
        self.memory = {}  # 64-byte lines by address
        self.bad_reads, self.bad_writes = set(), set()
        self.codes = {}  # what the checker says, by the line's addr_a word; else DONE
        self.results = {}  # what an engine says, likewise
        self.log = []  # what happened: ("check" | "copy" | "seq", tag)
        self.captured = []  # counters of the records, cycles
        self.jobs = {}  # what is under way, by unit: clocks left and what follows
        self.asleep = True
        self.ends = []
        self.ready = 0  # wr_ready_i of this clock

    async def begin(self, limit=1000):
        await start(self.dut, **IDLE)
        self.dut.window_base_i.value, self.dut.window_size_i.value = BASE, SIZE
        self.dut.chain_limit_i.value = limit
        self.dut.asleep_i.value = 1

    def later(self):
        """Return a random number of clocks."""
        return 1 + int(self.rng.geometric(1 - self.idle)) if self.idle else 1

    def put(self, address, opcode, to=0, tag=0, **words):
        """Place a descriptor; `tag` tells it from others."""
        bits = descriptor(opcode, next=to, addr_a=tag, **words)
        self.memory[address] = bits.to_bytes(LINE, "little")

    def status(self, address):
        word = int.from_bytes(self.memory[address][60:], "little")
        return Code(word & 255), word >> 8

    def tick(self):
        """Return the inputs of the next clock, given the outputs of this one."""
        dut = self.dut
        drive = {"rd_valid_i": 0, "check_done_i": 0, "copy_done_i": 0, "seq_done_i": 0}
        drive["wr_ready_i"] = 0
        if int(dut.rd_start_o.value):
            self.jobs["rd"] = [self.later(), self.address()]
            drive["rd_busy_i"] = 1
        elif "rd" in self.jobs:
            self.read(drive)
        if int(dut.wr_start_o.value):
            strobe = int(dut.wr_strobe_o.value)
            self.jobs["wr"] = [self.later(), self.address(), strobe, None]
            drive["wr_busy_i"] = 1
        elif "wr" in self.jobs:
            self.write(drive)
        tag = int(dut.desc_o.value) >> 5 * 32 & 0xFFFFFFFF
        for unit in ("check", "copy", "seq"):
            if int(getattr(dut, f"{unit}_start_o").value):
                assert unit not in self.jobs
                self.jobs[unit] = [self.later()]
                self.log.append((unit, tag))
            elif unit in self.jobs:
                self.jobs[unit][0] -= 1
                if self.jobs[unit][0] <= 0:
                    del self.jobs[unit]
                    drive[f"{unit}_done_i"] = 1
                    answers = self.codes if unit == "check" else self.results
                    if unit != "seq":
                        drive[f"{unit}_code_i"] = int(answers.get(tag, Code.DONE))
        if int(dut.count_capture_o.value):
            counts = self.rng.integers(1 << 32, size=len(COUNTERS), dtype=np.uint32)
            cycles = int(self.rng.integers(1 << 64, dtype=np.uint64))
            self.captured.append((counts, cycles))
            drive["count_i"] = int.from_bytes(counts.tobytes(), "little")
            drive["count_cycles_i"] = cycles
        self.sleep(drive)
        self.ready = drive["wr_ready_i"]
        if int(dut.ended_o.value):
            self.ends.append(Code(int(dut.end_code_o.value)))
        return drive

    def address(self):
        job = JOB.unpack(int(self.dut.job_o.value))
        assert (job["rows"], job["bytes"]) == (1, LINE)
        return job["addr"]

    def read(self, drive):
        job = self.jobs["rd"]
        job[0] -= 1
        drive["rd_busy_i"] = 1
        if job[0] == 0:
            bad = job[1] in self.bad_reads
            drive["rd_error_i"] = 0
            if bad:
                self.jobs["rd"].append("bad")
            else:
                drive["rd_valid_i"] = 1
                drive["rd_data_i"] = int.from_bytes(self.memory[job[1]], "little")
        elif job[0] < 0:
            drive |= {"rd_busy_i": 0, "rd_error_i": int("bad" in job)}
            del self.jobs["rd"]

    def write(self, drive):
        dut, job = self.dut, self.jobs["wr"]
        drive |= {"wr_busy_i": 1, "wr_error_i": 0}
        if job[3] is None:
            if self.ready and int(dut.wr_valid_o.value):
                job[3] = int(dut.wr_data_o.value).to_bytes(LINE, "little")
            else:
                drive["wr_ready_i"] = int(self.rng.random() >= self.idle)
            return
        job[0] -= 1
        if job[0] <= 0:
            _, address, strobe, data = self.jobs.pop("wr")
            bad = address in self.bad_writes
            drive |= {"wr_busy_i": 0, "wr_error_i": int(bad)}
            if not bad:
                line = bytearray(self.memory.get(address, bytes(LINE)))
                for i in range(LINE):
                    if strobe >> i & 1:
                        line[i] = data[i]
                self.memory[address] = bytes(line)

    def sleep(self, drive):
        dut = self.dut
        if int(dut.wake_o.value):
            assert self.asleep, "wake-up of a device that is awake"
            self.asleep = False
        elif int(dut.sleep_o.value) and not self.asleep and self.rng.random() >= self.idle:
            self.asleep = True
        drive["asleep_i"] = int(self.asleep)

    async def run(self, address):
        """Ring the doorbell and go on until the list has ended; return its code."""
        dut = self.dut
        self.log.clear()
        self.captured.clear()
        self.ends.clear()
        dut.list_i.value = address
        dut.doorbell_i.value = 1
        for clock in range(20000):
            await RisingEdge(dut.clk_i)
            for name, value in self.tick().items():
                getattr(dut, name).value = value
            dut.doorbell_i.value = 0
            if clock and not int(dut.busy_o.value):
                break
        else:
            raise AssertionError("the list does not end")
        assert len(self.ends) == 1
        assert self.asleep
        assert not self.jobs
        return self.ends[0]

    def chain(self, count):
        """Place a list of random descriptors at random lines; return their addresses."""
        self.memory.clear()
        places = self.rng.choice(SIZE // LINE // 2 - 1, count, replace=False) * 2 * LINE + BASE
        addresses = [int(place) for place in places]
        opcodes = [op for op in Opcode if op != Opcode.END]
        for i, address in enumerate(addresses):
            last = i == count - 1
            opcode = Opcode.END if last else opcodes[int(self.rng.integers(len(opcodes)))]
            to = 0 if last else addresses[i + 1]
            self.put(address, opcode, to, tag=64 * (i + 1), record=int(self.rng.integers(2)))
        return addresses

    def control(self, address):
        word = int.from_bytes(self.memory[address][:4], "little")
        return Opcode(word & 255), word >> 13 & 1


def engine(opcode):
    return "copy" if opcode in COPIES else "seq"


@cocotb.test()
@cocotb.parametrize(idle=CHANCES)
async def lists(dut, idle):
    """Each descriptor is checked, executed, recorded, marked, strictly in order."""
    tb = TB(dut, idle)
    await tb.begin()
    for count in (1, 2, 5, 20):
        addresses = tb.chain(count)
        before = dict(tb.memory)
        controls = [tb.control(address) for address in addresses]
        assert await tb.run(addresses[0]) == Code.DONE
        wanted = []
        for i, (opcode, _) in enumerate(controls):
            wanted.append(("check", 64 * (i + 1)))
            if opcode not in NOTHING:
                wanted.append((engine(opcode), 64 * (i + 1)))
        assert tb.log == wanted
        assert int(dut.desc_count_o.value) == count
        assert int(dut.desc_addr_o.value) == addresses[-1]
        captured = iter(tb.captured)
        for i, (address, (_, record)) in enumerate(zip(addresses, controls, strict=True)):
            assert tb.status(address) == (Code.DONE, i)
            assert tb.memory[address][:60] == before[address][:60]
            if record:
                check_record(tb.memory[address + DESCRIPTOR_BYTES], i, *next(captured))
        assert len(tb.memory) == count + sum(record for _, record in controls)


def check_record(line, index, counts, cycles):
    record = np.frombuffer(line, RECORD)[0]
    assert record["status"] == Code.DONE | index << 8
    assert int(record["cycles_lo"]) | int(record["cycles_hi"]) << 32 == cycles
    names = ("act", "pre", "rd", "wr", "ref_count", "mac", "stall", *RECORD.names[10:-1])
    assert [int(record[name]) for name in names] == counts[1:].tolist()
    used = 4 * (3 + len(names))
    assert line[used:] == bytes(DESCRIPTOR_BYTES - used)


@cocotb.test()
@cocotb.parametrize(idle=(0.0, 0.5))
async def errors_end_the_list(dut, idle):
    """Whatever goes wrong at one descriptor: its code, no record, the rest untouched."""
    tb = TB(dut, idle)
    await tb.begin()
    for fault in ("read", "loop", "check", "engine", "status", "record"):
        for _ in range(3):
            addresses = tb.chain(6)
            at = int(tb.rng.integers(5))
            bad, tag = addresses[at], 64 * (at + 1)
            opcode = Opcode.COPY_IN if fault == "engine" else tb.control(bad)[0]
            tb.put(bad, opcode, addresses[at + 1], tag, record=1)
            tb.codes, tb.results, tb.bad_reads, tb.bad_writes = {}, {}, set(), set()
            expected = spoil(tb, fault, bad, tag)
            before = dict(tb.memory)
            assert await tb.run(addresses[0]) == expected
            assert int(dut.desc_count_o.value) == at + 1
            if fault != "status":
                assert tb.status(bad) == (expected, at)
            assert bad + LINE not in tb.memory or fault == "status", "a record in spite of an error"
            for i, address in enumerate(addresses):
                if i < at:
                    assert tb.status(address) == (Code.DONE, i)
                elif i > at:
                    assert tb.memory[address] == before[address]
                    assert ("check", 64 * (i + 1)) not in tb.log
            if fault in ("read", "loop"):
                assert ("check", tag) not in tb.log
            if fault == "check":
                assert tb.log[-1] == ("check", tag)


def spoil(tb, fault, address, tag):
    """Make one descriptor go wrong; return the code that the list must end with."""
    match fault:
        case "read":
            tb.bad_reads.add(address)
            return Code.AXI_READ
        case "loop":
            tb.memory[address] = tb.memory[address][:60] + b"\x01\x00\x00\x00"
            return Code.LOOP
        case "check":
            faults = (Code.OPCODE, Code.RESERVED, Code.SIZE, Code.RANGE, Code.OVERLAP)
            tb.codes[tag] = faults[int(tb.rng.integers(len(faults)))]
            return tb.codes[tag]
        case "engine":
            tb.results[tag] = (Code.AXI_READ, Code.AXI_WRITE)[int(tb.rng.integers(2))]
            return tb.results[tag]
        case "status":
            tb.bad_writes.add(address)
        case _:
            tb.bad_writes.add(address + LINE)
    return Code.AXI_WRITE


@cocotb.test()
async def loops_are_noticed(dut):
    """A chain that comes back to a descriptor stops there; a descriptor may not follow itself."""
    tb = TB(dut)
    await tb.begin()
    for length in (1, 2, 5):
        tb.memory.clear()
        addresses = [BASE + 256 * i for i in range(length)]
        for i, address in enumerate(addresses):
            tb.put(address, Opcode.FENCE, addresses[(i + 1) % length])
        assert await tb.run(addresses[0]) == Code.LOOP
        assert int(dut.desc_count_o.value) == length + 1
        assert tb.status(addresses[0]) == (Code.LOOP, length)


@cocotb.test()
@cocotb.parametrize(limit=(1, 3))
async def chains_have_a_limit(dut, limit):
    """The descriptor after the last allowed one gets CHAIN, also when it was used before."""
    tb = TB(dut)
    await tb.begin(limit)
    for used in (False, True):
        addresses = tb.chain(limit + 2)
        if used:
            line = tb.memory[addresses[limit]]
            tb.memory[addresses[limit]] = line[:60] + b"\x01\x00\x00\x00"
        assert await tb.run(addresses[0]) == Code.CHAIN
        assert tb.status(addresses[limit]) == (Code.CHAIN, limit)
        assert tb.status(addresses[limit + 1]) == (Code.PENDING, 0)
    assert await tb.run(tb.chain(limit)[0]) == Code.DONE


@cocotb.test()
async def first_address_is_checked(dut):
    """No descriptor, no status word: only the list's code, and nothing is read or written."""
    tb = TB(dut)
    await tb.begin()
    tb.memory.clear()
    for address, code in (
        (BASE + 4, Code.MISALIGNED),
        (BASE + 32, Code.MISALIGNED),
        (0xFFFF_FFFF_FFFF_FFE0, Code.MISALIGNED),
        (BASE - LINE, Code.HOST_RANGE),
        (0, Code.HOST_RANGE),
        (BASE + SIZE, Code.HOST_RANGE),
        (0xFFFF_FFFF_FFFF_FFC0, Code.HOST_RANGE),
    ):
        assert await tb.run(address) == code
        assert not tb.memory
        assert int(dut.desc_count_o.value) == 0
    for address in (BASE, BASE + SIZE - LINE):
        tb.put(address, Opcode.END)
        assert await tb.run(address) == Code.DONE


def test_pim_list():
    run_bench("pim_list", rtl("pim_list"), bench=__file__)
