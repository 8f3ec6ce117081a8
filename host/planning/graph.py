"""A model as the partitioner sees it: operators with capable devices, tensors with sizes.

Unlike `pimloop.partitioner.onnx_graph` this starts from the host's own graph, so that names,
capabilities and shapes are those of the executor. Weights are counted as the driver of the platform
stores them.
"""

from __future__ import annotations

import hashlib
from itertools import permutations

import numpy as np
from onnx import helper

import pimloop.partitioner.graph as cg
from pimloop.host.devices.kinds import HOST_MEMORY, DeviceKind, SessionDevice
from pimloop.host.models.graph import Graph, Node
from pimloop.host.operators.capabilities import TYPES
from pimloop.host.pim.fit import PimFit
from pimloop.host.platforms.platform import Platform

#: Bytes of an element in device memory (bfloat16).
_DEVICE_ELEMENT = 2


def partition_graph(graph: Graph, fit: PimFit, platform: Platform) -> cg.Graph:
    """Return the partitioner's graph of a model.

    Parameters
    ----------
    graph
        The model.
    fit
        The operators that the PIM can run, and what their weights take there.
    platform
        Whose devices.
    """
    own, shared, shared_bytes = fit.operators()
    memories = platform.memories
    moves = frozenset(permutations(memories, 2))
    operators = tuple(
        cg.Operator(
            id=node.id,
            op=node.op,
            devices=_devices(graph, node, fit, platform),
            signature=signature(graph, node),
            weight_bytes=own.get(node.id, 0),
            shared_weights=shared.get(node.id, ()),
        )
        for node in graph.nodes
    )
    tensors = tuple(
        cg.Tensor(
            id=name,
            producer=graph.producer[name].id if name in graph.producer else None,
            consumers=_readers(graph, name),
            output=name in graph.outputs,
            bytes=_bytes(graph, name),
            type=str(graph.tensors[name].dtype),
            moves=moves if str(graph.tensors[name].dtype) in TYPES else frozenset(),
        )
        for name in _activations(graph)
    )
    return cg.Graph(memories, operators, tensors, graph.name, shared_bytes)


def _devices(graph: Graph, node: Node, fit: PimFit, platform: Platform) -> tuple[str, ...]:
    """Return the devices that can run an operator."""

    def able(kind: DeviceKind) -> bool:
        if isinstance(kind, SessionDevice):
            if not movable(graph, node):
                return False
            return kind.refusal(graph, node, platform.sections[kind.name]) is None
        return kind.memory == HOST_MEMORY or node.id in fit.operations

    return tuple(name for name, kind in platform.devices.items() if able(kind))


def movable(graph: Graph, node: Node) -> bool:
    """Return whether all that an operator reads and makes can be moved between memories."""
    names = [name for name in (*node.inputs, *node.outputs) if name and name not in graph.constants]
    return all(str(graph.tensors[name].dtype) in TYPES for name in names)


def signature(graph: Graph, node: Node) -> str:
    """Return what an operator's time depends on: type, shapes, attributes, which inputs are fixed.

    >>> from pimloop.host.models.loader import load_model
    >>> graph = load_model("bert-small")
    >>> signature(graph, next(node for node in graph.nodes if node.op == "MatMul"))
    'MatMul/1x16x512/512x512/const=1'
    """
    parts = [f"{node.domain}.{node.op}" if node.domain else node.op]
    fixed = []
    for index, name in enumerate(node.inputs):
        if not name:
            parts.append("-")
            continue
        info = graph.tensors[name]
        shape = "x".join(map(str, info.shape)) or "scalar"
        parts.append(shape if info.dtype == np.float32 else f"{info.dtype}:{shape}")
        if name in graph.constants:
            fixed.append(str(index))
    if fixed:
        parts.append(f"const={','.join(fixed)}")
    for name in sorted(node.attributes):
        text = str(node.attributes[name])
        if len(text) > 40:  # the text of a large array leaves elements out
            proto = helper.make_attribute(name, node.attributes[name])
            content = proto.SerializeToString(deterministic=True)
            text = hashlib.sha256(content).hexdigest()[:12]
        parts.append(f"{name}={text}")
    return "/".join(parts)


def _activations(graph: Graph) -> list[str]:
    """Return the tensors that are no constants: inputs, then results in the graph's order.

    What a state was before stays where its operator is, and the index of its row is the host's: no
    execution moves them.
    """
    made = [name for node in graph.nodes for name in node.outputs if name]
    states = {state.past for state in graph.states}
    read_by_host = states | {
        name for name in graph.inputs if graph.consumers.get(name) and not _readers(graph, name)
    }
    return [*(name for name in graph.inputs if name not in read_by_host), *made]


def _readers(graph: Graph, name: str) -> tuple[str, ...]:
    """Return the operators that a tensor has to be brought to."""
    return tuple(
        node.id
        for node in graph.consumers.get(name, ())
        if node.id not in graph.state_of or name != graph.state_of[node.id].index
    )


def _bytes(graph: Graph, name: str) -> int:
    info = graph.tensors[name]
    return _DEVICE_ELEMENT * info.elements if str(info.dtype) in TYPES else info.nbytes
