"""Checks every result of the PIM device beside the run, in two ways.

Bit for bit against the golden model: the device computed what it was told. And against ONNX
Runtime's own operator in float32 on the same operands: it was told the right thing. The second is
what finds a wrong weight, bias or transposition; at the end of a model in bfloat16 these drown in
rounding (a dropped bias moves the features of `bert-small` by 2 %, rounding by 1.3 %).

One worker thread computes the expected bits while the device works. It stands still while the
caller holds `paused()`, so that it never disturbs the timing of CPU operators.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host import golden
from host.capabilities import ElementwiseOperation, MatmulOperation, PimOperation
from host.cpu.operators import run_node
from host.finite import kinds
from host.models.graph import Array, Graph, Node

Bits = NDArray[np.uint16]

#: Multiply-adds between two looks at the gate: about 20 ms of numpy.
_BLOCK_WORK = 4_000_000

#: Bytes of operands and results that may wait for the golden model: the device waits beyond them.
MOST_WAITING_BYTES = 256 << 20

#: Bound on waiting for one block of golden arithmetic, seconds.
_BLOCK_TIMEOUT = 120.0


#: Limit of an operator's error against float32, as a fraction of the terms summed.
#: Rounding the weights and the result accounts for about 1.6e-3.
OPERATOR_LIMIT = 5e-3

#: The least normal bfloat16 and float32.
_LEAST_NORMAL = 2.0**-126


@dataclass(frozen=True)
class Check:
    """One result to verify; operands and result are bfloat16 bits in their logical shapes."""

    node: Node
    operation: PimOperation
    left: Bits
    right: Bits
    bias: Bits | None
    result: Bits

    @property
    def nbytes(self) -> int:
        """Bytes of operands and result."""
        bias = 0 if self.bias is None else self.bias.nbytes
        return self.left.nbytes + self.right.nbytes + bias + self.result.nbytes


@dataclass(frozen=True)
class Mismatch:
    """A result that differs from the golden model."""

    node: str
    different: int  # elements
    elements: int
    first: tuple[int, ...]  # index of the first difference
    device_bits: int
    golden_bits: int

    def __str__(self) -> str:
        """Return one line for a person."""
        return (
            f"{self.node}: {self.different} of {self.elements} elements differ, first at"
            f" {list(self.first)}: device 0x{self.device_bits:04X},"
            f" golden 0x{self.golden_bits:04X}"
        )


def find_mismatch(name: str, found: Bits, expected: Bits) -> Mismatch | None:
    """Compare bits of one shape; return how they differ, None when they are equal.

    >>> str(find_mismatch("y", np.array([1, 2], np.uint16), np.array([1, 3], np.uint16)))
    'y: 1 of 2 elements differ, first at [1]: device 0x0002, golden 0x0003'
    """
    different = expected != found
    if not different.any():
        return None
    first = tuple(int(i) for i in np.argwhere(different)[0])
    return Mismatch(
        node=name,
        different=int(different.sum()),
        elements=different.size,
        first=first,
        device_bits=int(found[first]),
        golden_bits=int(expected[first]),
    )


class Verifier:
    """A queue of checks and the thread that works on it; a context manager.

    Parameters
    ----------
    graph
        Where the nodes of the checks and their float32 constants are.
    """

    def __init__(self, graph: Graph) -> None:
        self.mismatches: list[Mismatch] = []
        #: By node id, against float32, the worst of all executions; see OPERATOR_LIMIT.
        self.errors: dict[str, float] = {}
        self._graph = graph
        self.checked = 0
        self._queue: deque[Check] = deque()
        self._condition = threading.Condition()
        self._waiting = 0  # bytes that the queued checks hold
        self._paused = False
        self._busy = False
        self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="golden", daemon=True)
        self._thread.start()

    def submit(self, check: Check) -> None:
        """Queue a check; wait while those queued hold more than `MOST_WAITING_BYTES`.

        Not to be called inside `paused()`.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: (
                    self._waiting <= MOST_WAITING_BYTES
                    or self._failure is not None
                    or self._closing
                )
            )
            self._queue.append(check)
            self._waiting += check.nbytes
            self._condition.notify_all()

    @property
    def pending(self) -> int:
        """Checks not finished yet."""
        with self._condition:
            return len(self._queue)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stand still while the body runs."""
        with self._condition:
            self._paused = True
            if not self._condition.wait_for(lambda: not self._busy, _BLOCK_TIMEOUT):
                raise TimeoutError("the golden model did not finish a block of work")
        try:
            yield
        finally:
            with self._condition:
                self._paused = False
                self._condition.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for all checks; return whether they are done.

        An exception of the worker is raised here.
        """
        with self._condition:
            self._condition.wait_for(lambda: not self._queue or self._failure is not None, timeout)
            if self._failure is not None:
                raise self._failure
            return not self._queue

    def close(self) -> None:
        """Stop the worker; checks not done are dropped."""
        with self._condition:
            self._closing = True
            self._paused = False
            self._condition.notify_all()
        self._thread.join(_BLOCK_TIMEOUT)

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        try:
            while True:
                with self._condition:
                    self._condition.wait_for(lambda: self._queue or self._closing)
                    if self._closing:
                        return
                    check = self._queue[0]
                mismatch = self._compare(check)
                if self._closing:
                    return
                with self._block():
                    error = operator_error(self._graph, check)
                with self._condition:
                    self._waiting -= self._queue.popleft().nbytes
                    self.checked += 1
                    worst = self.errors.get(check.node.id, 0.0)
                    self.errors[check.node.id] = max(worst, error)
                    if mismatch is not None:
                        self.mismatches.append(mismatch)
                    self._condition.notify_all()
        except BaseException as error:
            with self._condition:
                self._failure = error
                self._busy = False
                self._condition.notify_all()

    @contextmanager
    def _block(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._paused or self._closing)
            self._busy = True
        try:
            yield
        finally:
            with self._condition:
                self._busy = False
                self._condition.notify_all()

    def _compare(self, check: Check) -> Mismatch | None:
        expected = np.empty(_shape(check), np.uint16)
        for region, bits in self._expected(check):
            expected[region] = bits
            if self._closing:
                return None
        return find_mismatch(check.node.id, check.result, expected.reshape(check.result.shape))

    def _expected(self, check: Check) -> Iterator[tuple[Any, Bits]]:
        """Yield (index, golden bits) for parts of the result, each a short piece of work."""
        operation = check.operation
        if isinstance(operation, ElementwiseOperation):
            with self._block():
                bits = golden.elementwise(operation.op, check.left, check.right)
            yield (...,), bits
            return
        left, right = _operands(check, operation)
        *lead, p, q = left.shape
        r = right.shape[-1]
        width = max(32, _BLOCK_WORK // max(p * q, 1))
        for batch in np.ndindex(*lead):
            for start in range(0, r, width):
                columns = slice(start, start + width)
                with self._block():
                    bits = golden.matmul(
                        left[batch],
                        right[(*batch, slice(None), columns)],
                        None if check.bias is None else check.bias[columns],
                    )
                yield (*batch, slice(None), columns), bits


def _shape(check: Check) -> tuple[int, ...]:
    """Return the shape in which the golden result is computed."""
    if isinstance(check.operation, ElementwiseOperation):
        return check.result.shape
    left, right = _operands(check, check.operation)
    return (*left.shape[:-1], right.shape[-1])


def _operands(check: Check, operation: MatmulOperation) -> tuple[Bits, Bits]:
    """Return the operands of a product, (..., p, q) and (..., q, r) with equal leading axes."""
    left = check.left.reshape(operation.left_shape)
    right = check.right.reshape(operation.right_shape)
    if operation.transposed:
        right = right.swapaxes(-1, -2)
    if right.ndim == 2:
        # One matrix for all rows: one product.
        return left.reshape(1, -1, left.shape[-1]), right[np.newaxis]
    lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return (
        np.broadcast_to(left, (*lead, *left.shape[-2:])),
        np.broadcast_to(right, (*lead, *right.shape[-2:])),
    )


def operator_error(graph: Graph, check: Check) -> float:
    """Return the error of a PIM result against float32, as a fraction of the terms it sums.

    The operands that the device had go through ONNX Runtime's operator with the float32 constants
    of the graph. The error is relative to the root of the summed squares of the terms (and of the
    result), not to the result alone, which may be a small difference of large terms. Where float32
    gives NaN or an infinity the result must be the same; anything else is an infinite error. What
    rounding to a subnormal bfloat16 can be off, which is no fraction of the value, is no error.
    """
    operation = check.operation
    operands = {operation.left: check.left, operation.right: check.right}
    if check.bias is not None and not isinstance(operation, ElementwiseOperation):
        operands[str(operation.bias)] = check.bias
    feeds: dict[str, Array] = {
        name: np.asarray(golden.bf16_to_f32(bits)).reshape(graph.tensors[name].shape)
        for name, bits in operands.items()
        if name not in graph.constants
    }
    (wanted,) = run_node(_in_float32(graph, check.node), check.node, feeds)
    found = golden.bf16_to_f32(check.result)
    if not np.array_equal(kinds(wanted), kinds(found)):
        return float("inf")
    finite = np.isfinite(wanted)
    with np.errstate(all="ignore"):
        off = np.abs(found.astype(np.float64) - wanted) - _subnormal_rounding(graph, check)
        error = np.where(finite, np.maximum(off, 0.0), 0.0)
        scale = np.where(finite, _scale(check, operation) + wanted.astype(np.float64) ** 2, 0.0)
    total = float(np.sqrt(scale.sum()))
    return float(np.linalg.norm(error)) / total if total else float(np.linalg.norm(error))


def _in_float32(graph: Graph, node: Node) -> Graph:
    """Return a graph that has an operator's tensors in float32 where the model has float16."""
    names = [name for name in (*node.inputs, *node.outputs) if name]
    if all(graph.tensors[name].dtype == np.float32 for name in names):
        return graph
    single = np.dtype(np.float32)
    return replace(
        graph,
        nodes=(node,),
        tensors={name: replace(graph.tensors[name], dtype=single) for name in names},
        constants={
            name: graph.constants[name].astype(single) for name in names if name in graph.constants
        },
    )


def _subnormal_rounding(graph: Graph, check: Check) -> Array:
    """Return how far rounding to subnormal bfloat16 may put off each element of the result.

    The result is rounded once; of the operands, constants were rounded and are compared with their
    float32 values.
    """
    operation = check.operation
    left, right = (
        np.abs(golden.bf16_to_f32(bits).astype(np.float64)) for bits in (check.left, check.right)
    )
    off_left, off_right = (
        _rounded_off(graph, name, bits.shape)
        for name, bits in ((operation.left, check.left), (operation.right, check.right))
    )
    room = np.full(check.result.shape, golden.SUBNORMAL_ROUNDING)
    with np.errstate(all="ignore"):
        if isinstance(operation, ElementwiseOperation):
            product = operation.op == "mul"
            for off, other in ((off_left, right), (off_right, left)):
                if off is not None:
                    room = room + (off * other if product else off)
            return room
        for pair in ((off_left, right), (left, off_right)):
            if pair[0] is not None and pair[1] is not None:
                room = room + _product(operation, *pair).reshape(room.shape)
        if check.bias is not None:
            off = _rounded_off(graph, str(operation.bias), check.bias.shape)
            room = room if off is None else room + off
    return np.asarray(room)


def _product(operation: MatmulOperation, left: Array, right: Array) -> Array:
    """Return the product of operands in the shapes of their tensors, in binary64."""
    right = right.reshape(operation.right_shape)
    if operation.transposed:
        right = right.swapaxes(-1, -2)
    return np.asarray(left.reshape(operation.left_shape) @ right)


def _rounded_off(graph: Graph, name: str, shape: tuple[int, ...]) -> Array | None:
    """Return how far each element of a constant may be off where it is subnormal in bfloat16."""
    constant = graph.constants.get(name)
    if constant is None:
        return None
    subnormal = (constant != 0) & (np.abs(constant) < _LEAST_NORMAL)
    if not subnormal.any():
        return None
    return np.where(subnormal, golden.SUBNORMAL_ROUNDING, 0.0).reshape(shape)


def _scale(check: Check, operation: PimOperation) -> Array:
    """Return the sum of the squares of the terms of each element of the result."""
    left, right = (golden.bf16_to_f32(bits).astype(np.float64) ** 2
                   for bits in (check.left, check.right))  # fmt: skip
    if isinstance(operation, ElementwiseOperation):
        return np.asarray(left * right if operation.op == "mul" else left + right)
    terms = _product(operation, left, right).reshape(check.result.shape)
    if check.bias is not None:
        terms = terms + golden.bf16_to_f32(check.bias).astype(np.float64) ** 2
    return np.asarray(terms)
