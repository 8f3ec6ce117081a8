"""The optimum by integer programming (HiGHS): with capacities, and as an independent oracle.

x[v,p] = 1 puts operator v in place p. z[t,s,d] = 1 moves tensor t from place s to memory d; it
needs x[producer,s] and, with x[producer,d], must cover every consumer that needs it in d. Where
entering a device costs something, u[v,e] = 1 runs operator v on device e of its place, and y[v,e]
>= u[v,e] - u[w,e], with w executed just before v, pays the entry. This formulation shares nothing
with the minimum cut and the elimination but the definition of the cost.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate_places
from pimloop.partitioner.place.capacity import overfull_at, resident_bytes_at, shared_readers
from pimloop.partitioner.problem import MODEL_INPUT, IndexedTensor, Problem
from pimloop.partitioner.programme import Answer, Programme, Status
from pimloop.partitioner.quantity import quantity

logger = logging.getLogger(__name__)

#: The solver sees the largest cost as this number: HiGHS works with absolute tolerances of 1e-6.
LARGEST_COEFFICIENT = 1e5

#: What is put down to floating point when the solver's bound is compared with the exact total.
RELATIVE_TOLERANCE = 1e-7

#: Rounds of cutting off placements that exceed a capacity by less than the solver's tolerance.
MAX_COVER_ROUNDS = 50


@dataclass(frozen=True)
class IlpResult:
    """The best placement found and the solver's proof."""

    place: tuple[int, ...]
    bound: float  # ticks: no placement is cheaper (up to the solver's tolerance)
    solved: bool  # the search ended; False: a limit stopped it
    variables: int
    constraints: int


def solve_by_ilp(
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    time_limit_s: float | None = None,
) -> IlpResult:
    """Return the cheapest placement within `domains` that respects every capacity.

    Parameters
    ----------
    domains
        From `pimloop.partitioner.place.domains.feasible_domains`.
    time_limit_s
        Stop after this many seconds with the best placement found so far.

    Raises
    ------
    PartitionerError
        When no placement is feasible, or none was found within the time limit.
    """
    model, chosen = _build(problem, domains)
    unit = _unit(problem)
    constant = (
        0
        if problem.has_entries  # all of it is in the programme
        else sum(
            problem.ticks[v][domain[0]] for v, domain in enumerate(domains) if len(domain) == 1
        )
    )
    if not chosen and not problem.has_entries:
        place = tuple(domain[0] for domain in domains)
        bound = evaluate_places(problem, place).total
        return IlpResult(place, float(bound), solved=True, variables=0, constraints=0)
    for _ in range(MAX_COVER_ROUNDS):
        result, values = _run(problem, model, time_limit_s)
        place = _place(values, domains, chosen)
        if not _cut_off_overfull(problem, model, chosen, place):
            break
    else:
        raise PartitionerError(
            f"{problem.costs.graph.name}: the integer programme could not meet a capacity exactly; "
            "raise the capacity by a few bytes"
        )
    return IlpResult(
        place=place,
        bound=float(result.bound) * unit + constant,
        solved=result.status is Status.SOLVED,
        variables=model.variables,
        constraints=model.rows,
    )


def _unit(problem: Problem) -> float:
    """Return how many ticks the solver's cost of 1 stands for."""
    operators = problem.runs if problem.has_entries else problem.ticks
    largest = max(
        max(max(costs.values()) for costs in operators),
        max(problem.entry),
        max((max(tensor.ticks.values(), default=0) for tensor in problem.tensors), default=0),
        1,
    )
    return largest / LARGEST_COEFFICIENT


def _build(
    problem: Problem, domains: Sequence[tuple[int, ...]]
) -> tuple[Programme, dict[tuple[int, int], int]]:
    """Return the programme, and the column of x[operator, place] where there is a choice."""
    model = Programme()
    unit = _unit(problem)
    chosen: dict[tuple[int, int], int] = {}
    for v, domain in enumerate(domains):
        if len(domain) > 1:
            for place in domain:
                cost = 0.0 if problem.has_entries else problem.ticks[v][place] / unit
                chosen[v, place] = model.variable(cost, integer=True)
            model.row([(chosen[v, place], 1.0) for place in domain], 1.0, 1.0)
    for tensor in problem.tensors:
        _add_tensor(model, problem, tensor, domains, chosen, unit)
    if problem.has_entries:
        _add_devices(model, problem, domains, chosen, unit)
    _add_capacities(model, problem, domains, chosen)
    return model, chosen


def _add_devices(
    model: Programme,
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    chosen: dict[tuple[int, int], int],
    unit: float,
) -> None:
    """Add the devices of each operator, and the entries of segments."""
    runs: dict[tuple[int, int], int] = {}
    for v, domain in enumerate(domains):
        for place in domain:
            here = [d for d in problem.runs[v] if problem.device_memory[d] == place]
            for device in here:
                runs[v, device] = model.variable(problem.runs[v][device] / unit, integer=True)
            terms = [(runs[v, device], 1.0) for device in here]
            if (v, place) in chosen:
                model.row([*terms, (chosen[v, place], -1.0)], 0.0, 0.0)
            else:
                model.row(terms, 1.0, 1.0)
    for (v, device), column in runs.items():
        if problem.entry[device]:
            pays = model.variable(problem.entry[device] / unit)
            row = [(pays, 1.0), (column, -1.0)]
            before = problem.before[v]
            if before is not None and (before, device) in runs:
                row.append((runs[before, device], 1.0))
            model.row(row, 0.0, np.inf)


