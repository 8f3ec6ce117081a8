"""Which operators of a graph the PIM device can run, and how each maps onto its operations.

The device has the paper's operations (Kim et al., ACM TODAES 2024, Table 2): matrix products and
element-wise Add, Sub and Mul. The driver makes of them every product of `numpy.matmul` and every
broadcast of numpy. A platform may allow less: its `[capabilities]` table.

An operator stays on the CPU when one of its constants has a finite value that bfloat16 does not
have: the -3.4028e38 of attention masks would become -inf, and 0 times that NaN. The constant is
not changed to the largest bfloat16 either: models compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

from pimloop.host.models.graph import Graph, Node
from pimloop.partitioner.quantity import quantity

Shape = tuple[int, ...]

_ELEMENTWISE: Mapping[str, Literal["add", "sub", "mul"]] = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
}


#: Element types that the driver converts to bfloat16 and back.
TYPES = frozenset({"float32", "float16"})


@dataclass(frozen=True)
class Capabilities:
    """What a platform lets its PIM device do."""

    operators: frozenset[str] = frozenset({"MatMul", "Gemm", "Add", "Sub", "Mul"})
    #: Products whose operands are both computed by the model (attention). The paper's board does
    #: not run them.
    activation_matmul: bool = True
    #: Most axes of an element-wise result; the paper's board takes three.
    elementwise_max_rank: int = 8
    #: "any": all that numpy's matmul and broadcasting take. "paper": a matrix by a constant matrix,
    #: batches that are equal; (p,r) with (p,r), (r), (p,1) and one element.
    operands: Literal["any", "paper"] = "any"
    #: Element types of operands. float16 becomes bfloat16 on the way to the device, and its results
    #: float16 on the way back.
    types: frozenset[str] = TYPES


@dataclass(frozen=True)
class MatmulOperation:
    """left (..., p, q) times right (..., q, r), plus a row.

    The shapes are those that the product sees. A vector has an axis more than its tensor, and a
    matrix by a vector is the vector by the matrix turned around: the same terms in the same order.
    """

    left: str
    right: str
    transposed: bool  # the right operand is stored (..., r, q)
    bias: str | None  # tensor of r elements
    left_shape: Shape
    right_shape: Shape  # as it is stored
    constant_left: bool = True  # the device also takes a constant as the left operand

    @property
    def inner(self) -> int:
        """The inner dimension q."""
        return self.left_shape[-1]


@dataclass(frozen=True)
class ElementwiseOperation:
    """left op right, each broadcast to the result."""

    op: Literal["add", "sub", "mul"]
    left: str
    right: str


PimOperation = MatmulOperation | ElementwiseOperation

#: The devices an operator can be placed on, and the memory each works in.
DEVICE_MEMORY = {"cpu_serial": "cpu", "cpu_parallel": "cpu", "pim": "pim"}

#: Reasons why an operator cannot run on the PIM that do not depend on the operator.
NO_OPERATION = "the PIM has no such operation"
LEFT_OUT = "the platform's [capabilities] leave the operation out"


def pim_operation(graph: Graph, node: Node, capabilities: Capabilities) -> PimOperation | None:
    """Return how the PIM device runs `node`, or None when it cannot."""
    if overflowing_constant(graph, node) is not None:
        return None
    operation = _operation(graph, node, capabilities)
    return None if isinstance(operation, str) else operation


def refusal(graph: Graph, node: Node, capabilities: Capabilities) -> str | None:
    """Return why the device cannot run `node`, whatever its constants hold; None when it can."""
    operation = _operation(graph, node, capabilities)
    return operation if isinstance(operation, str) else None


def overflowing_constant(graph: Graph, node: Node) -> str | None:
    """Return the first constant among the inputs of `node` that overflows bfloat16."""
    return next((name for name in node.inputs if name in graph.overflowing), None)


def kept_on_cpu(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Return why operators that the device has an operation for do not run on it, by node id."""
    return {
        node.id: f"constant '{name}' has a finite value beyond the largest bfloat16, 3.3895e38"
        for node in graph.nodes
        if (name := overflowing_constant(graph, node)) is not None
        and refusal(graph, node, capabilities) is None
    }


def pim_capable(graph: Graph, capabilities: Capabilities) -> dict[str, PimOperation]:
    """Return the operation of every PIM-capable node by its id, in the graph's order."""
    found = {node.id: pim_operation(graph, node, capabilities) for node in graph.nodes}
    return {identifier: operation for identifier, operation in found.items() if operation}


