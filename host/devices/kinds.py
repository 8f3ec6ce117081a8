"""What an operator can be assigned to: the devices of a platform, and those of plug-ins.

Every platform has the CPU, alone and with all its cores, and the PIM. A further device has a file
of its own: a `SessionDevice` that says what it can run and how long that takes. It works in a
memory of its own, so that tensors are moved there and back; its segments are executed by ONNX
Runtime on this machine, in the model's types. An entry point of the group `pimloop.devices` names
it, and a platform has it where its file has a section of the device's name
(`pimloop.host.platforms.platform`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from pimloop.errors import PimloopError
from pimloop.host.models.graph import Graph, Node
from pimloop.host.plugins.registry import DEVICES, PluginError, plugins
from pimloop.partitioner.split_names import SplitName

#: The memory that a model's inputs come from and its outputs go to.
HOST_MEMORY = "cpu"

#: The memory of the device that operators are handed to.
PIM_MEMORY = "pim"


@dataclass(frozen=True)
class DeviceKind:
    """A device as assignments, files and pictures know it.

    Attributes
    ----------
    name
        As assignments and files have it.
    memory
        The memory that its operators read and write.
    title
        What pictures call it.
    colour
        On white, as `#rrggbb`; those of the built-in devices are from Okabe and Ito's palette.
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
    trace_colour: str = "grey"

    #: Whether its operators are handed to a driver one by one, as bfloat16. Otherwise a segment is
    #: one session of ONNX Runtime.
    offloaded: ClassVar[bool] = False

    @property
    def memories(self) -> tuple[str, ...]:
        """The memories that its operators read whole inputs from."""
        return (self.memory,)


class PimDevice(DeviceKind):
    """The simulated PIM, or a board."""

    offloaded = True


class SessionDevice(DeviceKind, ABC):
    """A device of a plug-in.

    Attributes
    ----------
    section
        A frozen dataclass of `pimloop.number` and `pimloop.choice`: its section of a platform file.
    """

    section: ClassVar[type[Any]]

    @abstractmethod
    def refusal(self, graph: Graph, node: Node, section: Any) -> str | None:
        """Return why it cannot run an operator; None when it can.

        Parameters
        ----------
        graph, node
            The model and the operator.
        section
            The platform's, an instance of `section`.
        """

    @abstractmethod
    def time_us(self, graph: Graph, node: Node, section: Any) -> float:
        """Return the time of an operator, microseconds, without moving tensors; parameters as of
        `refusal`.
        """


@dataclass(frozen=True, kw_only=True)
class SplitDevice(DeviceKind):
    """The CPU and the PIM together: each computes some columns of an operator's result.

    The PIM computes the first columns, `share` of `shares` equal parts of them, the CPU the others,
    at the same time. What the model returns, and what the CPU reads of it, is gathered in the
    host's memory.

    Attributes
    ----------
    parts
        The CPU device and the PIM.
    share, shares
        Of the PIM.
    """

    parts: tuple[DeviceKind, DeviceKind]
    share: int
    shares: int

    offloaded = True

    @property
    def pair(self) -> str:
        """What splits between these two devices are called together, whatever the shares."""
        return pair_of(self.name)

    @property
    def memories(self) -> tuple[str, ...]:
        """Those of both parts."""
        return tuple(part.memory for part in self.parts)

    def first_columns(self, columns: int, node: str = "") -> int:
        """Return how many of `columns` the PIM computes; `node` is named in the message.

        Raises
        ------
        PimloopError
            When its share is no whole number of columns.
        """
        first, rest = divmod(columns * self.share, self.shares)
        if rest:
            raise PimloopError(
                f"{f'node {node!r} is assigned to ' if node else ''}'{self.name}':"
                f" {self.share}/{self.shares} of its {columns} columns is no whole number"
            )
        return first


#: What pictures draw operators in that two devices compute, from Okabe and Ito's palette.
SPLIT_COLOUR = "#009e73"


