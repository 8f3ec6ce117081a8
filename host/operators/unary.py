"""Element-wise operations of one operand: what they have in common; each has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pimloop.host.common import golden
from pimloop.host.common.golden import Bits
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators.base import ROUNDING_F32, Operands, Operation, Part
from pimloop.host.operators.elementwise import Kind
from pimloop.host.operators.forms import PLAIN, ConstantUse, ProductForm, Shape

if TYPE_CHECKING:
    from pimloop.host.operators.capabilities import Capabilities
    from pimloop.host.pim.driver import DeviceTensor


@dataclass(frozen=True)
class UnaryKind(Kind):
    """An element-wise operation of one operand; parameters as of `Kind`."""

    @property
    def operands(self) -> int:
        """One."""
        return 1

    def operation(self, graph: Graph, node: Node, capabilities: Capabilities) -> Operation | str:
        """Return it of the node's first input."""
        return Unary(self, node.inputs[0])


@dataclass(frozen=True)
class Unary(Operation):
    """One operand, of the shape of the result."""

    kind: Kind
    operand: str

    @property
    def operands(self) -> tuple[str, ...]:
        """The tensor that it reads."""
        return (self.operand,)

    def constants(self, graph: Graph, form: ProductForm = PLAIN) -> list[ConstantUse]:
        """Return the operand where it is a constant."""
        constant = graph.constants.get(self.operand)
        return [] if constant is None else [ConstantUse(self.operand, "tensor", constant.shape)]

    def emit(self, device: Operands) -> DeviceTensor:
        """Run the opcode."""
        return device.driver.elementwise(self.kind.name, device.tensor(self.operand))

    def expected_shape(self, operands: Mapping[str, Bits], shape: Shape) -> Shape:
        """Return the result's own shape."""
        return shape

    def expected(self, operands: Mapping[str, Bits]) -> Iterator[Part]:
        """Yield the whole result."""
        operand = operands[self.operand]
        yield (...,), lambda: golden.elementwise(self.kind.arithmetic, operand)

    def sums_error(self, operands: Mapping[str, Bits], wanted: Array) -> Array:
        """Return the rounding of the result to binary32."""
        return np.asarray(ROUNDING_F32 * np.abs(wanted.astype(np.float64)))

    def multiply_adds(self, elements: int) -> int:
        """Return an operation an element."""
        return elements
