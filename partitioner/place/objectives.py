"""Optima of time, of energy and of their product, of operators and transfers in sequence.

Time and energy of an assignment are sums, so each optimum, and that of a weighted sum, is found by
the exact methods of `pimloop.partitioner.place.optimum`; that of the product follows from such sums
(`pimloop.partitioner.place.product`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from pimloop.partitioner.place.optimum import Optimum, Search, find_optimum
from pimloop.partitioner.place.product import Answer, Point, least_product
from pimloop.partitioner.place.weighted import Totals, Weighing
from pimloop.partitioner.segments import cheapest_assignment

SEQUENTIAL, ENERGY, EDP = "sequential", "energy", "edp"

#: Objective -> weights of time and energy. That of `EDP` is no sum.
_WEIGHTS = {SEQUENTIAL: (1, 0), ENERGY: (0, 1)}


@dataclass(frozen=True)
class Best:
    """The best assignment for an objective."""

    assignment: Mapping[str, str]
    totals: Totals
    bound: Fraction  # no assignment is below: ticks, femtojoules, or femtojoules x ticks
    optimal: bool  # the objective's value is the bound
    method: str
    proof: Mapping[str, object]
    limit_reached: bool  # the time limit ended a search


def best_for(weighing: Weighing, objective: str, search: Search) -> Best:
    """Return the best assignment.

    Parameters
    ----------
    objective
        `SEQUENTIAL`, `ENERGY` or `EDP`.
    search
        How to solve each weighted sum. That of `EDP` asks for no further one after the time limit.

    Raises
    ------
    PartitionerError
        As `pimloop.partitioner.place.optimum.find_optimum`.
    """
    if objective == EDP:
        return _best_product(weighing, search)
    optimum, point = _solve(weighing, *_WEIGHTS[objective], search)
    unit = "us" if objective == SEQUENTIAL else "fj"
    scale = 10**weighing.times.decimals if objective == SEQUENTIAL else 1
    amounts = {f"{name}_{unit}": amount / scale for name, amount in optimum.amounts.items()}
    return Best(
        assignment=point.item,
        totals=Totals(point.time, point.energy),
        bound=Fraction(optimum.bound),
        optimal=optimum.bound == optimum.total,
        method=optimum.method,
        proof={**optimum.proof, **amounts},
        limit_reached=optimum.limit_reached,
    )


def _best_product(weighing: Weighing, search: Search) -> Best:
    end = time.monotonic() + search.time_limit_s
    # The two ends of the hull are asked for in any case, and one more may be under way.
    each = replace(search, time_limit_s=search.time_limit_s / 3)
    optima: list[Optimum] = []

    def solve(a: int, b: int) -> Answer[Mapping[str, str]]:
        optimum, point = _solve(weighing, a, b, each)
        optima.append(optimum)
        return Answer(point, optimum.bound)

    result = least_product(solve, lambda: time.monotonic() > end)
    methods = sorted({optimum.method for optimum in optima})
    certainties = {
        str(optimum.proof["certainty"]) for optimum in optima if "certainty" in optimum.proof
    }
    proof: dict[str, object] = {
        "kind": "corners of the convex hull of time and energy",
        "weighted_sums": result.answers,
        "time_limit_s": search.time_limit_s,
        "methods": methods,
    }
    if certainties:
        proof["certainty"] = "; ".join(sorted(certainties))
    return Best(
        assignment=result.point.item,
        totals=Totals(result.point.time, result.point.energy),
        bound=result.bound,
        optimal=result.optimal,
        method="parametric search",
        proof=proof,
        limit_reached=not result.optimal
        and (time.monotonic() > end or any(optimum.limit_reached for optimum in optima)),
    )


def _solve(
    weighing: Weighing, a: int, b: int, search: Search
) -> tuple[Optimum, Point[Mapping[str, str]]]:
    """Return the optimum of a x ticks + b x femtojoules, and what it takes."""
    problem = weighing.weighted(a, b)
    optimum = find_optimum(problem, search)
    assignment = cheapest_assignment(problem, optimum.place)
    totals = weighing.totals(assignment)
    assert a * totals.ticks + b * totals.fj == optimum.total
    return optimum, Point(totals.ticks, totals.fj, assignment)
