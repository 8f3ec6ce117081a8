"""What a board is opened from: files like those in /sys and /dev, whole and with faults."""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from support.fake_board import plant

from pimloop.host.pim.device import uio
from pimloop.host.pim.device.base import DeviceError
from pimloop.host.pim.device.board import BoardDevice, open_board
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.device.uio import BoardNames, MappedRegisters, open_buffer
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import DEVICE_ID, RESET, Reg

PLATFORM = load_platform("htg-z920")
BUFFER_BYTES = 1 << 16
BUFFER_ADDRESS = 0x3_4000_0000
SYS = "sys/class/"


@pytest.fixture
def names(tmp_path: Path) -> BoardNames:
    """Return the names of a board whose registers are those of `PLATFORM`."""
    names = plant(tmp_path, buffer_bytes=BUFFER_BYTES, buffer_address=BUFFER_ADDRESS)
    put_registers(names, {**RESET, **PLATFORM.geometry().registers()})
    return names


def put_registers(names: BoardNames, values: dict[Reg, int]) -> None:
    path = names.dev / "uio1"
    words = np.fromfile(path, np.uint32)
    for register, value in values.items():
        words[register // 4] = value
    words.tofile(path)


def open_it(names: BoardNames) -> BoardDevice:
    return open_board(PLATFORM.geometry(), PLATFORM.name, names)


def held(root: Path) -> list[str]:
    """Return what this process has mapped or open below `root`."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    links = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{entry}"))
        except FileNotFoundError:  # that of the listing
            continue
    return [line for line in [*maps, *links] if str(root) in line]


def test_a_board_is_opened_used_and_left(names: BoardNames, tmp_path: Path) -> None:
    with open_it(names) as device:
        assert device.read32(Reg.ID) == DEVICE_ID
        device.write32(Reg.LIST_HI, 0x1234)
        device.buffer[100:104] = 7
        assert device.buffer.size == BUFFER_BYTES
        assert device.buffer_address == BUFFER_ADDRESS
        assert held(tmp_path)
    assert held(tmp_path) == []
    assert np.fromfile(names.dev / "uio1", np.uint32)[Reg.LIST_HI // 4] == 0x1234
    assert np.flatnonzero(np.fromfile(names.dev / "udmabuf0", np.uint8)).tolist() == [
        *range(100, 104)
    ]
    with open_it(names) as device:  # the lock is gone
        assert device.read32(Reg.LIST_HI) == 0x1234


def test_registers_lie_where_the_map_says(tmp_path: Path) -> None:
    names = plant(tmp_path, buffer_bytes=BUFFER_BYTES, buffer_address=BUFFER_ADDRESS)
    offset = 256
    (tmp_path / SYS / "uio/uio1/maps/map0/offset").write_text(f"0x{offset:x}\n")
    words = np.zeros(2 * mmap.PAGESIZE // 4, np.uint32)
    for register, value in {**RESET, **PLATFORM.geometry().registers()}.items():
        words[(offset + register) // 4] = value
    words.tofile(names.dev / "uio1")
    with open_it(names) as device:
        assert device.read32(Reg.ID) == DEVICE_ID


def test_older_kernels_have_no_offset_and_other_names(names: BoardNames, tmp_path: Path) -> None:
    (tmp_path / SYS / "uio/uio1/maps/map0/offset").unlink()
    (tmp_path / SYS / "u-dma-buf").rename(tmp_path / SYS / "udmabuf")
    (tmp_path / SYS / "udmabuf/udmabuf0/dma_coherent").unlink()
    with open_it(names) as device:
        assert device.buffer_address == BUFFER_ADDRESS


def test_a_buffer_of_one_page_is_enough(names: BoardNames, tmp_path: Path) -> None:
    (tmp_path / SYS / "u-dma-buf/udmabuf0/size").write_text(f"{mmap.PAGESIZE}\n")
    with open_it(names) as device:
        assert device.buffer.size == mmap.PAGESIZE


def test_names_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (uio.UIO_VARIABLE, uio.BUFFER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert BoardNames.of_environment() == BoardNames("pim", "udmabuf0", Path("/sys"), Path("/dev"))
    monkeypatch.setenv("PIMLOOP_BOARD_UIO", "pim_top_0")
    monkeypatch.setenv("PIMLOOP_BOARD_BUFFER", "udmabuf3")
    changed = BoardNames.of_environment()
    assert (changed.uio, changed.buffer) == ("pim_top_0", "udmabuf3")


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / SYS / name).write_text(text)


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "no device of that name",
        write("uio/uio1/name", "dma"),
        r"no UIO device called 'pim' .*uio0 'gpio', uio1 'dma'.*PIMLOOP_BOARD_UIO",
    ),
    (
        "no UIO at all",
        lambda root: (root / SYS / "uio").rename(root / "elsewhere"),
        r"no UIO device called 'pim' .*there: none.*uio_pdrv_genirq",
    ),
    ("two of that name", write("uio/uio0/name", "pim\n"), r"2 UIO devices .*\(uio0, uio1\)"),
    ("a short window", write("uio/uio1/maps/map0/size", "0x800"), r"size is 2048 bytes.*4096.*reg"),
    ("no number", write("uio/uio1/maps/map0/size", "many"), r"map0/size has 'many', .*no number"),
    (
        "no map",
        lambda root: (root / SYS / "uio/uio1/maps/map0/size").unlink(),
        r"cannot read .*map0/size: No such file",
    ),
    (
        "no device file",
        lambda root: (root / "dev/uio1").unlink(),
        r"cannot use .*dev/uio1: No such file",
    ),
    (
        "no buffer",
        lambda root: (root / SYS / "u-dma-buf/udmabuf0").rename(root / SYS / "u-dma-buf/udmabuf4"),
        r"no DMA buffer called 'udmabuf0' .*there: udmabuf4.*PIMLOOP_BOARD_BUFFER",
    ),
    (
        "no buffer file",
        lambda root: (root / "dev/udmabuf0").unlink(),
        r"cannot use .*dev/udmabuf0: No such file",
    ),
    ("an empty buffer", write("u-dma-buf/udmabuf0/size", "0"), r"size is 0 bytes: a page at least"),
    (
        "a crooked address",
        write("u-dma-buf/udmabuf0/phys_addr", "0x40000020"),
        r"phys_addr is 0x40000020, no multiple of 64",
    ),
    ("a cached buffer", write("u-dma-buf/udmabuf0/sync_mode", "0"), r"sync_mode is 0: the caches"),
    ("device memory", write("u-dma-buf/udmabuf0/sync_mode", "5"), r"sync_mode is 5.* set it to 3"),
]


@pytest.mark.parametrize(("damage", "message"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_board_that_cannot_be_opened_says_why_in_one_line(
    names: BoardNames, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(tmp_path)
    with pytest.raises(DeviceError, match=message) as failure:
        open_it(names)
    assert "\n" not in str(failure.value)
    assert held(tmp_path) == []


def test_a_device_that_may_not_be_opened(
    names: BoardNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may open everything, so the refusal is the kernel's in name only."""

    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(DeviceError, match=r"dev/uio1: Permission denied: add the udev rule"):
            open_it(names)


@pytest.mark.parametrize("identity", [0, 0xFFFFFFFF, 0x12345678])
def test_another_device_is_refused(names: BoardNames, tmp_path: Path, identity: int) -> None:
    put_registers(names, {Reg.ID: identity})
    with pytest.raises(DeviceError, match=f"ID register reads 0x{identity:08X}"):
        open_it(names)
    assert held(tmp_path) == []


def test_another_version_is_refused(names: BoardNames) -> None:
    put_registers(names, {Reg.VERSION: 0x0002_0000})
    with pytest.raises(DeviceError, match=r"speaks interface 2\.0"):
        open_it(names)


def test_the_board_of_another_platform_is_refused(names: BoardNames, tmp_path: Path) -> None:
    put_registers(names, {Reg.BANKS: 4 << 16 | 8, Reg.LANES: 64})
    with pytest.raises(DeviceError) as failure:
        open_it(names)
    assert "no device of platform htg-z920" in str(failure.value)
    assert "banks 8 (platform: 16), lanes 64 (platform: 32)" in str(failure.value)
    del failure  # its frames had the buffer
    gc.collect()
    assert held(tmp_path) == []


def test_two_processes_do_not_share_a_board(names: BoardNames) -> None:
    with (
        open_it(names) as first,
        pytest.raises(DeviceError, match="uio1 is used by another process"),
    ):
        open_it(names)
    assert first is not None


@pytest.mark.parametrize(
    ("coherent", "mode", "flag"),
    [(0, 2, os.O_SYNC), (0, 3, os.O_SYNC), (None, 7, os.O_SYNC), (1, 0, 0), (1, 3, 0)],
)
def test_no_cache_hides_the_buffer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    coherent: int | None,
    mode: int,
    flag: int,
) -> None:
    names = plant(
        tmp_path,
        buffer_bytes=BUFFER_BYTES,
        buffer_address=BUFFER_ADDRESS,
        sync_mode=mode,
        dma_coherent=coherent,
    )
    flags: list[int] = []
    real = os.open

    def note(path: Path, wanted: int) -> int:
        flags.append(wanted)
        return real(path, wanted)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", note)
        buffer, address = open_buffer(names)
    assert [value & os.O_SYNC for value in flags] == [flag]
    assert (buffer.size, address) == (BUFFER_BYTES, BUFFER_ADDRESS)


