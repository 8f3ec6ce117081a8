"""The makespan block by block: a lower bound that adds up, and the placement that belongs to it.

Take any chain v1, v2, .. of operators, each after the one before it. What lies between two
neighbours of the chain (after the first, before the second) is a *block*, and is executed between
the first one's end and the second one's end: so are the transfers of what the block makes and
reads. Hence no schedule is shorter than the sum over the blocks of the shortest makespan of each by
itself, at the places of the chain's operators that make this sum least. Operators in no block and
tensors that pass one are left out, which only shortens.

Layers of a transformer meet in single operators (a residual sum), so little is left out there, and
a block is small enough for an exhaustive search to prove its makespan. Loads are then counted where
they arise; a relaxation of the whole model lets a memory that is idle in one layer help in another.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.makespan.bounds import settled_bound, trivial_bound
from pimloop.partitioner.makespan.exact import shortest
from pimloop.partitioner.makespan.mip import MipAnswer, solve_makespan, wishes
from pimloop.partitioner.makespan.schedule import (
    TaskGraph,
    list_schedule,
    makespan,
    sequence_schedule,
    task_graph,
)
from pimloop.partitioner.problem import MODEL_INPUT, IndexedTensor, Problem

#: An operator may join the chain when what can be executed beside it takes at most this share of
#: the least times of all operators.
BESIDE = 0.03

#: What a block costs, and each pair of its operators, as such a share: blocks come out with some
#: fifteen operators, more where it keeps them from being left out.
PER_BLOCK = 1e-5
PER_PAIR = 5e-8

#: Candidates that a block may pass over.
REACH = 80

#: A block is solved again when it gets so many times the seconds it had.
LONGER = 2.0

Domains: TypeAlias = Sequence[tuple[int, ...]]


#: An operator, or the copy of a tensor to a memory.
_Task: TypeAlias = int | tuple[str, int]


@dataclass(frozen=True)
class Block:
    """What lies between two operators of the chain; the last of `operators` ends it."""

    begin: int | None  # None: the block begins with the model
    operators: tuple[int, ...]  # in topological order, without `begin`
    end: int | None  # None: the block ends with the model

    @property
    def members(self) -> tuple[int, ...]:
        """The operators with the one that the block begins after."""
        return self.operators if self.begin is None else (self.begin, *self.operators)


@dataclass(frozen=True)
class BlockAnswer:
    """What the blocks prove, and the placement of their shortest schedules found."""

    bound: int  # ticks: no schedule of the whole is shorter
    blocks: int
    place: dict[int, int]  # operator -> place; those of no block are absent
    #: When an operator (its number), or a tensor's copy to a memory (its id, the memory), is under
    #: way in the blocks' schedules one after another: half its time is over. Ticks.
    middle: dict[_Task, float]
    solved: bool  # the shortest makespan of every block that it adds up is known
    exact: bool  # all bounds are proved in integers, none by a floating-point solver


@dataclass(frozen=True)
class _Solved:
    """What is known of one block with its ends in given places."""

    bound: int
    span: int
    place: tuple[int, ...]  # of its members
    middle: dict[_Task, float]  # as in `BlockAnswer`; operators by their number in the block
    exact: bool = True  # the bound is proved in integers

    @property
    def proved(self) -> bool:
        """Whether its shortest makespan is known."""
        return self.bound == self.span

    def joined(self, other: _Solved) -> _Solved:
        """Return the better of two bounds with the better of two schedules."""
        shorter = self if self.span <= other.span else other
        higher = max(self, other, key=lambda solved: (solved.bound, solved.exact))
        return replace(shorter, bound=higher.bound, exact=higher.exact)


@dataclass(frozen=True)
class _Part:
    """One block with its ends in given places, as a problem of its own."""

    problem: Problem
    choices: list[tuple[int, ...]]  # places of each member
    starts: list[list[int]]  # placements to begin with


#: Number of a block, place of the operator it begins after, place of the one that ends it.
_Case: TypeAlias = tuple[int, int | None, int | None]


def find_blocks(problem: Problem, domains: Domains) -> list[Block]:
    """Return the blocks of a chain that leaves little beside it, in order."""
    before, after = _relatives(problem)
    everyone = (1 << len(before)) - 1
    ends = _chain(problem, domains, before, after)
    position = {v: i for i, v in enumerate(problem.order)}
    result = []
    for begin, end in itertools.pairwise([None, *ends, None]):
        inside = everyone if begin is None else after[begin]
        if end is not None:
            inside &= before[end] | 1 << end
        operators = sorted(_members(inside), key=position.__getitem__)
        if operators:
            result.append(Block(begin, tuple(operators), end))
    return result


def _chain(
    problem: Problem, domains: Domains, before: Sequence[int], after: Sequence[int]
) -> list[int]:
    """Return the operators of the chain, in order: a shortest path over the candidates.

    A step from one to the next costs what newly lies beside it, as a share of the least times of
    all operators, and what its block asks of the solver (`PER_BLOCK`, `PER_PAIR`).
    """
    everyone = (1 << len(before)) - 1
    cheapest = [min(ticks.values()) for ticks in problem.ticks]
    total = sum(cheapest) or 1

    def share(bits: int) -> float:
        return sum(cheapest[u] for u in _members(bits)) / total

    beside = {
        v: everyone & ~(before[v] | after[v] | 1 << v)
        for v in problem.order
        # The places of a split would multiply the cases of both its blocks; and the last operator's
        # output belongs to a block.
        if after[v] and all(where < len(problem.memories) for where in domains[v])
    }
    candidates = [v for v, bits in beside.items() if share(bits) <= BESIDE]
    best: dict[int, tuple[float, int | None]] = {}
    for i, v in enumerate(candidates):
        first = PER_BLOCK + share(beside[v]) + PER_PAIR * before[v].bit_count() ** 2
        best[v] = (first, None)
        for u in candidates[max(0, i - REACH) : i]:
            if after[u] >> v & 1:
                inside = (after[u] & before[v]).bit_count()
                step = PER_BLOCK + share(beside[v] & ~beside[u]) + PER_PAIR * inside**2
                best[v] = min(best[v], (best[u][0] + step, u))
    whole = PER_PAIR * len(before) ** 2
    last, least = None, whole
    for v in candidates:
        length = best[v][0] + PER_PAIR * after[v].bit_count() ** 2
        if length < least:
            last, least = v, length
    chain: list[int] = []
    while last is not None:
        chain.append(last)
        last = best[last][1]
    return chain[::-1]


def _relatives(problem: Problem) -> tuple[list[int], list[int]]:
    """Return the operators before and after each operator, as sets of bits."""
    before, after = [0] * len(problem.ticks), [0] * len(problem.ticks)
    for v in problem.order:
        for f in problem.inputs[v]:
            if (u := problem.tensors[f].producer) != MODEL_INPUT:
                before[v] |= before[u] | 1 << u
    for v in reversed(problem.order):
        for f in problem.inputs[v]:
            if (u := problem.tensors[f].producer) != MODEL_INPUT:
                after[u] |= after[v] | 1 << v
    return before, after


def _members(bits: int) -> list[int]:
    members = []
    while bits:
        lowest = bits & -bits
        members.append(lowest.bit_length() - 1)
        bits ^= lowest
    return members


def block_problem(problem: Problem, block: Block) -> Problem:
    """Return the makespan problem of one block by itself.

    The operator that it begins after takes no time there. Entries and capacities are left out, and
    so are tensors of operators outside, and outputs except in the last block: a schedule of the
    whole may do with them what it likes before or after.
    """
    members = block.members
    number = {v: i for i, v in enumerate(members)}
    tensors = []
    for tensor in problem.tensors:
        readers = tuple(number[c] for c in tensor.consumers if c in number and c != block.begin)
        output = tensor.output and block.end is None
        if tensor.producer == MODEL_INPUT:
            if block.begin is None and readers:
                tensors.append(IndexedTensor(tensor.id, MODEL_INPUT, readers, False, tensor.ticks))
        elif tensor.producer in number and (readers or output):
            tensors.append(
                IndexedTensor(tensor.id, number[tensor.producer], readers, output, tensor.ticks)
            )
    free = [v == block.begin for v in members]
    return replace(
        problem,
        order=tuple(range(len(members))),
        ticks=tuple(
            dict.fromkeys(problem.ticks[v], 0) if zero else problem.ticks[v]
            for v, zero in zip(members, free, strict=True)
        ),
        device=tuple(problem.device[v] for v in members),
        tensors=tuple(tensors),
        weights=tuple(0 for _ in members),
        capacity={},
        runs=tuple(
            dict.fromkeys(problem.runs[v], 0) if zero else problem.runs[v]
            for v, zero in zip(members, free, strict=True)
        ),
        entry=tuple(0 for _ in problem.entry),
        splits=tuple(problem.splits[v] for v in members),
    )


def solve_blocks(
    problem: Problem, domains: Domains, placements: Sequence[Sequence[int]], seconds: float
) -> BlockAnswer | None:
    """Bound the makespan by its blocks, and place each block for a short makespan.

    None where there is but one block.

    Parameters
    ----------
    placements
        Placements of the whole, whose parts are where each block starts from.
    seconds
        Time limit of all blocks together. What it leaves unsolved has the bound reached.
    """
    deadline = time.monotonic() + seconds
    blocks = find_blocks(problem, domains)
    if len(blocks) < 2:
        return None
    cases = _cases(problem, domains, placements, blocks)
    alike = {case: _key(part) for case, part in cases.items()}
    known: dict[object, _Solved] = {}
    given: dict[object, float] = {}  # seconds of the longest attempt

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    for number, (case, part) in enumerate(cases.items()):
        if (key := alike[case]) not in known:
            given[key] = left() / (len(cases) - number)
            known[key] = _solve(part, given[key])
    while True:
        # What time is left goes to the cases that the bound is the sum of.
        path, answer = _combined(blocks, {case: known[key] for case, key in alike.items()})
        open_keys = {key: case for case in path if not known[key := alike[case]].proved}
        share = left() / max(1, len(open_keys))
        # Without time left there is none to give, whatever a case had before.
        again = [key for key in open_keys if share > 0 and share >= LONGER * given[key]]
        if not again:
            return answer
        for key in again:
            given[key] = share
            solved = _solve(cases[open_keys[key]], min(share, left()))
            known[key] = known[key].joined(solved)


def _cases(
    problem: Problem,
    domains: Domains,
    placements: Sequence[Sequence[int]],
    blocks: Sequence[Block],
) -> dict[_Case, _Part]:
    """Return every block with every pair of places that the chain's operators at its ends have."""
    cases = {}
    for i, block in enumerate(blocks):
        part = block_problem(problem, block)
        starts = [[place[v] for v in block.members] for place in placements]
        for begin in (None,) if block.begin is None else domains[block.begin]:
            for end in (None,) if block.end is None else domains[block.end]:
                choices = [domains[v] for v in block.members]
                if begin is not None:
                    choices[0] = (begin,)
                if end is not None:
                    choices[-1] = (end,)
                cases[i, begin, end] = _Part(part, choices, starts)
    return cases


