"""Energy of an executed schedule: its operators and transfers by the counters and times they had.

A CPU core is at work in an operator of `cpu_serial`; all are in one of `cpu_parallel`, whose
threads wait for each other in a loop (ONNX Runtime's default). For the PIM one works during the
driver's call; while a list runs the CPU waits for the interrupt. In a transfer one works, except
while a simulated copy runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from pimloop.host.common.machine import cores
from pimloop.host.cpu.power import cpu_power
from pimloop.host.devices.kinds import HOST_MEMORY, SessionDevice, kinds
from pimloop.host.energy.constants import Constants
from pimloop.host.energy.forms import Activity, Energy, energy, standing, total
from pimloop.host.execution.execution import Transfer
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import ScheduleTimes
from pimloop.host.pim.driver import OpStats
from pimloop.host.planning.outcome import Schedule
from pimloop.host.platforms.platform import Platform
from pimloop.rtl.tables.isa import DESCRIPTOR_BYTES

#: Bytes of the status that the device writes for each descriptor.
_STATUS_BYTES = 4


@dataclass(frozen=True)
class ScheduleEnergy:
    """The energy of a schedule; `whole` is exactly the sum of all others."""

    nodes: Mapping[str, Energy]  # by operator id
    transfers: tuple[Energy, ...]  # in the order of `Execution.transfers`
    overlap: Energy  # what stands by is counted once where steps overlap: not positive
    us: Fraction  # time of the schedule, microseconds

    @property
    def whole(self) -> Energy:
        """Everything."""
        return total([*self.nodes.values(), *self.transfers, self.overlap])


def no_energy(platform: Platform) -> str:
    """Return why a platform has no energies, "" where it has."""
    if platform.energy_sections is None:
        return "no energy model: the platform's file has no section [energy]"
    return ""


def no_cpu_power(platform: Platform) -> str:
    """Return why the energy of a platform's CPU is not known, "" where it is, or nothing is."""
    known = platform.energy_constants()
    if known is None or known.static_mw is not None:
        return ""
    missing = "its file has no [energy_cpu]"
    # A power that could be measured would be among the constants: this is why it could not.
    return f"{missing}, and this machine {cpu_power()}" if platform.cpu is None else missing


def schedule_energy(schedule: Schedule) -> ScheduleEnergy | None:
    """Return the energy of an executed schedule.

    None where it has no times, its platform no energies, or an operator ran on a device of a
    plug-in, whose power is not known.
    """
    result, times, executed = schedule.result, schedule.times, schedule.executed
    platform = result.platform
    known = platform.energy_constants()
    if known is None or times is None or executed is None:
        return None
    devices = platform.devices
    if any(isinstance(devices[device], SessionDevice) for device in result.assignment.values()):
        return None
    nodes, transfers = execution_energies(result, times, known)
    steps = sum(map(Fraction, (*times.nodes.values(), *times.transfers)), Fraction(0))
    whole = Fraction(executed.total_us) if schedule.order else steps
    return ScheduleEnergy(nodes, transfers, standing(whole - steps, known), whole)


def execution_energies(
    result: Result, times: ScheduleTimes, known: Constants
) -> tuple[dict[str, Energy], tuple[Energy, ...]]:
    """Return the energies of operators, by id, and of transfers, one after the other.

    Parameters
    ----------
    result, times
        An execution without devices of plug-ins, and its times.
    known
        The constants of its platform.
    """
    platform = result.platform
    call = Fraction(platform.driver.call_overhead_us)
    nodes = {}
    for node in result.graph.nodes:
        stats = result.execution.pim.get(node.id)
        device = result.assignment[node.id]
        parts = times.parts.get(node.id, {device: times.nodes[node.id]})
        busy = sum(
            (_cores(platform, part) * Fraction(us) for part, us in parts.items()), Fraction(0)
        )
        if stats is not None:
            busy += call
        us = Fraction(times.nodes[node.id])
        nodes[node.id] = energy(activity(stats or OpStats(), platform, us, busy), known)
    transfers = tuple(
        energy(transfer_activity(transfer, platform, Fraction(us)), known)
        for transfer, us in zip(result.execution.transfers, times.transfers, strict=True)
    )
    return nodes, transfers


def cpu_energy(platform: Platform, device: str, us: float, known: Constants) -> Energy:
    """Return the energy of an operator that a device of the CPU executes in a time."""
    busy = _cores(platform, device) * Fraction(us)
    return energy(activity(OpStats(), platform, Fraction(us), busy), known)


def link_bytes(stats: OpStats) -> int:
    """Return the bytes between host memory and device that lists of the driver ask for.

    Operands in whole beats, each descriptor and its status. Counter `link` has what the bus moved.
    """
    operands = stats.host_bytes_in + stats.host_bytes_out
    return operands + stats.descriptors * (DESCRIPTOR_BYTES + _STATUS_BYTES)


def activity(stats: OpStats, platform: Platform, us: Fraction, core_us: Fraction) -> Activity:
    """Return what an operator or a transfer did.

    Parameters
    ----------
    stats
        Its lists, on a device that counts.
    platform
        That it ran on.
    us, core_us
        Its time, and that times the cores of the CPU that worked, microseconds.
    """
    counters = stats.counters
    return Activity(
        us=us,
        core_us=core_us,
        list_clocks=stats.cycles,
        open_clocks=counters["open"],
        asleep_clocks=counters["self_refresh"],
        activations=counters["act"],
        reads=counters["rd"] - counters["all_rd"],
        writes=counters["wr"] - counters["all_wr"],
        all_bank_reads=counters["all_rd"],
        all_bank_writes=counters["all_wr"],
        refreshes=counters["ref"],
        multiply_adds=counters["mac"] * platform.geometry().beat_columns,
        # Before version 1.6 a device does not count them.
        link_bits=8 * (counters["link"] or link_bytes(stats)),
    )


def device_energy(stats: OpStats, platform: Platform) -> Energy | None:
    """Return what the device itself takes while lists run; None where its platform has no energies.

    DRAM, data bus and lanes: neither the CPU, nor the link to the host, nor self-refresh.

    Parameters
    ----------
    stats
        The lists, on a device that counts.
    platform
        That they ran on.
    """
    known = platform.energy_constants()
    if known is None:
        return None
    spent = energy(activity(stats, platform, Fraction(0), Fraction(0)), known)
    beside = ("host_link", "cpu_dynamic", "cpu_static")
    return Energy({cause: joules for cause, joules in spent.parts.items() if cause not in beside})


def transfer_activity(transfer: Transfer, platform: Platform, us: Fraction) -> Activity:
    """Return what a transfer did in its time: the copy of a modelled one is part of its price."""
    busy = us
    if platform.driver.conversion == "measured":
        busy -= Fraction(platform.device_us(transfer.stats.cycles))
    return activity(transfer.stats, platform, us, max(busy, Fraction(0)))


def _cores(platform: Platform, device: str) -> Fraction:
    """Return how many cores of the CPU work while a device computes."""
    kind = kinds()[device]
    if kind.offloaded or kind.memory != HOST_MEMORY:
        return Fraction(0)
    if device == "cpu_serial":
        return Fraction(1)
    if platform.cpu is not None:
        return Fraction(platform.cpu.cores)
    power = platform.measured_power()
    return Fraction(cores()) if power is None else power.parallel_cores
