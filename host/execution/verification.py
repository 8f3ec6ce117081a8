"""Checks every result of the PIM device beside the run, in two ways.

Bit for bit against the golden model: the device computed what it was told. And against ONNX
Runtime's own operator in float32 on the same operands: it was told the right thing. The second is
what finds a wrong weight, bias or transposition, in a single element; at the end of a model in
bfloat16 these drown in rounding (a dropped bias moves the features of `bert-small` by 2 %, rounding
by 1.3 %).

One worker thread computes the expected bits while the device works. It stands still while the
caller holds `paused()`, so that it never disturbs the timing of CPU operators.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.cpu.operators import OperatorSessions
from pimloop.host.execution.finite import kinds
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators import Operation
from pimloop.partitioner.quantity import quantity

Bits = NDArray[np.uint16]

#: Bound on the golden model's work left when the device has finished, seconds.
TIMEOUT_S = 3600.0

#: Bytes of operands and results that may wait for the golden model: the device waits beyond them.
MOST_WAITING_BYTES = 256 << 20

#: Temporary memory of checking a result against float32, bytes for each of its elements (measured
#: with tracemalloc: 37.0 of a product with a short inner dimension), of the largest operand (6.0 of
#: a constant, 6.9 of an activation) and of the others, which are widened whole (12.0).
CHECKED_BYTES = 38
LARGEST_BYTES = 7
WIDENED_BYTES = 12

#: Bound on waiting for one block of golden arithmetic, seconds.
_BLOCK_TIMEOUT = 120.0


#: Limit of an operator's error against float32, as a multiple of what rounding can do.
OPERATOR_LIMIT = 1.0

#: The most that rounding errs by, as a part of the value.
_ROUNDING_BF16 = 2.0**-8


@dataclass(frozen=True)
class Check:
    """One result to verify; operands and result are bfloat16 bits in their logical shapes."""

    node: Node
    operation: Operation
    operands: Mapping[str, Bits]  # by tensor
    result: Bits
    #: The graph with the operator's tensors, where it is not the verifier's.
    graph: Graph | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of operands and result."""
        return self.result.nbytes + sum(bits.nbytes for bits in self.operands.values())


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
            f"{self.node}: {self.different} of {quantity(self.elements, 'element')} differ, first"
            f" at {list(self.first)}: device 0x{self.device_bits:04X}, golden"
            f" 0x{self.golden_bits:04X}"
        )


def find_mismatch(name: str, computed: Bits, expected: Bits) -> Mismatch | None:
    """Compare bits of one shape; return how they differ, None when they are equal.

    >>> str(find_mismatch("y", np.array([1, 2], np.uint16), np.array([1, 3], np.uint16)))
    'y: 1 of 2 elements differ, first at [1]: device 0x0002, golden 0x0003'
    """
    different = expected != computed
    if not different.any():
        return None
    first = tuple(int(i) for i in np.argwhere(different)[0])
    return Mismatch(
        node=name,
        different=int(different.sum()),
        elements=different.size,
        first=first,
        device_bits=int(computed[first]),
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
        self._sessions = OperatorSessions()
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

    def finish(self, advice: str = "give the machine more time, or a shorter sequence") -> None:
        """Wait for all checks; `advice` says what to do where that takes too long.

        Raises
        ------
        PimloopError
            When `TIMEOUT_S` is over first.
        """
        if not self.wait(TIMEOUT_S):
            raise PimloopError(
                f"the golden model has {quantity(self.pending, 'result')} left to check after"
                f" {TIMEOUT_S:.0f} s: {advice}"
            )

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
                    error = operator_error(check.graph or self._graph, check, self._sessions)
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
        shape = check.operation.expected_shape(check.operands, check.result.shape)
        expected = np.empty(shape, np.uint16)
        for index, part in check.operation.expected(check.operands):
            with self._block():
                expected[index] = part()
            if self._closing:
                return None
        return find_mismatch(check.node.id, check.result, expected.reshape(check.result.shape))


def paused(verifier: Verifier | None) -> AbstractContextManager[None]:
    """Return what makes a verifier, where there is one, stand still while the body runs."""
    return nullcontext() if verifier is None else verifier.paused()


def operator_error(graph: Graph, check: Check, sessions: OperatorSessions | None = None) -> float:
    """Return the largest error of an element against float32, as a multiple of its bound.

    The operands that the device had, and the graph's constants rounded to bfloat16, go through
    ONNX Runtime's operator in float32. What is left is the rounding of the result and of two
    float32 sums of the same terms, each taken in its own order, so the bound of an element is a
    theorem and no measurement: no right result is above 1. Where float32 gives NaN or an infinity
    the result must be the same; anything else is an infinite error.

    Parameters
    ----------
    graph
        Where the operator's tensors and float32 constants are.
    check
        The result.
    sessions
        Of operators, which further checks may share; default: its own.
    """
    sessions = sessions or OperatorSessions()
    wanted = sessions.run(graph, check.node, _in_float32(graph, check))
    computed = golden.bf16_to_f32(check.result)
    if not np.array_equal(kinds(wanted), kinds(computed)):
        return float("inf")
    with np.errstate(all="ignore"):
        off = np.abs(computed.astype(np.float64) - wanted)
        over = np.where(np.isfinite(wanted), off / _bound(check, wanted), 0.0)
    return float(over.max(initial=0.0))


def _bound(check: Check, wanted: Array) -> Array:
    """Return how far an element may be from `wanted`, ONNX Runtime's float32 result."""
    sums = check.operation.sums_error(check.operands, wanted)
    size = np.abs(wanted.astype(np.float64))
    return np.asarray(_ROUNDING_BF16 * (size + sums) + sums + golden.SUBNORMAL_ROUNDING)


def _in_float32(graph: Graph, check: Check) -> dict[str, Array]:
    """Return what an operator reads: the device's activations, the graph's constants rounded."""
    values = {}
    for name in filter(None, check.node.inputs):
        constant = graph.constants.get(name)
        if constant is not None and np.issubdtype(constant.dtype, np.integer):
            values[name] = constant  # integer weights are as the device has them
            continue
        bits = check.operands[name] if constant is None else golden.to_bf16_bits(constant)
        values[name] = golden.bf16_to_f32(bits).reshape(graph.tensors[name].shape)
    return values
