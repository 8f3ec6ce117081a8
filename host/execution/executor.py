"""Executes an assignment node -> device over a graph, with explicit transfers.

A tensor moves at most once to each memory, weights are resident in device memory, and every result
of the PIM device is checked against the golden model (`pimloop.host.execution.verification`). The
values a run leaves in CPU memory also serve `time_cpu`, which times the CPU side without the
simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter_ns
from zlib import crc32

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.segments import Segment, SessionCache, split
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
from pimloop.host.devices.kinds import BUILT_IN, HOST_MEMORY, PIM_MEMORY, DeviceKind
from pimloop.host.execution.finite import (
    Kinds,
    NonFinite,
    Reference,
    first_non_finite,
    kinds,
    non_finite,
)
from pimloop.host.execution.reference.segments import segment_values, wrong_results
from pimloop.host.execution.verification import Check, Verifier
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.models.inputs import check_inputs
from pimloop.host.operators import Operation, overflowing_constant
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.resident import ResidentModel

Bits = NDArray[np.uint16]


@dataclass(frozen=True)
class Progress:
    """Where a run is; `done` and `total` count work (multiply-adds), not operators."""

    phase: str  # "weights", "run"
    label: str  # the operator, or the tensor being loaded
    done: int
    total: int
    cycles: int  # DRAM clocks simulated so far


@dataclass(frozen=True)
class Transfer:
    """One tensor moved between the memories."""

    tensor: str
    direction: str  # "cpu>pim", "pim>cpu": the memories
    elements: int
    nbytes: int  # that cross; to and from the PIM as bfloat16, whatever type the host has
    stats: OpStats

    @property
    def source(self) -> str:
        """The memory that it comes from."""
        return self.direction.partition(">")[0]

    @property
    def destination(self) -> str:
        """The memory that it goes to."""
        return self.direction.partition(">")[2]

    @property
    def key(self) -> str:
        """The name of the transfer's conversion in `Executor.time_cpu`."""
        return f"{self.direction} {self.tensor}"


