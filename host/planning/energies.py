"""Energy of an executed schedule: its operators and transfers by the counters and times they had.

A CPU core is at work in an operator of `cpu_serial`; all are in one of `cpu_parallel`, whose
threads wait for each other in a loop (ONNX Runtime's default). For the PIM one works during the
driver's call; while a list runs the CPU waits for the interrupt. In a transfer one works, except
while a simulated copy runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from pimloop.host.common.machine import cores
from pimloop.host.cpu.power import cpu_power
from pimloop.host.devices.kinds import HOST_MEMORY, SessionDevice, kinds
from pimloop.host.energy.constants import Constants
from pimloop.host.energy.forms import Activity, Energy, energy, standing, total
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import ScheduleTimes
from pimloop.host.pim.driver import OpStats
from pimloop.host.platforms.platform import Platform
from pimloop.rtl.tables.isa import DESCRIPTOR_BYTES

if TYPE_CHECKING:
    from pimloop.host.planning.outcome import Schedule

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
    nodes = {}
    for node in result.graph.nodes:
        stats = result.execution.pim.get(node.id)
        parts = times.parts.get(node.id, {result.assignment[node.id]: times.nodes[node.id]})
        nodes[node.id] = operator_energy(
            platform, parts, None if stats is None else work(stats, platform), known
        )
    transfers = tuple(
        transfer_energy(platform, us, work(transfer.stats, platform), known)
        for transfer, us in zip(result.execution.transfers, times.transfers, strict=True)
    )
    return nodes, transfers


def operator_energy(
    platform: Platform, parts_us: Mapping[str, float], pim: Activity | None, known: Constants
) -> Energy:
    """Return the energy of an operator; what stands by counts once while its parts overlap.

    Parameters
    ----------
    platform
        Where it runs.
    parts_us
        The time of each device that computes a part of it, or all, microseconds.
    pim
        What the lists of the PIM did (`work`); None: it has no part.
    known
        The constants of the platform.
    """
    busy = sum(
        (_cores(platform, device) * Fraction(us) for device, us in parts_us.items()), Fraction(0)
    )
    if pim is not None:
        busy += Fraction(platform.driver.call_overhead_us)
    us = Fraction(max(parts_us.values()))
    return energy(replace(pim or Activity(), us=us, core_us=busy), known)


def transfer_energy(platform: Platform, us: float, copy: Activity, known: Constants) -> Energy:
    """Return the energy of a transfer.

    Parameters
    ----------
    us
        Its time, microseconds; the copy of a modelled one is part of its price.
    copy
        What its lists did (`work`).
    """
    whole = busy = Fraction(us)
    if platform.driver.conversion == "measured":
        busy -= Fraction(platform.device_us(copy.list_clocks))
    return energy(replace(copy, us=whole, core_us=max(busy, Fraction(0))), known)


def link_bytes(stats: OpStats) -> int:
    """Return the bytes between host memory and device that lists of the driver ask for.

    Operands in whole beats, each descriptor and its status. Counter `link` has what the bus moved.
    """
    operands = stats.host_bytes_in + stats.host_bytes_out
    return operands + stats.descriptors * (DESCRIPTOR_BYTES + _STATUS_BYTES)


def work(stats: OpStats, platform: Platform) -> Activity:
    """Return what the lists of an operator or a transfer did, without the time that it took.

    Parameters
    ----------
    stats
        Its lists, on a device that counts.
    platform
        That it ran on.
    """
    counters = stats.counters
    return Activity(
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
    spent = energy(work(stats, platform), known)
    beside = ("host_link", "cpu_dynamic", "cpu_static")
    return Energy({cause: joules for cause, joules in spent.parts.items() if cause not in beside})


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
