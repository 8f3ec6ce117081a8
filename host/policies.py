"""Placements that need no costs."""

from __future__ import annotations

from host.capabilities import Capabilities, pim_capable
from host.models.graph import Graph

#: The devices an operator can be placed on, and the memory each works in.
DEVICE_MEMORY = {"cpu_serial": "cpu", "cpu_parallel": "cpu", "pim": "pim"}


def pim_first(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Place every PIM-capable operator on the PIM, the others on all CPU cores.

    The paper's priority order PIM, CPU parallel, CPU serial (Kim et al., ACM TODAES 2024).
    """
    capable = pim_capable(graph, capabilities)
    return {node.id: "pim" if node.id in capable else "cpu_parallel" for node in graph.nodes}
