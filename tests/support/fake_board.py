"""A board without hardware: folders like /sys and /dev, and a device that answers behind them.

The board's own code runs as on a board but for one thing, the register window: side effects of
plain memory cannot be served, so accesses go to `FakeRegisters` (the mapped window is tested on a
file of its own). The interrupt is the end of a socket pair with the messages of /dev/uioN, the DMA
buffer is memory that the device and the backend map each for itself.
"""

from __future__ import annotations

import mmap
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pimloop.host.pim.device.base import Device, DeviceError, DeviceTimeoutError
from pimloop.host.pim.device.board import BoardDevice, open_board
from pimloop.host.pim.device.execution import Execution
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.uio import BoardNames, UioInterrupt
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.platforms.platform import Platform
from pimloop.sim.device.process import SimDevice

#: Bound of one wait for the interrupt of the device behind, so that registers can be read, seconds.
_SLICE_SECONDS = 0.005


class FileModel(ModelDevice):
    """A functional model whose shared buffer is a file."""

    def __init__(self, geometry: Geometry, path: Path, buffer_address: int) -> None:
        super().__init__(geometry, 64, buffer_address)
        with path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), path.stat().st_size)
        self._buffer = np.frombuffer(mapped, np.uint8)
        self._execution = Execution(geometry, self.memory, self._buffer, buffer_address)


class FakeRegisters:
    """The register window of a device that is not memory."""

    def __init__(self, inner: Device, lock: threading.Lock) -> None:
        self._inner = inner
        self._lock = lock

    def read(self, offset: int) -> int:
        with self._lock:
            return self._inner.read32(offset)

    def write(self, offset: int, value: int) -> None:
        with self._lock:
            self._inner.write32(offset, value)

    def close(self) -> None:
        """Leave the device to the thread that serves its interrupt."""


class FakeInterrupt(UioInterrupt):
    """The board's end of the socket; the thread at the other end closes the device."""

    def __init__(self, descriptor: int, server: threading.Thread) -> None:
        super().__init__(descriptor)
        self._server = server

    def close(self) -> None:
        super().close()
        self._server.join()


def serve_interrupt(inner: Device, lock: threading.Lock, peer: socket.socket) -> None:
    """Be the kernel: tell the interrupt once whenever it is unmasked and the line is high."""
    armed, count = False, 0
    with inner, peer:
        while True:
            if select.select([peer], [], [], 0 if armed else None)[0]:
                word = peer.recv(4)
                if not word:
                    return
                armed = int.from_bytes(word, "little") == 1
                continue
            try:
                with lock:
                    inner.wait_irq(_SLICE_SECONDS)
            except DeviceTimeoutError:
                time.sleep(_SLICE_SECONDS / 5)  # let the board have the lock
            except DeviceError:
                return
            else:
                armed, count = False, count + 1
                peer.send(count.to_bytes(4, "little"))


def plant(
    root: Path,
    *,
    buffer_bytes: int,
    buffer_address: int,
    memory: Path | None = None,
    sync_mode: int = 3,
    dma_coherent: int | None = 0,
) -> BoardNames:
    """Make /sys and /dev of a board below `root`; return where it is found.

    Parameters
    ----------
    memory
        What /dev/udmabuf0 is another name of; None: a file of zeros.
    """
    files = {
        "sys/class/uio/uio0/name": "gpio",
        "sys/class/uio/uio1/name": "pim",
        "sys/class/uio/uio1/maps/map0/addr": "0x00000000a0000000",
        "sys/class/uio/uio1/maps/map0/size": "0x0000000000001000",
        "sys/class/uio/uio1/maps/map0/offset": "0x0",
        "sys/class/u-dma-buf/udmabuf0/phys_addr": f"0x{buffer_address:016x}",
        "sys/class/u-dma-buf/udmabuf0/size": str(buffer_bytes),
        "sys/class/u-dma-buf/udmabuf0/sync_mode": str(sync_mode),
    }
    if dma_coherent is not None:
        files["sys/class/u-dma-buf/udmabuf0/dma_coherent"] = str(dma_coherent)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")
    dev = root / "dev"
    dev.mkdir()
    (dev / "uio1").write_bytes(bytes(mmap.PAGESIZE))
    if memory is not None:
        (dev / "udmabuf0").symlink_to(memory)
    else:
        with (dev / "udmabuf0").open("wb") as file:
            file.truncate(buffer_bytes)
    return BoardNames(sys=root / "sys", dev=dev)


def fake_board(
    platform: Platform,
    names: BoardNames,
    inner: Callable[[], Device],
) -> BoardDevice:
    """Open a board whose device is `inner`; it is closed with the board."""

    def opener(_: BoardNames) -> tuple[FakeRegisters, FakeInterrupt]:
        device, lock = inner(), threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = threading.Thread(target=serve_interrupt, args=(device, lock, theirs), daemon=True)
        server.start()
        return FakeRegisters(device, lock), FakeInterrupt(ours.detach(), server)

    return open_board(platform.geometry(), platform.name, names, opener)


def model_board(
    platform: Platform, root: Path, buffer_bytes: int, buffer_address: int
) -> BoardDevice:
    """Open a board that the functional model serves."""
    names = plant(root, buffer_bytes=buffer_bytes, buffer_address=buffer_address)
    memory = names.dev / names.buffer
    return fake_board(
        platform, names, lambda: FileModel(platform.geometry(), memory, buffer_address)
    )


def sim_board(platform: Platform, root: Path, simulator: Device, pid: int) -> BoardDevice:
    """Open a board that a simulator with process id `pid` serves."""
    names = plant(
        root,
        buffer_bytes=simulator.buffer.size,
        buffer_address=simulator.buffer_address,
        memory=shared_memory(pid),
    )
    return fake_board(platform, names, lambda: simulator)


def shared_memory(pid: int) -> Path:
    """Return a path of the memory that a simulator shares with the host."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(entry).startswith("/memfd:pimloop-memory"):
            return entry
    raise AssertionError(f"{SimDevice.__name__} {pid} has no shared memory")
