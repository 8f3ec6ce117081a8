"""States: tensors that a model keeps from one execution to the next, as the cache of a decoder.

A model that is executed once a token has its keys and values as inputs (`past`) and appends a row
to them. Read by the letter, the whole cache would come from the host in every execution and go back
to it. `with_states` recognizes such inputs, of built-in models and of exports in the same way:
a `State` stays where its operator is, and an execution writes rows into it.

Three operators append, and nothing else may read what they append to:

- `ScatterElements` or `TensorScatter` into a model input, at an index that is a model input too;
- `Concat` of a model input and of what is appended, along the last but one axis, whose result the
  model returns (exports with past and present): the rows are those behind the input's.

Scores are products by the transposed keys. As an operator of its own the transposition would copy
them all in every execution, so a product by a transposed state becomes ONNX Runtime's
`FusedMatMul`, which reads the rows as they lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pimloop.host.models.graph import Graph, Node, State, TensorInfo
from pimloop.host.models.stored import CONTRIB, CONTRIB_VERSION

_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))


def with_states(graph: Graph) -> Graph:
    """Return a graph with its states, and with products that read them as they lie.

    What an export returns of a state is no output any more: the state stays where it is.
    """
    states = tuple(state for node in graph.nodes if (state := _state(graph, node)) is not None)
    wholes = {state.whole for state in states}
    outputs = tuple(name for name in graph.outputs if name not in wholes)
    if not states or not outputs:
        return graph
    nodes = _read_as_they_lie(graph, wholes)
    used = {name for node in nodes for name in (*node.inputs, *node.outputs) if name}
    used.update((*graph.inputs, *outputs))
    opsets = dict(graph.opsets)
    if any(node.domain == CONTRIB for node in nodes):
        opsets.setdefault(CONTRIB, CONTRIB_VERSION)
    return replace(
        graph,
        nodes=nodes,
        tensors={name: info for name, info in graph.tensors.items() if name in used},
        outputs=outputs,
        opsets=opsets,
        states=states,
    )


def _state(graph: Graph, node: Node) -> State | None:
    """Return the state that an operator appends to, None where it does something else."""
    if node.domain or node.op not in ("Concat", "ScatterElements", "TensorScatter"):
        return None
    past, whole = node.inputs[0], node.outputs[0]
    info = graph.tensors[past]
    if past not in graph.inputs or graph.consumers[past] != (node,) or info.dtype not in _FLOATS:
        return None
    if past in graph.outputs or len(info.shape) < 2 or not info.elements:
        return None
    if node.op == "Concat":
        return _joined(graph, node, past, whole, info)
    return _scattered(graph, node, past, whole, info)


def _joined(graph: Graph, node: Node, past: str, whole: str, info: TensorInfo) -> State | None:
    axis = len(info.shape) - 2
    if len(node.inputs) != 2 or node.attributes["axis"] % len(info.shape) != axis:
        return None
    rows = node.inputs[1]
    if whole not in graph.outputs or rows in graph.constants or rows in graph.inputs:
        return None
    return State(past, rows, whole, node.id, first=info.shape[axis])


def _scattered(graph: Graph, node: Node, past: str, whole: str, info: TensorInfo) -> State | None:
    rank = len(info.shape)
    if node.op == "ScatterElements":
        _, index, rows = node.inputs
        axis, plain = node.attributes.get("axis", 0), not _text(node.attributes, "reduction")
    elif len(node.inputs) == 3:
        _, rows, index = node.inputs
        axis, plain = node.attributes.get("axis", -2), _text(node.attributes, "mode") != "circular"
    else:
        return None
    appended = graph.tensors[rows].shape
    others = (*info.shape[:-2], info.shape[-1])
    if not plain or axis % rank != rank - 2 or (*appended[:-2], appended[-1]) != others:
        return None
    if index not in graph.inputs or rows in graph.constants or rows in graph.inputs:
        return None
    # Several rows have several indices, which need not follow each other.
    return State(past, rows, whole, node.id, index=index) if appended[-2] == 1 else None


def _text(attributes: Mapping[str, object], name: str) -> str:
    value = attributes.get(name, b"")
    text = value.decode() if isinstance(value, bytes) else str(value)
    return "" if text == "none" else text


def _read_as_they_lie(graph: Graph, wholes: set[str]) -> tuple[Node, ...]:
    """Return the operators with products by a transposed state as `FusedMatMul`."""
    turned: dict[str, str] = {}  # result of a transposition -> the state
    for node in graph.nodes:
        if node.op == "Transpose" and not node.domain and node.inputs[0] in wholes:
            result = node.outputs[0]
            rank = len(graph.tensors[result].shape)
            order = [*range(rank - 2), rank - 1, rank - 2]
            readers = graph.consumers.get(result, ())
            products = all(
                reader.op == "MatMul" and not reader.domain and result != reader.inputs[0]
                for reader in readers
            )
            if list(node.attributes.get("perm", ())) == order and products:
                turned[result] = node.inputs[0]
    turned = {result: whole for result, whole in turned.items() if result not in graph.outputs}
    nodes = []
    for node in graph.nodes:
        if node.outputs[0] in turned:
            continue
        if node.op == "MatMul" and not node.domain and node.inputs[1] in turned:
            inputs = (node.inputs[0], turned[node.inputs[1]])
            attributes = {"transB": 1}
            node = replace(
                node, op="FusedMatMul", domain=CONTRIB, inputs=inputs, attributes=attributes
            )
        nodes.append(node)
    return tuple(nodes)
