"""Times of CPU work: rounds in model order, disturbed rounds rejected.

A hot loop over one operator would leave its weights in the cache and understate a matrix-vector
product two to three times, so a round runs every step of the model once, in its own order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns, sleep

import numpy as np

#: A round whose canary took more than this times the best canary was disturbed.
CANARY_LIMIT = 1.5

#: Cores that other processes may use before times on all cores are not trusted.
OTHER_WORK_LIMIT = 0.1

#: Rounds tried for every round asked for, before disturbed ones are accepted.
_PATIENCE = 3

#: Seconds over which the kernel's count of busy time says something (it counts in 10 ms).
_COUNTABLE_S = 0.2

#: Seconds that a wait takes: the threads of the operators before it are asleep by its end. What
#: others on a shared machine do to the caches while a device works for milliseconds is not counted.
_WAIT_S = 1e-4

_PRIORITY = 1  # the lowest of the real-time ones: before everything that is not


@dataclass(frozen=True)
class Step:
    """One piece of work to time."""

    name: str
    run: Callable[[], int]  # does it once, returns its nanoseconds
    parallel: bool = False  # it uses all cores, so other work on any of them disturbs it


def _wait() -> int:
    start = perf_counter_ns()
    end = start + round(_WAIT_S * 1e9)
    while (now := perf_counter_ns()) < end:  # as a driver does that polls its device
        pass
    return now - start


#: Stands where another device works and the host waits for it. It has no time in the result.
WAIT = Step("wait", _wait)


@dataclass(frozen=True)
class Timing:
    """Times of one step over the rounds that counted."""

    min_us: float
    median_us: float
    rounds: int  # rounds that counted
    disturbed: bool  # not trusted: too few calm rounds, or all cores needed on a busy machine

    @property
    def us(self) -> float:
        """The time that stands for the step."""
        return self.median_us


def method() -> str:
    """Return how times are taken here, in the words of a report."""
    priority = "real-time priority" if _realtime_permitted() else "no real-time priority (refused)"
    return (
        "median of undisturbed rounds in model order, one ONNX Runtime session a segment and"
        f" prebound one-operator sessions, spinning off, {priority}, simulator idle, a wait of"
        f" {_WAIT_S * 1e3:g} ms where the PIM works"
    )


def time_rounds(
    steps: Sequence[Step],
    *,
    rounds: int = 10,
    warmup: int = 2,
    window: OtherWork | None = None,
) -> dict[str, Timing]:
    """Run all steps in order, `rounds` times; return the time of each by its name.

    Parameters
    ----------
    steps
        The work, in the order of the model, with `WAIT` where another device works.
    rounds
        Undisturbed rounds wanted.
    warmup
        Rounds before that are not counted.
    window
        That of a caller, who asks it afterwards whether the times of parallel steps are to be
        trusted; default: one of these rounds.
    """
    if window is None:
        with OtherWork() as window:
            timings = time_rounds(steps, rounds=rounds, warmup=warmup, window=window)
        return distrusted(timings, parallel_steps(steps)) if window.busy else timings
    canary = _Canary()
    taken: list[tuple[int, list[int]]] = []
    with realtime():
        for _ in range(warmup):
            for step in steps:
                step.run()
        best = min(canary.run() for _ in range(5))
        for _ in range(_PATIENCE * rounds):
            before = canary.run()
            times = [step.run() for step in steps]
            worst = max(before, canary.run())
            best = min(best, worst)
            taken.append((worst, times))
            if sum(c <= CANARY_LIMIT * best for c, _ in taken) >= rounds:
                break
    calm = [times for c, times in taken if c <= CANARY_LIMIT * best]
    disturbed = len(calm) < rounds
    counted = [times for _, times in taken] if disturbed else calm
    return {
        step.name: Timing(
            min_us=min(times[index] for times in counted) / 1000,
            median_us=median(times[index] for times in counted) / 1000,
            rounds=len(counted),
            disturbed=disturbed,
        )
        for index, step in enumerate(steps)
        if step is not WAIT
    }


def parallel_steps(steps: Sequence[Step]) -> list[str]:
    """Return the names of the steps that use all cores."""
    return [step.name for step in steps if step.parallel]


def distrusted(times: Mapping[str, Timing], names: Collection[str]) -> dict[str, Timing]:
    """Return times with those named marked as disturbed."""
    return {
        name: replace(timing, disturbed=timing.disturbed or name in names)
        for name, timing in times.items()
    }


def shared_out(whole: Timing, parts: Mapping[str, Timing]) -> dict[str, Timing]:
    """Return `parts` scaled so that they add up to `whole`, in the median.

    >>> whole, one = Timing(5, 6, 10, False), Timing(3, 4, 10, False)
    >>> [part.us for part in shared_out(whole, {"a": one, "b": one}).values()]
    [3.0, 3.0]
    """
    factor = whole.us / sum(part.us for part in parts.values())
    return {
        name: replace(
            part,
            min_us=part.min_us * factor,
            median_us=part.median_us * factor,
            disturbed=part.disturbed or whole.disturbed,
        )
        for name, part in parts.items()
    }


@contextmanager
def realtime() -> Iterator[bool]:
    """Give all threads of this process real-time priority in the body where that is permitted."""
    changed: list[int] = []
    try:
        for thread in _threads():
            try:
                if os.sched_getscheduler(thread) == os.SCHED_OTHER:
                    os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(_PRIORITY))
                    changed.append(thread)
            except ProcessLookupError:  # it ended meanwhile
                continue
            except OSError:
                break
        yield bool(changed)
    finally:
        for thread in changed:
            try:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
            except ProcessLookupError:
                continue


def _realtime_permitted() -> bool:
    with realtime() as permitted:
        return permitted


def _threads() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return [0]  # no such folder here: the calling thread


class OtherWork:
    """Counts the cores that other processes use while the body runs.

    A body that is too short for the kernel's count is waited out.
    """

    def __enter__(self) -> OtherWork:
        self._start = perf_counter(), _busy_seconds(), _own_seconds()
        self._end = self._start
        return self

    def __exit__(self, *_: object) -> None:
        if self._start[1] is not None:
            sleep(max(0.0, self._start[0] + _COUNTABLE_S - perf_counter()))
        self._end = perf_counter(), _busy_seconds(), _own_seconds()

    def cores(self) -> float:
        """Return how many; the load average beyond this process where nothing was counted."""
        start, end = self._start[1], self._end[1]
        if start is None or end is None:
            return max(0.0, os.getloadavg()[0] - 1.0)
        elapsed = self._end[0] - self._start[0]
        return max(0.0, end - start - (self._end[2] - self._start[2])) / elapsed

    @property
    def busy(self) -> bool:
        """Whether they use more than times on all cores allow."""
        return self.cores() > OTHER_WORK_LIMIT


def _busy_seconds() -> float | None:
    """Return the seconds that all cores were busy since the start; None where nothing says so."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system = (int(field) for field in fields[1:4])
    except (OSError, ValueError):
        return None
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


class _Canary:
    """A fixed piece of work, a few hundred microseconds on one core."""

    def __init__(self) -> None:
        self._a = np.ones(1 << 16, np.float32)
        self._b = np.empty_like(self._a)

    def run(self) -> int:
        start = perf_counter_ns()
        for _ in range(16):
            np.sqrt(self._a, out=self._b)
        return perf_counter_ns() - start
