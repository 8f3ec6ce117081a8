"""The published measurements of the paper's board, as data of this package.

Graphs and costs of single operators come from `host/board/data` (made by
`pimloop.host.board.distil`); totals and transfers from `partitioner/paper/data/paper_tables.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.board.templates import Dimension, Kind, Operand, Template
from pimloop.host.models.graph import Graph, Node, TensorInfo
from pimloop.partitioner.paper.coexecution import PRODUCTS
from pimloop.partitioner.paper.tables import load_tables

MODELS = ("bert", "roberta", "gpt2")

#: The platform made after the board.
BOARD_PLATFORM = "htg-z920"

#: The schedules whose totals were published, by our name of the policy and theirs.
SCHEDULES = {
    "cpu_serial": "cpu_serial_only",
    "cpu_parallel_first": "priority_cpu_parallel_pim_cpu_serial",
    "pim_first": "priority_pim_cpu_parallel_cpu_serial",
    "optimal": "opt",
}

TITLES = {"bert": "BERT (small)", "roberta": "RoBERTa", "gpt2": "GPT-2"}

#: The built-in model that is the board's.
BUILT_IN = {"bert": "bert-small", "roberta": "roberta", "gpt2": "gpt2"}

_KINDS: Mapping[str, Kind] = {"a": "activation", "c": "constant", "o": "output"}
_OPSETS = {"": 17}


@dataclass(frozen=True)
class Measurement:
    """What the board took at one sequence length."""

    cost_us: Mapping[str, Sequence[float | None]]  # by device, for each node
    optimal_pim: frozenset[int]  # nodes on the PIM in the published optimum
    totals_us: Mapping[str, float]  # by our name of the schedule
    transfers: Mapping[str, Sequence[Mapping[str, float]]]  # to_pim, to_cpu: bytes, us_mean, ..


@dataclass(frozen=True)
class BoardModel:
    """One of the board's models: its graph, and what was measured."""

    name: str
    classes: tuple[Template, ...]
    node_ids: tuple[str, ...]
    node_classes: tuple[int, ...]  # index into `classes`
    edges: tuple[tuple[int, int], ...]  # producer, consumer: indices into `node_ids`
    measurements: Mapping[int, Measurement]  # by sequence length

    def members(self) -> list[list[int]]:
        """Return the nodes of each class."""
        members: list[list[int]] = [[] for _ in self.classes]
        for node, index in enumerate(self.node_classes):
            members[index].append(node)
        return members


@cache
def load_board(model: str) -> BoardModel:
    """Return one of the board's models.

    Raises
    ------
    PimloopError
        When the board has no such model.
    """
    if model not in MODELS:
        raise PimloopError(f"the board has no model {model!r}: choose one of {', '.join(MODELS)}")
    text = resources.files("pimloop.host.board").joinpath(f"data/{model}.json").read_text("utf-8")
    data = json.loads(text)
    classes = tuple(_template(entry) for entry in data["classes"])
    return BoardModel(
        name=model,
        classes=classes,
        node_ids=tuple(f"{classes[kind].op}_{number}" for number, kind in data["nodes"]),
        node_classes=tuple(kind for _, kind in data["nodes"]),
        edges=tuple((a, b) for a, b in data["edges"]),
        measurements={
            int(length): _measurement(model, int(length), entry)
            for length, entry in data["measurements"].items()
        },
    )


def _template(entry: list[Any]) -> Template:
    op, operands, attributes = entry
    return Template(
        op=op,
        operands=tuple(
            Operand(_KINDS[kind], dtype, tuple(cast(Dimension, size) for size in shape))
            for kind, dtype, shape in operands
        ),
        attributes=tuple(
            (key, tuple(value) if isinstance(value, list) else value)
            for key, value in attributes.items()
        ),
    )


