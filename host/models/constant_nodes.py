"""Values of Constant operators, those of sparse tensors made dense.

Neighbours: `onnx_constants` reads what a file holds apart from its operators, `normalize` folds.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pimloop.errors import PimloopError
from pimloop.host.models.graph import Array
from pimloop.partitioner.quantity import quantity

#: The types of the forms of a constant that are no tensors.
_KINDS: dict[str, Any] = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_string": object,
    "value_strings": object,
}


def constant_value(proto: onnx.NodeProto, where: str) -> Array:
    """Return the value of a Constant operator; a sparse one dense, however large that is.

    Raises
    ------
    PimloopError
        When it has not one attribute, of a form that ONNX knows.
    """
    if len(proto.attribute) != 1:
        raise PimloopError(
            f"{where} is malformed: it has {quantity(len(proto.attribute), 'attribute')}, its"
            " value is one"
        )
    attribute = proto.attribute[0]
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SparseTensorProto):
        return dense(value, where)
    if attribute.name not in _KINDS:
        raise PimloopError(f"{where}: the form {attribute.name} is not supported")
    return np.array(value, dtype=_KINDS[attribute.name])


def dense_elements(proto: onnx.NodeProto) -> int:
    """Return the elements that the sparse value of a Constant operator has; 0 of another form."""
    sparse = (a.sparse_tensor for a in proto.attribute if a.HasField("sparse_tensor"))
    return sum(prod(max(length, 0) for length in value.dims) for value in sparse)


def sparse_constant(sparse: onnx.SparseTensorProto) -> onnx.NodeProto:
    """Return a sparse constant of a graph as an operator that makes it."""
    name = sparse.values.name
    return helper.make_node("Constant", [], [name], name=name, sparse_value=sparse)


def dense(sparse: onnx.SparseTensorProto, where: str) -> Array:
    """Return a sparse tensor as an array; of elements given twice the last counts.

    Raises
    ------
    PimloopError
        When its indices are not one for each value, or lie outside its shape.
    """
    shape = tuple(sparse.dims)
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    if any(length < 0 for length in shape):
        raise PimloopError(f"{where}: its sparse value has the shape {list(shape)}")
    flat = indices.size == values.size and indices.ndim == 1
    if indices.dtype.kind != "i" or not (flat or indices.shape == (values.size, len(shape))):
        raise PimloopError(
            f"{where}: its sparse value has {quantity(values.size, 'element')}, but indices"
            f" {indices.dtype}{list(indices.shape)}; right are [{values.size}] or"
            f" [{values.size}, {len(shape)}] integers"
        )
    bounds = np.array([prod(shape)] if flat else shape, np.int64)
    places = indices.reshape(values.size, bounds.size).astype(np.int64)
    outside = ((places < 0) | (places >= bounds)).any(axis=1)
    if outside.any():
        raise PimloopError(
            f"{where}: its sparse value has the index {places[outside][0].tolist()}, outside its"
            f" shape {list(shape)}"
        )
    result = np.full(shape, "" if values.dtype.kind == "O" else 0, values.dtype)
    at = places[:, 0] if flat else np.ravel_multi_index(tuple(places.T), shape)
    result.reshape(-1)[at] = values.reshape(-1)
    return result


def is_constant(proto: onnx.NodeProto) -> bool:
    """Return whether an operator is a standard Constant."""
    return proto.op_type == "Constant" and proto.domain in ("", "ai.onnx")


def attribute_tensors(attribute: onnx.AttributeProto) -> list[TensorProto]:
    """Return the tensors in an attribute, those that a sparse one consists of included."""
    sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    return [
        *([attribute.t] if attribute.HasField("t") else []),
        *attribute.tensors,
        *(part for s in (*sparse, *attribute.sparse_tensors) for part in (s.values, s.indices)),
    ]
