"""What the board's driver spends on an operator beyond pimloop's: work of the host on its data.

Two kinds, neither of which pimloop's driver does:

- A Gemm with transB = 1 is transposed in uncached memory at each call; pimloop transposes the
  weights once, when it loads them.
- Rows that end inside a column tile. The board keeps a matrix without padding, and its PIM works on
  whole tiles of 512 columns, so the host repacks what does not fit: a product's result is read from
  PIM memory and stored again row by row, and a bias row is stored once for each row of the other
  operand. pimloop keeps such rows padded. What reading and storing an element of PIM memory takes
  is known from the board's transfers, so this has no parameter of its own; docs/board.md compares
  it with other explanations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pimloop.host.board.data import class_costs, load_board
from pimloop.host.board.templates import Kind, Operand, Template
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.models.graph import Graph, Node
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.paper.coexecution import PRODUCTS, TILE_COLUMNS

#: Of a Gemm with transposed weights: a row of the transposed matrix, and an element of it; rows
#: beyond one tile are padded to whole tiles. From the four such operators of the published data
#: (9.3 to 188.6 ms).
TRANSPOSED_ROW_US = 17.7
TRANSPOSED_ELEMENT_US = 0.215

Amounts = NDArray[np.float64]

_ELEMENTWISE = ("Add", "Sub", "Mul")
_NS_PER_US = 1e3


def driver_work_us(template: Template, length: int, platform: Platform) -> float:
    """Return what the board's driver adds to an operator on the PIM, microseconds.

    Parameters
    ----------
    template, length
        The class of operators, and the sequence length.
    platform
        Its prices of an element moved to and from PIM memory.
    """
    return transposing_us(template, length) + repacking_us(template, length, platform)


def node_work_us(graph: Graph, node: Node, platform: Platform) -> float:
    """Return the same for an operator of a graph, whose shapes are known, microseconds."""

    def operand(name: str, kind: Kind) -> Operand:
        tensor = graph.tensors[name]
        return Operand(kind, str(tensor.dtype), tensor.shape)

    inputs = [
        operand(name, "constant" if name in graph.constants else "activation")
        for name in node.inputs
    ]
    outputs = [operand(name, "output") for name in node.outputs[:1]]
    turned = (("transB", int(node.attributes.get("transB", 0))),)
    return driver_work_us(Template(node.op, (*inputs, *outputs), turned), 0, platform)


def transposing_us(template: Template, length: int) -> float:
    """Return what an operator's weights take to transpose at each call."""
    if not template.transposed:
        return 0.0
    columns, rows = template.operands[1].at(length)
    if columns > TILE_COLUMNS:
        columns = -(-columns // TILE_COLUMNS) * TILE_COLUMNS
    return rows * (TRANSPOSED_ROW_US + columns * TRANSPOSED_ELEMENT_US)


def repacking_us(template: Template, length: int, platform: Platform) -> float:
    """Return what an operator's rows that end inside a tile take the host."""
    return repacked_elements(template, length) * _element_us(template, platform)


def _element_us(template: Template, platform: Platform) -> float:
    """Return what repacking an element takes: a product's is read and stored, a row's stored."""
    ns = platform.transfers[HOST_MEMORY, PIM_MEMORY].ns_per_element
    if template.op in PRODUCTS:
        ns += platform.transfers[PIM_MEMORY, HOST_MEMORY].ns_per_element
    return ns / _NS_PER_US


def repacked_elements(template: Template, length: int) -> int:
    """Return the elements of an operator's result that the host repacks; 0: its rows fill tiles."""
    repacks = template.op in PRODUCTS or (template.op in _ELEMENTWISE and _repeats_a_row(template))
    shape = template.operands[-1].at(length)
    return math.prod(shape) if repacks and shape[-1] % TILE_COLUMNS else 0


def _repeats_a_row(template: Template) -> bool:
    """Whether an element-wise operator adds one row to every row of a matrix."""
    left, right, _ = template.operands
    return len(right.shape) == 1 < len(left.shape) and right.shape[-1] == left.shape[-1]


@dataclass(frozen=True)
class Explanation:
    """One explanation of why rows that end inside a tile take the board longer, and its errors."""

    name: str
    constant: float  # the price: fitted, or from the transfers
    unit: str
    fitted: bool
    errors: tuple[float, ...]  # of each operator, with the explanation; signed

    @property
    def median(self) -> float:
        """Median of the errors' sizes."""
        return median(map(abs, self.errors))

    @property
    def worst(self) -> float:
        """The largest error, with its sign."""
        return max(self.errors, key=abs)


@dataclass(frozen=True)
class RepackedProduct:
    """A product whose rows end inside a tile; times on the PIM, microseconds."""

    template: Template
    length: int
    board_us: float  # median
    simulated_us: float

    @property
    def inner(self) -> int:
        """Elements of a row of the left operand."""
        return self.template.operands[0].at(self.length)[-1]

    @property
    def columns(self) -> int:
        """Columns of the result."""
        return self.template.operands[-1].at(self.length)[-1]

    @property
    def rows(self) -> int:
        """Rows of the result."""
        return repacked_elements(self.template, self.length) // self.columns


#: What may take the time: its name, how much of it a product has, and its unit.
_AMOUNTS: tuple[tuple[str, Callable[[RepackedProduct], int], str], ...] = (
    ("each row of the result", lambda p: p.rows, "row"),
    ("each element of the left operand", lambda p: p.rows * p.inner, "element"),
    ("each multiply-add", lambda p: p.rows * p.inner * p.columns, "multiply-add"),
    (
        "the last tile computed once more",
        lambda p: p.rows * p.inner * (p.columns % TILE_COLUMNS),
        "multiply-add",
    ),
    ("each element of the result", lambda p: p.rows * p.columns, "element"),
)


def repacked_products(
    models: Iterable[str], lengths: Iterable[int], pim_us: Callable[[Template, int], float | None]
) -> list[RepackedProduct]:
    """Return the products of these models whose rows end inside a tile, weights not transposed.

    Parameters
    ----------
    models, lengths
        Of the board's models; lengths that were not measured are left out.
    pim_us
        Times on the simulated PIM.
    """
    products = []
    for model in models:
        board = load_board(model)
        for length in set(lengths) & set(board.measurements):
            measured = class_costs(board, length, "pim")
            for template, board_us in zip(board.classes, measured, strict=True):
                if not (board_us and template.op in PRODUCTS):
                    continue
                simulated = pim_us(template, length)
                repacked = repacked_elements(template, length) and not template.transposed
                if simulated is not None and repacked:
                    products.append(RepackedProduct(template, length, median(board_us), simulated))
    return products


def explanations(products: Sequence[RepackedProduct], platform: Platform) -> list[Explanation]:
    """Return what each explanation makes of `repacked_products`.

    Each has one price, fitted by least squares of the relative errors, but the last: its price is
    what the transfers take.
    """
    if not products:
        return []
    board = np.array([product.board_us for product in products])
    simulated = np.array([product.simulated_us for product in products])

    def explained(name: str, amounts: Amounts, unit: str, price: float | None) -> Explanation:
        fitted = price is None
        if price is None:
            share = amounts / board
            price = float(share @ (1 - simulated / board) / (share @ share))
        errors = (simulated + price * amounts) / board - 1
        return Explanation(name, price, unit, fitted, tuple(errors.tolist()))

    results = []
    for name, amount, unit in _AMOUNTS:
        amounts = np.array([float(amount(product)) for product in products])
        results.append(explained(name, amounts, unit, None))
    known = "each element of the result, read and stored at the transfers' prices"
    results.append(explained(known, amounts, unit, _element_us(products[0].template, platform)))
    return results
