"""What a profile has to measure, and what a run measures of it.

An item is a pair (operator class, device) or a triple (transfer class, source memory, destination
memory). Without grouping each operator and each tensor is its own class; with it, operators with
one signature share a class, and transfers with the same bytes, type and direction.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pimloop.partitioner.graph import HOME_MEMORY, Graph, Move
from pimloop.partitioner.place.capacity import overfull

Item = int


@dataclass(frozen=True)
class Uncoverable:
    """Something listed in the graph that no assignment can make happen."""

    kind: str  # "node" or "transfer"
    id: str  # operator or tensor
    where: str  # device, or "source>destination"
    reason: str


class Coverage:
    """The items of a graph and who can cover them.

    Parameters
    ----------
    graph
        The graph to profile.
    group_operators, group_transfers
        Whether equal signatures, equal transfer attributes, share one item.
    capacity
        Memory -> bytes that the weights of a run may take there; left out: no limit.

    Attributes
    ----------
    node_items
        For each operator index, device -> item.
    transfer_items
        For each tensor index, (source, destination) -> item, for the moves that its producer and
        some consumer can cause.
    sources, readers
        For each tensor index, the memories it can start in, and for each memory the operator
        indices that can read it there.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        group_operators: bool,
        group_transfers: bool,
        capacity: Mapping[str, int] | None = None,
    ) -> None:
        self.graph = graph
        self.capacity: Mapping[str, int] = capacity or {}
        self._numbers: dict[Hashable, Item] = {}
        self.node_items: list[dict[str, Item]] = []
        self.transfer_items: list[dict[Move, Item]] = []
        self.sources: list[tuple[str, ...]] = []
        self.readers: list[dict[str, tuple[int, ...]]] = []
        self.impossible: list[Uncoverable] = []
        memories = [graph.memories_of(operator) for operator in graph.operators]
        for operator in graph.operators:
            grouped = group_operators and operator.signature is not None
            name: tuple[Hashable, ...] = (
                ("signature", operator.signature) if grouped else ("operator", operator.id)
            )
            self.node_items.append({d: self._number((*name, d)) for d in operator.devices})
        self.node_count = len(self._numbers)
        for tensor in graph.tensors:
            consumers = [graph.index[consumer] for consumer in tensor.consumers]
            readers = {
                memory: tuple(c for c in consumers if memory in memories[c])
                for memory in graph.memories
            }
            start = (
                (HOME_MEMORY,)
                if tensor.producer is None
                else memories[graph.index[tensor.producer]]
            )
            self.sources.append(start)
            self.readers.append(readers)
            grouped = group_transfers and tensor.bytes is not None
            name = ("bytes", tensor.bytes, tensor.type) if grouped else ("tensor", tensor.id)
            items: dict[Move, Item] = {}
            for move in sorted(tensor.moves):
                source, destination = move
                ends = bool(readers[destination]) or (tensor.output and destination == HOME_MEMORY)
                if source in start and ends:
                    items[move] = self._number((*name, move))
                else:
                    side = "no consumer can run in" if source in start else "it cannot start in"
                    memory = destination if source in start else source
                    reason = f"{side} memory {memory!r}"
                    self.impossible.append(
                        Uncoverable("transfer", tensor.id, f"{source}>{destination}", reason)
                    )
            self.transfer_items.append(items)
        self.item_count = len(self._numbers)

    def _number(self, key: Hashable) -> Item:
        return self._numbers.setdefault(key, len(self._numbers))

    def is_node(self, item: Item) -> bool:
        """Tell whether `item` is about an operator; otherwise it is about a transfer."""
        return item < self.node_count

    def covered(self, assignment: Mapping[str, str]) -> set[Item]:
        """Return the items that a run under `assignment` measures."""
        graph = self.graph
        devices = [assignment[operator.id] for operator in graph.operators]
        place = [graph.memory_of[device] for device in devices]
        result = {items[device] for items, device in zip(self.node_items, devices, strict=True)}
        for t, tensor in enumerate(graph.tensors):
            items = self.transfer_items[t]
            if not items:
                continue
            source = HOME_MEMORY if tensor.producer is None else place[graph.index[tensor.producer]]
            for destination in self.destinations(t, place):
                if (source, destination) in items:
                    result.add(items[source, destination])
        return result

    def forbidden(self, assignment: Mapping[str, str]) -> tuple[str, str, str] | None:
        """Return (tensor id, source, destination) of a move that is not allowed, if any."""
        graph = self.graph
        place = [graph.memory_of[assignment[operator.id]] for operator in graph.operators]
        for t, tensor in enumerate(graph.tensors):
            source = HOME_MEMORY if tensor.producer is None else place[graph.index[tensor.producer]]
            for destination in self.destinations(t, place) - {source}:
                if (source, destination) not in tensor.moves:
                    return tensor.id, source, destination
        return None

    def fits(self, assignment: Mapping[str, str]) -> bool:
        """Tell whether a run's weights are within every capacity."""
        return not overfull(self.graph, self.capacity, assignment)

    def destinations(self, tensor: int, place: Sequence[str]) -> set[str]:
        """Return the memories where tensor number `tensor` is needed under `place`."""
        entry = self.graph.tensors[tensor]
        needed = {place[self.graph.index[consumer]] for consumer in entry.consumers}
        if entry.output:
            needed.add(HOME_MEMORY)
        return needed

    def causes(self) -> Iterator[tuple[Item, str, tuple[tuple[int, str], ...]]]:
        """Yield (item, what it measures, placements that cause it) for every way to an item.

        A placement is (operator index, device or memory): a device for an operator's own item,
        memories for the two ends of a transfer.
        """
        for v, devices in enumerate(self.node_items):
            for device, item in devices.items():
                yield item, device, ((v, device),)
        for t, tensor in enumerate(self.graph.tensors):
            start = () if tensor.producer is None else (self.graph.index[tensor.producer],)
            for (source, destination), item in self.transfer_items[t].items():
                transfer = f"{source}>{destination}"
                origin = tuple((v, source) for v in start)
                if tensor.output and destination == HOME_MEMORY:
                    yield item, transfer, origin
                for reader in self.readers[t][destination]:
                    yield item, transfer, (*origin, (reader, destination))
