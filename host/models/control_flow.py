"""If, Loop and Scan: written out where nothing depends on the data, else one operator.

An `If` whose condition is constant becomes its branch; a `Loop` whose trip count is constant and
whose condition stays true becomes its bodies one after the other. Everything else is executed
whole, on the CPU: as a call of a function whose body is the control flow, with the tensors that
its subgraphs take from around them as further inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimloop.host.models.constant_nodes import constant_value, is_constant
from pimloop.host.models.graph import FUNCTION_DOMAIN, Array
from pimloop.host.models.onnx_order import outer_names, subgraphs
from pimloop.host.models.onnx_types import declared_types

#: The operators with subgraphs.
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})

#: The most operators that the loops of a model are written out to; others are executed whole.
MAX_UNROLLED = 20_000


@dataclass
class Expansion:
    """Operators that stand for a control flow operator."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)  # for each output of the operator, in order
    #: Types that results inside are declared to have; None: something else than a tensor.
    declared: dict[str, np.dtype[Any] | None] = field(default_factory=dict)


def expand(
    proto: onnx.NodeProto,
    prefix: str,
    constants: Mapping[str, Array],
    resolve: Callable[[str], str],
    opset: int,
    room: int = MAX_UNROLLED,
) -> Expansion | None:
    """Return what a control flow operator becomes; None when it has to be executed whole.

    Parameters
    ----------
    proto
        The operator.
    prefix
        What the names of the tensors inside begin with afterwards; unique in the model.
    constants
        What is known of the tensors around it.
    resolve
        From a tensor's name in the file to its name in the graph.
    opset
        Of the standard domain.
    room
        The most operators of a loop that is written out.
    """
    graphs = {a.name: a.g for a in proto.attribute if a.HasField("g")}
    if proto.op_type == "If" and {"then_branch", "else_branch"} <= graphs.keys():
        condition = constants.get(resolve(proto.input[0]))
        if condition is None or condition.size != 1:
            return None
        chosen = graphs["then_branch" if condition.reshape(-1)[0] else "else_branch"]
        return written_out(chosen, prefix, resolve)
    if proto.op_type == "Loop" and "body" in graphs:
        return _unroll(proto, graphs["body"], prefix, constants, resolve, opset, room)
    return None


def written_out(
    graph: onnx.GraphProto, prefix: str, resolve: Callable[[str], str] = str
) -> Expansion:
    """Return the operators of a subgraph under names that begin with `prefix`; see `expand`."""
    made = Expansion()
    made.results = _Body(graph, prefix, resolve).write(made, "", {})
    return made


def as_function(
    proto: onnx.NodeProto, name: str, resolve: Callable[[str], str], opsets: Mapping[str, int]
) -> onnx.FunctionProto:
    """Return a function called `name` that does what a control flow operator does.

    Its inputs are called as the tensors of the graph that the operator and its subgraphs read.
    """
    whole = onnx.NodeProto()
    whole.CopyFrom(proto)
    graphs = [graph for a in whole.attribute for graph in subgraphs(a)]
    taken = dict.fromkeys(name for graph in graphs for name in outer_names(graph))
    renamed = {name: resolve(name) for name in taken}
    for index, given in enumerate(whole.input):
        whole.input[index] = resolve(given) if given else ""
    for graph in graphs:
        _rename_outer(graph, renamed)
    inputs = dict.fromkeys([*(n for n in whole.input if n), *renamed.values()])
    return helper.make_function(
        FUNCTION_DOMAIN,
        name,
        list(inputs),
        [output for output in whole.output if output],
        [whole],
        [helper.make_opsetid(d, v) for d, v in opsets.items() if d != FUNCTION_DOMAIN],
    )