def test_no_board_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(uio.UIO_VARIABLE, "no board")
    with pytest.raises(DeviceError, match="there is no UIO device called 'no board'"):
        open_device(PLATFORM, "board")


# ---- one access is one access of 32 bits -----------------------------------------------------

_ROUNDS = 200_000


def toggle(path: str, ready: Event, over: Event) -> None:
    """Write all ones and all zeros to word 1 until told to stop; each store is whole."""
    words = np.memmap(path, np.uint32, "r+")
    ready.set()
    while not over.is_set():
        for _ in range(10_000):
            words[1] = 0xFFFFFFFF
            words[1] = 0


def watch(path: str, ready: Event, over: Event, torn: Event) -> None:
    """Look for a word 1 that is neither all ones nor all zeros."""
    words = np.memmap(path, np.uint32, "r")
    ready.set()
    while not over.is_set():
        for _ in range(10_000):
            if int(words[1]) not in (0, 0xFFFFFFFF):
                torn.set()


def test_a_register_is_read_by_one_access(tmp_path: Path) -> None:
    path = tmp_path / "window"
    path.write_bytes(bytes(4096))
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    other = context.Process(target=toggle, args=(str(path), ready, over))
    other.start()
    try:
        with path.open("r+b") as file:
            registers = MappedRegisters(file.fileno(), 4096)
        assert ready.wait(60)
        read = {registers.read(4) for _ in range(_ROUNDS)}
        # On a busy machine the other process may not have run meanwhile.
        until = time.monotonic() + 60
        while len(read) < 2 and time.monotonic() < until:
            read |= {registers.read(4) for _ in range(_ROUNDS)}
    finally:
        over.set()
        other.join()
    registers.close()
    assert read == {0, 0xFFFFFFFF}


def test_a_register_is_written_by_one_access(tmp_path: Path) -> None:
    path = tmp_path / "window"
    path.write_bytes(bytes(4096))
    context = multiprocessing.get_context("spawn")
    ready, over, torn = context.Event(), context.Event(), context.Event()
    other = context.Process(target=watch, args=(str(path), ready, over, torn))
    other.start()
    try:
        with path.open("r+b") as file:
            registers = MappedRegisters(file.fileno(), 4096)
        assert ready.wait(60)
        for _ in range(_ROUNDS):
            registers.write(4, 0xFFFFFFFF)
            registers.write(4, 0)
    finally:
        over.set()
        other.join()
    registers.close()
    assert not torn.is_set()
    content = np.fromfile(path, np.uint32)
    assert not content.any()
