"""The cost graph, read from and written to cost files (`pimloop.partitioner.cost_file`).

A cost graph is a `pimloop.partitioner.graph.Graph` with the time of every operator on every device
that can run it and of every transfer that is allowed. Solvers work on its integer form,
`pimloop.partitioner.problem.Problem`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pimloop.partitioner.cost_file import (
    VERSIONS,
    CostNode,
    CostsJson,
    CostsJson1,
    CostsJson2,
    CostsJson3,
    CostsOptions,
    CostsOptions2,
    CostsOptions3,
    CostTensor,
    NodeOptions,
    SplitJson,
    TensorOptions,
    check_costs,
)
from pimloop.partitioner.energies import Energies, energies_of, with_known_splits
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph, Move, Operator, Tensor
from pimloop.partitioner.split_places import check_splits
from pimloop.partitioner.splits import Split
from pimloop.partitioner.typed_json import (
    Count,
    JsonError,
    Kind,
    Us,
    advice,
    check,
    read_json,
)


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
    energies: Energies | None = None  # beside the times; None: plans for energy have none to use

    def with_capacity(self, capacity_bytes: Mapping[str, int]) -> CostGraph:
        """Return the same graph with `capacity_bytes` laid over the present limits.

        Raises
        ------
        PartitionerError
            For an unknown memory or a negative number of bytes.
        """
        memories = self.graph.memories
        for memory in capacity_bytes:
            if memory not in memories:
                raise PartitionerError(
                    f"{self.graph.name}: capacity for the unknown memory {memory!r}; the memories"
                    f" are {list(memories)}"
                )
        limits = self._checked("capacity_bytes", capacity_bytes, dict[str, Count])
        return replace(self, capacity_bytes={**self.capacity_bytes, **limits})

    def with_entry(self, entry_us: Mapping[str, float]) -> CostGraph:
        """Return the same graph with these entry costs and no others.

        Raises
        ------
        PartitionerError
            For an unknown device or what is no time.
        """
        for device in entry_us:
            if device not in self.graph.memory_of:
                raise PartitionerError(
                    f"{self.graph.name}: entry_us names the unknown device {device!r}; the memories"
                    f" list {sorted(self.graph.memory_of)}"
                )
        entries = self._checked("entry_us", entry_us, dict[str, Us])
        return replace(self, entry_us={device: float(us) for device, us in entries.items()})

    def _checked(self, key: str, value: Mapping[str, Any], kind: type[Kind]) -> Kind:
        """Return the value of a file's key that came from elsewhere, checked as the file's."""
        try:
            return check(dict(value), kind)
        except JsonError as error:
            raise PartitionerError(f"{self.graph.name}: {key}.{error}") from error


def load_costs(path: str | Path) -> CostGraph:
    """Read a `pimloop-costs` file.

    Raises
    ------
    PartitionerError
        When the file cannot be read, is not JSON, or breaks the format; the message names the
        file and the culprit.
    """
    path = Path(path)
    try:
        # NaN is let through here: a cost that is none is named by its operator.
        data = read_json(path, constants=True)
    except OSError as error:
        raise PartitionerError(f"{path}: cannot read the cost graph: {error}") from error
    except JsonError as error:
        raise PartitionerError(f"{path}: {error}") from error
    return costs_from_dict(data, name=str(path))


def costs_from_dict(data: Any, name: str = "costs") -> CostGraph:
    """Build a cost graph from the parsed JSON of a `pimloop-costs` file.

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
    try:
        costs = check_costs(data)
    except JsonError as error:
        raise PartitionerError(f"{name}: {_culprit(data, error)}") from error
    memories = {memory: tuple(devices) for memory, devices in costs["memories"].items()}
    rank = {device: i for i, device in enumerate(d for names in memories.values() for d in names)}
    graph = Graph(
        memories,
        tuple(_operator(node, rank) for node in costs["nodes"]),
        tuple(_tensor(tensor, name) for tensor in costs["tensors"]),
        name,
        {weight: int(size) for weight, size in (costs.get("shared_weights") or {}).items()},
    )
    result = CostGraph(
        graph,
        {
            operator.id: {device: float(node["cost_us"][device]) for device in operator.devices}
            for operator, node in zip(graph.operators, costs["nodes"], strict=True)
        },
        {
            tensor["id"]: {
                _move(pair): float(us) for pair, us in (tensor.get("transfer_us") or {}).items()
            }
            for tensor in costs["tensors"]
        },
        stand_ins=frozenset((first, second) for first, second in costs.get("stand_ins") or ()),
        cpu_times_disturbed=costs.get("cpu_times_disturbed", False),
    )
    splits = {
        operator: tuple(_split(split, f"{name}: node {operator!r}") for split in offered)
        for operator, offered in costs.get("splits", {}).items()
    }
    check_splits(graph, splits)
    energies = costs.get("energies")
    result = replace(
        result,
        splits=splits,
        energies=None if energies is None else Energies.of(energies),
    )
    if result.energies is not None:
        energies_of(with_known_splits(result))
    limits = (costs.get("capacity_bytes") or {}).items()
    capacity = {memory: limit for memory, limit in limits if limit is not None}
    return result.with_capacity(capacity).with_entry(costs.get("entry_us") or {})


