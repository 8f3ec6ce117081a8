"""Random splits of the operators of random cost graphs, and an independent, slow evaluation.

Like `cost_graphs`, nothing here uses the solvers or `pimloop.partitioner.problem`. A choice maps
each operator to a device or to one of its splits.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from fractions import Fraction

from pimloop.partitioner.costs import CostGraph, costs_from_dict
from pimloop.partitioner.splits import Split
from support.cost_graphs import exact, in_whole_steps

Choice = dict[str, str | Split]


def random_splits(
    rng: random.Random,
    data: dict,
    shares: int,
    *,
    memories: tuple[str, str] = ("cpu", "pim"),
    often: float = 0.7,
    ordered: bool = True,
    top: int = 20,
    decimals: int = 0,
    weights: bool = False,
) -> dict[str, tuple[Split, ...]]:
    """Return the splits of some operators of a random cost graph.

    Parameters
    ----------
    shares
        Splits of an operator; the columns are cut into one part more.
    memories
        The two memories whose devices share an operator.
    often
        Probability that an operator can be split; one split in ten is left out even so.
    ordered
        Whether gathering takes the less the more columns are there, and no longer than moving the
        whole tensor, which a minimum cut asks for; else any times, some moves forbidden.
    """
    table = data["memories"]
    home, other = memories

    def cost(limit: float) -> float:
        return round(rng.uniform(0, limit), decimals) if decimals else rng.randint(0, int(limit))

    def gathers(tensor: dict) -> list[dict[str, float]]:
        """Return the times by memory, for each share of the second memory."""
        whole = tensor["transfer_us"]
        times = {
            home: sorted(cost(whole.get(f"{other}>{home}", top)) for _ in range(shares)),
            other: sorted(
                (cost(whole.get(f"{home}>{other}", top)) for _ in range(shares)), reverse=True
            ),
        }
        result = [
            {memory: times[memory][i] if memory in times else cost(top) for memory in table}
            for i in range(shares)
        ]
        if not ordered:
            rng.shuffle(result)
            for times_of_share in result:
                if rng.random() < 0.2:
                    del times_of_share[rng.choice(list(times_of_share))]
        return result

    splits = {}
    for node in data["nodes"]:
        if rng.random() >= often:
            continue
        made = {t["id"]: gathers(t) for t in data["tensors"] if t["producer"] == node["id"]}
        offered = []
        for share in range(1, shares + 1):
            if rng.random() < 0.1:
                continue
            devices, part = (rng.choice(table[home]), rng.choice(table[other])), share
            if rng.random() < 0.3:  # the same the other way round
                devices, part = devices[::-1], shares + 1 - share
            offered.append(
                Split(
                    devices,
                    part,
                    shares + 1,
                    (cost(top * 0.6), cost(top * 0.6)),
                    {tensor: times[share - 1] for tensor, times in made.items()},
                    (rng.randint(0, 50), rng.randint(0, 50)) if weights else None,
                )
            )
        rng.shuffle(offered)
        splits[node["id"]] = tuple(offered)
    return splits


def costs_with(data: dict, splits: dict[str, tuple[Split, ...]]) -> CostGraph:
    """Return the cost graph that offers the splits."""
    return replace(costs_from_dict(data), splits=splits)


def split_cost(data: dict, choice: Choice) -> Fraction | None:
    """Return the exact total of `choice` in microseconds; None when a move is forbidden."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    entry = data.get("entry_us", {})
    total: int | Fraction = 0
    last: str | Split | None = None
    for node in data["nodes"]:
        chosen = choice[node["id"]]
        if isinstance(chosen, Split):  # each part is a segment of its own
            total += max(
                exact(us) + exact(entry.get(device, 0))
                for us, device in zip(chosen.part_us, chosen.devices, strict=True)
            )
        else:
            total += exact(node["cost_us"][chosen])
            total += exact(entry.get(chosen, 0)) if chosen != last else 0
        last = chosen

    def read_in(chosen: str | Split) -> set[str]:
        return {memory[d] for d in ([chosen] if isinstance(chosen, str) else chosen.devices)}

    for tensor in data["tensors"]:
        ends = set().union(*(read_in(choice[consumer]) for consumer in tensor["consumers"]))
        if tensor["output"]:
            ends.add("cpu")
        maker = choice[tensor["producer"]] if tensor["producer"] else None
        if isinstance(maker, Split):
            prices = {end: maker.gather_us[tensor["id"]].get(end) for end in ends}
        else:
            start = memory[maker] if maker else "cpu"
            prices = {end: tensor["transfer_us"].get(f"{start}>{end}") for end in ends - {start}}
        for price in prices.values():
            if price is None:
                return None
            total += exact(price)
    return Fraction(total)


