"""The computational graph CG(Vc, Ec): static shapes, constants apart from the operators.

Everything that executes, costs or partitions a model works on `Graph`. `normalize` makes one
from operators in the ONNX form; `pimloop.host.cpu` and `pimloop.host.execution.executor` run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pimloop.host.common.golden import overflows
from pimloop.host.models.stored import CONTRIB, CONTRIB_VERSION, StoredOperators, widened

Array = NDArray[Any]

#: The most axes of a tensor, numpy's own limit.
MAX_AXES = 64

#: Domain of the operators that stand for control flow: functions with the flow in their body.
FUNCTION_DOMAIN = "pimloop.whole"

#: Constants up to this many bytes are written into a model's protobuf; larger ones are handed to
#: ONNX Runtime beside it (no copy, and no 2 GiB limit of protobuf).
INLINE_BYTES = 1024
#: First version of the operators whose Cast knows bfloat16.
BFLOAT16_OPSET = 13

#: The file that constants handed over in memory are said to be in.
MEMORY_LOCATION = "memory"

#: Version of the ONNX file format written; the oldest that carries every operator set used here.
IR_VERSION = 10


class EmptyList(tuple[Any, ...]):
    """An attribute that is a list of no values; its type cannot be told from them."""

    kind: int  # onnx.AttributeProto.AttributeType

    def __new__(cls, kind: int) -> EmptyList:
        """Return an empty list of the type `kind`."""
        made = super().__new__(cls)
        made.kind = kind
        return made

    def __repr__(self) -> str:
        """Return a text that differs by type."""
        return f"EmptyList({self.kind})"


def attributes_of(proto: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node as `Node` holds them.

    Raises
    ------
    ValueError
        When one has no type, or refers to a function that is not written out.
    """
    attributes = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        is_list = isinstance(value, list) or type(value).__name__.startswith("Repeated")
        attributes[attribute.name] = EmptyList(attribute.type) if is_list and not value else value
    return attributes


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor before the model runs."""

    shape: tuple[int, ...]  # elements along each axis
    dtype: np.dtype[Any]

    @property
    def elements(self) -> int:
        """Number of elements (1 for a scalar)."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in CPU memory."""
        return self.elements * self.dtype.itemsize

    @property
    def onnx_type(self) -> int:
        """The element type as ONNX numbers it."""
        return int(helper.np_dtype_to_tensor_dtype(self.dtype))


@dataclass(frozen=True)
class Node:
    """One operator of the graph."""

    id: str
    op: str
    domain: str  # "" for the standard operators
    inputs: tuple[str, ...]  # tensor names; "" is an optional input left out
    outputs: tuple[str, ...]  # tensor names; "" is an optional output left out
    attributes: Mapping[str, Any]  # values as onnx.helper.make_attribute takes them

    def proto(self) -> onnx.NodeProto:
        """Return the operator in the ONNX form."""
        proto = helper.make_node(
            self.op, list(self.inputs), list(self.outputs), name=self.id, domain=self.domain
        )
        # Not as keywords of make_node: an attribute may be called `name` or `domain`.
        for name, value in self.attributes.items():
            kind = value.kind if isinstance(value, EmptyList) else None
            proto.attribute.append(helper.make_attribute(name, value, attr_type=kind))
        return proto


@dataclass(frozen=True)
class State:
    """A tensor that stays where it is from one execution to the next, and gets rows in each.

    `pimloop.host.models.states` says which tensors of a model are states. They have the shape
    (..., rows, size), and all leading axes get their rows at the same index.
    """

    past: str  # the model input that has the rows of the executions before
    rows: str  # what an execution appends, (..., appended, size)
    whole: str  # the state with them
    node: str  # id of the operator that appends
    index: str | None = None  # the model input that says at which row; None: at `first`
    first: int = 0


