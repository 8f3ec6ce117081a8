"""A simulated device that simulates no descriptor list twice.

What a list costs depends on the list and the device alone, so a list that is known from an earlier
simulation is executed on the device's memory by the bit-exact model
(`pimloop.host.pim.device.execution`), and its cycles, counters and completion records come from the
cache (`pimloop.host.store.list_cache`). Registers look as after a simulation. A list is simulated
when anything about it is not sure: it ends with an error, writes into itself, meets injected memory
errors, or is being recorded as a waveform.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.chain import Step, Window, chain_key, is_done, read_chain
from pimloop.host.pim.device.execution import Execution
from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.pim.device.moved import moved_key
from pimloop.host.pim.device.usage import Usage, total_usage
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.store.list_cache import TOTALS, ListCache, ListCost
from pimloop.rtl.tables.isa import (
    CTRL_IRQ_ENABLE,
    CTRL_SOFT_RESET,
    DESCRIPTOR_BYTES,
    IRQ_ENDED,
    RESET,
    SETTINGS,
    STATUS_RUNNING,
    Reg,
)

_FIRST_COUNTER = int(Reg.CNT_CYCLES_LO)
_COUNTERS = range(_FIRST_COUNTER, _FIRST_COUNTER + 8 * TOTALS)

# Costs kept in memory: a model's lists are the same at every step, and each look into the database
# costs more than a short list's arithmetic.
_MOST_REMEMBERED = 16384


class SimulatedDevice(Device, Protocol):
    """What is needed of a simulator beyond a device: `pimloop.sim.device.process.SimDevice`."""

    @property
    def memory(self) -> NDArray[np.uint8]:
        """Device memory, (capacity,), shared with the simulator."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        ...

    @property
    def pid(self) -> int:
        """Process id of the simulator."""
        ...

    def kill(self) -> None:
        """End the simulator at once."""

    def open_trace(self, path: Path) -> None:
        """Start to write a waveform."""

    def close_trace(self) -> None:
        """Finish it."""

    def inject_memory_error(self, address: int | None) -> None:
        """Make a line of host memory answer with an error; None: no line."""

    def stats(self) -> Any:
        """Return how much was simulated, and how fast."""

    def script(self, steps: Sequence[tuple[str, int]]) -> list[int]:
        """Do several register accesses in one exchange; return the values read."""
        ...


@dataclass
class _Flight:
    """A list that the simulator works on."""

    key: bytes | None  # None: what it costs is not to be kept
    steps: tuple[Step, ...]
    started: float  # time.monotonic() at the doorbell


@dataclass
class _Known:
    """A list that was started and will be executed by the model."""

    steps: tuple[Step, ...]
    cost: ListCost
    seen_busy: bool = False


