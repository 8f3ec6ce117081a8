"""Import ONNX Runtime profiling traces into a cost graph.

A trace is the JSON of `SessionOptions.enable_profiling`: events named `<node>_kernel_time` with a
duration in microseconds and the arguments op_name, provider, input_nodes, output_nodes (names
separated by spaces), activation_size, parameter_size and output_size (bytes). `Memcpy*` nodes,
which ONNX Runtime puts between execution providers, are no operators: they give the transfer times
and are taken out of the graph. Stock ONNX Runtime writes no input_nodes and output_nodes; the build
of Kim et al. 2024 does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph, Move, Operator, Tensor
from pimloop.partitioner.place.pricing import TransferPrices
from pimloop.partitioner.profile.merge import STATISTICS

SUFFIX = "_kernel_time"
CPU_PROVIDER = "CPUExecutionProvider"
TO_DEVICE, TO_HOST = "MemcpyFromHost", "MemcpyToHost"
MEMORIES = {"cpu": ("cpu_serial", "cpu_parallel"), "pim": ("pim",)}
TO_PIM, TO_CPU = ("cpu", "pim"), ("pim", "cpu")


@dataclass
class TraceNode:
    """All executions of one node in a trace."""

    op: str
    provider: str
    inputs: tuple[str, ...]  # names of the nodes before it
    outputs: tuple[str, ...]  # names of the nodes after it
    activation_bytes: int
    parameter_bytes: int
    output_bytes: int
    times_us: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """The nodes of a trace in order of first execution."""

    path: str
    nodes: Mapping[str, TraceNode]

    @property
    def operators(self) -> dict[str, TraceNode]:
        """The nodes that are not copies between providers."""
        return {
            name: node for name, node in self.nodes.items() if node.op not in (TO_DEVICE, TO_HOST)
        }


def read_trace(path: str | Path) -> Trace:
    """Read one trace file.

    Raises
    ------
    PartitionerError
        When it is no trace, or one without the graph's edges.
    """
    try:
        events = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PartitionerError(f"{path}: cannot read the trace: {error}") from error
    if isinstance(events, dict):
        events = events.get("traceEvents")
    if not isinstance(events, list):
        raise PartitionerError(f"{path}: not an ONNX Runtime trace: expected a list of events")
    nodes: dict[str, TraceNode] = {}
    for event in events:
        name = event.get("name") if isinstance(event, dict) else None
        if not isinstance(name, str) or not name.endswith(SUFFIX):
            continue
        name = name.removesuffix(SUFFIX)
        where = f"{path}: node {name!r}"
        arguments = event.get("args")
        if not isinstance(arguments, dict):
            raise PartitionerError(f"{where}: the event has no 'args'")
        if name not in nodes:
            nodes[name] = _read_node(arguments, where)
        nodes[name].times_us.append(_number(event, "dur", where))
    if not nodes:
        raise PartitionerError(
            f"{path}: no '*{SUFFIX}' events; was the session run with enable_profiling?"
        )
    return Trace(str(path), nodes)


def import_ort(
    cpu_serial: str | Path,
    cpu_parallel: str | Path,
    pim: str | Path,
    edge: str | Path | None = None,
    statistic: str = "min",
) -> CostGraph:
    """Return the cost graph of a model from its traces.

    Parameters
    ----------
    cpu_serial, cpu_parallel
        Traces with every operator on the CPU, one thread and all cores. The graph is read from
        the first.
    pim
        Trace with every PIM-capable operator on PIM: those whose provider is not the CPU's.
    edge
        Trace with many transfers. Transfer times come from here, and from `pim` for sizes that
        do not occur here.
    statistic
        "min" or "median" over the executions of an operator and over the transfers of a size.

    Returns
    -------
    CostGraph
        One tensor for each operator's output; operators without a reader make model outputs.
        Transfers are priced by the size on the CPU side (`TransferPrices`); a tensor's `bytes`
        is the size on the PIM side where a copy of that size was seen.

    Raises
    ------
    PartitionerError
        When traces cannot be read or do not fit each other.
    """
    if statistic not in STATISTICS:
        raise PartitionerError(f"unknown statistic {statistic!r}; choose {list(STATISTICS)}")
    reduce = STATISTICS[statistic]
    serial, parallel, offload = (read_trace(path) for path in (cpu_serial, cpu_parallel, pim))
    copies = [read_trace(edge), offload] if edge is not None else [offload]
    graph_nodes = serial.operators
    on_pim = {n: node for n, node in offload.operators.items() if node.provider != CPU_PROVIDER}
    _check_nodes(serial, parallel, parallel.operators)
    _check_nodes(serial, offload, on_pim)
    cost_us: dict[str, dict[str, float]] = {}
    for name, node in graph_nodes.items():
        cost_us[name] = {"cpu_serial": float(reduce(node.times_us))}
        if name in parallel.operators:
            cost_us[name]["cpu_parallel"] = float(reduce(parallel.operators[name].times_us))
        if name in on_pim:
            cost_us[name]["pim"] = float(reduce(on_pim[name].times_us))
    tensors = _tensors(serial, graph_nodes)
    prices, device_bytes = _prices(copies, statistic) if on_pim else ({}, {})
    transfer_us: dict[str, dict[Move, float]] = {}
    for i, tensor in enumerate(tensors):
        size = tensor.bytes or 0
        transfer_us[tensor.id] = {move: price.at(size) for move, price in prices.items()}
        tensors[i] = Tensor(
            tensor.id,
            tensor.producer,
            tensor.consumers,
            tensor.output,
            device_bytes.get(size, size),
            moves=frozenset(prices),
        )
    operators = tuple(
        Operator(
            id=name,
            op=node.op,
            devices=tuple(cost_us[name]),
            signature=(
                f"{node.op}/{node.activation_bytes}/{node.parameter_bytes}/{node.output_bytes}"
            ),
            # On PIM the parameters are stored in the device's own type.
            weight_bytes=on_pim.get(name, node).parameter_bytes,
        )
        for name, node in graph_nodes.items()
    )
    graph = Graph(MEMORIES, operators, tuple(tensors), name=serial.path)
    return CostGraph(graph, cost_us, transfer_us)


def _check_nodes(serial: Trace, trace: Trace, names: Iterable[str]) -> None:
    """Raise PartitionerError for a node that the trace of the graph does not have."""
    for name in names:
        if name not in serial.operators:
            raise PartitionerError(
                f"{trace.path}: node {name!r} does not occur in {serial.path}; are the traces of"
                " one model?"
            )


def _read_node(arguments: Mapping[str, Any], where: str) -> TraceNode:
    for key in ("input_nodes", "output_nodes"):
        if not isinstance(arguments.get(key), str):
            raise PartitionerError(
                f"{where}: no {key!r} in the trace: stock ONNX Runtime does not write the "
                "neighbours of a node, the build of Kim et al. 2024 does. Without that build let "
                "pimloop measure the model: pimloop profile MODEL.onnx --platform native -o "
                "costs.json"
            )
    return TraceNode(
        op=str(arguments.get("op_name", "?")),
        provider=str(arguments.get("provider", CPU_PROVIDER)),
        inputs=tuple(arguments["input_nodes"].split()),
        outputs=tuple(arguments["output_nodes"].split()),
        activation_bytes=int(_number(arguments, "activation_size", where)),
        parameter_bytes=int(_number(arguments, "parameter_size", where)),
        output_bytes=int(_number(arguments, "output_size", where)),
    )


def _number(item: Mapping[str, Any], key: str, where: str) -> float:
    try:
        value = float(item[key])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise PartitionerError(
            f"{where}: {key!r} is {_brief(item.get(key))}, expected a number"
        ) from error
    if not 0 <= value < float("inf"):
        raise PartitionerError(f"{where}: {key!r} is {value}; it cannot be negative or infinite")
    return value


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _tensors(trace: Trace, nodes: Mapping[str, TraceNode]) -> list[Tensor]:
    """Return one tensor for each operator's output, and one for each operator that reads none."""
    consumers: dict[str, dict[str, None]] = {name: {} for name in nodes}
    reads_nothing = []
    for name, node in nodes.items():
        sources = {s for start in node.inputs for s in _through_copies(trace, start, name)}
        for source in sources:
            consumers[source][name] = None
        for after in node.outputs:
            for target in _through_copies(trace, after, name, forward=True):
                consumers[name][target] = None
        if not sources and node.activation_bytes:
            reads_nothing.append(name)
    # An operator that only a producer's list of readers names does read something.
    fed = {reader for readers in consumers.values() for reader in readers}
    rank = {name: i for i, name in enumerate(nodes)}
    tensors = [
        Tensor(f"input of {name}", None, (name,), bytes=nodes[name].activation_bytes)
        for name in reads_nothing
        if name not in fed
    ]
    tensors += [
        Tensor(
            name,
            name,
            tuple(sorted(consumers[name], key=lambda reader: rank[reader])),
            output=not consumers[name],
            bytes=node.output_bytes,
        )
        for name, node in nodes.items()
    ]
    return tensors


