"""Fused attention and recurrent layers: several products, softmax and activations in one call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from pimloop.host.cpu.amounts import (
    Describe,
    Shape,
    Work,
    inputs,
    matrix_product,
    optional_input,
    product,
    result,
)
from pimloop.host.models.graph import Graph, Node, TensorInfo


@dataclass(frozen=True)
class Heads:
    """The sizes of an attention."""

    batch: int
    heads: int
    queries: int  # rows of the query
    keys: int  # rows of the key, those of a cache included
    head_size: int
    value_size: int

    def works(self) -> tuple[Work, ...]:
        """Return scores, softmax and weighted values, as the operators that they equal."""
        lead = (self.batch, self.heads)
        count = prod(lead) * self.queries
        scores = count * self.keys
        return (
            matrix_product(
                (*lead, self.queries, self.head_size),
                (*lead, self.head_size, self.keys),
                scores,
                "derived",
            ),
            function("softmax_ns", scores),
            matrix_product(
                (*lead, self.queries, self.keys),
                (*lead, self.keys, self.value_size),
                count * self.value_size,
                "derived",
            ),
        )


def function(parameter: str, elements: int) -> Work:
    """Return the work of a function of `elements`."""
    amounts = {parameter: float(elements)}
    return Work("function", "function_call_us", amounts, elements, basis="derived")


def _joined(works: tuple[Work, ...]) -> Work:
    return replace(works[0], parts=works[1:])


def projected_attention(past: int) -> Describe:
    """Return how Attention of com.microsoft is described: one product gives query, key and value.

    Parameters
    ----------
    past
        The input that has the cache, (2, batch, heads, rows, head size).
    """

    def describe(graph: Graph, node: Node) -> Work:
        source, weights = (graph.tensors[name] for name in node.inputs[:2])
        batch, rows, _ = source.shape
        heads = int(node.attributes["num_heads"])
        query, _, value = node.attributes.get("qkv_hidden_sizes") or (weights.shape[1] // 3,) * 3
        cache = optional_input(graph, node, past)
        columns = weights.shape[1]
        projection = product(
            source.elements * columns,
            right_elements=weights.elements,
            elements=batch * rows * columns,
            basis="derived",
        )
        keys = rows + (cache.shape[3] if cache is not None else 0)
        core = Heads(batch, heads, rows, keys, query // heads, value // heads)
        return _joined((projection, *core.works()))

    return describe


def multi_head_attention(graph: Graph, node: Node) -> Work:
    """Describe MultiHeadAttention: query, key and value apart, or packed in one or two tensors."""
    query = graph.tensors[node.inputs[0]].shape
    heads = int(node.attributes["num_heads"])
    key, value = (optional_input(graph, node, index) for index in (1, 2))
    past = optional_input(graph, node, 6)
    batch, rows = query[:2]
    size = query[-1] if len(query) == 5 else query[-1] // heads
    keys, value_size = rows, size
    if key is not None:
        keys = key.shape[2] if len(key.shape) == 4 else key.shape[1]
    if value is not None:
        value_size = value.shape[-1] if len(value.shape) == 4 else value.shape[-1] // heads
    keys += past.shape[2] if past is not None else 0
    return _joined(Heads(batch, heads, rows, keys, size, value_size).works())


def group_query_attention(graph: Graph, node: Node) -> Work:
    """Describe GroupQueryAttention: fewer heads of keys than of queries, and a cache."""
    batch, rows, width = graph.tensors[node.inputs[0]].shape
    heads, shared = (int(node.attributes[key]) for key in ("num_heads", "kv_num_heads"))
    packed = optional_input(graph, node, 1) is None
    size = width // (heads + 2 * shared if packed else heads)
    past = optional_input(graph, node, 3)
    present = _output(graph, node, 1)
    if present is not None:
        keys = present.shape[2]
    else:
        keys = rows + (past.shape[2] if past is not None else 0)
    return _joined(Heads(batch, heads, rows, keys, size, size).works())


def standard_attention(graph: Graph, node: Node) -> Work:
    """Describe Attention of ONNX: heads are an axis, or attributes say how many there are."""
    query, key, value = (graph.tensors[name].shape for name in node.inputs[:3])
    past = optional_input(graph, node, 4)
    heads = query[1] if len(query) == 4 else int(node.attributes["q_num_heads"])
    shared = key[1] if len(key) == 4 else int(node.attributes["kv_num_heads"])
    keys = key[-2] + (past.shape[2] if past is not None else 0)
    sizes = (_head_size(query, heads), _head_size(value, shared))
    return _joined(Heads(query[0], heads, query[-2], keys, *sizes).works())


def _head_size(shape: Shape, heads: int) -> int:
    return shape[-1] if len(shape) == 4 else shape[-1] // heads


def _output(graph: Graph, node: Node, index: int) -> TensorInfo | None:
    if index >= len(node.outputs) or not node.outputs[index]:
        return None
    return graph.tensors[node.outputs[index]]


def recurrent(activations: int) -> Describe:
    """Return how LSTM, GRU or RNN is described.

    Parameters
    ----------
    activations
        Functions of each element of the state and step.
    """

    def describe(graph: Graph, node: Node) -> Work:
        source, weights, states = inputs(graph, node)[:3]
        steps = prod(source.shape[:2])  # of every sequence in the batch
        right = weights.elements + states.elements
        elements = result(graph, node).elements
        work = product(steps * right, right_elements=right, elements=elements, basis="derived")
        hidden = int(node.attributes.get("hidden_size", states.shape[-1]))
        directions = states.shape[0]
        functions = function("tanh_ns", steps * directions * hidden * activations)
        return replace(work, parts=(functions,))

    return describe