def all_choices(data: dict, splits: dict[str, tuple[Split, ...]]):
    """Yield every full choice."""
    names = [node["id"] for node in data["nodes"]]
    options = [[*node["cost_us"], *splits.get(node["id"], ())] for node in data["nodes"]]
    for choice in itertools.product(*options):
        yield dict(zip(names, choice, strict=True))


def brute_force_splits(data: dict, splits, fits=lambda choice: True) -> Fraction | None:
    """Return the least total over all choices that `fits`; None when none is feasible."""
    data, splits, steps = _in_whole_steps(data, splits)
    totals = (split_cost(data, choice) for choice in all_choices(data, splits) if fits(choice))
    least = min((total for total in totals if total is not None), default=None)
    return None if least is None else least / steps


def _in_whole_steps(
    data: dict, splits: dict[str, tuple[Split, ...]]
) -> tuple[dict, dict[str, tuple[Split, ...]], int]:
    """Return the graph and its splits with whole numbers for costs; how many steps are 1 us."""
    offered = [split for several in splits.values() for split in several]
    times = [us for split in offered for us in split.part_us]
    times += [us for split in offered for by in split.gather_us.values() for us in by.values()]
    scaled, steps = in_whole_steps(data, times)

    def whole(split: Split) -> Split:
        first, second = (int(exact(us) * steps) for us in split.part_us)
        gather_us = {
            tensor: {memory: int(exact(us) * steps) for memory, us in by.items()}
            for tensor, by in split.gather_us.items()
        }
        return replace(split, part_us=(first, second), gather_us=gather_us)

    return scaled, {name: tuple(map(whole, several)) for name, several in splits.items()}, steps


def chosen(plan) -> Choice:
    """Return the choice of a plan, held against itself."""
    assert {n for n, name in plan.assignment.items() if " " in name} == set(plan.splits)
    assert all(plan.assignment[name] == split.name for name, split in plan.splits.items())
    return {**plan.assignment, **plan.splits}


def two_devices(**splits: Split) -> CostGraph:
    """Return `a` -> `b`, 10 us each on both devices, moves 4 us, with the splits given."""
    nodes = [{"id": v, "op": "MatMul", "cost_us": {"cpu_serial": 10, "pim": 10}} for v in "ab"]
    moves = {"cpu>pim": 4, "pim>cpu": 4}
    tensors = [
        {"id": "x", "producer": None, "consumers": ["a"], "transfer_us": moves},
        {"id": "y", "producer": "a", "consumers": ["b"], "transfer_us": moves},
        {"id": "z", "producer": "b", "consumers": [], "output": True, "transfer_us": moves},
    ]
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": nodes,
        "tensors": tensors,
    }
    return replace(costs_from_dict(data), splits={name: (split,) for name, split in splits.items()})


def half(tensor: str, us: float = 5.0) -> Split:
    """Return a split into halves whose gathering costs 1 us in either memory."""
    return Split(("cpu_serial", "pim"), 1, 2, (us, us), {tensor: {"cpu": 1.0, "pim": 1.0}})
