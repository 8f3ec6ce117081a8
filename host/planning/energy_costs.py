"""Energies beside the times of a cost graph, for plans of least energy.

What the PIM and transfers take is counted in the profile runs, as it is in every execution
(`pimloop.host.planning.energies`); what the CPU takes follows from the times of its model. So the
energy that a plan predicts is that of its execution.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import median_low

from pimloop.errors import PimloopError
from pimloop.host.devices.kinds import HOST_MEMORY, SessionDevice
from pimloop.host.energy.constants import Constants
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import schedule_times
from pimloop.host.planning.costs import CountedEnergies
from pimloop.host.planning.energies import cpu_energy, execution_energies, no_cpu_power, no_energy
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.energies import Energies
from pimloop.partitioner.graph import Move

#: Why co-execution has no plans for them.
NO_SHARES = "shares of operators have no energies: only their times are profiled"


def no_plan_energies(platform: Platform) -> str:
    """Return what a platform does not know the energy of, "" where it has that of everything."""
    why = no_energy(platform) or no_cpu_power(platform)
    for name, kind in platform.devices.items():
        if isinstance(kind, SessionDevice) and not why:
            why = f"the power of '{name}', a device of a plug-in, is not known"
    return why


def require_energies(platform: Platform) -> Constants:
    """Return the constants of a platform that knows the energy of everything it executes.

    Raises
    ------
    PimloopError
        When it does not; says what is missing.
    """
    known, why = platform.energy_constants(), no_plan_energies(platform)
    if known is None or why:
        raise PimloopError(
            f"platform '{platform.name}' has no energies to plan with: {why}; use --objective"
            " sequential, or a platform that has them (htg-z920)"
        )
    return known


def counted_energies(results: Iterable[Result], known: Constants) -> CountedEnergies:
    """Return the energies that profile runs counted; the lower median of those that differ."""
    operators: dict[tuple[str, str], list[int]] = {}
    transfers: dict[tuple[str, Move], list[int]] = {}
    for result in results:
        times = schedule_times(result)
        assert times is not None  # profiles are made on devices with a clock
        nodes, moves = execution_energies(result, times, known)
        for name, spent in nodes.items():
            device = result.assignment[name]
            if device not in result.platform.memories[HOST_MEMORY]:
                operators.setdefault((name, device), []).append(spent.total.nominal)
        for transfer, spent in zip(result.execution.transfers, moves, strict=True):
            move = (transfer.tensor, (transfer.source, transfer.destination))
            transfers.setdefault(move, []).append(spent.total.nominal)
    return CountedEnergies(
        {item: median_low(each) for item, each in operators.items()},
        {item: median_low(each) for item, each in transfers.items()},
    )


def with_energies(
    costs: CostGraph, counted: CountedEnergies, platform: Platform, known: Constants
) -> CostGraph | None:
    """Return costs with the energies of whole operators and transfers; None where one is missing.

    Parameters
    ----------
    counted
        Of the same model on the same platform.
    """
    cpu = platform.memories[HOST_MEMORY]
    operators: dict[str, dict[str, int]] = {}
    transfers: dict[str, dict[Move, int]] = {}
    try:
        for name, times in costs.cost_us.items():
            operators[name] = {
                device: cpu_energy(platform, device, us, known).total.nominal
                if device in cpu
                else counted.operators[name, device]
                for device, us in times.items()
            }
        for name, moves in costs.transfer_us.items():
            transfers[name] = {move: counted.transfers[name, move] for move in moves}
    except KeyError:
        return None
    return replace(costs, energies=Energies(operators, transfers))
