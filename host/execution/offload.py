"""Segments whose operators are handed to the PIM's driver one by one, as bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.cpu.segments import Segment
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.execution.device_states import DeviceStates
from pimloop.host.execution.execution import Execution, Progress, Transfer
from pimloop.host.execution.finite import non_finite
from pimloop.host.execution.memories import Memories
from pimloop.host.execution.parts import columns_part
from pimloop.host.execution.verification import Check, Verifier
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators import Operation
from pimloop.host.operators.append import makes_scores
from pimloop.host.operators.product import Product
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.resident import ResidentModel

Bits = NDArray[np.uint16]

#: Why the PIM can compute no columns of an operator alone.
NO_COLUMNS = (
    "only products by a constant matrix wider than a column tile are split, where all weights fit"
    " into device memory together"
)


class OffloadedSegments:
    """The PIM's part of one execution.

    Parameters
    ----------
    graph
        The model.
    nodes
        The operators that are handed to the driver, in the model's order.
    columns
        Of those that it is handed the first columns of alone, by id: how many.
    operations
        How the PIM runs them.
    readers
        The memories in which each tensor is read, by name.
    resident
        The model on the device.
    memories
        Of the execution.
    kept
        Tensors whose values the execution keeps.
    verifier
        Checks every result; None: no check.
    progress
        Called before each operator and each weight.
    """

    def __init__(
        self,
        graph: Graph,
        nodes: Collection[Node],
        columns: Mapping[str, int],
        operations: Mapping[str, Operation],
        readers: Callable[[str], Collection[str]],
        resident: ResidentModel,
        memories: Memories,
        kept: Collection[str],
        verifier: Verifier | None,
        progress: Callable[[Progress], None],
    ) -> None:
        self._graph = graph
        self._nodes = nodes
        self._columns = columns
        self._operations = operations
        self._readers = readers
        self._model: ResidentModel | None = resident
        self._memories = memories
        self._kept = kept
        self._verifier = verifier
        self._progress = progress
        self._bits: dict[str, Bits] = {}  # of what is in device memory, for the verifier
        self._states = DeviceStates(graph, nodes, resident)
        self._uses: dict[str, int] = {}  # reads on the PIM still to come
        self._work = {node.id: operations[node.id].work(graph, node) for node in nodes}
        self._require_columns()
        self._done = 0
        self._cycles = 0
        self.weight_stats = OpStats()  # of the constants that this execution loaded
        #: Of all constants of these operators, by whichever execution they were loaded.
        self.weight_cost = OpStats()
        self.seconds = 0.0  # wall time of driver calls
        #: Whether every operator has the addresses that it has in every schedule.
        self.static_addresses = resident.static

    def _require_columns(self) -> None:
        """Raise PimloopError where the PIM cannot compute so many columns alone."""
        for node in self._nodes:
            columns = self._columns.get(node.id)
            if columns is None:
                continue
            possible = self._resident.first_columns(node)
            if columns not in possible:
                choices = ", ".join(map(str, possible))
                raise PimloopError(
                    f"node '{node.id}' ({node.op}): the PIM cannot compute its first {columns}"
                    " columns alone; "
                    + (f"it can compute: {choices}" if choices else f"{NO_COLUMNS}: place it whole")
                )

    def load_weights(self) -> None:
        """Make the constants of the operators resident; those that are there cost nothing.

        Raises
        ------
        PimloopError
            When they do not fit into device memory; the message has the numbers.
        """

        def report(name: str, done: int, total: int) -> None:
            cycles = self._resident.driver.totals.cycles
            self._progress(Progress("weights", name, done, total, cycles))

        nodes = [node.id for node in self._nodes]
        with self._on_device():
            stats = self._resident.load_weights(nodes, report, self._columns)
        # Asked now: another execution may put its own constants in their place.
        self.weight_cost = self._resident.weight_cost(nodes)
        self.weight_stats += stats
        self._cycles += stats.cycles

    @property
    def _resident(self) -> ResidentModel:
        assert self._model is not None, "the execution has left its device"
        return self._model

    def leave_device(self) -> None:
        """Forget the device, whose memory may be large; nothing can be run any more."""
        self._model = None
        self._states.leave_device()

    def clear(self, filled: Mapping[str, int]) -> None:
        """Begin a run: nothing but constants and states is in device memory.

        Parameters
        ----------
        filled
            Rows of each state with those of this run, by the tensor that operators read.
        """
        self._resident.filled = filled
        self._bits.clear()
        self._resident.clear()
        offloaded = {node.id for node in self._nodes}
        self._uses = {
            name: sum(node.id in offloaded for node in self._graph.consumers.get(name, ()))
            for name in self._graph.tensors
        }
        self._done = 0

    def run(self, segment: Segment, execution: Execution) -> None:
        """Run the operators of a segment; their results go to the memories that read them."""
        for node in segment.nodes:
            with self._operands_of(node, execution):
                with self._on_device():
                    execution.pim[node.id] = self._count(self._resident.run(node))
                if node.id in self._graph.state_of:
                    self._note_append(node, execution)
                    continue
                self._fetch_result(node.outputs[0], execution)
                if self._verifier is not None:
                    self._verifier.submit(self._check(node))

    def run_split(
        self,
        node: Node,
        columns: int,
        meanwhile: Callable[[], Array],
        execution: Execution,
    ) -> None:
        """Run the first columns of a product, and what computes the others meanwhile.

        The result is gathered where it is read: only the columns that are missing there move.

        Parameters
        ----------
        node
            The product.
        columns
            How many columns the PIM computes.
        meanwhile
            Computes the other columns, (..., columns), in the model's type.
        execution
            Of the run.
        """
        others: list[Array] = []
        with self._operands_of(node, execution):
            with self._on_device():
                stats = self._resident.beside(node, columns, lambda: others.append(meanwhile()))
            execution.pim[node.id] = self._count(stats)
            first = self._gather(node.outputs[0], columns, others[0], execution)
            if self._verifier is not None and first is not None:
                self._verifier.submit(self._check_first(node, columns, first))

    @contextmanager
    def _operands_of(self, node: Node, execution: Execution) -> Iterator[None]:
        """Have an operator's operands on the device; let go of what nothing reads behind it."""
        self._report(node.id)
        self._done += self._work[node.id]
        moved = self._resident.operands(node)
        for name in moved:
            self._move_operand(name, execution)
        yield
        for used in moved:
            self._uses[used] -= 1
            self._release_unused(used)
        self._release_unused(node.outputs[0])

    def _gather(self, name: str, columns: int, others: Array, execution: Execution) -> Bits | None:
        """Bring a result of two sides to where it is read.

        Returns
        -------
        The bits of the PIM's columns; None where nothing but the PIM reads them.
        """
        readers = self._readers(name)
        home = any(memory != PIM_MEMORY for memory in readers)  # a further one's goes this way too
        first = None
        if home or self._verifier is not None or name in self._kept:
            first = self._bring_home(name, columns, others, execution, counted=home)
        else:
            self._note(name, others, execution)
        if PIM_MEMORY in readers:
            bits = golden.operand_bits(others)
            with self._on_device():
                up = self._count(self._resident.complete(name, bits))
            self._add_part(execution, name, HOST_MEMORY, PIM_MEMORY, others.size, up)
            if first is not None:
                self._bits[name] = np.concatenate([first, bits.reshape(others.shape)], axis=-1)
        return first

    def _bring_home(
        self, name: str, columns: int, others: Array, execution: Execution, *, counted: bool
    ) -> Bits:
        """Complete a result of two sides in the host's memory; return the PIM's bits.

        A transfer where it is `counted`; otherwise it is read for the verifier alone.
        """
        with self._on_device():
            values = self._resident.download_first(name, columns)
        stats = self._count(self._resident.driver.last)
        dtype = self._graph.tensors[name].dtype
        whole = np.concatenate([as_type(values, dtype), others], axis=-1)
        self._note(name, whole, execution)
        self._memories.receive(name, HOST_MEMORY, whole, remember=self._verifier is not None)
        if counted:
            self._add_part(execution, name, PIM_MEMORY, HOST_MEMORY, values.size, stats)
        return _upper_halves(values)

    def _check_first(self, node: Node, columns: int, first: Bits) -> Check:
        """Return the check of the columns of a product that the PIM has computed."""
        product = self._operations[node.id]
        assert isinstance(product, Product)
        operands = {name: self._operand_bits(name) for name in product.operands}
        part = columns_part(self._graph, node, product, slice(columns))
        return Check(
            node, product.with_columns(columns), product.columns_of(operands, slice(columns)),
            first, part,
        )  # fmt: skip

    def _note_append(self, node: Node, execution: Execution) -> None:
        """Check the rows that were appended to a state; bring it to where it is read besides."""
        state = self._graph.state_of[node.id]
        rows = self._bits[state.rows]
        if self._verifier is not None:
            with self._on_device():
                self._verifier.submit(self._states.check_rows(node, rows))
            self._count(self._resident.driver.last)
        self._bits[state.whole] = self._states.append(state, rows)
        if any(memory != PIM_MEMORY for memory in self._readers(state.whole)):
            self._fetch_result(state.whole, execution)

    def hand_over(self, feeds: Mapping[str, Array], execution: Execution) -> None:
        """Write the states that are appended to on the PIM there, as the model's inputs have them.

        Scores that the PIM computes are 0 where there are no rows yet.

        Parameters
        ----------
        feeds
            The model's inputs.
        execution
            Of the run that follows; it is not among its transfers.
        """
        graph = self._graph
        written: dict[str, Bits] = {
            state.whole: self._states.first_bits(state, feeds[state.past])
            for state in self._states.here
        }
        for node in self._nodes:
            if makes_scores(graph, self._operations[node.id]):
                name = node.outputs[0]
                written[name] = np.zeros(graph.tensors[name].shape, np.uint16)
        for name, bits in written.items():
            with self._on_device():
                self._resident.hand_over(name, bits)
            stats = self._count(self._resident.driver.last)
            direction = f"{HOST_MEMORY}>{PIM_MEMORY}"
            execution.handed_over.append(Transfer(name, direction, bits.size, 2 * bits.size, stats))

    def wrong_states(self) -> list[str]:
        """Return which states in device memory are not what was written there, in words."""
        with self._on_device():
            return self._states.wrong()

    def finish(self) -> None:
        """End a run."""
        self._report("")

    def _report(self, label: str) -> None:
        total = sum(self._work.values())
        self._progress(Progress("run", label, self._done, total, self._cycles))

    def _check(self, node: Node) -> Check:
        operation = self._operations[node.id]
        operands = {name: self._operand_bits(name) for name in operation.operands}
        check = Check(node, operation, operands, self._bits[node.outputs[0]])
        return self._states.check(check) if isinstance(operation, Product) else check

    def _move_operand(self, name: str, execution: Execution) -> None:
        """See to it that a tensor is in device memory."""
        if self._resident.holds(name):
            return
        values = self._memories.give(name, remember=self._verifier is not None)
        bits = golden.operand_bits(values)
        with self._on_device():
            stats = self._count(self._resident.upload(name, bits))
        self._bits[name] = bits
        self._add_transfer(execution, name, self._memories.home(name), PIM_MEMORY, stats)

    def _fetch_result(self, name: str, execution: Execution) -> None:
        """Move a result to the memories where it is needed; read it for the verifier."""
        needed = [memory for memory in self._readers(name) if memory != PIM_MEMORY]
        if not needed and self._verifier is None and name not in self._kept:
            return
        with self._on_device():
            values = self._resident.download(name)
        stats = self._count(self._resident.driver.last)
        self._bits[name] = _upper_halves(values)
        values = as_type(values, self._graph.tensors[name].dtype)
        self._note(name, values, execution)
        for memory in needed:
            self._memories.receive(name, memory, values, remember=self._verifier is not None)
            self._add_transfer(execution, name, PIM_MEMORY, memory, stats)

    def _note(self, name: str, values: Array, execution: Execution) -> None:
        """Note NaN and infinities of a result that was read, and its values where they are kept."""
        unlike = non_finite(values)
        if unlike is not None:
            execution.non_finite[name] = unlike
        if name in self._kept:
            execution.values[name] = values

    def _add_transfer(
        self, execution: Execution, name: str, source: str, destination: str, stats: OpStats
    ) -> None:
        elements = self._graph.tensors[name].elements
        self._add_part(execution, name, source, destination, elements, stats)

    def _add_part(
        self,
        execution: Execution,
        name: str,
        source: str,
        destination: str,
        elements: int,
        stats: OpStats,
    ) -> None:
        direction = f"{source}>{destination}"
        execution.transfers.append(Transfer(name, direction, elements, 2 * elements, stats))

    def _operand_bits(self, name: str) -> Bits:
        constant = self._graph.constants.get(name)
        return self._bits[name] if constant is None else self._resident.weights.bits.of(constant)

    def _release_unused(self, name: str) -> None:
        if self._uses[name] == 0:
            self._resident.release(name)
            self._bits.pop(name, None)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        start = perf_counter_ns()
        yield
        self.seconds += (perf_counter_ns() - start) / 1e9

    def _count(self, stats: OpStats) -> OpStats:
        self._cycles += stats.cycles
        return stats


def _upper_halves(values: NDArray[np.float32]) -> Bits:
    """Return the bfloat16 bits of values that are bfloat16."""
    return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def as_type(values: NDArray[np.float32], dtype: np.dtype[np.generic]) -> Array:
    """Return float32 values in the type of a tensor; float16 rounds them and may overflow."""
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)
