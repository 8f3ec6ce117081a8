"""Energies beside the times of a cost graph: of plans, by cause, and for plans of least energy.

What the PIM and transfers do is counted in the profile runs, as it is in every execution
(`pimloop.host.planning.counts`); what the CPU takes follows from its times. So the energy that a
plan predicts is that of its execution wherever its times are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pimloop.errors import PimloopError
from pimloop.host.devices.kinds import HOST_MEMORY, SessionDevice
from pimloop.host.energy.constants import Constants
from pimloop.host.energy.forms import Activity, Energy, total
from pimloop.host.pim.resident import Part
from pimloop.host.planning.counts import Counts
from pimloop.host.planning.energies import (
    no_cpu_power,
    no_energy,
    operator_energy,
    transfer_energy,
)
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.energies import Energies
from pimloop.partitioner.evaluation import items_of
from pimloop.partitioner.graph import Move
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.splits import Split


@dataclass(frozen=True)
class PlannedEnergies:
    """The energy, by cause, of all that a cost graph has a time for."""

    operators: Mapping[str, Mapping[str, Energy]]  # by id, and device or split
    transfers: Mapping[str, Mapping[Move, Energy]]  # by tensor, and move; from a split by its name
    entry: Mapping[str, Energy]  # of entering a device

    def nominal(self) -> Energies:
        """Return nominal totals, as solvers and cost files take them."""
        return Energies(
            {
                name: {device: each.total.nominal for device, each in by_device.items()}
                for name, by_device in self.operators.items()
            },
            {
                name: {move: each.total.nominal for move, each in by_move.items()}
                for name, by_move in self.transfers.items()
            },
            {device: each.total.nominal for device, each in self.entry.items()},
        )

    def of(self, costs: CostGraph, assignment: Mapping[str, str]) -> Energy:
        """Return the energy of an assignment, operators and transfers one after the other.

        Parameters
        ----------
        costs
            That these are the energies of.

        Raises
        ------
        PartitionerError
            When the assignment does not fit the costs.
        """
        items = items_of(Problem.of(costs, with_splits=True), assignment)
        return total(
            [
                *(self.operators[name][device] for name, device in items.operators),
                *(self.transfers[tensor][move] for tensor, move in items.moves),
                *(self.entry[device] for device in items.entries if device in self.entry),
            ]
        )


def no_plan_energies(platform: Platform) -> str:
    """Return what a platform does not know the energy of, "" where it has that of everything."""
    return no_schedule_energies(platform) or no_cpu_power(platform)


def no_schedule_energies(platform: Platform) -> str:
    """Return why schedules on a platform have no energies, "" where they have: perhaps no CPU's."""
    why = no_energy(platform)
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


def planned_energies(
    costs: CostGraph, counts: Counts, platform: Platform, known: Constants
) -> PlannedEnergies | None:
    """Return the energies of whole operators and transfers; None where a count is missing.

    Parameters
    ----------
    costs
        Of one execution.
    counts
        Of the same model on the same platform.
    """
    cpu = platform.memories[HOST_MEMORY]
    operators: dict[str, dict[str, Energy]] = {}
    transfers: dict[str, dict[Move, Energy]] = {}
    try:
        for name, times in costs.cost_us.items():
            operators[name] = {
                device: operator_energy(
                    platform, {device: us}, None if device in cpu else counts.operators[name], known
                )
                for device, us in times.items()
            }
        for name, moves in costs.transfer_us.items():
            transfers[name] = {
                move: transfer_energy(platform, us, counts.transfers[name, move], known)
                for move, us in moves.items()
            }
    except KeyError:
        return None
    entry = {
        device: operator_energy(platform, {device: us}, None, known)
        for device, us in costs.entry_us.items()
    }
    return PlannedEnergies(operators, transfers, entry)


def split_parts(splits: Mapping[str, Iterable[Split]], totals: Mapping[str, int]) -> set[Part]:
    """Return what energies of splits are counted of: the PIM's part, and what is gathered.

    Parameters
    ----------
    splits
        By operator id.
    totals
        Columns of the operators' results.
    """
    parts: set[Part] = set()
    for name, offered in splits.items():
        for split in offered:
            columns = _columns(split, totals[name])
            parts.add(Part(name, columns))
            for by_memory in split.gather_us.values():
                parts.update(_gathered(name, columns, memory) for memory in by_memory)
    return parts


def with_split_energies(
    energies: PlannedEnergies,
    costs: CostGraph,
    counted: Mapping[Part, Activity],
    totals: Mapping[str, int],
    platform: Platform,
    known: Constants,
) -> PlannedEnergies:
    """Return energies with those of the splits that costs offer.

    Both parts of a split work at the same time, so what stands by until the slower one ends counts
    once; what entering its devices takes is in it, as it is in its time.

    Parameters
    ----------
    energies
        Of whole operators and transfers.
    costs
        With the splits and their times.
    counted
        Of `split_parts`.
    totals
        As of `split_parts`.
    """
    operators = {name: dict(by_device) for name, by_device in energies.operators.items()}
    transfers = {name: dict(by_move) for name, by_move in energies.transfers.items()}
    for name, offered in costs.splits.items():
        for split in offered:
            columns = _columns(split, totals[name])
            parts_us = {
                device: us + costs.entry_us.get(device, 0.0)
                for device, us in split.parts_us.items()
            }
            operators[name][split.name] = operator_energy(
                platform, parts_us, counted[Part(name, columns)], known
            )
            for tensor, by_memory in split.gather_us.items():
                for memory, us in by_memory.items():
                    transfers[tensor][split.name, memory] = transfer_energy(
                        platform, us, counted[_gathered(name, columns, memory)], known
                    )
    return PlannedEnergies(operators, transfers, energies.entry)


def _columns(split: Split, total: int) -> int:
    """Return how many of all columns the PIM computes."""
    return total * split.share // split.shares


def _gathered(name: str, columns: int, memory: str) -> Part:
    """Return the copy that makes a result whole in a memory: in the host's of what the PIM has."""
    return Part(name, columns, copy="first" if memory == HOST_MEMORY else "others")
