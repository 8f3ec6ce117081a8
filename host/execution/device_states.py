"""States that stay in device memory from one execution to the next, and what must be there.

Beside what the device has, the host keeps the bits of every row that was written: results are
checked with them, and at the end the device's rows must be the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.execution.verification import Check, find_mismatch
from pimloop.host.models.graph import Array, Graph, Node, State
from pimloop.host.operators.append import Append
from pimloop.host.operators.product import Product
from pimloop.host.pim.resident import ResidentModel

Bits = NDArray[np.uint16]


def filled_rows(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, int]:
    """Return how many rows each state has with those that an execution appends.

    Parameters
    ----------
    graph
        The model.
    feeds
        Its inputs.

    Returns
    -------
    By the tensor that operators read.

    Raises
    ------
    PimloopError
        When an index is not the same everywhere, or behind the last row.
    """
    filled = {}
    for state in graph.states:
        first, appended = state.first, graph.tensors[state.rows].shape[-2]
        capacity = graph.tensors[state.whole].shape[-2]
        if state.index is not None:
            index = feeds[state.index]
            first = int(index.flat[0])
            if np.any(index != first):
                raise PimloopError(
                    f"model {graph.name}: input '{state.index}' has the rows {int(index.min())} to"
                    f" {int(index.max())}: all sequences and heads of state '{state.past}' get"
                    " their row at the same place; give one number everywhere"
                )
        if not 0 <= first <= first + appended <= capacity:
            raise PimloopError(
                f"model {graph.name}: state '{state.past}' has {capacity} rows, and row {first}"
                f" (input '{state.index}') is to be written: the context is full; generate fewer"
                " tokens, or build the model for a longer context"
            )
        filled[state.whole] = first + appended
    return filled


class DeviceStates:
    """The states of one execution's model that are in device memory.

    Parameters
    ----------
    graph
        The model.
    nodes
        The operators on the PIM.
    resident
        The model on the device.

    Attributes
    ----------
    here
        Those that are appended to on the PIM.
    """

    def __init__(self, graph: Graph, nodes: Collection[Node], resident: ResidentModel) -> None:
        self._graph = graph
        self._model: ResidentModel | None = resident
        self.here: tuple[State, ...] = tuple(
            graph.state_of[node.id] for node in nodes if node.id in graph.state_of
        )
        self._bits: dict[str, Bits] = {}  # what must be there, by the tensor that operators read

    @property
    def _resident(self) -> ResidentModel:
        assert self._model is not None, "the execution has left its device"
        return self._model

    def leave_device(self) -> None:
        """Forget the device, as `OffloadedSegments.leave_device`."""
        self._model = None

    def first_bits(self, state: State, past: Array) -> Bits:
        """Return a state before the first execution: the rows that it has, then 0."""
        bits = np.zeros(self._graph.tensors[state.whole].shape, np.uint16)
        bits[..., : past.shape[-2], :] = golden.operand_bits(past)
        self._bits[state.whole] = bits
        return bits

    def append(self, state: State, rows: Bits) -> Bits:
        """Note rows that were appended; return the state's bits, which later rows change."""
        first, end = self._range(state)
        bits = self._bits[state.whole]
        bits[..., first:end, :] = rows.reshape(bits[..., first:end, :].shape)
        return bits

    def check_rows(self, node: Node, rows: Bits) -> Check:
        """Return the check of the rows that an operator has appended, read from the device."""
        graph, state = self._graph, self._graph.state_of[node.id]
        first, end = self._range(state)
        info = graph.tensors[state.rows]
        values = self._resident.state_rows(state.whole, first, end - first)
        copy = replace(
            node, op="Identity", domain="", inputs=(state.rows,), outputs=(state.whole,),
            attributes={},
        )  # fmt: skip
        part = replace(
            graph, nodes=(copy,), inputs=(state.rows,), outputs=(state.whole,), states=(),
            tensors={state.rows: info, state.whole: info},
        )  # fmt: skip
        operation = Append(state, info.shape)
        device_bits = golden.to_bf16_bits(values)
        return Check(copy, operation, {state.rows: rows}, device_bits, part)

    def check(self, check: Check) -> Check:
        """Return the check of a product with what of a state is there, where it reads one.

        The product is that of the rows which are there. What a transposed state gives beyond them
        must be 0: it is part of the check that comes back only where it is not.
        """
        graph, product = self._graph, check.operation
        assert isinstance(product, Product)
        if product.right not in graph.state_named:
            return check
        rows = self._resident.filled[product.right]
        result = check.result
        # A copy: later executions write into the state.
        operands = {**check.operands, product.right: check.operands[product.right].copy()}
        if product.transposed and result[..., rows:].any():
            return replace(check, operands=operands)
        return _first_rows(graph, replace(check, operands=operands), product, rows)

    def wrong(self) -> list[str]:
        """Return which states are not what was written, in words."""
        wrong = []
        for name, bits in self._bits.items():
            values = self._resident.state_rows(name, 0, bits.shape[-2])
            mismatch = find_mismatch(name, golden.to_bf16_bits(values), bits)
            if mismatch is not None:
                wrong.append(f"state {mismatch}")
        return wrong

    def _range(self, state: State) -> tuple[int, int]:
        end = self._resident.filled[state.whole]
        return end - self._graph.tensors[state.rows].shape[-2], end


def _first_rows(graph: Graph, check: Check, product: Product, rows: int) -> Check:
    """Return the check of a product by the first rows of a state alone."""
    operands, result = dict(check.operands), check.result
    state = operands[product.right]
    operands[product.right] = state[..., :rows, :]
    right_shape = (*product.right_shape[:-2], rows, product.right_shape[-1])
    left_shape = product.left_shape
    if product.transposed:
        result = result[..., :rows]
    else:
        operands[product.left] = operands[product.left][..., :rows]
        left_shape = (*left_shape[:-1], rows)
    (made,) = check.node.outputs
    shapes = {
        product.left: operands[product.left].shape,
        product.right: operands[product.right].shape,
        made: result.shape,
    }
    part = replace(
        graph,
        nodes=(check.node,),
        inputs=(product.left, product.right),
        outputs=(made,),
        states=(),
        tensors={name: replace(graph.tensors[name], shape=shape) for name, shape in shapes.items()},
    )
    short = replace(product, left_shape=left_shape, right_shape=right_shape)
    return Check(check.node, short, operands, result, part)
