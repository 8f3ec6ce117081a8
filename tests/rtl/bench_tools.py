"""What several benches of this folder share: clock and reset, bounded waits, packed structs.

A bench samples at the rising edge (values from before it) and drives right after it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.handle import Immediate
from cocotb.triggers import ClockCycles, RisingEdge, Timer

from pimloop.rtl.tables.isa import CONTROL_FIELDS, DESCRIPTOR

#: Chance of an idle clock, by the name the tests are parametrized with.
CHANCES = (0.0, 0.3, 0.8)


class Kind(IntEnum):
    """pim_pkg::kind_e."""

    COPY_OUT = 0
    SCALAR = 1
    LOAD = 2
    LOAD_F32 = 3
    MAC = 4
    EW = 5
    BLOCK = 6
    COPY_IN = 7
    BF16 = 8
    F32 = 9
    SCALE = 10

    @property
    def writes(self) -> bool:
        return Kind.COPY_IN <= self <= Kind.F32


class Packed:
    """A packed struct: names and widths from the highest bits down, as in SystemVerilog."""

    def __init__(self, **widths: int) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        self.bits = sum(widths.values())
        low = self.bits
        for name, width in widths.items():
            low -= width
            self.places[name] = (low, (1 << width) - 1)

    def pack(self, values: Mapping[str, int]) -> int:
        """Return the bits of `values`; a field that is absent is 0."""
        word = 0
        for name, value in values.items():
            low, mask = self.places[name]
            assert value == value & mask, f"{name} = {value} does not fit"
            word |= value << low
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """Return the fields of `word`."""
        return {name: word >> low & mask for name, (low, mask) in self.places.items()}


STREAM = Packed(addr=32, count=32, kind=4, all=1, hold=1, period=7, row=3, more=1)
SPAN = Packed(addr=32, count=32, kind=4, all=1, hold=1, period=7, row=3, more=1, last=1)
ACCESS = Packed(valid=1, addr=32, kind=4, all=1, step_end=1, last=1, row=3)
JOB = Packed(addr=64, rows=32, bytes=32, stride=32)


def seeded(dut: Any) -> np.random.Generator:
    """Return the generator of a test and log the seed that repeats it."""
    dut._log.info("COCOTB_RANDOM_SEED=%s", os.environ["COCOTB_RANDOM_SEED"])
    return np.random.default_rng(random.getrandbits(64))


async def start(dut: Any, **inputs: int) -> None:
    """Give every input its idle value, start the clock and go through a reset if there is one."""
    # Inputs begin with random values, a clock that begins high is an edge of the first evaluation:
    # they take their values before it, not in it.
    dut.clk_i.value = Immediate(0)
    for name, value in inputs.items():
        getattr(dut, name).value = Immediate(value)
    reset = getattr(dut, "rst_ni", None)
    if reset is not None:
        reset.value = Immediate(0)
    await Timer(1, unit="ns")
    Clock(dut.clk_i, 4, unit="ns").start()
    await ClockCycles(dut.clk_i, 3)
    if reset is not None:
        reset.value = 1
    await RisingEdge(dut.clk_i)


async def until(dut: Any, condition: Callable[[], bool], event: str, bound: int = 10000) -> int:
    """Wait for `condition` at a rising edge; return the clocks it took.

    Raises
    ------
    AssertionError
        It does not come true within `bound` clocks.
    """
    for clocks in range(bound):
        await RisingEdge(dut.clk_i)
        if condition():
            return clocks + 1
    raise AssertionError(f"no {event} within {bound} clocks")


def cut(stream: dict[str, int], page_bytes: int, step: int) -> Iterator[dict[str, int]]:
    """Yield the spans of a stream: the specification of pim_spans.

    `step` is the bytes of one access.
    """
    address, left, hold = stream["addr"], stream["count"], stream["hold"]
    while left:
        count = min(left, (page_bytes - address % page_bytes) // step)
        left -= count
        last = int(left == 0 and not stream.get("more"))
        yield stream | {"addr": address, "count": count, "hold": hold, "last": last}
        address, hold = address + count * step, 0


def descriptor(opcode: int, **words: int) -> int:
    """Return the 512 bits of a descriptor.

    `words` are words of the descriptor, fields of its control word, `host` and `next` (64 bits).
    """
    for name in ("host", "next"):
        if name in words:
            whole = words.pop(name)
            words |= {f"{name}_lo": whole & 0xFFFFFFFF, f"{name}_hi": whole >> 32}
    control = opcode | words.pop("reserved", 0) << 14
    for name, (low, _) in CONTROL_FIELDS.items():
        control |= words.pop(name, 0) << low
    record = np.zeros((), DESCRIPTOR)
    for name, value in (words | {"control": control}).items():
        record[name] = value
    return int.from_bytes(record.tobytes(), "little")


async def pipe(
    dut: Any,
    words: Sequence[int],
    count: int,
    ports: tuple[str, str],
    rng: np.random.Generator,
    idle: float,
    stall: float,
) -> list[int]:
    """Push `words` through a valid/ready block and return the `count` words that come out.

    `ports` are the names of data input and output; `idle` and `stall` the chances of a clock
    without an offer and without readiness. What is offered must be held until it is taken.
    """
    sent, offered, held = 0, False, None
    result: list[int] = []
    for _ in range(200 + 40 * (len(words) + count)):
        if not offered and sent < len(words) and rng.random() >= idle:
            getattr(dut, ports[0]).value = words[sent]
            offered = True
        ready = rng.random() >= stall
        dut.valid_i.value = int(offered)
        dut.ready_i.value = int(ready)
        await RisingEdge(dut.clk_i)
        if offered and int(dut.ready_o.value):
            sent, offered = sent + 1, False
        if int(dut.valid_o.value):
            word = int(getattr(dut, ports[1]).value)
            assert held in (None, word), "an offer changed before it was taken"
            held = None if ready else word
            if ready:
                result.append(word)
        else:
            assert held is None, "an offer was taken back"
        if sent == len(words) and len(result) == count:
            dut.valid_i.value = dut.ready_i.value = 0
            return result
    raise AssertionError(f"{sent} of {len(words)} words went in, {len(result)} of {count} came out")