def costs_to_dict(costs: CostGraph) -> CostsJson1 | CostsJson2 | CostsJson3 | CostsJson:
    """Return the file's object of `costs`, which `costs_from_dict` reads back.

    Of the oldest version that has all its keys.
    """
    options: CostsOptions = {}
    if costs.capacity_bytes:
        options["capacity_bytes"] = dict(costs.capacity_bytes)
    if costs.graph.shared_weights:
        options["shared_weights"] = dict(costs.graph.shared_weights)
    if costs.stand_ins:
        options["stand_ins"] = [list(item) for item in sorted(costs.stand_ins)]
    options_2: CostsOptions2 = {}
    if costs.entry_us:
        options_2["entry_us"] = dict(costs.entry_us)
    if costs.cpu_times_disturbed:
        options_2["cpu_times_disturbed"] = True
    memories = {memory: list(names) for memory, names in costs.graph.memories.items()}
    nodes = [_node_json(operator, costs) for operator in costs.graph.operators]
    tensors = [_tensor_json(tensor, costs) for tensor in costs.graph.tensors]
    options_3: CostsOptions3 = {}
    if costs.splits:
        options_3["splits"] = {
            operator: [split.to_dict() for split in offered]
            for operator, offered in costs.splits.items()
        }
    if costs.energies is not None:
        return {
            "format": "pimloop-costs/4",
            "memories": memories,
            **options,
            **options_2,
            **options_3,
            "energies": costs.energies.to_dict(),
            "nodes": nodes,
            "tensors": tensors,
        }
    if options_3:
        return {
            "format": "pimloop-costs/3",
            "memories": memories,
            **options,
            **options_2,
            **options_3,
            "nodes": nodes,
            "tensors": tensors,
        }
    if not options_2:
        return {
            "format": "pimloop-costs/1",
            "memories": memories,
            **options,
            "nodes": nodes,
            "tensors": tensors,
        }
    return {
        "format": "pimloop-costs/2",
        "memories": memories,
        **options,
        **options_2,
        "nodes": nodes,
        "tensors": tensors,
    }


def _node_json(operator: Operator, costs: CostGraph) -> CostNode:
    options: NodeOptions = {"op": operator.op}
    if operator.weight_bytes:
        options["weight_bytes"] = operator.weight_bytes
    if operator.shared_weights:
        options["shared_weights"] = list(operator.shared_weights)
    if operator.signature is not None:
        options["signature"] = operator.signature
    return {"id": operator.id, **options, "cost_us": dict(costs.cost_us[operator.id])}


def _tensor_json(tensor: Tensor, costs: CostGraph) -> CostTensor:
    options: TensorOptions = {"output": tensor.output}
    if tensor.bytes is not None:
        options["bytes"] = tensor.bytes
    if tensor.type is not None:
        options["type"] = tensor.type
    options["transfer_us"] = {
        f"{source}>{destination}": cost
        for (source, destination), cost in costs.transfer_us[tensor.id].items()
    }
    return {
        "id": tensor.id,
        "producer": tensor.producer,
        "consumers": list(tensor.consumers),
        **options,
    }


def _split(split: SplitJson, where: str) -> Split:
    try:
        return Split.of(split)
    except PartitionerError as error:
        raise PartitionerError(f"{where}: {error}") from error


def _operator(node: CostNode, rank: Mapping[str, int]) -> Operator:
    return Operator(
        id=node["id"],
        op=node.get("op", "?"),
        # Devices the memories do not list sort last; `Graph` refuses them by name.
        devices=tuple(sorted(node["cost_us"], key=lambda device: rank.get(device, len(rank)))),
        signature=node.get("signature"),
        weight_bytes=node.get("weight_bytes") or 0,
        shared_weights=tuple(dict.fromkeys(node.get("shared_weights") or ())),
    )


def _tensor(tensor: CostTensor, name: str) -> Tensor:
    pairs = tensor.get("transfer_us") or {}
    for pair in pairs:
        if ">" not in pair:
            raise PartitionerError(
                f"{name}: tensor {tensor['id']!r}: transfer {pair!r} is not of the form"
                " 'source>destination'"
            )
    return Tensor(
        id=tensor["id"],
        producer=tensor["producer"],
        # A consumer that is listed twice still reads the tensor once.
        consumers=tuple(dict.fromkeys(tensor["consumers"])),
        output=tensor.get("output", False),
        bytes=tensor.get("bytes"),
        type=tensor.get("type"),
        moves=frozenset(map(_move, pairs)),
    )


def _move(pair: str) -> Move:
    source, _, destination = pair.partition(">")
    return source, destination


def _culprit(data: Any, error: JsonError) -> str:
    """Return what is wrong with a cost file, naming the operator or tensor it is about."""
    message = str(error)
    match error.place:
        case ("nodes" | "tensors" as kind, int() as index, *_):
            item = data[kind][index]
            name = item.get("id") if isinstance(item, dict) else None
            if isinstance(name, str):
                message = f"{kind.removesuffix('s')} {name!r}: {message}"
            if message.endswith(", not null"):
                return f"{message}; measure it, or remove the entry"
    return message + advice(data, VERSIONS)
