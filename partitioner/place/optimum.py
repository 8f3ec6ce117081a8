"""The cheapest placement by the quickest exact method that applies, and what proves it.

A minimum cut for two memories, dynamic programming for more or where entering a device costs
something, integer programming where a capacity binds or the graph is too wide. Costs are the
problem's, whatever they stand for: times, energies, or a weighted sum of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate_places
from pimloop.partitioner.place.capacity import overfull_at
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.elimination import DEFAULT_TABLE_LIMIT, solve_by_elimination
from pimloop.partitioner.place.ilp import RELATIVE_TOLERANCE, IlpResult, solve_by_ilp
from pimloop.partitioner.place.mincut import UnorderedSplitsError, solve_two_memories
from pimloop.partitioner.problem import MODEL_INPUT, Problem

METHODS = ("auto", "mincut", "dp", "ilp")

#: Seconds that integer programming may take when nothing else is asked for.
DEFAULT_TIME_LIMIT_S = 60.0


@dataclass(frozen=True)
class Search:
    """How to look for an optimum."""

    method: str = "auto"  # one of `METHODS`
    table_limit: int = DEFAULT_TABLE_LIMIT  # of dynamic programming, entries of 8 bytes
    time_limit_s: float = DEFAULT_TIME_LIMIT_S  # of integer programming


@dataclass(frozen=True)
class Optimum:
    """A placement, its cost, and the cost that no placement is below."""

    place: tuple[int, ...]
    total: int  # in the unit of the problem's costs
    bound: int
    method: str
    proof: Mapping[str, object]  # what shows the bound
    amounts: Mapping[str, float] = field(default_factory=dict)  # of the proof, in that unit
    limit_reached: bool = False  # the time limit ended the search


def find_optimum(problem: Problem, search: Search) -> Optimum:
    """Return the cheapest placement, with the splits that `problem` has.

    One that the time limit stopped is not above the optimum without splits.

    Raises
    ------
    PartitionerError
        For an unknown method, one that does not apply, or a problem that nothing solves.
    """
    if search.method not in METHODS:
        raise PartitionerError(f"unknown method {search.method!r}; choose one of {list(METHODS)}")
    optimum = _find(problem, search)
    if not (optimum.limit_reached and any(problem.splits)):
        return optimum
    whole = _find(problem.whole(), search)
    if whole.total >= optimum.total:
        return optimum
    return replace(
        whole,
        bound=optimum.bound,
        proof=optimum.proof,
        amounts=optimum.amounts,
        limit_reached=True,
    )


def _find(problem: Problem, search: Search) -> Optimum:
    method, name = search.method, problem.costs.graph.name
    domains = feasible_domains(problem)
    memories = _memories_in_play(problem, domains)
    if method == "mincut" and problem.has_entries:
        raise PartitionerError(
            f"{name}: a minimum cut does not see what entering a device costs "
            "(entry_us); use --method dp or ilp"
        )
    if method == "mincut" and len(memories) > 2:
        raise PartitionerError(
            f"{name}: a minimum cut separates two memories, this graph uses "
            f"{len(memories)}; use --method dp or ilp"
        )
    cut = len(memories) <= 2 and not problem.has_entries
    optimum = None
    if method == "mincut" or (method == "auto" and cut):
        try:
            optimum = _by_cut(problem, domains, memories)
        except UnorderedSplitsError:
            if method == "mincut":
                raise
    if method == "dp":
        optimum = _by_elimination(problem, domains, search.table_limit)
    elif method == "auto" and optimum is None:
        try:
            optimum = _by_elimination(problem, domains, search.table_limit)
        except PartitionerError:
            # Too wide for tables, or infeasible in a way only a search shows.
            optimum = None
    if optimum is None:
        return _by_ilp(problem, domains, search.time_limit_s)
    overfull = overfull_at(problem, optimum.place)
    if not overfull:
        return optimum  # without capacities it respects them, so it is the optimum with them
    if method == "auto":
        return _by_ilp(problem, domains, search.time_limit_s)
    raise PartitionerError(
        f"{name}: the optimum without capacities holds {overfull} bytes "
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
) -> Optimum:
    if len(memories) == 1:
        place = tuple(domain[0] for domain in domains)
        value = sum(problem.ticks[v][memory] for v, memory in enumerate(place))
        return _checked(
            problem,
            Optimum(place, value, value, "best device of every operator", {"kind": "one memory"}),
        )
    result = solve_two_memories(problem, domains, (memories[0], memories[1]))
    value = result.cut_value + result.constant
    proof = {
        "kind": "minimum cut equals maximum flow",
        "network_nodes": result.nodes,
        "network_arcs": result.arcs,
    }
    amounts = {"cut": result.cut_value, "constant": result.constant}
    return _checked(problem, Optimum(result.place, value, value, "minimum s-t cut", proof, amounts))


def _by_elimination(
    problem: Problem, domains: Sequence[tuple[int, ...]], table_limit: int
) -> Optimum:
    result = solve_by_elimination(problem, domains, table_limit)
    proof = {
        "kind": "dynamic programming over a tree decomposition",
        "width": result.width,
        "largest_table": result.largest_table,
    }
    return _checked(
        problem,
        Optimum(result.place, result.value, result.value, "dynamic programming", proof),
    )


def _by_ilp(problem: Problem, domains: Sequence[tuple[int, ...]], time_limit_s: float) -> Optimum:
    result = solve_by_ilp(problem, domains, time_limit_s)
    total = evaluate_places(problem, result.place).total
    bound, certainty = _ilp_bound(problem, result, total)
    proof = {
        "kind": "integer programming",
        "solver": "HiGHS",
        "time_limit_s": time_limit_s,
        "certainty": certainty,
        "variables": result.variables,
        "constraints": result.constraints,
    }
    return Optimum(
        result.place,
        total,
        bound,
        "integer programming",
        proof,
        {"solver_bound": result.bound},
        limit_reached=not result.solved,
    )


def _ilp_bound(problem: Problem, result: IlpResult, total: int) -> tuple[int, str]:
    """Return the lower bound that the solver's floating-point bound supports, and why."""
    if total - result.bound < problem.granularity:
        # No assignment lies between: totals are multiples of the granularity.
        return total, "the bound leaves no room for a cheaper total on the grid of the costs"
    if result.solved and total - result.bound <= RELATIVE_TOLERANCE * total:
        return total, f"the bound is within the solver's tolerance ({RELATIVE_TOLERANCE:g})"
    bound = max(0, int(result.bound))
    if not result.solved:
        return bound, "stopped by the limit"
    return bound, "the search ended with a gap beyond the solver's tolerance"


def _checked(problem: Problem, optimum: Optimum) -> Optimum:
    """Return an exact solver's optimum after holding its value against the evaluation."""
    total = evaluate_places(problem, optimum.place).total
    if total != optimum.total:
        raise PartitionerError(
            f"{problem.costs.graph.name}: internal error: {optimum.method} says {optimum.total}, "
            f"its placement costs {total}; report this cost graph, and use --method ilp meanwhile"
        )
    return optimum
