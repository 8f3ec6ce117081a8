"""How the activations of products lie in device memory, so that the product takes fewer clocks.

The host lays an operand out while it converts it to bfloat16, so turning it around or cutting it
into column tiles costs it nothing. That is free only for a tensor that always comes from the CPU:
a model input, or the result of an operator that the PIM cannot run (the transposed keys of
attention). A result that only the CPU reads may leave turned around in the same way. Two forms
follow; the bits are the same, because each sum has the same products in the same order.

*Right operands.* One that comes from the CPU is written as MATMUL reads it: column tiles where it
is wider than one, and turned where the operator reads its transpose. Otherwise a wide one is copied
into tiles on the device, and a transposed one is read by MATMUL_T, at a quarter of the rate.

*Products turned around.* C = A B takes a step for each row of A and element of the inner dimension
with all columns of B at once, at least a beat of them. Of few columns and many rows, C' = B' A'
takes fewer. It needs A and B from the CPU and C for the CPU, as the values of attention.
`clocks` decides, by a margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

from host.capabilities import MatmulOperation, PimOperation, Shape
from host.device.geometry import Geometry
from host.device.validate import round_up
from host.driver import layout
from host.models.graph import Graph, Node

#: What a row of the left operand costs beside its steps, fabric clocks: its load, the write of the
#: result. Simulated (16 to 256 rows): 40 to 220 on htg-z920 and native, 150 to 330 on aim.
ROW_CLOCKS = 100

#: A product is turned around when that takes at most this part of the clocks.
WORTH = 0.8


@dataclass(frozen=True)
class Form:
    """How a tensor lies in device memory where not as rows of its own shape."""

    role: Literal["left", "right"]  # of the product that reads it
    turned: bool  # the last two axes of `shape` are exchanged
    shape: Shape  # as the operation has it

    @property
    def stored(self) -> Shape:
        """The shape in device memory."""
        return turned_shape(self.shape) if self.turned else self.shape


@dataclass(frozen=True)
class Forms:
    """The forms of a model's tensors."""

    tensors: Mapping[str, Form]  # operands that come from the CPU, by name
    turned: frozenset[str]  # ids of the products that are computed turned around


def choose_forms(graph: Graph, operations: Mapping[str, PimOperation], geometry: Geometry) -> Forms:
    """Return the forms that depend on the model and what the PIM may run, not on a schedule."""
    tensors: dict[str, Form] = {}
    turned: set[str] = set()
    for node in graph.nodes:
        operation = operations.get(node.id)
        if not isinstance(operation, MatmulOperation):
            continue
        left = _only_from_cpu(graph, operations, operation.left)
        right = _only_from_cpu(graph, operations, operation.right)
        if operation.right in (operation.left, operation.bias):
            continue
        if left and right and _worth_turning(graph, operations, node, operation, geometry):
            turned.add(node.id)
            tensors[operation.left] = Form("right", True, operation.left_shape)
            tensors[operation.right] = Form("left", not operation.transposed, operation.right_shape)
        elif right:
            tensors[operation.right] = Form("right", operation.transposed, operation.right_shape)
    return Forms(tensors, frozenset(turned))


def clocks(geometry: Geometry, rows: int, inner: int, columns: int) -> int:
    """Return about how many fabric clocks MATMUL takes; what a list costs by itself is left out.

    A step brings the beats of a tile to the lanes; the next one on the same accumulators follows
    `lane_latency` clocks later at the earliest.
    """
    beat = -(-geometry.beat_columns // geometry.lanes)
    steps = sum(
        max(tile * beat, geometry.lane_latency)
        for _, tile in layout.split(
            round_up(columns, geometry.beat_columns) // geometry.beat_columns, geometry.acc_groups
        )
    )
    return rows * (inner * steps + ROW_CLOCKS)


def turned_shape(shape: Shape) -> Shape:
    """Return a shape with its last two axes exchanged."""
    return (*shape[:-2], shape[-1], shape[-2])


def _only_from_cpu(graph: Graph, operations: Mapping[str, PimOperation], name: str) -> bool:
    """Return whether a tensor always comes from the CPU, for one operator of the PIM."""
    if name in graph.constants:
        return False
    producer = graph.producer.get(name)
    readers = [node for node in graph.consumers[name] if node.id in operations]
    return (producer is None or producer.id not in operations) and len(readers) == 1


def _worth_turning(
    graph: Graph,
    operations: Mapping[str, PimOperation],
    node: Node,
    operation: MatmulOperation,
    geometry: Geometry,
) -> bool:
    result = node.outputs[0]
    if operation.bias is not None or any(
        reader.id in operations for reader in graph.consumers.get(result, ())
    ):
        return False
    p, q = operation.left_shape[-2:]
    right = operation.right_shape
    r = right[-2] if operation.transposed else right[-1]
    batches = graph.tensors[result].elements // (p * r)
    if len(right) == 2:
        # One right operand for all rows: one product; turned around, one for each batch.
        straight = clocks(geometry, prod(operation.left_shape[:-1]), q, r)
    else:
        straight = batches * clocks(geometry, p, q, r)
    return batches * clocks(geometry, r, q, p) <= WORTH * straight
