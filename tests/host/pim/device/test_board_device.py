"""A board's device: waits, the end, and what goes wrong; registers are written down here.

What it computes is in the conformance tests, which run on it as on every backend.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pimloop.host.pim.device import board
from pimloop.host.pim.device.base import Device, DeviceError, DeviceTimeoutError
from pimloop.host.pim.device.board import BoardDevice
from pimloop.host.pim.device.pool import DevicePool
from pimloop.host.pim.device.uio import UioInterrupt
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import CTRL_IRQ_ENABLE, CTRL_SOFT_RESET, STATUS_RUNNING, Reg
from pimloop.sim.device.dump import DUMP

SOON = 5.0  # seconds in which something happens that takes milliseconds


class Desk:
    """A device whose registers the test writes, and the kernel's end of its interrupt."""

    def __init__(self) -> None:
        self.values: dict[int, int] = dict.fromkeys(Reg, 0)
        self.written: list[tuple[int, int]] = []
        self.released = 0
        ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.kernel.settimeout(SOON)
        self.interrupt = UioInterrupt(ours.detach())
        self.device = BoardDevice(
            self, self.interrupt, np.zeros(4096, np.uint8), 1 << 32, self._release
        )

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *error: object) -> None:
        self.device.close()
        self.kernel.close()

    def read(self, offset: int) -> int:
        return self.values[offset]

    def write(self, offset: int, value: int) -> None:
        self.written.append((offset, value))

    def _release(self) -> None:
        self.released += 1
        self.interrupt.close()

    def run(self) -> None:
        """Let a list run, its interrupt enabled."""
        self.values[Reg.CTRL] = CTRL_IRQ_ENABLE.mask
        self.values[Reg.STATUS] = STATUS_RUNNING.mask

    def end(self) -> None:
        """Let the list end."""
        self.values[Reg.IRQ] = 1
        self.values[Reg.STATUS] = 0

    def word(self) -> int:
        """Return the next word written to the UIO device: 1 unmasks, 0 masks."""
        return int.from_bytes(self.kernel.recv(4), "little")

    def tell(self) -> None:
        """Let the interrupt come."""
        self.kernel.send((7).to_bytes(4, "little"))


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as desk:
        yield desk


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Start `work`; return the thread and the list of what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, raised


def test_it_is_a_device(desk: Desk) -> None:
    assert isinstance(desk.device, Device)


def test_a_wait_unmasks_the_interrupt_and_masks_it_at_the_end(desk: Desk) -> None:
    desk.run()
    thread, raised = in_thread(lambda: desk.device.wait_irq(SOON))
    assert desk.word() == 1
    desk.end()
    desk.tell()
    thread.join(SOON)
    assert not thread.is_alive()
    assert not raised
    assert desk.word() == 0


def test_an_interrupt_of_an_earlier_list_ends_no_wait(desk: Desk) -> None:
    desk.run()
    desk.tell()
    thread, raised = in_thread(lambda: desk.device.wait_irq(SOON))
    assert [desk.word(), desk.word()] == [1, 1]  # unmasked again: the first was of no use
    assert thread.is_alive()
    desk.end()
    desk.tell()
    thread.join(SOON)
    assert not raised
    assert not thread.is_alive()


def test_a_list_that_does_not_end(desk: Desk) -> None:
    desk.run()
    desk.values[Reg.DESC_COUNT] = 3
    started = time.monotonic()
    with pytest.raises(DeviceTimeoutError, match=r"^no interrupt within 0\.3 s; ") as failure:
        desk.device.wait_irq(0.3)
    assert 0.3 <= time.monotonic() - started < SOON
    # The registers of the simulator's message, in its format.
    dump = str(failure.value).split("; ", 1)[1]
    assert dump == ", ".join(f"{r.name}=0x{desk.values[r]:08X}" for r in DUMP)
    assert "DESC_COUNT=0x00000003" in dump
    # It can still be used.
    desk.end()
    desk.tell()
    desk.device.wait_irq(SOON)
    assert [desk.word() for _ in range(4)] == [1, 0, 1, 0]


@pytest.mark.parametrize("enabled", [True, False])
def test_no_list_and_no_interrupt_is_said_at_once(desk: Desk, enabled: bool) -> None:
    desk.values[Reg.CTRL] = CTRL_IRQ_ENABLE.put(enabled)
    desk.values[Reg.IRQ] = int(not enabled)
    started = time.monotonic()
    with pytest.raises(DeviceTimeoutError, match="the device is idle and raises no interrupt"):
        desk.device.wait_irq(600)
    assert time.monotonic() - started < SOON