def _split_device(name: str, devices: Mapping[str, DeviceKind]) -> SplitDevice | None:
    """Return the device that a split's name stands for, as `cpu_parallel+pim 5/16`."""
    split = SplitName.of(name)
    if split is None or not split.share < split.shares:
        return None
    first, second = map(devices.get, split.devices)
    if first is None or second is None:
        return None
    if first.memory != HOST_MEMORY or first.offloaded or second.memory != PIM_MEMORY:
        return None
    return SplitDevice(
        name, HOST_MEMORY, f"{first.title} + {second.title}", SPLIT_COLOUR, "+", "olive",
        parts=(first, second), share=split.share, shares=split.shares,
    )  # fmt: skip


def pair_of(name: str) -> str:
    """Return a device's name, or of a split the name of its two devices.

    >>> pair_of("cpu_parallel+pim 5/16"), pair_of("pim")
    ('cpu_parallel+pim', 'pim')
    """
    split = SplitName.of(name)
    return name if split is None else split.pair


def device_parts(name: str) -> tuple[str, ...]:
    """Return the names of the devices that a name stands for: two of a split or a pair.

    >>> device_parts("cpu_parallel+pim 5/16"), device_parts("pim")
    (('cpu_parallel', 'pim'), ('pim',))
    """
    split = SplitName.of(name)
    return (name,) if split is None else split.devices


class Devices(dict[str, DeviceKind]):
    """Devices by name; a split between two of them is found by its name, but not listed."""

    def __missing__(self, name: str) -> DeviceKind:
        """Return the split of that name."""
        split = _split_device(name, self)
        if split is None:
            raise KeyError(name)
        return split

    def find(self, name: str) -> DeviceKind | None:
        """Return a device, or a split of devices, by its name; None where there is none."""
        return self.get(name) or _split_device(name, self)


#: In the order in which tables and timelines list them.
BUILT_IN = (
    DeviceKind("cpu_serial", HOST_MEMORY, "CPU serial", "#56b4e9", "S", "good"),
    DeviceKind(
        "cpu_parallel", HOST_MEMORY, "CPU parallel", "#0072b2", "P", "thread_state_runnable"
    ),
    PimDevice("pim", PIM_MEMORY, "PIM", "#d55e00", "M", "bad"),
)


def built_in_devices() -> Devices:
    """Return the devices that every platform has, by name."""
    return Devices({kind.name: kind for kind in BUILT_IN})


@cache
def _devices() -> tuple[Devices, list[str]]:
    """Return the devices by name, and a message for each plug-in that is none."""
    known = built_in_devices()
    broken: list[str] = []
    for plugin in plugins(DEVICES).values():
        try:
            device = plugin.load()
        except PluginError as error:
            broken.append(str(error))
            continue
        where = f"plug-in '{plugin.name}' ({DEVICES}, package {plugin.package})"
        if not isinstance(device, SessionDevice):
            broken.append(f"{where}: {plugin.value} is no pimloop.SessionDevice")
        elif device.name in known or device.memory in {kind.memory for kind in known.values()}:
            broken.append(
                f"{where}: there is a device '{device.name}' or a memory '{device.memory}' already"
            )
        else:
            known[device.name] = device
    return known, broken


def kinds() -> Devices:
    """Return every device by name, those of plug-ins after the built-in ones."""
    return _devices()[0]


def session_devices() -> dict[str, SessionDevice]:
    """Return the devices of plug-ins by name."""
    return {name: kind for name, kind in kinds().items() if isinstance(kind, SessionDevice)}


def broken_devices() -> list[str]:
    """Return a message for each plug-in of the group that is no device; it is left out."""
    return _devices()[1]


def is_offloaded(device: str) -> bool:
    """Return whether a driver runs the operators of a device, rounding them to bfloat16."""
    return kinds()[device].offloaded
