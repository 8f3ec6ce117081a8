"""Schedules by definition, slowly: what list schedules and queues of tasks are held against."""

from __future__ import annotations

from pimloop.partitioner.makespan.schedule import TaskGraph


def in_time(tasks: TaskGraph, priority: list[float]) -> list[int]:
    """Walk the clock tick by tick: idle resources take the ready task of highest priority."""
    count = len(tasks.duration)
    before = [[t for t in range(count) if s in tasks.successors[t]] for s in range(count)]
    starts: dict[int, int] = {}
    now = 0

    def ended(task: int) -> bool:
        return task in starts and starts[task] + tasks.duration[task] <= now

    while len(starts) < count:
        progress = True
        while progress:  # tasks of no duration end at once
            progress = False
            busy = {r for t in starts if not ended(t) for r in tasks.resources[t]}
            ready = [t for t in range(count) if t not in starts and all(map(ended, before[t]))]
            for task in sorted(ready, key=lambda t: (-priority[t], t)):
                if busy.isdisjoint(tasks.resources[task]):
                    starts[task] = now
                    busy.update(tasks.resources[task])
                    progress = True
        ends = [starts[t] + tasks.duration[t] for t in starts if not ended(t)]
        now = min(ends, default=now)
    return [starts[t] for t in range(count)]


def in_order(tasks: TaskGraph, wish: list[float]) -> list[int]:
    """Queue the task of the smallest wish whose predecessors are queued, again and again."""
    count = len(tasks.duration)
    before = [[t for t in range(count) if s in tasks.successors[t]] for s in range(count)]
    ends: dict[int, int] = {}
    free: dict[int, int] = {}
    starts = [0] * count
    while len(ends) < count:
        task = min(
            (t for t in range(count) if t not in ends and all(b in ends for b in before[t])),
            key=lambda t: (wish[t], t),
        )
        at = max(
            [*(free.get(r, 0) for r in tasks.resources[task]), *(ends[b] for b in before[task])]
        )
        starts[task], ends[task] = at, at + tasks.duration[task]
        free.update(dict.fromkeys(tasks.resources[task], ends[task]))
    return starts
