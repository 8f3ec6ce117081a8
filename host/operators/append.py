"""Rows that are written into a state, in place: `pimloop.host.models.states`.

On the PIM the state stays in device memory from one execution to the next, in rows of its last axis
or in blocks, as MATMUL_T reads them fastest (`pimloop.host.pim.forms` chooses). What an execution
appends is copied there: a row of each leading axis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pimloop.host.common import golden
from pimloop.host.common.golden import Bits
from pimloop.host.models.graph import Array, Graph, Node, State
from pimloop.host.operators.base import Operands, Operation, Part
from pimloop.host.operators.forms import (
    PLAIN,
    ConstantUse,
    ProductForm,
    ProductOpcode,
    Shape,
)
from pimloop.host.operators.product import Product

if TYPE_CHECKING:
    from pimloop.host.operators.capabilities import Capabilities
    from pimloop.host.pim.driver import DeviceMatrix, DeviceTensor

#: What stands for the operators that append, of whichever type, in tables of operations.
APPEND = "Append"


@dataclass(frozen=True)
class Append(Operation):
    """Rows (..., appended, size) into a state (..., rows, size)."""

    state: State
    appended: Shape  # of the rows

    @property
    def operands(self) -> tuple[str, ...]:
        """The rows alone: the state is there."""
        return (self.state.rows,)

    def constants(self, graph: Graph, form: ProductForm = PLAIN) -> list[ConstantUse]:
        """Return none; the state is among `resident_uses`."""
        return []

    def emit(self, device: Operands) -> DeviceTensor | DeviceMatrix:
        """Copy the rows to their place; return the state."""
        state = device.state(self.state.whole)
        rows = device.tensor(self.state.rows).view(self.appended)
        filled = device.filled(self.state.whole)
        assert filled is not None
        device.driver.append(state, rows, filled - self.appended[-2])
        return state

    def expected_shape(self, operands: Mapping[str, Bits], shape: Shape) -> Shape:
        """Return the shape of the rows."""
        return self.appended

    def expected(self, operands: Mapping[str, Bits]) -> Iterator[Part]:
        """Yield the rows as they are, NaN in its canonical form."""
        rows = operands[self.state.rows].reshape(self.appended)
        yield (..., partial(_canonical, rows))

    def sums_error(self, operands: Mapping[str, Bits], wanted: Array) -> Array:
        """Return 0: nothing is computed."""
        return np.zeros(wanted.shape)

    def work(self, graph: Graph, node: Node) -> int:
        """Return the elements that are copied."""
        return graph.tensors[self.state.rows].elements

    def multiply_adds(self, elements: int) -> int:
        """Return a multiplication, by 1, an element."""
        return elements


def resident_uses(
    graph: Graph,
    node: Node,
    operation: Operation,
    form: ProductForm,
    in_blocks: Collection[str] = (),
) -> list[ConstantUse]:
    """Return what an operator needs in device memory for all executions: constants and states.

    `in_blocks` are the states that lie in blocks, by the tensor that operators read.
    Whoever reads or writes a state on the PIM needs its room there, at its full length. So does
    what a product by a transposed state makes: the columns of rows that are not there yet are 0
    from the first execution on, and no other tensor may have their place.
    """
    uses = operation.constants(graph, form)
    names = [name for name in operation.operands if name in graph.state_named]
    if isinstance(operation, Append) or makes_scores(graph, operation):
        names.append(node.outputs[0])
    return uses + [lasting_use(graph, name, in_blocks) for name in names]


def makes_scores(graph: Graph, operation: Operation) -> bool:
    """Return whether an operator is a product by a transposed state."""
    return (
        isinstance(operation, Product)
        and operation.transposed
        and operation.right in graph.state_named
    )


def lasting_use(graph: Graph, name: str, in_blocks: Collection[str] = ()) -> ConstantUse:
    """Return what stays in device memory of a tensor that lasts; `in_blocks` as above."""
    opcode: ProductOpcode = "MATMUL_T" if name in in_blocks else "MATMUL"
    return ConstantUse(name, "state", graph.tensors[name].shape, opcode)


def _canonical(bits: Bits) -> Bits:
    return golden.to_bf16_bits(golden.bf16_to_f32(bits))


def _append(graph: Graph, node: Node, capabilities: Capabilities) -> Append | str:
    state = graph.state_of[node.id]
    if not capabilities.activation_matmul:
        return "a state is read by products of two activations, which the platform leaves out"
    if graph.tensors[state.whole].shape[-1] == 1:
        return "a state of one element a row"
    return Append(state, graph.tensors[state.rows].shape)


MATCHERS = {APPEND: _append}
