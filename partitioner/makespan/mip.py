"""The shortest makespan by integer programming (HiGHS): exact for small graphs, a bound for large.

x[v,p] puts operators in places, S[v] and A[t,d] are the starts of operators and transfers, C the
makespan. The relaxation keeps precedence (with the transfer times between memories) and the total
load of every memory and of the DMA engine. The exact programme adds an order for each pair of tasks
that can meet on one resource. Starts come back as wishes only: the schedule is rebuilt in exact
integers.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import networkx as nx
import numpy as np

from pimloop.partitioner.makespan.schedule import TaskGraph
from pimloop.partitioner.place.capacity import shared_readers
from pimloop.partitioner.problem import MODEL_INPUT, Problem
from pimloop.partitioner.programme import Programme, Status

#: Pairs of tasks that may meet on a resource, above which only the relaxation is solved.
MAX_PAIRS = 1500

#: Operators above which the pairs are too many to be listed.
MOST_OPERATORS = 400


@dataclass(frozen=True)
class MipAnswer:
    """What HiGHS found within its time."""

    bound: float  # ticks: no schedule is shorter
    exact: bool  # the programme was the exact one, not the relaxation
    solved: bool  # the search ended before its time
    place: tuple[int, ...] | None
    assignment: dict[str, str] | None  # where entry costs make devices matter
    operator_starts: tuple[float, ...] | None  # wishes, in ticks
    transfer_starts: dict[tuple[int, int], float] = field(default_factory=dict)  # (tensor, to)


def wishes(tasks: TaskGraph, answer: MipAnswer) -> list[float]:
    """Return where each task is half done in the solver's schedule, in ticks.

    The middle says unmistakably which of two neighbours comes first, even where one takes no time
    or the solver's starts carry rounding errors.
    """
    assert answer.operator_starts is not None
    begin = list(answer.operator_starts) + [
        answer.transfer_starts.get((tensor, destination), 0.0)
        for tensor, _, destination in tasks.transfers
    ]
    return [at + length / 2 for at, length in zip(begin, tasks.duration, strict=True)]


#: Units of time in which a proof is repeated, as a multiple of the horizon.
_OTHER_UNIT = 1.37


def solve_makespan(
    problem: Problem, domains: Sequence[tuple[int, ...]], horizon: int, seconds: float
) -> MipAnswer:
    """Bound the makespan from below, and look for a schedule no longer than `horizon`.

    The solver has called optimal what was not, at some horizons and not at others. So an optimum of
    the exact programme is asked for twice, in two units of time, and the lower bound is returned.

    Parameters
    ----------
    horizon
        Ticks of a known schedule, at least 1.
    seconds
        Time limit of the solver.
    """
    deadline = time.monotonic() + seconds
    answer = _solve_within(problem, domains, horizon, seconds / 2)
    if not (answer.exact and answer.solved):
        left = deadline - time.monotonic()
        return answer if answer.solved else _solve_within(problem, domains, horizon, left)
    longer = round(_OTHER_UNIT * horizon) + 1
    other = _solve_within(problem, domains, longer, deadline - time.monotonic())
    better = other if other.place is not None and other.bound < answer.bound else answer
    return replace(
        better, bound=min(answer.bound, other.bound), solved=answer.solved and other.solved
    )


def _solve_within(
    problem: Problem, domains: Sequence[tuple[int, ...]], horizon: int, seconds: float
) -> MipAnswer:
    """Return what the solver says, times being in units of the horizon."""
    seconds = max(0.0, seconds)
    model = Programme()  # times in units of the horizon, so that all numbers are near 1
    span = model.variable(cost=1.0)
    place: dict[tuple[int, int], int] = {}
    start: list[int] = []
    length: list[list[tuple[int, float]]] = []
    for v, domain in enumerate(domains):
        start.append(model.variable())
        for where in domain:
            place[v, where] = model.variable(integer=True)
        model.row([(place[v, where], 1.0) for where in domain], 1.0, 1.0)
    runs = _add_devices(model, problem, domains, place) if problem.has_entries else {}
    busy: dict[int, list[tuple[int, float]]] = {m: [] for m in range(len(problem.memories))}
    for v, domain in enumerate(domains):
        length.append([])
        for where in domain:
            terms = _time_terms(problem, v, where, horizon, place, runs)
            length[v] += terms
            for memory in problem.memories_at(v, where):
                busy[memory] += terms
        model.row([(span, 1.0), (start[v], -1.0), *_negated(length[v])], 0.0)
    for memory, load in busy.items():
        model.row([(span, 1.0), *_negated(load)], 0.0)
        if memory in problem.capacity:
            _add_capacity(model, problem, domains, memory, place)
    copies = _add_transfers(model, problem, domains, horizon, span, place, start, length)
    pairs = _meeting_pairs(problem, domains, copies)
    exact = len(pairs[0]) + len(pairs[1]) <= MAX_PAIRS
    if exact:
        _add_orders(model, problem, domains, place, start, length, copies, pairs)
    return _solve(model, problem, domains, horizon, seconds, exact, place, runs, start, copies)


def _add_devices(
    model: Programme,
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    place: dict[tuple[int, int], int],
) -> dict[tuple[int, int], tuple[int, int | None]]:
    """Add the device of each operator; return its column and that of the entry it pays."""
    runs: dict[tuple[int, int], tuple[int, int | None]] = {}
    for v, domain in enumerate(domains):
        for where in domain:
            here = [d for d in problem.runs[v] if problem.device_memory[d] == where]
            for device in here:
                pays = model.variable() if problem.entry[device] else None
                runs[v, device] = model.variable(integer=True), pays
            both = [(runs[v, device][0], 1.0) for device in here]
            model.row([*both, (place[v, where], -1.0)], 0.0, 0.0)
    for (v, device), (column, pays) in runs.items():
        if pays is not None:
            row = [(pays, 1.0), (column, -1.0)]
            before = problem.before[v]
            if before is not None and (before, device) in runs:
                row.append((runs[before, device][0], 1.0))
            model.row(row, 0.0)
    return runs


def _time_terms(
    problem: Problem,
    v: int,
    where: int,
    horizon: int,
    place: dict[tuple[int, int], int],
    runs: dict[tuple[int, int], tuple[int, int | None]],
) -> list[tuple[int, float]]:
    """Return the columns that give operator `v` its time in a place."""
    if not runs:
        return [(place[v, where], problem.ticks[v][where] / horizon)]
    terms = []
    for device, ticks in problem.runs[v].items():
        if problem.device_memory[device] == where:
            column, pays = runs[v, device]
            terms.append((column, ticks / horizon))
            if pays is not None:
                terms.append((pays, problem.entry[device] / horizon))
    return terms


def _add_capacity(
    model: Programme,
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    memory: int,
    place: Mapping[tuple[int, int], int],
) -> None:
    """Add the row that keeps the weights in a memory within its capacity."""
    limit = problem.capacity[memory]
    inside = {
        v: there
        for v, domain in enumerate(domains)
        if (there := _places_in(problem, v, domain, memory))
    }
    terms = [
        (place[v, where], -problem.weights_at(v, where, memory) / max(limit, 1))
        for v, there in inside.items()
        for where in there
    ]
    for name, readers in shared_readers(problem, list(inside)).items():
        present = model.variable()
        terms.append((present, -problem.costs.graph.shared_weights[name] / max(limit, 1)))
        for v in readers:
            model.row([(present, 1.0), *((place[v, p], -1.0) for p in inside[v])], 0.0)
    model.row(terms, -limit / max(limit, 1))


def _places_in(problem: Problem, v: int, domain: Sequence[int], memory: int) -> list[int]:
    """Return those places of operator `v` that occupy `memory` and need its inputs there."""
    return [where for where in domain if memory in problem.memories_at(v, where)]


@dataclass(frozen=True)
class _Copy:
    """The variables of moving one tensor to one memory."""

    begin: int  # column of the start
    length: list[tuple[int, float]]  # columns that say it happens, with the duration each implies


def _negated(terms: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(column, -value) for column, value in terms]


def _add_transfers(
    model: Programme,
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    horizon: int,
    span: int,
    place: dict[tuple[int, int], int],
    start: Sequence[int],
    length: Sequence[list[tuple[int, float]]],
) -> dict[tuple[int, int], _Copy]:
    """Add transfers with their precedence and the load of the DMA engine."""
    copies: dict[tuple[int, int], _Copy] = {}
    for f, tensor in enumerate(problem.tensors):
        p = tensor.producer
        sources = (problem.home,) if p == MODEL_INPUT else domains[p]
        made = [] if p == MODEL_INPUT else [(start[p], 1.0), *length[p]]
        for consumer in tensor.consumers if made else ():
            # Whatever the memories, a reader comes after the producer.
            model.row([(start[consumer], 1.0), *_negated(made)], 0.0)
        for destination in range(len(problem.memories)):
            readers = {
                c: [(place[c, where], -1.0) for where in needing]
                for c in tensor.consumers
                if (needing := _places_in(problem, c, domains[c], destination))
            }
            home = tensor.output and destination == problem.home
            if sources == (destination,) or not (readers or home):
                continue
            begin = model.variable()
            moved: list[tuple[int, float]] = []
            for source in sources:
                if source is None or source == destination:
                    continue
                ticks = tensor.ticks.get((source, destination))
                if ticks is not None:
                    column = model.variable()
                    moved.append((column, ticks / horizon))
                    if p != MODEL_INPUT:
                        model.row([(place[p, source], 1.0), (column, -1.0)], 0.0)
            supply = [(column, 1.0) for column, _ in moved]
            if p != MODEL_INPUT and destination in sources:
                supply.append((place[p, destination], 1.0))
            model.row([(begin, 1.0), *_negated(made)], 0.0)
            for reader, there in readers.items():
                model.row([*supply, *there], 0.0)
                # Binding only when the reader needs it there: 1 is the whole horizon.
                arrive = [(start[reader], 1.0), (begin, -1.0), *_negated(moved), *there]
                model.row(arrive, -1.0)
                if moved:
                    cheapest = min(ticks for _, ticks in moved)
                    delay = [(column, -cheapest) for column, _ in there]
                    if p != MODEL_INPUT and destination in sources:
                        delay.append((place[p, destination], cheapest))
                    # A tighter relaxation than the row above, which a fractional x loosens: the
                    # cheapest transfer is charged by how far the reader's x exceeds the producer's.
                    model.row([(start[reader], 1.0), *_negated(made), *delay], 0.0)
            if home:
                model.row(supply, 1.0)
                model.row([(span, 1.0), (begin, -1.0), *_negated(moved)], 0.0)
                model.row([(span, 1.0), *_negated(made), *_negated(moved)], 0.0)
            copies[f, destination] = _Copy(begin, moved)
    model.row(
        [(span, 1.0), *(_negated([term for copy in copies.values() for term in copy.length]))], 0.0
    )
    return copies


def may_be_exact(domains: Sequence[tuple[int, ...]]) -> bool:
    """Return whether `solve_makespan` may solve more than a relaxation of a problem this large."""
    return len(domains) <= MOST_OPERATORS


def _meeting_pairs(
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    copies: dict[tuple[int, int], _Copy],
) -> tuple[list[tuple[int, int, int]], list[tuple[tuple[int, int], tuple[int, int]]]]:
    """Return (operator, operator, memory) and (transfer, transfer) that have no given order."""
    if len(domains) > MOST_OPERATORS:
        # Too many operators for all pairs: report more than the limit without listing them.
        return [(0, 0, 0)] * (MAX_PAIRS + 1), []
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(domains)))
    for tensor in problem.tensors:
        if tensor.producer != MODEL_INPUT:
            graph.add_edges_from((tensor.producer, consumer) for consumer in tensor.consumers)
    after = {v: nx.descendants(graph, v) for v in graph}
    operators = [
        (u, v, memory)
        for u, v in itertools.combinations(range(len(domains)), 2)
        if v not in after[u] and u not in after[v]
        for memory in range(len(problem.memories))
        if _places_in(problem, u, domains[u], memory) and _places_in(problem, v, domains[v], memory)
    ]
    transfers = list(itertools.combinations(copies, 2))
    return operators, transfers


def _add_orders(
    model: Programme,
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    place: dict[tuple[int, int], int],
    start: Sequence[int],
    length: Sequence[list[tuple[int, float]]],
    copies: dict[tuple[int, int], _Copy],
    pairs: tuple[list[tuple[int, int, int]], list[tuple[tuple[int, int], tuple[int, int]]]],
) -> None:
    """Add one yes/no order for each pair that may meet; 1 is the whole horizon."""
    first: dict[tuple[int, int], int] = {}
    for u, v, memory in pairs[0]:
        if (u, v) not in first:
            first[u, v] = model.variable(integer=True)
        order = first[u, v]
        here = [
            (place[w, where], -1.0)
            for w in (u, v)
            for where in _places_in(problem, w, domains[w], memory)
        ]
        model.row(
            [(start[v], 1.0), (start[u], -1.0), *_negated(length[u]), (order, -1.0), *here], -3.0
        )
        model.row(
            [(start[u], 1.0), (start[v], -1.0), *_negated(length[v]), (order, 1.0), *here], -2.0
        )
    for a, b in pairs[1]:
        copy, other = copies[a], copies[b]
        order = model.variable(integer=True)
        happen = [(column, -1.0) for column, _ in (*copy.length, *other.length)]
        model.row(
            [
                (other.begin, 1.0),
                (copy.begin, -1.0),
                *_negated(copy.length),
                (order, -1.0),
                *happen,
            ],
            -3.0,
        )
        model.row(
            [
                (copy.begin, 1.0),
                (other.begin, -1.0),
                *_negated(other.length),
                (order, 1.0),
                *happen,
            ],
            -2.0,
        )


def _solve(
    model: Programme,
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    horizon: int,
    seconds: float,
    exact: bool,
    place: dict[tuple[int, int], int],
    runs: dict[tuple[int, int], tuple[int, int | None]],
    start: Sequence[int],
    copies: dict[tuple[int, int], _Copy],
) -> MipAnswer:
    result = model.solve(seconds)
    ticks = result.bound * horizon if np.isfinite(result.bound) else 0.0
    x = result.x
    if x is None:
        return MipAnswer(ticks, exact, False, None, None, None)
    chosen = []
    for v, domain in enumerate(domains):
        values = [float(x[place[v, where]]) for where in domain]
        chosen.append(domain[values.index(max(values))])
    assignment: dict[str, str] | None = None
    if runs:
        assignment = {}
        for v, operator in enumerate(problem.costs.graph.operators):
            here = [d for d in problem.runs[v] if problem.device_memory[d] == chosen[v]]
            best = max(here, key=lambda d: float(x[runs[v, d][0]]))
            assignment[operator.id] = problem.device_name(v, best)
    return MipAnswer(
        bound=ticks,
        exact=exact,
        solved=result.status is Status.SOLVED,
        place=tuple(chosen),
        assignment=assignment,
        operator_starts=tuple(float(x[column]) * horizon for column in start),
        transfer_starts={key: float(x[copy.begin]) * horizon for key, copy in copies.items()},
    )
