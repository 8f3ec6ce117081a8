"""Shapes and values of single operators, by ONNX's own inference and by ONNX Runtime.

`normalize` asks, one operator at a time. Answers are kept: a model repeats its operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from pimloop.errors import PimloopError
from pimloop.host.models.graph import (
    FUNCTION_DOMAIN,
    INLINE_BYTES,
    IR_VERSION,
    Array,
    Node,
    TensorInfo,
)
from pimloop.host.models.ort_values import is_plain, run
from pimloop.host.models.stored import widened

#: The operator set of a model that names none.
OLDEST_OPSET = 7

#: More bytes than a constant has.
_ALL = 1 << 62

#: What is noted of an optional output that is left out.
NO_OUTPUT = TensorInfo((), np.dtype(np.float32))

#: Seed of the sample values that show whether a shape depends on the data.
_SEED = 1


class DataDependentError(PimloopError):
    """The shape of a result depends on values that are not known before the model runs.

    Parameters
    ----------
    message
        The operator, and what to do.
    refused
        What ONNX Runtime said of values that were made up; "" where it took them, or was not asked.
    """

    def __init__(self, message: str, refused: str = "") -> None:
        super().__init__(message)
        self.refused = refused


class RefusedError(PimloopError):
    """ONNX Runtime has no such operator on the CPU, or not for these types."""


def schema_of(node: Node | onnx.NodeProto, opsets: Mapping[str, int]) -> Any:
    """Return ONNX's definition of an operator; None when it has none (a contributed operator)."""
    op = node.op if isinstance(node, Node) else node.op_type
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = opsets.get(domain, OLDEST_OPSET if not domain else 1)
    if not onnx.defs.has(op, version, domain):
        return None
    return onnx.defs.get_schema(op, version, domain)


