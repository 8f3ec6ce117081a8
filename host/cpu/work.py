"""What an operator asks of a CPU: amounts that each cost a parameter of the CPU model.

The serial time of an operator is linear in the parameters of `host.cpu.parameters`: a fixed part
for the call, then amounts (elements, multiply-adds) times nanoseconds each. `operator_work` derives
them from the operator's type and shapes alone; `host.cpu.model` adds how cores share the work and
`host.cpu.calibrate` solves for the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np

from host.models.graph import Graph, Node, TensorInfo

#: The classes of operators that `pimloop calibrate` reports apart.
WorkClass = Literal[
    "product", "batched product", "element-wise", "function", "reduction", "movement", "view",
    "other",
]  # fmt: skip
CLASSES: tuple[WorkClass, ...] = (
    "product",
    "batched product",
    "element-wise",
    "function",
    "reduction",
    "movement",
    "view",
    "other",
)


@dataclass(frozen=True)
class Work:
    """One operator's work, without a time."""

    kind: WorkClass
    call: str  # parameter of the fixed part, microseconds
    amounts: Mapping[str, float] = field(default_factory=dict)  # how often each parameter (ns)
    elements: int = 0  # of the result: what decides whether cores share it
    products: int = 0  # matrix products in a batch
    product_macs: int = 0  # multiply-adds of each
    source_bytes: int = 0  # of a tensor read in strides
    fallback: bool = False  # of a type the model has no parameters for


def operator_work(graph: Graph, node: Node) -> Work:
    """Return the work of `node`, from its type and the shapes of its tensors."""
    describe = None if node.domain else _DESCRIBE.get(node.op)
    return describe(graph, node) if describe is not None else _other(graph, node)


def _result(graph: Graph, node: Node) -> TensorInfo:
    return graph.tensors[next(name for name in node.outputs if name)]


def _inputs(graph: Graph, node: Node) -> list[TensorInfo]:
    return [graph.tensors[name] for name in node.inputs if name]


# ---- products ----------------------------------------------------------------------------------


def _matmul(graph: Graph, node: Node) -> Work:
    left, right = (graph.tensors[name].shape for name in node.inputs[:2])
    inner = left[-1] if left else 1
    batch = prod(right[:-2])
    macs = _result(graph, node).elements * inner
    if batch == 1:
        return _product(macs, right_elements=prod(right), elements=_result(graph, node).elements)
    # A right operand broadcast along the batch is packed again for each product.
    products = max(batch, prod(left[:-2]))
    packed = products * prod(right[-2:])
    return Work(
        kind="batched product",
        call="batched_call_us",
        amounts={
            "batched_product_ns": products,
            "batched_weight_ns": packed,
            "batched_mac_ns": macs,
        },
        elements=_result(graph, node).elements,
        products=products,
        product_macs=macs // products if products else 0,
    )


def _gemm(graph: Graph, node: Node) -> Work:
    left, right = (graph.tensors[name] for name in node.inputs[:2])
    result = _result(graph, node)
    inner = left.shape[0 if node.attributes.get("transA", 0) else 1]
    return _product(
        result.elements * inner, right_elements=right.elements, elements=result.elements
    )


def _product(macs: int, *, right_elements: int, elements: int) -> Work:
    return Work(
        kind="product",
        call="product_call_us",
        amounts={"product_weight_ns": right_elements, "product_mac_ns": macs},
        elements=elements,
        products=1,
        product_macs=macs,
    )


# ---- element-wise ------------------------------------------------------------------------------


def _elementwise(extra: str | None = None) -> Callable[[Graph, Node], Work]:
    def describe(graph: Graph, node: Node) -> Work:
        result = _result(graph, node)
        elements = result.elements
        inputs = _inputs(graph, node)
        streams = elements + sum(info.elements for info in inputs if info.elements == elements)
        # A smaller operand with a last axis of one is a scalar for each row: nothing is read.
        rows = sum(
            elements
            for info in inputs
            if 1 < info.elements < elements and info.shape and info.shape[-1] > 1
        )
        amounts: dict[str, float] = {"stream_ns": streams, "row_ns": rows}
        if len(inputs) > 1:
            amounts["span_ns"] = max(_spans(info.shape, result.shape) for info in inputs)
        if extra is not None:
            amounts[extra] = elements
        call = "elementwise_call_us" if len(inputs) > 1 else "unary_call_us"
        return Work("element-wise", call, amounts, elements)

    return describe


def _spans(shape: tuple[int, ...], result: tuple[int, ...]) -> int:
    """Return in how many pieces the runtime walks through a result that `shape` is broadcast to.

    A piece runs over the last axes as long as all of them are broadcast, or none is. A last axis
    of one is walked element by element.

    >>> [_spans(s, (8, 32, 64)) for s in ((8, 32, 64), (64,), (32, 64), (8, 32, 1), ())]
    [1, 256, 8, 256, 1]
    >>> _spans((), (1, 32, 1))
    32
    """
    if not result or result[-1] == 1:
        return prod(result)
    full = (1,) * (len(result) - len(shape)) + shape
    span, state = 1, None
    for size, whole in zip(reversed(full), reversed(result), strict=True):
        if whole == 1:
            continue
        if state is not None and (size == whole) != state:
            break
        state = size == whole
        span *= whole
    return prod(result) // span if span else 0


