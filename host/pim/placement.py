"""Static addresses: where everything that a model may put on the PIM lies, in every schedule.

An operator's descriptors hold the addresses of its operands, intermediates and result. With
addresses that do not depend on which other operators are on the PIM, the same operator is the same
descriptor list in every schedule: it takes the same cycles, and need be simulated only once.

The addresses come from a rehearsal with every capable operator on the PIM. There a tensor lives
from its producer (of those that the PIM cannot make: from its first reader on the PIM) to its last
reader on the PIM. Under any other assignment it is in device memory for a part of that time, so
the same addresses serve. What an operator's intermediates may use is kept beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pimloop.host.models.graph import Graph, Node
from pimloop.host.operators.base import Operation
from pimloop.host.pim.driver import DeviceMatrix, DeviceTensor, OutOfDeviceMemoryError, PimDriver
from pimloop.host.pim.driver.memory import Block, FreeRanges, joined

#: An activation in device memory; a matrix where the host lays it out as a right operand.
Handle = DeviceTensor | DeviceMatrix

#: Runs one operator: (node, tensor handles by name) -> handle of the result.
Call = Callable[[Node, Mapping[str, Handle]], Handle]


class NoRoomError(OutOfDeviceMemoryError):
    """The activations of an operator do not fit beside those that are in use.

    Attributes
    ----------
    node
        Id of the operator.
    """

    def __init__(self, node: str, message: str) -> None:
        super().__init__(f"operator '{node}': {message}")
        self.node = node


@dataclass(frozen=True)
class Placement:
    """Static addresses of a model's activations and intermediates."""

    tensors: Mapping[str, Handle]  # by name; handles that are never freed
    free: Mapping[str, FreeRanges]  # by node id: what its result and intermediates come from
    blocks: tuple[Block, ...]  # all memory that tensors, results and intermediates use


def rehearse(
    graph: Graph,
    operations: Mapping[str, Operation],
    driver: PimDriver,
    call: Call,
    new: Callable[[str], Handle],
    lasting: Collection[str] = (),
) -> Placement:
    """Place the activations of a model; its constants must have been placed.

    Parameters
    ----------
    graph, operations
        The model, and every operator that may run on the PIM.
    driver
        Of the device; nothing runs on it and its memory is unchanged afterwards.
    call
        Runs one operator.
    new
        Allocates a tensor that is moved to the device, by name.
    lasting
        Tensors that have a place of their own, which stays.

    Raises
    ------
    NoRoomError
        When the activations do not fit beside the constants; it has the operator.
    """
    last = _last_reader(graph, operations)
    tensors: dict[str, Handle] = {}
    free: dict[str, FreeRanges] = {}
    with driver.rehearsal() as taken:
        for node in graph.nodes:
            operation = operations.get(node.id)
            if operation is None:
                continue
            operands = operation.moved(graph)
            result = node.outputs[0]
            try:
                for name in operands:
                    if name not in tensors:
                        tensors[name] = new(name)
                free[node.id] = driver.memory.free_ranges
                tensors[result] = call(node, tensors)
            except OutOfDeviceMemoryError as error:
                raise NoRoomError(node.id, str(error)) from error
            over = [name for name in operands if last[name] == node.id]
            for name in over if result in last else [*over, result]:
                if name not in lasting:
                    driver.memory.free(tensors[name].block)
        return Placement(tensors, free, tuple(joined(taken)))


def _last_reader(graph: Graph, operations: Mapping[str, Operation]) -> dict[str, str]:
    """Return, for each tensor that capable operators read, the last of them."""
    return {
        name: node.id
        for node in graph.nodes
        if node.id in operations
        for name in operations[node.id].moved(graph)
    }
