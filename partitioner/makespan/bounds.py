"""Lower bounds of a makespan that need no solver, and what a solver's bound is worth in ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pimloop.partitioner.makespan.mip import MipAnswer
from pimloop.partitioner.problem import Problem

#: Relative error that HiGHS allows itself in times (its feasibility tolerance, with room).
TOLERANCE = 2e-6


def trivial_bound(problem: Problem, domains: Sequence[tuple[int, ...]]) -> int:
    """Return the longest chain of cheapest operators, or the load no placement can avoid."""
    cheapest, load = [], 0
    for v, domain in enumerate(domains):
        ticks = problem.ticks[v]
        cheapest.append(min(ticks[place] for place in domain))
        # A split occupies two memories.
        load += min(ticks[place] * len(problem.memories_at(v, place)) for place in domain)
    finish = [0] * len(domains)
    for v in problem.order:
        ready = max(
            (finish[p] for f in problem.inputs[v] if (p := problem.tensors[f].producer) >= 0),
            default=0,
        )
        finish[v] = ready + cheapest[v]
    return max(*finish, -(-load // len(problem.memories)))


def settled_bound(problem: Problem, answer: MipAnswer, span: int) -> int:
    """Return the bound in ticks that the solver's floating-point bound supports.

    Parameters
    ----------
    span
        Ticks of a known schedule, which the bound never exceeds.
    """
    if answer.exact and answer.solved and answer.bound >= span * (1 - TOLERANCE):
        return span
    # Makespans are sums of costs, so they are multiples of the costs' common divisor.
    grid = problem.granularity
    safe = max(0, math.floor(answer.bound * (1 - TOLERANCE)))
    return min(span, -(-safe // grid) * grid)
