"""What a run needs of this machine's memory, against what there is: refused before hours go by.

The estimate counts what is known to be held at the same time, beside the model's own constants,
which are there already: while devices execute, or while the CPU is timed, whichever is more. A run
that passes can still be short of memory by what others take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pimloop.host.common.errors import PimloopError
from pimloop.host.execution.verification import MOST_WAITING_BYTES
from pimloop.host.models.graph import Graph
from pimloop.host.pim.fit import PimFit
from pimloop.host.pim.weights import MOST_BITS_BYTES, Key
from pimloop.partitioner.quantity import quantity

_MIB = 1 << 20


@dataclass(frozen=True)
class Estimate:
    """Bytes that a run will hold, by what for."""

    parts: Mapping[str, int]

    @property
    def nbytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        """Return the parts in words, those below 1 MiB left out."""
        return ", ".join(
            f"{part} {nbytes // _MIB:,} MiB"
            for part, nbytes in self.parts.items()
            if nbytes >= _MIB
        )


@dataclass(frozen=True)
class Run:
    """Executions of one graph."""

    graph: Graph
    fit: PimFit  # of the graph on the platform
    assignments: Sequence[Mapping[str, str]]


def estimate(
    runs: Sequence[Run], jobs: int, *, timed: bool, devices_stay: bool = False
) -> Estimate:
    """Return what executing `runs` holds, beside the constants of their graphs.

    Parameters
    ----------
    runs
        Of several graphs when all of them stay: the phases of a generation. Constants that they
        share are held once.
    jobs
        Devices at a time.
    timed
        Whether CPU times are measured, with sessions that pack their weights: those of one
        execution or profile at a time.
    devices_stay
        Whether devices keep their memory while the CPU is timed.
    """
    elements: dict[int, int] = {}  # by identity of the array
    read: dict[Key, int] = {}  # bytes in device memory
    on_pim = 0
    for run in runs:
        elements |= {id(array): array.size for array in run.graph.constants.values()}
        for assignment in run.assignments:
            nodes = [node for node, device in assignment.items() if device == "pim"]
            on_pim += bool(nodes)
            stored = (s for node in nodes for s in run.fit.weights.get(node, ()))
            read |= {constant.key: constant.nbytes for constant in stored}
    devices = min(jobs, on_pim)
    room = max((run.fit.device_bytes for run in runs), default=0)
    bits = sum({array: 2 * elements.get(array, 0) for array, *_ in read}.values())
    activations = [_activation_bytes(run.graph) for run in runs]
    always = {"weights of the PIM as bfloat16": min(bits, MOST_BITS_BYTES)}
    memories = {f"memory of {quantity(devices, 'device')}": devices * min(sum(read.values()), room)}
    executing = {
        **always,
        **memories,
        "activations": (devices or 1) * sum(activations),
        "results waiting for verification": devices
        * sum(min(nbytes + bits, MOST_WAITING_BYTES) for nbytes in activations),
    }
    weights = max((_packed_bytes(run.graph, a) for run in runs for a in run.assignments), default=0)
    timing = {
        **always,
        **(memories if devices_stay else {}),
        "activations": sum(activations),
        "packed weights of the CPU": weights if timed else 0,
    }
    return max(Estimate(executing), Estimate(timing), key=lambda stage: stage.nbytes)


def _packed_bytes(graph: Graph, assignment: Mapping[str, str]) -> int:
    """Return the bytes of weights that an assignment's CPU operators pack, at most."""
    read = {
        name
        for node in graph.nodes
        if assignment[node.id] != "pim" and node.op != "Gather"  # a table is read where it lies
        for name in node.inputs
        if name in graph.constants
    }
    return sum({id(graph.constants[name]): graph.constants[name].nbytes for name in read}.values())


def _activation_bytes(graph: Graph) -> int:
    return sum(info.nbytes for name, info in graph.tensors.items() if name not in graph.constants)


def available_bytes() -> int | None:
    """Return the memory that this process can still get, None where the system does not say."""
    limits = (_system_available(), _group_available())
    return min((limit for limit in limits if limit is not None), default=None)


def require_memory(model: str, needed: Estimate) -> None:
    """Refuse a run that this machine's memory is too small for.

    Raises
    ------
    PimloopError
        With the numbers and what to do.
    """
    available = available_bytes()
    if available is None or needed.nbytes <= available:
        return
    raise PimloopError(
        f"model {model}: the run needs about {needed.nbytes // _MIB:,} MiB of memory beside the"
        f" model ({needed}); {available // _MIB:,} MiB are available: use --jobs 1, a shorter"
        " sequence, a smaller model, or a machine with more memory"
    )


def _system_available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _group_available(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what the control group leaves; pages of files, which it can drop, are free."""
    for limit, used, files in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((root / limit).read_text(encoding="ascii"))
            now = int((root / used).read_text(encoding="ascii"))
            stat = (root / limit).parent / "memory.stat"
            rows = dict(row.split() for row in stat.read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        return max(most - now + int(rows.get(files, 0)), 0)
    return None
