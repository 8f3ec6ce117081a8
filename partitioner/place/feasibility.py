"""Which items of a profile some feasible assignment can measure.

Without forbidden transfers all of them. With them, assignments are searched that obey every
restriction and put an operator, or the two ends of a transfer, where the item asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph
from pimloop.partitioner.place.domains import feasible_domains, restricted_tensors
from pimloop.partitioner.place.elimination import solve_by_elimination
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.profile.coverage import Coverage, Item, Uncoverable
from pimloop.partitioner.segments import cheapest_assignment


@dataclass(frozen=True)
class Coverable:
    """What can be measured and what cannot."""

    items: frozenset[Item]
    uncoverable: tuple[Uncoverable, ...]
    # Where forbidden transfers made a search necessary: feasible runs that cover `items`.
    witnesses: tuple[dict[str, str], ...]


def split_coverable(coverage: Coverage) -> Coverable:
    """Return the items that can be measured, and everything that cannot, by name.

    Raises
    ------
    PartitionerError
        When no assignment is feasible at all.
    """
    graph = coverage.graph
    uncoverable = list(coverage.impossible)
    problem = Problem.of(blank_costs(graph))
    if not restricted_tensors(problem):
        return Coverable(frozenset(range(coverage.item_count)), tuple(uncoverable), ())
    number = {memory: i for i, memory in enumerate(problem.memories)}
    feasible_domains(problem)  # raises when nothing is feasible
    good: set[Item] = set()
    witnesses: list[dict[str, str]] = []
    failed: dict[Item, tuple[str, tuple[tuple[int, str], ...]]] = {}
    for item, action, placements in coverage.causes():
        if item in good:
            continue
        pinned: dict[int, int] = {}
        for v, where in placements:
            memory = number[graph.memory_of.get(where, where)]
            if pinned.setdefault(v, memory) != memory:
                break
        else:
            place = _feasible_place(problem, pinned)
            if place is not None:
                run = cheapest_assignment(problem, place)
                if coverage.is_node(item):
                    ((v, device),) = placements
                    run[graph.operators[v].id] = device
                good |= coverage.covered(run)
                witnesses.append(run)
                failed.pop(item, None)
                continue
        failed.setdefault(item, (action, placements))
    for item, (action, placements) in failed.items():
        if item in good:
            continue
        kind = "node" if coverage.is_node(item) else "transfer"
        name = (
            graph.operators[placements[0][0]].id if kind == "node" else _tensor_of(coverage, item)
        )
        reason = "forbidden transfers leave no assignment that does this"
        uncoverable.append(Uncoverable(kind, name, action, reason))
    return Coverable(frozenset(good), tuple(uncoverable), tuple(witnesses))


def blank_costs(graph: Graph) -> CostGraph:
    """Return `graph` with every allowed cost zero."""
    return CostGraph(
        graph,
        {operator.id: dict.fromkeys(operator.devices, 0.0) for operator in graph.operators},
        {tensor.id: dict.fromkeys(sorted(tensor.moves), 0.0) for tensor in graph.tensors},
    )


def _feasible_place(problem: Problem, pinned: Mapping[int, int]) -> tuple[int, ...] | None:
    try:
        domains = feasible_domains(problem, pinned)
        return solve_by_elimination(problem, domains).place
    except PartitionerError:
        return None


def _tensor_of(coverage: Coverage, item: Item) -> str:
    for tensor, items in zip(coverage.graph.tensors, coverage.transfer_items, strict=True):
        if item in items.values():
            return tensor.id
    raise AssertionError("every transfer item belongs to a tensor")