def _function(parameter: str, *, fallback: bool = False) -> Callable[[Graph, Node], Work]:
    def describe(graph: Graph, node: Node) -> Work:
        elements = _result(graph, node).elements
        amounts = {parameter: float(elements)}
        return Work("function", "function_call_us", amounts, elements, fallback=fallback)

    return describe


def _reduction(graph: Graph, node: Node) -> Work:
    elements = _inputs(graph, node)[0].elements
    return Work("reduction", "reduce_call_us", {"reduce_ns": elements}, elements)


# ---- movement ----------------------------------------------------------------------------------


def _copy(graph: Graph, node: Node) -> Work:
    elements = sum(graph.tensors[name].elements for name in node.outputs if name)
    call = "slice_call_us" if node.op == "Slice" else "copy_call_us"
    if node.op == "Gather" and node.inputs[0] in graph.constants:
        call = "table_call_us"
    return Work("movement", call, {"copy_ns": elements}, elements)


def _transpose(graph: Graph, node: Node) -> Work:
    shape = graph.tensors[node.inputs[0]].shape
    order = list(node.attributes.get("perm", range(len(shape))[::-1]))
    # Axes of one element move nothing.
    moved = [axis for axis in order if shape[axis] > 1]
    if moved == sorted(moved) or (moved and moved[-1] == max(moved)):
        return _copy(graph, node)
    elements = prod(shape)
    return Work(
        kind="movement",
        call="copy_call_us",
        amounts={"permute_ns": elements, "permute_miss_ns": elements},
        elements=elements,
        source_bytes=graph.tensors[node.inputs[0]].nbytes,
    )


def _view(call: str) -> Callable[[Graph, Node], Work]:
    def describe(graph: Graph, node: Node) -> Work:
        elements = _result(graph, node).elements
        return Work("view", call, {"view_ns": elements}, elements)

    return describe


def _other(graph: Graph, node: Node) -> Work:
    """The stated fallback: a call, and every element read and written once, as one stream each."""
    results = [graph.tensors[name] for name in node.outputs if name]
    elements = sum(info.elements for info in results)
    # Integer operands steer (indices, axes, shapes); a table is read only where it is indexed.
    streamed = sum(
        min(info.elements, elements) for info in _inputs(graph, node) if info.dtype.kind == "f"
    )
    return Work(
        kind="other",
        call="elementwise_call_us",
        amounts={"stream_ns": float(elements + streamed)},
        elements=elements,
        fallback=True,
    )


def _describe() -> dict[str, Callable[[Graph, Node], Work]]:
    plain = _elementwise()
    table: dict[str, Callable[[Graph, Node], Work]] = {
        "MatMul": _matmul,
        "Gemm": _gemm,
        "Div": _elementwise("divide_ns"),
        "Pow": _elementwise("power_ns"),
        "Sqrt": _elementwise("divide_ns"),  # the same unit computes both
        "Reciprocal": _elementwise("divide_ns"),
        "Erf": _function("erf_ns"),
        "Tanh": _function("tanh_ns"),
        "Softmax": _function("softmax_ns"),
        "LogSoftmax": _function("softmax_ns", fallback=True),
        "Gelu": _function("erf_ns", fallback=True),
        "Transpose": _transpose,
        "Reshape": _view("reshape_call_us"),
    }
    for op in ("Exp", "Log", "Sigmoid", "Sin", "Cos", "Elu", "Softplus", "Mish", "HardSwish"):
        table[op] = _function("tanh_ns", fallback=True)
    for op in (
        "Add", "Sub", "Mul", "Min", "Max", "Sum", "Mean", "Abs", "Neg", "Relu", "LeakyRelu", "Clip",
        "Floor", "Ceil", "Round", "Sign", "Not", "And", "Or", "Equal", "Greater", "Less", "Where",
        "GreaterOrEqual", "LessOrEqual",
    ):  # fmt: skip
        table[op] = plain
    for op in ("Mean", "Sum", "Max", "Min", "Prod", "SumSquare", "L1", "L2"):
        table[f"Reduce{op}"] = _reduction
    for op in (
        "Gather", "GatherElements", "GatherND", "Concat", "Split", "Slice", "Cast", "Expand", "Pad",
        "Tile", "ConstantOfShape", "Range", "Trilu",
    ):  # fmt: skip
        table[op] = _copy
    for op in ("Unsqueeze", "Squeeze", "Flatten", "Identity", "Shape", "Size"):
        table[op] = _view("view_call_us")
    return table


_DESCRIBE = _describe()


def signature(graph: Graph, node: Node) -> tuple[object, ...]:
    """Return what the work of `node` depends on: operators with the same one cost the same."""
    shapes = tuple(
        (graph.tensors[name].shape, name in graph.constants) if name else None
        for name in node.inputs
    )
    attributes = tuple(
        sorted((key, repr(np.asarray(value).tolist())) for key, value in node.attributes.items())
    )
    return (node.domain, node.op, shapes, attributes)
