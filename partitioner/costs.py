"""The cost graph and its file format `pimloop-costs/2` (`/1` is read too).

A cost graph is a `pimloop.partitioner.graph.Graph` with the time of every operator on every device
that can run it and of every transfer that is allowed. Solvers work on its integer form,
`pimloop.partitioner.problem.Problem`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph, Move, Operator, Tensor
from pimloop.partitioner.splits import Split

#: The format without entry costs and marks of disturbed times, and the one with them.
COSTS_FORMAT = "pimloop-costs/1"
COSTS_FORMAT_2 = "pimloop-costs/2"

_OF_VERSION_2 = ("entry_us", "cpu_times_disturbed")


@dataclass(frozen=True)
class CostGraph:
    """A graph with costs.

    `cost_us` has one entry for each capable device of each operator and `transfer_us` one for
    each allowed direction of each tensor; times are microseconds, finite and not negative.
    `entry_us` is what a device costs at the first of consecutive operators on it, beside them: a
    segment's fixed part. A device without an entry costs nothing to enter.
    """

    graph: Graph
    cost_us: Mapping[str, Mapping[str, float]]  # operator id -> device -> time
    transfer_us: Mapping[str, Mapping[Move, float]]  # tensor id -> (source, destination) -> time
    capacity_bytes: Mapping[str, int] = field(default_factory=dict)  # memory -> room for weights
    entry_us: Mapping[str, float] = field(default_factory=dict)  # device -> time of a segment
    #: Costs that are those of another operator or tensor of the same class: (operator id, device)
    #: and (tensor id, "source>destination"). No plan from such costs is called optimal.
    stand_ins: frozenset[tuple[str, str]] = frozenset()
    cpu_times_disturbed: bool = False  # other work disturbed CPU times among the costs: not trusted
    #: Operator id -> ways to execute it on two devices at once, which the policy `coexec` may use.
    splits: Mapping[str, Sequence[Split]] = field(default_factory=dict)

    def with_capacity(self, capacity_bytes: Mapping[str, int]) -> CostGraph:
        """Return the same graph with `capacity_bytes` laid over the present limits.

        Raises
        ------
        PartitionerError
            For an unknown memory or a negative number of bytes.
        """
        for memory, limit in capacity_bytes.items():
            _check_capacity(self.graph.name, memory, limit, self.graph.memories)
        return replace(self, capacity_bytes={**self.capacity_bytes, **capacity_bytes})

    def with_entry(self, entry_us: Mapping[str, float]) -> CostGraph:
        """Return the same graph with these entry costs and no others.

        Raises
        ------
        PartitionerError
            For an unknown device or what is no time.
        """
        name = self.graph.name
        checked: dict[str, float] = {}
        for device, time in entry_us.items():
            if device not in self.graph.memory_of:
                raise PartitionerError(
                    f"{name}: entry_us names the unknown device {device!r}; the memories list "
                    f"{sorted(self.graph.memory_of)}"
                )
            checked[device] = _cost(time, f"{name}: entry_us of device {device!r}")
        return replace(self, entry_us=checked)


def load_costs(path: str | Path) -> CostGraph:
    """Read a `pimloop-costs/1` or `/2` file.

    Raises
    ------
    PartitionerError
        When the file cannot be read, is not JSON, or breaks the format; the message names the
        file and the culprit.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PartitionerError(f"{path}: cannot read the cost graph: {error}") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PartitionerError(f"{path}: not a JSON file: {error}") from error
    return costs_from_dict(data, name=str(path))


