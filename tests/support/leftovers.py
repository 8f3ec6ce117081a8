"""What a process could leave behind for others to trip over."""

from __future__ import annotations

import os


def shared_memory_files() -> set[str]:
    """Names in /dev/shm, without the semaphores of Python's multiprocessing.

    Neither host nor simulator uses those; tests that run beside the caller make and remove them.
    """
    return {name for name in os.listdir("/dev/shm") if not name.startswith("sem.mp-")}
