"""Times of the CPU's part of an execution, measured on this machine without the simulator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any

import ml_dtypes
import numpy as np

from pimloop.host.common import golden
from pimloop.host.cpu.segments import Segment, SessionCache
from pimloop.host.cpu.timing import (
    WAIT,
    OtherWork,
    Step,
    Timing,
    distrusted,
    parallel_steps,
    shared_out,
    time_rounds,
)
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY, DeviceKind, SplitDevice
from pimloop.host.execution.coexecution import CoexecutedSegments
from pimloop.host.execution.execution import Transfer
from pimloop.host.execution.memories import Memories
from pimloop.host.execution.offload import as_type
from pimloop.host.models.graph import Array, Graph, Node


class CpuTimer:
    """Times what the CPU does in an execution; see `time`.

    Parameters
    ----------
    graph, segments, devices
        What was executed.
    transfers
        Of the run.
    memories
        With the values that the run left.
    kept
        Tensors whose values the execution keeps.
    sessions
        Sessions with packed weights.
    coexecuted
        The operators that are split; None: there are none.
    handed_over
        States that were written before the run or an earlier one.
    """

    def __init__(
        self,
        graph: Graph,
        segments: Sequence[Segment],
        devices: Mapping[str, DeviceKind],
        transfers: Sequence[Transfer],
        memories: Memories,
        kept: Collection[str],
        sessions: SessionCache,
        coexecuted: CoexecutedSegments | None,
        handed_over: Sequence[Transfer] = (),
    ) -> None:
        self._graph = graph
        self._segments = segments
        self._devices = devices
        self._transfers = transfers
        self._memories = memories
        self._kept = kept
        self._sessions = sessions
        self._coexecuted = coexecuted
        self._handed_over = handed_over

    def time(self, rounds: int) -> dict[str, Timing]:
        """Return the times of CPU nodes by id, and of conversions by `Transfer.key`.

        Every segment is timed as it is executed, in the model's order, on the values that the run
        left, with nothing between that an execution does not do; the device is idle meanwhile, and
        where it works in an execution the host waits (`pimloop.host.cpu.timing.WAIT`). In rounds of
        their own each operator then runs in a session of its own, and a segment's time, its entry
        included, is shared out among its operators in those proportions.
        """
        executed = self._executed_steps()
        parallel = parallel_steps(executed)
        on_cpu = [segment for segment in self._segments if self._on_cpu(segment)]
        with OtherWork() as window:
            times = time_rounds(executed, rounds=rounds, window=window)
            # Steps hold their sessions, each set of them a packed copy of the weights.
            del executed
            alone = [
                self._step(node.id, Segment(segment.device, (node,)))
                for segment in on_cpu
                if len(segment.nodes) > 1
                for node in segment.nodes
            ]
            # Once, not among an execution's steps. How long it takes is the same for any values.
            alone += [
                Step(transfer.key, narrowing(np.zeros(transfer.elements, np.float32)))
                for transfer in self._handed_over
            ]
            single = time_rounds(alone, rounds=rounds, window=window) if alone else {}
        if window.busy:
            times = distrusted(times, parallel)
        for segment in on_cpu:
            whole = times.pop(_segment_key(segment))
            names = [node.id for node in segment.nodes]
            if len(names) == 1:
                times[names[0]] = whole
            else:
                times |= shared_out(whole, {name: single[name] for name in names})
        return times | {t.key: single[t.key] for t in self._handed_over}

    def _on_cpu(self, segment: Segment) -> bool:
        kind = self._devices[segment.device]
        return kind.memory == HOST_MEMORY and not kind.offloaded

    def _part(self, segment: Segment, node: Node) -> Step | None:
        """Return the CPU's part of an operator that is split; None: the operator is not."""
        kind = self._devices[segment.device]
        if self._coexecuted is None or not isinstance(kind, SplitDevice):
            return None
        bound = self._coexecuted.bound(node, self._sessions)
        return Step(node.id, bound.run, kind.parts[0].name == "cpu_parallel")

    def _executed_steps(self) -> list[Step]:
        """Return the CPU's part of the run: segments, conversions, waits for the PIM."""
        moved: dict[str, list[Transfer]] = {}
        for transfer in self._transfers:
            if PIM_MEMORY in (transfer.source, transfer.destination):
                moved.setdefault(transfer.tensor, []).append(transfer)

        def conversions(names: Iterable[str]) -> list[Step]:
            return [
                Step(transfer.key, self._conversion(transfer))
                for name in names
                for transfer in moved.pop(name, ())
            ]

        steps: list[Step] = []
        for segment in self._segments:
            here = self._on_cpu(segment)
            if here:
                steps.append(self._step(_segment_key(segment), segment))
            for node in segment.nodes:
                steps += conversions(node.inputs)
                part = self._part(segment, node)
                if part is not None:
                    steps.append(part)
                if not here:
                    steps.append(WAIT)
                steps += conversions(node.outputs)
        return steps

    def _step(self, name: str, segment: Segment) -> Step:
        buffers = self._memories.buffers(HOST_MEMORY)
        bound = self._sessions.bind(self._graph, segment, buffers, self._kept)
        return Step(name, bound.run, segment.device == "cpu_parallel")

    def _conversion(self, transfer: Transfer) -> Callable[[], int]:
        inward = transfer.destination == PIM_MEMORY
        memory = transfer.source if inward else transfer.destination
        # Of a result that is gathered, only some columns move.
        array = self._memories.buffers(memory).array(transfer.tensor)
        values = array.reshape(-1)[: transfer.elements].copy()
        if inward:
            return narrowing(values)
        return widening(golden.to_bf16_bits(values), values.dtype)


def narrowing(values: Array) -> Callable[[], int]:
    """Return what converts values to bfloat16 and says how long it took, nanoseconds."""

    def convert() -> int:
        start = perf_counter_ns()
        values.astype(np.float32, copy=False).astype(ml_dtypes.bfloat16)
        return perf_counter_ns() - start

    return convert


def widening(bits: golden.Bits, dtype: np.dtype[Any]) -> Callable[[], int]:
    """Return what converts bfloat16 to a type and says how long it took, nanoseconds."""

    def convert() -> int:
        start = perf_counter_ns()
        as_type(golden.bf16_to_f32(bits), dtype)
        return perf_counter_ns() - start

    return convert


def _segment_key(segment: Segment) -> str:
    """Return the name of a segment's time among those of its nodes."""
    return f"segment of {len(segment.nodes)} from {segment.nodes[0].id}"
