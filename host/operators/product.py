"""Matrix products: MatMul and Gemm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from pimloop.host.common import golden
from pimloop.host.common.golden import Bits
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators.base import (
    ROUNDING_F32,
    SUBNORMAL_ROUNDING_F32,
    FormChooser,
    Operands,
    Operation,
    Part,
)
from pimloop.host.operators.forms import (
    PLAIN,
    ActivationForm,
    ConstantForm,
    ConstantUse,
    ProductForm,
    Shape,
)

if TYPE_CHECKING:
    from pimloop.host.operators.capabilities import Capabilities
    from pimloop.host.pim.driver import DeviceTensor

#: Multiply-adds of a part of the expected bits: about 20 ms of numpy.
_PART_WORK = 4_000_000

#: Elements of an operand that are widened to binary64 at a time.
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class Product(Operation):
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

    @property
    def operands(self) -> tuple[str, ...]:
        """The tensors that it reads: the one that is laid out last at the end."""
        bias = () if self.bias is None else (self.bias,)
        return (self.left, *bias, self.right)

    def constants(self, graph: Graph, form: ProductForm = PLAIN) -> list[ConstantUse]:
        """Return the constants that it reads in a form."""
        uses: list[ConstantUse] = []
        if self.left in graph.constants:
            uses.append(self.left_use(graph, form))
        if self.right in graph.constants:
            uses.append(self.right_use(form))
        if self.bias is not None and self.bias in graph.constants:
            uses.append(row_use(graph, self.bias))
        return uses

    def left_use(self, graph: Graph, form: ProductForm = PLAIN) -> ConstantUse:
        """Return the use of the constant on the left; turned around, it is on the right."""
        if form.turned:
            shape = right_shape(self.left_shape)
            return ConstantUse(self.left, "transposed", shape, form.opcode)
        return ConstantUse(self.left, "tensor", graph.constants[self.left].shape)

    def right_use(self, form: ProductForm = PLAIN) -> ConstantUse:
        """Return the use of the constant on the right; turned around, it is on the left."""
        if form.turned:
            kind: ConstantForm = "tensor" if self.transposed else "turned"
            return ConstantUse(self.right, kind, self.right_shape)
        kind = "transposed" if self.transposed else "matrix"
        return ConstantUse(self.right, kind, self.right_shape, form.opcode)

    def choose_form(
        self, node: Node, chooser: FormChooser
    ) -> tuple[ProductForm, Mapping[str, ActivationForm]]:
        """Return what the chooser takes; plain where an operand is read twice."""
        if self.right in (self.left, self.bias):
            return PLAIN, {}
        return chooser.choose(node, self)

    def emit(self, device: Operands) -> DeviceTensor:
        """Run the product, turned around where its form says so."""
        if device.form.turned:
            return device.driver.matmul(*device.turned(self))
        left = device.tensor(self.left).view(self.left_shape)
        right, transposed = device.right(self)
        bias = None if self.bias is None else device.row(self.bias)
        return device.driver.matmul(
            left, right, transpose_b=transposed, bias=bias, columns=device.columns,
            filled=device.filled(self.right), out=device.out,
        )  # fmt: skip

    def columns_of(self, operands: Mapping[str, Bits], columns: slice) -> dict[str, Bits]:
        """Return the operands of some columns of the product; parameters as of `expected`."""
        part = dict(operands)
        right = operands[self.right].reshape(self.right_shape)
        part[self.right] = right[(..., columns, slice(None)) if self.transposed else (..., columns)]
        if self.bias is not None:
            part[self.bias] = operands[self.bias].reshape(-1)[columns]
        return part

    def with_columns(self, columns: int) -> Product:
        """Return the product of as many columns."""
        *lead, q, r = self.right_shape
        shape = (*lead, columns, r) if self.transposed else (*lead, q, columns)
        return replace(self, right_shape=shape)

    def expected_shape(
        self,
        operands: Mapping[str, Bits],
        shape: Shape,
    ) -> Shape:
        """Return (..., p, r) of the operands with equal leading axes."""
        left, right = self._factors(operands)
        return (*left.shape[:-1], right.shape[-1])

    def expected(self, operands: Mapping[str, Bits]) -> Iterator[Part]:
        """Yield columns of one matrix after the other."""
        left, right = self._factors(operands)
        bias = None if self.bias is None else operands[self.bias].reshape(-1)
        *lead, p, q = left.shape
        r = right.shape[-1]
        width = max(32, _PART_WORK // max(p * q, 1))
        for batch in np.ndindex(*lead):
            for start in range(0, r, width):
                columns = slice(start, start + width)
                yield (
                    (*batch, slice(None), columns),
                    partial(
                        golden.matmul,
                        left[batch],
                        right[(*batch, slice(None), columns)],
                        None if bias is None else bias[columns],
                    ),
                )

    def sums_error(self, operands: Mapping[str, Bits], wanted: Array) -> Array:
        """Return what two sums of the same terms in any order may be apart.

        A sum of n terms errs by at most n 2^-24 of the sum of their magnitudes; see Higham,
        Accuracy and Stability of Numerical Algorithms, section 4.2.
        """
        terms = self.magnitudes(operands).reshape(wanted.shape)
        if self.bias is not None:
            bias = operands[self.bias].reshape(-1)
            terms = terms + np.abs(golden.bf16_to_f32(bias).astype(np.float64))
        steps = self.inner + 2  # the bias, and a product that is rounded before it is added
        return np.asarray(2 * steps * (ROUNDING_F32 * terms + SUBNORMAL_ROUNDING_F32))

    def multiply_adds(self, elements: int) -> int:
        """Return as many as the inner dimension has, an element."""
        return elements * self.inner

    def _factors(self, operands: Mapping[str, Bits]) -> tuple[Bits, Bits]:
        """Return (..., p, q) and (..., q, r) with equal leading axes."""
        left, right = self._stored(operands)
        if right.ndim == 2:
            # One matrix for all rows: one product.
            return left.reshape(1, -1, left.shape[-1]), right[np.newaxis]
        lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        return (
            np.broadcast_to(left, (*lead, *left.shape[-2:])),
            np.broadcast_to(right, (*lead, *right.shape[-2:])),
        )

    def _stored(self, operands: Mapping[str, Bits]) -> tuple[Bits, Bits]:
        """Return (..., p, q) and (..., q, r) with the leading axes that they have."""
        left = operands[self.left].reshape(self.left_shape)
        right = operands[self.right].reshape(self.right_shape)
        return left, right.swapaxes(-1, -2) if self.transposed else right

    def magnitudes(self, operands: Mapping[str, Bits]) -> Array:
        """Return the product of the operands' magnitudes in binary64.

        The larger operand, which may be a model's largest weight, is widened block by block.
        """
        left, right = self._stored(operands)
        if left.size > right.size:
            other = _widened(right)
            parts = [_widened(part) @ other for part in _blocks(left, -2)]
            return np.concatenate(parts, axis=-2)
        other = _widened(left)
        return np.concatenate([other @ _widened(part) for part in _blocks(right, -1)], axis=-1)


def row_use(graph: Graph, name: str) -> ConstantUse:
    """Return the use of a constant as the row that a product adds, without leading axes of one."""
    return ConstantUse(name, "bias", (graph.constants[name].size,))


def right_shape(shape: Shape) -> Shape:
    """Return the shape of a right operand: one matrix where there is one."""
    return shape[-2:] if prod(shape[:-2]) == 1 else shape


def _widened(bits: Bits) -> Array:
    return np.asarray(golden.bf16_to_f32(bits & np.uint16(0x7FFF)).astype(np.float64))


def _blocks(bits: Bits, axis: int) -> list[Bits]:
    """Return views along an axis, of about `_BLOCK_ELEMENTS` each."""
    count = -(-bits.size // _BLOCK_ELEMENTS)
    return np.array_split(bits, max(min(count, bits.shape[axis]), 1), axis)


def _matmul(graph: Graph, node: Node, capabilities: Capabilities) -> Product | str:
    left, right = node.inputs
    p, q = graph.tensors[left].shape, graph.tensors[right].shape
    if capabilities.operands == "paper":
        reason = _beyond_the_paper(graph, left, right)
        if reason is not None:
            return reason
    if not capabilities.activation_matmul and not {left, right} & graph.constants.keys():
        return "a product of two activations, which the platform leaves out"
    turned = bool(node.attributes.get("transB", 0))  # of FusedMatMul
    if len(q) == 1:
        # By a vector: y = A v is y = v A', whose sums are the same.
        row = (1, *q)
        if len(p) == 1:
            return Product(left, right, True, None, row, row)
        return Product(right, left, True, None, row, right_shape(p))
    return Product(
        left,
        right,
        turned,
        None,
        (1, *p) if len(p) == 1 else p,
        q if right in graph.state_named else right_shape(q),
        constant_left=capabilities.operands == "any",
    )


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


def _gemm(graph: Graph, node: Node, capabilities: Capabilities) -> Product | str:
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
    return Product(
        left,
        right,
        bool(attributes.get("transB", 0)),
        bias,
        graph.tensors[left].shape,
        graph.tensors[right].shape,
        constant_left=capabilities.operands == "any",
    )


MATCHERS = {"MatMul": _matmul, "Gemm": _gemm}
