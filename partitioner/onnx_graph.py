"""The computational graph of an ONNX model, with the devices that can run each operator.

Initializers and `Constant` nodes are weights, not operators; everything else is an operator with
its attributes and shapes in its signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod
from pathlib import Path

import onnx

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph, Operator, Tensor

#: Bytes of an element in a transfer: a PIM device computes in bfloat16.
DEVICE_ELEMENT_BYTES = {"float32": 2, "float16": 2, "bfloat16": 2, "float64": 2}


@dataclass(frozen=True)
class ValueType:
    """Element type and shape of a value as far as shape inference knows them."""

    type: str  # numpy name, for example "float32"
    shape: tuple[int, ...] | None  # None: a dimension is unknown


#: Devices that can run a node, given it and the types of its inputs (None where unknown).
Capability = Callable[[onnx.NodeProto, Sequence[ValueType | None]], Sequence[str]]


def graph_from_onnx(
    model: onnx.ModelProto | str | Path,
    memories: Mapping[str, Sequence[str]],
    capability: Capability | Mapping[str, Sequence[str]],
    element_bytes: Mapping[str, int] = DEVICE_ELEMENT_BYTES,
) -> Graph:
    """Return the computational graph of `model`.

    Parameters
    ----------
    model
        A model or the path of one. Missing shapes are inferred; external data is not read.
    memories
        Memory name to devices; every tensor may move between any two.
    capability
        A predicate, or a table from operator type to devices where the entry ``"*"`` serves the
        types that are not listed.
    element_bytes
        Bytes of an element in transfers and resident weights, by element type; types that are
        not listed keep their own size.

    Raises
    ------
    PartitionerError
        When the model cannot be read, has no operators, or an operator has no device.
    """
    name = str(model) if isinstance(model, str | Path) else model.graph.name or "model"
    model = _load(model) if isinstance(model, str | Path) else model
    values = _value_types(model)
    constants = _constants(model, values)
    nodes = [node for node in model.graph.node if node.output[0] not in constants]
    named = list(zip(nodes, _unique_names(nodes), strict=True))
    consumers: dict[str, dict[str, None]] = {}
    for node, identifier in named:
        for value in _reads(node):
            if value and value not in constants:
                consumers.setdefault(value, {})[identifier] = None
    producers = {value: identifier for node, identifier in named for value in node.output if value}
    inputs = {value.name for value in model.graph.input} - constants.keys()
    unknown = consumers.keys() - producers.keys() - inputs
    if unknown:
        value = min(unknown)
        raise PartitionerError(
            f"{name}: node {next(iter(consumers[value]))!r} reads {value!r}, which nothing produces"
        )
    outputs = {value.name for value in model.graph.output}
    moves = frozenset(permutations(memories, 2))

    def operator(node: onnx.NodeProto, identifier: str) -> Operator:
        types = [values.get(value) or constants.get(value) for value in node.input]
        weights = [constants[value] for value in dict.fromkeys(_reads(node)) if value in constants]
        return Operator(
            id=identifier,
            op=node.op_type,
            devices=tuple(_devices(capability, node, types)),
            signature=_signature(node, types),
            weight_bytes=sum(_bytes(weight, element_bytes) or 0 for weight in weights),
        )

    def tensor(value: str) -> Tensor:
        kind = values.get(value)
        return Tensor(
            id=value,
            producer=producers.get(value),
            consumers=tuple(consumers.get(value, ())),
            output=value in outputs,
            bytes=None if kind is None else _bytes(kind, element_bytes),
            type=None if kind is None else kind.type,
            moves=moves,
        )

    return Graph(
        {memory: tuple(devices) for memory, devices in memories.items()},
        tuple(operator(node, identifier) for node, identifier in named),
        tuple(tensor(value) for value in [*sorted(inputs & consumers.keys()), *producers]),
        name=name,
    )


def _load(path: str | Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # onnx raises protobuf's errors, which share no base class
        raise PartitionerError(f"{path}: cannot read the ONNX model: {error}") from error


def _constants(model: onnx.ModelProto, values: Mapping[str, ValueType]) -> dict[str, ValueType]:
    """Return initializers and results of Constant nodes."""
    constants = {tensor.name: _initializer_type(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            constants[node.output[0]] = values.get(node.output[0]) or ValueType("unknown", None)
    return constants


def _value_types(model: onnx.ModelProto) -> dict[str, ValueType]:
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = model.graph  # too large to serialise, or odd: use the shapes it carries
    result = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if not tensor.elem_type:
            continue
        known = tensor.HasField("shape") and all(
            dimension.HasField("dim_value") for dimension in tensor.shape.dim
        )
        shape = tuple(dimension.dim_value for dimension in tensor.shape.dim) if known else None
        result[value.name] = ValueType(_type_name(tensor.elem_type), shape)
    return result


def _type_name(element: int) -> str:
    name: str = onnx.TensorProto.DataType.Name(element).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _initializer_type(tensor: onnx.TensorProto) -> ValueType:
    return ValueType(_type_name(tensor.data_type), tuple(tensor.dims))


def _bytes(value: ValueType, element_bytes: Mapping[str, int]) -> int | None:
    if value.shape is None or value.type == "unknown":
        return None
    size = element_bytes.get(value.type)
    if size is None:
        element = onnx.TensorProto.DataType.Value(
            {"float32": "FLOAT", "float64": "DOUBLE"}.get(value.type, value.type.upper())
        )
        size = onnx.helper.tensor_dtype_to_np_dtype(element).itemsize
    return prod(value.shape) * int(size)


def _unique_names(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Return each node's name, or its type and number where it has none or shares it."""
    taken: set[str] = set()
    names = []
    for i, node in enumerate(nodes):
        name = node.name if node.name and node.name not in taken else f"{node.op_type}_{i}"
        while name in taken:
            name += "_"
        taken.add(name)
        names.append(name)
    return names


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the values a node reads, those of its subgraphs from outside included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inside = {value.name for value in graph.input} | {t.name for t in graph.initializer}
            inside.update(value for inner in graph.node for value in inner.output)
            for inner in graph.node:
                yield from (value for value in _reads(inner) if value not in inside)
            # A branch may hand an outer value straight through.
            yield from (value.name for value in graph.output if value.name not in inside)


def _devices(
    capability: Capability | Mapping[str, Sequence[str]],
    node: onnx.NodeProto,
    types: Sequence[ValueType | None],
) -> Sequence[str]:
    if isinstance(capability, Mapping):
        return capability.get(node.op_type, capability.get("*", ()))
    return capability(node, types)


def _signature(node: onnx.NodeProto, types: Sequence[ValueType | None]) -> str | None:
    """Return type, input shapes and attributes as text; None when a shape is unknown."""
    parts = [node.op_type]
    for value, kind in zip(node.input, types, strict=True):
        if not value:
            parts.append("-")
        elif kind is None or kind.shape is None:
            return None
        else:
            shape = "x".join(map(str, kind.shape)) or "scalar"
            parts.append(shape if kind.type == "float32" else f"{kind.type}:{shape}")
    for attribute in sorted(node.attribute, key=lambda a: str(a.name)):
        parts.append(f"{attribute.name}={_attribute_text(attribute)}")
    return "/".join(parts)


def _attribute_text(attribute: onnx.AttributeProto) -> str:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | float) or (
        isinstance(value, Sequence) and all(isinstance(item, int | float) for item in value)
    ):
        return str(value)
    return hashlib.sha256(attribute.SerializeToString(deterministic=True)).hexdigest()[:12]
