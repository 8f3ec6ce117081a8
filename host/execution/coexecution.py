"""Operators that the CPU and the PIM compute together, each some columns of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.segments import BoundSegment, Segment, SessionCache
from pimloop.host.devices.kinds import HOST_MEMORY, DeviceKind, SplitDevice
from pimloop.host.execution.execution import Execution
from pimloop.host.execution.memories import Memories
from pimloop.host.execution.offload import OffloadedSegments
from pimloop.host.execution.parts import columns_part
from pimloop.host.execution.reference.segments import wrong_results
from pimloop.host.execution.verification import Verifier, paused
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators import Operation
from pimloop.host.operators.product import Product


def first_columns(
    graph: Graph, assignment: Mapping[str, str], devices: Mapping[str, DeviceKind]
) -> dict[str, int]:
    """Return how many columns the PIM computes of each operator that is split, by id.

    Raises
    ------
    PimloopError
        When a share is no whole number of columns.
    """
    split = {}
    for node in graph.nodes:
        kind = devices[assignment[node.id]]
        if isinstance(kind, SplitDevice):
            columns = graph.tensors[node.outputs[0]].shape[-1:]
            split[node.id] = kind.first_columns(columns[0] if columns else 1, node.id)
    return split


def cpu_part(
    graph: Graph, node: Node, operation: Operation, columns: int, *, copy: bool = False
) -> Graph:
    """Return, as `columns_part`, what the CPU computes where the PIM computes the first columns.

    Parameters
    ----------
    graph, node, operation
        The operator, and how the PIM runs it.
    columns
        Of the PIM.
    copy
        As of `columns_part`.
    """
    assert isinstance(operation, Product)
    return columns_part(graph, node, operation, slice(columns, None), copy=copy)


class CoexecutedSegments:
    """The operators of one execution that are split.

    Parameters
    ----------
    graph
        The model.
    segments
        Those of one split operator each.
    columns
        How many columns the PIM computes of each, by id.
    devices, operations
        As of the execution.
    offloaded
        The PIM's part of the execution.
    memories
        Of the execution.
    sessions
        What opens the CPU's sessions and keeps them.
    checks
        The same of sessions that compute a result again.
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
        columns: Mapping[str, int],
        devices: Mapping[str, DeviceKind],
        operations: Mapping[str, Operation],
        offloaded: OffloadedSegments,
        memories: Memories,
        sessions: SessionCache,
        checks: SessionCache,
        verifier: Verifier | None,
    ) -> None:
        self._columns = columns
        self._offloaded = offloaded
        self._memories = memories
        self._sessions = sessions
        self._checks = checks
        self._verifier = verifier
        self._parts: dict[str, Graph] = {}
        self._buffers: dict[str, TensorBuffers] = {}
        self._segments: dict[str, Segment] = {}  # of the CPU's part
        for segment in segments:
            kind = devices[segment.device]
            assert isinstance(kind, SplitDevice)
            for node in segment.nodes:
                operation = operations[node.id]
                part = cpu_part(graph, node, operation, columns[node.id], copy=True)
                self._parts[node.id] = part
                self._buffers[node.id] = TensorBuffers(part)
                self._segments[node.id] = Segment(kind.parts[0].name, (node,))
                sessions.prepare(part, self._segments[node.id])

    def run(self, segment: Segment, execution: Execution) -> None:
        """Run the operators of a segment on both sides at the same time."""
        for node in segment.nodes:
            part, buffers = self._parts[node.id], self._buffers[node.id]
            self._memories.bring(part.inputs, HOST_MEMORY, execution)
            for name in part.inputs:
                buffers.store(name, self._memories.buffers(HOST_MEMORY).array(name))
            bound = self.bound(node, self._sessions)

            def compute(
                bound: BoundSegment = bound, buffers: TensorBuffers = buffers, node: Node = node
            ) -> Array:
                with paused(self._verifier):
                    bound.run()
                return buffers.array(node.outputs[0])

            self._offloaded.run_split(node, self._columns[node.id], compute, execution)

    def bound(self, node: Node, sessions: SessionCache) -> BoundSegment:
        """Return the CPU's part of an operator ready to run, on what the last run left."""
        return sessions.bind(self._parts[node.id], self._segments[node.id], self._buffers[node.id])

    def wrong(self) -> list[str]:
        """Return which of the CPU's columns its operators do not give again, in words."""
        return [
            text
            for name, part in self._parts.items()
            for text in wrong_results(
                part, self._segments[name], self._buffers[name].array, part.outputs, self._checks
            )
        ]
