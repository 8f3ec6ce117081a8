"""From operators in the ONNX form to a `graph.Graph`: static shapes, constants folded away.

Used for the built-in models and for .onnx files alike. Nodes are taken in order; each one either
disappears (a constant, a shape question, an identity) or gets the shapes of its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from host.errors import PimloopError
from host.models.graph import INLINE_BYTES, IR_VERSION, Array, Graph, Node, TensorInfo

#: The operator set of a model that names none.
OLDEST_OPSET = 11

#: Folding never makes a constant larger than this (a hostile ConstantOfShape must not eat memory).
MAX_FOLDED_BYTES = 1 << 30

#: No tensor of a model may be larger than this; it would have to be held in memory.
MAX_TENSOR_BYTES = 1 << 34

#: Standard operators whose results differ from run to run: never folded.
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
     "Multinomial"}
)  # fmt: skip

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


@dataclass
class RawModel:
    """Operators and constants before normalization; `nodes` in a topological order."""

    name: str
    nodes: Sequence[onnx.NodeProto]
    constants: dict[str, Array]
    inputs: dict[str, TensorInfo]
    outputs: tuple[str, ...]
    opsets: dict[str, int]
    sequence_length: int | None = None
    input_ranges: dict[str, int] = field(default_factory=dict)


def normalize(raw: RawModel) -> Graph:
    """Fold constants and shape arithmetic, drop identities and dead nodes, infer every shape.

    Raises
    ------
    PimloopError
        When a node reads a tensor nobody makes, a shape stays unknown, or an operator is not
        supported; the message names the node.
    """
    return _Normalizer(raw).run()


class _Normalizer:
    def __init__(self, raw: RawModel) -> None:
        self.raw = raw
        self.constants: dict[str, Array] = dict(raw.constants)
        self.infos: dict[str, TensorInfo] = dict(raw.inputs)
        for name, array in self.constants.items():
            self.infos[name] = TensorInfo(array.shape, array.dtype)
        self.aliases: dict[str, str] = {}
        self.kept: list[Node] = []
        self.used_ids: set[str] = set()
        self.inferred: dict[object, list[TensorInfo]] = {}

    def run(self) -> Graph:
        for index, proto in enumerate(self.raw.nodes):
            self._take(proto, index)
        for name in self.raw.outputs:
            if name not in self.infos:
                raise PimloopError(f"model {self.raw.name}: no operator makes the output '{name}'")
        nodes = self._live_nodes()
        used = dict.fromkeys(n for node in nodes for n in (*node.inputs, *node.outputs) if n)
        used.update(dict.fromkeys((*self.raw.inputs, *self.raw.outputs)))
        return Graph(
            name=self.raw.name,
            nodes=nodes,
            tensors={name: self.infos[name] for name in used},
            constants={name: self.constants[name] for name in used if name in self.constants},
            inputs=tuple(self.raw.inputs),
            outputs=self.raw.outputs,
            opsets=dict(self.raw.opsets),
            sequence_length=self.raw.sequence_length,
            input_ranges=dict(self.raw.input_ranges),
        )

    def _take(self, proto: onnx.NodeProto, index: int) -> None:
        inputs = [self.aliases.get(name, name) for name in proto.input]
        where = f"node '{proto.name or index}' ({proto.op_type}) of model {self.raw.name}"
        for name in inputs:
            if name and name not in self.infos:
                raise PimloopError(
                    f"{where} reads '{name}', which no input, constant or earlier operator makes"
                )
        if proto.domain in ("", "ai.onnx"):
            if proto.op_type in _CONTROL_FLOW:
                raise PimloopError(
                    f"{where}: control flow is not supported; export the model without it"
                )
            if self._folded_standard(proto, inputs):
                return
        node = Node(
            id=self._unique_id(proto),
            op=proto.op_type,
            domain="" if proto.domain == "ai.onnx" else proto.domain,
            inputs=_strip(inputs),
            outputs=_strip(proto.output),
            attributes={a.name: helper.get_attribute_value(a) for a in proto.attribute},
        )
        infos = self._infer(node, where)
        for name, info in zip(node.outputs, infos, strict=True):
            if info.nbytes > MAX_TENSOR_BYTES:
                raise PimloopError(f"{where}: '{name}' has {info.elements} elements, too many")
        constant = bool(node.inputs) and all(
            not name or name in self.constants for name in node.inputs
        )
        if constant and node.op not in _RANDOM and _total_bytes(infos) <= MAX_FOLDED_BYTES:
            for name, array in zip(node.outputs, self._evaluate(node, where), strict=True):
                self._define_constant(name, array)
            return
        self.used_ids.add(node.id)
        for name, info in zip(node.outputs, infos, strict=True):
            if name:
                self.infos[name] = info
        self.kept.append(node)

    def _folded_standard(self, proto: onnx.NodeProto, inputs: list[str]) -> bool:
        """Fold the operators that need no evaluation; return whether `proto` is gone."""
        output = proto.output[0] if proto.output else ""
        if proto.op_type == "Constant":
            self._define_constant(output, _constant_value(proto))
            return True
        if proto.op_type == "Shape":
            attributes = {a.name: a.i for a in proto.attribute}
            shape = self.infos[inputs[0]].shape
            part = shape[attributes.get("start", 0) : attributes.get("end", len(shape))]
            self._define_constant(output, np.array(part, dtype=np.int64))
            return True
        if proto.op_type == "Size":
            self._define_constant(output, np.array(self.infos[inputs[0]].elements, dtype=np.int64))
            return True
        no_effect = proto.op_type == "Identity" or (
            proto.op_type == "Dropout" and not any(proto.output[1:]) and not any(inputs[2:])
        )
        # A model output keeps its name, so an identity that makes one stays.
        if no_effect and output not in self.raw.outputs:
            self.aliases[output] = inputs[0]
            return True
        return False

    def _define_constant(self, name: str, array: Array) -> None:
        if name:
            self.constants[name] = array
            self.infos[name] = TensorInfo(array.shape, array.dtype)

    def _unique_id(self, proto: onnx.NodeProto) -> str:
        base = proto.name or f"{proto.op_type}_{next((o for o in proto.output if o), '')}"
        identifier, suffix = base, 1
        while identifier in self.used_ids:
            suffix += 1
            identifier = f"{base}_{suffix}"
        return identifier

    def _one_node_model(self, node: Node, *, inline: int) -> onnx.ModelProto:
        """Return a model of `node` alone; constants up to `inline` bytes keep their values."""
        infos = {name: self.infos[name] for name in node.inputs if name}
        small = {n: self.constants[n] for n in infos if n in self.constants}
        small = {n: a for n, a in small.items() if a.nbytes <= inline}
        graph = helper.make_graph(
            [node.proto()],
            "node",
            [
                helper.make_tensor_value_info(n, i.onnx_type, list(i.shape))
                for n, i in infos.items()
                if n not in small
            ],
            [helper.make_empty_tensor_value_info(n) for n in node.outputs if n],
            [numpy_helper.from_array(a, n) for n, a in small.items()],
        )
        opsets = [helper.make_opsetid(d, v) for d, v in self.raw.opsets.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _infer(self, node: Node, where: str) -> list[TensorInfo]:
        key = self._signature(node)
        if key not in self.inferred:
            if node.domain:
                self.inferred[key] = self._infer_by_running(node, where)
            else:
                self.inferred[key] = self._infer_standard(node, where)
        return self.inferred[key]

    def _signature(self, node: Node) -> object:
        def describe(name: str) -> object:
            if not name:
                return None
            info = self.infos[name]
            array = self.constants.get(name)
            value = None if array is None or array.nbytes > INLINE_BYTES else array.tobytes()
            return (info.shape, info.dtype.str, value)

        return (
            node.op,
            node.domain,
            repr(sorted(node.attributes.items())),
            tuple(describe(name) for name in node.inputs),
            tuple(bool(name) for name in node.outputs),
        )

    def _infer_standard(self, node: Node, where: str) -> list[TensorInfo]:
        if not onnx.defs.has(node.op, self.raw.opsets.get("", OLDEST_OPSET), ""):
            raise PimloopError(f"{where}: ONNX has no such operator in this operator set")
        model = self._one_node_model(node, inline=INLINE_BYTES)
        try:
            inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except Exception as error:  # the binding raises its own types, all with a readable text
            raise PimloopError(f"{where}: its shapes do not fit: {error}") from error
        by_name = {value.name: value.type.tensor_type for value in inferred.graph.output}
        infos = []
        for name in node.outputs:
            if not name:
                infos.append(TensorInfo((), np.dtype(np.float32)))
                continue
            tensor = by_name[name]
            dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
            if not tensor.HasField("shape") or -1 in dims or not tensor.elem_type:
                raise PimloopError(
                    f"{where}: the shape of '{name}' depends on the data; only static shapes are"
                    " supported (bind dynamic axes with --seq or --shape)"
                )
            infos.append(TensorInfo(tuple(dims), _dtype(tensor.elem_type, where)))
        return infos

    def _infer_by_running(self, node: Node, where: str) -> list[TensorInfo]:
        """Infer the outputs of a contributed operator: run it once on zeros."""
        zeros = {n: np.zeros(i.shape, i.dtype) for n, i in self.infos.items() if n in node.inputs}
        feeds = {n: self.constants.get(n, z) for n, z in zeros.items()}
        return [TensorInfo(a.shape, a.dtype) for a in self._run(node, feeds, where)]

    def _evaluate(self, node: Node, where: str) -> list[Array]:
        return self._run(node, {n: self.constants[n] for n in node.inputs if n}, where)

    def _run(self, node: Node, feeds: Mapping[str, Array], where: str) -> list[Array]:
        model = self._one_node_model(node, inline=-1)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            results = dict(
                zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True)
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise PimloopError(f"{where}: ONNX Runtime refuses it: {error}") from error
        return [np.asarray(results[n]) if n else np.zeros(0) for n in node.outputs]

    def _live_nodes(self) -> tuple[Node, ...]:
        needed = set(self.raw.outputs)
        live: list[Node] = []
        for node in reversed(self.kept):
            if any(name in needed for name in node.outputs):
                needed.update(name for name in node.inputs if name)
                live.append(node)
        return tuple(reversed(live))


def _strip(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` without the omitted ones at the end."""
    kept = list(names)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)


def _total_bytes(infos: Sequence[TensorInfo]) -> int:
    return sum(info.nbytes for info in infos)


def _dtype(element_type: int, where: str) -> np.dtype[Any]:
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(element_type))
    except KeyError as error:
        raise PimloopError(f"{where}: element type {element_type} is not supported") from error


def _constant_value(proto: onnx.NodeProto) -> Array:
    attribute = proto.attribute[0]
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    kinds: dict[str, Any] = {
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    if attribute.name not in kinds:
        raise PimloopError(
            f"constant '{proto.output[0]}': the form {attribute.name} is not supported"
        )
    return np.array(value, dtype=kinds[attribute.name])
