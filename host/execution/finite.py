"""NaN and infinities of an execution that float32 does not have: the first operator with one.

A mask of -inf is as it should be, and float32 has it too. What float32 does not have comes from
bfloat16: a sum beyond its largest value, and the NaN that an infinity makes further on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimloop.host.models.graph import Array, Graph
from pimloop.partitioner.quantity import quantity

#: For each element of a tensor: 0 finite, 1 NaN, 2 plus infinity, 3 minus infinity.
Kinds = NDArray[np.int8]

#: Returns the float32 values of tensors, by name.
Reference = Callable[[tuple[str, ...]], Mapping[str, Array]]


@dataclass(frozen=True)
class NonFinite:
    """The first result with NaN or infinities that float32 does not have, or has elsewhere."""

    node: str
    op: str
    device: str
    different: int  # elements
    elements: int
    first: tuple[int, ...]  # index of the first such element
    computed: str  # "NaN", "+inf", "-inf", "finite"
    wanted: str  # the same, of float32

    def __str__(self) -> str:
        """Return one line for a person."""
        return (
            f"{self.node} ({self.op}, {self.device}): {self.different} of"
            f" {quantity(self.elements, 'element')} {'is' if self.different == 1 else 'are'} not"
            f" finite as in float32, first at {list(self.first)}: {self.computed}, float32"
            f" {self.wanted}; keep the operator or the one before it on the CPU"
        )


_NAMES = ("finite", "NaN", "+inf", "-inf")


def kinds(values: Array) -> Kinds:
    """Return which elements of a float array are NaN or infinite."""
    codes = np.zeros(values.shape, np.int8)
    codes[np.isnan(values)] = 1
    codes[np.isposinf(values)] = 2
    codes[np.isneginf(values)] = 3
    return codes


def non_finite(values: Array) -> Kinds | None:
    """Return the kinds of a tensor's elements, None where all are finite or it holds no floats."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return None
    return kinds(values)


def first_non_finite(
    graph: Graph,
    assignment: Mapping[str, str],
    kinds_of: Mapping[str, Kinds],
    reference: Reference,
) -> NonFinite | None:
    """Return the first operator, in the graph's order, whose result is not as in float32.

    Parameters
    ----------
    graph, assignment
        What was executed, and where.
    kinds_of
        By tensor, the kinds of results that hold NaN or an infinity.
    reference
        Called once, with those tensors, when there are any.
    """
    if not kinds_of:
        return None
    wanted = reference(tuple(kinds_of))
    for node in graph.nodes:
        for name in node.outputs:
            if name not in kinds_of:
                continue
            unlike = unlike_float32(
                node.id, node.op, assignment[node.id], kinds_of[name], kinds(wanted[name])
            )
            if unlike is not None:
                return unlike
    return None


def unlike_float32(
    node: str, op: str, device: str, values: Kinds, wanted: Kinds
) -> NonFinite | None:
    """Return where a result is not finite as in float32, None where both are alike.

    Parameters
    ----------
    node, op, device
        Of the result, for messages.
    values, wanted
        Kinds of the result and of float32's, in one shape.
    """
    different = np.argwhere(values != wanted)
    if not len(different):
        return None
    first = tuple(int(index) for index in different[0])
    return NonFinite(
        node=node,
        op=op,
        device=device,
        different=len(different),
        elements=wanted.size,
        first=first,
        computed=_NAMES[values[first]],
        wanted=_NAMES[wanted[first]],
    )
