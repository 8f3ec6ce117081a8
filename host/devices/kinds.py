"""The devices that a platform has, as names, memories and how a report shows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceKind:
    """A device as plans, tables and pictures know it.

    Attributes
    ----------
    name
        As assignments and files have it.
    memory
        The memory that its operators read and write.
    title
        What pictures call it.
    colour
        On white, as `#rrggbb`; from Okabe and Ito's palette.
    letter
        What stands for it where there is room for one letter.
    trace_colour
        Its name among the reserved colours of the Chrome trace format.
    """

    name: str
    memory: str
    title: str
    colour: str
    letter: str
    trace_colour: str


#: In the order in which tables and timelines list them.
KINDS = (
    DeviceKind("cpu_serial", "cpu", "CPU serial", "#56b4e9", "S", "good"),
    DeviceKind("cpu_parallel", "cpu", "CPU parallel", "#0072b2", "P", "thread_state_runnable"),
    DeviceKind("pim", "pim", "PIM", "#d55e00", "M", "bad"),
)

#: The memory of each device.
MEMORY_OF = {kind.name: kind.memory for kind in KINDS}


def memories() -> dict[str, tuple[str, ...]]:
    """Return the devices of each memory.

    >>> memories()
    {'cpu': ('cpu_serial', 'cpu_parallel'), 'pim': ('pim',)}
    """
    names: dict[str, list[str]] = {}
    for kind in KINDS:
        names.setdefault(kind.memory, []).append(kind.name)
    return {memory: tuple(devices) for memory, devices in names.items()}