def _through_copies(trace: Trace, name: str, asker: str, forward: bool = False) -> list[str]:
    """Return the operators behind `name`: itself, or what a chain of copies leads to."""
    ends: list[str] = []
    stack, seen = [name], set()
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        node = trace.nodes.get(current)
        if node is None:
            raise PartitionerError(
                f"{trace.path}: node {asker!r} is joined to {current!r}, which the trace lacks"
            )
        if node.op in (TO_DEVICE, TO_HOST):
            stack.extend(node.outputs if forward else node.inputs)
        else:
            ends.append(current)
    return ends


def _prices(
    traces: list[Trace], statistic: str
) -> tuple[dict[Move, TransferPrices], dict[int, int]]:
    """Return the price tables by CPU-side size, and the PIM-side size of each CPU-side size."""
    reduce = STATISTICS[statistic]
    tables: dict[Move, dict[int, float]] = {TO_PIM: {}, TO_CPU: {}}
    device_bytes: dict[int, int] = {}
    for trace in traces:
        samples: dict[tuple[Move, int], list[float]] = {}
        for node in trace.nodes.values():
            if node.op == TO_DEVICE:
                move, here, there = TO_PIM, node.activation_bytes, node.output_bytes
            elif node.op == TO_HOST:
                move, here, there = TO_CPU, node.output_bytes, node.activation_bytes
            else:
                continue
            samples.setdefault((move, here), []).extend(node.times_us)
            device_bytes.setdefault(here, there)
        for (move, size), times in samples.items():
            tables[move].setdefault(size, float(reduce(times)))
    names = ", ".join(trace.path for trace in traces)
    prices = {
        move: TransferPrices(table, f"{move[0]}>{move[1]} in {names}")
        for move, table in tables.items()
    }
    return prices, device_bytes
