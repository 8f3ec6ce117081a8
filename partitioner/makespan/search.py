"""The makespan objective: memories and the DMA engine work at the same time.

A list schedule of every promising placement (the exact sequential optimum among them), improved by
local search, then by integer programming, which also says how far from the shortest it can be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.makespan.mip import MipAnswer, solve_makespan
from pimloop.partitioner.makespan.schedule import (
    TaskGraph,
    list_schedule,
    makespan,
    sequence_schedule,
    steps,
    task_graph,
)
from pimloop.partitioner.place.baselines import BASELINES
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.heft import heft_place, improve
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import Problem

#: Share of the time limit that the local search may use; the rest is the solver's.
SEARCH_SHARE = 0.25

#: Relative error that HiGHS allows itself in times (its feasibility tolerance, with room).
TOLERANCE = 2e-6


def schedule_assignment(
    problem: Problem, policy: str, assignment: Mapping[str, str], method: str
) -> Plan:
    """Return the list schedule of a given assignment, with a bound on its own placement."""
    place = problem.places(assignment)
    tasks = task_graph(problem, place, problem.durations(assignment))
    starts = list_schedule(tasks, tasks.ranks())
    bound = _trivial_bound(problem, feasible_domains(problem))
    return _plan(problem, policy, assignment, tasks, starts, bound, method, {"kind": "trivial"})


def makespan_plan(problem: Problem, sequential: Mapping[str, str], time_limit_s: float) -> Plan:
    """Return the plan with the shortest makespan found, and the gap to the proved bound.

    Parameters
    ----------
    sequential
        The assignment of the sequential optimum, the first starting point.
    time_limit_s
        Bound on search and solver together.
    """
    domains = feasible_domains(problem)
    placements = [problem.places(sequential)]
    heft = heft_place(problem, _whole_domains(problem, domains))
    for candidate in [heft, *_baseline_places(problem)]:
        if candidate is not None and candidate not in placements:
            placements.append(candidate)
    placements = [place for place in placements if not problem.overfull(place)]
    span, improved = improve(problem, domains, placements, SEARCH_SHARE * time_limit_s)
    best = _schedule(problem, improved)
    bound = _trivial_bound(problem, domains)
    method, limit_reached = "list scheduling and local search", False
    proof: dict[str, object] = {"kind": "load and longest chain"}
    if bound < span:
        answer = solve_makespan(problem, domains, span, (1 - SEARCH_SHARE) * time_limit_s)
        found = _from_answer(problem, answer)
        if found is not None and makespan(*found[1:]) < makespan(*best[1:]):
            best, method = found, "integer programming"
        span = makespan(*best[1:])
        bound = max(bound, _settled_bound(problem, answer, span))
        proof = {
            "kind": "integer programming" if answer.exact else "relaxed integer programme",
            "solver": "HiGHS",
            "time_limit_s": time_limit_s,
        }
        limit_reached = not answer.solved
    assignment, tasks, starts = best
    plan = _plan(problem, "optimal", assignment, tasks, starts, bound, method, proof)
    return replace(plan, limit_reached=limit_reached)


def _whole_domains(problem: Problem, domains: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the places that are no splits, of each operator that has some, else all."""
    memories = range(len(problem.memories))
    return [tuple(p for p in domain if p in memories) or domain for domain in domains]


def _settled_bound(problem: Problem, answer: MipAnswer, span: int) -> int:
    """Return the bound in ticks that the solver's floating-point bound supports."""
    if answer.exact and answer.solved and answer.bound >= span * (1 - TOLERANCE):
        return span
    # Makespans are sums of costs, so they are multiples of the costs' common divisor.
    grid = problem.granularity
    safe = max(0, math.floor(answer.bound * (1 - TOLERANCE)))
    return min(span, -(-safe // grid) * grid)


Scheduled = tuple[Mapping[str, str], TaskGraph, list[int]]


def _schedule(
    problem: Problem, place: Sequence[int], assignment: Mapping[str, str] | None = None
) -> Scheduled:
    """Return the list schedule of a placement, on its cheapest devices where none are given."""
    if assignment is None:
        assignment = problem.assignment(place)
    tasks = task_graph(problem, place, problem.durations(assignment))
    return assignment, tasks, list_schedule(tasks, tasks.ranks())


def _from_answer(problem: Problem, answer: MipAnswer) -> Scheduled | None:
    """Return the schedule that follows the solver's placement and, where exact, its order."""
    if answer.place is None or answer.operator_starts is None or problem.overfull(answer.place):
        return None
    try:
        assignment, tasks, starts = _schedule(problem, answer.place, answer.assignment)
    except PartitionerError:
        return None  # a fractional placement of the relaxation, rounded to a forbidden one
    begin = list(answer.operator_starts) + [
        answer.transfer_starts.get((flow, destination), 0.0)
        for flow, _, destination in tasks.transfers
    ]
    # The middle of a task says unmistakably which of two neighbours comes first, even where one
    # takes no time or the solver's starts carry rounding errors.
    wish = [at + length / 2 for at, length in zip(begin, tasks.duration, strict=True)]
    in_order = sequence_schedule(tasks, wish)
    return assignment, tasks, min(starts, in_order, key=lambda s: makespan(tasks, s))


def _baseline_places(problem: Problem) -> list[list[int]]:
    """Return the placements of the baselines that are feasible here."""
    result = []
    for policy in BASELINES.values():
        try:
            assignment = policy(problem)
            problem.evaluate(assignment)
        except PartitionerError:
            continue
        result.append(problem.places(assignment))
    return result


def _trivial_bound(problem: Problem, domains: Sequence[tuple[int, ...]]) -> int:
    """Return the longest chain of cheapest operators, or the load no placement can avoid."""
    cheapest, load = [], 0
    for v, domain in enumerate(domains):
        ticks = problem.ticks[v]
        cheapest.append(min(ticks[place] for place in domain))
        # A split occupies two memories.
        load += min(ticks[place] * len(problem.memories_at(v, place)) for place in domain)
    finish = [0] * len(domains)
    for v in problem.order:
        ready = max(
            (finish[p] for f in problem.inputs[v] if (p := problem.flows[f].producer) >= 0),
            default=0,
        )
        finish[v] = ready + cheapest[v]
    return max(*finish, -(-load // len(problem.memories)))


def _plan(
    problem: Problem,
    policy: str,
    assignment: Mapping[str, str],
    tasks: TaskGraph,
    starts: Sequence[int],
    bound: int,
    method: str,
    proof: Mapping[str, object],
) -> Plan:
    evaluation = problem.evaluate(assignment)
    span = makespan(tasks, starts)
    return Plan(
        policy=policy,
        objective="makespan",
        assignment=assignment,
        total_us=problem.to_us(span),
        compute_us=problem.to_us(evaluation.compute),
        transfer_us=problem.to_us(evaluation.transfer),
        entry_us=problem.to_us(evaluation.entry),
        lower_bound_us=problem.to_us(bound),
        optimal=span == bound,
        method=method,
        proof=proof,
        overfull=problem.overfull(problem.places(assignment)),
        schedule=steps(problem, assignment, tasks, starts),
        splits=problem.chosen_splits(assignment),
        signatures=problem.signatures,
    )
