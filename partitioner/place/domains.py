"""Which places each operator can sit in once forbidden transfers are thought through.

Arc consistency: a place is struck from an operator's list when some neighbour has no place left
that goes with it. What remains is what the solvers have to choose from; an operator with nothing
left proves that no assignment is feasible and is named with the tensors that led there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.problem import MODEL_INPUT, IndexedTensor, Problem


def feasible_domains(
    problem: Problem, pinned: Mapping[int, int] | None = None
) -> list[tuple[int, ...]]:
    """Return for each operator the places it may sit in, in ascending order.

    Parameters
    ----------
    pinned
        Operators that must sit in a given place.

    Raises
    ------
    PartitionerError
        When forbidden transfers leave an operator without a place. With two memories this is
        complete: if it does not raise, a feasible assignment exists.
    """
    domains = [set(costs) for costs in problem.ticks]
    for operator, memory in (pinned or {}).items():
        domains[operator] &= {memory}
    restricted = restricted_tensors(problem)
    touching: dict[int, list[IndexedTensor]] = {}
    for tensor in restricted:
        for operator in {tensor.producer, *tensor.consumers} - {MODEL_INPUT}:
            touching.setdefault(operator, []).append(tensor)
    queue = deque(restricted)
    queued = {tensor.id for tensor in restricted}
    while queue:
        tensor = queue.popleft()
        queued.discard(tensor.id)
        for operator in _revise(problem, tensor, domains):
            if not domains[operator]:
                _raise_infeasible(problem, operator, tensor)
            for other in touching[operator]:
                if other.id not in queued:
                    queued.add(other.id)
                    queue.append(other)
    for operator, domain in enumerate(domains):
        if not domain:  # pinned to a memory it cannot run in
            name = problem.costs.graph.operators[operator].id
            raise PartitionerError(
                f"{problem.costs.graph.name}: node {name!r} cannot run in the memory asked for"
            )
    return [tuple(sorted(domain)) for domain in domains]


def restricted_tensors(problem: Problem) -> list[IndexedTensor]:
    """Return the tensors whose ends can be placed so that a move is needed but not allowed."""
    domains = [set(costs) for costs in problem.ticks]
    result = []
    for tensor in problem.tensors:
        targets = {
            memory
            for consumer in tensor.consumers
            for place in domains[consumer]
            for memory in problem.memories_at(consumer, place)
        }
        if tensor.output and problem.home is not None:
            targets.add(problem.home)
        if any(
            source != target and (source, target) not in tensor.ticks
            for source in _sources(problem, tensor, domains)
            for target in targets
        ):
            result.append(tensor)
    return result


def _sources(problem: Problem, tensor: IndexedTensor, domains: list[set[int]]) -> set[int]:
    if tensor.producer != MODEL_INPUT:
        return domains[tensor.producer]
    assert problem.home is not None
    return {problem.home}


def _revise(problem: Problem, tensor: IndexedTensor, domains: list[set[int]]) -> list[int]:
    """Strike places that `tensor` rules out; return the operators that lost one."""

    def allowed(source: int, *targets: int) -> bool:
        return all(source == target or (source, target) in tensor.ticks for target in targets)

    sources = _sources(problem, tensor, domains)
    changed = []
    for consumer in tensor.consumers:
        kept = {
            place
            for place in domains[consumer]
            if any(allowed(s, *problem.memories_at(consumer, place)) for s in sources)
        }
        if kept != domains[consumer]:
            domains[consumer] = kept
            changed.append(consumer)
    if tensor.producer != MODEL_INPUT:
        ends = [
            [problem.memories_at(consumer, place) for place in domains[consumer]]
            for consumer in tensor.consumers
        ]
        if tensor.output and problem.home is not None:
            ends.append([(problem.home,)])
        kept = {s for s in sources if all(any(allowed(s, *m) for m in end) for end in ends)}
        if kept != sources:
            domains[tensor.producer] = kept
            changed.append(tensor.producer)
    return changed


def _raise_infeasible(problem: Problem, operator: int, indexed: IndexedTensor) -> None:
    graph = problem.costs.graph
    tensor = next(tensor for tensor in graph.tensors if tensor.id == indexed.id)
    allowed = sorted(f"{source}>{target}" for source, target in tensor.moves)
    raise PartitionerError(
        f"{graph.name}: no feasible assignment: node {graph.operators[operator].id!r} "
        f"(devices {list(graph.operators[operator].devices)}) has no device left, because tensor "
        f"{indexed.id!r} from {tensor.producer or 'the model input'!r} to {list(tensor.consumers)} "
        f"may move only {allowed or 'nowhere'}; allow a transfer or add a device"
    )
