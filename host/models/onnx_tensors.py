"""Constants of an .onnx file as arrays: every element type, data inside the file or beside it.

Data beside the file is read from the model's own folder only, and every size is checked against
what is there before anything is allocated. Neighbours: `onnx_file` loads the rest of a file.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pimloop.errors import PimloopError
from pimloop.host.models.graph import MAX_AXES, Array
from pimloop.host.models.ort_values import PACKED_BITS, unpack
from pimloop.partitioner.quantity import quantity

#: What a tensor attribute of a node is called in messages when it has no name of its own.
_UNNAMED = "unnamed"


def read_tensor(tensor: TensorProto, path: Path, role: str = "constant") -> Array:
    """Return the value of a tensor of a file.

    Parameters
    ----------
    tensor
        As the file holds it.
    path
        The file; external data lies in its folder or below.
    role
        What the tensor is, for messages.

    Returns
    -------
    Array
        In the tensor's shape; types without a numpy type of their own have one of ml_dtypes.

    Raises
    ------
    PimloopError
        When its type is unknown, its size is not what its shape needs, or its external data
        lies outside the folder or cannot be read.
    """
    dtype, where = _checked(tensor, path, role)
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, dtype, tuple(tensor.dims), path, where)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError, UnicodeDecodeError) as error:
        raise PimloopError(f"{where} is damaged: {error}") from error


def check_tensor(tensor: TensorProto, path: Path, role: str = "constant") -> None:
    """Check type, shape and stored bytes of a tensor that is decoded later.

    Raises
    ------
    PimloopError
        When its type is unknown, or its size is not what its shape needs.
    """
    _checked(tensor, path, role)


def _checked(tensor: TensorProto, path: Path, role: str) -> tuple[np.dtype[Any], str]:
    """Return the type of a tensor and what messages call it."""
    where = f"{path}: {role} '{tensor.name or _UNNAMED}'"
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except KeyError as error:
        raise PimloopError(f"{where} has the unknown type {tensor.data_type}") from error
    shape = tuple(tensor.dims)
    if len(tensor.dims) > MAX_AXES:
        raise PimloopError(f"{where} has {len(tensor.dims)} axes; at most {MAX_AXES} are supported")
    if any(n < 0 for n in shape):
        raise PimloopError(f"{where} has the shape {list(shape)}")
    inside = tensor.data_location != TensorProto.EXTERNAL
    if inside and tensor.HasField("raw_data") and dtype.kind != "O":
        size = _stored_bytes(tensor.data_type, dtype, shape)
        if len(tensor.raw_data) != size:
            fault = "truncated" if len(tensor.raw_data) < size else "damaged"
            raise PimloopError(
                f"{where} is {fault}: {list(shape)} of {dtype} takes {quantity(size, 'byte')},"
                f" it has {quantity(len(tensor.raw_data), 'byte')}"
            )
    return dtype, where


def embed(tensor: TensorProto, path: Path, role: str = "constant") -> None:
    """Read the external data of a tensor, if it has any, into it, in place.

    Raises
    ------
    PimloopError
        As `read_tensor`.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor.CopyFrom(numpy_helper.from_array(read_tensor(tensor, path, role), tensor.name))


def _stored_bytes(element_type: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the bytes that a file holds a tensor in.

    >>> _stored_bytes(TensorProto.INT4, np.dtype(np.int8), (3, 5))
    8
    """
    bits = PACKED_BITS.get(element_type)
    return prod(shape) * dtype.itemsize if bits is None else -(-prod(shape) * bits // 8)


def _external(
    tensor: TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...], path: Path, where: str
) -> Array:
    if dtype.kind == "O":
        raise PimloopError(f"{where}: texts cannot be external data")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = _external_file(entries.get("location", ""), path, where)
    size = _stored_bytes(tensor.data_type, dtype, shape)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size))
        available = file.stat().st_size
    except ValueError as error:
        raise PimloopError(f"{where}: offset and length must be whole numbers") from error
    except OSError as error:
        raise PimloopError(f"{where}: cannot read its data {file}: {error.strerror}") from error
    if length != size or offset < 0 or offset + size > available:
        raise PimloopError(
            f"{where}: {list(shape)} of {dtype} takes {quantity(size, 'byte')}, its data is"
            f" {quantity(length, 'byte')} at {offset} of {available} in {file.name}"
        )
    if size == 0:
        return np.zeros(shape, dtype)
    try:
        data = np.array(np.memmap(file, np.uint8, mode="r", offset=offset, shape=(size,)))
    except (OSError, ValueError) as error:
        raise PimloopError(f"{where}: cannot read its data {file}: {error}") from error
    if tensor.data_type in PACKED_BITS:
        return unpack(data.tobytes(), tensor.data_type, shape)
    return data.view(dtype).reshape(shape)


def _external_file(place: str, path: Path, where: str) -> Path:
    """Return the file of a tensor's external data: a regular one in the model's folder."""
    folder = path.resolve().parent
    outside = PimloopError(f"{where}: its data lies at {place!r}, outside the model's folder")
    if not place or "\0" in place or Path(place).is_absolute():
        raise outside
    try:
        file = (folder / place).resolve()
        inside = file.is_relative_to(folder)
        exists, regular = file.exists(), file.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a loop of links
        raise PimloopError(f"{where}: its data {place!r} cannot be found: {error}") from error
    if not inside:
        raise outside
    if exists and not regular:
        raise PimloopError(f"{where}: its data {file} is no file")
    return file
