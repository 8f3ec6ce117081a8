"""What an operation of the PIM device is to the rest of the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pimloop.host.common.golden import Bits
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators.forms import PLAIN, ActivationForm, ConstantUse, ProductForm, Shape

if TYPE_CHECKING:
    # An operation hands its operands to the driver, which knows no operation.
    from pimloop.host.operators.capabilities import Capabilities
    from pimloop.host.operators.product import Product
    from pimloop.host.pim.driver import DeviceMatrix, DeviceTensor, PimDriver

#: The most that rounding to binary32 errs by, as a part of the value.
ROUNDING_F32 = 2.0**-24
#: Half the distance of two subnormal binary32.
SUBNORMAL_ROUNDING_F32 = 2.0**-150

#: A part of a result: its index, and a short piece of work that returns its bits.
Part = tuple[Any, Callable[[], Bits]]

#: Returns how the PIM runs an operator of a model, or why it cannot.
Matcher = Callable[[Graph, Node, "Capabilities"], "Operation | str"]


class Operands(Protocol):
    """The operands of one operator in device memory, and the driver that computes with them."""

    @property
    def driver(self) -> PimDriver:
        """The driver of the device that has them."""
        ...

    @property
    def form(self) -> ProductForm:
        """How a product is to be computed."""
        ...

    @property
    def columns(self) -> int | None:
        """How many columns of a product are to be computed, the first ones; None: all."""
        ...

    def tensor(self, name: str) -> DeviceTensor:
        """Return an operand in rows of its own shape."""
        ...

    def state(self, name: str) -> DeviceTensor | DeviceMatrix:
        """Return a state as it lies: a tensor of its rows, or in blocks as their transpose."""
        ...

    @property
    def out(self) -> DeviceTensor | None:
        """Where the result has to go; None: to new memory."""
        ...

    def filled(self, name: str) -> int | None:
        """Return how many rows a state has with those that are appended; None: it is no state."""
        ...

    def row(self, name: str) -> DeviceTensor:
        """Return an operand as one row of all its elements."""
        ...

    def right(self, product: Product) -> tuple[DeviceMatrix | DeviceTensor, bool]:
        """Return the right operand of a product, and whether it is read as its transpose."""
        ...

    def matrix(self, use: ConstantUse) -> DeviceMatrix:
        """Return a constant as a right operand."""
        ...

    def turned(self, product: Product) -> tuple[DeviceTensor, DeviceMatrix | DeviceTensor]:
        """Return (left, right) of a product that is computed turned around."""
        ...


class FormChooser(Protocol):
    """Chooses how the operands of products lie in device memory (`pimloop.host.pim.forms`)."""

    def choose(
        self, node: Node, product: Product
    ) -> tuple[ProductForm, Mapping[str, ActivationForm]]:
        """Return the form of a product, and of the operands that the host lays out, by name."""
        ...


@dataclass(frozen=True)
class Operation(ABC):
    """One operator of a model as the PIM device runs it."""

    @property
    @abstractmethod
    def operands(self) -> tuple[str, ...]:
        """The tensors that it reads, in the order in which they are moved to the device."""

    def moved(self, graph: Graph) -> list[str]:
        """Return the operands that are no constants, each once."""
        return [name for name in dict.fromkeys(self.operands) if name not in graph.constants]

    @abstractmethod
    def constants(self, graph: Graph, form: ProductForm = PLAIN) -> list[ConstantUse]:
        """Return the constants that it reads, in the order in which they are placed."""

    def choose_form(
        self,
        node: Node,
        chooser: FormChooser,
    ) -> tuple[ProductForm, Mapping[str, ActivationForm]]:
        """Return its form, and that of the operands that the host lays out for it, by name."""
        return PLAIN, {}

    @abstractmethod
    def emit(self, device: Operands) -> DeviceTensor | DeviceMatrix:
        """Run it; return the result in any shape of as many elements as the model's.

        What appends returns the state as it lies.
        """

    @abstractmethod
    def expected_shape(self, operands: Mapping[str, Bits], shape: Shape) -> Shape:
        """Return the shape that the parts of `expected` refer to; parameters as there."""

    @abstractmethod
    def expected(self, operands: Mapping[str, Bits]) -> Iterator[Part]:
        """Yield the bits that the device must give, in parts that take about 20 ms each.

        Parameters
        ----------
        operands
            bfloat16 bits by name, in any shape of the tensor's elements.
        """

    @abstractmethod
    def sums_error(self, operands: Mapping[str, Bits], wanted: Array) -> Array:
        """Return how far two binary32 results may be apart before they are rounded to bfloat16.

        Parameters
        ----------
        operands
            As of `expected`.
        wanted
            The result in float32; the answer has its shape, in binary64.
        """

    def work(self, graph: Graph, node: Node) -> int:
        """Return the multiply-adds of an operator: simulating it takes about in proportion."""
        return self.multiply_adds(graph.tensors[node.outputs[0]].elements)

    @abstractmethod
    def multiply_adds(self, elements: int) -> int:
        """Return the multiply-adds behind a result of some elements; of others its operations."""
