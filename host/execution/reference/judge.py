"""Compares an execution with float32, and looks closer where the two are apart.

Outputs within the limit of `pimloop.host.execution.accuracy` and integers that are equal need no
more. Otherwise

- the run's decisions (`decisions`) are held to their margins, and float32 is run again with them,
  so that what follows a decision is compared with float32 given the same one;
- the limits are measured (`sensitivity`): a model that amplifies rounding does so in float32 too,
  when the same values are rounded.

So nothing passes that rounding does not explain, and nothing fails that it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pimloop.host.cpu.operators import run_reference
from pimloop.host.execution.accuracy import Comparison, compare, compared_tensors
from pimloop.host.execution.execution import Execution
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.reference.decisions import (
    IntegerComparison,
    compare_decision,
    decisions,
    forced,
    own,
)
from pimloop.host.execution.reference.sensitivity import Spread, measure
from pimloop.host.models.graph import Array


@dataclass(frozen=True)
class Verdict:
    """What a comparison with float32 found."""

    comparisons: list[Comparison] = field(default_factory=list)
    #: Of integer outputs, and of decisions behind the outputs that differ.
    integers: list[IntegerComparison] = field(default_factory=list)


def judge(
    executor: Executor,
    execution: Execution,
    feeds: Mapping[str, Array],
    wanted: Mapping[str, Array],
) -> Verdict:
    """Compare the last run of an executor with float32.

    Parameters
    ----------
    executor, execution
        The run; what it left in CPU memory is looked at.
    feeds
        The model's inputs.
    wanted
        Float32 values of the model's outputs and of `compared_tensors`, on the same inputs.
    """
    graph, assignment = executor.graph, executor.assignment
    names = compared_tensors(graph)
    computed = execution.values
    comparisons = compare(graph, assignment, computed, {name: wanted[name] for name in names})
    integers = [
        _exact(name, computed[name], wanted[name])
        for name in graph.outputs
        if graph.tensors[name].dtype.kind in "iub"
    ]
    if all(comparison.passed for comparison in comparisons) and all(
        integer.passed for integer in integers
    ):
        return Verdict(comparisons, integers)
    return _Closer(executor, execution, feeds, wanted).judge(comparisons, integers)


def _exact(name: str, computed: Array, wanted: Array) -> IntegerComparison:
    different = int(np.count_nonzero(computed != wanted))
    return IntegerComparison(name, computed.size, different, different, "exact")


class _Closer:
    """The second look at one execution."""

    def __init__(
        self,
        executor: Executor,
        execution: Execution,
        feeds: Mapping[str, Array],
        wanted: Mapping[str, Array],
    ) -> None:
        self._graph = executor.graph
        self._assignment = executor.assignment
        self._wanted = wanted
        self._made = decisions(executor.graph, tuple(wanted))
        read = dict.fromkeys(
            n for decision in self._made for n in (*decision.reads, *decision.results)
        )
        self._run = {**execution.values, **executor.values(tuple(read))}
        self._graph_given = forced(self._graph, self._made)
        given = {name: self._run[name] for decision in self._made for name in decision.results}
        self._feeds = {**feeds, **given}
        self._float32 = self._given_the_decisions(tuple(read))

    def judge(self, comparisons: list[Comparison], integers: list[IntegerComparison]) -> Verdict:
        results = {name for decision in self._made for name in decision.results}
        tensors = self._graph_given.tensors
        continuous = {
            name: value
            for name, value in self._float32.items()
            if tensors[name].dtype.kind == "f"
            and name not in results
            and name not in map(own, results)
        }
        spread = measure(self._graph_given, self._assignment, self._feeds, continuous)
        decided = self._decided(spread)
        again = compare(
            self._graph,
            self._assignment,
            self._run,
            {comparison.tensor: self._float32[comparison.tensor] for comparison in comparisons},
        )
        differing = ", ".join(decided)
        return Verdict(
            [
                first if first.passed else self._measured(second, spread, differing)
                for first, second in zip(comparisons, again, strict=True)
            ],
            self._integers(integers, decided),
        )

    def _given_the_decisions(self, read: tuple[str, ...]) -> dict[str, Array]:
        """Return float32 values given the run's decisions, and what float32 decides itself."""
        results = [name for decision in self._made for name in decision.results]
        names = [n for n in dict.fromkeys((*self._wanted, *read)) if n not in results]
        made = run_reference(
            self._graph_given,
            self._feeds,
            outputs=(*names, *(own(name) for name in results)),
        )
        given = {name: self._run[name] for name in results if name in self._wanted}
        return {**made, **given}

    def _decided(self, spread: Spread) -> dict[str, IntegerComparison]:
        """Return the decisions that differ from float32's, by tensor."""
        bounds = {name: spread.bound(name) for name in spread.elements}
        compared: dict[str, IntegerComparison] = {}
        for decision in self._made:
            own_values = {name: self._float32[own(name)] for name in decision.results}
            constants = {
                name: self._graph.value(name)
                for name in decision.node.inputs
                if name in self._graph.constants
            }
            float32 = {**constants, **self._float32, **own_values}
            for comparison in compare_decision(decision, self._run, float32, bounds):
                compared[comparison.tensor] = comparison
        return compared

    def _measured(self, comparison: Comparison, spread: Spread, decided: str) -> Comparison:
        """Return a comparison given the run's decisions with the limit that was measured."""
        limit = comparison.limit
        if comparison.tensor in spread.relative_l2:
            limit = max(limit, spread.limit(comparison.tensor))
        return replace(comparison, limit=limit, measured=True, given=decided or None)

    def _integers(
        self, outputs: list[IntegerComparison], decided: Mapping[str, IntegerComparison]
    ) -> list[IntegerComparison]:
        """Return the outputs, each with what explains it, and the decisions behind them."""
        behind = dict(decided)
        integers = []
        for output in outputs:
            decision = behind.pop(output.tensor, None)
            if decision is None and decided:
                given = self._float32[output.tensor]
                unlike = int(np.count_nonzero(self._run[output.tensor] != given))
                decision = replace(output, beyond=unlike, rule=f"given {', '.join(decided)}")
            elif decision is not None and output.different:
                # As float32 by itself has it; half precision depends on where a session ends.
                decision = replace(decision, different=output.different)
            integers.append(decision or output)
        return [*integers, *behind.values()]
