"""Costs of a model from the store and from profile runs, and into the store.

A cost graph is put together from what is known: a profile run is one execution's times; what the
store knows has the same form. Only when something is missing do the profile runs happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pimloop.partitioner.graph as cg
from pimloop.host.devices.kinds import HOST_MEMORY
from pimloop.host.energy.forms import Activity
from pimloop.host.execution.options import Options
from pimloop.host.models.graph import Array
from pimloop.host.pim.resident import Part as PimPart
from pimloop.host.planning.counts import Counts
from pimloop.host.planning.keys import (
    counts_key,
    cpu_key,
    device_key,
    digest,
    session_device_key,
    transfer_key,
)
from pimloop.host.planning.part_runs import DEVICES
from pimloop.host.planning.part_times import GatheredPart, Part, PartTimes
from pimloop.host.platforms.platform import Platform
from pimloop.host.store.cost_store import Cost, CostStore
from pimloop.partitioner.profile.coverage import Coverage
from pimloop.partitioner.profile.merge import ProfileRun

#: The devices whose parts of operators are stored.
_CPU, PIM = DEVICES

#: Stands for the whole of an operator of the PIM among what is counted.
_WHOLE = "whole operator"

#: The signature of the entry into a segment.
_ENTRY = "segment entry"


#: What is counted of lists, each a row: all of `Activity` but its times.
_COUNTS = tuple(item.name for item in fields(Activity) if item.name not in ("us", "core_us"))


class StoredCosts:
    """The costs of one model on one platform, as the store keeps them.

    Parameters
    ----------
    store
        Where.
    model
        `pimloop.host.planning.keys.model_key` of the model.
    operators
        The partitioner's graph of it.
    feeds, platform, options, before
        What the times depend on (`pimloop.host.planning.keys`).

    Attributes
    ----------
    disturbed
        Whether a time that was found is not trusted: other work disturbed its measurement.
    """

    def __init__(
        self,
        store: CostStore,
        model: str,
        operators: cg.Graph,
        feeds: Mapping[str, Array],
        platform: Platform,
        options: Options,
        before: Sequence[str] = (),
    ) -> None:
        self.disturbed = False
        self._store = store
        self._model = model
        self._operators = operators
        here = cpu_key(feeds, platform, options)
        self._cpu = platform.memories[HOST_MEMORY]
        self._contexts = {
            name: digest(here, name)
            if name in self._cpu
            else device_key(platform, options, before)
            if kind.offloaded
            else session_device_key(platform, name)
            for name, kind in platform.devices.items()
        }
        self._transfers = transfer_key(feeds, platform, options, before)
        self._counts = counts_key(platform, options, before)

    def find(self) -> list[ProfileRun]:
        """Return what is known, one pseudo run for each device."""
        possible = Coverage(self._operators, group_operators=False, group_transfers=False)
        moves = {
            (tensor.id, *move): [us]
            for tensor, items in zip(self._operators.tensors, possible.transfer_items, strict=True)
            for move in items
            if (us := self._find_transfer(tensor, move)) is not None
        }
        runs = []
        for device, context in self._contexts.items():
            able = [o for o in self._operators.operators if device in o.devices]
            known = {
                operator.id: [us]
                for operator in able
                if (us := self._find(context, str(operator.signature), operator.id)) is not None
            }
            runs.append(ProfileRun(dict.fromkeys(known, device), known, moves))
            moves = {}
        self._store.warn_damaged()
        return runs

    def add(self, runs: Iterable[ProfileRun], *, disturbed: bool) -> None:
        """Keep what profile runs measured.

        Parameters
        ----------
        disturbed
            Whether other work disturbed what was timed on this machine. Cycles of the PIM count
            whatever the machine does.
        """
        index = {operator.id: operator for operator in self._operators.operators}
        tensors = {tensor.id: tensor for tensor in self._operators.tensors}
        costs = []
        for run in runs:
            for name, (us, *_) in run.node_us.items():
                device = run.assignment[name]
                kind = str(index[name].signature)
                marked = disturbed and device in self._cpu
                costs.append(Cost(self._contexts[device], kind, self._of(name), us, marked))
            for (name, source, destination), (us, *_) in run.transfer_us.items():
                kind = _transfer_signature(tensors[name], (source, destination))
                costs.append(Cost(self._transfers, kind, self._of(name), us, disturbed))
        self._store.add(costs)

    def find_part(self, part: PimPart, *, clocks_alone: bool = False) -> Activity | None:
        """Return what a part of an operator counts, or its clocks alone; None: not known."""
        wanted = ("list_clocks",) if clocks_alone else _COUNTS
        return self._find_counts(_part_signature(part), part.node, wanted)

    def add_part_counts(self, counted: Mapping[PimPart, Activity]) -> None:
        """Keep what parts of operators count."""
        self._add_counts(
            (_part_signature(part), part.node, counts) for part, counts in counted.items()
        )

    def find_counts(self) -> Counts:
        """Return what is known to be counted, of the PIM's operators and of transfers."""
        operators = {
            operator.id: counts
            for operator in self._operators.operators
            if set(operator.devices) - set(self._cpu)
            and (counts := self._find_counts(_WHOLE, operator.id)) is not None
        }
        transfers = {
            (tensor.id, move): counts
            for tensor in self._operators.tensors
            for move in tensor.moves
            if (counts := self._find_counts(">".join(move), tensor.id)) is not None
        }
        return Counts(operators, transfers)

    def add_counts(self, counts: Counts) -> None:
        """Keep what whole operators and transfers count."""
        self._add_counts(
            [
                *((_WHOLE, name, counted) for name, counted in counts.operators.items()),
                *((">".join(move), name, n) for (name, move), n in counts.transfers.items()),
            ]
        )

    def find_parts(
        self, parts: Iterable[Part], gathered: Iterable[GatheredPart]
    ) -> PartTimes | None:
        """Return the times of parts of split operators; None where one is not known."""
        cpu = {
            (name, columns): self._find(self._contexts[_CPU], _cpu_signature(columns), name)
            for name, columns in parts
        }
        moved = {
            (tensor, memory, columns): self._find(
                self._transfers, _gather_signature(memory, columns), tensor
            )
            for tensor, memory, columns in gathered
        }
        cpu_us = {key: us for key, us in cpu.items() if us is not None}
        gather_us = {key: us for key, us in moved.items() if us is not None}
        if (len(cpu_us), len(gather_us)) != (len(cpu), len(moved)):
            return None
        return PartTimes(cpu_us, gather_us, self.disturbed)

    def add_parts(self, times: PartTimes) -> None:
        """Keep the times of parts of split operators."""
        cpu = [
            Cost(self._contexts[_CPU], _cpu_signature(n), self._of(name), us, times.disturbed)
            for (name, n), us in times.cpu_us.items()
        ]
        moved = [
            Cost(self._transfers, _gather_signature(m, n), self._of(name), us, times.disturbed)
            for (name, m, n), us in times.gather_us.items()
        ]
        self._store.add([*cpu, *moved])

    def find_entry(self) -> dict[str, float] | None:
        """Return what entering the CPU devices takes, None where it is not known of all."""
        entries = {
            device: self._answer(self._store.find(self._contexts[device], self._of(_ENTRY), ""))
            for device in self._cpu
        }
        known = {device: us for device, us in entries.items() if us is not None}
        return known if len(known) == len(entries) else None

    def add_entry(self, entry_us: Mapping[str, float], *, disturbed: bool) -> None:
        """Keep what entering the CPU devices takes."""
        self._store.add(
            Cost(self._contexts[device], self._of(_ENTRY), "", us, disturbed)
            for device, us in entry_us.items()
        )

    def _find(self, context: str, kind: str, name: str) -> float | None:
        return self._answer(self._store.find(context, kind, self._of(name)))

    def _find_counts(
        self, kind: str, name: str, wanted: Sequence[str] = _COUNTS
    ) -> Activity | None:
        """Return some counts, the others 0; None where one is not known."""
        counts: dict[str, Any] = {}
        for each in wanted:
            stored = self._store.find(self._counts, f"{each}, {kind}", self._of(name))
            if stored is None:
                return None
            counts[each] = round(stored.us)
        return Activity(**counts)

    def _add_counts(self, counted: Iterable[tuple[str, str, Activity]]) -> None:
        """Keep counts; they stand where other rows have microseconds."""
        self._store.add(
            Cost(self._counts, f"{each}, {kind}", self._of(name), getattr(counts, each))
            for kind, name, counts in counted
            for each in _COUNTS
        )

    def _find_transfer(self, tensor: cg.Tensor, move: cg.Move) -> float | None:
        return self._find(self._transfers, _transfer_signature(tensor, move), tensor.id)

    def _answer(self, cost: Cost | None) -> float | None:
        """Return a stored time, and note whether it is trusted."""
        if cost is None:
            return None
        self.disturbed |= cost.disturbed
        return cost.us

    def _of(self, name: str) -> str:
        return f"{self._model}/{name}"


def _cpu_signature(columns: int) -> str:
    return f"CPU beside the first {columns} columns"


def _gather_signature(memory: str, columns: int) -> str:
    return f"gathered in {memory} of the first {columns} columns and the others"


def _part_signature(part: PimPart) -> str:
    return f"part {part.columns} {part.filled} {part.copy}"


def _transfer_signature(tensor: cg.Tensor, move: cg.Move) -> str:
    return f"transfer/{move[0]}>{move[1]}/{tensor.bytes}"
