"""Executes an assignment node -> device over a graph, with explicit transfers.

A tensor moves at most once to each memory, weights are resident in device memory, and every
result of the PIM device is checked against the golden model (`host.verification`). The values a
run leaves in CPU memory also serve `time_cpu`, which times the CPU side without the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from host import golden
from host.capabilities import ElementwiseOperation, MatmulOperation, PimOperation
from host.cpu.buffers import TensorBuffers
from host.cpu.operators import BoundOperator, OperatorFactory, all_cores
from host.cpu.timing import Timing, time_rounds
from host.driver import DeviceMatrix, DeviceTensor, OpStats, PimDriver
from host.errors import PimloopError
from host.models.graph import Array, Graph, Node
from host.models.inputs import check_inputs
from host.policies import DEVICE_MEMORY
from host.verification import Check, Verifier

Bits = NDArray[np.uint16]

#: What a constant is to the operators that read it on the PIM.
_Form = Literal["tensor", "bias", "matrix", "transposed"]


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
    direction: str  # "cpu>pim", "pim>cpu"
    elements: int
    nbytes: int  # bytes at bfloat16
    stats: OpStats

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


class Executor:
    """Runs one assignment on one device; a context manager that frees device memory.

    Parameters
    ----------
    graph
        The model.
    assignment
        The device of every node: a key of `DEVICE_MEMORY`.
    operations
        How the PIM runs its nodes (`capabilities.pim_capable`).
    driver
        The PIM device's driver; None when no node is assigned to it.
    verifier
        Checks every result of the PIM; None: no check.
    progress
        Called before each operator and each weight.
    keep
        Tensors to return besides the model's outputs.

    Raises
    ------
    PimloopError
        When the assignment does not fit the graph, or an operator cannot run on its device.
    """

    def __init__(
        self,
        graph: Graph,
        assignment: Mapping[str, str],
        operations: Mapping[str, PimOperation],
        driver: PimDriver | None = None,
        *,
        verifier: Verifier | None = None,
        progress: Callable[[Progress], None] | None = None,
        keep: tuple[str, ...] = (),
    ) -> None:
        check_assignment(graph, assignment, operations)
        self.graph = graph
        self.assignment = assignment
        self._operations = operations
        self._driver = driver
        self._verifier = verifier
        self._progress = progress or (lambda _: None)
        self._buffers = TensorBuffers(graph)
        self._on_pim = [node for node in graph.nodes if assignment[node.id] == "pim"]
        if self._on_pim and driver is None:
            raise PimloopError("the assignment uses the PIM, but no device is open")
        self._kept = tuple(dict.fromkeys((*graph.outputs, *keep)))
        self._bound = self._bind_cpu()
        self._matrices: dict[tuple[str, bool], DeviceMatrix] = {}
        self._constants: dict[str, DeviceTensor] = {}
        self._biases: dict[str, DeviceTensor] = {}  # constants as rows, without leading axes
        self._constant_bits: dict[str, Bits] = {}
        self._resident: dict[str, DeviceTensor] = {}  # activations in device memory
        self._bits: dict[str, Bits] = {}  # their content, for the verifier
        self._uses: dict[str, int] = {}  # reads on the PIM still to come
        self._last_run = Execution()
        self.weight_stats = OpStats()
        self.device_seconds = 0.0  # wall time of driver calls
        self._cycles = 0

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free everything this executor holds in device memory; more calls do nothing."""
        for held in (self._matrices, self._constants, self._biases, self._resident):
            for operand in held.values():
                operand.free()
            held.clear()

    # -- preparation -------------------------------------------------------------------------

    def load_weights(self) -> OpStats:
        """Make the constants of the PIM's operators resident; return what the copies cost.

        Raises
        ------
        PimloopError
            When they do not fit into device memory; the message has the numbers.
        """
        wanted: list[tuple[str, _Form]] = []
        for node in self._on_pim:
            operation = self._operations[node.id]
            if isinstance(operation, MatmulOperation):
                if operation.right in self.graph.constants:
                    form: _Form = "transposed" if operation.transposed else "matrix"
                    wanted.append((operation.right, form))
                if operation.bias is not None and operation.bias in self.graph.constants:
                    wanted.append((operation.bias, "bias"))
            else:
                wanted += [
                    (name, "tensor")
                    for name in (operation.left, operation.right)
                    if name in self.graph.constants
                ]
        wanted = list(dict.fromkeys(wanted))
        total = sum(self.graph.tensors[name].elements for name, _ in wanted)
        self._check_capacity(2 * total)
        done = 0
        for name, form in wanted:
            self._progress(Progress("weights", name, done, total, self._cycles))
            done += self.graph.tensors[name].elements
            self._load_constant(name, form)
        self._progress(Progress("weights", "", total, total, self._cycles))
        return self.weight_stats

    def _check_capacity(self, nbytes: int) -> None:
        if self._driver is not None and nbytes > self._driver.geometry.capacity:
            raise PimloopError(
                f"the weights of the PIM's operators take {nbytes} bytes as bfloat16, the device"
                f" has {self._driver.geometry.capacity}: place fewer operators on it"
            )

    def _load_constant(self, name: str, form: _Form) -> None:
        bits = self._constant_bits.get(name)
        if bits is None:
            bits = golden.to_bf16_bits(self.graph.constants[name])
            self._constant_bits[name] = bits
        values = bits.view(ml_dtypes.bfloat16)
        with self._on_device():
            if form == "tensor":
                self._constants[name] = self.driver.upload(values)
            elif form == "bias":
                self._biases[name] = self.driver.upload(values.reshape(-1))
            else:
                transposed = form == "transposed"
                self._matrices[name, transposed] = self.driver.load_matrix(
                    values, transposed=transposed
                )
        self.weight_stats += self._count()

    def _bind_cpu(self) -> dict[str, BoundOperator]:
        threads = {"cpu_serial": 1, "cpu_parallel": all_cores()}
        factories = {
            device: OperatorFactory(self.graph, self._buffers, count)
            for device, count in threads.items()
        }
        return {
            node.id: factories[device].bind(node)
            for node in self.graph.nodes
            if (device := self.assignment[node.id]) in factories
        }

    # -- execution ---------------------------------------------------------------------------

    @property
    def driver(self) -> PimDriver:
        """The PIM's driver (there is one whenever a node is on the PIM)."""
        assert self._driver is not None
        return self._driver

    def run(self, feeds: Mapping[str, Array]) -> Execution:
        """Execute the model once; `load_weights` must have been called.

        Raises
        ------
        PimloopError
            When the inputs do not fit the model, or the device fails.
        """
        check_inputs(self.graph, feeds, "inputs")
        execution = Execution()
        for name, value in feeds.items():
            self._buffers.store(name, value)
        self._uses = {
            name: sum(self.assignment[n.id] == "pim" for n in self.graph.consumers.get(name, ()))
            for name in self.graph.tensors
        }
        work = [_work(self.graph, node, self.assignment[node.id]) for node in self.graph.nodes]
        total, done = sum(work), 0
        stretch: list[Node] = []
        for node, cost in zip(self.graph.nodes, work, strict=True):
            if self.assignment[node.id] != "pim":
                stretch.append(node)
                continue
            self._run_cpu(stretch)
            stretch = []
            self._progress(Progress("run", node.id, done, total, self._cycles))
            done += cost
            self._run_pim(node, execution)
        self._run_cpu(stretch)
        self._progress(Progress("run", "", total, total, self._cycles))
        for name in self._kept:
            execution.values.setdefault(name, self._buffers.array(name).copy())
        self._last_run = execution
        return execution

    def _run_cpu(self, nodes: list[Node]) -> None:
        if not nodes:
            return
        quiet: AbstractContextManager[None] = nullcontext()
        if self._verifier is not None:
            quiet = self._verifier.paused()
        with quiet:
            for node in nodes:
                self._bound[node.id].run()

    def _run_pim(self, node: Node, execution: Execution) -> None:
        operation = self._operations[node.id]
        names = [operation.left, operation.right]
        matrix = bias = right = None
        left = self._operand(operation.left, execution)
        if isinstance(operation, MatmulOperation):
            matrix = self._matrices.get((operation.right, operation.transposed))
            if operation.bias is not None:
                names.append(operation.bias)
                bias = self._biases.get(operation.bias) or self._operand(operation.bias, execution)
        if matrix is None:
            right = self._operand(operation.right, execution)
        with self._on_device():
            result = self._call(operation, left, right, matrix, bias)
        execution.pim[node.id] = self._count()
        name = node.outputs[0]
        self._resident[name] = result
        self._fetch_result(name, execution)
        if self._verifier is not None:
            operands = [self._operand_bits(n) for n in names]
            bias_bits = operands[2].reshape(-1) if len(operands) > 2 else None
            self._verifier.submit(
                Check(node, operation, operands[0], operands[1], bias_bits, self._bits[name])
            )
        for used in dict.fromkeys(names):
            if used not in self.graph.constants:
                self._uses[used] -= 1
                self._release_unused(used)
        self._release_unused(name)

    def _call(
        self,
        operation: PimOperation,
        left: DeviceTensor,
        right: DeviceTensor | None,
        matrix: DeviceMatrix | None,
        bias: DeviceTensor | None,
    ) -> DeviceTensor:
        """Call the driver; the right operand is a resident `matrix` or a tensor."""
        if matrix is not None:
            return self.driver.matmul(left, matrix, bias=bias)
        assert right is not None
        if isinstance(operation, ElementwiseOperation):
            return self.driver.elementwise(operation.op, left, right)
        return self.driver.matmul(left, right, transpose_b=operation.transposed, bias=bias)

    def _operand(self, name: str, execution: Execution) -> DeviceTensor:
        """Return a tensor in device memory, moved there when it is not."""
        if name in self._constants:
            return self._constants[name]
        if name not in self._resident:
            bits = golden.to_bf16_bits(self._buffers.array(name))
            with self._on_device():
                self._resident[name] = self.driver.upload(bits.view(ml_dtypes.bfloat16))
            self._bits[name] = bits
            self._add_transfer(execution, name, "cpu>pim")
        return self._resident[name]

    def _fetch_result(self, name: str, execution: Execution) -> None:
        """Move a result to CPU memory where it is needed there; read it for the verifier."""
        needed = name in self.graph.outputs or any(
            self.assignment[consumer.id] != "pim" for consumer in self.graph.consumers.get(name, ())
        )
        if not needed and self._verifier is None and name not in self._kept:
            return
        with self._on_device():
            values = self.driver.download(self._resident[name])
        stats = self._count()
        self._bits[name] = (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        if name in self._kept:
            execution.values[name] = values
        if needed:
            self._buffers.store(name, values)
            self._add_transfer(execution, name, "pim>cpu", stats)

    def _add_transfer(
        self, execution: Execution, name: str, direction: str, stats: OpStats | None = None
    ) -> None:
        elements = self.graph.tensors[name].elements
        stats = self._count() if stats is None else stats
        execution.transfers.append(Transfer(name, direction, elements, 2 * elements, stats))

    def _operand_bits(self, name: str) -> Bits:
        return self._bits[name] if name in self._bits else self._constant_bits[name]

    def _release_unused(self, name: str) -> None:
        if self._uses[name] == 0 and name in self._resident:
            self._resident.pop(name).free()
            self._bits.pop(name, None)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        start = perf_counter_ns()
        yield
        self.device_seconds += (perf_counter_ns() - start) / 1e9

    def _count(self) -> OpStats:
        stats = self.driver.last
        self._cycles += stats.cycles
        return stats

    # -- times -------------------------------------------------------------------------------

    def time_cpu(self, *, rounds: int = 10) -> dict[str, Timing]:
        """Time the CPU side of the last run: CPU nodes by id, conversions by `Transfer.key`.

        The operators run on the values that the run left, in the model's order; the device is
        idle meanwhile.
        """
        moved: dict[str, list[Transfer]] = {}
        for transfer in self._last_run.transfers:
            moved.setdefault(transfer.tensor, []).append(transfer)
        steps: list[tuple[str, Callable[[], int]]] = []
        for node in self.graph.nodes:
            if node.id in self._bound:
                steps.append((node.id, self._bound[node.id].run))
            for name in (*node.inputs, *node.outputs):
                for transfer in moved.pop(name, ()):
                    steps.append((transfer.key, self._conversion(transfer)))
        return time_rounds(steps, rounds=rounds)

    def _conversion(self, transfer: Transfer) -> Callable[[], int]:
        values = self._buffers.array(transfer.tensor).astype(np.float32)
        bits = golden.to_bf16_bits(values)

        def convert() -> int:
            start = perf_counter_ns()
            if transfer.direction == "cpu>pim":
                values.astype(ml_dtypes.bfloat16)
            else:
                golden.bf16_to_f32(bits)
            return perf_counter_ns() - start

        return convert


def check_assignment(
    graph: Graph, assignment: Mapping[str, str], operations: Mapping[str, PimOperation]
) -> None:
    """Raise PimloopError unless every node has a device that can run it, and nothing else."""
    for node in graph.nodes:
        device = assignment.get(node.id)
        if device is None:
            raise PimloopError(f"the assignment has no device for node '{node.id}'")
        if device not in DEVICE_MEMORY:
            raise PimloopError(
                f"node '{node.id}' is assigned to '{device}'; devices: {', '.join(DEVICE_MEMORY)}"
            )
        if device == "pim" and node.id not in operations:
            raise PimloopError(f"node '{node.id}' ({node.op}) cannot run on the PIM")
    unknown = set(assignment) - {node.id for node in graph.nodes}
    if unknown:
        raise PimloopError(
            f"the assignment names nodes that model {graph.name} does not have:"
            f" {', '.join(sorted(unknown)[:5])}; it belongs to another model"
        )


def _work(graph: Graph, node: Node, device: str) -> int:
    """Return the multiply-adds of a node on the PIM: what simulating it takes is in proportion."""
    if device != "pim":
        return 0
    elements = graph.tensors[node.outputs[0]].elements
    if node.op not in ("MatMul", "Gemm"):
        return elements
    inner = graph.tensors[node.inputs[0]].shape[-1]
    return elements * inner
