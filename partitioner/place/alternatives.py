"""What it would cost to have one operator elsewhere: exact, for every operator and device.

`least_totals` gives the least total of all assignments that have an operator on a device. What that
is above the optimum is the *regret* of the device. It is also how far the operator is from changing
its place: it stays where an optimum has it until its cost there has risen, or its cost on another
device has fallen, by the regret.

All of them come from two passes over the buckets of one elimination
(`pimloop.partitioner.place.elimination`): inwards, as the optimum itself is found, and outwards,
which brings every bucket the least cost of all terms outside of it (min-marginals by bucket tree
elimination: Dechter 1999; Shenoy and Shafer 1990). Nothing is subtracted, so forbidden
combinations stay forbidden.

`alternatives` adds what moving the operator alone changes, all others kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate, places_of
from pimloop.partitioner.place.capacity import resident_bytes_at
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.elimination import (
    DEFAULT_TABLE_LIMIT,
    FORBIDDEN,
    Scope,
    Table,
    Terms,
    build_terms,
    plan_elimination,
    useful_labels,
)
from pimloop.partitioner.problem import IndexedTensor, Problem


@dataclass(frozen=True)
class Move:
    """A transfer that an assignment needs."""

    tensor: str
    source: str  # memory; of what a split made, those that have part of it, joined by "+"
    destination: str
    us: float

    @property
    def name(self) -> str:
        """What timelines call it, as `x cpu>pim`."""
        return f"{self.tensor} {self.source}>{self.destination}"


@dataclass(frozen=True)
class Alternative:
    """What one operator would cost elsewhere."""

    device: str  # a device, or the name of a split
    operator_us: float  # time of the operator there; of a split, that of its slower part
    adds: tuple[Move, ...]  # transfers that are needed if it alone moves there
    saves: tuple[Move, ...]  # transfers that are then not needed any more
    #: Total less that of the assignment if it alone moves there, the entry of segments included;
    #: None: that needs a transfer which is forbidden.
    kept_us: float | None
    #: Least total with the operator there, all others placed anew, less the least total of all;
    #: None: no assignment has it there.
    regret_us: float | None


def least_totals(
    problem: Problem, table_limit: int = DEFAULT_TABLE_LIMIT
) -> tuple[dict[str, int], ...]:
    """Return for each operator the least total, in ticks, by each device or split it may have.

    Capacities are left aside: where one binds, a total can be too small, never too large.

    Parameters
    ----------
    table_limit
        Largest table of the dynamic programme, in entries of 8 bytes.

    Raises
    ------
    PartitionerError
        When no assignment is feasible, or the graph is too wide for `table_limit`.
    """
    labels = useful_labels(problem, feasible_domains(problem), every_device=True)
    terms, variable_of = build_terms(problem, labels)
    plan = plan_elimination(terms.sizes, list(terms.tables))
    if plan.largest_table > table_limit:
        raise PartitionerError(
            f"{problem.costs.graph.name}: dynamic programming needs a table of"
            f" {plan.largest_table:.3g} entries, more than the limit of {table_limit:.3g}"
        )
    marginals, least = _min_marginals(terms, plan.order)
    result: list[dict[str, int]] = []
    for v, (options, variable) in enumerate(zip(labels, variable_of, strict=True)):
        totals = [least] if variable is None else marginals[variable].tolist()
        by_device: dict[str, int] = {}
        for label, total in zip(options, totals, strict=True):
            if total >= FORBIDDEN:
                continue
            # Without entries a label is the best device of its place; others differ by their cost.
            shared = () if problem.has_entries else problem.devices_at(v, label.place)
            for device in shared or (label.device,):
                name = problem.device_name(v, device)
                by_device[name] = total + problem.runs[v][device] - label.ticks
        result.append(by_device)
    return tuple(result)


@dataclass
class _Bucket:
    """The terms of a variable that is eliminated, and where their minimum goes."""

    variable: int
    scope: Scope = ()
    terms: list[tuple[Scope, Table]] = field(default_factory=list)
    children: list[int] = field(default_factory=list)  # position in `terms`: those of messages
    inner: int = 0  # number of its own terms; messages follow
    outward: tuple[Scope, Table] | None = None  # least cost of all that is not in its subtree

    def total(self, sizes: Sequence[int], without: int | None = None) -> Table:
        """Return the sum of its terms over its scope, one of them left out."""
        total: Table = np.zeros([sizes[other] for other in self.scope], dtype=np.int64)
        outward = [] if self.outward is None else [self.outward]
        kept = [term for i, term in enumerate(self.terms) if i != without]
        for scope, table in (*kept, *outward):
            total += table.reshape([sizes[o] if o in scope else 1 for o in self.scope])
            np.minimum(total, FORBIDDEN, out=total)
        return total


def _min_marginals(terms: Terms, order: Sequence[int]) -> tuple[dict[int, Table], int]:
    """Return for each variable the least sum of all terms by its value, and the least of all.

    Raises
    ------
    PartitionerError
        When every combination is forbidden.
    """
    position = {variable: i for i, variable in enumerate(order)}
    buckets = [_Bucket(variable) for variable in order]
    for scope, table in terms.tables.items():
        buckets[min(position[variable] for variable in scope)].terms.append((scope, table))
    least_of_tree: dict[int, int] = {}  # by the last bucket of a tree
    for i, bucket in enumerate(buckets):
        bucket.inner = len(bucket.terms) - len(bucket.children)
        bucket.scope = tuple(
            sorted({o for scope, _ in bucket.terms for o in scope} | {bucket.variable})
        )
        axis = bucket.scope.index(bucket.variable)
        reduced = bucket.total(terms.sizes).min(axis=axis)
        rest = bucket.scope[:axis] + bucket.scope[axis + 1 :]
        if rest:
            parent = buckets[min(position[other] for other in rest)]
            parent.terms.append((rest, reduced))
            parent.children.append(i)
        else:
            least_of_tree[i] = int(reduced)
    least = terms.constant + sum(least_of_tree.values())
    if least >= FORBIDDEN:
        raise PartitionerError("no feasible assignment: the forbidden transfers leave none")
    marginals: dict[int, Table] = {}
    outside: dict[int, int] = {i: least - own for i, own in least_of_tree.items()}
    for i in reversed(range(len(buckets))):
        bucket = buckets[i]
        axes = tuple(a for a, other in enumerate(bucket.scope) if other != bucket.variable)
        marginal = bucket.total(terms.sizes).min(axis=axes) + outside[i]
        marginals[bucket.variable] = np.minimum(marginal, FORBIDDEN)
        for child, place in zip(
            bucket.children, range(bucket.inner, len(bucket.terms)), strict=True
        ):
            scope = bucket.terms[place][0]
            away = tuple(a for a, other in enumerate(bucket.scope) if other not in scope)
            message = bucket.total(terms.sizes, without=place).min(axis=away)
            buckets[child].outward = (scope, message)
            outside[child] = outside[i]
    return marginals, least


def alternatives(
    problem: Problem,
    assignment: Mapping[str, str],
    least: Sequence[Mapping[str, int]],
) -> dict[str, tuple[Alternative, ...]]:
    """Return for each operator, by id, what every other device or split would cost.

    Parameters
    ----------
    assignment
        An optimum of `problem`.
    least
        What `least_totals` returned for it.

    Raises
    ------
    PartitionerError
        When the assignment is not cheapest: then the regrets are not those of its operators.
    """
    total = evaluate(problem, assignment).total
    optimum = min(least[0].values())
    if total != optimum:
        raise PartitionerError(
            f"{problem.costs.graph.name}: the assignment is no optimum: it costs {total} ticks, the"
            f" least is {optimum}"
        )
    place = places_of(problem, assignment)
    touching: list[list[IndexedTensor]] = [[] for _ in place]
    for tensor in problem.tensors:
        for v in {tensor.producer, *tensor.consumers} - {-1}:
            touching[v].append(tensor)
    entries = _Entries(problem, assignment)
    result: dict[str, tuple[Alternative, ...]] = {}
    for v, operator in enumerate(problem.costs.graph.operators):
        own = assignment[operator.id]
        present = _moves(problem, touching[v], place)
        elsewhere = []
        for number, ticks in problem.runs[v].items():
            device = problem.device_name(v, number)
            if device == own:
                continue
            here, place[v] = place[v], problem.device_memory[number]
            moves = _moves(problem, touching[v], place)
            place[v] = here
            adds = {key: move for key, move in moves.items() if key not in present}
            saves = {key: move for key, move in present.items() if key not in moves}
            costs = [cost for cost, _ in adds.values()]
            kept: int | None = None
            if None not in costs:
                kept = ticks - problem.runs[v][problem.device_number(v, own)]
                kept += sum(cost or 0 for cost in costs)
                kept -= sum(cost or 0 for cost, _ in saves.values())
                kept += entries.difference(v, device)
            best = least[v].get(device)
            elsewhere.append(
                Alternative(
                    device=device,
                    operator_us=problem.to_us(ticks),
                    adds=tuple(move for _, move in adds.values()),
                    saves=tuple(move for _, move in saves.values()),
                    kept_us=None if kept is None else problem.to_us(kept),
                    regret_us=None if best is None else problem.to_us(best - total),
                )
            )
        result[operator.id] = tuple(elsewhere)
    return result


def transfers(problem: Problem, assignment: Mapping[str, str]) -> tuple[Move, ...]:
    """Return the transfers that an assignment needs, by tensor; what is gathered is one too."""
    moves = _moves(problem, problem.tensors, places_of(problem, assignment))
    return tuple(move for _, move in moves.values())


#: A tensor, the place it comes from and the memory it goes to.
_Key = tuple[str, int, int]


def _moves(
    problem: Problem, tensors: Sequence[IndexedTensor], place: Sequence[int]
) -> dict[_Key, tuple[int | None, Move]]:
    """Return the transfers of some tensors with their ticks, None for those that are forbidden."""
    moves: dict[_Key, tuple[int | None, Move]] = {}
    for tensor in tensors:
        source = problem.source_of(tensor, place)
        for destination in sorted(problem.destinations(tensor, place)):
            ticks = tensor.ticks.get((source, destination))
            origin = problem.sources_of(tensor, place, destination)
            move = Move(
                tensor=tensor.id,
                source="+".join(problem.memories[memory] for memory in origin),
                destination=problem.memories[destination],
                us=problem.to_us(ticks or 0),
            )
            moves[tensor.id, source, destination] = (ticks, move)
    return moves


class _Entries:
    """What segments cost to enter when one operator changes its device."""

    def __init__(self, problem: Problem, assignment: Mapping[str, str]) -> None:
        self._problem = problem
        names = [operator.id for operator in problem.costs.graph.operators]
        self._chosen = [assignment[names[v]] for v in problem.order]
        self._position = {v: i for i, v in enumerate(problem.order)}

    def difference(self, v: int, device: str) -> int:
        """Return the ticks of entries with operator `v` on `device`, less those of now."""
        if not self._problem.has_entries:
            return 0
        at = self._position[v]
        return self._around(at, device) - self._around(at, self._chosen[at])

    def _around(self, at: int, device: str) -> int:
        before = self._chosen[at - 1] if at else None
        ticks = self._entry(at, device) if before != device else 0
        if at + 1 < len(self._chosen) and self._chosen[at + 1] != device:
            ticks += self._entry(at + 1, self._chosen[at + 1])
        return ticks

    def _entry(self, at: int, device: str) -> int:
        problem = self._problem
        return problem.entry[problem.device_number(problem.order[at], device)]


def capacity_may_bind(problem: Problem) -> bool:
    """Return whether the weights of all operators that a memory can have may exceed its room."""
    for memory, room in problem.capacity.items():
        everything = {v: memory for v, places in enumerate(problem.ticks) if memory in places}
        if resident_bytes_at(problem, memory, everything) > room:
            return True
    return False
