"""Placements that need no costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def cpu_serial(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Place everything on one CPU core."""
    return {node.id: "cpu_serial" for node in graph.nodes}


def cpu_parallel(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Place everything on all CPU cores."""
    return {node.id: "cpu_parallel" for node in graph.nodes}


#: The placements by the name that the command line gives them.
POLICIES: Mapping[str, Callable[[Graph, Capabilities], dict[str, str]]] = {
    "pim_first": pim_first,
    "cpu_serial": cpu_serial,
    "cpu_parallel": cpu_parallel,
}
