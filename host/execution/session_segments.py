"""Segments that are one session of ONNX Runtime each, in the memory of their device."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.segments import Segment, SessionCache
from pimloop.host.devices.kinds import DeviceKind
from pimloop.host.execution.execution import Execution
from pimloop.host.execution.finite import non_finite
from pimloop.host.execution.memories import Memories
from pimloop.host.execution.reference.segments import segment_values, wrong_results
from pimloop.host.execution.verification import Verifier, paused
from pimloop.host.models.graph import Array, Graph


class SessionSegments:
    """The part of one execution that ONNX Runtime computes.

    Parameters
    ----------
    graph
        The model.
    segments
        Those of devices that run sessions.
    devices
        By name.
    memories
        Of the execution.
    sessions
        What opens the sessions and keeps them.
    checks
        The same of sessions that compute a result again.
    kept
        Tensors whose values the execution keeps.
    verifier
        Pauses while a session runs; None: there is none.

    Raises
    ------
    PimloopError
        When ONNX Runtime has no such operator; the message names the node.
    """

    def __init__(
        self,
        graph: Graph,
        segments: Sequence[Segment],
        devices: Mapping[str, DeviceKind],
        memories: Memories,
        sessions: SessionCache,
        checks: SessionCache,
        kept: Collection[str],
        verifier: Verifier | None,
    ) -> None:
        self._graph = graph
        self._segments = segments
        self._devices = devices
        self._memories = memories
        self._sessions = sessions
        self._checks = checks
        self._kept = kept
        self._verifier = verifier
        for segment in segments:
            sessions.prepare(graph, segment, kept)

    def run(self, segment: Segment, execution: Execution) -> None:
        """Bring what a segment reads to its memory, and run it there."""
        memory = self._devices[segment.device].memory
        self._memories.bring(_read_from_outside(self._graph, segment), memory, execution)
        with paused(self._verifier):
            buffers = self._memories.buffers(memory)
            self._sessions.bind(self._graph, segment, buffers, self._kept).run()

    def results(self, segment: Segment) -> tuple[str, ...]:
        """Return the tensors that a segment hands over."""
        return self._sessions.results(self._graph, segment, self._kept)

    def note_non_finite(self, execution: Execution) -> None:
        """Note results with NaN or infinities that segments of the last run handed over."""
        for segment in self._segments:
            for name in self.results(segment):
                unlike = non_finite(self._tensors(segment).array(name))
                if unlike is not None:
                    execution.non_finite[name] = unlike

    def containing(self, node_id: str) -> Segment:
        """Return the segment of an operator that a session computes."""
        return next(s for s in self._segments if any(node.id == node_id for node in s.nodes))

    def inside(self, segment: Segment) -> dict[str, Array]:
        """Return every float result of a segment, from the inputs that the last run left."""
        made = [name for node in segment.nodes for name in node.outputs if name]
        floats = [name for name in made if self._graph.tensors[name].dtype.kind == "f"]
        array = self._tensors(segment).array
        return segment_values(self._graph, segment, array, floats, self._checks)

    def wrong(self) -> list[str]:
        """Return which results of the last run their operators do not give again, in words."""
        return [
            text
            for segment in self._segments
            for text in wrong_results(
                self._graph,
                segment,
                self._tensors(segment).array,
                self.results(segment),
                self._checks,
            )
        ]

    def computed_again(self, names: Collection[str], known: Collection[str]) -> dict[str, Array]:
        """Return tensors that segments of the last run made and did not hand over.

        Parameters
        ----------
        names
            The tensors wanted; those that no segment made are left out.
        known
            Those that need not be computed again.
        """
        values: dict[str, Array] = {}
        handed_over = {*known}
        for segment in self._segments:
            made = {name for node in segment.nodes for name in node.outputs}
            handed_over.update(self.results(segment))
            inner = [name for name in names if name in made and name not in handed_over]
            if inner:
                array = self._tensors(segment).array
                values |= segment_values(self._graph, segment, array, inner, self._checks)
        return values

    def _tensors(self, segment: Segment) -> TensorBuffers:
        return self._memories.buffers(self._devices[segment.device].memory)


def _read_from_outside(graph: Graph, segment: Segment) -> list[str]:
    """Return the activations that a segment reads and does not make, each once."""
    made = {name for node in segment.nodes for name in node.outputs}
    read = dict.fromkeys(name for node in segment.nodes for name in node.inputs if name)
    return [name for name in read if name not in made and name not in graph.constants]
