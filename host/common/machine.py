"""What this process may use of the machine."""

import os


def cores() -> int:
    """Return the cores that this process may run on."""
    return max(1, len(os.sched_getaffinity(0)))
