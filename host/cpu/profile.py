"""What every operator takes on every CPU device, and what entering a segment takes.

An operator in a session of its own takes its own time and that of the call: handing over, finding
the session's data again, results in memory of their own. In a long segment only the first operator
pays that. Three things are timed, each in rounds of its own, as executions are (another session
between them would empty the caches): every operator alone; the same with each weightless segment
(consecutive operators without large constants) as one session; the whole model as one session.

What weightless segments save for each boundary inside them is the call. Their operators are what
they take alone less the call, scaled so that they and one call are the segment; the others (the
products) are scaled so that all operators and one call are the whole. A product saves more than
the call where the threads are awake already, so a call taken from the whole model alone would be
too long, and short operators without it too cheap. Segments with weights are not timed: each
session packs a copy of its weights.

The entry into a segment is the call and what else a change of device takes: sleeping threads wake,
another core's cache has the inputs. It is measured in a schedule: each of those parts on the device
that was faster for it, in the model's order. What a part takes beside its operators, after a part
on another device, is the entry into its device.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import mean

from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.segments import Segment, SessionCache, device_threads
from pimloop.host.cpu.timing import OtherWork, Step, Timing, time_rounds
from pimloop.host.models.graph import Array, Graph, Node

#: Times that the blocks of rounds take turns: what else the machine does changes over seconds.
TURNS = 2

#: An operator with a larger constant is no part of a weightless segment, bytes.
WEIGHT_BYTES = 1 << 16

#: What is left to an operator that takes no longer alone than the call, as a share of its time
#: alone: no operator is free.
LEAST = 1e-3


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
    buffers: TensorBuffers | None = None,
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
    buffers
        Of the graph, to execute on; default: its own.

    Raises
    ------
    PimloopError
        When ONNX Runtime cannot run an operator; the message names it.
    """
    buffers = TensorBuffers(graph) if buffers is None else buffers
    for name, value in feeds.items():
        buffers.store(name, value)
    with OtherWork() as window:
        clock = _Clock(graph, sessions, buffers, keep, rounds, window)
        devices = [clock.operators(device) for device in device_threads()]
        faster = [min(devices, key=lambda d: d.part_us[i]).name for i in range(len(clock.parts))]
        devices = [clock.entered(device, faster) for device in devices]
    return CpuProfile(
        {device.name: device.node_us for device in devices},
        {device.name: device.entry_us for device in devices},
        clock.disturbed or window.busy,
    )


def profiled_segments(graph: Graph) -> list[list[Segment]]:
    """Return the segments that `profile_cpu` times, those together that are open at a time."""
    alone = [(node,) for node in graph.nodes]
    parts = _cut(graph, _weightless(graph))
    blocks = [
        [Segment(device, nodes) for nodes in segments]
        for device in device_threads()
        for segments in ([graph.nodes], [*alone, *parts])
    ]
    # Where the entry is measured, each part is on one of the devices.
    return [*blocks, [Segment("cpu_parallel", nodes) for nodes in parts]]


@dataclass(frozen=True)
class _Device:
    """Times on one device."""

    name: str
    whole_us: float  # all operators as one session
    part_us: Sequence[float]  # those of `_Clock.parts`, a session each
    node_us: Mapping[str, float]
    entry_us: float


