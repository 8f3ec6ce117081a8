"""Transfer times by size, for sizes that were measured and those between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from pimloop.partitioner.errors import PartitionerError


class TransferPrices:
    """Piecewise linear time of a transfer over its size.

    Parameters
    ----------
    points
        Bytes to microseconds, at least one.
    direction
        Of the transfers, for messages.

    Examples
    --------
    >>> prices = TransferPrices({100: 10.0, 300: 20.0}, "to PIM")
    >>> [prices.at(size) for size in (50, 100, 200, 600)]
    [10.0, 10.0, 15.0, 40.0]
    """

    def __init__(self, points: Mapping[int, float], direction: str) -> None:
        if not points:
            raise PartitionerError(
                f"no transfer times {direction}; add a trace with such transfers"
            )
        self.sizes = sorted(points)
        self.times = [float(points[size]) for size in self.sizes]

    def at(self, size: int) -> float:
        """Return the time of a transfer of `size` bytes.

        A measured size gives its own time; between two, the line through them; below the
        smallest, the smallest's time (start-up dominates); above the largest, its time in
        proportion.
        """
        i = bisect_left(self.sizes, size)
        if i == len(self.sizes):
            return self.times[-1] * size / self.sizes[-1]
        if i == 0 or self.sizes[i] == size:
            return self.times[i]
        share = (size - self.sizes[i - 1]) / (self.sizes[i] - self.sizes[i - 1])
        return self.times[i - 1] + share * (self.times[i] - self.times[i - 1])
