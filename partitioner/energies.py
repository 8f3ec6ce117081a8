"""Energies beside the times of a cost graph: what plans for energy are made from.

Each energy has in it what stands by while its work takes its time (self-refresh, static power): the
energy of operators and transfers one after the other is the sum of theirs. So power times time is
in every term, and the optimum of energy, like that of time, is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pimloop.partitioner.cost_file import EnergiesJson
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Move

if TYPE_CHECKING:
    from pimloop.partitioner.costs import CostGraph


@dataclass(frozen=True)
class Energies:
    """The energy of all that a cost graph has a time for, in whole femtojoules, not negative.

    Parameters
    ----------
    operators
        Operator id -> device, or name of a split -> energy. That of a split is of both parts, what
        stands by until the slower one ends, and what entering both devices takes.
    transfers
        Tensor id -> (source memory, or name of the split that makes it; destination memory) ->
        energy.
    entry
        Device -> energy of entering it; a device that is left out takes nothing.
    """

    operators: Mapping[str, Mapping[str, int]]
    transfers: Mapping[str, Mapping[Move, int]]
    entry: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, data: EnergiesJson) -> Energies:
        """Return the energies of a cost file.

        Raises
        ------
        PartitionerError
            For a direction that is none.
        """
        return cls(
            data["operators"],
            {
                tensor: {_move(tensor, pair): energy for pair, energy in by_move.items()}
                for tensor, by_move in data["transfers"].items()
            },
            data.get("entry", {}),
        )

    def to_dict(self) -> EnergiesJson:
        """Return the energies as a cost file has them."""
        result: EnergiesJson = {
            "operators": {name: dict(energies) for name, energies in self.operators.items()},
            "transfers": {
                tensor: {">".join(move): energy for move, energy in energies.items()}
                for tensor, energies in self.transfers.items()
            },
        }
        if self.entry:
            result["entry"] = dict(self.entry)
        return result


def _move(tensor: str, pair: str) -> Move:
    source, arrow, destination = pair.partition(">")
    if not arrow:
        raise PartitionerError(
            f"energies: tensor {tensor!r}: transfer {pair!r} is not of the form"
            " 'source>destination'"
        )
    return source, destination


def with_known_splits(costs: CostGraph) -> CostGraph:
    """Return the cost graph without the splits that it has no energy of, if it has any energies."""
    energies = costs.energies
    if energies is None:
        return costs
    splits = {
        operator: tuple(s for s in offered if s.name in energies.operators.get(operator, {}))
        for operator, offered in costs.splits.items()
    }
    return replace(costs, splits={name: some for name, some in splits.items() if some})


def energies_of(costs: CostGraph) -> Energies:
    """Return the energies of a cost graph, which has all that its times ask for.

    Raises
    ------
    PartitionerError
        When it has none, one is missing, or one is negative or no whole number.
    """
    energies, name = costs.energies, costs.graph.name
    if energies is None:
        raise PartitionerError(
            f"{name}: the costs have no energies, which this objective needs; make them with"
            " `pimloop profile --energies`, or use the objective sequential"
        )
    for operator in costs.graph.operators:
        splits = costs.splits.get(operator.id, ())
        _check(
            f"{name}: node {operator.id!r}",
            energies.operators.get(operator.id, {}),
            [*costs.cost_us[operator.id], *(split.name for split in splits)],
        )
    for tensor in costs.graph.tensors:
        gathers = [
            (split.name, memory)
            for split in costs.splits.get(tensor.producer or "", ())
            for memory in split.gather_us[tensor.id]
        ]
        _check(
            f"{name}: tensor {tensor.id!r}",
            energies.transfers.get(tensor.id, {}),
            [*costs.transfer_us[tensor.id], *gathers],
        )
    _check(f"{name}: entry", energies.entry, ())
    return energies


def _check(
    where: str,
    energies: Mapping[str, int] | Mapping[Move, int],
    needed: Iterable[str | Move],
) -> None:
    """Raise unless all that is needed has an energy, and every energy is one."""
    for item in needed:
        if item not in energies:
            shown = item if isinstance(item, str) else ">".join(item)
            raise PartitionerError(
                f"{where}: there is a time for {shown!r} but no energy; give it one, in fJ"
            )
    for item, energy in energies.items():
        if isinstance(energy, bool) or not isinstance(energy, int) or energy < 0:
            shown = item if isinstance(item, str) else ">".join(item)
            raise PartitionerError(
                f"{where}: the energy of {shown!r} is {energy!r}; give a whole number of fJ >= 0"
            )
