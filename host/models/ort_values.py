"""Tensors of every element type between numpy and ONNX Runtime.

ONNX Runtime takes the types that numpy has by its own names. Those of ml_dtypes go in and out by
their bytes; of the packed ones a byte holds several elements, where ml_dtypes has a byte for each.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pimloop.host.models.graph import Array
from pimloop.host.models.stored import in_one_piece

#: Element types of which one byte holds several: bits of an element.
PACKED_BITS: dict[int, int] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    **({TensorProto.INT2: 2, TensorProto.UINT2: 2} if hasattr(TensorProto, "INT2") else {}),
}

_TEXT_KINDS = "OUS"


def is_plain(dtype: np.dtype[Any]) -> bool:
    """Return whether a type is numpy's own, not one that ml_dtypes adds.

    >>> import ml_dtypes
    >>> [is_plain(np.dtype(t)) for t in (np.float32, ml_dtypes.bfloat16, ml_dtypes.int4)]
    [True, False, False]
    """
    return dtype.isbuiltin != 2


def packed_bits(dtype: np.dtype[Any]) -> int | None:
    """Return the bits of an element of a packed type; None of the others."""
    return None if is_plain(dtype) else PACKED_BITS.get(_number(dtype))


def pack(array: Array) -> NDArray[np.uint8]:
    """Return the bytes that hold an array of a packed type."""
    return np.frombuffer(numpy_helper.from_array(array).raw_data, np.uint8)


def unpack(data: bytes, element_type: int, shape: Sequence[int]) -> Array:
    """Return the array of a packed type that some bytes hold."""
    return numpy_helper.to_array(TensorProto(data_type=element_type, dims=shape, raw_data=data))


def to_runtime(array: Array) -> ort.OrtValue:
    """Return ONNX Runtime's value of an array; the memory is shared unless the type is packed.

    Errors are ONNX Runtime's own (of no common class); texts have no such value.
    """
    array = in_one_piece(array)
    if is_plain(array.dtype):
        return ort.OrtValue.ortvalue_from_numpy(array)
    if packed_bits(array.dtype) is None:
        number = _number(array.dtype)
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, number)
    value = empty_packed(array.dtype, array.shape)
    packed_memory(value)[:] = pack(array)
    return value


def empty_packed(dtype: np.dtype[Any], shape: Sequence[int]) -> ort.OrtValue:
    """Return a value of a packed type, zeros, in memory of ONNX Runtime's own."""
    value = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), _number(dtype))
    packed_memory(value)[:] = 0
    return value


def packed_memory(value: ort.OrtValue) -> NDArray[np.uint8]:
    """Return the bytes of a value, without a copy; they live as long as it does."""
    size = value.tensor_size_in_bytes()
    if not size:
        return np.zeros(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(value.data_ptr()))


def from_runtime(value: ort.OrtValue) -> Array:
    """Return a copy of a tensor of ONNX Runtime as an array.

    Raises
    ------
    TypeError
        When it is no tensor, or an optional one without a value.
    """
    if not value.has_value() or not value.is_tensor():
        raise TypeError(f"a result is no tensor: {value.data_type()}")
    number, shape = value.element_type(), tuple(value.shape())
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    if is_plain(dtype):
        return np.asarray(value.numpy())
    data = packed_memory(value).tobytes()
    if number in PACKED_BITS:
        return unpack(data, number, shape)
    return np.frombuffer(data, dtype, prod(shape)).reshape(shape).copy()


def run(
    session: ort.InferenceSession, names: Sequence[str], feeds: Mapping[str, Array]
) -> list[Array]:
    """Run a session once; return the tensors `names`.

    Errors are ONNX Runtime's own (of no common class), and TypeError as of `from_runtime`.
    """
    if any(array.dtype.kind in _TEXT_KINDS for array in feeds.values()):
        return [np.asarray(value) for value in session.run(list(names), dict(feeds))]
    values = {name: to_runtime(array) for name, array in feeds.items()}
    return [from_runtime(value) for value in session.run_with_ort_values(list(names), values)]


def _number(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))
