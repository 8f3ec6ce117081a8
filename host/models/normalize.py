"""From operators in the ONNX form to a `graph.Graph`: static shapes, constants folded away.

Used for the built-in models and for .onnx files alike. Nodes are taken in order; each one either
disappears (a constant, a shape question, an identity) or gets the shapes of its outputs.
Neighbours: `inference` knows the shapes and values of one operator, `control_flow` writes out If
and Loop, `decompose` fused operators.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimloop.errors import PimloopError
from pimloop.host.models.alternatives import alternative
from pimloop.host.models.constant_nodes import constant_value, dense_elements
from pimloop.host.models.control_flow import (
    CONTROL_FLOW,
    MAX_UNROLLED,
    Expansion,
    as_function,
    expand,
)
from pimloop.host.models.decompose import Choice, KeptWhole, Reader, Whole, decompose, has_rule
from pimloop.host.models.deviations import deviation
from pimloop.host.models.graph import (
    FUNCTION_DOMAIN,
    MAX_AXES,
    Array,
    EmptyList,
    Graph,
    Node,
    TensorInfo,
    attributes_of,
)
from pimloop.host.models.inference import (
    OLDEST_OPSET,
    DataDependentError,
    Inference,
    RefusedError,
    constants_of,
    schema_of,
)
from pimloop.host.models.integer_weights import with_weights_of_one_type
from pimloop.host.models.onnx_order import outer_names, subgraphs
from pimloop.host.models.quantize.checking import check_scaled_integers
from pimloop.host.models.quantize.products import Quantizer
from pimloop.host.models.quantize.reading import Dequantized, dequantized, is_packed
from pimloop.host.models.states import with_states
from pimloop.host.models.tracing import Tracer
from pimloop.partitioner.quantity import quantity

#: Folding never makes a constant larger than this: such an operator is executed.
MAX_FOLDED_BYTES = 1 << 30

#: Elements that computed constants may have, all together (a few hostile ConstantOfShape, or a
#: constant that is doubled again and again, must not eat memory) ...
MAX_GROWN_ELEMENTS = 1 << 26

#: ... beyond so many times those in the file: weights are cast, scaled, transposed.
_FOLDED_TIMES = 8

#: An operator whose result has no shape before it runs is run at once on constants up to this.
MAX_UNSHAPED_BYTES = 1 << 26

#: No tensor of a model may be larger than this; it would have to be held in memory.
MAX_TENSOR_BYTES = 1 << 34

#: Standard operators that draw numbers without looking at data: drawn once, when a model is loaded.
_DRAWS = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"})

#: Standard operators that draw numbers by their data: no two executions agree.
_RANDOM = frozenset({"Bernoulli", "Multinomial"})

#: Most operators of a model, written out control flow included.
_MAX_NODES = 200_000


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
    choice: Choice = field(default_factory=Choice)  # of what is decomposed
    quantize: str | None = None  # the kind of integer weights that products get
    given: Mapping[str, Array] = field(default_factory=dict)  # values of inputs, for open shapes
    check_operators: bool = False  # whether ONNX Runtime may lack one
    #: Types of constants that are stored in narrower ones.
    types: Mapping[str, np.dtype[Any]] = field(default_factory=dict)
    #: Types that results are declared to have; None: something else than a tensor.
    declared: Mapping[str, np.dtype[Any] | None] = field(default_factory=dict)


def normalize(raw: RawModel) -> Graph:
    """Fold constants and shape arithmetic, drop identities and dead nodes, infer every shape.

    Raises
    ------
    PimloopError
        When a node reads a tensor nobody makes, a shape stays unknown, or an operator is
        malformed or not supported; the message names the node.
    """
    return _Normalizer(raw).run()


class _Normalizer:
    def __init__(self, raw: RawModel) -> None:
        self.raw = raw
        self.constants: dict[str, Array] = dict(raw.constants)
        self.infos: dict[str, TensorInfo] = dict(raw.inputs)
        for name, array in self.constants.items():
            self.infos[name] = TensorInfo(array.shape, raw.types.get(name, array.dtype))
        self.aliases: dict[str, str] = {}
        self.kept: list[Node] = []
        self.ids: dict[str, int] = {}  # how often each was asked for
        self.functions: dict[str, onnx.FunctionProto] = {}
        self.inference = Inference(raw.opsets)
        self.tracer = Tracer(self.inference, raw.given)
        self.opset = raw.opsets.get("", OLDEST_OPSET)
        self.stored = sum(array.size for array in self.constants.values())
        self.grown = 0  # elements of constants that were computed
        self.unrolled = 0  # operators that loops were written out to
        self.waiting: deque[onnx.NodeProto] = deque()
        self.decomposed: dict[str, int] = {}  # operators written out, by type
        self.kept_whole: dict[str, str] = {}  # why others were not, by id
        self.declared = dict(raw.declared)
        self.stated: set[str] = set()  # names of Constant operators, whose type nobody declares
        self.promised: dict[str, TensorInfo] = {}  # what the operator said that is written out
        self.dequantized: dict[str, Dequantized] = {}  # what constants were made from, by name

    def run(self) -> Graph:
        self.waiting.extend(self.raw.nodes)
        taken = 0
        while self.waiting:
            proto = self.waiting.popleft()
            where = f"node '{proto.name or taken}' ({proto.op_type}) of model {self.raw.name}"
            taken += 1
            if taken > _MAX_NODES:
                raise PimloopError(f"{where}: the model has more than {_MAX_NODES:,} operators")
            try:
                self._take(proto, where)
            except PimloopError:
                raise
            except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
                # What only a node that breaks ONNX's rules can cause.
                raise PimloopError(f"{where} is malformed: {error}") from error
        for name in self.raw.outputs:
            if name not in self.infos:
                raise PimloopError(f"model {self.raw.name}: no operator makes the output '{name}'")
        self._check_declared()
        nodes = self._live_nodes() or self._copied_constant()
        used = dict.fromkeys(n for node in nodes for n in (*node.inputs, *node.outputs) if n)
        used.update(dict.fromkeys((*self.raw.inputs, *self.raw.outputs)))
        opsets = dict(self.raw.opsets)
        functions = {n.op: self.functions[n.op] for n in nodes if n.domain == FUNCTION_DOMAIN}
        if functions:
            opsets[FUNCTION_DOMAIN] = 1
        graph = Graph(
            name=self.raw.name,
            nodes=nodes,
            tensors={name: self.infos[name] for name in used},
            constants={name: self.constants[name] for name in used if name in self.constants},
            inputs=tuple(self.raw.inputs),
            outputs=self.raw.outputs,
            opsets=opsets,
            sequence_length=self.raw.sequence_length,
            input_ranges=dict(self.raw.input_ranges),
            functions=functions,
            decomposed=self.decomposed,
            kept_whole={n.id: self.kept_whole[n.id] for n in nodes if n.id in self.kept_whole},
        )
        if self.raw.quantize is not None:
            quantizer = Quantizer.of(self.raw.quantize)
            quantizer.sources = self.dequantized
            graph = quantizer.graph(graph)
        return with_states(graph)

    def _check_declared(self) -> None:
        """Refuse a type that the file declares and that is not that of the operator's result.

        ONNX Runtime does so too; of shapes it warns.
        """
        for name, declared in self.declared.items():
            info = self.infos.get(self._resolve(name))
            if info is None or name in self.raw.inputs or name in self.raw.constants:
                continue
            if info.dtype != declared and name not in self.stated:
                kind = "no tensor" if declared is None else declared
                raise PimloopError(
                    f"model {self.raw.name}: '{name}' is declared as {kind}, but its operator makes"
                    f" {info.dtype}; correct the declaration, or export the model anew"
                )

    def _copied_constant(self) -> tuple[Node, ...]:
        """Return what executes a model that is left without operators: a copy of a constant."""
        name = next((name for name in self.raw.outputs if name in self.constants), None)
        if name is None:
            raise PimloopError(
                f"model {self.raw.name} has no operators: each of its outputs is an input, so there"
                " is nothing to execute or to place"
            )
        source = f"{name}/constant"
        while source in self.infos:
            source += "_"
        self._define_constant(source, self.constants.pop(name))
        proto = helper.make_node("Identity", [source], [name])
        return (Node(self._unique_id(proto), "Identity", "", (source,), (name,), {}),)

    def _resolve(self, name: str) -> str:
        return self.aliases.get(name, name)

    def _take(self, proto: onnx.NodeProto, where: str) -> None:
        inputs = [self._resolve(name) for name in proto.input]
        for name in inputs:
            if name and name not in self.infos:
                raise PimloopError(
                    f"{where} reads '{name}', which no input, constant or earlier operator makes"
                )
        if proto.domain in ("", "ai.onnx"):
            self._check_counts(proto, where)
            if proto.op_type in CONTROL_FLOW:
                self._take_control_flow(proto, where)
                return
            if self._folded_standard(proto, inputs, where):
                return
        node = Node(
            id=self._unique_id(proto),
            op=proto.op_type,
            domain="" if proto.domain == "ai.onnx" else proto.domain,
            inputs=_strip(inputs),
            outputs=_strip(proto.output),
            attributes=self._attributes(proto),
        )
        check_scaled_integers(node, self.infos, where)
        if not self._decompose(node, where):
            self._take_node(node, where)

    def _decompose(self, node: Node, where: str) -> bool:
        """Put the primitives that an operator equals in its place; return whether there are any."""
        if not has_rule(node.domain, node.op):
            return False
        if self.raw.quantize is not None and is_packed(node):
            return False  # its integers stay
        if all(name in self.constants for name in node.inputs if name):
            return False  # its result is a constant
        try:
            results = self.inference.infer(node, self.infos, self.constants, where)
        except (DataDependentError, RefusedError):
            return False
        whole = Whole(
            node, self.infos, self.constants, results, self.readers, self.raw.choice.im2col
        )
        try:
            parts = decompose(whole, node.id, self.opset)
        except KeptWhole as reason:
            self.kept_whole[node.id] = str(reason)
            return False
        if parts is None:
            return False
        if self.raw.choice.keep_fused:
            self.kept_whole[node.id] = "fused operators are kept whole (--keep-fused)"
            return False
        self.decomposed[node.op] = self.decomposed.get(node.op, 0) + 1
        self.promised |= {n: info for n, info in zip(node.outputs, results, strict=True) if n}
        for name, array in parts.constants.items():
            self._define_constant(name, array)
        self.waiting.extendleft(reversed(parts.nodes))
        return True

    @cached_property
    def readers(self) -> dict[str, list[Reader]]:
        """Who reads each tensor of the file."""
        readers: dict[str, list[Reader]] = {}
        for proto in self.raw.nodes:
            cast = next((a.i for a in proto.attribute if a.name == "to"), None)
            reader = Reader(proto.op_type, cast if proto.op_type == "Cast" else None)
            inner = [name for a in proto.attribute for g in subgraphs(a) for name in outer_names(g)]
            for name in dict.fromkeys([*proto.input, *inner]):
                readers.setdefault(name, []).append(reader)
        for name in self.raw.outputs:
            readers.setdefault(name, []).append(Reader(""))
        return readers

    def _take_node(self, node: Node, where: str) -> None:
        """Keep or fold an operator, or other operators in its place where it cannot be run."""
        try:
            self._keep_or_fold(node, where)
        except RefusedError:
            made = alternative(node, self.infos, self.constants, self.inference, f"{node.id}/")
            if made is None:
                raise
            self._put_first(made, node.outputs)

    def _put_first(self, made: Expansion, outputs: Sequence[str]) -> None:
        """Take the operators that stand for another one next; `outputs` are that one's."""
        for name, array in made.constants.items():
            self._define_constant(name, array)
        self.declared |= made.declared
        # The results keep the operator's names; an identity without effect is dropped as others.
        ends = [
            helper.make_node("Identity", [inner], [name])
            for name, inner in zip(outputs, made.results, strict=False)
            if name
        ]
        self.waiting.extendleft(reversed([*made.nodes, *ends]))

    def _keep_or_fold(self, node: Node, where: str) -> None:
        draws = node.op in _DRAWS and not node.domain
        if draws and "seed" not in node.attributes:
            node = Node(node.id, node.op, node.domain, node.inputs, node.outputs,
                        {**node.attributes, "seed": 0.0})  # fmt: skip
        node, moved = with_weights_of_one_type(node, self.infos, self.constants)
        for name, array in moved.items():
            self._define_constant(name, array)
        constant = bool(node.inputs) and all(
            not name or name in self.constants for name in node.inputs
        )
        reason = deviation(node, self.infos, self.tracer.known(node, self.constants))
        if reason is not None:
            raise RefusedError(f"{where}: {reason}")
        try:
            infos = self.inference.infer(node, self.infos, self.constants, where)
        except DataDependentError as error:
            read = {name: self.constants[name] for name in node.inputs if name} if constant else {}
            if read and sum(array.nbytes for array in read.values()) <= MAX_UNSHAPED_BYTES:
                self._fold(node, where)
                return
            infos = self._open_shapes(node, where, error)
        for name, info in zip(node.outputs, infos, strict=True):
            if len(info.shape) > MAX_AXES:
                raise PimloopError(f"{where}: '{name}' has more than {MAX_AXES} axes, too many")
            if info.nbytes > MAX_TENSOR_BYTES:
                raise PimloopError(f"{where}: '{name}' has {info.elements} elements, too many")
            if self.promised.get(name, info) != info:
                raise PimloopError(
                    f"{where} makes '{name}' as {info}, the operator that it is a part of as"
                    f" {self.promised[name]}; load the model with --keep-fused"
                )
        if (constant or draws) and sum(info.nbytes for info in infos) <= MAX_FOLDED_BYTES:
            self._count_growth(sum(info.elements for info in infos), where)
            self._fold(node, where)
            return
        if self.raw.check_operators:
            self.inference.check(node, self.infos, self.constants, where)
        for name, info in zip(node.outputs, infos, strict=True):
            if name:
                self.infos[name] = info
        self.kept.append(node)

    def _open_shapes(self, node: Node, where: str, error: DataDependentError) -> list[TensorInfo]:
        """Return the shapes that only values tell: those on the given inputs, or on any."""
        traced = self.tracer.infer(node, self.kept, self.constants, where)
        if traced is not None:
            return traced
        try:
            return self.inference.sample(node, self.infos, self.constants, where)
        except DataDependentError as sampled:
            if not sampled.refused:
                raise error from None
            raise DataDependentError(
                f"{error} (on values made up for it: {sampled.refused})", sampled.refused
            ) from error

    def _attributes(self, proto: onnx.NodeProto) -> dict[str, Any]:
        """Return a node's attributes; an optional list without values is as one left out.

        ONNX's own inference takes the axes of such a Squeeze for none, ONNX Runtime for all.
        """
        attributes = attributes_of(proto)
        schema = schema_of(proto, self.raw.opsets)
        if schema is None:
            return attributes
        declared = schema.attributes
        return {
            name: value
            for name, value in attributes.items()
            if not (
                isinstance(value, EmptyList) and name in declared and not declared[name].required
            )
        }

    def _count_growth(self, elements: int, where: str) -> None:
        self.grown += elements
        limit = MAX_GROWN_ELEMENTS + _FOLDED_TIMES * self.stored
        if self.grown > limit:
            raise PimloopError(
                f"{where}: the constants that the model computes have {self.grown:,} elements,"
                f" those in the file {self.stored:,}; at most {limit:,} are supported"
            )

    def _fold(self, node: Node, where: str) -> None:
        values = constants_of(node, self.infos, self.constants)
        if node.op in _DRAWS and node.inputs:
            info = self.infos[node.inputs[0]]
            values = {node.inputs[0]: np.zeros(info.shape, info.dtype)}
        for name, array in zip(
            node.outputs, self.inference.evaluate(node, values, where), strict=True
        ):
            self._define_constant(name, array)
        if self.raw.quantize is not None:
            source = dequantized(node, values, self.dequantized, where)
            if source is not None:
                self.dequantized[node.outputs[0]] = source

    def _check_counts(self, proto: onnx.NodeProto, where: str) -> None:
        """Refuse a standard operator with too many or too few inputs or outputs."""
        schema = schema_of(proto, self.raw.opsets)
        if schema is None:
            return
        for kind, names, low, high in (
            ("input", proto.input, schema.min_input, schema.max_input),
            ("output", proto.output, schema.min_output, schema.max_output),
        ):
            if not low <= len(names) <= high:
                bound = str(low) if low == high else f"{low} to {high}"
                raise PimloopError(
                    f"{where} is malformed: it has {quantity(len(names), kind)}, {bound}"
                    f" {'is' if bound == '1' else 'are'} right"
                )

    def _take_control_flow(self, proto: onnx.NodeProto, where: str) -> None:
        identifier = self._unique_id(proto)
        room = MAX_UNROLLED - self.unrolled
        made = expand(proto, f"{identifier}/", self.constants, self._resolve, self.opset, room)
        if made is None:
            self._take_whole(proto, identifier, where)
            return
        if proto.op_type == "Loop":
            self.unrolled += len(made.nodes)
        self._put_first(made, proto.output)

    def _take_whole(self, proto: onnx.NodeProto, identifier: str, where: str) -> None:
        """Keep a control flow operator as one operator that reads all that its subgraphs read."""
        drawing = self._draws_inside(proto)
        if drawing is not None:
            raise PimloopError(_draws_numbers(f"{where}: {drawing} in its body"))
        function = as_function(
            proto, f"{proto.op_type}_{len(self.functions)}", self._resolve, self.raw.opsets
        )
        self.functions[function.name] = function
        for name in function.input:
            if name not in self.infos:
                raise PimloopError(
                    f"{where} reads '{name}', which no input, constant or earlier operator makes"
                )
        node = Node(
            id=identifier,
            op=function.name,
            domain=FUNCTION_DOMAIN,
            inputs=tuple(function.input),
            outputs=tuple(function.output),
            attributes={},
        )
        self.inference.functions[function.name] = function
        self._take_node(node, where)

    def _folded_standard(self, proto: onnx.NodeProto, inputs: list[str], where: str) -> bool:
        """Fold the operators that need no evaluation; return whether `proto` is gone."""
        output = proto.output[0] if proto.output else ""
        if proto.op_type == "Constant":
            self._count_growth(dense_elements(proto), where)
            self._define_constant(output, constant_value(proto, where))
            self.stated.add(output)
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
        if proto.op_type in _RANDOM or self._trains(proto, inputs):
            raise PimloopError(_draws_numbers(where))
        no_effect = proto.op_type == "Identity" or (
            proto.op_type == "Dropout" and not any(proto.output[1:])
        )
        # A model output keeps its name, so an identity that makes one stays.
        if no_effect and output not in self.raw.outputs:
            self.aliases[output] = inputs[0]
            return True
        return False

    def _draws_inside(
        self, proto: onnx.NodeProto, outer: frozenset[str] = frozenset()
    ) -> str | None:
        """Return the type of an operator in a body, at any depth, that draws random numbers.

        `outer` has the constants of the bodies around that are zero: flags that are off.
        """
        for graph in (graph for attribute in proto.attribute for graph in subgraphs(attribute)):
            off = set(outer)
            off.update(
                tensor.name
                for tensor in graph.initializer
                if not numpy_helper.to_array(tensor).any()
            )
            for node in graph.node:
                if node.op_type == "Constant" and not constant_value(node, "a constant").any():
                    off.update(node.output)
                training = [self._resolve(name) for name in node.input[2:3] if name not in off]
                trains = node.op_type == "Dropout" and self._trains(node, ["", "", *training])
                if node.domain in ("", "ai.onnx") and (node.op_type in _RANDOM | _DRAWS or trains):
                    return str(node.op_type)
                deeper = self._draws_inside(node, frozenset(off))
                if deeper is not None:
                    return deeper
        return None

    def _trains(self, proto: onnx.NodeProto, inputs: list[str]) -> bool:
        """Return whether a Dropout may drop something."""
        if proto.op_type != "Dropout" or not any(inputs[2:]):
            return False
        training = self.constants.get(inputs[2])
        return training is None or bool(np.any(training))

    def _define_constant(self, name: str, array: Array) -> None:
        if name:
            self.constants[name] = array
            self.infos[name] = TensorInfo(array.shape, array.dtype)

    def _unique_id(self, proto: onnx.NodeProto) -> str:
        base = proto.name or f"{proto.op_type}_{next((o for o in proto.output if o), '')}"
        identifier = base
        while identifier in self.ids:
            self.ids[base] += 1
            identifier = f"{base}_{self.ids[base]}"
        self.ids[identifier] = 1
        return identifier

    def _live_nodes(self) -> tuple[Node, ...]:
        needed = set(self.raw.outputs)
        live: list[Node] = []
        for node in reversed(self.kept):
            if any(name in needed for name in node.outputs):
                needed.update(name for name in node.inputs if name)
                live.append(node)
        return tuple(reversed(live))


def _draws_numbers(where: str) -> str:
    return (
        f"{where} draws random numbers, so no two executions agree; export the model for inference"
        " without it, or make what it draws an input"
    )


def _strip(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` without the omitted ones at the end."""
    kept = list(names)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)
