"""Why operators of a model cannot run on the PIM, grouped and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pimloop.host.models.graph import Graph, Node
from pimloop.host.models.quantize.reading import is_packed
from pimloop.host.operators import Capabilities, overflowing_constant, refusal
from pimloop.host.planning.coverage import multiply_adds


@dataclass(frozen=True)
class Group:
    """Operators that stay on the CPU for one reason."""

    reason: str
    operators: Mapping[str, int]  # number by type, most frequent first
    multiply_adds: int

    @property
    def count(self) -> int:
        """Number of operators."""
        return sum(self.operators.values())


def reasons(
    graph: Graph,
    capable: Collection[str],
    capabilities: Capabilities,
    kept: Mapping[str, str] | None = None,
) -> list[Group]:
    """Return the operators that cannot run on the PIM by reason, the most arithmetic first.

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
    by_reason: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.id not in capable:
            by_reason.setdefault(_reason(graph, node, capabilities, kept or {}), []).append(node)
    groups = [
        Group(
            reason,
            dict(Counter(node.op for node in nodes).most_common()),
            sum(multiply_adds(graph, node) for node in nodes),
        )
        for reason, nodes in by_reason.items()
    ]
    return sorted(groups, key=lambda group: (-group.multiply_adds, -group.count))


def cpu_only(
    graph: Graph,
    capable: Collection[str],
    capabilities: Capabilities,
    kept: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Return reason and number of the operators that cannot run on the PIM, most frequent first.

    The parameters are those of `reasons`.
    """
    counts = {group.reason: group.count for group in reasons(graph, capable, capabilities, kept)}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _reason(graph: Graph, node: Node, capabilities: Capabilities, kept: Mapping[str, str]) -> str:
    if node.id in kept and is_packed(node):
        return kept[node.id]
    if node.id not in kept:
        reason = refusal(graph, node, capabilities)
        if reason is not None:
            return reason
    if overflowing_constant(graph, node) is not None:
        return "a constant with finite values beyond the largest bfloat16 (kept_on_cpu)"
    return "weights or activations that do not fit into device memory (kept_on_cpu)"
