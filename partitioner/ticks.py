"""Ticks: the whole numbers that times become, so that sums and comparisons are exact."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

from pimloop.partitioner.errors import PartitionerError

if TYPE_CHECKING:
    from pimloop.partitioner.costs import CostGraph

#: No assignment costs as much as this, so that sums of costs fit 64-bit integers.
TICK_LIMIT = 1 << 60

#: A tick is never finer than this power of ten of a microsecond (10**-9 us = 1 fs).
MAX_DECIMALS = 9

#: Below this every whole number is a float.
_EXACT_FLOAT = 1 << 53

_Cost = TypeVar("_Cost", int, float)


def to_ticks(time_us: float, scale: int) -> int:
    """Return a time as the nearest number of ticks.

    Parameters
    ----------
    scale
        Ticks of a microsecond.

    >>> to_ticks(0.3, 10), to_ticks(113097193828267.0, 10_000)
    (3, 1130971938282670000)
    """
    product = time_us * scale
    # Beyond, a product of floats misses the value that was written.
    return round(product if product < _EXACT_FLOAT else Fraction(time_us) * scale)


def dearest(moves: Mapping[tuple[Any, Any], _Cost]) -> dict[Any, _Cost]:
    """Return the cost of the dearest move to each destination."""
    result: dict[Any, _Cost] = {}
    for (_, destination), cost in moves.items():
        result[destination] = max(cost, result.get(destination, cost))
    return result


def choose_decimals(costs: CostGraph) -> int:
    """Return the finest power of ten for which every total stays exact."""
    total = 0.0
    for operator in costs.graph.operators:
        splits = costs.splits.get(operator.id, ())
        total += max([*costs.cost_us[operator.id].values(), *(split.time_us for split in splits)])
    for tensor in costs.graph.tensors:
        moves: dict[tuple[Any, Any], float] = dict(costs.transfer_us[tensor.id])
        for split in costs.splits.get(tensor.producer or "", ()):
            for memory, cost in split.gather_us.get(tensor.id, {}).items():
                moves[split.name, memory] = cost
        total += sum(dearest(moves).values())
    total += 2 * len(costs.cost_us) * max(costs.entry_us.values(), default=0.0)
    for decimals in range(MAX_DECIMALS, -1, -1):
        if total * 10**decimals < TICK_LIMIT:
            return decimals
    raise PartitionerError(
        f"{costs.graph.name}: the costs add up to {total:.3g} us, more than can be summed exactly "
        f"({TICK_LIMIT:.3g} us); is the unit right? Leave out a device that must not be used"
    )
