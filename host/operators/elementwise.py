"""Element-wise operations: what they have in common; each has a file of its own.

Those of one operand are in `pimloop.host.operators.unary`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from pimloop.host.common import golden
from pimloop.host.common.golden import Bits
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators.base import ROUNDING_F32, Operands, Operation, Part
from pimloop.host.operators.forms import PLAIN, ConstantUse, ProductForm, Shape
from pimloop.partitioner.quantity import quantity
from pimloop.rtl.tables.isa import Opcode

if TYPE_CHECKING:
    from pimloop.host.operators.capabilities import Capabilities
    from pimloop.host.pim.driver import DeviceTensor


@dataclass(frozen=True)
class Kind(ABC):
    """An element-wise operation of the device.

    Parameters
    ----------
    opcode
        That computes it.
    arithmetic
        What the lanes compute, in binary32.
    commutative
        Whether operands may be exchanged.
    """

    opcode: Opcode
    arithmetic: golden.Arithmetic
    commutative: bool = False

    @property
    def name(self) -> str:
        """The opcode in small letters."""
        return self.opcode.name.lower()

    @property
    @abstractmethod
    def operands(self) -> int:
        """How many operands it takes."""

    def match(self, graph: Graph, node: Node, capabilities: Capabilities) -> Operation | str:
        """Return how the device runs an operator of this kind, or why it cannot."""
        if len(graph.tensors[node.outputs[0]].shape) > capabilities.elementwise_max_rank:
            most = quantity(capabilities.elementwise_max_rank, "axis", "axes")
            return f"element-wise with more than {most}"
        return self.operation(graph, node, capabilities)

    @abstractmethod
    def operation(self, graph: Graph, node: Node, capabilities: Capabilities) -> Operation | str:
        """Return what `match` does of a result with so few axes that the device takes it."""


@dataclass(frozen=True)
class BinaryKind(Kind):
    """An element-wise operation of two operands; parameters as of `Kind`."""

    @property
    def operands(self) -> int:
        """Two."""
        return 2

    def operation(self, graph: Graph, node: Node, capabilities: Capabilities) -> Operation | str:
        """Return it with the operand that is broadcast on the right."""
        result = graph.tensors[node.outputs[0]].shape
        orders = [node.inputs, node.inputs[::-1]] if self.commutative else [node.inputs]
        for left, right in orders:
            shape = graph.tensors[right].shape
            if graph.tensors[left].shape == result and _is_broadcast(shape, result):
                return Elementwise(self, left, right)
        if capabilities.operands == "paper":
            return "element-wise with a broadcast other than (r), (p,1) and one element"
        return Elementwise(self, *node.inputs)


@dataclass(frozen=True)
class Elementwise(Operation):
    """Two operands, each broadcast to the result."""

    kind: Kind
    left: str
    right: str

    @property
    def operands(self) -> tuple[str, ...]:
        """The tensors that it reads."""
        return (self.left, self.right)

    def constants(
        self,
        graph: Graph,
        form: ProductForm = PLAIN,
    ) -> list[ConstantUse]:
        """Return the constants that it reads, as they are."""
        return [
            ConstantUse(name, "tensor", graph.constants[name].shape)
            for name in self.operands
            if name in graph.constants
        ]

    def emit(self, device: Operands) -> DeviceTensor:
        """Run the opcode with the driver's broadcasting."""
        left, right = device.tensor(self.left), device.tensor(self.right)
        return device.driver.elementwise(self.kind.name, left, right)

    def expected_shape(
        self,
        operands: Mapping[str, Bits],
        shape: Shape,
    ) -> Shape:
        """Return the result's own shape."""
        return shape

    def expected(self, operands: Mapping[str, Bits]) -> Iterator[Part]:
        """Yield the whole result."""
        left, right = operands[self.left], operands[self.right]
        yield (...,), lambda: golden.elementwise(self.kind.arithmetic, left, right)

    def sums_error(
        self,
        operands: Mapping[str, Bits],
        wanted: Array,
    ) -> Array:
        """Return the rounding of the result to binary32."""
        return np.asarray(ROUNDING_F32 * np.abs(wanted.astype(np.float64)))

    def multiply_adds(self, elements: int) -> int:
        """Return an operation an element."""
        return elements


def _is_broadcast(shape: Shape, full: Shape) -> bool:
    """Return whether `shape` is one of the paper's broadcasts of `full`."""
    elements = prod(shape)
    return bool(full) and (
        shape == full
        or elements == 1
        or (shape[-1] == full[-1] == elements)
        or (len(shape) == len(full) and shape[:-1] == full[:-1] and shape[-1] == 1)
    )