class Inference:
    """Shapes and values of operators whose inputs are known.

    Parameters
    ----------
    opsets
        Operator-set version of each domain.
    """

    def __init__(self, opsets: Mapping[str, int]) -> None:
        self._opsets = opsets
        #: Functions that stand for control flow (`graph.FUNCTION_DOMAIN`), by operator type.
        self.functions: dict[str, onnx.FunctionProto] = {}
        self._known: dict[object, list[TensorInfo]] = {}
        self._sampled: dict[object, list[TensorInfo]] = {}
        self._checked: set[object] = set()

    def schema(self, node: Node) -> Any:
        """Return `schema_of` the operator in the model's operator sets."""
        return schema_of(node, self._opsets)

    def check(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        where: str,
    ) -> None:
        """Raise RefusedError unless ONNX Runtime can open the operator."""
        # Kernels are for types, whatever the shapes.
        key = _use(node, lambda name: infos[name].dtype.name)
        if key in self._checked:
            return
        try:
            self._session(node, infos, constants, where)
        except RefusedError:
            # Some operators ask for constants, and large ones have been made inputs.
            self._session(node, infos, constants, where, inline=_ALL)
        self._checked.add(key)

    def infer(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        where: str,
    ) -> list[TensorInfo]:
        """Return what is known of each output of `node`, in order.

        Raises
        ------
        DataDependentError
            When a shape depends on values that are not constant.
        PimloopError
            When the operator is unknown or its inputs do not fit together.
        """
        key = self._signature(node, infos, constants)
        if key not in self._known:
            by_onnx = self.schema(node) is not None or node.domain == FUNCTION_DOMAIN
            infer = self._by_onnx if by_onnx else self._by_runtime
            self._known[key] = infer(node, infos, constants, where)
        return self._known[key]

    def sample(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        where: str,
    ) -> list[TensorInfo]:
        """Return what is known of each output of `node` by running it on values that differ.

        Raises
        ------
        DataDependentError
            When the shapes are not those of every run, or the values make no sense to it.
        """
        key = self._signature(node, infos, constants)
        if key not in self._sampled:
            self._sampled[key] = self._by_samples(node, infos, constants, where)
        return self._sampled[key]

    def evaluate(self, node: Node, constants: Mapping[str, Array], where: str) -> list[Array]:
        """Return the values of an operator whose inputs are all constant.

        Raises
        ------
        PimloopError
            When ONNX Runtime refuses it.
        """
        if node.op == "Cast" and not node.domain:
            value = constants[node.inputs[0]]
            if not is_plain(value.dtype):
                # ONNX Runtime has no such cast for some types; widening is exact in numpy too.
                kind = helper.tensor_dtype_to_np_dtype(int(node.attributes["to"]))
                return [value.astype(np.float32).astype(kind)]
        infos = {n: TensorInfo(constants[n].shape, constants[n].dtype) for n in node.inputs if n}
        return self._run(node, infos, {n: constants[n] for n in infos}, where)

    # -- shapes ------------------------------------------------------------------------------

    def _by_onnx(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        where: str,
    ) -> list[TensorInfo]:
        model = self.model(node, infos, constants)
        try:
            inferred = onnx.shape_inference.infer_shapes(
                model,
                strict_mode=True,
                # It makes a dimension of each element, 100 bytes each.
                data_prop=all(infos[n].elements <= INLINE_BYTES for n in node.inputs if n),
            )
        except Exception as error:  # the binding raises its own types, all with a readable text
            message = f"{where}: its shapes do not fit: {error}"
            try:
                # This inference has faults of its own: what ONNX Runtime opens may well fit.
                return self._by_runtime(node, infos, constants, where)
            except RefusedError:
                raise PimloopError(message) from error
            except DataDependentError:
                raise DataDependentError(message) from error
        by_name = {value.name: value.type.tensor_type for value in inferred.graph.output}
        outputs = []
        for name in node.outputs:
            tensor = by_name.get(name)
            if not name or tensor is None:
                outputs.append(NO_OUTPUT)
                continue
            dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
            if not tensor.HasField("shape") or min(dims, default=0) < 0 or not tensor.elem_type:
                # A definition by other operators, and types the inference does not know.
                return self._by_runtime(node, infos, constants, where)
            outputs.append(TensorInfo(tuple(dims), _dtype(tensor.elem_type, where)))
        return outputs

    def _by_runtime(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        where: str,
    ) -> list[TensorInfo]:
        """Ask ONNX Runtime's own inference."""
        session = self._session(node, infos, constants, where)
        types = {o.name: o.type for o in session.get_outputs()}
        shapes = {o.name: o.shape for o in session.get_outputs()}
        wanted = [name for name in node.outputs if name]
        if all(_is_static(shapes.get(name)) and _type(types[name]) for name in wanted):
            return [
                TensorInfo(tuple(shapes[name]), _type(types[name]) or np.dtype(np.float32))
                if name
                else NO_OUTPUT
                for name in node.outputs
            ]
        if any(not types[name].startswith("tensor(") for name in wanted):
            raise PimloopError(
                f"{where} makes no tensor; sequences, maps and optional values are not supported"
            )
        raise self._depends(where, wanted[0])

    def _by_samples(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        where: str,
    ) -> list[TensorInfo]:
        output = next(name for name in node.outputs if name)
        if node.domain == FUNCTION_DOMAIN:
            raise self._depends(where, output)
        try:
            samples = [
                self._run(node, infos, {**feeds, **constants_of(node, infos, constants)}, where)
                for feeds in _samples(node, infos)
            ]
        except RefusedError:
            raise
        except PimloopError as error:
            # It has a kernel, but no sense on values that are not the user's (a step of 0), or on
            # any: its text says which.
            raise self._depends(where, output, str(error)) from error
        first, *others = [[(a.shape, a.dtype) for a in arrays] for arrays in samples]
        if any(other != first for other in others):
            raise self._depends(where, output)
        return [TensorInfo(shape, dtype) for shape, dtype in first]

    @staticmethod
    def _depends(where: str, name: str, refused: str = "") -> DataDependentError:
        return DataDependentError(
            f"{where}: the shape of '{name}' depends on the data; give the inputs with"
            " --inputs, whose values then decide, or bind dynamic axes with --seq, --axis or"
            " --shape",
            refused,
        )

    def _signature(
        self, node: Node, infos: Mapping[str, TensorInfo], constants: Mapping[str, Array]
    ) -> object:
        def describe(name: str) -> object:
            info = infos[name]
            array = constants.get(name)
            value = None if array is None or info.nbytes > INLINE_BYTES else array.tobytes()
            return (info.shape, info.dtype.name, value)

        return _use(node, describe)

    # -- one operator as a model -------------------------------------------------------------

    def model(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        *,
        inline: int = INLINE_BYTES,
    ) -> onnx.ModelProto:
        """Return a model of `node` alone; constants up to `inline` bytes keep their values."""
        read = {name: infos[name] for name in node.inputs if name}
        kept = {
            name: widened(constants[name], info.dtype)
            for name, info in read.items()
            if name in constants and info.nbytes <= inline
        }
        graph = helper.make_graph(
            [node.proto()],
            "node",
            [
                helper.make_tensor_value_info(n, i.onnx_type, list(i.shape))
                for n, i in read.items()
                if n not in kept
            ],
            [helper.make_empty_tensor_value_info(n) for n in node.outputs if n],
            [numpy_helper.from_array(a, n) for n, a in kept.items()],
        )
        opsets = [helper.make_opsetid(d, v) for d, v in self._opsets.items()]
        functions = []
        if node.domain == FUNCTION_DOMAIN:
            functions = [self.functions[node.op]]
            opsets.append(helper.make_opsetid(FUNCTION_DOMAIN, 1))
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, functions=functions
        )

    def _session(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        constants: Mapping[str, Array],
        where: str,
        *,
        inline: int = INLINE_BYTES,
    ) -> ort.InferenceSession:
        model = self.model(node, infos, constants, inline=inline)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            if self.schema(node) is None and not node.domain:
                raise RefusedError(
                    f"{where}: ONNX has no such operator in this operator set, and ONNX Runtime"
                    f" refuses it: {error}"
                ) from error
            raise RefusedError(f"{where}: ONNX Runtime refuses it: {error}") from error

    def _run(
        self,
        node: Node,
        infos: Mapping[str, TensorInfo],
        feeds: Mapping[str, Array],
        where: str,
    ) -> list[Array]:
        """Run an operator once on `feeds`, constants among them."""
        session = self._session(node, infos, feeds, where, inline=-1)
        asked = {value.name for value in session.get_inputs()}
        try:
            names = [value.name for value in session.get_outputs()]
            values = run(session, names, {n: a for n, a in feeds.items() if n in asked})
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise PimloopError(f"{where}: ONNX Runtime refuses it: {error}") from error
        results = dict(zip(names, values, strict=True))
        return [results[n] if n else np.zeros(0, np.float32) for n in node.outputs]