class _Clock:
    """Times the operators of one model in sessions of several lengths."""

    def __init__(
        self,
        graph: Graph,
        sessions: SessionCache,
        buffers: TensorBuffers,
        keep: Collection[str],
        rounds: int,
        window: OtherWork,
    ) -> None:
        self._graph, self._sessions, self._buffers = graph, sessions, buffers
        self._keep, self._rounds, self._window = keep, rounds, window
        self._weightless = list(_weightless(graph))
        self.parts = _cut(graph, self._weightless)
        self.disturbed = False

    def operators(self, device: str) -> _Device:
        """Return the device's operators without the call; the call stands for the entry."""

        def steps() -> list[list[Step]]:
            # The single ones first: they fill the buffers that the others read. Products are
            # single ones in both.
            single = {node.id: self._step(device, (node,)) for node in self._graph.nodes}
            cut = [
                single[part[0].id] if len(part) == 1 else self._step(device, part)
                for part in self.parts
            ]
            return [list(single.values()), cut]

        whole_us, (alone, part_us) = self._timed(device, steps)
        times = {part[0].id: us for part, us in zip(self.parts, part_us, strict=True)}
        call_us, node_us = without_call(
            whole_us,
            {node.id: us for node, us in zip(self._graph.nodes, alone, strict=True)},
            {tuple(node.id for node in part): times[part[0].id] for part in self._weightless},
        )
        return _Device(device, whole_us, part_us, node_us, call_us)

    def entered(self, device: _Device, schedule: Sequence[str]) -> _Device:
        """Return times with the entry of a schedule, a device for each part, if it enters this."""
        changes = enumerate(pairwise(schedule), 1)
        entered = [i for i, (before, after) in changes if before != after == device.name]
        if not entered:
            return device
        cut = list(zip(schedule, self.parts, strict=True))
        again_us, (times_us,) = self._timed(
            device.name, lambda: [[self._step(name, part) for name, part in cut]]
        )
        # The machine is faster or slower by now than when the operators were timed.
        drift = again_us / device.whole_us
        beside = mean(
            times_us[i] / drift - sum(device.node_us[node.id] for node in self.parts[i])
            for i in entered
        )
        entry_us, node_us = with_entry(beside, device.whole_us, device.node_us)
        return replace(device, node_us=node_us, entry_us=entry_us)

    def _step(self, device: str, nodes: tuple[Node, ...]) -> Step:
        segment = self._sessions.bind(
            self._graph, Segment(device, nodes), self._buffers, self._keep
        )
        return Step(nodes[0].id, segment.run, device == "cpu_parallel")

    def _timed(
        self, device: str, steps: Callable[[], list[list[Step]]]
    ) -> tuple[float, list[list[float]]]:
        """Return the time of the whole model on a device, and of each step of each block.

        The whole is timed before and after the blocks, so that a machine that becomes faster or
        slower does so for both. Not between them: a step holds its session, that a packed copy of
        its weights, and two copies of all weights would be held at a time.
        """
        before = self._whole(device)
        # The blocks have no name here, which would keep them open while the whole is timed again.
        times = self._turns(steps())
        return mean((before, self._whole(device))), times

    def _whole(self, device: str) -> float:
        return self._turns([[self._step(device, self._graph.nodes)]], turns=1)[0][0]

    def _turns(self, blocks: Sequence[Sequence[Step]], turns: int = TURNS) -> list[list[float]]:
        """Return the time of each step of each block; blocks take turns."""
        timings: list[list[list[Timing]]] = [[[] for _ in steps] for steps in blocks]
        for _ in range(turns):
            for steps, collected in zip(blocks, timings, strict=True):
                turn = time_rounds(steps, rounds=-(-self._rounds // TURNS), window=self._window)
                for step, listed in zip(steps, collected, strict=True):
                    listed.append(turn[step.name])
        self.disturbed |= any(t.disturbed for block in timings for listed in block for t in listed)
        return [[mean(timing.us for timing in listed) for listed in block] for block in timings]


def without_call(
    whole_us: float,
    alone_us: Mapping[str, float],
    segment_us: Mapping[tuple[str, ...], float] | None = None,
) -> tuple[float, dict[str, float]]:
    """Return the call, and each operator without it; all of them and one call are the whole.

    Parameters
    ----------
    whole_us
        All operators as one session.
    alone_us
        Each as a session of its own.
    segment_us
        Segments, disjoint, as a session each. Where none has two operators, the whole is one.

    >>> without_call(16.0, {"a": 9.0, "b": 15.0})
    (8.0, {'a': 1.0, 'b': 7.0})
    >>> without_call(16.0, {"a": 5.0, "b": 10.0})
    (0.0, {'a': 5.333333333333333, 'b': 10.666666666666666})
    >>> without_call(20.0, {"product": 20.0, "a": 5.0, "b": 7.0}, {("a", "b"): 8.0})
    (4.0, {'a': 1.0, 'b': 3.0, 'product': 12.0})
    """
    if not segment_us or max(map(len, segment_us)) == 1:
        segment_us = {tuple(alone_us): whole_us}
    boundaries = sum(len(names) - 1 for names in segment_us)
    alone = sum(alone_us[name] for names in segment_us for name in names)
    saved = (alone - sum(segment_us.values())) / boundaries if boundaries else 0.0
    call = min(max(saved, 0.0), whole_us * (1 - LEAST))
    net = {name: max(us - call, LEAST * us) for name, us in alone_us.items()}
    inside: dict[str, float] = {}
    for names, us in segment_us.items():
        inside |= _scaled({name: net[name] for name in names}, max(us - call, LEAST * us))
    others = {name: us for name, us in net.items() if name not in inside}
    left = whole_us - call - sum(inside.values())
    if others and left > LEAST * sum(others.values()):
        return call, inside | _scaled(others, left)
    return call, _scaled(inside | others, whole_us - call)


def with_entry(
    entry_us: float, whole_us: float, node_us: Mapping[str, float]
) -> tuple[float, dict[str, float]]:
    """Return the entry and the operators, scaled so that all of them and one entry are the whole.

    An entry below nothing is none, and one that leaves operators nothing leaves them a thousandth.

    >>> with_entry(4.0, 16.0, {"a": 3.0, "b": 9.0})
    (4.0, {'a': 3.0, 'b': 9.0})
    >>> with_entry(-4.0, 16.0, {"a": 3.0, "b": 9.0})
    (0.0, {'a': 4.0, 'b': 12.0})
    """
    entry = min(max(entry_us, 0.0), whole_us * (1 - LEAST))
    return entry, _scaled(node_us, whole_us - entry)


def _scaled(times: Mapping[str, float], total: float) -> dict[str, float]:
    factor = total / sum(times.values())
    return {name: us * factor for name, us in times.items()}


def _weightless(graph: Graph) -> Iterator[tuple[Node, ...]]:
    """Yield the longest segments of operators without large constants."""

    def weighs(node: Node) -> bool:
        return any(
            name in graph.constants and graph.tensors[name].nbytes > WEIGHT_BYTES
            for name in node.inputs
        )

    for heavy, nodes in groupby(graph.nodes, weighs):
        if not heavy:
            yield tuple(nodes)


def _cut(graph: Graph, segments: Iterable[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
    """Return all operators in their order: those of a segment together, each other one alone."""
    inside = {nodes[0].id: nodes for nodes in segments}
    rest = {node.id for nodes in inside.values() for node in nodes[1:]}
    return [inside.get(node.id, (node,)) for node in graph.nodes if node.id not in rest]
