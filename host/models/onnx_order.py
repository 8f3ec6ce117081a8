"""The operators of an .onnx file in an order in which each comes after what it reads.

The standard asks for that order in a file, ONNX Runtime does without it, and some writers leave it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence

import onnx

from pimloop.errors import PimloopError


def subgraphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """Return the graphs in an attribute."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield operators, each before those of the graphs in its attributes."""
    for node in nodes:
        yield node
        for graph in (graph for a in node.attribute for graph in subgraphs(a)):
            yield from all_nodes(graph.node)


def names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, those of the graphs in its attributes included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in subgraphs(attribute):
            yield from outer_names(graph)


def outer_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the tensors that a subgraph reads and does not make: those of the graph around it."""
    made = {value.name for value in graph.input} | {value.name for value in graph.initializer}
    made |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        yield from (name for name in names_read(node) if name not in made)
    yield from (value.name for value in graph.output if value.name not in made)


def in_order(
    nodes: Sequence[onnx.NodeProto], given: Collection[str], where: str
) -> list[onnx.NodeProto]:
    """Return `nodes` in a topological order: the file's wherever that is one.

    Parameters
    ----------
    given
        Inputs and constants.
    where
        The file, for messages.

    Raises
    ------
    PimloopError
        When a tensor is made twice, is read and never made, or the operators form a cycle.
    """
    maker: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if not name:
                continue
            if name in given or name in maker:
                first = "an input or constant" if name in given else "another operator"
                raise PimloopError(
                    f"{where}: {_label(node, index)} makes '{name}', which {first} has made already"
                )
            maker[name] = index
    readers: list[list[int]] = [[] for _ in nodes]
    waiting = [0] * len(nodes)
    for index, node in enumerate(nodes):
        for name in dict.fromkeys(names_read(node)):
            if name in given:
                continue
            if name not in maker:
                raise PimloopError(
                    f"{where}: {_label(node, index)} reads '{name}', which no input, constant or"
                    " operator makes"
                )
            readers[maker[name]].append(index)
            waiting[index] += 1
    ready = [index for index, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        current = heapq.heappop(ready)
        order.append(current)
        for reader in readers[current]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        stuck = next(index for index, count in enumerate(waiting) if count)
        raise PimloopError(
            f"{where}: {_label(nodes[stuck], stuck)} waits for its own result: the operators form"
            " a cycle"
        )
    return [nodes[index] for index in order]


def _label(node: onnx.NodeProto, index: int) -> str:
    return f"node '{node.name or index}' ({node.op_type})"