def test_an_interrupt_that_the_kernel_does_not_see_is_named(desk: Desk) -> None:
    """The wrong number or type in the device tree: the device's line is high, nothing comes."""
    desk.run()
    desk.end()
    with pytest.raises(DeviceTimeoutError, match=r"kernel does not see it.*device tree.*IRQ=0x"):
        desk.device.wait_irq(600)


def test_the_reason_is_that_of_the_registers_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that ends between two looks at the registers, its interrupt lost on the way."""
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 2:
            desk.end()
        return False

    monkeypatch.setattr(desk.interrupt, "wait", wait)
    desk.values[Reg.CTRL] = CTRL_IRQ_ENABLE.mask
    with pytest.raises(DeviceTimeoutError, match=r"kernel does not see it.*IRQ=0x00000001"):
        desk.device.wait_irq(600)


def test_registers_of_pynq_serve_as_well() -> None:
    """Those of its class MMIO, whose methods take a length too."""

    class MMIO:
        def __init__(self) -> None:
            self.words = np.zeros(1024, np.uint32)

        def read(self, offset: int = 0, length: int = 4) -> int:
            return int(self.words[offset >> 2])

        def write(self, offset: int, data: int) -> None:
            self.words[offset >> 2] = np.uint32(data)

    with Desk() as desk:
        device = BoardDevice(MMIO(), desk.interrupt, np.zeros(64, np.uint8), 0)
        device.write32(Reg.LIST_HI, 0xFEDC_BA98)
        assert device.read32(Reg.LIST_HI) == 0xFEDC_BA98
        device.close()


def test_an_interrupt_that_comes_late_is_no_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registers say it already, the kernel a moment later."""
    monkeypatch.setattr(board, "_SLICE_SECONDS", 0.001)
    monkeypatch.setattr(board, "_GRACE_SECONDS", SOON)
    desk.run()
    desk.end()
    thread, raised = in_thread(lambda: desk.device.wait_irq(SOON))
    assert desk.word() == 1
    time.sleep(0.05)
    desk.tell()
    thread.join(SOON)
    assert not raised
    assert not thread.is_alive()


def test_an_overlay_that_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run()

    def gone(descriptor: int, data: bytes) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", gone)
        with pytest.raises(DeviceError, match=r"cannot be waited for: Input/output error"):
            desk.device.wait_irq(1)


def test_closing_ends_a_wait_and_stops_the_list(desk: Desk) -> None:
    desk.run()
    thread, raised = in_thread(lambda: desk.device.wait_irq(600))
    assert desk.word() == 1
    desk.device.close()
    thread.join(SOON)
    assert [type(error) for error in raised] == [DeviceError]
    assert "closed" in str(raised[0])
    assert desk.written == [(Reg.CTRL, CTRL_SOFT_RESET.mask)]
    assert desk.released == 1


def test_closing_leaves_an_idle_device_alone_and_refuses_everything_after(desk: Desk) -> None:
    view = desk.device.buffer
    desk.device.close()
    desk.device.close()
    assert desk.released == 1
    assert desk.written == []
    view[0] = 1  # a view that somebody has stays memory
    calls: list[Callable[[], object]] = [
        lambda: desk.device.read32(Reg.ID),
        lambda: desk.device.write32(Reg.CTRL, 0),
        lambda: desk.device.wait_irq(1),
        desk.device.reset,
        lambda: desk.device.buffer,
    ]
    for call in calls:
        with pytest.raises(DeviceError, match=r"is closed: open it again$"):
            call()


@pytest.mark.parametrize("offset", [1, 2, 6, -4, 4096, 1 << 40])
def test_what_is_no_register_is_refused(desk: Desk, offset: int) -> None:
    with pytest.raises(DeviceError, match=r"is no register: .* multiples of 4 below 0x1000"):
        desk.device.read32(offset)
    with pytest.raises(DeviceError, match="is no register"):
        desk.device.write32(offset, 0)
    assert desk.written == []


def test_a_value_is_cut_to_32_bits(desk: Desk) -> None:
    desk.device.write32(Reg.LIST_LO, 0x1_2345_6780)
    desk.device.write32(Reg.LIST_HI, -1)
    assert desk.written == [(Reg.LIST_LO, 0x2345_6780), (Reg.LIST_HI, 0xFFFF_FFFF)]


def test_a_pool_opens_one_board() -> None:
    with DevicePool(load_platform("htg-z920"), "board", jobs=8, cache=False) as pool:
        assert pool.jobs == 1
