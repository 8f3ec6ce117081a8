"""The shortest makespan of a small problem by exhaustive search, in exact integers.

A floating-point solver has been wrong about such problems (docs/partitioner.md), so what is called
proved is proved here. The search asks whether any schedule ends by a limit. It places the operators
one after another, each time with a bound from the longest chain and from what each memory and the
DMA engine have to do between the earliest starts and the latest ends (Jackson's preemptive
schedule). What remains is a job shop: tasks of one resource are ordered pair by pair, where only
one order keeps the limit at once (Carlier and Pinson 1989), else by trying both.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pimloop.partitioner.makespan.schedule import DMA, TaskGraph, makespan, task_graph
from pimloop.partitioner.problem import MODEL_INPUT, Problem

#: A task that is to be done on one resource: earliest start, duration, least time after its end.
_Window = tuple[int, int, int]


class OutOfTimeError(Exception):
    """The search was stopped before it knew."""


@dataclass(frozen=True)
class TimedPlacement:
    """A placement with its schedule."""

    place: tuple[int, ...]
    tasks: TaskGraph
    starts: list[int]  # of `tasks`, ticks


@dataclass(frozen=True)
class Shortest:
    """What the search has come to."""

    better: TimedPlacement | None  # the shortest schedule found; None: none below the known one
    proved: bool  # no schedule is shorter than it, or than the known one


def shortest(
    problem: Problem, domains: Sequence[Sequence[int]], known: int, deadline: float
) -> Shortest:
    """Look for ever shorter schedules until there is none, or the deadline.

    Parameters
    ----------
    known
        Ticks of a schedule that is known.
    problem, domains, deadline
        As for `schedule_within`.
    """
    better = None
    while True:
        try:
            shorter = schedule_within(problem, domains, known - 1, deadline)
        except OutOfTimeError:
            return Shortest(better, proved=False)
        if shorter is None:
            return Shortest(better, proved=True)
        better, known = shorter, makespan(shorter.tasks, shorter.starts)


def schedule_within(
    problem: Problem, domains: Sequence[Sequence[int]], limit: int, deadline: float
) -> TimedPlacement | None:
    """Return a schedule that ends by `limit`, or None: there is none.

    Parameters
    ----------
    problem
        Without entry costs and capacities.
    domains
        Places of each operator.
    limit
        Ticks.
    deadline
        `time.monotonic()` at which the search ends.

    Raises
    ------
    OutOfTimeError
        At the deadline.
    """
    return _Placing(problem, domains, limit, deadline).search()


class _Placing:
    """Places operators one after another."""

    def __init__(
        self, problem: Problem, domains: Sequence[Sequence[int]], limit: int, deadline: float
    ) -> None:
        self._problem, self._limit, self._deadline = problem, limit, deadline
        self._domains = [tuple(domain) for domain in domains]
        self._free = [v for v in problem.order if len(domains[v]) > 1]
        #: Operator -> (producer or MODEL_INPUT, tensor) of each input.
        self._inputs: list[list[tuple[int, int]]] = [[] for _ in domains]
        self._readers: list[list[tuple[int, int]]] = [[] for _ in domains]
        #: Outputs of the model that each operator makes.
        self._outputs: list[list[int]] = [[] for _ in domains]
        for f, tensor in enumerate(problem.tensors):
            if tensor.output and tensor.producer != MODEL_INPUT:
                self._outputs[tensor.producer].append(f)
            for reader in tensor.consumers:
                self._inputs[reader].append((tensor.producer, f))
                if tensor.producer != MODEL_INPUT:
                    self._readers[tensor.producer].append((reader, f))

    def search(self) -> TimedPlacement | None:
        return self._place(0, list(self._domains))

    def _place(self, depth: int, domains: list[tuple[int, ...]]) -> TimedPlacement | None:
        if time.monotonic() > self._deadline:
            raise OutOfTimeError
        if not self._may_end(domains):
            return None
        if depth == len(self._free):
            return self._order([domain[0] for domain in domains])
        v = self._free[depth]
        for where in self._domains[v]:
            domains[v] = (where,)
            schedule = self._place(depth + 1, domains)
            if schedule is not None:
                return schedule
        domains[v] = self._domains[v]
        return None

    def _order(self, place: list[int]) -> TimedPlacement | None:
        problem = self._problem
        tasks = task_graph(problem, place, [problem.ticks[v][p] for v, p in enumerate(place)])
        starts = _JobShop(tasks, self._limit, self._deadline).search()
        return None if starts is None else TimedPlacement(tuple(place), tasks, starts)

    def _may_end(self, domains: Sequence[tuple[int, ...]]) -> bool:
        """Return False when no schedule within these places ends by the limit."""
        problem, limit = self._problem, self._limit
        length = [min(problem.ticks[v][p] for p in domain) for v, domain in enumerate(domains)]
        delays = self._delays(domains)
        head, tail = [0] * len(domains), [0] * len(domains)
        for v in problem.order:
            for u, f in self._inputs[v]:
                delay = delays[f, v]
                if delay is None:
                    return False
                head[v] = max(head[v], delay + (0 if u == MODEL_INPUT else head[u] + length[u]))
        for v in reversed(problem.order):
            tail[v] = self._home_delay(v, domains[v])
            for reader, f in self._readers[v]:
                delay = delays[f, reader]
                assert delay is not None
                tail[v] = max(tail[v], delay + length[reader] + tail[reader])
            if head[v] + length[v] + tail[v] > limit:
                return False
        windows = self._windows(domains, head, length, tail)
        return all(_preemptive(tasks) <= limit for tasks in windows.values())

    def _delays(self, domains: Sequence[tuple[int, ...]]) -> dict[tuple[int, int], int | None]:
        """Return the least time between a tensor and each reader; None: a forbidden move."""
        delays: dict[tuple[int, int], int | None] = {}
        for f, tensor in enumerate(self._problem.tensors):
            producer = tensor.producer
            sources = self._sources(producer, domains)
            for reader in tensor.consumers:
                possible = [
                    delay
                    for source in sources
                    for where in domains[reader]
                    if (delay := self._delay(f, source, reader, where)) is not None
                ]
                delays[f, reader] = min(possible, default=None)
        return delays

    def _sources(self, producer: int, domains: Sequence[tuple[int, ...]]) -> tuple[int | None, ...]:
        return (self._problem.home,) if producer == MODEL_INPUT else domains[producer]

    def _delay(self, f: int, source: int | None, reader: int, where: int) -> int | None:
        """Return how long a tensor's copies for a reader take at least; None: forbidden."""
        longest = 0
        for memory in self._problem.memories_at(reader, where):
            if memory == source or source is None:
                continue
            ticks = self._problem.tensors[f].ticks.get((source, memory))
            if ticks is None:
                return None
            longest = max(longest, ticks)
        return longest

    def _home_delay(self, v: int, domain: tuple[int, ...]) -> int:
        """Return the least time that what `v` makes takes to where outputs end."""
        home = self._problem.home
        if home is None:
            return 0
        moves = (self._problem.tensors[f].ticks for f in self._outputs[v])
        return max(
            (min(0 if p == home else ticks.get((p, home), 0) for p in domain) for ticks in moves),
            default=0,
        )

    def _windows(
        self,
        domains: Sequence[tuple[int, ...]],
        head: Sequence[int],
        length: Sequence[int],
        tail: Sequence[int],
    ) -> dict[int, list[_Window]]:
        """Return by resource the tasks that are certain: of operators whose place is known."""
        windows: dict[int, list[_Window]] = {}
        problem = self._problem
        for v, domain in enumerate(domains):
            if len(domain) == 1:
                for memory in problem.memories_at(v, domain[0]):
                    windows.setdefault(memory, []).append((head[v], length[v], tail[v]))
        for tensor in problem.tensors:
            sources = self._sources(tensor.producer, domains)
            if len(sources) > 1 or sources[0] is None:
                continue
            source = sources[0]
            ready = 0
            if tensor.producer != MODEL_INPUT:
                ready = head[tensor.producer] + length[tensor.producer]
            after: dict[int, int] = {}
            for reader in tensor.consumers:
                if len(domains[reader]) == 1:
                    for memory in problem.memories_at(reader, domains[reader][0]):
                        after[memory] = max(after.get(memory, 0), length[reader] + tail[reader])
            if tensor.output and problem.home is not None:
                after.setdefault(problem.home, 0)
            for memory, least in after.items():
                if memory != source:
                    ticks = tensor.ticks.get((source, memory), 0)
                    windows.setdefault(DMA, []).append((ready, ticks, least))
        return windows


