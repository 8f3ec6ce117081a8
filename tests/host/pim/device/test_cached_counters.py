"""A cached device over a simulator whose counters the tests set: sums, halves, what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.raw import RawDevice
from support.small_devices import small_device

from pimloop.host.pim.device.base import DeviceTimeoutError
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import descriptors
from pimloop.host.store.list_cache import FILE_NAME, TOTALS, ListCache
from pimloop.rtl.tables.isa import Reg

FIRST = int(Reg.CNT_CYCLES_LO)
#: Of a list: each counter its own amount, some beyond 32 bits.
COST = [(3 << 32 | 0xFFFFFFF0) + i if i % 2 == 0 else 100 + i for i in range(TOTALS)]


class Scripted(ModelDevice):
    """A model as a simulator: counters are set from outside, a list runs until it is waited for."""

    alive, pid, memory_error = True, 0, None

    def __init__(self) -> None:
        super().__init__(small_device("per_bank").geometry, 1 << 16, 1 << 32)
        self.counters = [0] * TOTALS
        self.latched = 0
        self.running = False
        self.interrupts_cleared = 0

    def reset(self) -> None:
        super().reset()
        self.counters, self.running = [0] * TOTALS, False

    def read32(self, offset: int) -> int:
        index, byte = divmod(offset - FIRST, 8)
        if 0 <= index < TOTALS:
            if byte == 0:
                # The upper halves are those of the moment when a lower one was read.
                self.latched = self.counters[index] >> 32
                return self.counters[index] & 0xFFFFFFFF
            return self.latched
        if offset == Reg.STATUS and self.running:
            return 1
        return super().read32(offset)

    def write32(self, offset: int, value: int) -> None:
        self.running |= offset == Reg.DOORBELL
        self.interrupts_cleared += offset == Reg.IRQ
        super().write32(offset, value)

    def wait_irq(self, timeout: float) -> None:
        self.running = False
        super().wait_irq(timeout)

    def script(self, steps: Sequence[tuple[str, int]]) -> list[int]:
        return [self.read32(offset) for _, offset in steps]

    def open_trace(self, path: Path) -> None:
        pass

    def close_trace(self) -> None:
        pass

    def inject_memory_error(self, address: int | None) -> None:
        self.memory_error = address


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[RawDevice]:
    with CachedDevice(Scripted(), ListCache(tmp_path / FILE_NAME), "scripted") as device:  # type: ignore[arg-type]
        yield RawDevice(device)


def start(raw: RawDevice) -> Scripted:
    """Ring for the one list of these tests; return the simulator."""
    raw.buffer[:4096] = 0
    raw.chain([descriptors.fence(), descriptors.end()])
    raw.ring(raw.base)
    assert isinstance(raw.device, CachedDevice)
    assert isinstance(raw.device.inner, Scripted)
    return raw.device.inner


def end(raw: RawDevice) -> bool:
    """Wait for the list; return whether it was simulated."""
    assert isinstance(raw.device, CachedDevice)
    raw.finish()
    return raw.device.last_list_simulated


def counters(raw: RawDevice) -> list[int]:
    return [raw.read64(Reg(FIRST + 8 * index)) for index in range(TOTALS)]


def test_counters_add_up_over_simulated_and_known_lists(raw: RawDevice) -> None:
    assert counters(raw) == [0] * TOTALS
    simulator = start(raw)
    simulator.counters = [value // 2 for value in COST]
    assert counters(raw) == simulator.counters  # of a list that runs
    simulator.counters = list(COST)
    assert end(raw)
    assert counters(raw) == COST
    for number in (2, 3):
        start(raw)
        assert not end(raw)
        assert counters(raw) == [number * value for value in COST]
    assert simulator.counters == COST
    usage = raw.device.usage  # type: ignore[attr-defined]
    assert (usage["lists_simulated"], usage["cycles_simulated"]) == (1, COST[0])
    assert (usage["lists_cached"], usage["cycles_cached"]) == (2, 2 * COST[0])


def test_the_interrupt_of_a_known_list_is_no_matter_of_the_simulator(raw: RawDevice) -> None:
    """Exchanges with a simulator are what short lists of a long run would cost."""
    simulator = start(raw)
    assert end(raw)
    cleared = simulator.interrupts_cleared
    assert cleared  # its own list's
    for _ in range(3):
        start(raw)
        assert not end(raw)
        assert not raw.device.read32(Reg.IRQ)
    assert simulator.interrupts_cleared == cleared
    raw.device.inject_memory_error(0)  # type: ignore[attr-defined]
    start(raw)  # simulated again
    assert end(raw)
    assert simulator.interrupts_cleared == cleared + 1


def test_the_upper_half_is_that_of_the_moment_the_lower_one_was_read(raw: RawDevice) -> None:
    simulator = start(raw)
    simulator.counters = [1 << 32 | 5] * TOTALS
    assert raw.device.read32(Reg.CNT_CYCLES_LO) == 5
    simulator.counters = [2 << 32 | 6] * TOTALS
    assert raw.device.read32(Reg.CNT_CYCLES_HI) == 1
    assert raw.device.read32(Reg.CNT_CYCLES_LO) == 6
    assert raw.device.read32(Reg.CNT_CYCLES_HI) == 2


def test_counters_begin_anew_after_a_reset(raw: RawDevice) -> None:
    start(raw).counters = list(COST)
    end(raw)
    raw.prepare()
    assert counters(raw) == [0] * TOTALS
    start(raw)
    assert not end(raw)
    assert counters(raw) == COST


def test_a_known_list_raises_no_interrupt_that_is_not_enabled(raw: RawDevice) -> None:
    start(raw)
    assert end(raw)
    raw.device.write32(Reg.CTRL, 0)
    start(raw)
    with pytest.raises(DeviceTimeoutError):
        raw.device.wait_irq(0.01)
    assert raw.device.read32(Reg.IRQ) == 1
    raw.device.write32(Reg.CTRL, 0b10)
    raw.device.wait_irq(0.01)


def test_what_is_written_as_a_waveform_is_simulated(raw: RawDevice, tmp_path: Path) -> None:
    start(raw)
    assert end(raw)
    raw.device.open_trace(tmp_path / "waves")  # type: ignore[attr-defined]
    start(raw)
    assert end(raw)
    raw.device.close_trace()  # type: ignore[attr-defined]
    start(raw)
    assert not end(raw)


def test_a_list_that_memory_errors_met_is_not_kept(raw: RawDevice) -> None:
    start(raw)
    raw.device.inject_memory_error(raw.base)  # type: ignore[attr-defined]
    assert end(raw)
    raw.device.inject_memory_error(None)  # type: ignore[attr-defined]
    start(raw)
    assert end(raw)
    start(raw)
    assert not end(raw)


def test_the_limit_of_a_chain_is_the_devices_own_after_a_reset(raw: RawDevice) -> None:
    """What the cache believes without a look: a longer list must not be taken for a legal one."""
    limit = raw.device.read32(Reg.CHAIN_LIMIT)
    assert limit == raw.device._settings[Reg.CHAIN_LIMIT]  # type: ignore[attr-defined]
