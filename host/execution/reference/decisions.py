"""Decisions of a model: where values with rounding errors become integers, or jump.

An ArgMax, a comparison, a rounding or quantizing operator turns a small error into another result
or into none. So its result is held to its margin, and what follows it is compared with float32
given the run's decisions. `judge` does that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pimloop.host.models.graph import Array, Graph, Node

#: Operators with a floating-point result that jumps.
_STEPS = frozenset({"Round", "Floor", "Ceil", "Sign", "Hardmax"})

#: Operators that move values and make none: of exact values the result is exact.
_MOVES = frozenset(
    {
        "Cast", "Concat", "DepthToSpace", "DequantizeLinear", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "Identity", "Neg", "OneHot", "Pad", "Relu", "Reshape",
        "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip

_CHOICES = frozenset({"ArgMax", "ArgMin", "TopK"})
_COMPARISONS = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"})

#: Ends the name under which float32's own decision is returned.
_OWN = "/float32"


@dataclass(frozen=True)
class Decision:
    """An operator that decides, its float activations and its results that jump."""

    node: Node
    reads: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class IntegerComparison:
    """Integers of a run, or other results that jump, against float32's."""

    tensor: str
    elements: int
    different: int
    beyond: int  # of those, how many rounding does not explain
    rule: str  # "exact", "margin of ArgMax y", "given the decisions of y"
    margin: float | None = None  # of the different element nearest to its bound, or furthest beyond
    bound: float | None = None  # of that element

    @property
    def passed(self) -> bool:
        """Whether every difference is explained."""
        return self.beyond == 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the verdict; what is not finite becomes None."""
        fields = asdict(self) | {"passed": self.passed}
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v
                for k, v in fields.items()}  # fmt: skip


def decisions(graph: Graph, outputs: Collection[str]) -> list[Decision]:
    """Return the decisions behind `outputs`, in the order of the graph."""
    needed = set(outputs)
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(graph.activations(node))
    discrete = {name for name in graph.inputs if graph.tensors[name].dtype.kind != "f"}
    decided = []
    for node in graph.nodes:
        activations = list(graph.activations(node))
        continuous = tuple(name for name in activations if name not in discrete)
        results = tuple(
            name
            for name in node.outputs
            if name and (graph.tensors[name].dtype.kind in "iub" or node.op in _STEPS)
        )
        discrete.update(results)
        if node.op in _MOVES and activations and not continuous:
            discrete.update(filter(None, node.outputs))
        if continuous and results and needed.intersection(results):
            decided.append(Decision(node, continuous, results))
    return decided


def forced(graph: Graph, made: Collection[Decision]) -> Graph:
    """Return a graph that takes the results of decisions as inputs.

    What its operators decide by themselves is made under the names of `own`.
    """
    given = [name for decision in made for name in decision.results]
    renamed = {name: own(name) for name in given}
    nodes = tuple(
        replace(node, outputs=tuple(renamed.get(name, name) for name in node.outputs))
        for node in graph.nodes
    )
    return replace(
        graph,
        nodes=nodes,
        tensors={**graph.tensors, **{new: graph.tensors[old] for old, new in renamed.items()}},
        inputs=(*graph.inputs, *given),
    )


def own(name: str) -> str:
    """Return the name of what float32 decides itself in a graph of `forced`."""
    return name + _OWN


def compare_decision(
    decision: Decision,
    run: Mapping[str, Array],
    float32: Mapping[str, Array],
    bounds: Mapping[str, Array],
) -> list[IntegerComparison]:
    """Compare what a decision gave with float32's; results that are equal are left out.

    Parameters
    ----------
    decision
        The operator.
    run, float32
        Values of what it reads and of its results, by name; float32's with constants.
    bounds
        How far each element of what it reads may be from float32.
    """
    compared = []
    for name in decision.results:
        different = run[name] != float32[name]
        if not different.any():
            continue
        margin, bound = _margins(decision, name, run, float32, bounds)
        margin, bound = (np.broadcast_to(v, different.shape)[different] for v in (margin, bound))
        over = _over(margin, bound)
        worst = int(over.argmax())
        compared.append(
            IntegerComparison(
                tensor=name,
                elements=different.size,
                different=int(different.sum()),
                beyond=int((over > 1).sum()),
                rule=f"margin of {decision.node.op} {decision.node.id}",
                margin=float(margin[worst]),
                bound=float(bound[worst]),
            )
        )
    return compared


def _margins(
    decision: Decision,
    name: str,
    run: Mapping[str, Array],
    float32: Mapping[str, Array],
    bounds: Mapping[str, Array],
) -> tuple[Array, Array]:
    """Return the margin of each element of a result in float32, and its bound.

    Of a choice: by how much float32 prefers its own element; of a comparison: how far the operands
    are apart; of others: how far the run moved what is decided.
    """
    node = decision.node
    if node.op in _CHOICES and name == node.outputs[-1]:
        values, bound = (m[node.inputs[0]].astype(np.float64) for m in (float32, bounds))
        at_run, at_own = (_chosen(node, values, v[name]) for v in (run, float32))
        of_run, of_own = (_chosen(node, bound, v[name]) for v in (run, float32))
        return _distance(at_own, at_run), of_run + of_own
    if node.op in _COMPARISONS:
        left, right = (float32[operand].astype(np.float64) for operand in node.inputs)
        of_left, of_right = (bounds.get(operand, np.zeros(())) for operand in node.inputs)
        return _distance(left, right), of_left + of_right
    moved = {read: _distance(run[read], float32[read]) for read in decision.reads}
    if len(decision.reads) == 1 and moved[decision.reads[0]].shape == float32[name].shape:
        return moved[decision.reads[0]], bounds[decision.reads[0]]
    return _furthest(moved, bounds)


def _distance(left: Array, right: Array) -> Array:
    """Return how far values are apart; equal infinities and two NaN are not."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(all="ignore"):
        off = np.abs(a - b)
    return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, off)


def _chosen(node: Node, values: Array, index: Array) -> Array:
    """Return the elements that indices along the operator's axis choose."""
    axis = int(node.attributes.get("axis", -1 if node.op == "TopK" else 0))
    if index.ndim < values.ndim:
        index = np.expand_dims(index, axis)
        return np.take_along_axis(values, index, axis).squeeze(axis)
    return np.take_along_axis(values, index, axis)


def _over(off: Array, bound: Array) -> Array:
    """Return how many times its bound each value is; NaN is beyond any."""
    with np.errstate(all="ignore"):
        over = np.where(off == 0, 0.0, off / bound)
    return np.where(np.isnan(over), np.inf, over)


def _furthest(moved: Mapping[str, Array], bounds: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the error and the bound of the element that is nearest to its bound."""
    worst = (-1.0, np.zeros(()), np.zeros(()))
    for name, off in moved.items():
        bound = np.broadcast_to(bounds[name], off.shape)
        over = _over(off, bound)
        if over.size and over.max() > worst[0]:
            at = np.unravel_index(int(over.argmax()), over.shape)
            worst = (float(over[at]), off[at], bound[at])
    return worst[1], worst[2]
