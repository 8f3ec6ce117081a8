"""A device of 512 MiB costs memory for what is touched, not for its capacity."""

import re
from pathlib import Path

from support.raw import RawDevice

from pimloop.host.pim.device.open import open_device
from pimloop.host.platforms.platform import load_platform

MIB = 1 << 20


def resident(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024


def test_only_touched_pages_cost_memory():
    with open_device(load_platform("htg-z920"), "sim", buffer_bytes=64 * MIB) as device:
        raw = RawDevice(device)
        assert raw.geometry.capacity == 512 * MIB
        fresh = resident(device.pid)
        assert fresh < 128 * MIB
        # Written here and there, all over the device: one page each.
        page = raw.buffer[: 64 * 64].copy()
        for place in range(8):
            raw.write_memory(place * 64 * MIB, page)
        assert resident(device.pid) - fresh < 16 * MIB
