"""Why operators of a model cannot run on the PIM, in words for a report."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from host.capabilities import Capabilities, refusal
from host.models.graph import Graph, Node


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
    reason = None if node.id in kept else refusal(graph, node, capabilities)
    return reason or "values or sizes that the PIM cannot hold (kept_on_cpu)"