def costs_from_dict(data: Any, name: str = "costs") -> CostGraph:
    """Build a cost graph from the parsed JSON of a `pimloop-costs/1` or `/2` file.

    Parameters
    ----------
    data
        What `json.loads` returned.
    name
        How error messages call the source.

    Raises
    ------
    PartitionerError
        For anything the format does not allow, naming the culprit.
    """
    data = _mapping(data, name)
    version = data.get("format")
    if version not in (COSTS_FORMAT, COSTS_FORMAT_2):
        raise PartitionerError(
            f"{name}: the format is {version!r}, expected {COSTS_FORMAT!r} or {COSTS_FORMAT_2!r}"
        )
    for key in _OF_VERSION_2:
        if version == COSTS_FORMAT and key in data:
            raise PartitionerError(
                f"{name}: {key} is not of {COSTS_FORMAT!r}; call the format {COSTS_FORMAT_2!r}"
            )
    disturbed = data.get("cpu_times_disturbed", False)
    if not isinstance(disturbed, bool):
        raise PartitionerError(
            f"{name}: cpu_times_disturbed is {_brief(disturbed)}, expected true or false"
        )
    memories: dict[str, tuple[str, ...]] = {}
    for memory, devices in _mapping(_need(data, "memories", name), f"{name}: memories").items():
        where = f"{name}: memory {memory!r}"
        memories[memory] = tuple(_text(device, where) for device in _list(devices, where))
    rank = {device: i for i, device in enumerate(d for names in memories.values() for d in names)}
    operators: list[Operator] = []
    cost_us: dict[str, Mapping[str, float]] = {}
    for item in _list(_need(data, "nodes", name), f"{name}: nodes"):
        operator, costs = _read_node(_mapping(item, f"{name}: nodes"), name, rank)
        operators.append(operator)
        cost_us[operator.id] = costs
    tensors: list[Tensor] = []
    transfer_us: dict[str, Mapping[Move, float]] = {}
    for item in _list(_need(data, "tensors", name), f"{name}: tensors"):
        tensor, transfers = _read_tensor(_mapping(item, f"{name}: tensors"), name)
        tensors.append(tensor)
        transfer_us[tensor.id] = transfers
    shared = {
        weight: _count(size, f"{name}: shared_weights {weight!r}")
        for weight, size in _mapping(
            data.get("shared_weights") or {}, f"{name}: shared_weights"
        ).items()
    }
    graph = Graph(memories, tuple(operators), tuple(tensors), name, shared)
    limits = _mapping(data.get("capacity_bytes") or {}, f"{name}: capacity_bytes")
    capacity = {memory: limit for memory, limit in limits.items() if limit is not None}
    result = CostGraph(
        graph,
        cost_us,
        transfer_us,
        stand_ins=_read_stand_ins(data, name),
        cpu_times_disturbed=disturbed,
    )
    entries = _mapping(data.get("entry_us") or {}, f"{name}: entry_us")
    return result.with_capacity(capacity).with_entry(entries)


def costs_to_dict(costs: CostGraph) -> dict[str, Any]:
    """Return the file's object of `costs`, which `costs_from_dict` reads back.

    `pimloop-costs/1` where it has no key of `/2`, else `/2`.
    """
    nodes = []
    for operator in costs.graph.operators:
        node: dict[str, Any] = {"id": operator.id, "op": operator.op}
        if operator.weight_bytes:
            node["weight_bytes"] = operator.weight_bytes
        if operator.shared_weights:
            node["shared_weights"] = list(operator.shared_weights)
        if operator.signature is not None:
            node["signature"] = operator.signature
        node["cost_us"] = dict(costs.cost_us[operator.id])
        nodes.append(node)
    tensors = []
    for tensor in costs.graph.tensors:
        entry: dict[str, Any] = {
            "id": tensor.id,
            "producer": tensor.producer,
            "consumers": list(tensor.consumers),
            "output": tensor.output,
        }
        if tensor.bytes is not None:
            entry["bytes"] = tensor.bytes
        if tensor.type is not None:
            entry["type"] = tensor.type
        entry["transfer_us"] = {
            f"{source}>{destination}": cost
            for (source, destination), cost in costs.transfer_us[tensor.id].items()
        }
        tensors.append(entry)
    result: dict[str, Any] = {
        "format": COSTS_FORMAT,
        "memories": {memory: list(names) for memory, names in costs.graph.memories.items()},
    }
    if costs.capacity_bytes:
        result["capacity_bytes"] = dict(costs.capacity_bytes)
    if costs.graph.shared_weights:
        result["shared_weights"] = dict(costs.graph.shared_weights)
    if costs.stand_ins:
        result["stand_ins"] = [list(item) for item in sorted(costs.stand_ins)]
    if costs.entry_us:
        result["entry_us"] = dict(costs.entry_us)
    if costs.cpu_times_disturbed:
        result["cpu_times_disturbed"] = True
    if any(key in result for key in _OF_VERSION_2):
        result["format"] = COSTS_FORMAT_2
    result["nodes"] = nodes
    result["tensors"] = tensors
    return result


