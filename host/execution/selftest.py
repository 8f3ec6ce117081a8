"""Is this device what its platform says, and does it work? What bring-up asks first.

Each check is a function of this file; together they reach registers, both memories, every opcode,
errors, interrupt and reset. They run in the order in which a fault of one explains those after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.execution.kernels import KernelResult, run_elementwise, run_gemm
from pimloop.host.operators.registry import elementwise
from pimloop.host.pim.device.base import Device, DeviceTimeoutError
from pimloop.host.pim.device.geometry import differences, interface_version, read_geometry
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import DescriptorList
from pimloop.host.pim.driver.errors import DescriptorError
from pimloop.host.pim.driver.queue import CommandQueue
from pimloop.host.platforms.geometry import memory_size
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.quantity import quantity
from pimloop.rtl.tables.isa import (
    COPY_OPCODES,
    CTRL_SOFT_RESET,
    IRQ_ENDED,
    LIST_OPCODES,
    PRODUCT_OPCODES,
    RESET,
    SETTINGS,
    Code,
    Opcode,
    Reg,
)

#: Bytes of one access of the device to host memory: what a line of its bus carries.
LINE_BYTES = 64

#: Bound of a wait for an interrupt that must not come, seconds.
_NEVER_SECONDS = 0.2

_GUARD = 0xA5
_SEED = 20


@dataclass(frozen=True)
class Check:
    """What one check showed."""

    name: str
    passed: bool
    detail: str  # what was done, or what was wrong
    wall_s: float


@dataclass(frozen=True)
class Subject:
    """What is checked."""

    device: Device
    platform: Platform
    has_clock: bool  # its counters count
    timeout: float  # bound of every wait, seconds

    def queue(self) -> CommandQueue:
        """Return a command queue on the device, which is reset."""
        return CommandQueue(self.device, self.timeout)


class WrongError(PimloopError):
    """The device answered, and not as it must."""


def run_selftest(
    subject: Subject, progress: Callable[[str], None] = lambda name: None
) -> Iterator[Check]:
    """Check a device; yield the result of each check as soon as it is there.

    A check that fails does not keep the next from being done. `progress` gets the name of each
    before it begins: a board that hangs does so in the one named last.
    """
    for name, check in _checks():
        progress(name)
        started = time.perf_counter()
        try:
            detail, passed = check(subject), True
        except PimloopError as error:
            detail, passed = str(error), False
        yield Check(name, passed, detail, time.perf_counter() - started)


def _checks() -> Iterator[tuple[str, Callable[[Subject], str]]]:
    yield "identity", _identity
    yield "geometry", _geometry
    yield "registers", _registers
    yield "interrupt", _interrupt
    yield "timeout", _timeout
    yield "data lines", _data_lines
    yield "device addresses", _device_addresses
    yield "host addresses", _host_addresses
    for opcode in Opcode:
        yield f"opcode {opcode.name}", partial(_opcode, opcode)
    yield "refused descriptor", _refused
    yield "counters", _counters
    yield "soft reset", _soft_reset


# ---- Registers.


def _identity(subject: Subject) -> str:
    read_geometry(subject.device)
    version = interface_version(subject.device.read32(Reg.VERSION))
    return f"a PIM device, interface {version}"


def _geometry(subject: Subject) -> str:
    geometry = read_geometry(subject.device)
    different = differences(geometry, subject.platform.geometry())
    if different:
        raise WrongError(
            f"not platform {subject.platform.name}: {', '.join(different)}; choose the platform"
            " that the device was built for"
        )
    return (
        f"{quantity(geometry.banks, 'bank')}, {quantity(geometry.lanes, 'lane')},"
        f" {memory_size(geometry.capacity)}, as the platform says"
    )


def _registers(subject: Subject) -> str:
    """Walk ones and zeros through every register that keeps what is written."""
    device = subject.device
    device.reset()
    for register in SETTINGS:
        for bit in range(32):
            for value in (1 << bit, ~(1 << bit) & 0xFFFFFFFF):
                device.write32(register, value)
                _same(register.name, device.read32(register), value)
    for register in SETTINGS:
        device.write32(register, 0x01010101 * register)
    for register in SETTINGS:
        _same(register.name, device.read32(register), 0x01010101 * register & 0xFFFFFFFF)
    for register in (Reg.ID, Reg.BEAT_BYTES):
        before = device.read32(register)
        device.write32(register, ~before & 0xFFFFFFFF)
        _same(f"read-only {register.name}", device.read32(register), before)
    _is_reset(device)
    return f"walking ones and zeros in {quantity(len(SETTINGS), 'register')}, reset values"


def _is_reset(device: Device) -> None:
    device.reset()
    for register in SETTINGS:
        _same(f"{register.name} after reset", device.read32(register), RESET.get(register, 0))


def _same(register: str, value: int, expected: int) -> None:
    if value != expected:
        raise WrongError(f"{register} reads 0x{value:08X} instead of 0x{expected:08X}")


# ---- Lists and the interrupt.


def _ring(subject: Subject) -> None:
    """Reset the device and start a list of a FENCE, without waiting for it."""
    subject.queue()  # reset, host window, interrupt enabled, address of the list
    work = DescriptorList(subject.device.buffer[:1024], subject.device.buffer_address)
    work.add(descriptors.fence(), "FENCE")
    work.finish()
    subject.device.write32(Reg.DOORBELL, 1)


def _interrupt(subject: Subject) -> str:
    device = subject.device
    _ring(subject)
    device.wait_irq(subject.timeout)
    _same("IRQ after a list", device.read32(Reg.IRQ), IRQ_ENDED.mask)
    device.wait_irq(subject.timeout)  # the line is still high
    device.write32(Reg.IRQ, IRQ_ENDED.mask)
    _same("IRQ after it was cleared", device.read32(Reg.IRQ), 0)
    return "raised by a list, kept until it is cleared"


def _timeout(subject: Subject) -> str:
    _ring(subject)
    subject.device.wait_irq(subject.timeout)
    subject.device.write32(Reg.IRQ, IRQ_ENDED.mask)
    try:
        subject.device.wait_irq(_NEVER_SECONDS)
    except DeviceTimeoutError:
        return "a wait without a list ends with an error"
    raise WrongError("an interrupt came though no list was running")


# ---- Memories.


def _data_lines(subject: Subject) -> str:
    """Send a one, and a zero, through every line of the bus to the device's memory and back."""
    bits = np.eye(LINE_BYTES * 8, dtype=np.uint8)
    lines = np.packbits(np.concatenate([bits, 1 - bits]), axis=1, bitorder="little")
    _round_trip(subject, lines.reshape(-1), 0)
    return f"walking ones and zeros, {quantity(lines.size, 'byte')} in and out"


