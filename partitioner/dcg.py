"""The device-mapped computational graph (DCG) of Kim et al. 2024 and its counts.

One node for each operator and capable device, a start and an end node, and edges that carry a
tensor between two such nodes with the device pair they join. `DcgCounts` says how each number is
counted; with these definitions the paper's published counts come out exactly (docs/paper.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import networkx as nx

from pimloop.partitioner.graph import HOME_MEMORY, Graph, Operator, Tensor

START, END = "start", "end"


class _Attributes(NamedTuple):
    """What makes two transfers one DA edge."""

    source: str
    destination: str
    bytes: int | None
    type: str | None
    alone: str | None  # id of a tensor without a size, which is a class of its own


class _Instance(NamedTuple):
    """A node of the DCG with its memory and device."""

    node: object
    memory: str
    device: str | None


@dataclass(frozen=True)
class DaEdge:
    """A transfer with distinct attributes."""

    source: str  # memory
    destination: str  # memory
    bytes: int | None  # None: the file gives no size, so the tensor is a class of its own
    type: str | None
    tensors: tuple[str, ...]  # ids of the tensors that share it


@dataclass(frozen=True)
class DcgCounts:
    """The sizes of the two graphs."""

    cg_nodes: int  # |Vc|: operators
    cg_edges: int  # |Ec|: distinct pairs (producer, consumer) of operators
    dcg_nodes: int  # |Vd|: pairs (operator, capable device); start and end not counted
    # |Ed|: distinct (tensor between operators, producer's device, consumer's device) with two
    # different devices; several consumers that can run on one device count once
    dcg_edges: int
    dcg_edges_same_device: int  # the same with the two devices equal, which |Ed| leaves out
    da_edges: tuple[DaEdge, ...]  # of tensors between operators, over all allowed moves
    io_da_edges: tuple[DaEdge, ...]  # of model inputs and outputs, as far as not in `da_edges`
    offload_capable: int  # operators with a device outside the memory "cpu" (PIM-capable)


def build_dcg(graph: Graph) -> nx.MultiDiGraph:
    """Return the DCG.

    Nodes are `START`, `END` and pairs (operator id, device), with attributes `op` and `memory`.
    An edge's key is its tensor's id; its attributes are `devices` (the pair) and `move` (source
    and destination memory, None within a memory). Edges whose move is forbidden are left out.
    `START` leads to the readers of model inputs and to operators that read nothing, `END` comes
    after producers of model outputs and operators that nobody reads.
    """
    dcg = nx.MultiDiGraph()
    dcg.add_node(START)
    dcg.add_node(END)
    by_id = {operator.id: operator for operator in graph.operators}
    has_input: set[str] = set()
    has_reader: set[str] = set()
    for operator in graph.operators:
        for device in operator.devices:
            memory = graph.memory_of[device]
            dcg.add_node((operator.id, device), op=operator.op, memory=memory)
    for tensor in graph.tensors:
        readers = [by_id[consumer] for consumer in tensor.consumers]
        has_input.update(tensor.consumers)
        sources = [_Instance(START, HOME_MEMORY, None)]
        if tensor.producer is not None:
            if readers:
                has_reader.add(tensor.producer)
            sources = _instances(graph, by_id[tensor.producer])
        targets = [instance for reader in readers for instance in _instances(graph, reader)]
        if tensor.output and tensor.producer is not None:
            has_reader.add(tensor.producer)
            targets.append(_Instance(END, HOME_MEMORY, None))
        for tail, source, from_device in sources:
            for head, destination, to_device in targets:
                move = None if source == destination else (source, destination)
                if move is None or move in tensor.moves:
                    devices = (from_device, to_device)
                    dcg.add_edge(tail, head, key=tensor.id, devices=devices, move=move)
    for operator in graph.operators:
        for node, _, owner in _instances(graph, operator):
            if operator.id not in has_input:
                dcg.add_edge(START, node, key=None, devices=(None, owner), move=None)
            if operator.id not in has_reader:
                dcg.add_edge(node, END, key=None, devices=(owner, None), move=None)
    return dcg


def count_dcg(graph: Graph) -> DcgCounts:
    """Return the counts of `graph` and of its DCG, as `DcgCounts` defines them."""
    by_id = {operator.id: operator for operator in graph.operators}
    pairs: set[tuple[str, str]] = set()
    different = same = 0
    for tensor in graph.tensors:
        if tensor.producer is None:
            continue
        pairs.update((tensor.producer, consumer) for consumer in tensor.consumers)
        producer = by_id[tensor.producer]
        reading = {device for consumer in tensor.consumers for device in by_id[consumer].devices}
        same += len(reading.intersection(producer.devices))
        different += sum(len(reading - {device}) for device in producer.devices)
    inner: dict[_Attributes, list[str]] = {}
    outer: dict[_Attributes, list[str]] = {}
    for tensor in graph.tensors:
        between = tensor.producer is not None
        for source, destination, ends_in_operator in _moves(graph, tensor, by_id):
            alone = tensor.id if tensor.bytes is None else None
            key = _Attributes(source, destination, tensor.bytes, tensor.type, alone)
            table = inner if between and ends_in_operator else outer
            table.setdefault(key, []).append(tensor.id)
    return DcgCounts(
        cg_nodes=len(graph.operators),
        cg_edges=len(pairs),
        dcg_nodes=sum(len(operator.devices) for operator in graph.operators),
        dcg_edges=different,
        dcg_edges_same_device=same,
        da_edges=_da_edges(inner),
        io_da_edges=_da_edges({key: ids for key, ids in outer.items() if key not in inner}),
        offload_capable=sum(
            any(memory != HOME_MEMORY for memory in graph.memories_of(operator))
            for operator in graph.operators
        ),
    )


def _instances(graph: Graph, operator: Operator) -> list[_Instance]:
    return [
        _Instance((operator.id, device), graph.memory_of[device], device)
        for device in operator.devices
    ]


def _moves(
    graph: Graph, tensor: Tensor, by_id: dict[str, Operator]
) -> Iterator[tuple[str, str, bool]]:
    """Yield (source, destination, whether an operator reads it there) of the possible moves."""
    sources = (
        (HOME_MEMORY,) if tensor.producer is None else graph.memories_of(by_id[tensor.producer])
    )
    reading = {m for consumer in tensor.consumers for m in graph.memories_of(by_id[consumer])}
    for source in sources:
        for destination in graph.memories:
            if (source, destination) in tensor.moves:
                if destination in reading:
                    yield source, destination, True
                elif tensor.output and destination == HOME_MEMORY:
                    yield source, destination, False


def _da_edges(table: dict[_Attributes, list[str]]) -> tuple[DaEdge, ...]:
    return tuple(DaEdge(*key[:4], tuple(tensors)) for key, tensors in table.items())
