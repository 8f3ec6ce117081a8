"""What an operator asks of a CPU: amounts that each cost a parameter of the CPU model.

`pimloop.host.cpu.work` has one for every operator; `pimloop.host.cpu.contractions`,
`pimloop.host.cpu.attention` and `pimloop.host.cpu.windows` make those of products, of attention and
recurrent layers, and of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from pimloop.host.models.graph import Graph, Node, TensorInfo

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

#: What a price rests on. "calibrated": the parameters of its own class; "derived": its amount of
#: work at the rate of another class; "unknown": nothing but the elements it reads and writes.
Basis = Literal["calibrated", "derived", "unknown"]

Shape = tuple[int, ...]


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
    basis: Basis = "calibrated"
    parts: tuple[Work, ...] = ()  # further work of the same call, of other classes


#: From an operator to its work.
Describe = Callable[[Graph, Node], Work]


def result(graph: Graph, node: Node) -> TensorInfo:
    """Return the first output of an operator."""
    return graph.tensors[next(name for name in node.outputs if name)]


def inputs(graph: Graph, node: Node) -> list[TensorInfo]:
    """Return the inputs of an operator that are there."""
    return [graph.tensors[name] for name in node.inputs if name]


def optional_input(graph: Graph, node: Node, index: int) -> TensorInfo | None:
    """Return input `index`, None where it is left out."""
    if index >= len(node.inputs) or not node.inputs[index]:
        return None
    return graph.tensors[node.inputs[index]]


def product(macs: int, *, right_elements: int, elements: int, basis: Basis = "calibrated") -> Work:
    """Return the work of products with one right operand for all rows.

    Parameters
    ----------
    macs
        Multiply-adds.
    right_elements, elements
        Of the right operand and of the result.
    """
    return Work(
        kind="product",
        call="product_call_us",
        amounts={"product_weight_ns": right_elements, "product_mac_ns": macs},
        elements=elements,
        products=1,
        product_macs=macs,
        basis=basis,
    )


def matrix_product(left: Shape, right: Shape, elements: int, basis: Basis = "calibrated") -> Work:
    """Return the work of MatMul on operands of these shapes with a result of `elements`."""
    inner = left[-1] if left else 1
    batch = prod(right[:-2])
    macs = elements * inner
    if batch == 1:
        return product(macs, right_elements=prod(right), elements=elements, basis=basis)
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
        elements=elements,
        products=products,
        product_macs=macs // products if products else 0,
        basis=basis,
    )