def _preemptive(tasks: Sequence[_Window]) -> int:
    """Return when the last ends at the earliest, were tasks interrupted at will (Jackson 1955)."""
    waiting = sorted(tasks)
    ready: list[tuple[int, int]] = []  # (-time after it, what is left of it)
    now = last = i = 0
    while i < len(waiting) or ready:
        if not ready:
            now = max(now, waiting[i][0])
        while i < len(waiting) and waiting[i][0] <= now:
            heapq.heappush(ready, (-waiting[i][2], waiting[i][1]))
            i += 1
        after, left = heapq.heappop(ready)
        until = now + left if i == len(waiting) else min(now + left, waiting[i][0])
        if until < now + left:
            heapq.heappush(ready, (after, now + left - until))
        else:
            last = max(last, until - after)
        now = until
    return last


class _JobShop:
    """Orders the tasks of one placement on their resources."""

    def __init__(self, tasks: TaskGraph, limit: int, deadline: float) -> None:
        self._duration, self._limit, self._deadline = tasks.duration, limit, deadline
        before = [0] * len(tasks.duration)  # all tasks before each, as bits
        for task in tasks.topological():
            for successor in tasks.successors[task]:
                before[successor] |= before[task] | 1 << task
        self._before = before
        self._given = [
            (task, successor)
            for task, successors in enumerate(tasks.successors)
            for successor in set(successors)
        ]
        by_resource: dict[int, list[int]] = {}
        for task, resources in enumerate(tasks.resources):
            for resource in resources:
                by_resource.setdefault(resource, []).append(task)
        self._by_resource = by_resource

    def search(self) -> list[int] | None:
        """Return starts that end by the limit, or None: there are none."""
        pairs = {
            (i, j)
            for tasks in self._by_resource.values()
            for i in tasks
            for j in tasks
            if i < j and not self._before[i] >> j & 1 and not self._before[j] >> i & 1
        }
        return self._branch(list(self._given), pairs)

    def _branch(self, arcs: list[tuple[int, int]], pairs: set[tuple[int, int]]) -> list[int] | None:
        if time.monotonic() > self._deadline:
            raise OutOfTimeError
        while True:
            times = self._heads_and_tails(arcs)
            if times is None:
                return None
            head, tail = times
            forced = []
            for pair in pairs:
                order = self._forced(pair, head, tail)
                if order is None:
                    return None
                if order:
                    forced.append((pair, order))
            if not forced:
                break
            for pair, order in forced:
                pairs.discard(pair)
                arcs.append(order)
        for tasks in self._by_resource.values():
            if _preemptive([(head[t], self._duration[t], tail[t]) for t in tasks]) > self._limit:
                return None
        conflict = self._conflict(pairs, head, tail)
        if conflict is None:
            return head
        pairs.discard(conflict)
        i, j = conflict
        for order in sorted(((i, j), (j, i)), key=lambda o: self._length(o, head, tail)):
            starts = self._branch([*arcs, order], set(pairs))
            if starts is not None:
                return starts
        return None

    def _heads_and_tails(
        self, arcs: Sequence[tuple[int, int]]
    ) -> tuple[list[int], list[int]] | None:
        """Return earliest starts and times after the end; None: a cycle, or beyond the limit."""
        count = len(self._duration)
        successors: list[list[int]] = [[] for _ in range(count)]
        waiting = [0] * count
        for first, second in arcs:
            successors[first].append(second)
            waiting[second] += 1
        head, tail = [0] * count, [0] * count
        order = [task for task in range(count) if not waiting[task]]
        for task in order:  # the list grows while it is read
            end = head[task] + self._duration[task]
            for successor in successors[task]:
                head[successor] = max(head[successor], end)
                waiting[successor] -= 1
                if not waiting[successor]:
                    order.append(successor)
        if len(order) < count:
            return None
        for task in reversed(order):
            for successor in successors[task]:
                tail[task] = max(tail[task], self._duration[successor] + tail[successor])
            if head[task] + self._duration[task] + tail[task] > self._limit:
                return None
        return head, tail

    def _length(self, order: tuple[int, int], head: Sequence[int], tail: Sequence[int]) -> int:
        """Return the longest chain through two tasks in an order."""
        first, second = order
        return head[first] + self._duration[first] + self._duration[second] + tail[second]

    def _forced(
        self, pair: tuple[int, int], head: Sequence[int], tail: Sequence[int]
    ) -> tuple[int, int] | tuple[()] | None:
        """Return the only order that keeps the limit, () where both do, None where neither."""
        i, j = pair
        first = self._length((i, j), head, tail) <= self._limit
        second = self._length((j, i), head, tail) <= self._limit
        if first and second:
            return ()
        if first:
            return i, j
        return (j, i) if second else None

    def _conflict(
        self, pairs: set[tuple[int, int]], head: Sequence[int], tail: Sequence[int]
    ) -> tuple[int, int] | None:
        """Return the pair that overlaps when all start as early as they can, least free first."""
        worst, chosen = -1, None
        for i, j in pairs:
            if head[i] + self._duration[i] <= head[j] or head[j] + self._duration[j] <= head[i]:
                continue
            least = min(self._length((i, j), head, tail), self._length((j, i), head, tail))
            if least > worst or (least == worst and chosen is not None and (i, j) < chosen):
                worst, chosen = least, (i, j)
        return chosen
