"""Bytes of activations that one execution of a graph holds, by what holds them.

CPU memory has a buffer for what a segment reads or hands over, and for nothing else: what is made
and used within a segment lives in ONNX Runtime's memory (`pimloop.host.cpu.session_memory`), and
what only the PIM makes and reads has no buffer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pimloop.host.cpu.segments import Segment, bound_tensors, split
from pimloop.host.cpu.session_memory import intermediate_bytes, widened_bytes
from pimloop.host.devices.kinds import PIM_MEMORY, SplitDevice, is_offloaded, kinds
from pimloop.host.execution.accuracy import COMPARED_BYTES, compared_tensors
from pimloop.host.execution.verification import CHECKED_BYTES, LARGEST_BYTES, WIDENED_BYTES
from pimloop.host.models.graph import Graph, Node
from pimloop.host.operators import Operation

#: Of an element in device memory and in the operands of a check.
_BF16_BYTES = 2

#: Of an element in float32.
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Held:
    """Bytes of one execution; constants apart."""

    buffers: int  # of CPU memory
    segment: int  # of the segment that takes most while it runs, or while it is computed again
    waiting: int  # operands and results of all checks
    check: int  # temporary, of the check that takes most


def held(graph: Graph, assignment: Mapping[str, str], operations: Mapping[str, Operation]) -> Held:
    """Return what an execution of `assignment` holds.

    Parameters
    ----------
    graph, assignment
        The model, and the device of every node.
    operations
        How the PIM runs its nodes.
    """
    segments = [s for s in split(graph, assignment) if not only_on_pim(s.device)]
    on_pim = [node for node in graph.nodes if is_offloaded(assignment[node.id])]
    checked = {name for node in on_pim for name in (*operations[node.id].operands, node.outputs[0])}
    return Held(
        buffers=_nbytes(graph, _buffered(graph, segments)),
        segment=max((_segment_bytes(graph, segment) for segment in segments), default=0),
        waiting=sum(_BF16_BYTES * graph.tensors[n].elements for n in checked - {*graph.constants}),
        check=max((_check_bytes(graph, node, operations[node.id]) for node in on_pim), default=0),
    )


def only_on_pim(device: str) -> bool:
    """Return whether the CPU computes nothing of a device's operators."""
    kind = kinds()[device]
    return kind.offloaded and not isinstance(kind, SplitDevice)


def kept_tensors(graph: Graph) -> tuple[str, ...]:
    """Return what an execution returns: the outputs, and what else is compared."""
    return tuple(dict.fromkeys((*graph.results, *compared_tensors(graph))))


def kept_bytes(graph: Graph) -> int:
    """Return the bytes of what an execution returns."""
    return _nbytes(graph, kept_tensors(graph))


def reference_bytes(graph: Graph) -> int:
    """Return what computing the float32 values of a graph takes, or comparing with them."""
    compared = [graph.tensors[name].elements for name in compared_tensors(graph)]
    inside = intermediate_bytes(graph, graph.nodes, kept_tensors(graph))
    inside += widened_bytes(graph, graph.nodes)
    return max(inside, COMPARED_BYTES * max(compared, default=0))


def timed_bytes(graph: Graph, assignments: Iterable[Mapping[str, str]]) -> int:
    """Return the buffers of executions that are timed: every CPU operator alone has its own."""
    timed = list(assignments)
    names = {*graph.inputs, *graph.outputs} if timed else set()
    for node in graph.nodes:
        if any(not only_on_pim(assignment[node.id]) for assignment in timed):
            names.update((*node.inputs, *node.outputs))
    return _nbytes(graph, names)


def conversion_bytes(graph: Graph, assignment: Mapping[str, str]) -> int:
    """Return the bytes that the times of an execution's conversions are measured on.

    Each is what crosses between the memories, as the host has it and as bfloat16: what has a reader
    in the other memory, and outputs of the PIM.
    """

    def crosses(name: str) -> bool:
        made = graph.producer.get(name)
        if made is not None and isinstance(kinds()[assignment[made.id]], SplitDevice):
            return True
        from_pim = made is not None and is_offloaded(assignment[made.id])
        readers = {
            memory == PIM_MEMORY
            for node in graph.consumers.get(name, ())
            for memory in kinds()[assignment[node.id]].memories
        }
        return (not from_pim) in readers or (from_pim and name in graph.outputs)

    moved = [n for n in graph.tensors if n not in graph.constants and crosses(n)]
    return _nbytes(graph, moved) + sum(_BF16_BYTES * graph.tensors[n].elements for n in moved)


def _buffered(graph: Graph, segments: Sequence[Segment]) -> set[str]:
    kept = kept_tensors(graph)
    buffered = {*graph.inputs, *kept}
    for segment in segments:
        buffered.update(bound_tensors(graph, segment, kept))
    return buffered


def _segment_bytes(graph: Graph, segment: Segment) -> int:
    """Return what a segment takes; what it hands over is made again to be checked."""
    bound = bound_tensors(graph, segment, kept_tensors(graph))
    made = {name for node in segment.nodes for name in node.outputs}
    inside = intermediate_bytes(graph, segment.nodes, bound)
    return inside + widened_bytes(graph, segment.nodes) + _nbytes(graph, bound & made)


def _check_bytes(graph: Graph, node: Node, operation: Operation) -> int:
    *others, largest = sorted(graph.tensors[name].elements for name in operation.operands)
    # As float32 for the operator, then as float64 for the bound.
    single = LARGEST_BYTES * largest + _FLOAT32_BYTES * sum(others)
    operands = max(single, WIDENED_BYTES * sum(others))
    return operands + CHECKED_BYTES * graph.tensors[node.outputs[0]].elements


def _nbytes(graph: Graph, names: Collection[str]) -> int:
    return sum(graph.tensors[n].nbytes for n in names if n and n not in graph.constants)
