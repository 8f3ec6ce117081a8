"""Times of CPU work: rounds in model order, disturbed rounds rejected.

A hot loop over one operator would leave its weights in the cache and understate a matrix-vector
product two to three times, so a round runs every step of the model once, in its own order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns

import numpy as np

#: A round whose canary took more than this times the best canary was disturbed.
CANARY_LIMIT = 1.5

#: Rounds tried for every round asked for, before disturbed ones are accepted.
_PATIENCE = 3

#: The words a report uses for how these times were taken.
METHOD = (
    "median of undisturbed rounds in model order, prebound one-operator ONNX Runtime sessions,"
    " spinning off, simulator idle"
)


@dataclass(frozen=True)
class Timing:
    """Times of one step over the rounds that counted."""

    min_us: float
    median_us: float
    rounds: int  # rounds that counted
    disturbed: bool  # too few undisturbed rounds: all were counted

    @property
    def us(self) -> float:
        """The time that stands for the step."""
        return self.median_us


def time_rounds(
    steps: Sequence[tuple[str, Callable[[], int]]], *, rounds: int = 10, warmup: int = 2
) -> dict[str, Timing]:
    """Run all steps in order, `rounds` times; return the time of each by its name.

    Parameters
    ----------
    steps
        (name, function) pairs; a function does the work once and returns its nanoseconds.
    rounds
        Undisturbed rounds wanted.
    warmup
        Rounds before that are not counted.
    """
    canary = _Canary()
    taken: list[tuple[int, list[int]]] = []
    for _ in range(warmup):
        for _, step in steps:
            step()
    best = min(canary.run() for _ in range(5))
    for _ in range(_PATIENCE * rounds):
        before = canary.run()
        times = [step() for _, step in steps]
        worst = max(before, canary.run())
        best = min(best, worst)
        taken.append((worst, times))
        if sum(c <= CANARY_LIMIT * best for c, _ in taken) >= rounds:
            break
    calm = [times for c, times in taken if c <= CANARY_LIMIT * best]
    disturbed = len(calm) < rounds
    counted = [times for _, times in taken] if disturbed else calm
    return {
        name: Timing(
            min_us=min(times[index] for times in counted) / 1000,
            median_us=median(times[index] for times in counted) / 1000,
            rounds=len(counted),
            disturbed=disturbed,
        )
        for index, (name, _) in enumerate(steps)
    }


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
