"""Random energies of random cost graphs, and an independent, slow sum of them.

As in `split_graphs`, a choice maps each operator to a device or to one of its splits; nothing here
uses the solvers or `pimloop.partitioner.problem`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from pimloop.partitioner.energies import Energies
from pimloop.partitioner.splits import Split
from support.split_graphs import Choice, all_choices


def random_energies(
    rng: random.Random, data: dict, splits: dict[str, tuple[Split, ...]], top: int = 30
) -> Energies:
    """Return an energy up to `top` for every time of a graph and its splits."""
    made = {tensor["id"]: tensor["producer"] for tensor in data["tensors"]}
    operators = {
        node["id"]: {
            name: rng.randint(0, top)
            for name in [*node["cost_us"], *(split.name for split in splits.get(node["id"], ()))]
        }
        for node in data["nodes"]
    }
    transfers = {
        tensor["id"]: {
            **{
                tuple(pair.split(">")): rng.randint(0, top * 2 // 3)
                for pair in tensor["transfer_us"]
            },
            **{
                (split.name, memory): rng.randint(0, top * 2 // 3)
                for split in splits.get(made[tensor["id"]], ())
                for memory in split.gather_us[tensor["id"]]
            },
        }
        for tensor in data["tensors"]
    }
    entry = {device: rng.randint(0, top // 2) for device in data.get("entry_us", {})}
    return Energies(operators, transfers, entry)


def totals_of(data: dict, energies: Energies, choice: Choice) -> tuple[int, int] | None:
    """Return the time and the energy of a choice; None where it needs a forbidden move.

    Times of the graph are whole microseconds.
    """
    memory = {device: name for name, names in data["memories"].items() for device in names}
    entry_us = data.get("entry_us", {})
    time = energy = 0
    last = None
    for node in data["nodes"]:  # the file's order is that of execution
        chosen = choice[node["id"]]
        name = chosen if isinstance(chosen, str) else chosen.name
        energy += energies.operators[node["id"]][name]
        if isinstance(chosen, Split):  # entering both devices is in its energy
            time += max(
                us + entry_us.get(device, 0)
                for us, device in zip(chosen.part_us, chosen.devices, strict=True)
            )
        else:
            time += node["cost_us"][chosen]
            if chosen != last:
                time += entry_us.get(chosen, 0)
                energy += energies.entry.get(chosen, 0)
        last = name
    for tensor in data["tensors"]:
        ends = {"cpu"} if tensor["output"] else set()
        for consumer in tensor["consumers"]:
            reader = choice[consumer]
            ends |= {memory[d] for d in ([reader] if isinstance(reader, str) else reader.devices)}
        maker = choice[tensor["producer"]] if tensor["producer"] else None
        if isinstance(maker, Split):
            source, moves = maker.name, maker.gather_us[tensor["id"]]
        else:
            source = memory[maker] if maker else "cpu"
            ends.discard(source)
            moves = {
                end: tensor["transfer_us"][f"{source}>{end}"]
                for end in ends
                if f"{source}>{end}" in tensor["transfer_us"]
            }
        if not ends <= moves.keys():
            return None
        time += sum(moves[end] for end in ends)
        energy += sum(energies.transfers[tensor["id"]][source, end] for end in ends)
    return int(time), energy


def all_totals(
    data: dict, splits: dict[str, tuple[Split, ...]], energies: Energies
) -> Iterator[tuple[Choice, int, int]]:
    """Yield every feasible choice with its time and its energy."""
    for choice in all_choices(data, splits):
        totals = totals_of(data, energies, choice)
        if totals is not None:
            yield choice, *totals