def _measurement(model: str, length: int, entry: Mapping[str, Any]) -> Measurement:
    row = next(
        row
        for row in load_tables()["measurements"]
        if row["model"] == model and row["sequence_length"] == length
    )
    columns = ("bytes", "us_mean", "us_min", "samples")
    return Measurement(
        cost_us=entry["cost_us"],
        optimal_pim=frozenset(entry["optimal_pim"]),
        totals_us={ours: row["totals_us"][theirs] for ours, theirs in SCHEDULES.items()},
        transfers={
            direction: [
                dict(zip(columns, values, strict=True))
                for way, *values in row["transfers"]
                if way == direction
            ]
            for direction in ("to_pim", "to_cpu")
        },
    )


def published_totals(model: str, length: int) -> dict[str, float] | None:
    """Return the published total of each schedule in microseconds, for a built-in model's name.

    None when the board's data do not hold that model at that length.
    """
    for name, ours in BUILT_IN.items():
        if ours == model and length in load_board(name).measurements:
            return dict(load_board(name).measurements[length].totals_us)
    return None


def class_graph(template: Template, length: int) -> Graph:
    """Return a graph of one operator of a class, for a sequence length.

    Constants have the right shape and no memory of their own: their values mean nothing.
    """
    tensors: dict[str, TensorInfo] = {}
    constants = {}
    names: dict[Kind, list[str]] = {"activation": [], "constant": [], "output": []}
    inputs: list[str] = []
    for index, operand in enumerate(template.operands):
        name = f"{operand.kind}{index}"
        tensors[name] = TensorInfo(operand.at(length), np.dtype(operand.dtype))
        names[operand.kind].append(name)
        if operand.kind != "output":
            inputs.append(name)
        if operand.kind == "constant":
            constants[name] = np.broadcast_to(np.zeros((), operand.dtype), operand.at(length))
    node = Node(
        template.op, template.op, "", tuple(inputs), tuple(names["output"]),
        dict(template.attributes),
    )  # fmt: skip
    return Graph(
        name=template.op,
        nodes=(node,),
        tensors=tensors,
        constants=constants,
        inputs=tuple(names["activation"]),
        outputs=tuple(names["output"]),
        opsets=_OPSETS,
        sequence_length=length,
    )


def class_name(template: Template, length: int) -> str:
    """Return a class's name for people, such as `MatMul (8,512)x(512,512)`.

    >>> from pimloop.host.board.templates import templates
    >>> [class_name(t, 8) for t in templates("bert") if t.op in ("Gemm", "Erf")]
    ['Erf (8,2048)', 'Gemm (1,512)x(512,512)T+(512)', 'Gemm (1,512)x(2,512)T+(2)']
    """
    shapes = [
        _shape(operand.at(length)) for operand in template.operands if operand.kind != "output"
    ]
    if template.op in PRODUCTS:
        text = "x".join(shapes[:2])
        if template.transposed:
            text += "T"
        text += "".join(f"+{shape}" for shape in shapes[2:])
    else:
        text = ",".join(shapes)
    perm = dict(template.attributes).get("perm")
    order = f" to {''.join(map(str, perm))}" if isinstance(perm, tuple) else ""
    return f"{template.op} {text}{order}"


def _shape(shape: tuple[int, ...]) -> str:
    while len(shape) > 1 and shape[0] == 1 and len(shape) > 2:
        shape = shape[1:]
    return f"({','.join(map(str, shape))})"


DeviceName = Literal["cpu_serial", "cpu_parallel", "pim"]
DEVICES: tuple[DeviceName, ...] = ("cpu_serial", "cpu_parallel", "pim")


def class_costs(
    board: BoardModel, length: int, device: DeviceName, *, nodes: Sequence[int] | None = None
) -> list[list[float]]:
    """Return the measured times of each class's nodes on a device, microseconds.

    Parameters
    ----------
    nodes
        Only these nodes; default all.
    """
    costs = board.measurements[length].cost_us[device]
    wanted = None if nodes is None else set(nodes)
    return [
        [
            float(cast(float, costs[node]))
            for node in members
            if costs[node] is not None and (wanted is None or node in wanted)
        ]
        for members in board.members()
    ]
