"""numpy broadcasting over leading axes as runs of rows that one descriptor can walk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Run:
    """Consecutive result rows whose operand rows advance evenly."""

    first: int  # result row
    count: int
    a: int  # first row of the left operand
    b: int  # first row of the right operand
    step_a: int  # rows of the left operand from one result row to the next
    step_b: int


def row_map(lead: tuple[int, ...], result_lead: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the operand row that each result row reads.

    Parameters
    ----------
    lead
        Leading axes of the operand.
    result_lead
        Leading axes of the result, which `lead` broadcasts to.

    >>> row_map((1, 2), (2, 2)).tolist()
    [0, 1, 0, 1]
    """
    rows = np.arange(int(np.prod(lead, dtype=np.int64)), dtype=np.int64).reshape(lead)
    return np.broadcast_to(rows, result_lead).reshape(-1)


def runs(map_a: NDArray[np.int64], map_b: NDArray[np.int64]) -> Iterator[Run]:
    """Yield maximal runs with constant, non-negative steps that cover all result rows.

    >>> [(run.count, run.step_a, run.step_b)
    ...  for run in runs(np.array([0, 1, 2, 3]), np.array([0, 1, 0, 1]))]
    [(2, 1, 1), (2, 1, 1)]
    """
    total = map_a.size
    diff_a, diff_b = np.diff(map_a), np.diff(map_b)
    # Positions where a step differs from the one before: a run can end only there.
    changes = np.flatnonzero((np.diff(diff_a) != 0) | (np.diff(diff_b) != 0)) + 1
    first = 0
    while first < total:
        count, step_a, step_b = 1, 0, 0
        if first < total - 1 and diff_a[first] >= 0 and diff_b[first] >= 0:
            step_a, step_b = int(diff_a[first]), int(diff_b[first])
            place = int(np.searchsorted(changes, first + 1))
            last = int(changes[place]) if place < changes.size else total - 1
            count = last - first + 1
        yield Run(first, count, int(map_a[first]), int(map_b[first]), step_a, step_b)
        first += count
