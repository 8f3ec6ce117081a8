"""Other operators in the place of one that ONNX Runtime refuses.

Its definition by ONNX, where there is one: operators of which the schema has a function. Else the
same operator in a wider type, between casts: every value of the narrow type is one of the wide, so
a result is that of the narrow type rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, inliner

from pimloop.errors import PimloopError
from pimloop.host.models.control_flow import Expansion, written_out
from pimloop.host.models.graph import FUNCTION_DOMAIN, Array, Node, TensorInfo
from pimloop.host.models.inference import Inference

#: Wider types of a type, in the order in which they are tried.
_WIDER: Mapping[np.dtype[Any], tuple[type[np.generic], ...]] = {
    np.dtype(ml_dtypes.bfloat16): (np.float32,),
    np.dtype(np.float16): (np.float32,),
    np.dtype(np.int8): (np.int32,),
    np.dtype(np.int16): (np.int32,),
    np.dtype(np.uint8): (np.uint32, np.int32),
    np.dtype(np.uint16): (np.uint32, np.int32),
    np.dtype(np.uint32): (np.uint64, np.int64),
}

#: Domain of definitions while they are written out.
_DEFINITIONS = "pimloop.definition"

#: Operators whose result is about the type of an operand, not its value.
_ABOUT_TYPES = frozenset({"BitCast", "CastLike", "QuantizeLinear", "DequantizeLinear"})


def alternative(
    node: Node,
    infos: Mapping[str, TensorInfo],
    constants: Mapping[str, Array],
    inference: Inference,
    prefix: str,
) -> Expansion | None:
    """Return what stands for an operator; None when there is nothing.

    Parameters
    ----------
    node
        Refused by ONNX Runtime.
    infos, constants
        What is known of its inputs, and of others.
    inference
        Of the model.
    prefix
        What the names of the new tensors begin with; unique in the model.
    """
    if node.domain == FUNCTION_DOMAIN:
        return None
    made = by_definition(node, infos, constants, inference, prefix)
    return made or _wider(node, infos, constants, inference, prefix)


def by_definition(
    node: Node,
    infos: Mapping[str, TensorInfo],
    constants: Mapping[str, Array],
    inference: Inference,
    prefix: str,
) -> Expansion | None:
    """Return the operators by which ONNX defines `node`; None where it has no such definition."""
    schema = inference.schema(node)
    if not is_defined(schema):
        return None
    model = inference.model(node, infos, constants)
    proto = model.graph.node[0]
    fill_defaults(proto, schema)
    try:
        if schema.has_context_dependent_function:
            # Not by the inliner, which cannot do without the type of an input that is left out.
            model.functions.append(_definition(model, schema, infos))
            model.opset_import.append(helper.make_opsetid(_DEFINITIONS, 1))
            proto.domain = _DEFINITIONS
            whole = inliner.inline_local_functions(model)
        else:
            whole = inliner.inline_selected_functions(
                model, [(node.domain, node.op)], inline_schema_functions=True
            )
    except Exception:  # the binding raises its own types; then there is no definition for this use
        return None
    left = {(node.domain, node.op), (_DEFINITIONS, node.op)}
    if any((inner.domain, inner.op_type) in left for inner in whole.graph.node):
        return None
    made = written_out(whole.graph, prefix)
    results = iter(made.results)
    made.results = [next(results) if name else "" for name in node.outputs]
    return made


def _definition(
    model: onnx.ModelProto, schema: Any, infos: Mapping[str, TensorInfo]
) -> onnx.FunctionProto:
    """Return the function by which ONNX defines the operator of `model` on inputs of these types.

    A definition holds until there is a newer one, so it is one of the model's operator sets.
    """
    proto = model.graph.node[0]
    types = [
        helper.make_tensor_type_proto(infos[n].onnx_type, infos[n].shape) if n else onnx.TypeProto()
        for n in proto.input
    ]
    here = next(entry.version for entry in model.opset_import if entry.domain == schema.domain)
    data = schema.get_context_dependent_function_with_opset_version(
        max(v for v in schema.context_dependent_function_opset_versions if v <= here),
        proto.SerializeToString(),
        [kind.SerializeToString() for kind in types],
    )
    function = onnx.FunctionProto()
    function.ParseFromString(data)
    function.domain = _DEFINITIONS
    del function.opset_import[:]
    function.opset_import.extend(model.opset_import)
    return function


def is_defined(schema: Any) -> bool:
    """Return whether ONNX defines an operator by others; `schema` may be None."""
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def fill_defaults(node: onnx.NodeProto, schema: Any) -> None:
    """Give a node the attributes that it leaves out, which ONNX's inliner does without."""
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            node.attribute.append(attribute.default_value)


def _wider(
    node: Node,
    infos: Mapping[str, TensorInfo],
    constants: Mapping[str, Array],
    inference: Inference,
    prefix: str,
) -> Expansion | None:
    if node.op in _ABOUT_TYPES or inference.schema(node) is None:
        return None
    narrow = {infos[name].dtype for name in node.inputs if name} & _WIDER.keys()
    for wide in _choices(narrow):
        wider = Node(
            id=f"{prefix}{node.op}",
            op=node.op,
            domain=node.domain,
            inputs=tuple(_wide_name(prefix, n, infos, wide) for n in node.inputs),
            outputs=tuple(f"{prefix}out{i}" if n else "" for i, n in enumerate(node.outputs)),
            attributes=node.attributes,
        )
        seen = {
            new: TensorInfo(infos[n].shape, wide.get(infos[n].dtype, infos[n].dtype))
            for n, new in zip(node.inputs, wider.inputs, strict=True)
            if n
        }
        try:
            original = inference.infer(node, infos, constants, node.id)
            results = inference.infer(wider, seen, constants, node.id)
            inference.check(wider, seen, constants, node.id)
        except PimloopError:
            continue
        made = Expansion()
        for name, new in dict(zip(node.inputs, wider.inputs, strict=True)).items():
            if name != new:
                made.nodes.append(_cast(name, new, seen[new].dtype))
        made.nodes.append(wider.proto())
        for name, before, after in zip(wider.outputs, original, results, strict=True):
            if name and before.dtype != after.dtype:
                made.nodes.append(_cast(name, f"{name}/narrow", before.dtype))
                made.results.append(f"{name}/narrow")
            else:
                made.results.append(name)
        return made
    return None


def _choices(narrow: set[np.dtype[Any]]) -> Iterator[dict[np.dtype[Any], np.dtype[Any]]]:
    """Yield the ways to give each narrow type a wider one."""
    for place in range(max((len(_WIDER[dtype]) for dtype in narrow), default=0)):
        yield {
            dtype: np.dtype(_WIDER[dtype][min(place, len(_WIDER[dtype]) - 1)]) for dtype in narrow
        }


def _wide_name(
    prefix: str,
    name: str,
    infos: Mapping[str, TensorInfo],
    wide: Mapping[np.dtype[Any], np.dtype[Any]],
) -> str:
    return f"{prefix}{name}" if name and infos[name].dtype in wide else name


def _cast(name: str, result: str, dtype: np.dtype[Any]) -> onnx.NodeProto:
    to = helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_node("Cast", [name], [result], name=f"{result}/Cast", to=to)
