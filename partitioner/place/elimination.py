"""The optimum for any number of memories by dynamic programming over a tree decomposition.

The cost of an assignment is a sum of small terms: one on each operator's label (its place, or its
device where entering a device costs something) and, for each tensor and destination memory, one on
the producer's label and a yes/no variable "the tensor is there", which every consumer in that
memory forces to yes. An entry cost is a term on the labels of two operators that are executed one
after the other. Variables are eliminated one at a time (bucket
elimination, Bertele and Brioschi 1972; Dechter 1999): the terms that mention the variable are added
up and minimised over it. The scopes of these sums are the bags of a tree decomposition; their size
is the width, known before any table is made.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.problem import MODEL_INPUT, IndexedTensor, Problem
from pimloop.partitioner.segments import useful_devices

#: Stands for "not allowed"; two of them still add up without overflow.
FORBIDDEN = 1 << 61

#: Entries of the largest table that is made (8 bytes each, a few copies at a time).
DEFAULT_TABLE_LIMIT = 1 << 24

#: Entries are 64-bit where all costs together fit, else Python's integers.
Table = NDArray[Any]
Scope = tuple[int, ...]


@dataclass
class Terms:
    """Variables and the terms of the cost; terms on the same variables are merged."""

    sizes: list[int] = field(default_factory=list)
    tables: dict[Scope, Table] = field(default_factory=dict)
    constant: int = 0
    kind: type = np.int64  # of the tables' entries
    forbidden: int = FORBIDDEN  # above every cost

    def variable(self, size: int) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    def add(self, scope: Scope, table: Table) -> None:
        ascending = tuple(sorted(scope))
        table = table.transpose([scope.index(variable) for variable in ascending])
        present = self.tables.get(ascending)
        merged = table if present is None else np.minimum(present + table, self.forbidden)
        self.tables[ascending] = merged


@dataclass(frozen=True)
class Elimination:
    """An elimination order with its cost, known before any table is made."""

    order: tuple[int, ...]  # variables
    width: int  # variables in the largest table, minus one
    largest_table: int  # entries


@dataclass(frozen=True)
class EliminationResult:
    """The optimal placement."""

    place: tuple[int, ...]
    value: int  # ticks
    width: int
    largest_table: int  # entries


def solve_by_elimination(
    problem: Problem,
    domains: Sequence[tuple[int, ...]],
    table_limit: int = DEFAULT_TABLE_LIMIT,
) -> EliminationResult:
    """Return the cheapest placement within `domains`.

    Parameters
    ----------
    domains
        From `pimloop.partitioner.place.domains.feasible_domains`.
    table_limit
        Entries of the largest table to allow.

    Raises
    ------
    PartitionerError
        When the graph is too wide for `table_limit` (integer programming can still do it), or
        when no placement is feasible.
    """
    labels = useful_labels(problem, domains)
    terms, variable_of = build_terms(problem, labels)
    plan = plan_elimination(terms.sizes, list(terms.tables))
    if plan.largest_table > table_limit:
        raise PartitionerError(
            f"{problem.costs.graph.name}: dynamic programming needs a table of "
            f"{plan.largest_table:.3g} entries (width {plan.width}), more than the limit of "
            f"{table_limit:.3g}; use --method ilp"
        )
    value, states = _eliminate(terms, plan.order)
    if value >= terms.forbidden:
        raise PartitionerError(
            f"{problem.costs.graph.name}: no feasible assignment: the forbidden transfers of "
            "several tensors together leave none; allow more transfers"
        )
    place = tuple(
        options[0 if variable is None else states[variable]].place
        for options, variable in zip(labels, variable_of, strict=True)
    )
    return EliminationResult(place, value + terms.constant, plan.width, plan.largest_table)


def plan_elimination(sizes: Sequence[int], scopes: Sequence[Scope]) -> Elimination:
    """Choose an elimination order greedily by the smallest next table.

    Parameters
    ----------
    sizes
        Number of values of each variable.
    scopes
        The variables of each term.
    """
    neighbours: list[set[int]] = [set() for _ in sizes]
    for scope in scopes:
        for variable in scope:
            neighbours[variable].update(scope)
    for variable, around in enumerate(neighbours):
        around.discard(variable)

    def entries(variable: int) -> int:
        product = sizes[variable]
        for other in neighbours[variable]:
            product *= sizes[other]
        return product

    heap = [(entries(variable), variable) for variable in range(len(sizes))]
    heapq.heapify(heap)
    done = [False] * len(sizes)
    order: list[int] = []
    width, largest = 0, 1
    while heap:
        count, variable = heapq.heappop(heap)
        if done[variable] or count != entries(variable):
            continue  # an outdated entry; the current one is in the heap too
        done[variable] = True
        order.append(variable)
        width = max(width, len(neighbours[variable]))
        largest = max(largest, count)
        around = neighbours[variable]
        for other in around:
            neighbours[other] |= around
            neighbours[other] -= {other, variable}
        for other in around:
            heapq.heappush(heap, (entries(other), other))
    return Elimination(tuple(order), width, largest)


@dataclass(frozen=True)
class Label:
    """What an operator can be assigned to."""

    place: int
    memories: tuple[int, ...]  # where it needs the operator's inputs
    ticks: int
    device: int


Labels = Sequence[tuple[Label, ...]]


def useful_labels(
    problem: Problem, domains: Sequence[tuple[int, ...]], *, every_device: bool = False
) -> Labels:
    """Return the labels of each operator: the devices of its places that can be of use.

    Parameters
    ----------
    domains
        As of `solve_by_elimination`.
    every_device
        Also those that no optimum needs, where entering a device costs something.
    """
    result: list[tuple[Label, ...]] = []
    for v, domain in enumerate(domains):
        if problem.has_entries:
            result.append(
                tuple(
                    Label(place, problem.memories_at(v, place), problem.runs[v][device], device)
                    for place in domain
                    for device in (
                        problem.devices_at(v, place)
                        if every_device
                        else useful_devices(problem, v, place)
                    )
                )
            )
        else:
            result.append(
                tuple(
                    Label(
                        place,
                        problem.memories_at(v, place),
                        problem.ticks[v][place],
                        problem.device_number(v, problem.device[v][place]),
                    )
                    for place in domain
                )
            )
    return result


def build_terms(problem: Problem, labels: Labels) -> tuple[Terms, list[int | None]]:
    """Return the terms, and the variable of each operator (None where its label is settled)."""
    terms = Terms()
    if not problem.fits_64_bits:
        terms.kind, terms.forbidden = object, problem.total_ticks + 1
    variable_of: list[int | None] = []
    for options in labels:
        if len(options) == 1:
            variable_of.append(None)
            terms.constant += options[0].ticks
        else:
            variable = terms.variable(len(options))
            variable_of.append(variable)
            terms.add((variable,), np.array([o.ticks for o in options], dtype=terms.kind))
    for tensor in problem.tensors:
        _add_tensor(terms, problem, tensor, labels, variable_of)
    if problem.has_entries:
        for v, before in enumerate(problem.before):
            _add_entry(terms, problem, v, before, labels, variable_of)
    return terms, variable_of


def _add_entry(
    terms: Terms,
    problem: Problem,
    v: int,
    before: int | None,
    labels: Labels,
    variable_of: Sequence[int | None],
) -> None:
    """Add what operator `v` pays where the operator executed before it is on another device."""
    price: Table = np.array([problem.entry[label.device] for label in labels[v]], dtype=terms.kind)
    if before is None:
        table, earlier = price[None, :], None
    else:
        devices = np.array([label.device for label in labels[before]])
        own = np.array([label.device for label in labels[v]])
        table = price[None, :] * (devices[:, None] != own[None, :])
        earlier = variable_of[before]
    if not table.any():
        return
    variable = variable_of[v]
    if earlier is not None and variable is not None:
        terms.add((earlier, variable), table)
    elif earlier is not None:
        terms.add((earlier,), table[:, 0])
    elif variable is not None:
        terms.add((variable,), table[0])
    else:
        terms.constant += int(table[0, 0])


def _add_tensor(
    terms: Terms,
    problem: Problem,
    tensor: IndexedTensor,
    labels: Labels,
    variable_of: Sequence[int | None],
) -> None:
    if tensor.producer == MODEL_INPUT:
        assert problem.home is not None
        sources: tuple[int, ...] = (problem.home,)
        producer = None
    else:
        sources = tuple(label.place for label in labels[tensor.producer])
        producer = variable_of[tensor.producer]
    for destination in range(len(problem.memories)):
        price: Table = np.array(
            [
                0
                if source == destination
                else tensor.ticks.get((source, destination), terms.forbidden)
                for source in sources
            ],
            dtype=terms.kind,
        )
        if not price.any():
            continue
        reads = {
            reader: applies
            for reader in tensor.consumers
            if (applies := _indicator(labels[reader], destination)).any()
        }
        # A reader that is settled, or has this memory only, always asks for it.
        forced = (tensor.output and destination == problem.home) or any(
            applies.all() for applies in reads.values()
        )
        if forced:
            _charge(terms, producer, price)
            continue
        if not reads:
            continue
        if len(reads) == 1:
            ((reader, applies),) = reads.items()
            _charge(terms, producer, price, variable_of[reader], applies)
            continue
        there = terms.variable(2)
        _charge(terms, producer, price, there, np.array([0, 1], dtype=np.int64))
        for reader, applies in reads.items():
            variable = variable_of[reader]
            assert variable is not None
            table: Table = np.zeros((2, len(applies)), dtype=terms.kind)
            table[0] = applies.astype(terms.kind) * terms.forbidden
            terms.add((there, variable), table)


def _indicator(options: Sequence[Label], memory: int) -> Table:
    return np.array([int(memory in label.memories) for label in options], dtype=np.int64)


def _charge(
    terms: Terms,
    producer: int | None,
    price: Table,
    condition: int | None = None,
    applies: Table | None = None,
) -> None:
    """Add `price` (by the producer's label) times `applies` (by the condition's value)."""
    if condition is None or applies is None:
        if producer is None:
            terms.constant += int(price[0])
        else:
            terms.add((producer,), price)
    elif producer is None:
        terms.add((condition,), price[:1] * applies)
    else:
        terms.add((producer, condition), np.outer(price, applies))


def _eliminate(terms: Terms, order: Sequence[int]) -> tuple[int, list[int]]:
    """Return the minimum over all variables and a state of each that attains it."""
    position = {variable: i for i, variable in enumerate(order)}
    # Each term waits in the bucket of the first of its variables to be eliminated.
    buckets: list[list[tuple[Scope, Table]]] = [[] for _ in order]
    for scope, table in terms.tables.items():
        buckets[min(position[variable] for variable in scope)].append((scope, table))
    choices: list[tuple[Scope, NDArray[np.intp]]] = []
    constant = 0
    for i, variable in enumerate(order):
        scope = tuple(sorted({other for term, _ in buckets[i] for other in term} | {variable}))
        total: Table = np.zeros([terms.sizes[other] for other in scope], dtype=terms.kind)
        for term, table in buckets[i]:
            shape = [terms.sizes[other] if other in term else 1 for other in scope]
            total += table.reshape(shape)
            np.minimum(total, terms.forbidden, out=total)
        buckets[i] = []
        axis = scope.index(variable)
        rest = scope[:axis] + scope[axis + 1 :]
        choices.append((rest, total.argmin(axis=axis)))
        reduced = total.min(axis=axis)
        if rest:
            buckets[min(position[other] for other in rest)].append((rest, reduced))
        else:
            constant = min(constant + int(reduced), terms.forbidden)
    states = [0] * len(terms.sizes)
    for variable, (rest, choice) in zip(reversed(order), reversed(choices), strict=True):
        states[variable] = int(choice[tuple(states[other] for other in rest)])
    return constant, states