class CachedDevice:
    """A `Device` over a simulator and a cache of what lists cost.

    Parameters
    ----------
    inner
        The simulator; closed with this device.
    cache
        Costs known already; closed with this device. None: every list is simulated.
    identity
        Names the simulator: its build, parameters and host memory. Lists of one identity cost the
        same on every device of that identity.
    moved
        Lists that differ by a move of whole DRAM rows cost the same on that device.

    Attributes
    ----------
    last_list_simulated : bool
        Whether the list that ended last was simulated.
    """

    def __init__(
        self,
        inner: SimulatedDevice,
        cache: ListCache | None,
        identity: str,
        *,
        moved: bool = False,
    ) -> None:
        self.inner = inner
        self._moved = moved
        self.last_list_simulated = True
        if cache is not None and cache.distrusted(identity):
            cache.close()
            cache = None
        self._cache = cache
        self._identity = identity
        self.geometry: Geometry = read_geometry(inner)
        self._execution = Execution(self.geometry, inner.memory, inner.buffer, inner.buffer_address)
        self._usage = total_usage([])
        self._tracing = False
        self._memory_error = False
        self._wrong_values = False
        self._remembered: dict[bytes, ListCost] = {}
        self._forget()
        self._inner_irq = True  # of what ran on the simulator before

    def _forget(self) -> None:
        """Take the state of a device after reset."""
        self._settings = {register: RESET.get(register, 0) for register in SETTINGS}
        self._flight: _Flight | None = None
        self._known: _Known | None = None
        self._last: _Known | None = None  # the list that ended last, when the model executed it
        self._irq = False  # of a list that the model executed
        self._inner_irq = False  # the simulator's may be pending
        self._irq_enabled = False
        self._dropped = 0  # doorbells that met a list of the model
        self._totals = [0] * TOTALS  # counters as the host sees them
        self._inner_totals = [0] * TOTALS  # the simulator's when they were last read
        self._latched = 0  # upper half of the counter read last

    # ---- The Device interface.

    @property
    def buffer(self) -> NDArray[np.uint8]:
        """The memory shared with the host, (bytes,)."""
        return self.inner.buffer

    @property
    def buffer_address(self) -> int:
        """Its address as the device sees it."""
        return self.inner.buffer_address

    def read32(self, offset: int) -> int:
        """Return the register at `offset` (bytes); DeviceError as of the simulator."""
        self._settle()
        if offset in _COUNTERS:
            return self._read_counter(offset)
        if offset == Reg.STATUS:
            return self._read_status()
        value = self.inner.read32(offset)
        if offset == Reg.IRQ:
            return value | IRQ_ENDED.put(self._irq)
        if offset == Reg.DOORBELL_DROPPED:
            return value + self._dropped & 0xFFFFFFFF
        if self._last is not None:
            address = self._last.steps[-1].address
            if offset == Reg.DESC_LO:
                return address & 0xFFFFFFFF
            if offset == Reg.DESC_HI:
                return address >> 32
            if offset == Reg.DESC_COUNT:
                return len(self._last.steps)
        return value

    def write32(self, offset: int, value: int) -> None:
        """Write the register at `offset` (bytes); DeviceError as of the simulator."""
        self._settle()
        if offset == Reg.DOORBELL:
            self._ring(value)
            return
        # Where only the model's interrupt can be pending, the simulator has none to clear.
        if offset != Reg.IRQ or self._inner_irq:
            self.inner.write32(offset, value)
        if offset == Reg.CTRL:
            if value & CTRL_SOFT_RESET.mask:
                self._forget()
            self._irq_enabled = bool(value & CTRL_IRQ_ENABLE.mask)
        elif offset == Reg.IRQ and value & IRQ_ENDED.mask:
            self._irq = False
            self._inner_irq = self._flight is not None
        elif offset in SETTINGS:
            self._settings[Reg(offset)] = value & 0xFFFFFFFF

    def wait_irq(self, timeout: float) -> None:
        """Wait until the interrupt line is high; at once when it is.

        A list that is known is executed here. DeviceTimeoutError when the interrupt does not come
        within `timeout` seconds of wall time, DeviceError when the simulator died.
        """
        self._run_known()
        if self._irq and self._irq_enabled:
            return
        self.inner.wait_irq(timeout)
        self._settle()

    def reset(self) -> None:
        """Reset the device; its memory keeps its contents."""
        self.inner.reset()
        self._forget()

    def close(self) -> None:
        """End the simulator; does nothing the second time."""
        self.inner.close()
        if self._cache is not None and self._wrong_values:
            self._cache.distrust(self._identity)
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- What a simulated device can do besides.

    @property
    def knows_moved(self) -> bool:
        """Whether a list that differs from a known one by a move of whole rows is not simulated."""
        return self._moved and self._cache is not None and not self._tracing

    @property
    def usage(self) -> Usage:
        """What was simulated and what came from the cache, since the device was opened."""
        return self._usage.copy()

    @property
    def alive(self) -> bool:
        """Whether the device can still be used."""
        return self.inner.alive

    @property
    def pid(self) -> int:
        """Process id of the simulator."""
        return self.inner.pid

    def distrust(self) -> None:
        """Let no later device of this identity take lists from the cache: values were wrong.

        From any thread; it is noted when the device is closed.
        """
        self._wrong_values = True

    def kill(self) -> None:
        """End the simulator at once, from any thread."""
        self.inner.kill()

    def stats(self) -> Any:
        """Return how much was simulated, how fast: `pimloop.sim.device.process.SimStats`."""
        return self.inner.stats()

    def open_trace(self, path: Path) -> None:
        """Start to write a waveform; until it is closed every list is simulated."""
        self.inner.open_trace(path)
        self._tracing = True

    def close_trace(self) -> None:
        """Finish the waveform."""
        self.inner.close_trace()
        self._tracing = False

    def inject_memory_error(self, address: int | None) -> None:
        """Make a line of host memory answer with an error; lists are simulated until None."""
        self._run_known()
        self._settle()
        self.inner.inject_memory_error(address)
        self._memory_error = address is not None

    # ---- Starting a list.

    def _ring(self, value: int) -> None:
        if self._known is not None:
            self._dropped += 1
            return
        if self._flight is not None:
            # It may meet the end of the list and start another one.
            self._flight.key = None
            self.inner.write32(Reg.DOORBELL, value)
            return
        steps, key = self._name_list()
        if key is not None and not self._tracing:
            cost = self._cost(key)
            if cost is not None and len(cost.records) == sum(step.record for step in steps):
                self._known = _Known(steps, cost)
                return
        self._last = None
        self._inner_irq = True
        self._flight = _Flight(key, steps, time.monotonic())
        self.inner.write32(Reg.DOORBELL, value)

    def _cost(self, key: bytes) -> ListCost | None:
        """Return what a list costs, where it is known."""
        cost = self._remembered.get(key)
        if cost is None and self._cache is not None:
            cost = self._cache.get(key)
            if cost is not None:
                self._remember(key, cost)
        return cost

    def _remember(self, key: bytes, cost: ListCost) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = cost

    def _name_list(self) -> tuple[tuple[Step, ...], bytes | None]:
        """Return the list that a doorbell starts and its name, None when it is not to be kept."""
        if self._cache is None or self._memory_error:
            return (), None
        window = Window(
            self._setting(Reg.HOST_BASE_LO),
            self._setting(Reg.HOST_SIZE_LO),
            self._settings[Reg.CHAIN_LIMIT],
        )
        steps = read_chain(self.buffer, self.buffer_address, self._setting(Reg.LIST_LO), window)
        if steps is None:
            return (), None
        if self._moved:
            return steps, moved_key(self._identity, steps, window, self.geometry)
        return steps, chain_key(self._identity, steps, window)

    def _setting(self, low: Reg) -> int:
        return self._settings[low] | self._settings[Reg(low + 4)] << 32

    # ---- A list that the model executes.

    def _run_known(self) -> None:
        """Execute the list that was started and whose cost is known, if there is one."""
        if self._known is None:
            return
        known, self._known = self._known, None
        if not self.inner.alive:
            self.inner.read32(Reg.ID)  # raises what a doorbell would have raised
        records = iter(known.cost.records)
        for index, step in enumerate(known.steps):
            self._execution.execute(step.fields())
            if step.record:
                self._execution.host_write(step.address + DESCRIPTOR_BYTES, next(records))
            self._execution.set_status(step.address, step.status(index))
        self._add(known.cost.totals)
        self._last = known
        self._irq = True
        self.last_list_simulated = False
        self._usage["lists_cached"] += 1
        self._usage["cycles_cached"] += known.cost.totals[0]

    # ---- A list that the simulator executes.

    def _settle(self) -> None:
        """Take in what the simulator did, when a list in it has ended."""
        if self._flight is None or self.inner.read32(Reg.STATUS) & STATUS_RUNNING.mask:
            return
        flight, self._flight = self._flight, None
        seconds = time.monotonic() - flight.started
        now = self._read_inner_totals()
        spent = tuple(
            new - old & (1 << 64) - 1 for new, old in zip(now, self._inner_totals, strict=True)
        )
        self._inner_totals = now
        self._add(spent)
        self.last_list_simulated = True
        self._usage["lists_simulated"] += 1
        self._usage["cycles_simulated"] += spent[0]
        self._usage["wall_s_simulating"] += seconds
        self._keep(flight, spent)

    def _keep(self, flight: _Flight, spent: tuple[int, ...]) -> None:
        """Put the cost of a list into the cache, when it ended without an error."""
        if self._cache is None or flight.key is None or self._memory_error:
            return
        if not is_done(self.buffer, self.buffer_address, flight.steps):
            return
        offsets = (
            step.address + DESCRIPTOR_BYTES - self.buffer_address
            for step in flight.steps
            if step.record
        )
        records = tuple(
            self.buffer[offset : offset + DESCRIPTOR_BYTES].tobytes() for offset in offsets
        )
        cost = ListCost(spent, records)
        self._remember(flight.key, cost)
        self._cache.put(flight.key, cost)

    # ---- Registers that both have a part in.

    def _read_status(self) -> int:
        if self._known is not None:
            # The host polls: it sees the list running once, then finished.
            if not self._known.seen_busy:
                self._known.seen_busy = True
                return STATUS_RUNNING.mask
            self._run_known()
        return 0 if self._last is not None else self.inner.read32(Reg.STATUS)

    def _read_counter(self, offset: int) -> int:
        """Return half of a counter; the lower half latches the upper one of all, as in the RTL."""
        index, upper = divmod(offset - _FIRST_COUNTER, 8)
        if upper < 4:
            total = self._totals[index]
            if self._flight is not None:
                total += self._read_inner_total(index) - self._inner_totals[index]
            self._latched = total >> 32 & 0xFFFFFFFF
            return total & 0xFFFFFFFF
        return self._latched

    def _read_inner_totals(self) -> list[int]:
        # Reading a lower half latches the upper one, so their order matters.
        halves = self.inner.script([("read", offset) for offset in _COUNTERS[::4]])
        return [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]

    def _read_inner_total(self, index: int) -> int:
        low = _FIRST_COUNTER + 8 * index
        return self.inner.read32(low) | self.inner.read32(low + 4) << 32

    def _add(self, totals: Sequence[int]) -> None:
        self._totals = [
            old + new & (1 << 64) - 1 for old, new in zip(self._totals, totals, strict=True)
        ]
