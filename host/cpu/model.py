"""How long an operator takes on the platform's CPU, from few physical parameters.

One core: a fixed cost for the call, then amounts of work times nanoseconds each
(`pimloop.host.cpu.work`). For a product with weights this is

    t = call + weights * weight_ns + rows * weights * mac_ns

the weights are read and packed once, whatever the rows: its rate rises with the rows until the
multiply-adds dominate (the roofline of a packed sgemm).

All cores: products with weights scale by Amdahl's law (1967), whose serial share follows from the
one measured ratio: `speedup_cores` cores are `product_speedup` times faster than one. Each product
of a batch has a thread for every `batched_thread_macs` multiply-adds, and a fork and join once it
has two. Element-wise operators and functions of `elementwise_parallel_elements` and more are
shared: streams until the memory is saturated, which it is at `elementwise_speedup` times one core,
arithmetic by the number of cores. Everything else takes its time on one core: reductions, movement,
Erf and Softmax are not shared by the ONNX Runtime of the board's traces. So one core takes the
same time on both devices, and no speed-up exceeds the number of cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pimloop.host.cpu.parameters import CpuSection
from pimloop.host.cpu.work import Basis, Work, operator_work
from pimloop.host.models.graph import Graph, Node
from pimloop.partitioner.quantity import quantity

CpuDevice = Literal["cpu_serial", "cpu_parallel"]

_NS_PER_US = 1e3

#: Amounts that saturate the memory when cores share them; other shared amounts scale with cores.
_MEMORY_BOUND = frozenset({"stream_ns", "row_ns"})

#: Functions that ONNX Runtime keeps on one core whatever their size.
_UNSHARED = frozenset({"erf_ns", "softmax_ns"})


class CpuModel:
    """The time of operators on a CPU; deterministic.

    Parameters
    ----------
    parameters
        The `[cpu]` section of a platform.
    platform
        The platform's name, for `source`.
    """

    def __init__(self, parameters: CpuSection, platform: str) -> None:
        self.parameters = parameters
        self.source = (
            f"modelled: the CPU of platform {platform}, {quantity(parameters.cores, 'core')}"
        )
        self.method = (
            "call + amounts x ns of [cpu] in the platform file (docs/platforms.md); operators of"
            " unknown type as streams of their elements; cpu_serial: 1 core, cpu_parallel:"
            f" {quantity(parameters.cores, 'core')}"
        )

    def time_us(self, graph: Graph, node: Node, device: CpuDevice) -> float:
        """Return the time of `node` on `device`, microseconds."""
        return self.work_us(operator_work(graph, node), device)

    def work_us(self, work: Work, device: CpuDevice) -> float:
        """Return the time of `work` on `device`, microseconds."""
        call = float(getattr(self.parameters, work.call))
        share = self._alone_us if device == "cpu_serial" else self._shared_us
        return call + sum(share(part) for part in (work, *work.parts))

    def _amounts(self, work: Work) -> Mapping[str, float]:
        """Return the amounts that cost something: a tensor in the cache is read in any order."""
        if work.source_bytes > self.parameters.l1_bytes:
            return work.amounts
        return {name: n for name, n in work.amounts.items() if name != "permute_miss_ns"}

    def _serial_us(self, amounts: Mapping[str, float]) -> float:
        return sum(
            amount * float(getattr(self.parameters, name)) / _NS_PER_US
            for name, amount in amounts.items()
        )

    def _alone_us(self, work: Work) -> float:
        return self._serial_us(self._amounts(work))

    def _shared_us(self, work: Work) -> float:
        p = self.parameters
        amounts = self._amounts(work)
        serial = self._serial_us(amounts)
        if work.kind == "product":
            return serial / product_speedup(p)
        if work.kind == "batched product":
            threads = batch_threads(work, p)
            fork = work.products * p.batched_fork_us if threads > 1 else 0.0
            return serial / threads + fork
        if not is_shared(work, p):
            return serial
        memory = self._serial_us({k: v for k, v in amounts.items() if k in _MEMORY_BOUND})
        return memory / min(p.elementwise_speedup, p.cores) + (serial - memory) / p.cores

    @staticmethod
    def by_basis(graph: Graph, times_us: Mapping[str, float]) -> dict[Basis, list[BasisRow]]:
        """Return what prices rest on, by operator type, the longest first.

        Parameters
        ----------
        times_us
            By node id: the operators that count, and their times.
        """
        times_of: dict[tuple[Basis, str], list[float]] = {}
        for node in graph.nodes:
            if node.id in times_us:
                op = f"{node.domain}.{node.op}" if node.domain else node.op
                basis = operator_work(graph, node).basis
                times_of.setdefault((basis, op), []).append(times_us[node.id])
        rows: dict[Basis, list[BasisRow]] = {"calibrated": [], "derived": [], "unknown": []}
        for (basis, op), times in times_of.items():
            rows[basis].append(BasisRow(op, len(times), sum(times)))
        for listed in rows.values():
            listed.sort(key=lambda row: (-row.us, row.op))
        return rows


@dataclass(frozen=True)
class BasisRow:
    """The operators of one type."""

    op: str  # with its domain, where it is not the standard one
    count: int
    us: float  # all together


def product_speedup(parameters: CpuSection) -> float:
    """Return how many times faster than one core `cores` cores compute a product with weights.

    Amdahl's law through the measured ratio: at most `cores`, and it never falls with more of them.
    From a ratio of one core nothing follows for more: 1.
    """
    cores, measured = parameters.cores, parameters.speedup_cores
    if cores == measured:
        return parameters.product_speedup
    if measured == 1:
        return 1.0
    serial_share = (measured / parameters.product_speedup - 1) / (measured - 1)
    return cores / (1 + (cores - 1) * serial_share)


def batch_threads(work: Work, parameters: CpuSection) -> int:
    """Return how many cores share each product of a batch."""
    wanted = work.product_macs // parameters.batched_thread_macs + 1
    return min(parameters.cores, wanted)


def is_shared(work: Work, parameters: CpuSection) -> bool:
    """Return whether cores share an operator that is no product."""
    return (
        work.kind in ("element-wise", "function", "other")
        and work.elements >= parameters.elementwise_parallel_elements
        and _UNSHARED.isdisjoint(work.amounts)
    )
