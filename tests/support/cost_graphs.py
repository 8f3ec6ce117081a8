"""Random cost graphs and an independent, slow evaluation for the tests of the partitioner.

Nothing here uses the solvers or `pimloop.partitioner.problem`: costs are read straight from the
JSON form.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from fractions import Fraction

MEMORIES = {
    1: {"cpu": ["cpu_serial", "cpu_parallel"]},
    2: {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
    3: {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"], "gpu": ["gpu"]},
    4: {"cpu": ["cpu_serial"], "pim": ["pim"], "gpu": ["gpu"], "npu": ["npu"]},
}


def random_costs(
    rng: random.Random,
    memories: int,
    operators: int,
    *,
    forbid: float = 0.0,
    incapable: float = 0.2,
    decimals: int = 0,
    weights: bool = False,
    fan_in: int = 3,
    reach: int | None = None,
) -> dict:
    """Return the JSON object of a random cost graph.

    Parameters
    ----------
    forbid
        Probability that a transfer direction is left out.
    incapable
        Probability that a device other than the first cannot run an operator.
    decimals
        Decimals of the costs; 0 gives small whole numbers, so that ties are frequent.
    fan_in, reach
        An operator reads up to `fan_in` of the `reach` tensors before it (None: any).
    """
    table = MEMORIES[memories]
    devices = [device for names in table.values() for device in names]
    pairs = [f"{a}>{b}" for a, b in itertools.permutations(table, 2)]

    def cost(top: int) -> float:
        return round(rng.uniform(0, top), decimals) if decimals else rng.randint(0, top)

    def moves() -> dict[str, float]:
        return {pair: cost(12) for pair in pairs if rng.random() >= forbid}

    nodes = []
    tensors: list[dict] = [
        {"id": f"in{i}", "producer": None, "consumers": [], "output": False, "transfer_us": moves()}
        for i in range(rng.randint(1, 2))
    ]
    for v in range(operators):
        name = f"n{v}"
        runs = {
            device: cost(20)
            for i, device in enumerate(devices)
            if i == 0 or rng.random() >= incapable
        }
        if rng.random() < 0.1 and len(runs) > 1:  # some operators cannot run on the first device
            del runs[devices[0]]
        node = {"id": name, "op": rng.choice("ABC"), "cost_us": runs}
        if weights:
            node["weight_bytes"] = rng.randint(0, 50)
        nodes.append(node)
        window = tensors if reach is None else tensors[-reach:]
        for tensor in rng.sample(window, min(len(window), rng.randint(1, fan_in))):
            tensor["consumers"].append(name)
        for k in range(2 if rng.random() < 0.15 else 1):
            tensors.append(
                {
                    "id": f"t{v}_{k}",
                    "producer": name,
                    "consumers": [],
                    "output": rng.random() < 0.1,
                    "bytes": rng.choice([64, 128]),
                    "transfer_us": moves(),
                }
            )
    tensors[-1]["output"] = True
    return {"format": "pimloop-costs/1", "memories": table, "nodes": nodes, "tensors": tensors}


def with_entries(rng: random.Random, data: dict, top: int = 10, decimals: int = 0) -> dict:
    """Return the graph with a cost of entering some of its devices."""
    devices = [device for names in data["memories"].values() for device in names]
    entry = {
        device: round(rng.uniform(0, top), decimals) if decimals else rng.randint(0, top)
        for device in devices
        if rng.random() < 0.8
    }
    entry[rng.choice(devices)] = 1 + rng.randint(0, top)
    return {**data, "format": "pimloop-costs/2", "entry_us": entry}


def total_cost(data: dict, assignment: dict[str, str]) -> Fraction | None:
    """Return the exact total of `assignment` in microseconds; None when a move is forbidden."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    total: int | Fraction = 0
    entry, last = data.get("entry_us", {}), None
    for node in data["nodes"]:  # the file's order is topological here, so it is that of execution
        device = assignment[node["id"]]
        total += exact(node["cost_us"][device])
        if device != last:
            total += exact(entry.get(device, 0))
        last = device
    for tensor in data["tensors"]:
        start = memory[assignment[tensor["producer"]]] if tensor["producer"] else "cpu"
        ends = {memory[assignment[consumer]] for consumer in tensor["consumers"]}
        if tensor["output"]:
            ends.add("cpu")
        for end in ends - {start}:
            price = tensor["transfer_us"].get(f"{start}>{end}")
            if price is None:
                return None
            total += exact(price)
    return Fraction(total)


def exact(us: float) -> int | Fraction:
    """Return the decimal number that a cost file has."""
    return us if isinstance(us, int) else Fraction(str(us))


def in_whole_steps(data: dict, others: Iterable[float] = ()) -> tuple[dict, int]:
    """Return the graph with whole numbers for costs, and how many of their steps are 1 us.

    Sums of them are exact, as those of fractions are, and many times as quick. A step divides the
    costs `others` too.
    """
    prices = [us for node in data["nodes"] for us in node["cost_us"].values()]
    prices += [us for tensor in data["tensors"] for us in tensor["transfer_us"].values()]
    prices += data.get("entry_us", {}).values()
    prices += others
    steps = math.lcm(*(exact(us).denominator for us in prices if us is not None))

    def whole(costs: dict) -> dict:
        return {key: None if us is None else int(exact(us) * steps) for key, us in costs.items()}

    scaled = {
        **data,
        "nodes": [{**node, "cost_us": whole(node["cost_us"])} for node in data["nodes"]],
        "tensors": [{**t, "transfer_us": whole(t["transfer_us"])} for t in data["tensors"]],
        "entry_us": whole(data.get("entry_us", {})),
    }
    return scaled, steps


def all_assignments(data: dict):
    """Yield every full assignment."""
    names = [node["id"] for node in data["nodes"]]
    for choice in itertools.product(*(node["cost_us"] for node in data["nodes"])):
        yield dict(zip(names, choice, strict=True))


def brute_force(data: dict, fits=lambda assignment: True) -> Fraction | None:
    """Return the least total over all assignments that `fits`; None when none is feasible."""
    scaled, steps = in_whole_steps(data)
    totals = (total_cost(scaled, a) for a in all_assignments(data) if fits(a))
    least = min((total for total in totals if total is not None), default=None)
    return None if least is None else least / steps


def shared_costs(rng: random.Random, operators: int, memories: int = 2) -> dict:
    """Return random costs whose operators have weights of their own and weights they share."""
    data = random_costs(rng, memories, operators, incapable=0.0, weights=True)
    data["shared_weights"] = {f"w{i}": rng.randint(1, 60) for i in range(3)}
    for node in data["nodes"]:
        node["cost_us"].setdefault(MEMORIES[memories]["cpu"][0], 20)
        chosen = [name for name in data["shared_weights"] if rng.random() < 0.4]
        node["shared_weights"] = chosen
    return data


def held(data: dict, assignment: dict[str, str], memory: str = "pim") -> int:
    """Return the bytes of weights in a memory, read from the JSON form."""
    inside = [n for n in data["nodes"] if assignment[n["id"]] in data["memories"][memory]]
    shared = {name for node in inside for name in node["shared_weights"]}
    own = sum(node.get("weight_bytes", 0) for node in inside)
    return own + sum(data["shared_weights"][name] for name in shared)
