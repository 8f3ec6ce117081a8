"""Time on a platform: what an execution's operators and transfers take there.

PIM time is cycles over the clock plus the driver's cost of a call. CPU time comes from the
platform's model of its cores, or is measured on this machine where it has none. A transfer is the
platform's model, or its fixed part, the simulated copy and the measured conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pimloop.host.common.machine import cores
from pimloop.host.cpu import timing
from pimloop.host.cpu.model import CpuDevice, CpuModel
from pimloop.host.devices.kinds import (
    HOST_MEMORY,
    PIM_MEMORY,
    SessionDevice,
    SplitDevice,
    is_offloaded,
    kinds,
)
from pimloop.host.execution.coexecution import cpu_part
from pimloop.host.execution.execution import Transfer
from pimloop.host.execution.result import Result
from pimloop.host.models.graph import Graph, Node
from pimloop.host.operators import Operation, pim_operation
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.quantity import quantity

#: The words of a report for CPU times taken here.
CPU_TIME_SOURCE = "native measurement on this machine"


@dataclass(frozen=True)
class ScheduleTimes:
    """Times of one executed schedule, microseconds."""

    nodes: dict[str, float]  # by node id
    transfers: list[float]  # in the order of `Execution.transfers`
    device_us: dict[str, float]  # that each device computes, of those that do
    #: Of operators that are split, by node id: the time of each device's part.
    parts: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def pim_us(self) -> float:
        """The operators of the PIM."""
        return sum(us for device, us in self.device_us.items() if is_offloaded(device))

    @property
    def cpu_us(self) -> float:
        """The operators of the CPU."""
        return sum(
            us for device, us in self.device_us.items() if kinds()[device].memory == HOST_MEMORY
        )

    @property
    def compute_us(self) -> float:
        """All operators; a split one takes as long as its slower part."""
        return sum(self.nodes.values())

    @property
    def transfer_us(self) -> float:
        """All transfers."""
        return sum(self.transfers)

    @property
    def total_us(self) -> float:
        """Operators and transfers, one after the other."""
        return self.compute_us + self.transfer_us


def schedule_times(result: Result) -> ScheduleTimes | None:
    """Return the times of an execution; None when its device has no time (the model)."""
    if result.execution.pim and result.options.backend == "model":
        return None
    platform, devices = result.platform, result.platform.devices
    nodes: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    for node in result.graph.nodes:
        stats = result.execution.pim.get(node.id)
        device = result.assignment[node.id]
        kind = devices[device]
        if stats is not None and isinstance(kind, SplitDevice):
            cpu, pim = kind.parts
            parts[node.id] = {
                cpu.name: _cpu_part_us(result, node, kind),
                pim.name: platform.pim_time_us(stats.cycles),
            }
            nodes[node.id] = max(parts[node.id].values())
        elif stats is not None:
            nodes[node.id] = platform.pim_time_us(stats.cycles)
        elif isinstance(kind, SessionDevice):
            nodes[node.id] = kind.time_us(result.graph, node, platform.sections[device])
        else:
            nodes[node.id] = cpu_node_us(result, node)
    by_device: dict[str, float] = {}
    for identifier, us in nodes.items():
        for device, part in parts.get(identifier, {result.assignment[identifier]: us}).items():
            by_device[device] = by_device.get(device, 0.0) + part
    return ScheduleTimes(
        nodes=nodes,
        transfers=[transfer_us(result, transfer) for transfer in result.execution.transfers],
        device_us=by_device,
        parts=parts,
    )


def averaged(
    each: Sequence[ScheduleTimes], once_us: Mapping[str, float], assignment: Mapping[str, str]
) -> ScheduleTimes:
    """Return the times of one of several executions of a schedule, on average.

    Parameters
    ----------
    each
        Of executions that do the same; one or more.
    once_us
        What operators took before the first one, by node id, microseconds.
    assignment
        The device of every operator.
    """
    if len(each) == 1 and not once_us:
        return each[0]
    nodes = {
        name: (sum(times.nodes[name] for times in each) + once_us.get(name, 0.0)) / len(each)
        for name in each[0].nodes
    }
    device_us = {
        device: sum(times.device_us[device] for times in each) / len(each)
        for device in each[0].device_us
    }
    for name, us in once_us.items():
        device_us[assignment[name]] += us / len(each)
    return ScheduleTimes(
        nodes,
        [sum(moves) / len(each) for moves in zip(*(t.transfers for t in each), strict=True)],
        device_us,
        {
            name: {
                device: sum(times.parts[name][device] for times in each) / len(each)
                for device in parts
            }
            for name, parts in each[0].parts.items()
        },
    )


def _cpu_part_us(result: Result, node: Node, split: SplitDevice) -> float:
    """Return the time of the columns that the CPU computed of a split operator, microseconds."""
    model = result.platform.cpu_model()
    if model is None:
        return result.cpu_times[node.id].us
    operation = pim_operation(result.graph, node, result.platform.capabilities)
    assert operation is not None
    columns = split.first_columns(result.graph.tensors[node.outputs[0]].shape[-1])
    return cpu_part_us(model, result.graph, node, operation, columns, split.parts[0].name)


def cpu_part_us(
    model: CpuModel, graph: Graph, node: Node, operation: Operation, columns: int, device: str
) -> float:
    """Return the modelled time, microseconds, of the columns that the PIM does not compute.

    Parameters
    ----------
    model
        Of a platform's CPU.
    graph, node, operation
        The operator, and how the PIM runs it.
    columns
        Of the PIM, the first ones.
    device
        The CPU device of the others.
    """
    part = cpu_part(graph, node, operation, columns)
    return model.time_us(part, node, cast(CpuDevice, device))


def cpu_node_us(result: Result, node: Node) -> float:
    """Return the time of an operator that the execution ran on the CPU, microseconds."""
    model = result.platform.cpu_model()
    if model is None:
        return result.cpu_times[node.id].us
    return model.time_us(result.graph, node, cast(CpuDevice, result.assignment[node.id]))


def transfer_us(result: Result, transfer: Transfer) -> float:
    """Return the time of one transfer, conversion included."""
    platform = result.platform
    us = platform.transfer_us(transfer.source, transfer.destination, transfer.elements)
    offloaded = PIM_MEMORY in (transfer.source, transfer.destination)
    if offloaded and platform.driver.conversion == "measured":
        us += platform.device_us(transfer.stats.cycles) + result.cpu_times[transfer.key].us
    return us


def cpu_time_source(platform: Platform) -> str:
    """Return where CPU times on a platform come from, for a report."""
    model = platform.cpu_model()
    return CPU_TIME_SOURCE if model is None else model.source


def cpu_time_method(platform: Platform) -> str:
    """Return how CPU times on a platform are found, for a report."""
    model = platform.cpu_model()
    if model is not None:
        return model.method
    return f"{timing.method()}; cpu_serial: 1 thread, cpu_parallel: {quantity(cores(), 'thread')}"