def _unroll(
    proto: onnx.NodeProto,
    body: onnx.GraphProto,
    prefix: str,
    constants: Mapping[str, Array],
    resolve: Callable[[str], str],
    opset: int,
    room: int,
) -> Expansion | None:
    given = [resolve(name) if name else "" for name in proto.input] + ["", ""]
    trips = constants.get(given[0])
    start = constants.get(given[1])
    # Without a trip count only the condition ends the loop; then it is not constant.
    if trips is None or trips.size != 1 or (given[1] and start is None):
        return None
    if not _stays_true(body):
        return None
    count = int(trips.reshape(-1)[0]) if start is None or start.reshape(-1)[0] else 0
    carried = [resolve(name) for name in proto.input[2:]]
    scanned = len(body.output) - 1 - len(carried)
    if (scanned and count < 1) or count * len(body.node) > room or scanned < 0:
        return None
    if len(body.input) != 2 + len(carried):
        return None
    made = Expansion()
    writer = _Body(body, prefix, resolve)
    slices: list[list[str]] = [[] for _ in range(scanned)]
    truth = f"{prefix}true"
    made.constants[truth] = np.array(True)
    for trip in range(max(count, 0)):
        number = f"{prefix}{trip}/number"
        made.constants[number] = np.array(trip, np.int64)
        names = [number, truth, *carried]
        inputs = {value.name: name for value, name in zip(body.input, names, strict=True)}
        _, *results = writer.write(made, f"{trip}/", inputs)
        carried = results[: len(carried)]
        for stacked, name in zip(slices, results[len(carried) :], strict=True):
            stacked.append(name)
    made.results = [*carried, *(_stack(made, prefix, i, s, opset) for i, s in enumerate(slices))]
    return made


def _stays_true(body: onnx.GraphProto) -> bool:
    """Return whether the condition that a loop's body gives is the one it got, or true."""
    if len(body.input) < 2 or not body.output:
        return False
    maker = {name: node for node in body.node for name in node.output}
    fixed = {tensor.name: tensor for tensor in body.initializer}
    name = body.output[0].name
    while name in maker and maker[name].op_type == "Identity":
        name = maker[name].input[0]
    if name == body.input[1].name:
        return True
    tensor = fixed.get(name)
    if name in maker and is_constant(maker[name]):
        return bool(np.all(constant_value(maker[name], "the condition of a loop")))
    return tensor is not None and bool(np.all(numpy_helper.to_array(tensor)))


def _stack(made: Expansion, prefix: str, index: int, slices: list[str], opset: int) -> str:
    """Put the slices of a scanned output along a new first axis; return its name."""
    parts = []
    axes = f"{prefix}axes"
    if opset >= 13:
        made.constants[axes] = np.array([0], np.int64)
    for trip, name in enumerate(slices):
        part = f"{prefix}slice{index}/{trip}"
        node = (
            helper.make_node("Unsqueeze", [name, axes], [part])
            if opset >= 13
            else helper.make_node("Unsqueeze", [name], [part], axes=[0])
        )
        made.nodes.append(node)
        parts.append(part)
    result = f"{prefix}stack{index}"
    made.nodes.append(helper.make_node("Concat", parts, [result], axis=0))
    return result


class _Body:
    """A subgraph that is written out, under other names each time."""

    def __init__(self, graph: onnx.GraphProto, prefix: str, resolve: Callable[[str], str]) -> None:
        self._graph = graph
        self._prefix = prefix
        self._resolve = resolve
        self._declared = declared_types(graph, f"graph '{graph.name}' in an operator")

    def write(self, made: Expansion, part: str, inputs: Mapping[str, str]) -> list[str]:
        """Add the operators to `made`; return the names of the subgraph's outputs."""
        names = dict(inputs)
        for tensor in self._graph.initializer:
            if tensor.name not in names:
                names[tensor.name] = f"{self._prefix}{part}{tensor.name}"
                made.constants[names[tensor.name]] = numpy_helper.to_array(tensor)
        for node in self._graph.node:
            for name in node.output:
                if name:
                    names[name] = f"{self._prefix}{part}{name}"
        made.declared |= {names[name]: kind for name, kind in self._declared.items()}

        def rename(name: str) -> str:
            return names[name] if name in names else self._resolve(name)

        for node in self._graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{self._prefix}{part}{node.name or node.op_type}"
            for index, name in enumerate(node.input):
                copy.input[index] = rename(name) if name else ""
            for index, name in enumerate(node.output):
                copy.output[index] = names.get(name, "")
            for graph in (graph for a in copy.attribute for graph in subgraphs(a)):
                _rename_outer(graph, {name: rename(name) for name in outer_names(graph)})
            made.nodes.append(copy)
        return [rename(value.name) for value in self._graph.output]


def _rename_outer(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give the tensors that a subgraph takes from around it other names, in place."""
    taken = set(outer_names(graph))
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in taken and name in names:
                node.input[index] = names[name]
        for inner in (inner for a in node.attribute for inner in subgraphs(a)):
            _rename_outer(
                inner, {n: names[n] for n in outer_names(inner) if n in taken & names.keys()}
            )
    for value in graph.output:
        if value.name in taken and value.name in names:
            value.name = names[value.name]
