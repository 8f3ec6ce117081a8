"""The measurements of Kim et al. 2024 as cost graphs, and the small tables that ship with pimloop.

The full data (one JSON for each model and sequence length, made from the ONNX Runtime traces the
authors published) are not part of the package; `paper_costs` converts one of them. The tables in
`partitioner/paper/data/paper_tables.json` are distilled from all of them by `distil`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph, Move, Operator, Tensor
from pimloop.partitioner.place.pricing import TransferPrices

CITATION = (
    "S. Y. Kim, J. Lee, Y. Paik, C. H. Kim, W. J. Lee, S. W. Kim: Optimal Model Partitioning with "
    "Low-Overhead Profiling on the PIM-based Platform for Deep Learning Inference. ACM TODAES "
    "29(2), 2024. doi:10.1145/3628599"
)
TABLES_FORMAT = "pimloop-paper/1"
MODELS = ("bert", "roberta", "gpt2")
LENGTHS = (8, 16, 32)
MEMORIES = {"cpu": ("cpu_serial", "cpu_parallel"), "pim": ("pim",)}
DEVICES = ("cpu_serial", "cpu_parallel", "pim")

#: The operator types that the paper counts as capable of CPU parallel execution in its DCG. Its
#: traces hold a time with all cores for every operator.
PARALLEL_TYPES = frozenset({"Add", "Sub", "Mul", "Div", "MatMul", "Gemm"})


@dataclass(frozen=True)
class Published:
    """Numbers printed in the paper for one model."""

    cg_nodes: int
    cg_edges: int
    dcg_nodes: int
    dcg_edges: int
    pim_capable: int
    da_edges: int  # for the two memories CPU and PIM
    node_runs: int
    edge_runs: int


PUBLISHED: dict[str, Published] = {
    "bert": Published(222, 262, 469, 686, 108, 8, 3, 1),
    "roberta": Published(616, 725, 1317, 1951, 308, 8, 3, 1),
    "gpt2": Published(1934, 2424, 2593, 1723, 245, 7, 3, 1),
}


def load_paper_file(directory: str | Path, model: str, length: int) -> dict[str, Any]:
    """Return the full data of one model and sequence length.

    Raises
    ------
    PartitionerError
        When the file is missing or is not what it should be.
    """
    path = Path(directory) / f"{model}_seq{length}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PartitionerError(f"{path}: cannot read the paper's data: {error}") from error
    if not isinstance(data, dict) or "published_totals_us" not in data:
        raise PartitionerError(f"{path}: not a file of the paper's data")
    return data


def paper_costs(data: Mapping[str, Any], statistic: str = "us_mean") -> CostGraph:
    """Return the cost graph of one of the paper's measurements.

    Each operator's output is one tensor, read by all its successors; its size is counted at
    bfloat16, two bytes for an element of four. Operators without a successor make model outputs.
    A transfer costs what transfers of its size took (`statistic`: "us_mean" or "us_min"), by
    `TransferPrices` for sizes that were not measured, which are model outputs only. Moves that no
    assignment can cause are left out.
    """
    prices = transfer_prices(data, statistic)
    readers: dict[str, dict[str, None]] = {}
    for producer, consumer in data["edges"]:
        readers.setdefault(producer, {})[consumer] = None
    capable = {node["id"] for node in data["nodes"] if "pim" in node["cost_us"]}
    operators, tensors = [], []
    transfer_us = {}
    for node in data["nodes"]:
        name = node["id"]
        operators.append(
            Operator(
                id=name,
                op=node["op"],
                devices=tuple(node["cost_us"]),
                signature="/".join(map(str, _class_key(node))),
                weight_bytes=node["parameter_bytes"] // 2,
            )
        )
        size = node["output_bytes"] // 2
        possible = {
            ("cpu", "pim"): not capable.isdisjoint(readers.get(name, {})),
            ("pim", "cpu"): name in capable,
        }
        transfer_us[name] = {m: price.at(size) for m, price in prices.items() if possible[m]}
        tensors.append(
            Tensor(
                id=name,
                producer=name,
                consumers=tuple(readers.get(name, {})),
                output=name not in readers,
                bytes=size,
                type="bfloat16",
                moves=frozenset(transfer_us[name]),
            )
        )
    graph = Graph(MEMORIES, tuple(operators), tuple(tensors), name=str(data["model"]))
    return CostGraph(graph, {node["id"]: node["cost_us"] for node in data["nodes"]}, transfer_us)


def transfer_prices(
    data: Mapping[str, Any], statistic: str = "us_mean"
) -> dict[Move, TransferPrices]:
    """Return what transfers take by size, for both directions of one of the measurements."""
    return {
        move: TransferPrices({row["bytes"]: row[statistic] for row in data["transfers"][key]}, key)
        for move, key in ((("cpu", "pim"), "to_pim"), (("pim", "cpu"), "to_cpu"))
    }


def with_paper_capability(graph: Graph) -> Graph:
    """Return `graph` with CPU parallel kept only for the types the paper counts as parallel."""
    return replace(
        graph,
        operators=tuple(
            operator
            if operator.op in PARALLEL_TYPES
            else replace(
                operator, devices=tuple(d for d in operator.devices if d != "cpu_parallel")
            )
            for operator in graph.operators
        ),
    )


def distil(directory: str | Path) -> dict[str, Any]:
    """Return the tables that ship: totals, and costs by operator class and by transfer size.

    Parameters
    ----------
    directory
        Where the full data lie.
    """
    measurements = []
    for model in MODELS:
        for length in LENGTHS:
            data = load_paper_file(directory, model, length)
            classes: dict[tuple[Any, ...], list[Any]] = {}
            for node in data["nodes"]:
                row = classes.setdefault(_class_key(node), [0, *([None] * len(DEVICES))])
                row[0] += 1
                for i, device in enumerate(DEVICES, start=1):
                    if device in node["cost_us"]:
                        row[i] = (row[i] or 0) + node["cost_us"][device]
            measurements.append(
                {
                    "model": model,
                    "sequence_length": length,
                    "totals_us": data["published_totals_us"],
                    "operators": [[*key, *row] for key, row in sorted(classes.items())],
                    "transfers": [
                        [direction, row["bytes"], row["us_mean"], row["us_min"], row["samples"]]
                        for direction in ("to_pim", "to_cpu")
                        for row in data["transfers"][direction]
                    ],
                }
            )
    return {
        "format": TABLES_FORMAT,
        "source": CITATION,
        "units": "microseconds; activation, parameter and output bytes at float32, transfer bytes "
        "at bfloat16",
        "operator_columns": [
            "op",
            "activation_bytes",
            "parameter_bytes",
            "output_bytes",
            "count",
            *(f"{device}_us_sum" for device in DEVICES),
        ],
        "transfer_columns": ["direction", "bytes", "us_mean", "us_min", "samples"],
        "published": {model: vars(numbers) for model, numbers in PUBLISHED.items()},
        "measurements": measurements,
    }


def load_tables() -> dict[str, Any]:
    """Return the tables that ship with pimloop (`distil` says what they hold)."""
    text = (
        resources.files("pimloop.partitioner.paper")
        .joinpath("data/paper_tables.json")
        .read_text("utf-8")
    )
    tables: dict[str, Any] = json.loads(text)
    return tables


def _class_key(node: Mapping[str, Any]) -> tuple[Any, ...]:
    return (node["op"], node["activation_bytes"], node["parameter_bytes"], node["output_bytes"])