def _operation(graph: Graph, node: Node, capabilities: Capabilities) -> PimOperation | str:
    """Return the operation of a node, or why it has none."""
    if node.domain or node.op not in (*_ELEMENTWISE, "MatMul", "Gemm"):
        whole = graph.kept_whole.get(node.id)
        return NO_OPERATION if whole is None else f"{node.op} is not decomposed: {whole}"
    if node.op not in capabilities.operators:
        return LEFT_OUT
    infos = [graph.tensors[name] for name in (*node.inputs, *node.outputs) if name]
    others = sorted({str(info.dtype) for info in infos} - capabilities.types)
    if others:
        taken = " and ".join(sorted(capabilities.types, reverse=True))
        return f"{' and '.join(others)} operands, the PIM takes {taken}"
    if any(info.elements == 0 for info in infos):
        return "no elements"
    if node.op == "MatMul":
        return _matmul(graph, node, capabilities)
    if node.op == "Gemm":
        return _gemm(graph, node, capabilities)
    return _elementwise(graph, node, capabilities)


def _matmul(graph: Graph, node: Node, capabilities: Capabilities) -> PimOperation | str:
    left, right = node.inputs
    p, q = graph.tensors[left].shape, graph.tensors[right].shape
    if capabilities.operands == "paper":
        reason = _beyond_the_paper(graph, left, right)
        if reason is not None:
            return reason
    if not capabilities.activation_matmul and not {left, right} & graph.constants.keys():
        return "a product of two activations, which the platform leaves out"
    if len(q) == 1:
        # By a vector: y = A v is y = v A', whose sums are the same.
        row = (1, *q)
        if len(p) == 1:
            return MatmulOperation(left, right, True, None, row, row)
        return MatmulOperation(right, left, True, None, row, right_shape(p))
    return MatmulOperation(
        left,
        right,
        False,
        None,
        (1, *p) if len(p) == 1 else p,
        right_shape(q),
        constant_left=capabilities.operands == "any",
    )


def right_shape(shape: Shape) -> Shape:
    """Return the shape of a right operand: one matrix where there is one."""
    return shape[-2:] if prod(shape[:-2]) == 1 else shape


def _beyond_the_paper(graph: Graph, left: str, right: str) -> str | None:
    """Return what the paper's board does not do of a product; None: nothing."""
    p, q = graph.tensors[left].shape, graph.tensors[right].shape
    if left in graph.constants:
        return "a product with a constant on the left"
    if len(p) < 2 or len(q) < 2:
        return "a product with a vector"
    if right in graph.constants:
        return None if len(q) == 2 else "a product by a constant of more than two axes"
    return None if p[:-2] == q[:-2] else "a product of batches that are not equal"


def _gemm(graph: Graph, node: Node, capabilities: Capabilities) -> PimOperation | str:
    left, right = node.inputs[:2]
    bias = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None
    attributes = node.attributes
    if attributes.get("transA", 0):
        return "a Gemm with transA"
    if attributes.get("alpha", 1.0) != 1 or (bias and attributes.get("beta", 1.0) != 1):
        return "a Gemm with alpha or beta"
    if capabilities.operands == "paper" and left in graph.constants:
        return "a product with a constant on the left"
    if not capabilities.activation_matmul and not {left, right} & graph.constants.keys():
        return "a product of two activations, which the platform leaves out"
    if bias is not None:
        shape = graph.tensors[bias].shape
        columns = graph.tensors[node.outputs[0]].shape[-1]
        flat = len(shape) == 1 or bias in graph.constants or capabilities.operands == "any"
        # A column of one element a row is as long as the row only when it is none.
        if prod(shape) != columns or shape[-1] != columns or not flat:
            return "a Gemm whose C is no row"
    return MatmulOperation(
        left,
        right,
        bool(attributes.get("transB", 0)),
        bias,
        graph.tensors[left].shape,
        graph.tensors[right].shape,
        constant_left=capabilities.operands == "any",
    )


def _elementwise(graph: Graph, node: Node, capabilities: Capabilities) -> PimOperation | str:
    op = _ELEMENTWISE[node.op]
    result = graph.tensors[node.outputs[0]].shape
    if len(result) > capabilities.elementwise_max_rank:
        return (
            "element-wise with more than"
            f" {quantity(capabilities.elementwise_max_rank, 'axis', 'axes')}"
        )
    orders = [node.inputs] if op == "sub" else [node.inputs, node.inputs[::-1]]
    for left, right in orders:
        if graph.tensors[left].shape == result and _broadcasts(graph.tensors[right].shape, result):
            return ElementwiseOperation(op, left, right)
    if capabilities.operands == "paper":
        return "element-wise with a broadcast other than (r), (p,1) and one element"
    return ElementwiseOperation(op, *node.inputs)


def _broadcasts(shape: Shape, full: Shape) -> bool:
    """Return whether `shape` is one of the paper's broadcasts of `full`."""
    elements = prod(shape)
    return bool(full) and (
        shape == full
        or elements == 1
        or (shape[-1] == full[-1] == elements)
        or (len(shape) == len(full) and shape[:-1] == full[:-1] and shape[-1] == 1)
    )