def _round_trip(subject: Subject, data: NDArray[np.uint8], address: int) -> None:
    """Copy data to device memory and back, by as much as the buffer holds."""
    queue = subject.queue()
    step = min(queue.staging_bytes // 2, data.size) // LINE_BYTES * LINE_BYTES
    for start in range(0, data.size, step):
        piece = data[start : start + step]
        source, host = queue.stage(piece.size)
        target, back = queue.stage(piece.size)
        source[:] = piece
        target[:] = _GUARD
        queue.add(_copy_in(host, address + start, piece.size), "COPY_IN")
        queue.add(_copy_out(back, address + start, piece.size), "COPY_OUT")
        queue.run()
        _equal(target, piece, f"device memory at 0x{address + start:X}")


def _copy_in(host: int, address: int, size: int) -> descriptors.Descriptor:
    return descriptors.copy_in(
        host, address, rows=1, row_bytes=size, host_stride=0, device_stride=0
    )


def _copy_out(host: int, address: int, size: int) -> descriptors.Descriptor:
    return descriptors.copy_out(
        host, address, rows=1, row_bytes=size, host_stride=0, device_stride=0
    )


def _equal(received: NDArray[np.uint8], expected: NDArray[np.uint8], buffer: str) -> None:
    wrong = np.flatnonzero(received != expected)
    if wrong.size:
        first = int(wrong[0])
        raise WrongError(
            f"{buffer}: {quantity(wrong.size, 'byte')} of {expected.size} wrong, the first at"
            f" offset {first}: 0x{int(received[first]):02X} instead of 0x{int(expected[first]):02X}"
        )


def _powers(size: int) -> list[int]:
    """Return the offsets of lines that differ in one address bit, and of the last line.

    >>> _powers(512)
    [0, 64, 128, 256, 448]
    """
    powers = [1 << bit for bit in range(LINE_BYTES.bit_length() - 1, (size - 1).bit_length())]
    return sorted({0, *powers, size - LINE_BYTES})


def _named_line(address: int) -> NDArray[np.uint8]:
    """Return a line that says its address in every word of 64 bits."""
    return np.full(LINE_BYTES // 8, address, np.uint64).view(np.uint8)


def _device_addresses(subject: Subject) -> str:
    """Write a line behind every address bit of device memory, then read all of them."""
    queue = subject.queue()
    addresses = _powers(subject.platform.geometry().capacity)
    for address in addresses:
        view, host = queue.stage(LINE_BYTES)
        view[:] = _named_line(address)
        queue.add(_copy_in(host, address, LINE_BYTES), "COPY_IN")
    queue.run()
    for address in addresses:
        view, host = queue.stage(LINE_BYTES)
        view[:] = _GUARD
        queue.add(_copy_out(host, address, LINE_BYTES), "COPY_OUT")
        queue.run()
        _equal(view, _named_line(address), f"device memory at 0x{address:X}")
    return f"{quantity(len(addresses), 'line')}, one behind every address bit"


def _host_addresses(subject: Subject) -> str:
    """Let the device read and write lines behind every address bit of the shared buffer."""
    buffer, base = subject.device.buffer, subject.device.buffer_address
    queue = subject.queue()
    # The upper half: descriptors lie at the start of the lower one.
    half = buffer.size // 2 // LINE_BYTES * LINE_BYTES
    offsets = [half + offset for offset in _powers(buffer.size // LINE_BYTES * LINE_BYTES - half)]
    for number, offset in enumerate(offsets):
        buffer[offset : offset + LINE_BYTES] = _named_line(base + offset)
        queue.add(_copy_in(base + offset, number * LINE_BYTES, LINE_BYTES), "COPY_IN")
    queue.run()
    for number, offset in enumerate(offsets):
        buffer[offset : offset + LINE_BYTES] = _GUARD
        queue.add(_copy_out(base + offset, number * LINE_BYTES, LINE_BYTES), "COPY_OUT")
    queue.run()
    for offset in offsets:
        line = buffer[offset : offset + LINE_BYTES]
        _equal(line, _named_line(base + offset), f"host memory at 0x{base + offset:X}")
    return f"{quantity(len(offsets), 'line')} of the buffer at 0x{base:X}"


# ---- Opcodes.


def _opcode(opcode: Opcode, subject: Subject) -> str:
    """Run one opcode; compare what it does with the golden model, or with the data itself."""
    if opcode in COPY_OPCODES:
        return _rows(subject)
    if opcode in LIST_OPCODES:
        return _list_of(subject, opcode)
    device, platform, timeout = subject.device, subject.platform, subject.timeout
    if opcode in PRODUCT_OPCODES:
        transposed = opcode == Opcode.MATMUL_T
        return _bits(
            run_gemm(
                device, platform, (3, 70, 45), transposed=transposed, bias=True, seed=_SEED,
                timeout=timeout,
            )
        )  # fmt: skip
    name = next(name for name, kind in elementwise().items() if kind.opcode == opcode)
    return _bits(run_elementwise(device, platform, name, (9, 100), seed=_SEED, timeout=timeout))


def _bits(result: KernelResult) -> str:
    if result.mismatch is not None:
        raise WrongError(str(result.mismatch))
    shape = " x ".join(map(str, result.shape))
    return f"{shape}: every bit as the golden model says"


def _rows(subject: Subject) -> str:
    """Copy rows with gaps in and out; bytes between the rows must stay."""
    queue = subject.queue()
    rows, width, stride = 5, 3 * LINE_BYTES, 4 * LINE_BYTES
    data = np.random.default_rng(_SEED).integers(0, 256, (rows, stride), np.uint8)
    source, host = queue.stage(data.size)
    target, back = queue.stage(data.size)
    source[:] = data.reshape(-1)
    target[:] = _GUARD
    shape = {"rows": rows, "row_bytes": width}
    queue.add(
        descriptors.copy_in(host, 0, **shape, host_stride=stride, device_stride=2 * stride),
        "COPY_IN",
    )
    queue.add(
        descriptors.copy_out(back, 0, **shape, host_stride=stride, device_stride=2 * stride),
        "COPY_OUT",
    )
    queue.run()
    expected = np.full((rows, stride), _GUARD, np.uint8)
    expected[:, :width] = data[:, :width]
    _equal(target, expected.reshape(-1), "rows copied in and out")
    return f"{rows} rows of {width} bytes with gaps, bytes between them kept"


def _list_of(subject: Subject, opcode: Opcode) -> str:
    queue = subject.queue()
    fences = 4 if opcode == Opcode.FENCE else 0
    for _ in range(fences):
        queue.add(descriptors.fence(), "FENCE")
    if fences:
        queue.run()
    else:
        _ring(subject)
        subject.device.wait_irq(subject.timeout)
        fences = 1
    _same("DESC_COUNT", subject.device.read32(Reg.DESC_COUNT), fences + 1)
    return f"a list of {quantity(fences, 'FENCE')} and END"


def _refused(subject: Subject) -> str:
    queue = subject.queue()
    item = descriptors.fence()
    item["control"] = 0xFF
    queue.add(item, "opcode 0xFF")
    try:
        queue.run()
    except DescriptorError as refusal:
        if refusal.code != Code.OPCODE:
            raise WrongError(f"opcode 0xFF is refused with {refusal.code.name}") from refusal
    else:
        raise WrongError("opcode 0xFF is executed")
    queue.add(descriptors.fence(), "FENCE")
    queue.run()
    return "opcode 0xFF refused with OPCODE, the next list runs"


def _counters(subject: Subject) -> str:
    queue = subject.queue()
    view, host = queue.stage(LINE_BYTES)
    view[:] = 0
    queue.add(_copy_in(host, 0, LINE_BYTES), "COPY_IN")
    queue.run()
    stats = queue.collect()
    if not subject.has_clock:
        return "none: the functional model has no clock"
    if not (stats.cycles and stats.counters["wr"]):
        raise WrongError(f"{stats.cycles} clocks, {stats.counters['wr']} writes counted for a copy")
    return f"a copy of {LINE_BYTES} bytes took {quantity(stats.cycles, 'DRAM clock')}"


def _soft_reset(subject: Subject) -> str:
    """Reset an idle device; on a bus that is not reset with it, a running one would lose bursts."""
    device = subject.device
    queue = subject.queue()
    view, host = queue.stage(LINE_BYTES)
    view[:] = _named_line(_SEED)
    queue.add(_copy_in(host, 0, LINE_BYTES), "COPY_IN")
    queue.run()
    device.write32(Reg.CTRL, CTRL_SOFT_RESET.mask)
    _same("STATUS after reset", device.read32(Reg.STATUS), 0)
    _is_reset(device)
    queue = subject.queue()
    view, host = queue.stage(LINE_BYTES)
    queue.add(_copy_out(host, 0, LINE_BYTES), "COPY_OUT")
    queue.run()
    _equal(view, _named_line(_SEED), "device memory after a soft reset")
    return "registers at their reset values, device memory kept"
