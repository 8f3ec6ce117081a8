"""Where the tensors of one execution are: memories that sessions work in, and the PIM's.

A tensor is made in the memory of its operator's device, its home, and moves at most once to each
other one. Memories that sessions work in have a buffer for every tensor; what is in the PIM's is
for `pimloop.host.execution.offload`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zlib import crc32

import numpy as np

from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.devices.kinds import HOST_MEMORY, DeviceKind
from pimloop.host.execution.execution import Execution, Transfer
from pimloop.host.models.graph import Array, Graph
from pimloop.host.pim.driver import OpStats


class Memories:
    """The memories of one execution.

    Parameters
    ----------
    graph
        The model.
    assignment
        The device of every node.
    devices
        Of the platform, by name.
    """

    def __init__(
        self, graph: Graph, assignment: Mapping[str, str], devices: Mapping[str, DeviceKind]
    ) -> None:
        self._graph = graph
        self._homes = {
            name: devices[assignment[node.id]].memory
            for node in graph.nodes
            for name in node.outputs
            if name
        }
        self._buffers = {HOST_MEMORY: TensorBuffers(graph)} | {
            kind.memory: TensorBuffers(graph)
            for kind in devices.values()
            if not kind.offloaded and kind.memory != HOST_MEMORY
        }
        #: Where each activation is besides its home.
        self._copies: set[tuple[str, str]] = set()
        #: Of values that were handed to another memory (True: from there), by tensor and memory.
        self._checksums: dict[tuple[str, str, bool], int] = {}

    def clear(self) -> None:
        """Forget what a run left."""
        self._copies.clear()
        self._checksums.clear()

    def home(self, name: str) -> str:
        """Return the memory in which a tensor is made; the model's inputs are the host's."""
        return self._homes.get(name, HOST_MEMORY)

    def buffers(self, memory: str) -> TensorBuffers:
        """Return the tensors of a memory that sessions work in."""
        return self._buffers[memory]

    def share_host(self, shared: TensorBuffers) -> None:
        """Give the host's values to `shared`, and use it from now on."""
        shared.adopt(self._buffers[HOST_MEMORY])
        self._buffers[HOST_MEMORY] = shared

    def array(self, name: str) -> Array:
        """Return the value of a tensor that the last run left in a memory of sessions."""
        memory = self.home(name)
        if memory not in self._buffers:
            copies = (other for other in self._buffers if (name, other) in self._copies)
            memory = next(copies, HOST_MEMORY)
        return self._buffers[memory].array(name)

    def bring(self, names: Iterable[str], memory: str, execution: Execution) -> None:
        """See to it that tensors are in a memory that sessions work in.

        Results of operators that were handed to a driver are there already: they are moved as they
        are made (`receive`).
        """
        for name in names:
            home = self.home(name)
            if home == memory or (name, memory) in self._copies or name in self._graph.constants:
                continue
            self._buffers[memory].store(name, self._buffers[home].array(name))
            self._copies.add((name, memory))
            info = self._graph.tensors[name]
            execution.transfers.append(
                Transfer(name, f"{home}>{memory}", info.elements, info.nbytes, OpStats())
            )

    def give(self, name: str, *, remember: bool) -> Array:
        """Return the value of a tensor at its home, for another memory.

        Parameters
        ----------
        name
            The tensor.
        remember
            Note what it is, so that `changed` can say when it is something else.
        """
        home = self.home(name)
        values = self._buffers[home].array(name)
        if remember:
            self._checksums[name, home, False] = _checksum(values)
        return values

    def receive(self, name: str, memory: str, values: Array, *, remember: bool) -> None:
        """Put a tensor of another home into a memory; parameters as of `give`."""
        self._buffers[memory].store(name, values)
        self._copies.add((name, memory))
        if remember:
            self._checksums[name, memory, True] = _checksum(values)

    def changed(self) -> list[str]:
        """Return which values are not what was handed over, in words."""
        return [
            f"{name}: {_in_words(memory)} has changed since the PIM {'made' if made else 'took'} it"
            for (name, memory, made), checksum in self._checksums.items()
            if checksum != _checksum(self._buffers[memory].array(name))
        ]


def _checksum(values: Array) -> int:
    return crc32(np.ascontiguousarray(values).view(np.uint8).data)


def _in_words(memory: str) -> str:
    return "CPU memory" if memory == HOST_MEMORY else f"memory {memory}"
