"""Products by constant matrices of integers: MatMulNBits as `--quantize` makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from pimloop.host.common import golden, golden_quantized
from pimloop.host.common.golden import Bits
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.models.quantize.products import weights_of
from pimloop.host.models.quantize.weights import Quantized
from pimloop.host.operators.base import (
    ROUNDING_F32,
    SUBNORMAL_ROUNDING_F32,
    Operands,
    Operation,
    Part,
)
from pimloop.host.operators.forms import PLAIN, ConstantUse, ProductForm, Shape
from pimloop.host.operators.product import row_use

if TYPE_CHECKING:
    from pimloop.host.operators.capabilities import Capabilities
    from pimloop.host.pim.driver import DeviceTensor

#: Multiply-adds of a part of the expected bits: about 20 ms of numpy.
_PART_WORK = 4_000_000

#: Fused steps by which a sum is added to the result.
_PARTS = 3


@dataclass(frozen=True)
class IntegerProduct(Operation):
    """left (..., q) times integers (q, r) with scales, plus a row."""

    left: str
    right: str  # the packed integers
    bias: str | None  # tensor of r elements
    left_shape: Shape
    weights: Quantized = field(compare=False, repr=False)

    @property
    def operands(self) -> tuple[str, ...]:
        """The tensors that it reads besides its weights."""
        return (self.left,) if self.bias is None else (self.left, self.bias)

    def constants(self, graph: Graph, form: ProductForm = PLAIN) -> list[ConstantUse]:
        """Return the constants that it reads."""
        uses = [self.right_use()]
        if self.bias is not None and self.bias in graph.constants:
            uses.append(row_use(graph, self.bias))
        return uses

    def right_use(self) -> ConstantUse:
        """Return the use of the integers."""
        return ConstantUse(self.right, "integers", (self.weights.inner, self.weights.columns))

    def emit(self, device: Operands) -> DeviceTensor:
        """Run the product."""
        left = device.tensor(self.left).view(self.left_shape)
        bias = None if self.bias is None else device.row(self.bias)
        return device.driver.matmul(left, device.matrix(self.right_use()), bias=bias)

    def expected_shape(self, operands: Mapping[str, Bits], shape: Shape) -> Shape:
        """Return (rows, r)."""
        return (prod(self.left_shape[:-1]), self.weights.columns)

    def expected(self, operands: Mapping[str, Bits]) -> Iterator[Part]:
        """Yield some columns after the other."""
        left = operands[self.left].reshape(-1, self.weights.inner)
        bias = None if self.bias is None else operands[self.bias].reshape(-1)
        integers, scales = self.weights.integers(), self.weights.scale_bits()
        width = max(32, _PART_WORK // max(left.size, 1))
        for start in range(0, self.weights.columns, width):
            columns = slice(start, start + width)
            yield (
                (slice(None), columns),
                partial(
                    golden_quantized.matmul,
                    left,
                    integers[:, columns],
                    scales[:, columns],
                    self.weights.group,
                    None if bias is None else bias[columns],
                ),
            )

    def sums_error(self, operands: Mapping[str, Bits], wanted: Array) -> Array:
        """Return what two sums of the same terms in any order may be apart, as of a `Product`."""
        left = golden.bf16_to_f32(operands[self.left] & np.uint16(0x7FFF)).astype(np.float64)
        terms = left.reshape(-1, self.weights.inner) @ np.abs(self.weights.floats())
        if self.bias is not None:
            bias = operands[self.bias].reshape(-1)
            terms = terms + np.abs(golden.bf16_to_f32(bias).astype(np.float64))
        groups = -(-self.weights.inner // self.weights.group)
        # The bias, a product that is rounded before it is added, the scaled parts of sums.
        steps = self.weights.inner + 2 + _PARTS * groups
        error = 2 * steps * (ROUNDING_F32 * terms + SUBNORMAL_ROUNDING_F32)
        return np.asarray(error.reshape(wanted.shape))

    def multiply_adds(self, elements: int) -> int:
        """Return as many as the inner dimension has, an element."""
        return elements * self.weights.inner


def _match(graph: Graph, node: Node, capabilities: Capabilities) -> IntegerProduct | str:
    bias = node.inputs[5] if len(node.inputs) > 5 and node.inputs[5] else None
    shape = graph.tensors[node.inputs[0]].shape
    if len(shape) < 2 and capabilities.operands == "paper":
        return "a product with a vector"
    left_shape = shape if len(shape) > 1 else (1, *shape)
    return IntegerProduct(node.inputs[0], node.inputs[1], bias, left_shape, weights_of(graph, node))


MATCHERS = {"MatMulNBits": _match}
