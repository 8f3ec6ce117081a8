"""Exact maximum flow with integer capacities of any size on top of scipy's 32-bit one.

`scipy.sparse.csgraph.maximum_flow` is fast but holds capacities in 32 bits and overflows without
a word beyond them. Here the capacities are taken a slice of bits at a time (capacity scaling):
solve with capacities divided by a unit, push that flow, and go on with what is left over and a
finer unit. After a step with unit u at most (number of arcs) x u is left, which bounds the next
slice, so every slice fits 30 bits and the last one, with unit 1, ends at the true maximum. Arrays
of Python's integers (dtype object) carry what does not fit 64 bits.

The result does not have to be believed: `verify` checks that the flow is a flow and that a cut of
the same value exists, which proves both (Ford and Fulkerson 1956), whatever the solver did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from pimloop.partitioner.errors import PartitionerError

IntArray = NDArray[np.int64]
#: Entries are 64-bit or, of dtype object, Python's integers.
WholeArray = NDArray[Any]

#: A slice of capacity, and with it the flow of one step, stays below 31 bits.
SLICE_LIMIT = 1 << 30

#: No flow of 64-bit capacities is larger than this.
FLOW_LIMIT = 1 << 61


@dataclass(frozen=True)
class MaxFlow:
    """A maximum flow and a minimum cut, already verified against each other."""

    value: int
    source_side: NDArray[np.bool_]  # shape (nodes,), True where the cut leaves the node at source
    steps: int  # solver calls


def max_flow(
    nodes: int, source: int, sink: int, tail: IntArray, head: IntArray, capacity: WholeArray
) -> MaxFlow:
    """Return a maximum flow from `source` to `sink` with a minimum cut that proves it.

    Parameters
    ----------
    nodes
        Number of nodes; nodes are 0 .. nodes-1.
    tail, head, capacity
        Shape (arcs,), int64: the arc from `tail[i]` to `head[i]` carries at most `capacity[i]`.
        Parallel arcs add up, and their sum must stay below 2**61, as must the flow itself; a
        `capacity` of dtype object has no limit.

    Raises
    ------
    PartitionerError
        If the solver's answer fails verification (a fault in the solver, never in the input).
    """
    bound = min(_exact_sum(capacity[tail == source]), _exact_sum(capacity[head == sink]))
    if capacity.dtype != object:
        bound = min(bound, FLOW_LIMIT)
    keys, slot = np.unique(
        np.concatenate([tail * nodes + head, head * nodes + tail]), return_inverse=True
    )
    full = np.zeros(len(keys), dtype=capacity.dtype)
    np.add.at(full, slot[: len(tail)], capacity)
    rows, columns = keys // nodes, keys % nodes
    pointer = np.searchsorted(rows, np.arange(nodes + 1)).astype(np.int32)
    carried = np.zeros_like(full)
    value = steps = 0
    left = bound
    while left > 0:
        unit = max(1, -(-left // SLICE_LIMIT))
        slices = np.minimum((full - carried) // unit, SLICE_LIMIT).astype(np.int32)
        network = csr_matrix((slices, columns.astype(np.int32), pointer), shape=(nodes, nodes))
        result = maximum_flow(network, source, sink, method="dinic")
        pushed = result.flow.tocoo()
        carried[np.searchsorted(keys, pushed.row.astype(np.int64) * nodes + pushed.col)] += (
            pushed.data.astype(full.dtype) * unit
        )
        value += int(result.flow_value) * unit
        steps += 1
        if unit == 1:
            break
        left = min(left, len(keys) * unit)
    source_side = verify(nodes, source, sink, rows, columns, full, carried, value)
    return MaxFlow(value, source_side, steps)


def verify(
    nodes: int,
    source: int,
    sink: int,
    rows: IntArray,
    columns: IntArray,
    capacity: WholeArray,
    carried: WholeArray,
    value: int,
) -> NDArray[np.bool_]:
    """Check that `carried` is a flow of `value` and that a cut of that value exists.

    Returns
    -------
    ndarray of bool, shape (nodes,)
        The source side of the minimum cut.

    Raises
    ------
    PartitionerError
        If the flow breaks a capacity or conservation, or no cut has its value.
    """
    balance = np.zeros(nodes, dtype=carried.dtype)
    np.add.at(balance, rows, carried)
    inner = np.ones(nodes, dtype=bool)
    inner[[source, sink]] = False
    if (carried > capacity).any() or balance[inner].any() or balance[source] != value:
        raise PartitionerError(
            "the flow solver returned something that is not a flow; "
            "update scipy, or use --method ilp"
        )
    open_arcs = (capacity - carried) > 0
    residual = csr_matrix(
        (np.ones(int(open_arcs.sum()), dtype=np.int8), (rows[open_arcs], columns[open_arcs])),
        shape=(nodes, nodes),
    )
    reached = breadth_first_order(residual, source, return_predecessors=False)
    source_side = np.zeros(nodes, dtype=bool)
    source_side[reached] = True
    cut = _exact_sum(capacity[source_side[rows] & ~source_side[columns]])
    if source_side[sink] or cut != value:
        raise PartitionerError(
            "the flow solver stopped before the maximum (no cut has the flow's value); "
            "update scipy, or use --method ilp"
        )
    return source_side


def _exact_sum(values: WholeArray) -> int:
    """Return the sum of non-negative `values` as a Python integer, which cannot overflow."""
    if values.dtype == object:
        return int(sum(values.tolist()))
    low = (1 << 31) - 1
    return (int((values >> 31).sum()) << 31) + int((values & low).sum())
