"""`partition`: one call for every policy and objective.

The optimum, of whole operators or with the splits that are offered, is computed by the cheapest
exact method that applies: minimum cut for two memories, dynamic programming for more or where
entering a device costs something, integer programming where a capacity binds or the graph is too
wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import Evaluation, evaluate, evaluate_places, places_of
from pimloop.partitioner.makespan.search import makespan_plan, schedule_assignment
from pimloop.partitioner.place.baselines import BASELINES
from pimloop.partitioner.place.capacity import overfull_at
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.elimination import DEFAULT_TABLE_LIMIT, solve_by_elimination
from pimloop.partitioner.place.ilp import RELATIVE_TOLERANCE, IlpResult, solve_by_ilp
from pimloop.partitioner.place.mincut import UnorderedSplitsError, solve_two_memories
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import MODEL_INPUT, Problem
from pimloop.partitioner.segments import cheapest_assignment

#: Policies that put every operator whole on a device.
POLICIES = ("optimal", *BASELINES)

#: The optimum when operators may be split between two devices, as the costs offer.
COEXEC = "coexec"

OBJECTIVES = ("sequential", "makespan")
METHODS = ("auto", "mincut", "dp", "ilp")

#: Seconds that integer programming may take when nothing else is asked for.
DEFAULT_TIME_LIMIT_S = 60.0


def partition(
    costs: CostGraph,
    policy: str = "optimal",
    *,
    objective: str = "sequential",
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
        "sequential" (the sum of all times) or "makespan" (the end of a schedule in which memories
        and the DMA engine overlap; `pimloop.partitioner.makespan.schedule` says exactly how).
    method
        How to find the sequential optimum, one of `METHODS`; ignored by the baselines.
    table_limit
        Largest table of the dynamic programme, in entries of 8 bytes.
    time_limit_s
        Bound on integer programming and on the makespan search; a plan that it stops is marked
        as not optimal and carries the bound reached.

    Raises
    ------
    PartitionerError
        For an unknown policy or method, an infeasible graph, or a method that does not apply.
    """
    if policy not in (*POLICIES, COEXEC):
        raise PartitionerError(f"unknown policy {policy!r}; choose one of {[*POLICIES, COEXEC]}")
    if objective not in OBJECTIVES:
        raise PartitionerError(f"unknown objective {objective!r}; choose {list(OBJECTIVES)}")
    problem = Problem.of(costs, with_splits=policy == COEXEC)
    if policy in ("optimal", COEXEC):
        plan = optimal_plan(problem, method, table_limit, time_limit_s)
        if plan.limit_reached and any(problem.splits):
            whole = optimal_plan(problem.whole(), method, table_limit, time_limit_s)
            plan = _cheaper(plan, whole)
        if objective == "makespan":
            plan = makespan_plan(problem, plan.assignment, time_limit_s)
        return _with_marks(replace(plan, policy=policy), costs)
    return assignment_plan(problem, policy, BASELINES[policy](problem), objective, method=policy)


def _cheaper(plan: Plan, whole: Plan) -> Plan:
    """Return the stopped `plan`, or that without splits where it is cheaper, with `plan`'s bound.

    So a search that was stopped is never above the policy `optimal`.
    """
    if whole.total_us >= plan.total_us:
        return plan
    bound = plan.lower_bound_us
    return replace(
        whole,
        lower_bound_us=bound,
        optimal=whole.total_us == bound,
        proof=plan.proof,
        limit_reached=True,
    )


def assignment_plan(
    problem: Problem, policy: str, assignment: dict[str, str], objective: str, *, method: str
) -> Plan:
    """Return the plan that a given assignment is, with a bound that asks no solver.

    Raises
    ------
    PartitionerError
        When the assignment does not fit the problem.
    """
    if objective == "makespan":
        plan = schedule_assignment(problem, policy, assignment, policy)
        return _with_marks(plan, problem.costs)
    # The cheapest device of every operator, with free transfers: crude, but no solver is asked.
    bound = sum(min(by_memory.values()) for by_memory in problem.ticks)
    evaluation = evaluate(problem, assignment)
    plan = Plan(
        policy=policy,
        objective="sequential",
        assignment=assignment,
        total_us=problem.to_us(evaluation.total),
        compute_us=problem.to_us(evaluation.compute),
        transfer_us=problem.to_us(evaluation.transfer),
        entry_us=problem.to_us(evaluation.entry),
        lower_bound_us=problem.to_us(bound),
        optimal=evaluation.total == bound,
        method=method,
        proof={"kind": "cheapest device of every operator, transfers free"},
        overfull=overfull_at(problem, places_of(problem, assignment)),
        signatures=problem.signatures,
        splits=problem.chosen_splits(assignment),
    )
    return _with_marks(plan, problem.costs)


def _with_marks(plan: Plan, costs: CostGraph) -> Plan:
    """Return `plan`, not called optimal where costs are those of other operators."""
    plan = replace(plan, cpu_times_disturbed=costs.cpu_times_disturbed)
    if not costs.stand_ins:
        return plan
    note = f"costs taken from others of the same class, not measured: {len(costs.stand_ins)}"
    return replace(plan, optimal=False, proof={**plan.proof, "stand_ins": note})


