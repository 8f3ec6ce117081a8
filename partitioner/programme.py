"""An integer programme while it is being written down, and HiGHS to solve it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import highspy
import numpy as np
from scipy.sparse import csr_matrix

logger = logging.getLogger(__name__)


class Status(Enum):
    """How a solver's search ended."""

    SOLVED = "the least cost is known"
    INFEASIBLE = "there is no answer"
    STOPPED = "stopped by the time limit"
    FAILED = "neither an answer nor a limit"


@dataclass(frozen=True)
class Answer:
    """What HiGHS says of a programme."""

    status: Status
    x: tuple[float, ...] | None  # the best answer by variable; None: none was reached
    bound: float  # no answer costs less, within the solver's tolerance; infinite: not known
    message: str  # in HiGHS' words


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

    def solve(self, time_limit_s: float | None = None) -> Answer:
        """Return HiGHS' answer: the least cost, without a gap, unless the time limit stops it.

        That there is no answer is confirmed without presolve, which has been wrong about it.
        """
        solver = self._solver(time_limit_s)
        answer = _run(solver)
        if answer.status in (Status.INFEASIBLE, Status.FAILED):
            solver.clearSolver()
            solver.setOptionValue("presolve", "off")
            answer = _run(solver)
        return answer

    def _solver(self, time_limit_s: float | None) -> highspy.Highs:
        rows, columns, values = zip(*self._entries, strict=True) if self._entries else ((), (), ())
        matrix = csr_matrix((values, (rows, columns)), shape=(self.rows, self.variables))
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = self.variables, self.rows
        model.col_cost_ = np.array(self._cost)
        model.col_lower_, model.col_upper_ = np.array(self._least), np.ones(self.variables)
        model.row_lower_, model.row_upper_ = np.array(self._low), np.array(self._high)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = matrix.indptr
        model.a_matrix_.index_ = matrix.indices
        model.a_matrix_.value_ = matrix.data
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[integer] for integer in self._integer]
        solver = highspy.Highs()
        solver.silent()
        solver.setOptionValue("mip_rel_gap", 0.0)
        # One thread: the answer is the same every time.
        solver.setOptionValue("parallel", "off")
        solver.setOptionValue("threads", 1)
        if time_limit_s is not None:
            solver.setOptionValue("time_limit", float(time_limit_s))
        solver.passModel(model)
        return solver


def _bound(solver: highspy.Highs, status: highspy.HighsModelStatus) -> float:
    info = solver.getInfo()
    if any(kind == highspy.HighsVarType.kInteger for kind in solver.getLp().integrality_):
        return float(info.mip_dual_bound)
    solved = status == highspy.HighsModelStatus.kOptimal
    return float(info.objective_function_value) if solved else -math.inf


def _run(solver: highspy.Highs) -> Answer:
    solver.run()
    status, info = solver.getModelStatus(), solver.getInfo()
    message = solver.modelStatusToString(status)
    logger.debug("HiGHS: %s", message)
    has_answer = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    return Answer(
        status={
            highspy.HighsModelStatus.kOptimal: Status.SOLVED,
            highspy.HighsModelStatus.kInfeasible: Status.INFEASIBLE,
            highspy.HighsModelStatus.kTimeLimit: Status.STOPPED,
        }.get(status, Status.FAILED),
        x=tuple(solver.getSolution().col_value) if has_answer else None,
        bound=_bound(solver, status),
        message=message,
    )
