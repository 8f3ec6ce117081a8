"""How much of a model's arithmetic is in operators that the PIM can take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pimloop.host.cpu.work import operator_work
from pimloop.host.models.graph import Graph, Node

#: The amounts of an operator's work that count multiply-adds.
_MULTIPLY_ADDS = ("product_mac_ns", "batched_mac_ns")


@dataclass(frozen=True)
class Coverage:
    """Multiply-adds of a model's products, those inside fused operators included."""

    total: int
    on_pim: int  # in operators that can run on the PIM

    @property
    def share(self) -> float | None:
        """Part of the multiply-adds that the PIM can take; None where a model has none."""
        return self.on_pim / self.total if self.total else None


def multiply_adds(graph: Graph, node: Node) -> int:
    """Return the multiply-adds of the products in an operator; 0 of one without products."""
    work = operator_work(graph, node)
    return int(
        sum(part.amounts.get(key, 0) for part in (work, *work.parts) for key in _MULTIPLY_ADDS)
    )


def coverage(graph: Graph, capable: Collection[str]) -> Coverage:
    """Return how many of the multiply-adds are in the operators `capable`, by id."""
    counts = {node.id: multiply_adds(graph, node) for node in graph.nodes}
    return Coverage(sum(counts.values()), sum(counts[identifier] for identifier in capable))
