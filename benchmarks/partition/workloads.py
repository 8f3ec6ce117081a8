"""Cost graphs to measure the partitioner on: encoder models of any depth, and random DAGs."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

from pimloop.partitioner.costs import CostGraph, costs_from_dict
from pimloop.partitioner.splits import Split, split_times

#: Extra memories beside the CPU's, in the order they are added.
ACCELERATORS = ("pim", "gpu", "npu")


def _memories(number: int) -> dict[str, list[str]]:
    return {"cpu": ["cpu_serial", "cpu_parallel"]} | {m: [m] for m in ACCELERATORS[: number - 1]}


class _Builder:
    """Collects operators and tensors; costs grow with the work and vary with a seed."""

    def __init__(self, memories: int, seed: int) -> None:
        self.memories = _memories(memories)
        self.pairs = [f"{a}>{b}" for a, b in itertools.permutations(self.memories, 2)]
        self.rng = random.Random(seed)
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, dict[str, Any]] = {}

    def tensor(self, name: str, producer: str | None, size: int) -> str:
        price = {
            pair: round(20 + size / 150 * self.rng.uniform(0.8, 1.4), 2) for pair in self.pairs
        }
        self.tensors[name] = {
            "id": name,
            "producer": producer,
            "consumers": [],
            "output": False,
            "bytes": size,
            "transfer_us": price,
        }
        return name

    def op(self, kind: str, inputs: list[str], size: int, work: float, offload: bool) -> str:
        name = f"{kind}_{len(self.nodes)}"
        vary = self.rng.uniform
        cost = {
            "cpu_serial": round(work * vary(0.9, 1.1), 2),
            "cpu_parallel": round(work / 3 * vary(0.9, 1.3) + 5, 2),
        }
        if offload:
            for memory in list(self.memories)[1:]:
                cost[memory] = round(work / 8 * vary(0.7, 2.5) + 20, 2)
        self.nodes.append({"id": name, "op": kind, "cost_us": cost, "signature": f"{kind}/{size}"})
        for value in inputs:
            self.tensors[value]["consumers"].append(name)
        return self.tensor(f"{name}:0", name, size)

    def graph(self) -> dict[str, Any]:
        return {
            "format": "pimloop-costs/1",
            "memories": self.memories,
            "nodes": self.nodes,
            "tensors": list(self.tensors.values()),
        }


def split_operators(data: dict[str, Any], shares: int) -> CostGraph:
    """Return the cost graph with splits of every operator that the CPU and the PIM can execute.

    Both sides take the time of their columns, gathering that of the missing ones.
    """
    made: dict[str, list[dict[str, Any]]] = {}
    for tensor in data["tensors"]:
        made.setdefault(tensor["producer"], []).append(tensor)

    def splits(node: dict[str, Any]) -> tuple[Split, ...]:
        whole = node["cost_us"]
        cpu = min(("cpu_serial", "cpu_parallel"), key=lambda device: whole[device])

        def gather(first: float, second: float) -> dict[str, dict[str, float]]:
            return {
                tensor["id"]: {
                    "cpu": tensor["transfer_us"]["pim>cpu"] * second,
                    "pim": tensor["transfer_us"]["cpu>pim"] * first,
                }
                for tensor in made[node["id"]]
            }

        return split_times(
            (cpu, "pim"),
            range(1, shares + 1),
            shares + 1,
            lambda device, part: whole[device] * part,
            gather,
        )

    both = {"cpu_serial", "cpu_parallel", "pim"}
    return replace(
        costs_from_dict(data),
        splits={n["id"]: splits(n) for n in data["nodes"] if both <= n["cost_us"].keys()},
    )


def encoder(layers: int, memories: int = 2, seed: int = 0) -> dict[str, Any]:
    """Return the cost graph of a BERT-like encoder, about 50 operators a layer.

    Layer normalisation and GELU are spelled out as ONNX exporters did in 2021; one mask is read
    by every layer.
    """
    b = _Builder(memories, seed)
    hidden, wide, narrow = 24_576, 98_304, 32

    def norm(x: str) -> str:
        mean = b.op("ReduceMean", [x], narrow, 80, False)
        centred = b.op("Sub", [x, mean], hidden, 70, True)
        square = b.op("Pow", [centred], hidden, 60, False)
        variance = b.op("ReduceMean", [square], narrow, 80, False)
        safe = b.op("Add", [variance], narrow, 30, True)
        deviation = b.op("Sqrt", [safe], narrow, 20, False)
        ratio = b.op("Div", [centred, deviation], hidden, 90, False)
        scaled = b.op("Mul", [ratio], hidden, 75, True)
        return b.op("Add", [scaled], hidden, 70, True)

    def linear(x: str, size: int, work: float) -> str:
        return b.op("Add", [b.op("MatMul", [x], size, work, True)], size, 80, True)

    ids = b.tensor("ids", None, 128)
    mask_input = b.tensor("mask", None, 128)
    mask = b.op(
        "Mul",
        [b.op("Sub", [b.op("Cast", [mask_input], 64, 15, False)], 64, 20, True)],
        64,
        20,
        True,
    )
    x = norm(b.op("Gather", [ids], hidden, 75, False))
    for _ in range(layers):
        heads = []
        for _ in range(3):
            shaped = b.op("Reshape", [linear(x, hidden, 9000)], hidden, 24, False)
            heads.append(b.op("Transpose", [shaped], hidden, 40, False))
        scores = b.op("Div", [b.op("MatMul", heads[:2], 4096, 300, False)], 4096, 60, False)
        masked = b.op("Add", [scores, mask], 4096, 60, False)
        attention = b.op(
            "MatMul", [b.op("Softmax", [masked], 4096, 130, False), heads[2]], hidden, 300, False
        )
        merged = b.op(
            "Reshape", [b.op("Transpose", [attention], hidden, 40, False)], hidden, 24, False
        )
        x = norm(b.op("Add", [x, linear(merged, hidden, 9000)], hidden, 80, True))
        up = linear(x, wide, 36_000)
        erf = b.op("Erf", [b.op("Div", [up], wide, 200, False)], wide, 2000, False)
        gelu = b.op("Mul", [up, b.op("Add", [erf], wide, 180, True)], wide, 190, True)
        down = linear(b.op("Mul", [gelu], wide, 190, True), hidden, 36_000)
        x = norm(b.op("Add", [x, down], hidden, 80, True))
    b.tensors[x]["output"] = True
    return b.graph()


def random_dag(operators: int, memories: int = 2, reach: int | None = 20, seed: int = 0) -> Any:
    """Return a random DAG whose operators read one or two of the `reach` tensors before them."""
    b = _Builder(memories, seed)
    names = [b.tensor("input", None, 1024)]
    for _ in range(operators):
        window = names if reach is None else names[-reach:]
        inputs = b.rng.sample(window, min(len(window), b.rng.randint(1, 2)))
        size = b.rng.choice((64, 1024, 16_384))
        names.append(b.op("Op", inputs, size, b.rng.uniform(10, 900), b.rng.random() < 0.7))
    b.tensors[names[-1]]["output"] = True
    return b.graph()