def _key(case: _Part) -> object:
    """Return what equal blocks with equal places of their ends have in common."""
    part, choices = case.problem, case.choices
    return (
        tuple(choices),
        tuple(tuple(ticks.items()) for ticks in part.ticks),
        tuple(
            (tensor.producer, tensor.consumers, tensor.output, tuple(tensor.ticks.items()))
            for tensor in part.tensors
        ),
        tuple(tuple(part.memories_at(v, p) for p in places) for v, places in enumerate(choices)),
    )


def _solve(case: _Part, seconds: float) -> _Solved:
    """Return the bound of a block, and its shortest schedule found.

    Proved by exhaustive search; where half the time is not enough, HiGHS bounds what is left.
    """
    part, choices = case.problem, case.choices
    deadline = time.monotonic() + seconds
    schedules: list[_Solved] = []
    for start in case.starts:
        place = [p if p in places else places[0] for p, places in zip(start, choices, strict=True)]
        schedules += _scheduled(part, place)
    bound = trivial_bound(part, choices)
    span = min((schedule.span for schedule in schedules), default=part.total_ticks)
    exact = True
    if seconds > 0 and bound < span:
        searched = shortest(part, choices, span, deadline - seconds / 2)
        if searched.better is not None:
            better = searched.better
            schedules.append(_timed(part, better.place, better.tasks, better.starts))
            span = schedules[-1].span
        bound = span if searched.proved else bound
    left = deadline - time.monotonic()
    if bound < span and left > 0:
        answer = solve_makespan(part, choices, max(1, span), left)
        if answer.place is not None and answer.operator_starts is not None:
            schedules += _scheduled(part, answer.place, answer)
            span = min((schedule.span for schedule in schedules), default=span)
        settled = settled_bound(part, answer, span)
        if settled > bound:
            bound, exact = settled, False
    if not schedules:
        places = tuple(places[0] for places in choices)
        return _Solved(bound, part.total_ticks, places, {}, exact)
    return replace(min(schedules, key=lambda schedule: schedule.span), bound=bound, exact=exact)


