"""Costs of a model from the store and from profile runs, and into the store.

A cost graph is put together from what is known: a profile run is one execution's times; what the
store knows has the same form. Only when something is missing do the profile runs happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import partitioner.graph as network
from host.models.graph import Array
from host.pipeline.cost_store import Cost, CostStore
from host.pipeline.keys import cpu_key, device_key, digest, transfer_key
from host.pipeline.network import MEMORIES
from host.pipeline.options import Options
from host.platform import Platform
from partitioner.coverage import Coverage
from partitioner.merge import ProfileRun

#: The signature of the entry into a segment.
_ENTRY = "segment entry"


class StoredCosts:
    """The costs of one model on one platform, as the store keeps them.

    Parameters
    ----------
    store
        Where.
    model
        `host.pipeline.keys.model_key` of the model.
    operators
        The partitioner's graph of it.
    feeds, platform, options, before
        What the times depend on (`host.pipeline.keys`).
    """

    def __init__(
        self,
        store: CostStore,
        model: str,
        operators: network.Graph,
        feeds: Mapping[str, Array],
        platform: Platform,
        options: Options,
        before: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._model = model
        self._operators = operators
        here = cpu_key(feeds, platform, options)
        self._contexts = {device: digest(here, device) for device in MEMORIES["cpu"]}
        self._contexts["pim"] = device_key(platform, options, before)
        self._transfers = transfer_key(feeds, platform, options, before)

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
            found = {
                operator.id: [us]
                for operator in able
                if (us := self._store.find(context, str(operator.signature), self._of(operator.id)))
                is not None
            }
            runs.append(ProfileRun(dict.fromkeys(found, device), found, moves))
            moves = {}
        self._store.warn_damaged()
        return runs

    def add(self, runs: Iterable[ProfileRun]) -> None:
        """Keep what profile runs measured."""
        index = {operator.id: operator for operator in self._operators.operators}
        tensors = {tensor.id: tensor for tensor in self._operators.tensors}
        costs = []
        for run in runs:
            for name, (us, *_) in run.node_us.items():
                context = self._contexts[run.assignment[name]]
                costs.append(Cost(context, str(index[name].signature), self._of(name), us))
            for (name, source, destination), (us, *_) in run.transfer_us.items():
                kind = _transfer_signature(tensors[name], (source, destination))
                costs.append(Cost(self._transfers, kind, self._of(name), us))
        self._store.add(costs)

    def find_entry(self) -> dict[str, float] | None:
        """Return what entering the CPU devices takes, None where it is not known of all."""
        found = {
            device: self._store.find(self._contexts[device], self._of(_ENTRY), "")
            for device in MEMORIES["cpu"]
        }
        known = {device: us for device, us in found.items() if us is not None}
        return known if len(known) == len(found) else None

    def add_entry(self, entry_us: Mapping[str, float]) -> None:
        """Keep what entering the CPU devices takes."""
        self._store.add(
            Cost(self._contexts[device], self._of(_ENTRY), "", us)
            for device, us in entry_us.items()
        )

    def _find_transfer(self, tensor: network.Tensor, move: network.Move) -> float | None:
        kind = _transfer_signature(tensor, move)
        return self._store.find(self._transfers, kind, self._of(tensor.id))

    def _of(self, name: str) -> str:
        return f"{self._model}/{name}"


def _transfer_signature(tensor: network.Tensor, move: network.Move) -> str:
    return f"transfer/{move[0]}>{move[1]}/{tensor.bytes}"
