"""Schedules in which memories compute and the DMA engine copies at the same time.

Each memory executes one operator at a time (its devices share it), and one DMA engine makes all
transfers, one at a time. A split operator occupies both its memories from its start until the
slower part is done, and making its outputs whole in a memory is a transfer. An operator starts when
its inputs are where it needs them; a transfer starts when its tensor is made; no task is
interrupted. An operator that begins a segment (the operator before it in the graph's order is on
another device) takes the entry of its device longer, as in the sequential objective: an assignment
has the same segments in both. The makespan is the end of the last operator or of the last output's
transfer home.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import durations, places_of
from pimloop.partitioner.plan import Plan, Step
from pimloop.partitioner.problem import MODEL_INPUT, IndexedTensor, Problem

#: Resource number of the DMA engine; memory m is resource m.
DMA = -1


@dataclass(frozen=True)
class TaskGraph:
    """The tasks of one placement: operators 0 .. n-1, then one task for each transfer."""

    duration: Sequence[int]  # ticks
    resources: Sequence[tuple[int, ...]]  # what it occupies: memory indices, or `DMA`
    successors: Sequence[Sequence[int]]
    waiting: Sequence[int]  # number of predecessors
    transfers: Sequence[tuple[int, int, int]]  # (tensor, its place, destination) of task n + i

    def ranks(self) -> list[int]:
        """Return for each task the longest chain of durations from its start to the end."""
        rank = list(self.duration)
        for task in reversed(self.topological()):
            after = max((rank[s] for s in self.successors[task]), default=0)
            rank[task] = self.duration[task] + after
        return rank

    def topological(self) -> list[int]:
        """Return the tasks in an order that respects precedence."""
        waiting = list(self.waiting)
        order = [task for task, count in enumerate(waiting) if count == 0]
        for task in order:  # the list grows while it is read
            for successor in self.successors[task]:
                waiting[successor] -= 1
                if waiting[successor] == 0:
                    order.append(successor)
        return order


def task_graph(problem: Problem, place: Sequence[int], compute: Sequence[int]) -> TaskGraph:
    """Return the tasks of placing operator i in place `place[i]` for `compute[i]` ticks.

    Raises
    ------
    PartitionerError
        When the placement needs a forbidden transfer.
    """
    operators = len(place)
    duration = list(compute)
    resources = [problem.memories_at(v, where) for v, where in enumerate(place)]
    successors: list[list[int]] = [[] for _ in range(operators)]
    waiting = [0] * operators
    transfers: list[tuple[int, int, int]] = []
    for f, tensor in enumerate(problem.tensors):
        source = problem.source_of(tensor, place)
        copy_in: dict[int, int] = {}
        for destination in sorted(problem.destinations(tensor, place)):
            ticks = tensor.ticks.get((source, destination))
            if ticks is None:
                raise problem.forbidden("schedule", tensor, source, destination)
            copy_in[destination] = len(duration)
            transfers.append((f, source, destination))
            duration.append(ticks)
            resources.append((DMA,))
            successors.append([])
            waiting.append(0)
            if tensor.producer != MODEL_INPUT:
                successors[tensor.producer].append(copy_in[destination])
                waiting[copy_in[destination]] += 1
        for consumer in tensor.consumers:
            for memory in resources[consumer]:
                feeder = copy_in.get(memory, tensor.producer)
                if feeder != MODEL_INPUT:
                    successors[feeder].append(consumer)
                    waiting[consumer] += 1
    return TaskGraph(duration, resources, successors, waiting, transfers)


def list_schedule(tasks: TaskGraph, priority: Sequence[float]) -> list[int]:
    """Return start times: idle resources take the ready task of highest priority at once.

    A task that needs two of them starts when both are idle.
    """
    starts = [0] * len(tasks.duration)
    waiting = list(tasks.waiting)
    ready: dict[tuple[int, ...], list[tuple[float, int]]] = {}
    for task, count in enumerate(waiting):
        if count == 0:
            ready.setdefault(tasks.resources[task], []).append((-priority[task], task))
    for queue in ready.values():
        heapq.heapify(queue)
    busy: set[int] = set()
    events: list[tuple[int, int]] = []  # (end, task)
    now = 0
    while True:
        # The first task of a queue occupies what the others of the queue need.
        for _, task in sorted(queue[0] for queue in ready.values() if queue):
            resources = tasks.resources[task]
            if busy.isdisjoint(resources):
                heapq.heappop(ready[resources])
                starts[task] = now
                busy.update(resources)
                heapq.heappush(events, (now + tasks.duration[task], task))
        if not events:
            return starts
        now = events[0][0]
        while events and events[0][0] == now:
            _, task = heapq.heappop(events)
            busy.difference_update(tasks.resources[task])
            for successor in tasks.successors[task]:
                waiting[successor] -= 1
                if waiting[successor] == 0:
                    queue = ready.setdefault(tasks.resources[successor], [])
                    heapq.heappush(queue, (-priority[successor], successor))


def sequence_schedule(tasks: TaskGraph, wish: Sequence[float]) -> list[int]:
    """Return start times: tasks queue for their resources in order of `wish`, as far as allowed.

    Of the tasks whose predecessors are queued, the one with the smallest wish is queued next and
    starts as early as its predecessors and its resources allow. Some wish gives the optimum.
    """
    starts = [0] * len(tasks.duration)
    earliest = [0] * len(tasks.duration)
    waiting = list(tasks.waiting)
    free: dict[int, int] = {}
    queue = [(wish[task], task) for task, count in enumerate(waiting) if count == 0]
    heapq.heapify(queue)
    while queue:
        _, task = heapq.heappop(queue)
        resources = tasks.resources[task]
        starts[task] = max(earliest[task], *(free.get(resource, 0) for resource in resources))
        end = starts[task] + tasks.duration[task]
        free.update(dict.fromkeys(resources, end))
        for successor in tasks.successors[task]:
            earliest[successor] = max(earliest[successor], end)
            waiting[successor] -= 1
            if waiting[successor] == 0:
                heapq.heappush(queue, (wish[successor], successor))
    return starts


def makespan(tasks: TaskGraph, starts: Sequence[int]) -> int:
    """Return the end of the last task, in ticks."""
    return max(start + length for start, length in zip(starts, tasks.duration, strict=True))


def steps(
    problem: Problem, assignment: Mapping[str, str], tasks: TaskGraph, starts: Sequence[int]
) -> list[Step]:
    """Return the schedule with names and microseconds, in order of start.

    A split operator has a step in each of its two memories, both for as long as it occupies them.
    """
    graph = problem.costs.graph
    result = []
    for task, (start, length) in enumerate(zip(starts, tasks.duration, strict=True)):
        begin, end = problem.to_us(start), problem.to_us(start + length)
        if task < len(graph.operators):
            name = graph.operators[task].id
            for memory in tasks.resources[task]:
                where = problem.memories[memory]
                result.append(Step("operator", name, where, begin, end, assignment[name]))
        else:
            number, source, destination = tasks.transfers[task - len(graph.operators)]
            tensor = problem.tensors[number]
            move = move_name(problem, tensor, source, destination)
            result.append(Step("transfer", tensor.id, "dma", begin, end, move))
    return sorted(result, key=lambda step: (step.start_us, step.end_us))


def move_name(problem: Problem, tensor: IndexedTensor, source: int, destination: int) -> str:
    """Return the name of a transfer: "source>destination".

    What a split makes is gathered from its memories, "cpu+pim>gpu", without the destination.
    """
    memories = (
        (source,)
        if tensor.producer == MODEL_INPUT
        else problem.memories_at(tensor.producer, source)
    )
    sources = "+".join(problem.memories[memory] for memory in memories if memory != destination)
    return f"{sources}>{problem.memories[destination]}"


def verify_schedule(problem: Problem, plan: Plan, tolerance_us: float = 1e-6) -> None:
    """Check that the steps of `plan` are a schedule of its assignment with its makespan.

    Raises
    ------
    PartitionerError
        Naming the first rule that is broken.
    """

    def fail(text: str) -> None:
        raise PartitionerError(f"{problem.costs.graph.name}: not a schedule: {text}")

    graph = problem.costs.graph
    operators: dict[str, dict[str, Step]] = {}  # operator id -> memory -> its step there
    for step in plan.schedule:
        if step.kind == "operator":
            operators.setdefault(step.id, {})[step.resource] = step
    copies = {(step.id, step.detail): step for step in plan.schedule if step.kind == "transfer"}
    if operators.keys() != graph.index.keys():
        fail("its operators are not those of the graph")
    place = places_of(problem, plan.assignment)
    duration = durations(problem, plan.assignment)
    begin: list[float] = []  # of each operator
    end: list[float] = []
    for v, operator in enumerate(graph.operators):
        steps_of = operators[operator.id]
        memories = {problem.memories[memory] for memory in problem.memories_at(v, place[v])}
        if steps_of.keys() != memories:
            fail(f"operator {operator.id!r} does not occupy {sorted(memories)}")
        needed = problem.to_us(duration[v])
        if any(abs(s.end_us - s.start_us - needed) > tolerance_us for s in steps_of.values()):
            fail(f"operator {operator.id!r} does not take its {needed} us")
        begin.append(min(step.start_us for step in steps_of.values()))
        end.append(max(step.end_us for step in steps_of.values()))
        if max(step.start_us for step in steps_of.values()) > begin[v] + tolerance_us:
            fail(f"the parts of operator {operator.id!r} do not start together")
    needed_copies = 0
    for tensor in problem.tensors:
        source = problem.source_of(tensor, place)
        made = end[tensor.producer] if tensor.producer >= 0 else 0.0
        arrival = {source: made}
        for destination in problem.destinations(tensor, place):
            needed_copies += 1
            move = move_name(problem, tensor, source, destination)
            copy = copies.get((tensor.id, move))
            ticks = tensor.ticks.get((source, destination))
            if copy is None or ticks is None:
                fail(f"tensor {tensor.id!r} is not moved to {problem.memories[destination]!r}")
                return
            cost = problem.to_us(ticks)
            if abs(copy.end_us - copy.start_us - cost) > tolerance_us:
                fail(f"the transfer of {tensor.id!r} does not take its {cost} us")
            if copy.start_us < made - tolerance_us:
                fail(f"tensor {tensor.id!r} is moved before it is made")
            arrival[destination] = copy.end_us
        for consumer in tensor.consumers:
            for memory in problem.memories_at(consumer, place[consumer]):
                if begin[consumer] < arrival[memory] - tolerance_us:
                    name = graph.operators[consumer].id
                    fail(f"operator {name!r} starts before its input {tensor.id!r} is there")
    if needed_copies != len(copies):
        fail("it makes transfers that nobody needs")
    _verify_resources(plan, tolerance_us, fail)
    last = max(step.end_us for step in plan.schedule)
    if abs(last - plan.total_us) > tolerance_us:
        fail(f"it ends at {last} us, not at {plan.total_us} us")


def _verify_resources(plan: Plan, tolerance_us: float, fail: Callable[[str], None]) -> None:
    by_resource: dict[str, list[Step]] = {}
    for step in plan.schedule:
        by_resource.setdefault(step.resource, []).append(step)
    for resource, members in by_resource.items():
        members.sort(key=lambda step: (step.start_us, step.end_us))
        for first, second in itertools.pairwise(members):
            if second.start_us < first.end_us - tolerance_us:
                fail(f"{first.id!r} and {second.id!r} overlap on {resource!r}")
