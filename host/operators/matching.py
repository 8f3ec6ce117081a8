"""Which operators of a graph the PIM device can run, and how each maps onto its operations.

The device has the paper's operations (Kim et al., ACM TODAES 2024, Table 2): matrix products and
element-wise Add, Sub and Mul; and others since. The driver makes of them every product of
`numpy.matmul` and every broadcast of numpy. A platform may allow less: its `[capabilities]` table.

An operator stays on the CPU when one of its constants has a finite value that bfloat16 does not
have: the -3.4028e38 of attention masks would become -inf, and 0 times that NaN. The constant is
not changed to the largest bfloat16 either: models compare with it.
"""

from __future__ import annotations

from pimloop.host.models.decompose.registry import CONTRIB
from pimloop.host.models.graph import Graph, Node
from pimloop.host.models.quantize.reading import is_packed
from pimloop.host.operators.append import APPEND
from pimloop.host.operators.base import Operation
from pimloop.host.operators.capabilities import Capabilities
from pimloop.host.operators.registry import matchers

#: Reasons why an operator cannot run on the PIM that do not depend on the operator.
NO_OPERATION = "the PIM has no such operation"
LEFT_OUT = "the platform's [capabilities] leave the operation out"


def pim_operation(graph: Graph, node: Node, capabilities: Capabilities) -> Operation | None:
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


def pim_capable(graph: Graph, capabilities: Capabilities) -> dict[str, Operation]:
    """Return the operation of every PIM-capable node by its id, in the graph's order."""
    operations = {node.id: pim_operation(graph, node, capabilities) for node in graph.nodes}
    return {identifier: operation for identifier, operation in operations.items() if operation}


def _kind(graph: Graph, node: Node) -> str:
    """Return the operator type that a node counts as in the table of operations, "" for none."""
    if node.id in graph.state_of:
        return APPEND
    if (node.domain, node.op) == (CONTRIB, "FusedMatMul") and set(node.attributes) <= {"transB"}:
        return "MatMul"
    if is_packed(node):
        return node.op
    return "" if node.domain else node.op


def _operation(graph: Graph, node: Node, capabilities: Capabilities) -> Operation | str:
    """Return the operation of a node, or why it has none."""
    kind = _kind(graph, node)
    match = matchers().get(kind)
    if match is None:
        whole = graph.kept_whole.get(node.id)
        return NO_OPERATION if whole is None else f"{node.op} is not decomposed: {whole}"
    # Rows are appended for the products that read them; packed weights are those of products.
    if ("MatMul" if kind == APPEND or is_packed(node) else kind) not in capabilities.operators:
        return LEFT_OUT
    # The index at which rows are appended is the host's.
    state = graph.state_of.get(node.id)
    names = (*node.inputs, *node.outputs) if state is None else (state.rows, state.whole)
    if is_packed(node):
        names = (node.inputs[0], *node.inputs[5:], *node.outputs)
    infos = [graph.tensors[name] for name in names if name]
    others = sorted({str(info.dtype) for info in infos} - capabilities.types)
    if others:
        taken = " and ".join(sorted(capabilities.types, reverse=True))
        return f"{' and '.join(others)} operands, the PIM takes {taken}"
    if any(info.elements == 0 for info in infos):
        return "no elements"
    return match(graph, node, capabilities)
