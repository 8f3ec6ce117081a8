"""Why operators are where they are: what each would cost elsewhere, by the costs of the profile.

For schedules that are proved optimal one step at a time; where steps overlap, or a search was
stopped, no such numbers are exact, and none are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from pimloop.host.report.format.placement import Alternative as AlternativeJson
from pimloop.host.report.format.placement import Placement
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.place.alternatives import (
    Alternative,
    Move,
    alternatives,
    capacity_may_bind,
    least_totals,
)
from pimloop.partitioner.place.solve import COEXEC
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.splits import Split

#: Entries of the largest table: the work stays within a second.
_TABLE_LIMIT = 1 << 20


def is_explained(plan: Plan | None) -> bool:
    """Return whether a plan is an optimum, of the sum of all times, and proved."""
    return (
        plan is not None
        and plan.policy in ("optimal", COEXEC)
        and plan.optimal
        and plan.objective == "sequential"
    )


def placement(costs: CostGraph | None, plan: Plan | None) -> Placement | None:
    """Return why the operators of a plan are where they are; None where nothing exact is known.

    Parameters
    ----------
    costs
        What it was made from; None: it was made without.
    plan
        Of a schedule; None: it has none.
    """
    if costs is None or plan is None or not is_explained(plan):
        return None
    problem = Problem.of(costs, with_splits=plan.policy == COEXEC)
    try:
        least = least_totals(problem, _TABLE_LIMIT)
    except PartitionerError:  # too wide for the tables
        return None
    exact = not capacity_may_bind(problem)
    if not exact and evaluate(problem, plan.assignment).total != min(least[0].values()):
        return None  # it binds: the plan is the optimum of what fits, `least` of all assignments
    made = alternatives(problem, plan.assignment, least)
    offered = costs.splits if plan.policy == COEXEC else {}
    return {
        "exact": exact,
        "alternatives": {
            name: [
                _json(alternative)
                for alternative in _shown(others, plan.splits.get(name), offered.get(name, ()))
            ]
            for name, others in made.items()
        },
    }


def _shown(
    others: tuple[Alternative, ...], chosen: Split | None, offered: Iterable[Split]
) -> list[Alternative]:
    """Return every device, the splits next to the chosen one, and the cheapest split."""
    splits = {split.name: split for split in offered}
    shown = [other for other in others if other.device not in splits]
    rest = [other for other in others if other.device in splits]
    if chosen is not None:

        def share(other: Alternative) -> Fraction:
            split = splits[other.device]
            return Fraction(split.share, split.shares)

        own = Fraction(chosen.share, chosen.shares)
        pair = [other for other in rest if splits[other.device].devices == chosen.devices]
        smaller = max((o for o in pair if share(o) < own), key=share, default=None)
        larger = min((o for o in pair if share(o) > own), key=share, default=None)
        shown += [other for other in (smaller, larger) if other is not None]
    known = [
        (other.regret_us, other.device, other) for other in rest if other.regret_us is not None
    ]
    if known and (nearest := min(known)[2]) not in shown:
        shown.append(nearest)
    return shown


def _json(alternative: Alternative) -> AlternativeJson:
    return {
        "device": alternative.device,
        "operator_us": alternative.operator_us,
        "adds": _moves(alternative.adds),
        "saves": _moves(alternative.saves),
        "kept_us": alternative.kept_us,
        "regret_us": alternative.regret_us,
    }


def _moves(moves: Iterable[Move]) -> dict[str, float]:
    return {move.name: move.us for move in moves}
