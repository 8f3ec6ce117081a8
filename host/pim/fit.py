"""What of a model can run on a platform's PIM: capability, and room in the device's memory.

Sizes are those of the driver: padded, each constant once in each form it is read in. The model is
placed on a device without time exactly as it will be placed on the real one.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pimloop.partitioner.graph as cg
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Operation, kept_on_cpu, pim_capable
from pimloop.host.operators.append import Append, resident_uses
from pimloop.host.operators.integer_product import IntegerProduct
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.forms import Forms, driver_forms
from pimloop.host.pim.placement import NoRoomError
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.pim.weights import DeviceWeights, Key, integer_format
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.place.capacity import Room
from pimloop.partitioner.quantity import quantity

#: Of the device that a model is placed on; nothing is transferred but the driver's two rows.
_BUFFER_BYTES = 1 << 20

_STATE_TAKES = "its state, at full length, takes"

#: What was computed last for each graph that is in use, by the graph's identity.
_known: dict[int, tuple[Platform, PimFit]] = {}


@dataclass(frozen=True)
class Stored:
    """A constant in device memory."""

    key: Key
    name: str  # of the tensor, and its form where it has several
    nbytes: int  # padding included


@dataclass(frozen=True)
class PimFit:
    """The operators of a model that can run on the PIM, and what room they need there."""

    operations: Mapping[str, Operation]  # by node id
    kept_on_cpu: Mapping[str, str]  # node id: why it cannot, though the PIM has the operation
    weights: Mapping[str, tuple[Stored, ...]]  # the constants of each of `operations`
    weight_room: int  # bytes that the weights of one schedule may take
    device_bytes: int
    static: bool  # all weights fit together, so addresses are the same in every schedule
    #: By node id: how many columns of its result the PIM can compute alone, the first ones.
    first_columns: Mapping[str, range] = field(default_factory=dict)

    def operators(self) -> tuple[dict[str, int], dict[str, tuple[str, ...]], dict[str, int]]:
        """Return bytes of its own and shared constants of each node, and the latter's bytes."""
        readers: dict[Key, int] = {}
        for constants in self.weights.values():
            for constant in constants:
                readers[constant.key] = readers.get(constant.key, 0) + 1
        own = {
            node: sum(constant.nbytes for constant in constants if readers[constant.key] == 1)
            for node, constants in self.weights.items()
        }
        first: dict[Key, Stored] = {}
        shared: dict[str, tuple[str, ...]] = {}
        for node, constants in self.weights.items():
            several = [constant for constant in constants if readers[constant.key] > 1]
            shared[node] = tuple(
                first.setdefault(constant.key, constant).name for constant in several
            )
        return own, shared, {constant.name: constant.nbytes for constant in first.values()}

    def states_without_room(self, graph: Graph, on_pim: Collection[str]) -> dict[str, str]:
        """Return the states on the CPU that device memory has no room for, and why.

        Parameters
        ----------
        graph
            The model.
        on_pim
            Ids of the operators that the PIM computes, or a part of.

        Returns
        -------
        dict
            By the model input that has a state (`State.past`); too large alone, or too large
            beside the constants and states of `on_pim`.
        """
        taken = {c.key: c.nbytes for node in on_pim for c in self.weights.get(node, ())}
        free = self.weight_room - sum(taken.values())
        reasons = {}
        for state in graph.states:
            if state.node in self.kept_on_cpu:
                reasons[state.past] = self.kept_on_cpu[state.node]
            elif state.node in self.weights and state.node not in on_pim:
                needed = sum(c.nbytes for c in self.weights[state.node] if c.key not in taken)
                if needed > free:
                    reasons[state.past] = (
                        f"{_STATE_TAKES} {quantity(needed, 'byte')} in device memory, where {free}"
                        f" of {self.weight_room} are left beside what the plan has there"
                    )
        return reasons

    def within(self, graph: Graph, assignment: Mapping[str, str]) -> dict[str, str]:
        """Return an assignment with those PIM operators on the CPU that do not fit.

        They keep the PIM in the order of the graph as long as there is room; the others go to all
        CPU cores.
        """
        own, shared, sizes = self.operators()
        operators = tuple(
            cg.Operator(n.id, n.op, ("pim",), None, own.get(n.id, 0), shared.get(n.id, ()))
            for n in graph.nodes
        )
        room = Room(
            cg.Graph({"pim": ("pim",)}, operators, (), graph.name, sizes),
            {"pim": self.weight_room},
        )
        result = dict(assignment)
        for v, node in enumerate(graph.nodes):
            if result[node.id] != "pim":
                continue
            if node.id in self.operations and room.fits(v, "pim"):
                room.take(v, "pim")
            else:
                result[node.id] = "cpu_parallel"
        return result


