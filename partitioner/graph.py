"""The computational graph: operators with their capable devices, tensors, memories.

A `Graph` says what can run where and what can move where, without any cost.
`pimloop.partitioner.costs` adds the costs, `pimloop.partitioner.dcg` expands it to the
device-mapped graph, `pimloop.partitioner.onnx_graph` makes it from an ONNX model.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pimloop.partitioner.errors import PartitionerError

#: The memory in which model inputs start and model outputs end.
HOME_MEMORY = "cpu"

#: A transfer direction: (source memory, destination memory).
Move = tuple[str, str]


@dataclass(frozen=True)
class Operator:
    """One operator of the model."""

    id: str
    op: str  # operator type, for example "MatMul"
    devices: tuple[str, ...]  # devices that can execute it, in the order of the memory table
    signature: str | None = None  # equal signatures: same type, shapes and attributes
    weight_bytes: int = 0  # bytes of weights resident in the memory it runs from
    shared_weights: tuple[str, ...] = ()  # names of weights that are there once for all readers


@dataclass(frozen=True)
class Tensor:
    """One value that operators exchange."""

    id: str
    producer: str | None  # operator id; None for a model input, which starts in `HOME_MEMORY`
    consumers: tuple[str, ...]  # operator ids, each once
    output: bool = False  # True: must end in `HOME_MEMORY`
    bytes: int | None = None  # size of one transfer
    type: str | None = None  # element type, part of the transfer's class
    moves: frozenset[Move] = frozenset()  # allowed transfer directions


@dataclass(frozen=True)
class Graph:
    """Operators, tensors and memories; checked when made.

    Parameters
    ----------
    memories
        Memory name to the devices that compute in it, in preference order.
    operators, tensors
        In file order; the order breaks every tie.
    shared_weights
        Bytes of the weights that operators name in `Operator.shared_weights`: they take room in a
        memory once, however many operators there read them.

    Raises
    ------
    PartitionerError
        For duplicate ids, unknown producers, consumers, devices or memories, operators without a
        device, a graph without operators, or a cycle (the message names the culprit).
    """

    memories: Mapping[str, tuple[str, ...]]
    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    name: str = field(default="graph", compare=False)  # what error messages call it
    shared_weights: Mapping[str, int] = field(default_factory=dict)  # name -> bytes

    def __post_init__(self) -> None:
        self._check_memories()
        self._check_operators()
        self._check_tensors()
        # Found now, so that no solver has to expect a cycle.
        _ = self.order

    @cached_property
    def memory_of(self) -> dict[str, str]:
        """Device name to the name of its memory."""
        return {device: memory for memory, names in self.memories.items() for device in names}

    @cached_property
    def index(self) -> dict[str, int]:
        """Operator id to its position in `operators`."""
        return {operator.id: i for i, operator in enumerate(self.operators)}

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Topological order of operator positions: file order wherever the graph allows it."""
        successors: list[list[int]] = [[] for _ in self.operators]
        waiting = [0] * len(self.operators)
        for tensor in self.tensors:
            if tensor.producer is None:
                continue
            source = self.index[tensor.producer]
            for consumer in tensor.consumers:
                successors[source].append(self.index[consumer])
                waiting[self.index[consumer]] += 1
        ready = [i for i, count in enumerate(waiting) if count == 0]
        heapq.heapify(ready)
        order: list[int] = []
        while ready:
            current = heapq.heappop(ready)
            order.append(current)
            for successor in successors[current]:
                waiting[successor] -= 1
                if waiting[successor] == 0:
                    heapq.heappush(ready, successor)
        if len(order) < len(self.operators):
            cycle = _find_cycle(successors, [count > 0 for count in waiting])
            path = " -> ".join(repr(self.operators[i].id) for i in cycle)
            raise PartitionerError(
                f"{self.name}: the graph has a cycle: {path}; remove one of these edges"
            )
        return tuple(order)

    def memories_of(self, operator: Operator) -> tuple[str, ...]:
        """Return the memories that `operator` can compute in, in the order of `memories`."""
        usable = {self.memory_of[device] for device in operator.devices}
        return tuple(memory for memory in self.memories if memory in usable)

    def _check_memories(self) -> None:
        if not self.memories:
            raise PartitionerError(f"{self.name}: no memories; list at least one with its devices")
        owner: dict[str, str] = {}
        for memory, devices in self.memories.items():
            if ">" in memory or not memory:
                raise PartitionerError(
                    f"{self.name}: memory {memory!r}: a name must be non-empty and without '>'"
                )
            if not devices:
                raise PartitionerError(f"{self.name}: memory {memory!r} has no devices; list one")
            for device in devices:
                if device in owner:
                    raise PartitionerError(
                        f"{self.name}: device {device!r} is listed in memory {owner[device]!r} "
                        f"and again in {memory!r}; a device has one memory"
                    )
                owner[device] = memory

    def _check_operators(self) -> None:
        if not self.operators:
            raise PartitionerError(f"{self.name}: the graph is empty; it needs one operator")
        if len(self.index) < len(self.operators):
            _raise_duplicate(self.name, "node", [operator.id for operator in self.operators])
        for operator in self.operators:
            if not operator.devices:
                raise PartitionerError(
                    f"{self.name}: node {operator.id!r}: no device can run it; "
                    "give at least one device a cost"
                )
            for weight in operator.shared_weights:
                if weight not in self.shared_weights:
                    raise PartitionerError(
                        f"{self.name}: node {operator.id!r}: the shared weight {weight!r} has no "
                        "entry in shared_weights; add its bytes"
                    )
            for device in operator.devices:
                if device not in self.memory_of:
                    raise PartitionerError(
                        f"{self.name}: node {operator.id!r}: unknown device {device!r}; "
                        f"the memories list {sorted(self.memory_of)}"
                    )

    def _check_tensors(self) -> None:
        ids = [tensor.id for tensor in self.tensors]
        if len(set(ids)) < len(ids):
            _raise_duplicate(self.name, "tensor", ids)
        for tensor in self.tensors:
            where = f"{self.name}: tensor {tensor.id!r}"
            if tensor.producer is not None and tensor.producer not in self.index:
                raise PartitionerError(
                    f"{where}: unknown producer {tensor.producer!r}; "
                    "add that node, or null for a model input"
                )
            for consumer in tensor.consumers:
                if consumer not in self.index:
                    raise PartitionerError(
                        f"{where}: unknown consumer {consumer!r}; add that node or remove it here"
                    )
            if (tensor.producer is None or tensor.output) and HOME_MEMORY not in self.memories:
                raise PartitionerError(
                    f"{where}: model inputs and outputs live in memory {HOME_MEMORY!r}, "
                    f"which is not among {list(self.memories)}; add it"
                )
            for source, destination in tensor.moves:
                for memory in (source, destination):
                    if memory not in self.memories:
                        raise PartitionerError(
                            f"{where}: transfer '{source}>{destination}' names the unknown memory "
                            f"{memory!r}; the memories are {list(self.memories)}"
                        )
                if source == destination:
                    raise PartitionerError(
                        f"{where}: transfer '{source}>{destination}' stays in one memory; remove it"
                    )


def _raise_duplicate(name: str, kind: str, ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for identifier in ids:
        if identifier in seen:
            raise PartitionerError(f"{name}: {kind} id {identifier!r} is used twice; rename one")
        seen.add(identifier)


def _find_cycle(successors: Sequence[Sequence[int]], in_doubt: Sequence[bool]) -> list[int]:
    """Return one cycle, first node repeated at the end, among the nodes that are `in_doubt`.

    Every node in doubt has a predecessor in doubt, so walking backwards must repeat a node.
    """
    predecessor: dict[int, int] = {}
    for source, targets in enumerate(successors):
        if in_doubt[source]:
            for target in targets:
                predecessor[target] = source
    current = next(i for i, doubt in enumerate(in_doubt) if doubt)
    position: dict[int, int] = {}
    walk: list[int] = []
    while current not in position:
        position[current] = len(walk)
        walk.append(current)
        current = predecessor[current]
    cycle = [*walk[position[current] :], current]
    return cycle[::-1]
