"""Why operators of a model cannot run on the PIM, in words for a report."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from host.capabilities import Capabilities
from host.models.graph import Graph, Node

#: Operators that the device has an operation for, whatever a platform lets it do.
_OPERATIONS = Capabilities().operators


def cpu_only(
    graph: Graph,
    capable: Collection[str],
    capabilities: Capabilities,
    kept: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Return reason and number of the operators that cannot run on the PIM, most frequent first.

    Parameters
    ----------
    graph
        The model.
    capable
        Ids of the operators that can.
    capabilities
        What the platform lets its PIM do.
    kept
        Operators that the device has an operation for and that stay on the CPU for another reason.
    """
    counts: dict[str, int] = {}
    for node in graph.nodes:
        if node.id not in capable:
            reason = _reason(graph, node, capabilities, kept or {})
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _reason(graph: Graph, node: Node, capabilities: Capabilities, kept: Mapping[str, str]) -> str:
    if node.id in kept:
        return "values or sizes that the PIM cannot hold (kept_on_cpu)"
    if node.domain or node.op not in _OPERATIONS:
        return "the PIM has no such operation"
    if node.op not in capabilities.operators:
        return "the platform's [capabilities] leave the operation out"
    infos = [graph.tensors[name] for name in (*node.inputs, *node.outputs) if name]
    others = sorted({str(info.dtype) for info in infos if info.dtype != np.float32})
    if others:
        return f"{' and '.join(others)} operands, the PIM takes float32"
    if any(info.elements == 0 for info in infos):
        return "no elements"
    return "operand shapes, attributes or constants that the PIM does not take"
