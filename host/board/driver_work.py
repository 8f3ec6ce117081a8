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
from pimloop.host.board.templates import Template
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.platforms.platform import Platform

#: Of a Gemm with transposed weights: a row of the transposed matrix, and an element of it; rows
#: beyond one tile are padded to whole tiles. From the four such operators of the published data
#: (9.3 to 188.6 ms).
TRANSPOSED_ROW_US = 17.7
TRANSPOSED_ELEMENT_US = 0.215

#: Columns of the board's tiles.
TILE = 512

_PRODUCTS = ("MatMul", "Gemm")
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


def transposing_us(template: Template, length: int) -> float:
    """Return what an operator's weights take to transpose at each call."""
    if not dict(template.attributes).get("transB"):
        return 0.0
    columns, rows = template.operands[1].at(length)
    if columns > TILE:
        columns = -(-columns // TILE) * TILE
    return rows * (TRANSPOSED_ROW_US + columns * TRANSPOSED_ELEMENT_US)


def repacking_us(template: Template, length: int, platform: Platform) -> float:
    """Return what an operator's rows that end inside a tile take the host."""
    read = platform.transfers[PIM_MEMORY, HOST_MEMORY].ns_per_element
    stored = platform.transfers[HOST_MEMORY, PIM_MEMORY].ns_per_element
    elements = repacked_elements(template, length)
    if template.op in _PRODUCTS:
        return elements * (read + stored) / _NS_PER_US
    return elements * stored / _NS_PER_US


def repacked_elements(template: Template, length: int) -> int:
    """Return the elements of an operator's result that the host repacks; 0: its rows fill tiles."""
    repacks = template.op in _PRODUCTS or (template.op in _ELEMENTWISE and _repeats_a_row(template))
    shape = template.operands[-1].at(length)
    return math.prod(shape) if repacks and shape[-1] % TILE else 0


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
class PimTime:
    """A class of operators on the PIM, microseconds: the board's median, and the simulated one."""

    template: Template
    length: int
    board_us: float
    simulated_us: float


def repacked_products(
    models: Iterable[str], lengths: Iterable[int], pim_us: Callable[[Template, int], float | None]
) -> list[PimTime]:
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
                if not (board_us and template.op in _PRODUCTS):
                    continue
                simulated = pim_us(template, length)
                if (
                    simulated is not None
                    and repacked_elements(template, length)
                    and not transposing_us(template, length)
                ):
                    products.append(PimTime(template, length, median(board_us), simulated))
    return products


def explanations(products: Sequence[PimTime], platform: Platform) -> list[Explanation]:
    """Return what each explanation makes of `repacked_products`.

    Each has one price, fitted by least squares of the relative errors, but the last: its price is
    what the transfers take.
    """
    if not products:
        return []
    board = np.array([time.board_us for time in products])
    simulated = np.array([time.simulated_us for time in products])
    results = []
    for name, amount, unit in _AMOUNTS:
        amounts = np.array([amount(time) for time in products])
        share = amounts / board
        price = float(share @ ((board - simulated) / board) / (share @ share))
        results.append(_explanation(name, price, unit, amounts, board, simulated, fitted=True))
    prices = (platform.transfers[pair].ns_per_element / _NS_PER_US for pair in _BOTH_WAYS)
    amounts = np.array([_result_elements(time) for time in products])
    name = "each element of the result, read and stored at the transfers' prices"
    results.append(
        _explanation(name, sum(prices), "element", amounts, board, simulated, fitted=False)
    )
    return results


def _explanation(
    name: str,
    price: float,
    unit: str,
    amounts: NDArray[np.float64],
    board: NDArray[np.float64],
    simulated: NDArray[np.float64],
    *,
    fitted: bool,
) -> Explanation:
    errors = (simulated + price * amounts) / board - 1
    return Explanation(name, price, unit, fitted, tuple(float(error) for error in errors))


_BOTH_WAYS = ((PIM_MEMORY, HOST_MEMORY), (HOST_MEMORY, PIM_MEMORY))


def _sizes(time: PimTime) -> tuple[int, int, int]:
    """Return rows, inner size and columns of a product."""
    *_, inner = time.template.operands[0].at(time.length)
    *shape, columns = time.template.operands[-1].at(time.length)
    return math.prod(shape), inner, columns


def _result_elements(time: PimTime) -> float:
    rows, _, columns = _sizes(time)
    return float(rows * columns)


def _rows(time: PimTime) -> float:
    return float(_sizes(time)[0])


def _left_elements(time: PimTime) -> float:
    rows, inner, _ = _sizes(time)
    return float(rows * inner)


def _multiply_adds(time: PimTime) -> float:
    rows, inner, columns = _sizes(time)
    return float(rows * inner * columns)


def _padding(time: PimTime) -> float:
    """Multiply-adds of a further half tile: the last tile computed twice."""
    rows, inner, columns = _sizes(time)
    return float(rows * inner * (columns % TILE))


_AMOUNTS: tuple[tuple[str, Callable[[PimTime], float], str], ...] = (
    ("each row of the result", _rows, "row"),
    ("each element of the left operand", _left_elements, "element"),
    ("each multiply-add", _multiply_adds, "multiply-add"),
    ("the last tile computed once more", _padding, "multiply-add"),
    ("each element of the result", _result_elements, "element"),
)
