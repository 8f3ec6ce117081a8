"""What Linux shows of a board: registers and an interrupt by UIO, DMA memory by u-dma-buf.

`pimloop.host.pim.device.board` makes a device of them. The kernel's side, names and permissions:
docs/board-bring-up.md.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pimloop.rtl.tables.isa import DESCRIPTOR_BYTES
from pimloop.sim.errors import DeviceError

#: Bytes of the device's register window: its AXI4-Lite addresses have 12 bits.
WINDOW_BYTES = 4096

#: Environment variables with the names of the UIO device and of the u-dma-buf buffer.
UIO_VARIABLE = "PIMLOOP_BOARD_UIO"
BUFFER_VARIABLE = "PIMLOOP_BOARD_BUFFER"

_GUIDE = "docs/board-bring-up.md"
_WORD_BYTES = 4

# Folders in /sys/class, today's name first.
_BUFFER_CLASSES = ("u-dma-buf", "udmabuf")

# sync_mode of u-dma-buf, lower two bits: what O_SYNC makes of a mapping that is not coherent.
_WRITE_COMBINE = 2
_DMA_COHERENT = 3


@dataclass(frozen=True)
class BoardNames:
    """Where a board is found."""

    uio: str = "pim"  # /sys/class/uio/uioN/name: the device tree node without its address
    buffer: str = "udmabuf0"  # folder in /sys/class/u-dma-buf, and file in /dev
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")

    @classmethod
    def of_environment(cls) -> Self:
        """Return the names that the environment gives, else the usual ones."""
        return cls(
            uio=os.environ.get(UIO_VARIABLE) or cls.uio,
            buffer=os.environ.get(BUFFER_VARIABLE) or cls.buffer,
        )


class MappedRegisters:
    """The register window of a UIO device.

    Parameters
    ----------
    descriptor
        Of the open /dev/uioN; may be closed afterwards.
    offset, size
        Of the window in map 0, bytes.

    Raises
    ------
    OSError
        It cannot be mapped.
    """

    def __init__(self, descriptor: int, size: int, offset: int = 0) -> None:
        self._mapping = mmap.mmap(descriptor, offset + size)
        # An element of this view is read and written by one access of 32 bits.
        self._words = memoryview(self._mapping)[offset : offset + size].cast("I")

    def read(self, offset: int) -> int:
        """Return the register at `offset` (bytes, a multiple of 4)."""
        return int(self._words[offset // _WORD_BYTES])

    def write(self, offset: int, value: int) -> None:
        """Write `value`, 0..2**32-1, to the register at `offset` (bytes, a multiple of 4)."""
        self._words[offset // _WORD_BYTES] = value

    def close(self) -> None:
        """Take the window out of this process."""
        self._words.release()
        self._mapping.close()


class UioInterrupt:
    """The interrupt of a UIO device; the kernel masks it whenever it has come.

    Parameters
    ----------
    descriptor
        Of the open /dev/uioN, closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def arm(self) -> None:
        """Unmask the interrupt: it comes at once while the line is high."""
        os.write(self._descriptor, (1).to_bytes(_WORD_BYTES, "little"))

    def disarm(self) -> None:
        """Mask the interrupt."""
        os.write(self._descriptor, (0).to_bytes(_WORD_BYTES, "little"))

    def wait(self, seconds: float) -> bool:
        """Return whether the interrupt has come since the last time this was true.

        Waits for it, at most `seconds`.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(seconds * 1e3):
            return False
        os.read(self._descriptor, _WORD_BYTES)  # how often it came since boot: of no use here
        return True

    def close(self) -> None:
        """Close the UIO device."""
        os.close(self._descriptor)


def open_uio(names: BoardNames) -> tuple[MappedRegisters, UioInterrupt]:
    """Open the UIO device of a board, for this process alone.

    Raises
    ------
    DeviceError
        It is not there, may not be opened, is too small, or another process has it.
    """
    folder = _find_uio(names)
    size = _number(folder / "maps/map0/size")
    place = folder / "maps/map0/offset"
    offset = _number(place) if place.exists() else 0
    if size < WINDOW_BYTES:
        raise DeviceError(
            f"{folder}/maps/map0/size is {size} bytes, the registers of a PIM device take"
            f" {WINDOW_BYTES}: mend `reg` in the device tree ({_GUIDE})"
        )
    path = names.dev / folder.name
    with _opened(path) as (descriptor, stack):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeviceError(
                f"{path} is used by another process, or a second time by this one: wait for its end"
            ) from None
        registers = MappedRegisters(descriptor, WINDOW_BYTES, offset)
        stack.pop_all()
        return registers, UioInterrupt(descriptor)


def _find_uio(names: BoardNames) -> Path:
    """Return the folder in /sys/class/uio of the device of that name."""
    parent = names.sys / "class/uio"
    known = {folder: _text(folder / "name") for folder in sorted(parent.glob("uio*"))}
    named = [folder for folder, name in known.items() if name == names.uio]
    if len(named) == 1:
        return named[0]
    if named:
        raise DeviceError(
            f"{len(named)} UIO devices are called {names.uio!r}"
            f" ({', '.join(folder.name for folder in named)}): give them names of their own in the"
            f" device tree and choose one by {UIO_VARIABLE} ({_GUIDE})"
        )
    there = ", ".join(f"{folder.name} {name!r}" for folder, name in known.items()) or "none"
    raise DeviceError(
        f"there is no UIO device called {names.uio!r} in {parent} (there: {there}): load the"
        f" overlay and uio_pdrv_genirq, or give its name in {UIO_VARIABLE} ({_GUIDE})"
    )


def open_buffer(names: BoardNames) -> tuple[NDArray[np.uint8], int]:
    """Map the DMA buffer of a board; return it and its physical address.

    The mapping ends with the last view of the array. No cache is between the array and the device:
    either the port is coherent, or the mapping is not cached.

    Returns
    -------
    NDArray[uint8]
        (size,) bytes, the size that u-dma-buf says.
    int
        Its address on the bus.

    Raises
    ------
    DeviceError
        It is not there, may not be opened, or would be cached on a port that is not coherent.
    """
    parents = [names.sys / "class" / name for name in _BUFFER_CLASSES]
    folders = [parent / names.buffer for parent in parents if (parent / names.buffer).is_dir()]
    if not folders:
        there = sorted(folder.name for parent in parents for folder in parent.glob("*"))
        raise DeviceError(
            f"there is no DMA buffer called {names.buffer!r} in {parents[0]} (there:"
            f" {', '.join(there) or 'none'}): load u-dma-buf, or give its name in"
            f" {BUFFER_VARIABLE} ({_GUIDE})"
        )
    folder = folders[0]
    size = _number(folder / "size")
    if size < mmap.PAGESIZE:
        raise DeviceError(f"{folder}/size is {size} bytes: a page at least ({_GUIDE})")
    address = _number(folder / "phys_addr")
    if address % DESCRIPTOR_BYTES:
        raise DeviceError(
            f"{folder}/phys_addr is 0x{address:X}, no multiple of {DESCRIPTOR_BYTES}: give the"
            f" buffer whole pages in the device tree ({_GUIDE})"
        )
    path = names.dev / names.buffer
    with _opened(path, _cache_flag(folder)) as (descriptor, _):
        mapping = mmap.mmap(descriptor, size)
    return np.frombuffer(mapping, np.uint8), address


def _cache_flag(folder: Path) -> int:
    """Return the flag that makes a mapping of the buffer coherent with the device."""
    coherent = folder / "dma_coherent"
    if coherent.exists() and _number(coherent) == 1:
        return 0
    mode = _number(folder / "sync_mode")
    # 1 is device memory on ARM, where an access that is not aligned is a bus error.
    if mode & 3 not in (_WRITE_COMBINE, _DMA_COHERENT):
        raise DeviceError(
            f"{folder}/sync_mode is {mode}: the caches would hide what host and device write; set"
            f" it to {_DMA_COHERENT}, or to {_WRITE_COMBINE}, or connect a coherent port and say"
            f" `dma-coherent` in the device tree ({_GUIDE})"
        )
    return os.O_SYNC


@contextmanager
def _opened(path: Path, flag: int = os.O_SYNC) -> Iterator[tuple[int, ExitStack]]:
    """Open a device file; it is closed after the block unless its exit stack is emptied."""
    with ExitStack() as stack:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flag)
            stack.callback(os.close, descriptor)
            yield descriptor, stack
        except PermissionError as error:
            raise DeviceError(
                f"cannot open {path}: {error.strerror}: add the udev rule of {_GUIDE}, or run as"
                " root"
            ) from error
        except OSError as error:
            raise DeviceError(f"cannot use {path}: {error.strerror} ({_GUIDE})") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise DeviceError(f"cannot read {path}: {error.strerror} ({_GUIDE})") from error


def _number(path: Path) -> int:
    """Return the number in a file of /sys, decimal or 0x..."""
    text = _text(path)
    try:
        return int(text, 0)
    except ValueError:
        raise DeviceError(f"{path} has {text!r}, which is no number ({_GUIDE})") from None
