"""How much a device had to simulate, and how much was known from earlier runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypedDict, runtime_checkable


class Usage(TypedDict):
    """Counts since the start of a device, or summed over several."""

    cycles_simulated: int  # DRAM clocks of lists that were simulated
    cycles_cached: int  # DRAM clocks of lists whose cost came from the cache
    lists_simulated: int
    lists_cached: int
    wall_s_simulating: float  # wall time from doorbell to the end of simulated lists, summed


@runtime_checkable
class CountsUsage(Protocol):
    """A device that counts what it simulates; the functional model has nothing to count."""

    @property
    def usage(self) -> Usage:
        """What it has done so far."""
        ...


def total_usage(parts: Iterable[Usage]) -> Usage:
    """Return the sum of several counts.

    >>> total_usage([])
    {'cycles_simulated': 0, 'cycles_cached': 0, 'lists_simulated': 0, 'lists_cached': 0, \
'wall_s_simulating': 0.0}
    """
    total = Usage(
        cycles_simulated=0,
        cycles_cached=0,
        lists_simulated=0,
        lists_cached=0,
        wall_s_simulating=0.0,
    )
    for part in parts:
        total["cycles_simulated"] += part["cycles_simulated"]
        total["cycles_cached"] += part["cycles_cached"]
        total["lists_simulated"] += part["lists_simulated"]
        total["lists_cached"] += part["lists_cached"]
        total["wall_s_simulating"] += part["wall_s_simulating"]
    return total
