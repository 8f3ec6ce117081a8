"""The makespan objective: memories and the DMA engine work at the same time.

List schedules of promising placements (the exact sequential optimum among them), the shortest
schedules of the model's blocks one after another, local search from all of them, and at last
exhaustive search and integer programming of the whole. Blocks and whole also say how far from the
shortest it can be.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import durations, evaluate, places_of
from pimloop.partitioner.makespan.blocks import BlockAnswer, solve_blocks
from pimloop.partitioner.makespan.bounds import settled_bound, trivial_bound
from pimloop.partitioner.makespan.exact import shortest
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

#: Devices of the operators, and the tasks with their starts.
Scheduled: TypeAlias = tuple[Mapping[str, str], TaskGraph, list[int]]

#: What a bound rests on.
EXACT = "proved in integers"
FLOATING = "a floating-point solver's bound (HiGHS)"

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
    proof: dict[str, object] = {"kind": "load and longest chain", "certainty": EXACT}
    begun = time.monotonic()
    blocks = solve_blocks(problem, domains, placements, BLOCK_SHARE * time_limit_s)
    joined = None if blocks is None else _joined(problem, placements[0], blocks)
    if blocks is not None and blocks.bound > bound:
        bound = blocks.bound
        proof = {
            "kind": "sum over blocks",
            "blocks": blocks.blocks,
            "certainty": EXACT if blocks.exact else FLOATING,
        }
    if joined is not None:
        placements.append(places_of(problem, joined[0]))
    spent_s = 0.0 if blocks is None else time.monotonic() - begun
    solving_s = (1 - SEARCH_SHARE) * time_limit_s - spent_s
    proved = joined is not None and makespan(*joined[1:]) <= bound
    search_s = 0.0 if proved else SEARCH_SHARE * time_limit_s
    span, improved = improve(problem, domains, placements, search_s)
    best = _Best(schedule(problem, improved), "list scheduling and local search", bound, proof)
    if joined is not None and makespan(*joined[1:]) < span:
        best.scheduled, best.method = joined, "exhaustive search block by block"
    best.limit_reached = best.open and blocks is not None and not blocks.solved
    # The search knows neither entries nor what a memory holds.
    if best.open and may_be_exact(domains) and not (problem.has_entries or problem.capacity):
        best.search(problem, domains, solving_s / 2)
        solving_s /= 2
    if best.bound < best.span * (1 - SMALL_GAP) or (best.open and may_be_exact(domains)):
        best.solve(problem, domains, solving_s)
    if best.limit_reached:
        best.proof["time_limit_s"] = time_limit_s
    assignment, tasks, starts = best.scheduled
    plan = _plan(problem, "optimal", assignment, tasks, starts, best.bound, best.method, best.proof)
    return replace(plan, limit_reached=best.limit_reached)


@dataclass
class _Best:
    """The shortest schedule so far, and the bound on any."""

    scheduled: Scheduled
    method: str
    bound: int  # ticks
    proof: dict[str, object]
    limit_reached: bool = False

    @property
    def span(self) -> int:
        """The makespan, ticks."""
        return makespan(*self.scheduled[1:])

    @property
    def open(self) -> bool:
        """Whether a shorter one is possible so far."""
        return self.bound < self.span

    def search(self, problem: Problem, domains: Sequence[tuple[int, ...]], seconds: float) -> None:
        """Search exhaustively for a shorter schedule."""
        searched = shortest(problem, domains, self.span, time.monotonic() + max(0.0, seconds))
        if (better := searched.better) is not None:
            assignment = cheapest_assignment(problem, better.place)
            self.scheduled = assignment, better.tasks, better.starts
            self.method = "exhaustive search"
        if searched.proved:
            self.bound = self.span
            self.proof = {"kind": "exhaustive search", "certainty": EXACT}
        self.limit_reached = not searched.proved

    def solve(self, problem: Problem, domains: Sequence[tuple[int, ...]], seconds: float) -> None:
        """Let HiGHS look for a shorter schedule, and bound what it may take."""
        answer = solve_makespan(problem, domains, self.span, max(0.0, seconds))
        solved = schedule_of_answer(problem, answer)
        if solved is not None and makespan(*solved[1:]) < self.span:
            self.scheduled, self.method = solved, "integer programming"
        self.limit_reached = not answer.solved
        settled = settled_bound(problem, answer, self.span)
        if settled > self.bound:
            self.bound = settled
            kind = "integer programming" if answer.exact else "relaxed integer programme"
            self.proof = {"kind": kind, "certainty": FLOATING}


def _whole_domains(problem: Problem, domains: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the places that are no splits, of each operator that has some, else all."""
    memories = range(len(problem.memories))
    return [tuple(p for p in domain if p in memories) or domain for domain in domains]


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
