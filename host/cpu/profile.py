"""What every operator takes on every CPU device, and what entering a segment takes.

An operator in a session of its own takes its own time and that of the call: handing over, finding
the session's data again, results in memory of their own. In a long segment only the first operator
pays that. So the whole model is timed in one session and in a session for each operator, both in
rounds of their own, as executions are: another session between them would empty the caches. With n
operators, sum(alone) = whole + (n - 1) entry gives the entry, and an operator is what it takes
alone less the entry, scaled so that all operators and one entry are the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from host.cpu.buffers import TensorBuffers
from host.cpu.stretches import SessionCache, Stretch, device_threads
from host.cpu.timing import Step, Timing, time_rounds
from host.models.graph import Array, Graph, Node

#: Blocks of rounds that alternate between the whole and the single operators: what else the
#: machine does changes over seconds.
BLOCKS = 2

#: What is left to an operator that takes no longer alone than the entry, as a share of its time
#: alone: no operator is free.
LEAST = 1e-3

_WHOLE = "whole model"


@dataclass(frozen=True)
class CpuProfile:
    """Times of one model on the CPU devices."""

    node_us: Mapping[str, Mapping[str, float]]  # device -> node id -> time without the entry
    entry_us: Mapping[str, float]  # device -> what a segment takes beside its operators
    disturbed: bool  # not trusted


def profile_cpu(
    graph: Graph,
    feeds: Mapping[str, Array],
    sessions: SessionCache,
    keep: Collection[str] = (),
    rounds: int = 10,
) -> CpuProfile:
    """Time all operators of a model on all CPU devices.

    Parameters
    ----------
    graph, feeds
        The model and its inputs.
    sessions
        Where the sessions are kept; those of the whole model serve the schedules too.
    keep
        Tensors that an execution keeps.
    rounds
        Of each measurement.

    Raises
    ------
    PimloopError
        When ONNX Runtime cannot run an operator; the message names it.
    """
    buffers = TensorBuffers(graph)
    for name, value in feeds.items():
        buffers.store(name, value)
    node_us: dict[str, Mapping[str, float]] = {}
    entry_us: dict[str, float] = {}
    disturbed = False
    for device in device_threads():
        parallel = device == "cpu_parallel"

        def step(
            name: str, nodes: tuple[Node, ...], device: str = device, parallel: bool = parallel
        ) -> Step:
            return Step(
                name, sessions.bind(graph, Stretch(device, nodes), buffers, keep).run, parallel
            )

        # The single ones first: they fill the buffers that the others read.
        alone = [step(node.id, (node,)) for node in graph.nodes]
        times = _alternating((alone, [step(_WHOLE, graph.nodes)]), rounds)
        disturbed |= any(timing.disturbed for listed in times.values() for timing in listed)
        by_name = {name: mean(timing.us for timing in listed) for name, listed in times.items()}
        whole_us = by_name.pop(_WHOLE)
        entry_us[device], node_us[device] = without_entry(whole_us, by_name)
    return CpuProfile(node_us, entry_us, disturbed)


def without_entry(whole_us: float, alone_us: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """Return the entry, and each operator without it; all of them and one entry are the whole.

    >>> without_entry(16.0, {"a": 9.0, "b": 15.0})
    (8.0, {'a': 1.0, 'b': 7.0})
    >>> without_entry(16.0, {"a": 5.0, "b": 10.0})
    (0.0, {'a': 5.333333333333333, 'b': 10.666666666666666})
    """
    boundaries = len(alone_us) - 1
    spare = (sum(alone_us.values()) - whole_us) / boundaries if boundaries else 0.0
    entry = min(max(spare, 0.0), whole_us * (1 - LEAST))
    net = {name: max(us - entry, LEAST * us) for name, us in alone_us.items()}
    total = sum(net.values())
    return entry, {name: us * ((whole_us - entry) / total) for name, us in net.items()}


def _alternating(blocks: Sequence[Sequence[Step]], rounds: int) -> dict[str, list[Timing]]:
    """Return the timings of each step, one for each time that its block was run."""
    found: dict[str, list[Timing]] = {}
    for _ in range(BLOCKS):
        for steps in blocks:
            for name, timing in time_rounds(steps, rounds=-(-rounds // BLOCKS)).items():
                found.setdefault(name, []).append(timing)
    return found
