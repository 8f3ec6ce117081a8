"""What splitting an operator between the CPU and the PIM costs, for each share of its columns.

No model run is needed for it. A share of the PIM is simulated by itself, at the addresses that the
operator has in every schedule; the CPU's part is an operator of fewer columns, whose time the
platform's model has; what is gathered is a transfer of fewer elements, at the platform's price. So
a plan's times are those of its execution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.execution.times import cpu_part_us
from pimloop.host.models.graph import Graph, Node
from pimloop.host.operators import Operation
from pimloop.host.pim.fit import PimFit
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.splits import Split

#: Steps in which columns are shared where nothing else is asked for.
SHARES = 16

#: The device that computes the columns that the PIM does not, and the PIM.
DEVICES = ("cpu_parallel", "pim")


def why_no_splits(platform: Platform, fit: PimFit, shares: int) -> str:
    """Return why no operator of a model can be split on a platform, "" where some can."""
    if shares == 1:
        return "one share (--shares 1) leaves every operator whole"
    if platform.cpu_model() is None or platform.driver.conversion == "measured":
        return "the times of parts are known on platforms that model their CPU and their transfers"
    if not fit.static:
        return "the weights of all operators do not fit into device memory together"
    if not fit.first_columns:
        return "no product by constant weights is wider than a column tile of the PIM"
    return ""


def offered_columns(fit: PimFit, graph: Graph, shares: int) -> dict[str, tuple[int, ...]]:
    """Return how many columns of each operator the PIM may be given, beside none and all.

    Parameters
    ----------
    fit, graph
        The model on a platform.
    shares
        Steps of the columns: of what the PIM can compute alone, that which is nearest to each.
    """
    offered = {}
    for name, possible in fit.first_columns.items():
        total = graph.tensors[graph.node(name).outputs[0]].shape[-1]
        wanted = [Fraction(total * step, shares) for step in range(1, shares)]
        nearest = {min(possible, key=lambda n: (abs(n - target), n)) for target in wanted}
        if nearest:
            offered[name] = tuple(sorted(nearest))
    return offered


def splits(
    graph: Graph,
    operations: Mapping[str, Operation],
    platform: Platform,
    clocks: Mapping[tuple[str, int], int],
) -> dict[str, Sequence[Split]]:
    """Return the splits of every operator whose parts were simulated, by node id.

    Parameters
    ----------
    graph, operations
        The model, and how the PIM runs it.
    platform
        Whose times; it models its CPU and its transfers.
    clocks
        DRAM clocks by node id and columns that the PIM computes.
    """
    offered: dict[str, list[Split]] = {}
    for (name, columns), cycles in sorted(clocks.items()):
        node = graph.node(name)
        offered.setdefault(name, []).append(
            _split(graph, node, operations[name], platform, columns, cycles)
        )
    return {name: tuple(proposals) for name, proposals in offered.items()}


def _split(
    graph: Graph, node: Node, operation: Operation, platform: Platform, columns: int, cycles: int
) -> Split:
    model = platform.cpu_model()
    assert model is not None  # `why_no_splits`
    info = graph.tensors[node.outputs[0]]
    total = info.shape[-1]
    rows = info.elements // total
    share = Fraction(columns, total)
    cpu_us = cpu_part_us(model, graph, node, operation, columns, DEVICES[0])
    gathered = {
        HOST_MEMORY: platform.transfer_us(PIM_MEMORY, HOST_MEMORY, rows * columns),
        PIM_MEMORY: platform.transfer_us(HOST_MEMORY, PIM_MEMORY, rows * (total - columns)),
    }
    return Split(
        devices=DEVICES,
        share=share.numerator,
        shares=share.denominator,
        part_us=(cpu_us, platform.pim_time_us(cycles)),
        gather_us={node.outputs[0]: gathered},
    )