def _use(node: Node, describe: Callable[[str], object]) -> object:
    """Return a key of an operator: equal where type, attributes and described inputs are."""
    return (
        node.op,
        node.domain,
        repr(sorted(node.attributes.items())),
        tuple(describe(name) if name else None for name in node.inputs),
        tuple(bool(name) for name in node.outputs),
    )


def constants_of(
    node: Node, infos: Mapping[str, TensorInfo], constants: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the constants that an operator reads, in the types of their tensors."""
    return {
        name: widened(constants[name], infos[name].dtype)
        for name in node.inputs
        if name in constants
    }


def _samples(node: Node, infos: Mapping[str, TensorInfo]) -> list[dict[str, Array]]:
    """Return three sets of values for an operator's inputs: zeros, ones, and all different."""
    names = [name for name in dict.fromkeys(node.inputs) if name]
    generator = np.random.default_rng(_SEED)

    def different(info: TensorInfo) -> Array:
        return generator.permutation(info.elements).reshape(info.shape).astype(info.dtype)

    return [
        {name: np.zeros(infos[name].shape, infos[name].dtype) for name in names},
        {name: np.ones(infos[name].shape, infos[name].dtype) for name in names},
        {name: different(infos[name]) for name in names},
    ]


def _is_static(shape: Sequence[Any] | None) -> bool:
    """Return whether a shape that ONNX Runtime says is known; [] may be a scalar or an unknown."""
    return bool(shape) and all(isinstance(n, int) and n >= 0 for n in shape or ())


def _type(name: str) -> np.dtype[Any] | None:
    """Return the numpy type of what ONNX Runtime calls `tensor(float)` and so on.

    >>> _type("tensor(float)"), _type("tensor(int64)"), _type("seq(tensor(float))")
    (dtype('float32'), dtype('int64'), None)
    """
    short = {"float": "float32", "double": "float64"}
    inner = name.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype(short.get(inner, inner)) if name.startswith("tensor(") else None
    except TypeError:
        return None


def _dtype(element_type: int, where: str) -> np.dtype[Any]:
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(element_type))
    except KeyError as error:
        raise PimloopError(f"{where}: element type {element_type} is not supported") from error
