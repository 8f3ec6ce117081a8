"""Computes CPU segments again, each from what the execution left in CPU memory.

With the golden model of every PIM result this makes a chain without a gap: each value is what its
operators give for the values before it. A segment that was called too early, or with another one's
buffers, shows here, whatever follows it in the model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np

from pimloop.host.cpu.segments import Segment, SessionCache
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.ort_values import is_plain
from pimloop.partitioner.quantity import quantity

#: Relative L2 norm by which float32 sums may differ that are taken in another order.
ORDER_LIMIT = 1e-5

#: Returns what CPU memory holds of a tensor.
Memory = Callable[[str], Array]


def segment_values(
    graph: Graph,
    segment: Segment,
    memory: Memory,
    names: Collection[str],
    sessions: SessionCache,
    *,
    exact: bool = False,
) -> dict[str, Array]:
    """Return tensors that a segment makes, computed in a session that never executes the model.

    Parameters
    ----------
    graph, segment
        The segment.
    memory
        Of what it reads.
    names
        The tensors, inner ones too.
    sessions
        Of segments computed again; they pack no weights.
    exact
        With the threads that execute the segment: then a right value has the same bits.
    """
    again = segment if exact else replace(segment, device="cpu_parallel")
    return sessions.compute(graph, again, memory, names)


def wrong_results(
    graph: Graph,
    segment: Segment,
    memory: Memory,
    names: Collection[str],
    sessions: SessionCache,
) -> list[str]:
    """Return, in words, which results of a segment are not what its operators give."""
    wrong = _unlike(segment_values(graph, segment, memory, names, sessions), memory)
    if wrong:  # differences of the last bits may have been amplified
        again = segment_values(graph, segment, memory, wrong, sessions, exact=True)
        wrong = [name for name in wrong if not _same_bits(again[name], memory(name))]
    return [
        f"{name}: {_different(memory(name), again[name])} of"
        f" {quantity(again[name].size, 'element')} differ from what the operators from"
        f" {segment.nodes[0].id} to {segment.nodes[-1].id} ({segment.device}) give for the same"
        " inputs"
        for name in wrong
    ]


def _unlike(wanted: Mapping[str, Array], memory: Memory) -> list[str]:
    return [name for name, values in wanted.items() if not _alike(memory(name), values)]


def _alike(computed: Array, wanted: Array) -> bool:
    if _same_bits(computed, wanted):
        return True
    if wanted.dtype.kind != "f":
        return False
    a, b = computed.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    return bool(np.linalg.norm((a - b)[finite]) <= ORDER_LIMIT * np.linalg.norm(b[finite]))


def _same_bits(computed: Array, wanted: Array) -> bool:
    if not is_plain(wanted.dtype):  # bfloat16, float8: numpy compares their NaN as different
        return computed.tobytes() == wanted.tobytes()
    return np.array_equal(computed, wanted, equal_nan=wanted.dtype.kind == "f")


def _different(computed: Array, wanted: Array) -> int:
    same = computed == wanted
    if wanted.dtype.kind == "f":
        same |= np.isnan(computed) & np.isnan(wanted)
    return int(wanted.size - np.count_nonzero(same))
