"""What this process may use of the machine."""

import os
import platform
from pathlib import Path


def cores() -> int:
    """Return the cores that this process may run on."""
    return max(1, len(os.sched_getaffinity(0)))


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