def pim_fit(graph: Graph, platform: Platform) -> PimFit:
    """Return what of `graph` can run on the PIM of `platform`.

    An operator stays on the CPU where bfloat16 does not have one of its constants
    (`pimloop.host.operators`), where its weights alone do not fit beside the activations,
    and where its activations do not fit beside those in use. The answer is kept as long as the
    graph is: commands ask several times.
    """
    if id(graph) not in _known:
        weakref.finalize(graph, _known.pop, id(graph), None)
    elif _known[id(graph)][0] == platform:
        return _known[id(graph)][1]
    fit = _compute(graph, platform)
    _known[id(graph)] = platform, fit
    return fit


def _compute(graph: Graph, platform: Platform) -> PimFit:
    operations = pim_capable(graph, platform.capabilities)
    kept = kept_on_cpu(graph, platform.capabilities)
    with (
        ModelDevice(platform.geometry(), _BUFFER_BYTES) as device,
        PimDriver.for_platform(device, platform) as driver,
    ):
        _keep_integers(operations, kept, driver)
        capacity, room = driver.memory.capacity, driver.memory.free_bytes
        while True:
            # Forms, and with them sizes, depend on what the CPU computes.
            forms = driver_forms(graph, operations, driver)
            stored = _stored(graph, operations, forms, driver)
            needed = {
                node: sum(constant.nbytes for constant in stored[node]) for node in operations
            }
            large = [node for node in operations if needed[node] > room]
            for node in large:
                kept[node] = (
                    f"{_what(graph, operations[node])} {quantity(needed[node], 'byte')} in device"
                    f" memory, which has {capacity}, {room} of them for weights"
                )
                del operations[node]
            if large:
                continue
            with ResidentModel(graph, operations, driver, forms=forms) as resident:
                room, static, failure = resident.weight_room, resident.static, resident.no_room
                first = {name: resident.first_columns(graph.node(name)) for name in operations}
            if isinstance(failure, NoRoomError):
                del operations[failure.node]
                kept[failure.node] = f"its activations do not fit into device memory ({failure})"
                room = driver.memory.free_bytes
            elif all(needed[node] <= room for node in operations):
                break
    return PimFit(
        operations=operations,
        kept_on_cpu={node.id: kept[node.id] for node in graph.nodes if node.id in kept},
        weights=stored,
        weight_room=room,
        device_bytes=capacity,
        static=static,
        first_columns={name: columns for name, columns in first.items() if columns},
    )


def _keep_integers(
    operations: dict[str, Operation], kept: dict[str, str], driver: PimDriver
) -> None:
    """Take out the products by integers that a device does not have, and say why."""
    for node, operation in list(operations.items()):
        if isinstance(operation, IntegerProduct):
            weights = operation.weights
            reason = driver.integers_refused(weights.inner, *integer_format(weights))
            if reason is not None:
                kept[node] = f"weights of {weights.kind.words}: {reason}"
                del operations[node]


def _what(graph: Graph, operation: Operation) -> str:
    """Return what of an operator takes room in device memory for all executions."""
    if isinstance(operation, Append) or graph.state_named.keys() & {*operation.operands}:
        return _STATE_TAKES
    return "its weights take"


def _stored(
    graph: Graph, operations: Mapping[str, Operation], forms: Forms, driver: PimDriver
) -> dict[str, tuple[Stored, ...]]:
    """Return the constants of each operator as the device has them, each once."""
    weights = DeviceWeights(driver)
    stored = {}
    for node, operation in operations.items():
        constants: dict[Key, Stored] = {}
        for use in resident_uses(
            graph, graph.node(node), operation, forms.of(node), forms.in_blocks
        ):
            key = weights.key(graph, use)
            name = f"{use.name} ({use.label})"
            constants.setdefault(key, Stored(key, name, weights.nbytes(graph, use)))
        stored[node] = tuple(constants.values())
    return stored
