"""What a run needs of this machine's memory, against what there is: refused before hours go by.

The estimate counts what is known to be held at the same time, beside the model's own constants,
which are there already: while devices execute, or while the CPU is timed, whichever is more. Where
a run fails its limits against float32, measuring them (`pimloop.host.execution.reference`) takes
more. A run that passes can also be short of memory by what others take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes

from pimloop.errors import PimloopError
from pimloop.host.cpu.profile import profiled_segments
from pimloop.host.cpu.segments import CACHE_BYTES, Segment, split, timed_sessions
from pimloop.host.devices.kinds import is_offloaded
from pimloop.host.execution.held import (
    conversion_bytes,
    held,
    kept_bytes,
    kept_tensors,
    only_on_pim,
    reference_bytes,
    timed_bytes,
)
from pimloop.host.execution.verification import MOST_WAITING_BYTES
from pimloop.host.models.graph import Graph
from pimloop.host.pim.device.model import DEFAULT_BUFFER_BYTES
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
    profiled: bool = False  # whether every operator is timed on the CPU too
    repeats: int = 1  # executions of each assignment whose results stay


@dataclass(frozen=True)
class Present:
    """What executions of the same model left."""

    buffers: int = 0  # bytes, of CPU memory
    sessions: Mapping[object, int] = field(default_factory=dict)  # timed, `SessionCache.held`
    bits: int = 0  # bytes, of the PIM's weights as bfloat16
    devices: int = 0  # that are open


NOTHING = Present()


def estimate(
    runs: Sequence[Run],
    jobs: int,
    *,
    timed: bool,
    devices_stay: bool = False,
    present: Present = NOTHING,
) -> Estimate:
    """Return what executing `runs` takes, beside the constants of their graphs.

    Parameters
    ----------
    runs
        Of several graphs when all of them stay: the phases of a generation. Constants that they
        share are held once.
    jobs
        Devices at a time.
    timed
        Whether CPU times are measured, with sessions that pack their weights.
    devices_stay
        Whether devices keep their memory while the CPU is timed.
    present
        What earlier executions left, which is used again and not counted.
    """
    elements: dict[int, int] = {}  # by identity of the array
    read: dict[Key, int] = {}  # bytes in device memory
    on_pim = 0
    for run in runs:
        # The bits of bfloat16 are the constant itself.
        elements |= {
            id(array): array.size
            for array in run.graph.constants.values()
            if array.dtype != ml_dtypes.bfloat16
        }
        for assignment in run.assignments:
            nodes = [node for node, device in assignment.items() if is_offloaded(device)]
            on_pim += bool(nodes)
            stored = (s for node in nodes for s in run.fit.weights.get(node, ()))
            read |= {constant.key: constant.nbytes for constant in stored}
    devices = min(jobs, on_pim)
    room = max((run.fit.device_bytes for run in runs), default=0)
    bits = sum({array: 2 * elements.get(array, 0) for array, *_ in read}.values())
    on_device = sum(read.values()) + sum(run.fit.device_bytes - run.fit.weight_room for run in runs)
    each = min(on_device, room) + DEFAULT_BUFFER_BYTES
    new = max(devices - present.devices, 0)
    memories = {f"memory of {quantity(devices, 'device')}": new * each}
    always = {
        "weights of the PIM as bfloat16": max(min(bits, MOST_BITS_BYTES) - present.bits, 0),
        "results": sum(_results_bytes(run) for run in runs),
    }
    executing = {**always, **memories, **_executing(runs, devices, bits)}
    if not timed:
        return Estimate(executing)
    left = sum(timed_bytes(run.graph, run.assignments) for run in runs if len(run.assignments) > 1)
    executing["activations"] += max(left - present.buffers, 0)
    timing = {**always, **(memories if devices_stay else {})}
    timing |= _timing(runs, present)
    return max(Estimate(executing), Estimate(timing), key=lambda stage: stage.nbytes)


def _results_bytes(run: Run) -> int:
    """Return what executions return and float32 values of the same tensors take."""
    return (run.repeats * len(run.assignments) + 1) * kept_bytes(run.graph)


def _executing(runs: Sequence[Run], devices: int, bits: int) -> dict[str, int]:
    """Return what executions hold beside the devices.

    There is one on each device, one that is verified, and those without a device. What they leave
    to be timed on is counted elsewhere.
    """
    # Beyond what is kept of them, weights are converted again for each check that waits.
    weights = bits if bits > MOST_BITS_BYTES else 0
    buffers = waiting = checks = segments = reference = 0
    for run in runs:
        each = [(held(run.graph, a, run.fit.operations), any(map(is_offloaded, a.values())))
                for a in run.assignments]  # fmt: skip
        together = [usage for usage, on_pim in each if on_pim]
        buffers += sum(usage.buffers for usage, on_pim in each if not on_pim)
        buffers += _largest(devices + 1, (usage.buffers for usage in together))
        waits = (min(usage.waiting + weights, MOST_WAITING_BYTES) for usage in together)
        waiting += _largest(devices + 1, waits)
        checks += _largest(devices + 1, (usage.check for usage in together))
        segments = max([segments, *(usage.segment for usage, _ in each)])
        reference = max(reference, reference_bytes(run.graph))
    return {
        "activations": buffers,
        "CPU sessions and comparisons": devices * segments + max(segments, reference),
        "results waiting for verification": waiting + checks,
    }


def _largest(count: int, sizes: Iterable[int]) -> int:
    return sum(sorted(sizes, reverse=True)[:count])


def _timing(runs: Sequence[Run], present: Present) -> dict[str, int]:
    """Return what timing the CPU takes: executions one after the other, then profiles."""
    buffers = conversions = 0
    blocks: list[dict[object, int]] = []  # bytes of the sessions that are open at a time
    for run in runs:
        graph, kept = run.graph, kept_tensors(run.graph)
        everywhere = [dict.fromkeys((node.id for node in graph.nodes), "cpu_serial")]
        timed = [*run.assignments, *(everywhere if run.profiled else ())]
        buffers += timed_bytes(graph, timed)
        segments = profiled_segments(graph) if run.profiled else []
        for assignment in run.assignments:
            executed = [s for s in split(graph, assignment) if not only_on_pim(s.device)]
            alone = [Segment(s.device, (node,)) for s in executed for node in s.nodes]
            segments += [executed, alone]
            conversions = max(conversions, conversion_bytes(graph, assignment))
        blocks += [timed_sessions(graph, block, kept) for block in segments]
    new = [
        {key: nbytes for key, nbytes in block.items() if key not in present.sessions}
        for block in blocks
    ]
    everything = {key: nbytes for block in new for key, nbytes in block.items()}
    most = max((sum(block.values()) for block in new), default=0)
    # The cache keeps others beside those that are open at a time, up to its limit.
    cached = max(CACHE_BYTES - sum(present.sessions.values()), most)
    return {
        "activations": max(buffers - present.buffers, 0),
        "conversions": conversions,
        "CPU sessions that are timed": min(sum(everything.values()), cached),
    }


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