def optimal_plan(
    problem: Problem,
    method: str = "auto",
    table_limit: int = DEFAULT_TABLE_LIMIT,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> Plan:
    """Return the cheapest plan and the proof that it is; see `partition`.

    The splits that `problem` has are used.
    """
    if method not in METHODS:
        raise PartitionerError(f"unknown method {method!r}; choose one of {list(METHODS)}")
    domains = feasible_domains(problem)
    memories = _memories_in_play(problem, domains)
    if method == "mincut" and problem.has_entries:
        raise PartitionerError(
            f"{problem.costs.graph.name}: a minimum cut does not see what entering a device costs "
            "(entry_us); use --method dp or ilp"
        )
    if method == "mincut" and len(memories) > 2:
        raise PartitionerError(
            f"{problem.costs.graph.name}: a minimum cut separates two memories, this graph uses "
            f"{len(memories)}; use --method dp or ilp"
        )
    cut = len(memories) <= 2 and not problem.has_entries
    plan = None
    if method == "mincut" or (method == "auto" and cut):
        try:
            plan = _by_cut(problem, domains, memories)
        except UnorderedSplitsError:
            if method == "mincut":
                raise
    if method == "dp":
        plan = _by_elimination(problem, domains, table_limit)
    elif method == "auto" and plan is None:
        try:
            plan = _by_elimination(problem, domains, table_limit)
        except PartitionerError:
            # Too wide for tables, or infeasible in a way only a search shows.
            plan = None
    if plan is None:
        return _by_ilp(problem, domains, time_limit_s)
    if not plan.overfull:
        return plan  # the optimum without capacities respects them, so it is the one with them
    if method == "auto":
        return _by_ilp(problem, domains, time_limit_s)
    raise PartitionerError(
        f"{problem.costs.graph.name}: the optimum without capacities holds {plan.overfull} bytes "
        f"of weights, above the capacity; --method {method} knows no capacities, use ilp"
    )


def _memories_in_play(problem: Problem, domains: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    used = {
        memory
        for v, domain in enumerate(domains)
        for place in domain
        for memory in problem.memories_at(v, place)
    }
    if any(tensor.output or tensor.producer == MODEL_INPUT for tensor in problem.tensors):
        assert problem.home is not None
        used.add(problem.home)
    return tuple(sorted(used))


def _by_cut(
    problem: Problem, domains: Sequence[tuple[int, ...]], memories: tuple[int, ...]
) -> Plan:
    if len(memories) == 1:
        place = [domain[0] for domain in domains]
        value = sum(problem.ticks[v][memory] for v, memory in enumerate(place))
        return _exact_plan(
            problem, place, "best device of every operator", {"kind": "one memory"}, value
        )
    result = solve_two_memories(problem, domains, (memories[0], memories[1]))
    proof = {
        "kind": "minimum cut equals maximum flow",
        "cut_us": problem.to_us(result.cut_value),
        "constant_us": problem.to_us(result.constant),
        "network_nodes": result.nodes,
        "network_arcs": result.arcs,
    }
    value = result.cut_value + result.constant
    return _exact_plan(problem, result.place, "minimum s-t cut", proof, value)


def _by_elimination(problem: Problem, domains: Sequence[tuple[int, ...]], table_limit: int) -> Plan:
    result = solve_by_elimination(problem, domains, table_limit)
    proof = {
        "kind": "dynamic programming over a tree decomposition",
        "width": result.width,
        "largest_table": result.largest_table,
    }
    return _exact_plan(problem, result.place, "dynamic programming", proof, result.value)


def _by_ilp(problem: Problem, domains: Sequence[tuple[int, ...]], time_limit_s: float) -> Plan:
    result = solve_by_ilp(problem, domains, time_limit_s)
    evaluation = evaluate_places(problem, result.place)
    bound, certainty = _ilp_bound(problem, result, evaluation.total)
    proof = {
        "kind": "integer programming",
        "solver": "HiGHS",
        "time_limit_s": time_limit_s,
        "solver_bound_us": result.bound / 10**problem.decimals,
        "certainty": certainty,
        "variables": result.variables,
        "constraints": result.constraints,
    }
    plan = _plan(problem, result.place, "integer programming", proof, evaluation, bound)
    return replace(plan, limit_reached=not result.solved)


def _ilp_bound(problem: Problem, result: IlpResult, total: int) -> tuple[int, str]:
    """Return the lower bound in ticks that the solver's floating-point bound supports, and why."""
    if total - result.bound < problem.granularity:
        # No assignment lies between: totals are multiples of the granularity.
        return total, "the bound leaves no room for a cheaper total on the grid of the costs"
    if result.solved and total - result.bound <= RELATIVE_TOLERANCE * total:
        return total, f"the bound is within the solver's tolerance ({RELATIVE_TOLERANCE:g})"
    bound = max(0, int(result.bound))
    if not result.solved:
        return bound, "stopped by the limit"
    return bound, "the search ended with a gap beyond the solver's tolerance"


def _exact_plan(
    problem: Problem, place: Sequence[int], method: str, proof: Mapping[str, object], value: int
) -> Plan:
    """Return the plan of an exact solver after holding its value against the evaluation."""
    evaluation = evaluate_places(problem, place)
    if evaluation.total != value:
        raise PartitionerError(
            f"{problem.costs.graph.name}: internal error: {method} says {value} ticks, its plan "
            f"costs {evaluation.total}; report this cost graph, and use --method ilp meanwhile"
        )
    return _plan(problem, place, method, proof, evaluation, value)


def _plan(
    problem: Problem,
    place: Sequence[int],
    method: str,
    proof: Mapping[str, object],
    evaluation: Evaluation,
    bound: int,
) -> Plan:
    return Plan(
        policy="optimal",
        objective="sequential",
        assignment=cheapest_assignment(problem, place),
        total_us=problem.to_us(evaluation.total),
        compute_us=problem.to_us(evaluation.compute),
        transfer_us=problem.to_us(evaluation.transfer),
        entry_us=problem.to_us(evaluation.entry),
        lower_bound_us=problem.to_us(bound),
        optimal=evaluation.total == bound,
        method=method,
        proof=proof,
        overfull=overfull_at(problem, place),
        signatures=problem.signatures,
        splits=problem.chosen_splits(cheapest_assignment(problem, place)),
    )
