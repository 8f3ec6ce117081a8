"""Co-execution on the paper's published costs: what its products would cost in parts.

The authors measured whole operators. What a part costs is modelled from that, by one of two
assumptions on the PIM (`PIM_PARTS`); the CPU's part takes its fraction of the columns of the whole
time, as a transfer takes the time of its own size (`TransferPrices`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.paper.tables import PARALLEL_TYPES, paper_costs, transfer_prices
from pimloop.partitioner.splits import Split, split_times

#: Operators that have a matrix of weights, whose columns two devices can share.
PRODUCTS = frozenset({"MatMul", "Gemm"}) & PARALLEL_TYPES

#: The parts that the columns are cut into, unless something else is asked for.
SHARES = 16

#: Columns of the weights that the board's PIM computes at once; narrower ones are padded.
TILE_COLUMNS = 512

_DEVICES = ("cpu_parallel", "pim")


@dataclass(frozen=True)
class _Product:
    rows: int  # of the left operand
    columns: int  # of the weights


def _in_proportion(part: float, product: _Product) -> float:
    """Return the fraction of the whole time that a part takes: that of the columns."""
    return part


def _by_tiles(part: float, product: _Product) -> float:
    """Return the fraction of the whole time that a part takes: that of the tiles it touches."""
    return math.ceil(product.columns * part / TILE_COLUMNS) / math.ceil(
        product.columns / TILE_COLUMNS
    )


#: Assumption on the PIM's part -> fraction of its columns and the product to that of its time.
PIM_PARTS: Mapping[str, Callable[[float, _Product], float]] = {
    "in proportion": _in_proportion,
    "by tiles": _by_tiles,
}


def split_costs(
    data: Mapping[str, Any], assumption: str = "in proportion", shares: int = SHARES
) -> CostGraph:
    """Return the cost graph of one of the paper's measurements with splits of its products.

    Parameters
    ----------
    data
        From `pimloop.partitioner.paper.tables.load_paper_file`.
    assumption
        One of `PIM_PARTS`.
    shares
        The PIM computes 1 to `shares` - 1 of so many equal parts of the columns, the CPU with all
        its cores the rest.
    """
    splits = {
        node["id"]: _splits_of(node, data, assumption, shares)
        for node in data["nodes"]
        if node["op"] in PRODUCTS and node["parameter_bytes"] and "pim" in node["cost_us"]
    }
    return replace(paper_costs(data), splits=splits)


def _splits_of(
    node: Mapping[str, Any], data: Mapping[str, Any], assumption: str, shares: int
) -> tuple[Split, ...]:
    whole, product = node["cost_us"], _product(node)
    prices = transfer_prices(data)
    size = node["output_bytes"] // 2

    def part_us(device: str, part: float) -> float:
        if device == "pim":
            return float(whole[device] * PIM_PARTS[assumption](part, product))
        return float(whole[device] * part)

    def gather_us(first: float, second: float) -> Mapping[str, Mapping[str, float]]:
        missing = {"cpu": round(size * second), "pim": round(size * first)}
        return {
            node["id"]: {
                to: prices[source, to].at(missing[to])
                for source, to in (("pim", "cpu"), ("cpu", "pim"))
            }
        }

    return split_times(_DEVICES, range(1, shares), shares, part_us, gather_us)


def _product(node: Mapping[str, Any]) -> _Product:
    """Return the shape of a product, which follows from the sizes of its tensors.

    With r rows, c columns and an inner length k: r k and r c elements of activations and k c of
    weights, and c more where a bias belongs to them (Gemm).
    """
    inputs, outputs, weights = (
        node[key] // 4 for key in ("activation_bytes", "output_bytes", "parameter_bytes")
    )
    bias = outputs if node["op"] == "Gemm" else 0
    rows = round((bias + math.sqrt(bias**2 + 4 * weights * inputs * outputs)) / (2 * weights))
    return _Product(rows, outputs // rows)
