"""An integer programme while it is being written down, and HiGHS to solve it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

#: Status of `scipy.optimize.milp` for an answer, and for a programme that has none.
SOLVED, INFEASIBLE = 0, 2

#: Its status for whatever is neither an answer nor a limit.
SOLVE_ERROR = 4

logger = logging.getLogger(__name__)


class Programme:
    """Variables between 0 and 1, rows over them, and a cost that is to be least."""

    def __init__(self) -> None:
        self._cost: list[float] = []
        self._integer: list[bool] = []
        self._least: list[float] = []
        self._entries: list[tuple[int, int, float]] = []  # (row, variable, factor)
        self._low: list[float] = []
        self._high: list[float] = []

    @property
    def variables(self) -> int:
        """Number of variables."""
        return len(self._cost)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._low)

    def variable(self, cost: float = 0.0, *, integer: bool = False) -> int:
        """Add a variable; return its number."""
        self._cost.append(cost)
        self._integer.append(integer)
        self._least.append(0.0)
        return len(self._cost) - 1

    def set_to_one(self, variable: int) -> None:
        """Leave a variable no choice."""
        self._least[variable] = 1.0

    def row(
        self, terms: Sequence[tuple[int, float]], low: float = -np.inf, high: float = np.inf
    ) -> None:
        """Add low <= sum(factor * variable) <= high; factors of one variable add up."""
        self._entries += [(len(self._low), variable, factor) for variable, factor in terms]
        self._low.append(low)
        self._high.append(high)

    def solve(self, time_limit_s: float | None = None) -> Any:
        """Return the answer of `scipy.optimize.milp`: the least cost, without a gap."""
        rows, columns, values = zip(*self._entries, strict=True) if self._entries else ((), (), ())
        matrix = csr_matrix((values, (rows, columns)), shape=(self.rows, self.variables))
        options: dict[str, Any] = {"mip_rel_gap": 0.0}
        if time_limit_s is not None:
            options["time_limit"] = time_limit_s
        for presolve in (True, False):
            result = milp(
                c=np.array(self._cost),
                constraints=LinearConstraint(matrix, np.array(self._low), np.array(self._high)),
                integrality=np.array(self._integer, dtype=int),
                bounds=Bounds(np.array(self._least), np.ones(self.variables)),
                options={**options, "presolve": presolve},
            )
            logger.debug("HiGHS: %s", result.message)
            # Rarely its presolve ends in an error, on rows that are nearly parallel.
            if result.status != SOLVE_ERROR:
                break
        return result