def _add_tensor(
    model: Programme,
    problem: Problem,
    tensor: IndexedTensor,
    domains: Sequence[tuple[int, ...]],
    chosen: dict[tuple[int, int], int],
    unit: float,
) -> None:
    if tensor.producer == MODEL_INPUT:
        assert problem.home is not None
        sources: tuple[int, ...] = (problem.home,)
    else:
        sources = domains[tensor.producer]
    for destination in range(len(problem.memories)):
        # The columns of which one asks for the tensor there; none of them: it is always needed.
        needs: list[list[int]] = []
        for consumer in tensor.consumers:
            there = [
                p for p in domains[consumer] if destination in problem.memories_at(consumer, p)
            ]
            if there:
                always = len(there) == len(domains[consumer])
                needs.append([] if always else [chosen[consumer, place] for place in there])
        if tensor.output and destination == problem.home:
            needs.append([])
        if not needs or sources == (destination,):
            continue
        supply: list[tuple[int, float]] = []
        for source in sources:
            at_source = chosen.get((tensor.producer, source))
            if source == destination:
                assert at_source is not None
                supply.append((at_source, 1.0))
            elif (source, destination) in tensor.ticks:
                moved = model.variable(tensor.ticks[source, destination] / unit)
                supply.append((moved, 1.0))
                if at_source is not None:
                    model.row([(moved, 1.0), (at_source, -1.0)], -np.inf, 0.0)
        for need in needs:
            if not need:
                model.row(supply, 1.0, np.inf)
            else:
                model.row([*supply, *((column, -1.0) for column in need)], 0.0, np.inf)


def _add_capacities(
    model: Programme,
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    chosen: dict[tuple[int, int], int],
) -> None:
    graph = problem.costs.graph
    for memory, limit in problem.capacity.items():
        # Places without a choice, and the operators that have one which needs the memory.
        settled = {v: domain[0] for v, domain in enumerate(domains) if len(domain) == 1}
        fixed = resident_bytes_at(problem, memory, settled)
        free = {
            v: there
            for v, domain in enumerate(domains)
            if len(domain) > 1
            and (there := [p for p in domain if memory in problem.memories_at(v, p)])
        }
        # Units of the limit keep the row's numbers near 1.
        scale = max(limit, 1)
        terms = [
            (chosen[v, place], problem.weights_at(v, place, memory) / scale)
            for v, there in free.items()
            for place in there
            if problem.weights_at(v, place, memory)
        ]
        present = {
            name
            for v, place in settled.items()
            if memory in problem.memories_at(v, place)
            for name in graph.operators[v].shared_weights
        }
        for name, readers in shared_readers(problem, list(free)).items():
            if name not in present:
                column = model.variable(0.0)
                terms.append((column, graph.shared_weights[name] / scale))
                for v in readers:
                    asks = [(chosen[v, place], -1.0) for place in free[v]]
                    model.row([(column, 1.0), *asks], 0.0, np.inf)
        if fixed > limit:
            raise PartitionerError(
                f"{graph.name}: no feasible assignment: operators that can only sit in memory"
                f" {problem.memories[memory]!r} hold {quantity(fixed, 'byte')} of weights, its"
                f" capacity is {limit}; raise the capacity"
            )
        if terms:
            model.row(terms, -np.inf, (limit - fixed) / scale)


def _run(
    problem: Problem, model: Programme, time_limit_s: float | None
) -> tuple[Answer, tuple[float, ...]]:
    """Return the solver's answer, and its values."""
    result = model.solve(time_limit_s)
    name = problem.costs.graph.name
    if result.status is Status.INFEASIBLE:
        raise PartitionerError(
            f"{name}: no feasible assignment: forbidden transfers and capacities "
            f"({_capacities(problem)}) together leave none; allow more"
        )
    if result.x is None:
        raise PartitionerError(
            f"{name}: HiGHS found no assignment ({result.message}); raise --time-limit"
        )
    return result, result.x


def _place(
    x: Sequence[float],
    domains: Sequence[tuple[int, ...]],
    chosen: dict[tuple[int, int], int],
) -> tuple[int, ...]:
    """Return each operator's place: the one whose variable is nearest to 1."""
    result = []
    for v, domain in enumerate(domains):
        values = [x[chosen[v, place]] if len(domain) > 1 else 1.0 for place in domain]
        result.append(domain[values.index(max(values))])
    return tuple(result)


def _cut_off_overfull(
    problem: Problem,
    model: Programme,
    chosen: dict[tuple[int, int], int],
    place: Sequence[int],
) -> bool:
    """Forbid the operators of each overfull memory of `place` to hold as much there together."""
    overfull = overfull_at(problem, place)
    for name in overfull:
        memory = problem.memories.index(name)
        cover: list[tuple[int, float]] = []
        members = 0
        for v, at in enumerate(place):
            if (v, at) not in chosen or not resident_bytes_at(problem, memory, {v: at}):
                continue
            members += 1
            cover += [
                (column, 1.0)
                for (w, other), column in chosen.items()
                if w == v
                and memory in problem.memories_at(v, other)
                and problem.weights_at(v, other, memory) >= problem.weights_at(v, at, memory)
            ]
        model.row(cover, -np.inf, members - 1.0)
    return bool(overfull)


def _capacities(problem: Problem) -> str:
    limits = [
        f"{problem.memories[m]}: {quantity(limit, 'byte')}" for m, limit in problem.capacity.items()
    ]
    return ", ".join(limits) or "no capacity limit"
