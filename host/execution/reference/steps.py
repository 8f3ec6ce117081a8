"""How far rounding moves the logits of each step of a generation, measured.

As `sensitivity` does for one run: the steps run in float32 with every value rounded that their
placements round, several times, each time elsewhere. A run keeps its own cache, so that what a step
does to errors that earlier steps left there is part of what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pimloop.host.execution.reference.sensitivity import RUNS, Deviations, Rounded, Spread
from pimloop.host.models.generator import LOGITS, Cache, Generator
from pimloop.host.models.graph import Array, Graph


def measure_steps(
    generator: Generator,
    placed: Sequence[tuple[Graph, Mapping[str, str]]],
    prompt: Array,
    tokens: Sequence[Sequence[int]],
    wanted: Mapping[int, Array],
) -> dict[int, Spread]:
    """Return how far the logits of the steps in `wanted` are from it when the placements round.

    Parameters
    ----------
    generator
        The model.
    placed
        Graph and assignment of the first step, and of those that follow it.
    prompt
        (batch, prompt length) int64.
    tokens
        Those that the steps gave, in order, one of each sequence.
    wanted
        Float32 logits, by the number of the step, from 0, after the same tokens.
    """
    sessions = [
        Rounded(graph, assignment, graph.results)
        for graph, assignment in placed[: max(wanted, default=-1) + 1]
    ]
    deviations = {index: Deviations({LOGITS: logits}) for index, logits in wanted.items()}
    for run in range(RUNS):
        cache = Cache(generator)
        feeds: Mapping[str, Array] = {"input_ids": prompt}
        for index in range(max(wanted, default=-1) + 1):
            values = sessions[min(index, len(sessions) - 1)].run(feeds, run)
            if index in deviations:
                deviations[index].add(values)
            cache.add(values)
            feeds = cache.feeds(tokens[index])
    return {index: deviation.spread() for index, deviation in deviations.items()}