def _scheduled(
    part: Problem, place: Sequence[int], answer: MipAnswer | None = None
) -> list[_Solved]:
    """Return the schedules of a placement: by rank, and in the solver's order; none: forbidden."""
    try:
        tasks = task_graph(part, place, [part.ticks[v][p] for v, p in enumerate(place)])
    except PartitionerError:
        return []
    schedules = [list_schedule(tasks, tasks.ranks())]
    if answer is not None:
        schedules.append(sequence_schedule(tasks, wishes(tasks, answer)))
    return [_timed(part, place, tasks, starts) for starts in schedules]


def _timed(part: Problem, place: Sequence[int], tasks: TaskGraph, starts: Sequence[int]) -> _Solved:
    names: list[_Task] = [*range(len(place))]
    names += [(part.tensors[tensor].id, to) for tensor, _, to in tasks.transfers]
    return _Solved(
        bound=0,
        span=makespan(tasks, starts),
        place=tuple(place),
        middle={
            name: at + length / 2
            for name, at, length in zip(names, starts, tasks.duration, strict=True)
        },
    )


def _combined(
    blocks: Sequence[Block], table: Mapping[_Case, _Solved]
) -> tuple[list[_Case], BlockAnswer]:
    """Add the blocks up, at the best places of the chain's operators.

    Returns the cases that the bound is the sum of, too.
    """
    bound: dict[int | None, tuple[int, list[_Case]]] = {None: (0, [])}
    span: dict[int | None, tuple[int, list[_Case]]] = {None: (0, [])}
    of_block: list[list[tuple[_Case, _Solved]]] = [[] for _ in blocks]
    for case, solved in table.items():
        of_block[case[0]].append((case, solved))
    for cases in of_block:
        bound = _extended(bound, [(case, solved.bound) for case, solved in cases])
        span = _extended(span, [(case, solved.span) for case, solved in cases])
    total, path = min(bound.values(), key=lambda pair: pair[0])
    _, chosen = min(span.values(), key=lambda pair: pair[0])
    place: dict[int, int] = {}
    middle: dict[_Task, float] = {}
    begun = 0
    for case in chosen:
        block, solved = blocks[case[0]], table[case]
        place.update(zip(block.members, solved.place, strict=True))
        for task, at in solved.middle.items():
            name = block.members[task] if isinstance(task, int) else task
            if name != block.begin:
                middle[name] = begun + at
        begun += solved.span
    return path, BlockAnswer(
        bound=total,
        blocks=len(blocks),
        place=place,
        middle=middle,
        solved=all(table[case].proved for case in path),
        exact=all(solved.exact for solved in table.values()),
    )


def _extended(
    reached: Mapping[int | None, tuple[int, list[_Case]]], steps: Sequence[tuple[_Case, int]]
) -> dict[int | None, tuple[int, list[_Case]]]:
    """Return the shortest way to each place of the operator that ends a block."""
    least: dict[int | None, tuple[int, list[_Case]]] = {}
    for case, ticks in steps:
        _, begin, end = case
        before, way = reached[begin]
        if end not in least or before + ticks < least[end][0]:
            least[end] = before + ticks, [*way, case]
    return least
