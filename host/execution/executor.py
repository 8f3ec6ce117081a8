"""Executes an assignment node -> device over a graph, with explicit transfers.

A tensor moves at most once to each memory, weights are resident in device memory, and every result
of the PIM device is checked against the golden model (`pimloop.host.execution.verification`). The
values a run leaves in CPU memory also serve `time_cpu`, which times the CPU side without the
simulator.

The executor goes through segments of one device each. What a segment is on a device, one session
or operators that are handed to a driver, is for the device's part of the execution:
`session_segments` and `offload`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pimloop.errors import PimloopError
from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.segments import Segment, SessionCache, split
from pimloop.host.cpu.timing import Timing
from pimloop.host.devices.kinds import (
    HOST_MEMORY,
    DeviceKind,
    Devices,
    SplitDevice,
    built_in_devices,
)
from pimloop.host.execution.coexecution import CoexecutedSegments, first_columns
from pimloop.host.execution.cpu_times import CpuTimer
from pimloop.host.execution.device_states import filled_rows
from pimloop.host.execution.execution import Execution, Progress, Transfer
from pimloop.host.execution.finite import NonFinite, Reference, first_non_finite, kinds
from pimloop.host.execution.memories import Memories
from pimloop.host.execution.offload import OffloadedSegments
from pimloop.host.execution.session_segments import SessionSegments
from pimloop.host.execution.verification import Verifier
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.inputs import check_inputs
from pimloop.host.operators import Operation, overflowing_constant
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.resident import ResidentModel


class Executor:
    """Runs one assignment on one device.

    Parameters
    ----------
    graph
        The model.
    assignment
        The device of every node.
    operations
        How the PIM runs its nodes (`pimloop.host.operators.pim_capable`).
    resident
        The model on the PIM device; None when no node is assigned to it. It stays open: other
        executors may use it after this one.
    verifier
        Checks every result of the PIM; None: no check.
    progress
        Called before each operator and each weight.
    keep
        Tensors to return besides the model's outputs.
    sessions
        CPU sessions to execute in, which other executors may share; default: its own, without
        packed weights.
    checks
        Sessions that compute results of the CPU again, which other executors may share; default:
        its own.
    devices
        Of the platform, by name; default: the built-in ones.

    Raises
    ------
    PimloopError
        When the assignment does not fit the graph, or an operator cannot run on its device.
    """

    def __init__(
        self,
        graph: Graph,
        assignment: Mapping[str, str],
        operations: Mapping[str, Operation],
        resident: ResidentModel | None = None,
        *,
        verifier: Verifier | None = None,
        progress: Callable[[Progress], None] | None = None,
        keep: tuple[str, ...] = (),
        sessions: SessionCache | None = None,
        checks: SessionCache | None = None,
        devices: Devices | None = None,
    ) -> None:
        self._devices = built_in_devices() if devices is None else devices
        check_assignment(graph, assignment, operations, self._devices)
        self.graph = graph
        self.assignment = assignment
        self._progress = progress or (lambda _: None)
        self._memories = Memories(graph, assignment, self._devices)
        self._kept = tuple(dict.fromkeys((*graph.outputs, *keep)))
        self._segments = split(graph, assignment)
        self._last_run = Execution()
        self._offloaded: OffloadedSegments | None = None
        self._coexecuted: CoexecutedSegments | None = None
        sessions = SessionCache(prepack=False) if sessions is None else sessions
        checks = SessionCache(prepack=False) if checks is None else checks
        offloaded = [node for node in graph.nodes if self._kind(node.id).offloaded]
        columns = first_columns(graph, assignment, self._devices)
        if offloaded:
            if resident is None:
                raise PimloopError("the assignment uses the PIM, but no device is open")
            self._offloaded = OffloadedSegments(
                graph, offloaded, columns, operations, self._readers, resident, self._memories,
                self._kept, verifier, self._progress,
            )  # fmt: skip
            self._coexecuted = CoexecutedSegments(
                graph, [s for s in self._segments if self._is_split(s)], columns, self._devices,
                operations, self._offloaded, self._memories, sessions, checks,
                verifier,
            )  # fmt: skip
        self._sessions = SessionSegments(
            graph,
            [segment for segment in self._segments if not self._is_offloaded(segment)],
            self._devices,
            self._memories,
            sessions,
            checks,
            self._kept,
            verifier,
        )

    def _kind(self, node_id: str) -> DeviceKind:
        return self._devices[self.assignment[node_id]]

    def _is_offloaded(self, segment: Segment) -> bool:
        return self._devices[segment.device].offloaded

    def _is_split(self, segment: Segment) -> bool:
        return isinstance(self._devices[segment.device], SplitDevice)

    def _readers(self, name: str) -> list[str]:
        """Return the memories in which a tensor is read, the host's for what the model returns."""
        memories = [HOST_MEMORY] if name in self.graph.outputs else []
        for node in self.graph.consumers.get(name, ()):
            memories += self._kind(node.id).memories
        return list(dict.fromkeys(memories))

    # -- preparation -------------------------------------------------------------------------

    def load_weights(self) -> OpStats:
        """Make the constants of the PIM's operators resident; return what the copies cost.

        Constants that an earlier execution left there cost nothing.

        Raises
        ------
        PimloopError
            When they do not fit into device memory; the message has the numbers.
        """
        if self._offloaded is not None:
            self._offloaded.load_weights()
        return self.weight_stats

    @property
    def weight_stats(self) -> OpStats:
        """Of the constants that this execution loaded."""
        return OpStats() if self._offloaded is None else self._offloaded.weight_stats

    @property
    def weight_cost(self) -> OpStats:
        """Of all constants of the PIM's operators, by whichever execution they were loaded."""
        return OpStats() if self._offloaded is None else self._offloaded.weight_cost

    @property
    def device_seconds(self) -> float:
        """Wall time of driver calls."""
        return 0.0 if self._offloaded is None else self._offloaded.seconds

    @property
    def static_addresses(self) -> bool:
        """Whether every operator has the addresses that it has in every schedule."""
        return self._offloaded is None or self._offloaded.static_addresses

    # -- execution ---------------------------------------------------------------------------

    def run(self, feeds: Mapping[str, Array], *, goes_on: bool = False) -> Execution:
        """Execute the model once; `load_weights` must have been called.

        Parameters
        ----------
        feeds
            The model's inputs.
        goes_on
            Whether states are as the last run left them, instead of as the inputs have them.

        Raises
        ------
        PimloopError
            When the inputs do not fit the model, or the device fails.
        """
        check_inputs(self.graph, feeds, "inputs")
        filled = filled_rows(self.graph, feeds)
        execution = Execution()
        self._memories.clear()
        if self._offloaded is not None:
            self._offloaded.clear(filled)
        kept = {state.past for state in self.graph.states} if goes_on else set()
        for name, value in feeds.items():
            if name not in kept:
                self._memories.buffers(HOST_MEMORY).store(name, value)
        if self._offloaded is not None and not goes_on:
            self._offloaded.hand_over(feeds, execution)
        for segment in self._segments:
            if self._coexecuted is not None and self._is_split(segment):
                self._coexecuted.run(segment, execution)
            elif self._offloaded is not None and self._is_offloaded(segment):
                self._offloaded.run(segment, execution)
            else:
                self._sessions.run(segment, execution)
        self._memories.bring(self.graph.outputs, HOST_MEMORY, execution)
        if self._offloaded is not None:
            self._offloaded.finish()
        for name in self._kept:
            if name not in execution.values:
                execution.values[name] = self._memories.array(name).copy()
        self._sessions.note_non_finite(execution)
        self._last_run = execution
        return execution

    def first_non_finite(self, execution: Execution, reference: Reference) -> NonFinite | None:
        """Return the first operator of the last run whose NaN and infinities float32 has not.

        Parameters
        ----------
        execution
            The last run.
        reference
            Returns float32 values of tensors on the same inputs.
        """
        first = first_non_finite(self.graph, self.assignment, execution.non_finite, reference)
        if first is None or self._devices[first.device].offloaded:
            return first
        # It was seen where a segment hands it over: look inside, at every result.
        segment = self._sessions.containing(first.node)
        inside = {name: kinds(value) for name, value in self._sessions.inside(segment).items()}
        return first_non_finite(self.graph, self.assignment, inside, reference) or first

    def wrong_segments(self) -> list[str]:
        """Return what CPU memory holds that its operators do not give for their inputs, in words.

        Of the last run. Values that the PIM took from there or left there must be unchanged too.
        """
        split = [] if self._coexecuted is None else self._coexecuted.wrong()
        return [*self._memories.changed(), *self._sessions.wrong(), *split]

    def wrong_states(self) -> list[str]:
        """Return which states on the PIM are not what was appended to them, in words."""
        return [] if self._offloaded is None else self._offloaded.wrong_states()

    def values(self, names: Collection[str]) -> dict[str, Array]:
        """Return tensors that CPU operators of the last run read or made, inner ones too.

        What a segment did not hand over is computed again from what it read.
        """
        again = self._sessions.computed_again(names, self._last_run.values)
        return {
            name: again[name] if name in again else self._memories.array(name) for name in names
        }

    def leave_device(self) -> None:
        """Forget the device, whose memory may be large; the last run can still be timed."""
        if self._offloaded is not None:
            self._offloaded.leave_device()

    def share_buffers(self, shared: TensorBuffers) -> None:
        """Give the values of the last run to `shared`, and use it from now on.

        Executions that are over keep one buffer a tensor together: any values serve to time them.
        What `shared` has already is dropped here.
        """
        self._memories.share_host(shared)

    # -- times -------------------------------------------------------------------------------

    def time_cpu(
        self,
        *,
        rounds: int = 10,
        sessions: SessionCache | None = None,
        handed_over: Sequence[Transfer] = (),
    ) -> dict[str, Timing]:
        """Time the CPU side of the last run: CPU nodes by id, conversions by `Transfer.key`.

        Parameters
        ----------
        rounds
            Of each measurement.
        sessions
            Sessions with packed weights, which other executors may share; default: its own.
        handed_over
            States that were written before an earlier run, whose conversions are timed too.
        """
        timer = CpuTimer(
            self.graph, self._segments, self._devices, self._last_run.transfers, self._memories,
            self._kept, SessionCache() if sessions is None else sessions, self._coexecuted,
            handed_over,
        )  # fmt: skip
        return timer.time(rounds)


def check_assignment(
    graph: Graph,
    assignment: Mapping[str, str],
    operations: Mapping[str, Operation],
    devices: Devices,
) -> None:
    """Raise PimloopError unless every node has a device that can run it, and nothing else."""
    for node in graph.nodes:
        device = assignment.get(node.id)
        if device is None:
            raise PimloopError(f"the assignment has no device for node '{node.id}'")
        kind = devices.find(device)
        if kind is None:
            raise PimloopError(
                f"node '{node.id}' is assigned to '{device}'; devices: {', '.join(devices)}, and"
                " splits between two of them, as 'cpu_parallel+pim 5/16' (a share below one, of the"
                " PIM)"
            )
        if kind.offloaded and node.id not in operations:
            name = overflowing_constant(graph, node)
            why = "" if name is None else f": constant '{name}' overflows bfloat16"
            raise PimloopError(f"node '{node.id}' ({node.op}) cannot run on the PIM{why}")
    unknown = set(assignment) - {node.id for node in graph.nodes}
    if unknown:
        raise PimloopError(
            f"the assignment names nodes that model {graph.name} does not have:"
            f" {', '.join(sorted(unknown)[:5])}; it belongs to another model"
        )
