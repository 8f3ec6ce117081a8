"""Which operators of a graph the PIM device can run, and how each maps onto its operations.

The device has the paper's operations (Kim et al., ACM TODAES 2024, Table 2): matrix products and
element-wise Add, Sub and Mul with the broadcasts (p,r) with (p,r), (r), (p,1) and one element.
A platform may allow less than that: its `[capabilities]` table.

An operator stays on the CPU when one of its constants has a finite value that bfloat16 does not
have: the -3.4028e38 of attention masks would become -inf, and 0 times that NaN. The constant is
not changed to the largest bfloat16 either: models compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from host.models.graph import Graph, Node

_ELEMENTWISE: Mapping[str, Literal["add", "sub", "mul"]] = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
}


@dataclass(frozen=True)
class Capabilities:
    """What a platform lets its PIM device do."""

    operators: frozenset[str] = frozenset({"MatMul", "Gemm", "Add", "Sub", "Mul"})
    #: Products whose right operand is computed by the model too (attention). The paper's board
    #: does not run them.
    activation_matmul: bool = True
    #: Most axes of an element-wise operand; the paper's board takes three.
    elementwise_max_rank: int = 8


@dataclass(frozen=True)
class MatmulOperation:
    """left (..., p, q) times right (q, r) or (..., q, r), plus a row."""

    left: str
    right: str
    transposed: bool  # the right operand is stored (r, q)
    bias: str | None  # tensor of r elements


@dataclass(frozen=True)
class ElementwiseOperation:
    """left op right; `left` has the shape of the result, `right` may be broadcast."""

    op: Literal["add", "sub", "mul"]
    left: str
    right: str


PimOperation = MatmulOperation | ElementwiseOperation


def pim_operation(graph: Graph, node: Node, capabilities: Capabilities) -> PimOperation | None:
    """Return how the PIM device runs `node`, or None when it cannot."""
    if overflowing_constant(graph, node) is not None:
        return None
    return _operation(graph, node, capabilities)


def overflowing_constant(graph: Graph, node: Node) -> str | None:
    """Return the first constant among the inputs of `node` that overflows bfloat16."""
    return next((name for name in node.inputs if name in graph.overflowing), None)


def kept_on_cpu(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Return why operators that the device has an operation for do not run on it, by node id."""
    return {
        node.id: f"constant '{name}' has a finite value beyond the largest bfloat16, 3.3895e38"
        for node in graph.nodes
        if (name := overflowing_constant(graph, node)) is not None
        and _operation(graph, node, capabilities) is not None
    }


def _operation(graph: Graph, node: Node, capabilities: Capabilities) -> PimOperation | None:
    if node.domain or node.op not in capabilities.operators:
        return None
    names = [name for name in (*node.inputs, *node.outputs) if name]
    infos = [graph.tensors[name] for name in names]
    if any(info.dtype != np.float32 or info.elements == 0 for info in infos):
        return None
    if node.op == "MatMul":
        return _matmul(graph, node, capabilities)
    if node.op == "Gemm":
        return _gemm(graph, node, capabilities)
    return _elementwise(graph, node, capabilities)


def pim_capable(graph: Graph, capabilities: Capabilities) -> dict[str, PimOperation]:
    """Return the operation of every PIM-capable node by its id, in the graph's order."""
    found = {node.id: pim_operation(graph, node, capabilities) for node in graph.nodes}
    return {identifier: operation for identifier, operation in found.items() if operation}


def _matmul(graph: Graph, node: Node, capabilities: Capabilities) -> MatmulOperation | None:
    left, right = node.inputs
    p, q = graph.tensors[left].shape, graph.tensors[right].shape
    if left in graph.constants or len(p) < 2:
        return None
    if right in graph.constants:
        return MatmulOperation(left, right, False, None) if len(q) == 2 else None
    if not capabilities.activation_matmul or len(p) != len(q) or p[:-2] != q[:-2]:
        return None
    return MatmulOperation(left, right, False, None)


def _gemm(graph: Graph, node: Node, capabilities: Capabilities) -> MatmulOperation | None:
    left, right = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None
    attributes = node.attributes
    columns = graph.tensors[node.outputs[0]].shape[-1]
    if left in graph.constants or attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1:
        return None
    if right not in graph.constants and not capabilities.activation_matmul:
        return None
    if bias is not None:
        shape = graph.tensors[bias].shape
        flat = len(shape) == 1 or bias in graph.constants
        if attributes.get("beta", 1.0) != 1 or prod(shape) != columns or not flat:
            return None
        # A column of one constant a row is as long as the bias only when it is not one.
        if shape[-1] != columns:
            return None
    return MatmulOperation(left, right, bool(attributes.get("transB", 0)), bias)


def _elementwise(
    graph: Graph, node: Node, capabilities: Capabilities
) -> ElementwiseOperation | None:
    op = _ELEMENTWISE[node.op]
    result = graph.tensors[node.outputs[0]].shape
    if not 1 <= len(result) <= capabilities.elementwise_max_rank:
        return None
    orders = [node.inputs] if op == "sub" else [node.inputs, node.inputs[::-1]]
    for left, right in orders:
        if graph.tensors[left].shape == result and _broadcasts(graph.tensors[right].shape, result):
            return ElementwiseOperation(op, left, right)
    return None


def _broadcasts(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Return whether `shape` is one of the device's broadcasts of `full`."""
    elements = prod(shape)
    return (
        shape == full
        or elements == 1
        or (shape[-1] == full[-1] == elements)
        or (len(shape) == len(full) and shape[:-1] == full[:-1] and shape[-1] == 1)
    )
