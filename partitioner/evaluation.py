"""The one evaluation: what an assignment costs, exactly, in ticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Move
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.segments import cheapest_assignment, entered, entry_ticks


@dataclass(frozen=True)
class Evaluation:
    """The exact cost of one assignment."""

    compute: int  # ticks spent in operators; of a split, its slower part with its entry
    transfer: int  # ticks spent in transfers
    entry: int = 0  # ticks spent entering segments

    @property
    def total(self) -> int:
        """Sum of all, in ticks."""
        return self.compute + self.transfer + self.entry


def evaluate_places(problem: Problem, place: Sequence[int]) -> Evaluation:
    """Return the cost of putting operator i on the best device of place `place[i]`.

    Raises
    ------
    PartitionerError
        When the assignment needs a transfer that is forbidden.
    """
    if problem.has_entries:
        return evaluate(problem, cheapest_assignment(problem, place))
    compute = sum(problem.ticks[v][memory] for v, memory in enumerate(place))
    return Evaluation(compute, _transfer_ticks(problem, place))


def evaluate(problem: Problem, assignment: Mapping[str, str]) -> Evaluation:
    """Return the exact cost of a full assignment of operator ids to devices or splits.

    Raises
    ------
    PartitionerError
        When an operator is missing, its device cannot run it, or a needed transfer is
        forbidden.
    """
    place = places_of(problem, assignment)
    compute = sum(
        problem.runs[v][problem.device_number(v, assignment[operator.id])]
        for v, operator in enumerate(problem.costs.graph.operators)
    )
    return Evaluation(
        compute, _transfer_ticks(problem, place), sum(entry_ticks(problem, assignment))
    )


@dataclass(frozen=True)
class Items:
    """What the total of an assignment is the sum of."""

    operators: tuple[tuple[str, str], ...]  # (operator id, device or split)
    moves: tuple[tuple[str, Move], ...]  # (tensor id, (memory or split, memory))
    entries: tuple[str, ...]  # device of each segment


def items_of(problem: Problem, assignment: Mapping[str, str]) -> Items:
    """Return what a full assignment of operator ids to devices or splits takes.

    Raises
    ------
    PartitionerError
        As `evaluate`.
    """
    place = places_of(problem, assignment)
    moves = [
        (
            tensor.id,
            (
                problem.place_name(tensor.producer, problem.source_of(tensor, place)),
                problem.memories[destination],
            ),
        )
        for tensor in problem.tensors
        for destination in sorted(problem.destinations(tensor, place))
    ]
    operators = problem.costs.graph.operators
    return Items(
        tuple((operator.id, assignment[operator.id]) for operator in operators),
        tuple(moves),
        tuple(assignment[operators[v].id] for v in entered(problem, assignment)),
    )


def durations(problem: Problem, assignment: Mapping[str, str]) -> list[int]:
    """Return the ticks of every operator, the entry of the segment that it begins included."""
    return [
        problem.runs[v][problem.device_number(v, assignment[operator.id])] + entry
        for v, (operator, entry) in enumerate(
            zip(problem.costs.graph.operators, entry_ticks(problem, assignment), strict=True)
        )
    ]


def places_of(problem: Problem, assignment: Mapping[str, str]) -> list[int]:
    """Return the place of every operator under `assignment`, checking it."""
    graph = problem.costs.graph
    place = []
    for v, operator in enumerate(graph.operators):
        device = assignment.get(operator.id)
        if device is None:
            raise PartitionerError(f"{graph.name}: the assignment leaves out {operator.id!r}")
        if device not in operator.devices and device not in problem.split_numbers[v]:
            raise PartitionerError(
                f"{graph.name}: node {operator.id!r} cannot run on {device!r}; "
                f"its devices are {[*operator.devices, *problem.split_numbers[v]]}"
            )
        place.append(problem.device_memory[problem.device_number(v, device)])
    return place


def _transfer_ticks(problem: Problem, place: Sequence[int]) -> int:
    total = 0
    for tensor in problem.tensors:
        source = problem.source_of(tensor, place)
        for destination in problem.destinations(tensor, place):
            cost = tensor.ticks.get((source, destination))
            if cost is None:
                raise problem.forbidden("assignment", tensor, source, destination)
            total += cost
    return total