@dataclass(frozen=True)
class Graph:
    """A model with static shapes; `nodes` are in a topological order.

    A tensor is a model input, a constant or the output of one node. Constants cost nothing per
    inference and are not edges. They are arrays as they are stored, which may be of a narrower
    floating-point type than their tensor, or a transposed view: `value` has them in its type.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, TensorInfo]  # every tensor, constants included
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: Mapping[str, int]  # operator-set version of each domain
    sequence_length: int | None = None
    input_ranges: Mapping[str, int] | None = None  # exclusive bound of integer inputs (token ids)
    built_in: bool = False  # one of `pimloop.host.models.built_in`, on one sequence
    #: Operators that are executed whole (control flow), as functions of `FUNCTION_DOMAIN`, by type.
    functions: Mapping[str, onnx.FunctionProto] = field(default_factory=dict)
    decomposed: Mapping[str, int] = field(default_factory=dict)  # fused operators, by type
    #: Why an operator with products inside is not decomposed, by node id.
    kept_whole: Mapping[str, str] = field(default_factory=dict)
    #: Values of the inputs that take texts; they are folded away, so no input of the graph.
    texts: Mapping[str, Array] = field(default_factory=dict)
    states: tuple[State, ...] = ()

    @cached_property
    def state_of(self) -> Mapping[str, State]:
        """The state of each operator that appends to one, by node id."""
        return {state.node: state for state in self.states}

    @cached_property
    def state_named(self) -> Mapping[str, State]:
        """States by the tensor that operators read (`State.whole`)."""
        return {state.whole: state for state in self.states}

    @cached_property
    def results(self) -> tuple[str, ...]:
        """What an execution gives its caller: outputs, and the rows that it appended to states."""
        return tuple(dict.fromkeys((*self.outputs, *(state.rows for state in self.states))))

    @cached_property
    def in_place(self) -> Mapping[str, str]:
        """The model input whose memory a state has, by the tensor that operators read.

        A Concat has a result of another size, so its states have a memory of their own.
        """
        return {state.whole: state.past for state in self.states if state.index is not None}

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that makes each tensor; inputs and constants are absent."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor, once each, in order."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    readers.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    def activations(self, node: Node) -> Iterator[str]:
        """Yield the tensors `node` reads that are not constants, once each, in order."""
        for name in dict.fromkeys(node.inputs):
            if name and name not in self.constants:
                yield name

    def edges(self) -> list[tuple[str, str, str]]:
        """Return (producer id, consumer id, tensor) for every tensor between two nodes."""
        return [
            (self.producer[name].id, node.id, name)
            for node in self.nodes
            for name in self.activations(node)
            if name in self.producer
        ]

    def node(self, identifier: str) -> Node:
        """Return a node by its id.

        Raises
        ------
        KeyError
            When the graph has no such node.
        """
        return self._by_id[identifier]

    @cached_property
    def _by_id(self) -> Mapping[str, Node]:
        return {node.id: node for node in self.nodes}

    def value(self, name: str) -> Array:
        """Return a constant in the type of its tensor; a copy where it is stored otherwise."""
        return widened(self.constants[name], self.tensors[name].dtype)

    @cached_property
    def overflowing(self) -> frozenset[str]:
        """float32 constants with a finite value that rounds to an infinite bfloat16."""
        return frozenset(
            name
            for name, value in self.constants.items()
            if value.dtype == np.float32 and overflows(value)
        )

    @cached_property
    def parameters(self) -> int:
        """Elements of all floating-point constants, and of packed weights instead of scales."""
        packed = {
            node.inputs[2]: int(node.attributes["K"]) * int(node.attributes["N"])
            for node in self.nodes
            if (node.domain, node.op) == (CONTRIB, "MatMulNBits")
        }
        return sum(
            packed.get(name, self.tensors[name].elements)
            for name in self.constants
            if self.tensors[name].dtype.kind == "f"
        )


@dataclass(frozen=True)
class RunnableModel:
    """A model in the form ONNX Runtime loads: small protobuf, large constants beside it."""

    proto: onnx.ModelProto
    external: Mapping[str, Array]  # pass to SessionOptions.add_initializer
    in_order: bool = False  # operators must run in the model's order, to hold few copies at a time


def to_model(
    graph: Graph,
    nodes: tuple[Node, ...] | None = None,
    *,
    outputs: tuple[str, ...] | None = None,
    inline: bool = False,
    widen: bool = False,
) -> RunnableModel:
    """Return `nodes` of `graph` (default: all) as a model of their own.

    Parameters
    ----------
    graph
        Where the nodes, shapes and constants come from.
    nodes
        The operators of the model, in topological order.
    outputs
        Tensors the model returns; default: the graph's outputs when `nodes` is left out, else
        every tensor the nodes make that another node of the graph, or the graph, needs.
    inline
        Put every constant into the protobuf (for a file; limited to 2 GiB by protobuf).
    widen
        Hand constants over in the types of their tensors, as a session needs that packs them, and
        not as they are stored.
    """
    chosen = graph.nodes if nodes is None else nodes
    made = [name for node in chosen for name in node.outputs if name]
    made_set = set(made)
    read = dict.fromkeys(name for node in chosen for name in node.inputs if name)
    constants = [name for name in read if name in graph.constants]
    if nodes is None:
        inputs = list(graph.inputs)
    else:
        inputs = [n for n in read if n not in graph.constants and n not in made_set]
    if outputs is None:
        outputs = graph.outputs if nodes is None else _needed_outside(graph, chosen, made)

    def value_info(name: str) -> onnx.ValueInfoProto:
        info = graph.tensors[name]
        return helper.make_tensor_value_info(name, info.onnx_type, list(info.shape))

    needed = dict.fromkeys(constants + [n for n in outputs if n in graph.constants])
    small = [n for n in needed if inline or graph.tensors[n].nbytes <= INLINE_BYTES]
    # An older Cast has no bfloat16.
    widen = widen or graph.opsets.get("", 0) < BFLOAT16_OPSET
    large = {
        n: graph.value(n) if widen else graph.constants[n] for n in needed if n not in set(small)
    }
    stored = StoredOperators({n: graph.tensors[n].onnx_type for n in large}, large)
    protos = [proto for node in chosen for proto in stored.write(node.proto())]
    protos += [proto for name in outputs if name in large for proto in stored.whole(name)]
    opsets = dict(graph.opsets)
    if stored.contributed:
        opsets.setdefault(CONTRIB, CONTRIB_VERSION)
    proto = helper.make_model(
        helper.make_graph(
            protos,
            graph.name,
            [value_info(name) for name in inputs],
            [value_info(name) for name in outputs],
            [
                *(onnx.numpy_helper.from_array(graph.value(name), name) for name in small),
                *(_external_tensor(name, array) for name, array in stored.external.items()),
            ],
        ),
        opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
        ir_version=IR_VERSION,
        producer_name="pimloop",
        functions=[graph.functions[node.op] for node in chosen if node.domain == FUNCTION_DOMAIN],
    )
    return RunnableModel(proto, stored.external, stored.in_order)


def _needed_outside(graph: Graph, chosen: tuple[Node, ...], made: list[str]) -> tuple[str, ...]:
    inside = {node.id for node in chosen}
    return tuple(
        name
        for name in made
        if name in graph.outputs
        or any(node.id not in inside for node in graph.consumers.get(name, ()))
    )


def _external_tensor(name: str, array: Array) -> TensorProto:
    info = TensorInfo(array.shape, array.dtype)
    tensor = TensorProto()
    tensor.name = name
    tensor.data_type = info.onnx_type
    tensor.dims.extend(info.shape)
    tensor.data_location = TensorProto.EXTERNAL
    # ONNX Runtime replaces it by the value handed over in memory; the place is never opened.
    for key, value in (
        ("location", MEMORY_LOCATION),
        ("offset", "0"),
        ("length", str(info.nbytes)),
    ):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor
