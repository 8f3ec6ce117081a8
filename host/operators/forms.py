"""How operands lie in device memory: activations that the host lays out, and constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Shape = tuple[int, ...]

#: The opcode that reads a resident right operand.
ProductOpcode = Literal["MATMUL", "MATMUL_T"]

#: What a constant is to the operator that reads it on the PIM: a tensor as it is or with its last
#: two axes exchanged ("turned"), a bias, a right operand as it is or its transpose, one of packed
#: integers with their scales. A state is in device memory like them: rows that the executions of a
#: model write there, as a tensor or, for MATMUL_T, as the transpose of a right operand.
ConstantForm = Literal["tensor", "turned", "bias", "matrix", "transposed", "integers", "state"]


@dataclass(frozen=True)
class ActivationForm:
    """How an activation lies in device memory where not as rows of its own shape."""

    role: Literal["left", "right"]  # of the product that reads it
    turned: bool  # the last two axes of `shape` are exchanged
    shape: Shape  # as the operation has it

    @property
    def stored(self) -> Shape:
        """The shape in device memory."""
        return turned_shape(self.shape) if self.turned else self.shape


@dataclass(frozen=True)
class ProductForm:
    """How a product is computed."""

    turned: bool = False  # C' = B' A'
    opcode: ProductOpcode = "MATMUL"  # that reads the right operand where it is a constant


#: As the model has it.
PLAIN = ProductForm()


class ConstantUse(NamedTuple):
    """A constant as one operator reads it."""

    name: str
    form: ConstantForm
    shape: Shape  # of the array as the operator sees it, before it is turned
    opcode: ProductOpcode = "MATMUL"  # that reads a right operand

    @property
    def tensor_shape(self) -> Shape | None:
        """The shape of the tensor that it is in device memory; None: it is a right operand."""
        if self.form in ("tensor", "bias") or (self.form == "state" and not self.in_blocks):
            return self.shape
        return turned_shape(self.shape) if self.form == "turned" else None

    @property
    def in_blocks(self) -> bool:
        """Whether it is a state in blocks."""
        return self.form == "state" and self.opcode == "MATMUL_T"

    @property
    def label(self) -> str:
        """The form and what else tells it from others of the same constant."""
        return self.form if self.opcode == "MATMUL" else f"{self.form}, {self.opcode}"


def turned_shape(shape: Shape) -> Shape:
    """Return a shape with its last two axes exchanged."""
    return (*shape[:-2], shape[-1], shape[-2])