@dataclass
class Execution:
    """What one run did."""

    values: dict[str, Array] = field(default_factory=dict)  # outputs and `keep`, by name
    pim: dict[str, OpStats] = field(default_factory=dict)  # by node id
    transfers: list[Transfer] = field(default_factory=list)
    #: Results with NaN or infinities, by tensor, where they were seen: PIM results that were read,
    #: and what CPU segments hand over.
    non_finite: dict[str, Kinds] = field(default_factory=dict)


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
        devices: Mapping[str, DeviceKind] | None = None,
    ) -> None:
        self._devices = {kind.name: kind for kind in BUILT_IN} if devices is None else devices
        check_assignment(graph, assignment, operations, self._devices)
        self.graph = graph
        self.assignment = assignment
        self._operations = operations
        self._resident = resident
        self._verifier = verifier
        self._progress = progress or (lambda _: None)
        self._buffers = TensorBuffers(graph)  # of the host's memory
        #: Of further memories, by name.
        self._further: dict[str, TensorBuffers] = {
            kind.memory: TensorBuffers(graph)
            for kind in self._devices.values()
            if not kind.offloaded and kind.memory != HOST_MEMORY
        }
        self._offloaded = [node for node in graph.nodes if self._kind(node.id).offloaded]
        if self._offloaded and resident is None:
            raise PimloopError("the assignment uses the PIM, but no device is open")
        self._kept = tuple(dict.fromkeys((*graph.outputs, *keep)))
        self._sessions = SessionCache(prepack=False) if sessions is None else sessions
        self._segments = split(graph, assignment)
        for segment in self._session_segments():
            self._sessions.prepare(graph, segment, self._kept)
        self._bits: dict[str, Bits] = {}  # of what is in device memory, for the verifier
        self._uses: dict[str, int] = {}  # reads on the PIM still to come
        self._last_run = Execution()
        #: Where each activation is besides the memory where it was made.
        self._copies: set[tuple[str, str]] = set()
        #: Of values in a session's memory that the PIM made (True) or took, when it did, by tensor
        #: and memory.
        self._checksums: dict[tuple[str, str, bool], int] = {}
        self.weight_stats = OpStats()  # of the constants that this execution loaded
        #: Of all constants of the PIM's operators, by whichever execution they were loaded.
        self.weight_cost = OpStats()
        self.device_seconds = 0.0  # wall time of driver calls
        #: Whether every operator has the addresses that it has in every schedule.
        self.static_addresses = resident is None or resident.static
        self._cycles = 0

    # -- preparation -------------------------------------------------------------------------

    def load_weights(self) -> OpStats:
        """Make the constants of the PIM's operators resident; return what the copies cost.

        Constants that an earlier execution left there cost nothing.

        Raises
        ------
        PimloopError
            When they do not fit into device memory; the message has the numbers.
        """
        if not self._offloaded:
            return self.weight_stats

        def report(name: str, done: int, total: int) -> None:
            self._progress(
                Progress("weights", name, done, total, self.resident.driver.totals.cycles)
            )

        nodes = [node.id for node in self._offloaded]
        with self._on_device():
            stats = self.resident.load_weights(nodes, report)
        # Asked now: another execution may put its own constants in their place.
        self.weight_cost = self.resident.weight_cost(nodes)
        self.weight_stats += stats
        self._cycles += stats.cycles
        return self.weight_stats

    def _kind(self, node_id: str) -> DeviceKind:
        return self._devices[self.assignment[node_id]]

    def _session_segments(self) -> list[Segment]:
        return [s for s in self._segments if not self._devices[s.device].offloaded]

    def _cpu_segments(self) -> list[Segment]:
        return [s for s in self._segments if self._devices[s.device].memory == HOST_MEMORY]

    def _memory(self, memory: str) -> TensorBuffers:
        """Return the tensors of a memory that sessions work in."""
        return self._buffers if memory == HOST_MEMORY else self._further[memory]

    def _tensors(self, segment: Segment) -> TensorBuffers:
        return self._memory(self._devices[segment.device].memory)

    def _home(self, name: str) -> str:
        """Return the memory in which a tensor is made; the model's inputs are the host's."""
        producer = self.graph.producer.get(name)
        return HOST_MEMORY if producer is None else self._kind(producer.id).memory

    # -- execution ---------------------------------------------------------------------------

    @property
    def resident(self) -> ResidentModel:
        """The model on the PIM (there is one whenever a node is on it)."""
        assert self._resident is not None
        return self._resident

    def run(self, feeds: Mapping[str, Array]) -> Execution:
        """Execute the model once; `load_weights` must have been called.

        Raises
        ------
        PimloopError
            When the inputs do not fit the model, or the device fails.
        """
        check_inputs(self.graph, feeds, "inputs")
        execution = Execution()
        self._bits.clear()
        self._checksums.clear()
        self._copies.clear()
        if self._resident is not None:
            self._resident.clear()
        for name, value in feeds.items():
            self._buffers.store(name, value)
        self._uses = {
            name: sum(self._kind(n.id).offloaded for n in self.graph.consumers.get(name, ()))
            for name in self.graph.tensors
        }
        work = {n.id: self._operations[n.id].work(self.graph, n) for n in self._offloaded}
        total, done = sum(work.values()), 0
        for segment in self._segments:
            if not self._devices[segment.device].offloaded:
                memory = self._devices[segment.device].memory
                self._bring(_read_from_outside(self.graph, segment), memory, execution)
                self._run_session(segment)
                continue
            for node in segment.nodes:
                self._progress(Progress("run", node.id, done, total, self._cycles))
                done += work[node.id]
                self._run_offloaded(node, execution)
        self._bring(self.graph.outputs, HOST_MEMORY, execution)
        self._progress(Progress("run", "", total, total, self._cycles))
        for name in self._kept:
            if name not in execution.values:
                execution.values[name] = self._array(name).copy()
        for segment in self._session_segments():
            for name in self._sessions.results(self.graph, segment, self._kept):
                self._note_non_finite(name, self._tensors(segment).array(name), execution)
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
        found = first_non_finite(self.graph, self.assignment, execution.non_finite, reference)
        if found is None or self._devices[found.device].offloaded:
            return found
        # It was seen where a segment hands it over: look inside, at every result.
        segment = next(
            s for s in self._session_segments() if self.graph.node(found.node) in s.nodes
        )
        inside = {name: kinds(value) for name, value in self._inside(segment).items()}
        return first_non_finite(self.graph, self.assignment, inside, reference) or found

    def _inside(self, segment: Segment) -> dict[str, Array]:
        """Return every float result of a CPU segment, from the inputs that the last run left."""
        made = [name for node in segment.nodes for name in node.outputs if name]
        floats = [name for name in made if self.graph.tensors[name].dtype.kind == "f"]
        return segment_values(self.graph, segment, self._tensors(segment).array, floats)

    def wrong_segments(self) -> list[str]:
        """Return what CPU memory holds that its operators do not give for their inputs, in words.

        Of the last run. Values that the PIM took from there or left there must be unchanged too.
        """
        wrong = [
            f"{name}: {_in_words(memory)} has changed since the PIM {'made' if made else 'took'} it"
            for (name, memory, made), checksum in self._checksums.items()
            if checksum != _checksum(self._memory(memory).array(name))
        ]
        for segment in self._session_segments():
            names = self._sessions.results(self.graph, segment, self._kept)
            wrong += wrong_results(self.graph, segment, self._tensors(segment).array, names)
        return wrong

    def values(self, names: Collection[str]) -> dict[str, Array]:
        """Return tensors that CPU operators of the last run read or made, inner ones too.

        What a segment did not hand over is computed again from what it read.
        """
        found: dict[str, Array] = {}
        handed_over = {*self._last_run.values}
        for segment in self._session_segments():
            made = {name for node in segment.nodes for name in node.outputs}
            handed_over.update(self._sessions.results(self.graph, segment, self._kept))
            inner = [name for name in names if name in made and name not in handed_over]
            if inner:
                found |= segment_values(self.graph, segment, self._tensors(segment).array, inner)
        return {n: found[n] if n in found else self._array(n) for n in names}

    def _array(self, name: str) -> Array:
        """Return the value of a tensor that the last run left in a memory of sessions."""
        memory = self._home(name)
        if memory == PIM_MEMORY:
            copies = (m for m in (HOST_MEMORY, *self._further) if (name, m) in self._copies)
            memory = next(copies, HOST_MEMORY)
        return self._memory(memory).array(name)

    def _note_non_finite(self, name: str, values: Array, execution: Execution) -> None:
        found = non_finite(values)
        if found is not None:
            execution.non_finite[name] = found

    def _bring(self, names: Iterable[str], memory: str, execution: Execution) -> None:
        """See to it that tensors are in a memory that sessions work in; the PIM's are there."""
        for name in names:
            home = self._home(name)
            if home == memory or (name, memory) in self._copies or name in self.graph.constants:
                continue
            self._memory(memory).store(name, self._memory(home).array(name))
            self._copies.add((name, memory))
            info = self.graph.tensors[name]
            execution.transfers.append(
                Transfer(name, f"{home}>{memory}", info.elements, info.nbytes, OpStats())
            )

    def _run_session(self, segment: Segment) -> None:
        quiet: AbstractContextManager[None] = nullcontext()
        if self._verifier is not None:
            quiet = self._verifier.paused()
        with quiet:
            self._sessions.bind(self.graph, segment, self._tensors(segment), self._kept).run()

    def _run_offloaded(self, node: Node, execution: Execution) -> None:
        operation = self._operations[node.id]
        moved = self.resident.operands(node)
        for name in moved:
            self._move_operand(name, execution)
        with self._on_device():
            execution.pim[node.id] = self._count(self.resident.run(node))
        result = node.outputs[0]
        self._fetch_result(result, execution)
        if self._verifier is not None:
            self._verifier.submit(self._check(node, operation))
        for used in moved:
            self._uses[used] -= 1
            self._release_unused(used)
        self._release_unused(result)

    def _check(self, node: Node, operation: Operation) -> Check:
        operands = {name: self._operand_bits(name) for name in operation.operands}
        return Check(node, operation, operands, self._bits[node.outputs[0]])

    def _move_operand(self, name: str, execution: Execution) -> None:
        """See to it that a tensor is in device memory."""
        if self.resident.holds(name):
            return
        home = self._home(name)
        values = self._memory(home).array(name)
        bits = golden.operand_bits(values)
        if self._verifier is not None:
            self._checksums[name, home, False] = _checksum(values)
        with self._on_device():
            stats = self._count(self.resident.upload(name, bits))
        self._bits[name] = bits
        self._add_transfer(execution, name, f"{home}>{PIM_MEMORY}", stats)

    def _fetch_result(self, name: str, execution: Execution) -> None:
        """Move a result to the memories where it is needed; read it for the verifier."""
        home = self._home(name)
        needed = dict.fromkeys([HOST_MEMORY] if name in self.graph.outputs else [])
        needed |= {self._kind(n.id).memory: None for n in self.graph.consumers.get(name, ())}
        needed.pop(home, None)
        if not needed and self._verifier is None and name not in self._kept:
            return
        driver = self.resident.driver
        with self._on_device():
            values = self.resident.download(name)
        stats = self._count(driver.last)
        self._bits[name] = (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        values = _as_type(values, self.graph.tensors[name].dtype)
        self._note_non_finite(name, values, execution)
        if name in self._kept:
            execution.values[name] = values
        for memory in needed:
            self._memory(memory).store(name, values)
            self._copies.add((name, memory))
            if self._verifier is not None:
                self._checksums[name, memory, True] = _checksum(values)
            self._add_transfer(execution, name, f"{home}>{memory}", stats)

    def _add_transfer(
        self, execution: Execution, name: str, direction: str, stats: OpStats
    ) -> None:
        elements = self.graph.tensors[name].elements
        execution.transfers.append(Transfer(name, direction, elements, 2 * elements, stats))

    def _operand_bits(self, name: str) -> Bits:
        constant = self.graph.constants.get(name)
        return self._bits[name] if constant is None else self.resident.weights.bits.of(constant)

    def _release_unused(self, name: str) -> None:
        if self._uses[name] == 0:
            self.resident.release(name)
            self._bits.pop(name, None)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        start = perf_counter_ns()
        yield
        self.device_seconds += (perf_counter_ns() - start) / 1e9

    def _count(self, stats: OpStats) -> OpStats:
        self._cycles += stats.cycles
        return stats

    def leave_device(self) -> None:
        """Forget the device, whose memory may be large; the last run can still be timed."""
        self._resident = None

    def share_buffers(self, shared: TensorBuffers) -> None:
        """Give the values of the last run to `shared`, and use it from now on.

        Executions that are over keep one buffer a tensor together: any values serve to time them.
        What `shared` has already is dropped here.
        """
        shared.adopt(self._buffers)
        self._buffers = shared

    # -- times -------------------------------------------------------------------------------

    def time_cpu(
        self, *, rounds: int = 10, sessions: SessionCache | None = None
    ) -> dict[str, Timing]:
        """Time the CPU side of the last run: CPU nodes by id, conversions by `Transfer.key`.

        Every segment is timed as it is executed, in the model's order, on the values that the run
        left, with nothing between that an execution does not do; the device is idle meanwhile, and
        where it works in an execution the host waits (`pimloop.host.cpu.timing.WAIT`). In rounds of
        their own each operator then runs in a session of its own, and a segment's time, its entry
        included, is shared out among its operators in those proportions.

        Parameters
        ----------
        rounds
            Of each measurement.
        sessions
            Sessions with packed weights, which other executors may share; default: its own.
        """
        packed = SessionCache() if sessions is None else sessions
        executed = self._executed_steps(packed)
        parallel = parallel_steps(executed)
        with OtherWork() as window:
            times = time_rounds(executed, rounds=rounds, window=window)
            # Steps hold their sessions, each set of them a packed copy of the weights.
            del executed
            alone = [
                self._step(node.id, Segment(segment.device, (node,)), packed)
                for segment in self._cpu_segments()
                if len(segment.nodes) > 1
                for node in segment.nodes
            ]
            single = time_rounds(alone, rounds=rounds, window=window) if alone else {}
        if window.busy:
            times = distrusted(times, parallel)
        for segment in self._cpu_segments():
            whole = times.pop(_segment_key(segment))
            names = [node.id for node in segment.nodes]
            if len(names) == 1:
                times[names[0]] = whole
            else:
                times |= shared_out(whole, {name: single[name] for name in names})
        return times

    def _executed_steps(self, sessions: SessionCache) -> list[Step]:
        """Return the CPU's part of the last run: segments, conversions, waits for the PIM."""
        moved: dict[str, list[Transfer]] = {}
        for transfer in self._last_run.transfers:
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
            here = self._devices[segment.device].memory == HOST_MEMORY
            if here:
                steps.append(self._step(_segment_key(segment), segment, sessions))
            for node in segment.nodes:
                steps += conversions(node.inputs)
                if not here:
                    steps.append(WAIT)
                steps += conversions(node.outputs)
        return steps

    def _step(self, name: str, segment: Segment, sessions: SessionCache) -> Step:
        bound = sessions.bind(self.graph, segment, self._buffers, self._kept)
        return Step(name, bound.run, segment.device == "cpu_parallel")

    def _conversion(self, transfer: Transfer) -> Callable[[], int]:
        inward = transfer.destination == PIM_MEMORY
        memory = transfer.source if inward else transfer.destination
        values = self._memory(memory).array(transfer.tensor).copy()
        bits = golden.to_bf16_bits(values)

        def convert() -> int:
            start = perf_counter_ns()
            if inward:
                values.astype(np.float32, copy=False).astype(ml_dtypes.bfloat16)
            else:
                _as_type(golden.bf16_to_f32(bits), values.dtype)
            return perf_counter_ns() - start

        return convert


def _checksum(values: Array) -> int:
    return crc32(np.ascontiguousarray(values).view(np.uint8).data)


def _as_type(values: NDArray[np.float32], dtype: np.dtype[np.generic]) -> Array:
    """Return float32 values in the type of a tensor; float16 rounds them and may overflow."""
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def check_assignment(
    graph: Graph,
    assignment: Mapping[str, str],
    operations: Mapping[str, Operation],
    devices: Mapping[str, DeviceKind],
) -> None:
    """Raise PimloopError unless every node has a device that can run it, and nothing else."""
    for node in graph.nodes:
        device = assignment.get(node.id)
        if device is None:
            raise PimloopError(f"the assignment has no device for node '{node.id}'")
        if device not in devices:
            raise PimloopError(
                f"node '{node.id}' is assigned to '{device}'; devices: {', '.join(devices)}"
            )
        if devices[device].offloaded and node.id not in operations:
            name = overflowing_constant(graph, node)
            why = "" if name is None else f": constant '{name}' overflows bfloat16"
            raise PimloopError(f"node '{node.id}' ({node.op}) cannot run on the PIM{why}")
    unknown = set(assignment) - {node.id for node in graph.nodes}
    if unknown:
        raise PimloopError(
            f"the assignment names nodes that model {graph.name} does not have:"
            f" {', '.join(sorted(unknown)[:5])}; it belongs to another model"
        )


def _in_words(memory: str) -> str:
    return "CPU memory" if memory == HOST_MEMORY else f"memory {memory}"


def _read_from_outside(graph: Graph, segment: Segment) -> list[str]:
    """Return the activations that a segment reads and does not make, each once."""
    made = {name for node in segment.nodes for name in node.outputs}
    read = dict.fromkeys(name for node in segment.nodes for name in node.inputs if name)
    return [name for name in read if name not in made and name not in graph.constants]


def _segment_key(segment: Segment) -> str:
    """Return the name of a segment's time among those of its nodes."""
    return f"segment of {len(segment.nodes)} from {segment.nodes[0].id}"
