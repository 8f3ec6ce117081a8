"""`partition`: one call for every policy and objective.

The optimum, of whole operators or with the splits that are offered, is computed by the quickest
exact method that applies (`pimloop.partitioner.place.optimum`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import cast

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.energies import with_known_splits
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate, places_of
from pimloop.partitioner.makespan.search import makespan_plan, schedule_assignment
from pimloop.partitioner.place.baselines import BASELINES
from pimloop.partitioner.place.capacity import overfull_at
from pimloop.partitioner.place.elimination import DEFAULT_TABLE_LIMIT
from pimloop.partitioner.place.objectives import EDP, ENERGY, SEQUENTIAL, Best, best_for
from pimloop.partitioner.place.optimum import DEFAULT_TIME_LIMIT_S, Search, find_optimum
from pimloop.partitioner.place.weighted import Totals, Weighing
from pimloop.partitioner.plan import Plan, PlanEnergy, PlanTotals
from pimloop.partitioner.plan_file import Objective
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.segments import cheapest_assignment

#: Policies that put every operator whole on a device.
POLICIES = ("optimal", *BASELINES)

#: The optimum when operators may be split between two devices, as the costs offer.
COEXEC = "coexec"

MAKESPAN = "makespan"
OBJECTIVES = (SEQUENTIAL, MAKESPAN, ENERGY, EDP)


def partition(
    costs: CostGraph,
    policy: str = "optimal",
    *,
    objective: str = SEQUENTIAL,
    method: str = "auto",
    table_limit: int = DEFAULT_TABLE_LIMIT,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> Plan:
    """Return the plan of `policy`.

    Parameters
    ----------
    policy
        One of `POLICIES`, or `COEXEC`: never above "optimal", and equal where no split is offered.
    objective
        "sequential" (the sum of all times), "energy" (of all energies) or "edp" (energy times
        time), of operators and transfers one after the other; or "makespan" (the end of a schedule
        in which memories and the DMA engine overlap; `pimloop.partitioner.makespan.schedule` says
        exactly how). Policies that are no optimum place by time; the objective says what their
        plan is measured by. Splits without an energy are in no plan for it.
    method
        How to find an optimum of a sum, one of `METHODS`; ignored by the baselines.
    table_limit
        Largest table of the dynamic programme, in entries of 8 bytes.
    time_limit_s
        Bound on integer programming, on the search of "edp" and on that of "makespan"; a plan that
        it stops is marked as not optimal and carries the bound reached.

    Raises
    ------
    PartitionerError
        For an unknown policy or method, an infeasible graph, a method that does not apply, or an
        objective of energies that `costs` does not have.
    """
    if policy not in (*POLICIES, COEXEC):
        raise PartitionerError(f"unknown policy {policy!r}; choose one of {[*POLICIES, COEXEC]}")
    if objective not in OBJECTIVES:
        raise PartitionerError(f"unknown objective {objective!r}; choose {list(OBJECTIVES)}")
    if objective in (ENERGY, EDP):
        costs = with_known_splits(costs)
    problem = Problem.of(costs, with_splits=policy == COEXEC)
    if policy in ("optimal", COEXEC):
        search = Search(method, table_limit, time_limit_s)
        if objective in (ENERGY, EDP):
            plan = _energy_plan(Weighing.of(problem), objective, search)
        else:
            plan = _fastest_plan(problem, search)
        if objective == MAKESPAN:
            plan = makespan_plan(problem, plan.assignment, time_limit_s)
        return _with_marks(replace(plan, policy=policy), costs)
    return assignment_plan(problem, policy, BASELINES[policy](problem), objective, method=policy)


def assignment_plan(
    problem: Problem, policy: str, assignment: dict[str, str], objective: str, *, method: str
) -> Plan:
    """Return the plan that a given assignment is, with a bound that asks no solver.

    Raises
    ------
    PartitionerError
        When the assignment does not fit the problem, or `objective` asks for energies that its
        costs do not have.
    """
    if objective == MAKESPAN:
        plan = schedule_assignment(problem, policy, assignment, policy)
        return _with_marks(plan, problem.costs)
    # The cheapest device of every operator, with free transfers: crude, but no solver is asked.
    bound = _least_operators(problem)
    plan = _plan(
        problem,
        assignment,
        bound=bound,
        optimal=evaluate(problem, assignment).total == bound,
        method=method,
        proof={"kind": "cheapest device of every operator, transfers free"},
    )
    if objective in (ENERGY, EDP):
        weighing = Weighing.of(problem)
        totals = weighing.totals(assignment)
        least = Fraction(_least_operators(weighing.energies))
        if objective == EDP:
            least *= bound
        optimal = least == (totals.fj if objective == ENERGY else totals.fj * totals.ticks)
        energy = _plan_energy(problem, totals, objective, least, {})
        plan = replace(plan, objective=cast(Objective, objective), optimal=optimal, energy=energy)
    return _with_marks(replace(plan, policy=policy), problem.costs)


def _least_operators(problem: Problem) -> int:
    return sum(min(by_place.values()) for by_place in problem.ticks)


def _with_marks(plan: Plan, costs: CostGraph) -> Plan:
    """Return `plan`, not called optimal where costs are those of other operators."""
    plan = replace(plan, cpu_times_disturbed=costs.cpu_times_disturbed)
    if not costs.stand_ins:
        return plan
    note = f"costs taken from others of the same class, not measured: {len(costs.stand_ins)}"
    return replace(plan, optimal=False, proof={**plan.proof, "stand_ins": note})


def _fastest_plan(problem: Problem, search: Search) -> Plan:
    """Return the plan with the least sum of all times, with the splits that `problem` has."""
    optimum = find_optimum(problem, search)
    amounts = {
        f"{name}_us": amount / 10**problem.decimals for name, amount in optimum.amounts.items()
    }
    return _plan(
        problem,
        cheapest_assignment(problem, optimum.place),
        bound=optimum.bound,
        optimal=optimum.total == optimum.bound,
        method=optimum.method,
        proof={**optimum.proof, **amounts},
        limit_reached=optimum.limit_reached,
    )


def _energy_plan(weighing: Weighing, objective: str, search: Search) -> Plan:
    """Return the plan with the least energy, or energy times time, beside other optima."""
    problem = weighing.times
    best = best_for(weighing, objective, search)
    fastest = best_for(weighing, SEQUENTIAL, search)
    others = {SEQUENTIAL: fastest}
    if objective == EDP:
        others[ENERGY] = best_for(weighing, ENERGY, search)
    plan = _plan(
        problem,
        best.assignment,
        bound=int(fastest.bound),
        optimal=best.optimal,
        method=best.method,
        proof=best.proof,
        limit_reached=best.limit_reached,
    )
    energy = _plan_energy(problem, best.totals, objective, best.bound, others)
    return replace(plan, objective=cast(Objective, objective), energy=energy)


def _plan_energy(
    problem: Problem,
    totals: Totals,
    objective: str,
    bound: Fraction,
    others: Mapping[str, Best],
) -> PlanEnergy:
    scale = 10**problem.decimals if objective == EDP else 1
    return PlanEnergy(
        total_fj=totals.fj,
        lower_bound=bound / scale,
        others={
            name: PlanTotals(problem.to_us(best.totals.ticks), best.totals.fj, best.optimal)
            for name, best in others.items()
        },
    )


def _plan(
    problem: Problem,
    assignment: Mapping[str, str],
    *,
    bound: int,
    optimal: bool,
    method: str,
    proof: Mapping[str, object],
    limit_reached: bool = False,
) -> Plan:
    evaluation = evaluate(problem, assignment)
    return Plan(
        policy="optimal",
        objective="sequential",
        assignment=assignment,
        total_us=problem.to_us(evaluation.total),
        compute_us=problem.to_us(evaluation.compute),
        transfer_us=problem.to_us(evaluation.transfer),
        entry_us=problem.to_us(evaluation.entry),
        lower_bound_us=problem.to_us(bound),
        optimal=optimal,
        method=method,
        proof=proof,
        overfull=overfull_at(problem, places_of(problem, assignment)),
        limit_reached=limit_reached,
        signatures=problem.signatures,
        splits=problem.chosen_splits(assignment),
    )
