"""Weighted sums of time and energy: problems that the exact solvers take as they take times.

The total of an assignment is a sum of terms in time as in energy, so a x time + b x energy is one
too: each operator on each device, each move and each entry costs a x its time + b x its energy.
Which device of a memory is best depends on the weights, and is chosen for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pimloop.partitioner.energies import energies_of
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.problem import Problem


@dataclass(frozen=True)
class Totals:
    """What an assignment takes."""

    ticks: int  # time
    fj: int  # energy, femtojoules


@dataclass(frozen=True)
class Weighing:
    """A problem in time and in energy.

    Parameters
    ----------
    times
        Its costs are ticks.
    energies
        The same problem; its costs are femtojoules.
    """

    times: Problem
    energies: Problem

    @classmethod
    def of(cls, times: Problem) -> Weighing:
        """Return a problem with the energies that its cost graph has.

        Raises
        ------
        PartitionerError
            As `pimloop.partitioner.energies.energies_of`.
        """
        energies = energies_of(times.costs)
        operators = times.costs.graph.operators
        runs = [
            {
                device: energies.operators[operator.id][times.device_name(v, device)]
                for device in times.runs[v]
            }
            for v, operator in enumerate(operators)
        ]
        tensors = tuple(
            replace(
                tensor,
                ticks={
                    (source, destination): energies.transfers[tensor.id][
                        times.place_name(tensor.producer, source), times.memories[destination]
                    ]
                    for source, destination in tensor.ticks
                },
            )
            for tensor in times.tensors
        )
        more = (0,) * (len(times.entry) - len(times.devices))
        entry = (*(energies.entry.get(device, 0) for device in times.devices), *more)
        return cls(times, replace(times, tensors=tensors, entry=entry).with_runs(runs))

    def weighted(self, time: int, energy: int) -> Problem:
        """Return the problem whose costs are `time` x ticks + `energy` x femtojoules."""

        def both(first: Mapping[int, int], second: Mapping[int, int]) -> dict[int, int]:
            return {item: time * ticks + energy * second[item] for item, ticks in first.items()}

        tensors = tuple(
            replace(
                tensor,
                ticks={
                    m: time * ticks + energy * other.ticks[m] for m, ticks in tensor.ticks.items()
                },
            )
            for tensor, other in zip(self.times.tensors, self.energies.tensors, strict=True)
        )
        entry = tuple(
            time * ticks + energy * fj
            for ticks, fj in zip(self.times.entry, self.energies.entry, strict=True)
        )
        rest = replace(self.times, tensors=tensors, entry=entry)
        return rest.with_runs(list(map(both, self.times.runs, self.energies.runs)))

    def totals(self, assignment: Mapping[str, str]) -> Totals:
        """Return what an assignment takes, one operator or transfer at a time.

        Raises
        ------
        PartitionerError
            As `pimloop.partitioner.evaluation.evaluate`.
        """
        return Totals(
            evaluate(self.times, assignment).total, evaluate(self.energies, assignment).total
        )

    def whole(self) -> Weighing:
        """Return the problem without its splits."""
        return Weighing(self.times.whole(), self.energies.whole())
