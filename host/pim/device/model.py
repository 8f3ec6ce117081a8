"""The device as a plain functional model: same registers, descriptors, codes and bits, no timing.

It is the specification the simulated device is compared with. What it does not have is time:
every counter and every count in a completion record is 0, and a list runs at the moment the host
waits for it (`wait_irq`, or the second STATUS read after the doorbell), so that a list can be seen
running and a doorbell can be dropped.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pimloop.host.pim.device.base import DeviceError, DeviceTimeoutError
from pimloop.host.pim.device.execution import Execution, RefusedError, status_word
from pimloop.host.pim.device.validate import Fields, validate
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import (
    CTRL_IRQ_ENABLE,
    CTRL_SOFT_RESET,
    DESCRIPTOR_BYTES,
    IRQ_ENDED,
    RECORD,
    RESET,
    SETTINGS,
    STATUS_CODE,
    STATUS_FAILED,
    STATUS_RUNNING,
    Code,
    Opcode,
    Reg,
)

logger = logging.getLogger(__name__)

#: Where the shared buffer lies in the model's host address space.
BUFFER_ADDRESS = 0x1_4000_0000
#: Bytes of the shared buffer unless told otherwise.
DEFAULT_BUFFER_BYTES = 64 << 20


class ModelDevice:
    """A `pimloop.host.pim.device.base.Device` in numpy.

    Parameters
    ----------
    geometry
        Sizes and limits to report and to obey.
    buffer_bytes
        Size of the shared buffer (a multiple of 64).
    buffer_address
        Its address as the device sees it (a multiple of 64).
    """

    def __init__(
        self,
        geometry: Geometry,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        buffer_address: int = BUFFER_ADDRESS,
    ) -> None:
        self.geometry = geometry
        self._buffer_address = buffer_address
        #: Device memory, (capacity,) bytes; pages cost only when touched.
        self.memory: NDArray[np.uint8] = np.zeros(geometry.capacity, np.uint8)
        self._buffer: NDArray[np.uint8] = np.zeros(buffer_bytes, np.uint8)
        self._execution = Execution(geometry, self.memory, self._buffer, buffer_address)
        self._closed = False
        self._pending = False
        self._seen_busy = False
        self._registers: dict[int, int] = {}
        self._reset_registers()

    @property
    def buffer(self) -> NDArray[np.uint8]:
        """The memory shared with the host, (bytes,)."""
        return self._buffer

    @property
    def buffer_address(self) -> int:
        """Its address as the device sees it."""
        return self._buffer_address

    def read32(self, offset: int) -> int:
        """Return a register; an offset without one reads 0."""
        self._require_open()
        value = self._registers.get(offset, 0)
        if offset == Reg.STATUS and self._pending:
            # The host polls: it sees the list running once, then finished.
            if self._seen_busy:
                self._run()
                value = self._registers[Reg.STATUS]
            self._seen_busy = True
        return value

    def write32(self, offset: int, value: int) -> None:
        """Write a register; a write to a read-only one is dropped."""
        self._require_open()
        value &= 0xFFFFFFFF
        if offset == Reg.CTRL:
            if value & CTRL_SOFT_RESET.mask:
                self._reset_registers()
            self._registers[Reg.CTRL] = value & CTRL_IRQ_ENABLE.mask
        elif offset == Reg.IRQ:
            self._registers[Reg.IRQ] &= ~value
        elif offset == Reg.DOORBELL:
            if self._pending:
                self._registers[Reg.DOORBELL_DROPPED] += 1
            else:
                self._pending, self._seen_busy = True, False
                self._registers[Reg.STATUS] = STATUS_RUNNING.mask
        elif offset in SETTINGS:
            self._registers[offset] = value

    def wait_irq(self, timeout: float) -> None:
        """Run the pending list; DeviceTimeoutError at once when no interrupt can come."""
        self._require_open()
        if self._pending:
            self._run()
        if not (self._registers[Reg.IRQ] and self._registers[Reg.CTRL] & CTRL_IRQ_ENABLE.mask):
            names = ("CTRL", "STATUS", "IRQ", "DESC_COUNT")
            dump = ", ".join(f"{name}=0x{self._registers[Reg[name]]:X}" for name in names)
            raise DeviceTimeoutError(
                f"no interrupt within {timeout:g} s: no list is running or the interrupt is not "
                f"enabled in CTRL ({dump})"
            )

    def reset(self) -> None:
        """Drop the pending list and set the registers to their reset values."""
        self.write32(Reg.CTRL, CTRL_SOFT_RESET.mask)

    def close(self) -> None:
        """Refuse every further access."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise DeviceError("the model device is closed: open a new one")

    def _reset_registers(self) -> None:
        self._pending = False
        self._seen_busy = False
        values = {**dict.fromkeys(Reg, 0), **RESET, **self.geometry.registers()}
        self._registers = {int(register): value for register, value in values.items()}

    def _wide(self, low: Reg, high: Reg) -> int:
        return self._registers[low] | self._registers[high] << 32

    def _run(self) -> None:
        """Execute the list and set STATUS and IRQ."""
        self._pending = False
        code = self._walk()
        failure = 0 if code is None else STATUS_FAILED.mask | STATUS_CODE.put(code)
        self._registers[Reg.STATUS] = failure
        self._registers[Reg.IRQ] = IRQ_ENDED.mask

    def _walk(self) -> Code | None:
        """Execute descriptors until END; return the code of an error."""
        start = self._wide(Reg.HOST_BASE_LO, Reg.HOST_BASE_HI)
        window = (start, start + self._wide(Reg.HOST_SIZE_LO, Reg.HOST_SIZE_HI))
        address = self._wide(Reg.LIST_LO, Reg.LIST_HI)
        self._registers[Reg.DESC_COUNT] = 0
        self._note_address(address)
        if address % DESCRIPTOR_BYTES:
            return Code.MISALIGNED
        if not (window[0] <= address and address + DESCRIPTOR_BYTES <= window[1]):
            return Code.HOST_RANGE
        index = 0
        while True:
            self._note_address(address)
            self._registers[Reg.DESC_COUNT] = index + 1
            try:
                d = self._fetch(address, index)
                refused = validate(d, address, self.geometry, window)
                if refused is not None:
                    raise RefusedError(refused)
                self._execution.execute(d)
                status = status_word(Code.DONE, index)
                if d.record:
                    record = np.zeros((), RECORD)
                    record["status"] = status
                    self._execution.host_write(address + DESCRIPTOR_BYTES, record.tobytes())
                self._execution.set_status(address, status)
            except RefusedError as refusal:
                logger.debug("descriptor %d at 0x%X: %s", index, address, refusal.code.name)
                self._execution.set_status(address, status_word(refusal.code, index))
                return refusal.code
            if d.opcode == Opcode.END:
                return None
            address = d.next
            index += 1

    def _note_address(self, address: int) -> None:
        self._registers[Reg.DESC_LO] = address & 0xFFFFFFFF
        self._registers[Reg.DESC_HI] = address >> 32

    def _fetch(self, address: int, index: int) -> Fields:
        d = Fields.parse(self._execution.host_read(address, DESCRIPTOR_BYTES))
        if index >= self._registers[Reg.CHAIN_LIMIT]:
            raise RefusedError(Code.CHAIN)
        if d.status != Code.PENDING:
            raise RefusedError(Code.LOOP)
        return d