def _read_node(
    item: Mapping[str, Any], name: str, rank: Mapping[str, int]
) -> tuple[Operator, Mapping[str, float]]:
    identifier = _text(_need(item, "id", f"{name}: a node"), f"{name}: a node's id")
    where = f"{name}: node {identifier!r}"
    raw = _mapping(_need(item, "cost_us", where), f"{where}: cost_us")
    costs = {device: _cost(value, f"{where}, device {device!r}") for device, value in raw.items()}
    # Devices the memories do not list sort last; `Graph` refuses them by name.
    devices = tuple(sorted(costs, key=lambda device: rank.get(device, len(rank))))
    signature = item.get("signature")
    operator = Operator(
        id=identifier,
        op=_text(item.get("op", "?"), f"{where}: op"),
        devices=devices,
        signature=None if signature is None else _text(signature, f"{where}: signature"),
        weight_bytes=_count(item.get("weight_bytes") or 0, f"{where}: weight_bytes"),
        shared_weights=tuple(
            dict.fromkeys(
                _text(weight, f"{where}: shared_weights")
                for weight in _list(item.get("shared_weights") or [], f"{where}: shared_weights")
            )
        ),
    )
    return operator, {device: costs[device] for device in devices}


def _read_tensor(item: Mapping[str, Any], name: str) -> tuple[Tensor, Mapping[Move, float]]:
    identifier = _text(_need(item, "id", f"{name}: a tensor"), f"{name}: a tensor's id")
    where = f"{name}: tensor {identifier!r}"
    producer = _need(item, "producer", where)
    output = item.get("output", False)
    if not isinstance(output, bool):
        raise PartitionerError(f"{where}: output is {output!r}, expected true or false")
    transfers: dict[Move, float] = {}
    for pair, value in _mapping(item.get("transfer_us") or {}, f"{where}: transfer_us").items():
        source, arrow, destination = pair.partition(">")
        if not arrow:
            raise PartitionerError(
                f"{where}: transfer {pair!r} is not of the form 'source>destination'"
            )
        transfers[source, destination] = _cost(value, f"{where}, transfer {pair!r}")
    size = item.get("bytes")
    kind = item.get("type")
    consumers = _list(_need(item, "consumers", where), f"{where}: consumers")
    tensor = Tensor(
        id=identifier,
        producer=None if producer is None else _text(producer, f"{where}: producer"),
        # A consumer that is listed twice still reads the tensor once.
        consumers=tuple(dict.fromkeys(_text(c, f"{where}: consumers") for c in consumers)),
        output=output,
        bytes=None if size is None else _count(size, f"{where}: bytes"),
        type=None if kind is None else _text(kind, f"{where}: type"),
        moves=frozenset(transfers),
    )
    return tensor, transfers


def _read_stand_ins(data: Mapping[str, Any], name: str) -> frozenset[tuple[str, str]]:
    stand_ins = set()
    for item in _list(data.get("stand_ins") or [], f"{name}: stand_ins"):
        where = f"{name}: a stand-in"
        pair = [_text(part, where) for part in _list(item, where)]
        if len(pair) != 2:
            raise PartitionerError(f"{where}: expected an id and a device or move, found {pair}")
        stand_ins.add((pair[0], pair[1]))
    return frozenset(stand_ins)


def _need(item: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in item:
        raise PartitionerError(f"{where}: the key {key!r} is missing")
    return item[key]


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PartitionerError(f"{where}: expected a JSON object, found {_brief(value)}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PartitionerError(f"{where}: expected a JSON list, found {_brief(value)}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise PartitionerError(f"{where}: expected a string, found {_brief(value)}")
    return value


def _count(value: Any, where: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PartitionerError(f"{where}: expected a whole number >= 0, found {_brief(value)}")
    return value


def _cost(value: Any, where: str) -> float:
    if value is None:
        raise PartitionerError(
            f"{where}: the cost is missing (null); measure it, or remove the entry"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PartitionerError(f"{where}: the cost is {_brief(value)}, expected a number")
    try:
        cost = float(value)
    except OverflowError as error:
        raise PartitionerError(f"{where}: the cost is too large to be a time") from error
    if math.isnan(cost) or math.isinf(cost):
        raise PartitionerError(f"{where}: the cost is {cost}, expected a finite number")
    if cost < 0:
        raise PartitionerError(f"{where}: the cost is {cost} us; a time cannot be negative")
    return cost


def _check_capacity(name: str, memory: str, limit: Any, memories: Mapping[str, Any]) -> None:
    if memory not in memories:
        raise PartitionerError(
            f"{name}: capacity for the unknown memory {memory!r}; the memories are {list(memories)}"
        )
    _count(limit, f"{name}: capacity of memory {memory!r}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
