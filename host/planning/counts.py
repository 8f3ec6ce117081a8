"""What lists of the PIM did in profile runs, by operator, part of an operator and transfer.

Energies follow from these counts, the times beside them and the constants of the platform
(`pimloop.host.planning.energies`), so they are counted once, whatever the constants are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pimloop.host.devices.kinds import SplitDevice, is_offloaded
from pimloop.host.energy.forms import Activity
from pimloop.host.execution.result import Result
from pimloop.host.pim.resident import Part
from pimloop.host.planning.energies import work
from pimloop.partitioner.graph import Move


@dataclass(frozen=True)
class Counts:
    """What was counted, without times."""

    operators: Mapping[str, Activity] = field(default_factory=dict)  # whole on the PIM, by id
    transfers: Mapping[tuple[str, Move], Activity] = field(default_factory=dict)  # of whole tensors
    parts: Mapping[Part, Activity] = field(default_factory=dict)


def count_runs(results: Iterable[Result]) -> Counts:
    """Return what profile runs counted; of runs that differ those of the lower median of clocks."""
    operators: dict[str, list[Activity]] = {}
    transfers: dict[tuple[str, Move], list[Activity]] = {}
    for result in results:
        platform = result.platform
        for name, stats in result.execution.pim.items():
            kind = platform.devices[result.assignment[name]]
            if is_offloaded(kind.name) and not isinstance(kind, SplitDevice):
                operators.setdefault(name, []).append(work(stats, platform))
        for transfer in result.execution.transfers:
            move = (transfer.tensor, (transfer.source, transfer.destination))
            transfers.setdefault(move, []).append(work(transfer.stats, platform))
    return Counts(
        {name: _middle(each) for name, each in operators.items()},
        {move: _middle(each) for move, each in transfers.items()},
    )


def _middle(each: list[Activity]) -> Activity:
    ordered = sorted(each, key=lambda counted: counted.list_clocks)
    return ordered[(len(ordered) - 1) // 2]
