"""The makespan objective: memories and the DMA engine work at the same time.

List schedules of promising placements (the exact sequential optimum among them), the shortest
schedules of the model's blocks one after another, local search from all of them, and at last
integer programming of the whole. Blocks and whole also say how far from the shortest it can be.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import durations, evaluate, places_of
from pimloop.partitioner.makespan.blocks import BlockAnswer, solve_blocks
from pimloop.partitioner.makespan.bounds import settled_bound, trivial_bound
from pimloop.partitioner.makespan.mip import (
    MipAnswer,
    may_be_exact,
    solve_makespan,
    wishes,
)
from pimloop.partitioner.makespan.schedule import (
    TaskGraph,
    list_schedule,
    makespan,
    sequence_schedule,
    steps,
    task_graph,
)
from pimloop.partitioner.place.baselines import BASELINES
from pimloop.partitioner.place.capacity import overfull_at
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.heft import heft_place, improve
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.segments import cheapest_assignment

#: Share of the time limit that the local search may use; the rest is the solver's.
SEARCH_SHARE = 0.25

#: Share that the blocks may use.
BLOCK_SHARE = 0.6

#: Gap below which the relaxation of the whole, which is weaker than its blocks, is left alone.
SMALL_GAP = 0.005


def schedule_assignment(
    problem: Problem, policy: str, assignment: Mapping[str, str], method: str
) -> Plan:
    """Return the list schedule of a given assignment, with a bound on its own placement."""
    place = places_of(problem, assignment)
    tasks = task_graph(problem, place, durations(problem, assignment))
    starts = list_schedule(tasks, tasks.ranks())
    bound = trivial_bound(problem, feasible_domains(problem))
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
    placements = [places_of(problem, sequential)]
    heft = heft_place(problem, _whole_domains(problem, domains))
    for candidate in [heft, *_baseline_places(problem)]:
        if candidate is not None and candidate not in placements:
            placements.append(candidate)
    placements = [place for place in placements if not overfull_at(problem, place)]
    bound = trivial_bound(problem, domains)
    proof: dict[str, object] = {"kind": "load and longest chain"}
    begun = time.monotonic()
    blocks = solve_blocks(problem, domains, placements, BLOCK_SHARE * time_limit_s)
    joined = None if blocks is None else _joined(problem, placements[0], blocks)
    if blocks is not None and blocks.bound > bound:
        bound = blocks.bound
        proof = {"kind": "sum over blocks", "solver": "HiGHS", "blocks": blocks.blocks}
    joined_span = None
    if joined is not None:
        placements.append(places_of(problem, joined[0]))
        joined_span = makespan(*joined[1:])
    spent_s = 0.0 if blocks is None else time.monotonic() - begun
    solving_s = (1 - SEARCH_SHARE) * time_limit_s - spent_s
    proved = joined_span is not None and joined_span <= bound
    search_s = 0.0 if proved else SEARCH_SHARE * time_limit_s
    span, improved = improve(problem, domains, placements, search_s)
    best = schedule(problem, improved)
    method, limit_reached = "list scheduling and local search", False
    if joined is not None and joined_span is not None and joined_span < span:
        best, method = joined, "integer programming block by block"
        span = joined_span
    if bound < span:
        limit_reached = blocks is not None and not blocks.solved
    if bound < span * (1 - SMALL_GAP) or (bound < span and may_be_exact(domains)):
        answer = solve_makespan(problem, domains, span, max(0.0, solving_s))
        solved = schedule_of_answer(problem, answer)
        if solved is not None and makespan(*solved[1:]) < makespan(*best[1:]):
            best, method = solved, "integer programming"
        span = makespan(*best[1:])
        limit_reached = not answer.solved
        settled = settled_bound(problem, answer, span)
        if settled >= bound:
            bound = settled
            proof = {
                "kind": "integer programming" if answer.exact else "relaxed integer programme",
                "solver": "HiGHS",
                "time_limit_s": time_limit_s,
            }
    if limit_reached:
        proof = {**proof, "time_limit_s": time_limit_s}
    assignment, tasks, starts = best
    plan = _plan(problem, "optimal", assignment, tasks, starts, bound, method, proof)
    return replace(plan, limit_reached=limit_reached)


def _whole_domains(problem: Problem, domains: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the places that are no splits, of each operator that has some, else all."""
    memories = range(len(problem.memories))
    return [tuple(p for p in domain if p in memories) or domain for domain in domains]


Scheduled = tuple[Mapping[str, str], TaskGraph, list[int]]


def schedule(
    problem: Problem, place: Sequence[int], assignment: Mapping[str, str] | None = None
) -> Scheduled:
    """Return the list schedule of a placement, on its cheapest devices where none are given."""
    if assignment is None:
        assignment = cheapest_assignment(problem, place)
    tasks = task_graph(problem, place, durations(problem, assignment))
    return assignment, tasks, list_schedule(tasks, tasks.ranks())


def schedule_of_answer(problem: Problem, answer: MipAnswer) -> Scheduled | None:
    """Return the schedule that follows the solver's placement and, where exact, its order."""
    if answer.place is None or answer.operator_starts is None or overfull_at(problem, answer.place):
        return None
    try:
        assignment, tasks, starts = schedule(problem, answer.place, answer.assignment)
    except PartitionerError:
        return None  # a fractional placement of the relaxation, rounded to a forbidden one
    in_order = sequence_schedule(tasks, wishes(tasks, answer))
    return assignment, tasks, min(starts, in_order, key=lambda s: makespan(tasks, s))


def _joined(problem: Problem, start: Sequence[int], blocks: BlockAnswer) -> Scheduled | None:
    """Return the blocks' schedules one after another, with the places of `start` elsewhere.

    What is in no block is done as early as it can be. None when the placement is not feasible.
    """
    place = [blocks.place.get(v, where) for v, where in enumerate(start)]
    if overfull_at(problem, place):
        return None
    try:
        assignment, tasks, starts = schedule(problem, place)
    except PartitionerError:
        return None  # a tensor that passes a block has a forbidden move
    wish = [blocks.middle.get(v, 0.0) for v in range(len(place))]
    wish += [
        blocks.middle.get((problem.tensors[tensor].id, to), 0.0)
        for tensor, _, to in tasks.transfers
    ]
    in_order = sequence_schedule(tasks, wish)
    return assignment, tasks, min(starts, in_order, key=lambda s: makespan(tasks, s))


def _baseline_places(problem: Problem) -> list[list[int]]:
    """Return the placements of the baselines that are feasible here."""
    result = []
    for policy in BASELINES.values():
        try:
            assignment = policy(problem)
            evaluate(problem, assignment)
        except PartitionerError:
            continue
        result.append(places_of(problem, assignment))
    return result


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
    evaluation = evaluate(problem, assignment)
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
        overfull=overfull_at(problem, places_of(problem, assignment)),
        schedule=steps(problem, assignment, tasks, starts),
        splits=problem.chosen_splits(assignment),
        signatures=problem.signatures,
    )
