"""Room for weights: what operators hold in a memory, weights that several of them read once.

An operator holds bytes of its own, `Operator.weight_bytes`, and weights by name,
`Operator.shared_weights`, that are in a memory once however many operators there read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pimloop.partitioner.graph import Graph

if TYPE_CHECKING:
    from pimloop.partitioner.problem import Problem


def resident_bytes(graph: Graph, operators: Iterable[int]) -> int:
    """Return the bytes of weights that operators of a graph, by position, hold in one memory."""
    total, shared = 0, set[str]()
    for v in operators:
        total += graph.operators[v].weight_bytes
        shared.update(graph.operators[v].shared_weights)
    return total + sum(graph.shared_weights[name] for name in shared)


def overfull(
    graph: Graph, capacity_bytes: Mapping[str, int], assignment: Mapping[str, str]
) -> dict[str, int]:
    """Return the memories whose capacity a full assignment exceeds, with the bytes it needs."""
    result = {}
    for memory, limit in capacity_bytes.items():
        inside = (
            v
            for v, operator in enumerate(graph.operators)
            if graph.memory_of[assignment[operator.id]] == memory
        )
        needed = resident_bytes(graph, inside)
        if needed > limit:
            result[memory] = needed
    return result


class Room:
    """Bytes left in each memory while operators are placed one after the other.

    Parameters
    ----------
    graph
        The operators.
    capacity
        Memory name to the bytes it has for weights; a memory that is left out has no limit.
    """

    def __init__(self, graph: Graph, capacity: Mapping[str, int]) -> None:
        self._graph = graph
        self._left = dict(capacity)
        self._shared: dict[str, set[str]] = {memory: set() for memory in capacity}

    @classmethod
    def of(cls, problem: Problem) -> Room:
        """Return the room of an empty placement of `problem`."""
        return cls(
            problem.costs.graph,
            {problem.memories[memory]: limit for memory, limit in problem.capacity.items()},
        )

    def needed(self, v: int, memory: str) -> int:
        """Return the bytes that operator number `v` adds to those already in `memory`."""
        operator = self._graph.operators[v]
        present = self._shared.get(memory, set())
        return operator.weight_bytes + sum(
            self._graph.shared_weights[name]
            for name in operator.shared_weights
            if name not in present
        )

    def fits(self, v: int, memory: str) -> bool:
        """Return whether operator number `v` still fits into `memory`."""
        return memory not in self._left or self.needed(v, memory) <= self._left[memory]

    def take(self, v: int, memory: str) -> None:
        """Place operator number `v` in `memory`."""
        if memory in self._left:
            self._left[memory] -= self.needed(v, memory)
            self._shared[memory].update(self._graph.operators[v].shared_weights)


def shared_readers(problem: Problem, operators: Sequence[int]) -> dict[str, list[int]]:
    """Return, for each weight that is counted once, those of `operators` that read it."""
    readers: dict[str, list[int]] = {}
    for v in operators:
        for name in problem.costs.graph.operators[v].shared_weights:
            readers.setdefault(name, []).append(v)
    return readers


def overfull_at(problem: Problem, place: Sequence[int]) -> dict[str, int]:
    """Return the memories whose capacity `place` exceeds, with the resident bytes."""
    used = {
        memory: resident_bytes_at(problem, memory, dict(enumerate(place)))
        for memory in problem.capacity
    }
    return {
        problem.memories[memory]: amount
        for memory, amount in used.items()
        if amount > problem.capacity[memory]
    }


def resident_bytes_at(problem: Problem, memory: int, place: Mapping[int, int]) -> int:
    """Return the bytes of weights in a memory when operators sit in the places given."""
    graph = problem.costs.graph
    own, shared = 0, set[str]()
    for v, where in place.items():
        if memory in problem.memories_at(v, where):
            own += problem.weights_at(v, where, memory)
            shared.update(graph.operators[v].shared_weights)
    return own + sum(graph.shared_weights[name] for name in shared)
