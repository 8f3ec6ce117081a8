"""Operators that read their elements more than once: windows, normalizations, interpolations.

Their amounts follow from shapes and attributes; the rates are those of reductions and streams, so
all of them are derived.
"""

from __future__ import annotations

from math import prod

from pimloop.host.cpu.amounts import Describe, Work, inputs, result
from pimloop.host.models.graph import Graph, Node


def _reads(elements: float, out: int, parts: tuple[Work, ...] = ()) -> Work:
    amounts = {"reduce_ns": float(elements)}
    return Work("reduction", "reduce_call_us", amounts, out, basis="derived", parts=parts)


def pooling(graph: Graph, node: Node) -> Work:
    """Describe a pooling: every element of the result reads a window."""
    elements = result(graph, node).elements
    return _reads(elements * prod(node.attributes["kernel_shape"]), elements)


def local_response(graph: Graph, node: Node) -> Work:
    """Describe LRN: every element reads `size` channels."""
    elements = result(graph, node).elements
    return _reads(elements * int(node.attributes["size"]), elements)


def all_read(graph: Graph, node: Node) -> Work:
    """Describe an operator that reads its first input once, element by element."""
    elements = inputs(graph, node)[0].elements
    return _reads(elements, elements)


def normalization(passes: int) -> Describe:
    """Return how a normalization is described: passes to find its moments, then a stream."""

    def describe(graph: Graph, node: Node) -> Work:
        elements = result(graph, node).elements
        sources = sum(info.elements for info in inputs(graph, node) if info.elements == elements)
        streams = Work(
            "element-wise",
            "elementwise_call_us",
            {"stream_ns": float(elements + sources)},
            elements,
            basis="derived",
        )
        return _reads(passes * elements, elements, (streams,))

    return describe


def interpolation(graph: Graph, node: Node) -> Work:
    """Describe Resize: every element of the result reads its neighbours along the axes resized."""
    source, out = inputs(graph, node)[0].shape, result(graph, node)
    mode = node.attributes.get("mode", "nearest")
    mode = mode.decode() if isinstance(mode, bytes) else str(mode)
    neighbours = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4}[mode]
    axes = sum(a != b for a, b in zip(source, out.shape, strict=True))
    if neighbours == 1:
        amounts = {"copy_ns": float(out.elements)}
        return Work("movement", "copy_call_us", amounts, out.elements, basis="derived")
    return _reads(out.elements * neighbours**axes, out.elements)
