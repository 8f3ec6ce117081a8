"""What a simulated device costs in memory: the pages that were touched, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.raw import RawDevice

from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.open import open_device
from pimloop.host.platforms.platform import load_platform

PAGE = 4096
CAPACITY = 512 << 20
BUFFER_BYTES = 1 << 30
#: A simulator with its Python, far below capacity and buffer, KiB.
PROGRAM_KIB = 160 << 10


@pytest.fixture
def raw() -> Iterator[RawDevice]:
    """Yield a fresh device with a large buffer."""
    with open_device(load_platform("htg-z920"), buffer_bytes=BUFFER_BYTES) as device:
        yield RawDevice(device)


def resident_kib(raw: RawDevice, name: str = "") -> int:
    """Return what of a simulator is in memory, or of its mappings with `name`, KiB."""
    assert isinstance(raw.device, CachedDevice)
    folder = Path(f"/proc/{raw.device.pid}")
    total, inside = 0, False
    for line in (folder / "smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            inside = name in line
        elif inside and first == "Rss:":
            total += int(line.split()[1])
    return total


def test_fresh_device_costs_its_program(raw: RawDevice) -> None:
    assert isinstance(raw.device, CachedDevice)
    assert raw.device.inner.memory.size == raw.geometry.capacity == CAPACITY
    assert resident_kib(raw, "pimloop-dram") == 0
    assert resident_kib(raw, "pimloop-memory") == 0
    assert resident_kib(raw) < PROGRAM_KIB


def test_device_costs_the_pages_it_touches(raw: RawDevice) -> None:
    """Scattered over the whole capacity, read ones and written ones."""
    before = resident_kib(raw)
    pages = 300
    for page in range(pages):
        raw.write_memory(page * (CAPACITY // pages) // PAGE * PAGE, np.ones(64, np.uint8))
    assert resident_kib(raw, "pimloop-dram") == pages * PAGE // 1024
    assert not raw.read_memory(PAGE, 64).any()
    assert resident_kib(raw, "pimloop-dram") == (pages + 1) * PAGE // 1024
    assert resident_kib(raw) - before < 4 * pages * PAGE // 1024


def test_host_and_simulator_see_the_same_memory(raw: RawDevice) -> None:
    assert isinstance(raw.device, CachedDevice)
    memory = raw.device.inner.memory
    data = np.arange(4096, dtype=np.uint16)
    raw.write_memory(CAPACITY - 8192, data)
    assert (memory[-8192:].view(np.uint16) == data).all()
    memory[64:128] = 7
    assert (raw.read_memory(64, 64) == 7).all()
