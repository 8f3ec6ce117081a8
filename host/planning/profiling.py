"""Measures every operator on every device and every transfer, in the fewest runs.

Every run of the plan really executes; what the cost store knows already needs no run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pimloop.partitioner.graph as cg
from pimloop.host.cpu.profile import CpuProfile
from pimloop.host.devices.kinds import HOST_MEMORY
from pimloop.host.execution.result import Result
from pimloop.host.execution.runner import Job
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Operation
from pimloop.host.planning.balance import balance_runs
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.profile.merge import ProfileRun, merge_runs
from pimloop.partitioner.profile.plan import ProfilePlan, plan_profile

#: How the repetitions of one measurement become one cost: as schedules are timed.
STATISTIC = "median"


@dataclass(frozen=True)
class Profile:
    """The plan of a profile, its runs balanced."""

    plan: ProfilePlan
    runs: tuple[Mapping[str, str], ...]  # as executed

    @property
    def jobs(self) -> list[Job]:
        """The runs as jobs, "run 1" and so on."""
        return [Job(f"run {number}", run) for number, run in enumerate(self.runs, start=1)]


def plan_runs(
    graph: Graph,
    operators: cg.Graph,
    operations: Mapping[str, Operation],
    capacity: int | None = None,
) -> Profile:
    """Plan the profile runs of a model.

    Parameters
    ----------
    capacity
        Bytes of device memory for the weights of one run; None: no limit.

    Raises
    ------
    PartitionerError
        When no assignment is feasible.
    """
    limits = {} if capacity is None else {"pim": capacity}
    plan = plan_profile(operators, capacity_bytes=limits)
    work = {name: operation.work(graph, graph.node(name)) for name, operation in operations.items()}
    return Profile(plan, balance_runs(operators, plan.runs, work, limits))


def to_profile_run(result: Result) -> ProfileRun:
    """Return the times of an execution as the partitioner merges them.

    Times of CPU operators are left out where they are measured: in these runs they stand in
    segments of one or two, and schedules have long ones (`cpu_runs`).
    """
    times = schedule_times(result)
    assert times is not None  # profiles are made on devices with a clock
    measured, cpu = result.platform.cpu_model() is None, result.platform.memories[HOST_MEMORY]
    moved: dict[tuple[str, str, str], list[float]] = {}
    for transfer, us in zip(result.execution.transfers, times.transfers, strict=True):
        move = (transfer.tensor, transfer.source, transfer.destination)
        moved.setdefault(move, []).append(us)
    return ProfileRun(
        assignment=result.assignment,
        node_us={
            name: [us]
            for name, us in times.nodes.items()
            if not measured or result.assignment[name] not in cpu
        },
        transfer_us=moved,
    )


def cpu_runs(operators: cg.Graph, profile: CpuProfile) -> list[ProfileRun]:
    """Return measured CPU operators as the partitioner merges them, one run a device."""
    return [
        ProfileRun(
            dict.fromkeys(times, device),
            {
                operator.id: [times[operator.id]]
                for operator in operators.operators
                if device in operator.devices
            },
        )
        for device, times in profile.node_us.items()
    ]


def merge_costs(
    operators: cg.Graph,
    runs: Sequence[ProfileRun],
    capacity: int,
    entry_us: Mapping[str, float],
) -> CostGraph:
    """Return the cost graph that the runs measured.

    Parameters
    ----------
    capacity
        Bytes of device memory for weights.
    entry_us
        What a segment takes beside its operators, by device.

    Raises
    ------
    PartitionerError
        When a cost is missing.
    """
    merged = merge_runs(operators, runs, STATISTIC, capacity_bytes={"pim": capacity})
    return merged.with_entry(entry_us)
