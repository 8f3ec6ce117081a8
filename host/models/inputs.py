"""Inputs of a model: read from an .npz file, or seeded random ones of the right type and range."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import ml_dtypes
import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.common.files import write_whole
from pimloop.host.models.graph import Array, Graph, TensorInfo
from pimloop.host.models.ort_values import is_plain, packed_bits

#: Limits of a floating-point type; ml_dtypes has no annotations for its class.
_FINFO: Any = ml_dtypes.finfo


def model_inputs(
    graph: Graph, values: Mapping[str, Array] | None, seed: int, where: str
) -> dict[str, Array]:
    """Return given values of the inputs, checked, or seeded random ones.

    Parameters
    ----------
    values
        As read from a file or given by a caller; None: random ones.
    where
        What the values are called in errors.

    Raises
    ------
    PimloopError
        When the values do not fit the model.
    """
    if values is None:
        return random_inputs(graph, seed)
    declared = declared_inputs(graph, values)
    check_inputs(graph, declared, where)
    return declared


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Return a value for every input: masks of ones, token ids in range, normal floats."""
    generator = np.random.default_rng(seed)
    ranges = graph.input_ranges or {}
    return {
        name: _random(name, graph.tensors[name], ranges.get(name, 2), generator)
        for name in graph.inputs
    }


def _random(name: str, info: TensorInfo, below: int, generator: np.random.Generator) -> Array:
    kind = info.dtype.kind
    if kind == "b" or "mask" in name.lower():
        # A mask hides nothing: additive ones are 0, the others 1.
        filled = np.zeros if kind == "f" else np.ones
        return filled(info.shape, info.dtype)
    if kind in "iu":
        return generator.integers(0, below, info.shape).astype(info.dtype)
    if kind == "f" or _is_float(info.dtype):
        return _signed(generator.standard_normal(info.shape), info.dtype).astype(info.dtype)
    if not is_plain(info.dtype):
        return generator.integers(0, 2, info.shape).astype(info.dtype)
    raise PimloopError(f"input '{name}' has type {info.dtype}; numbers and booleans are supported")


def _is_float(dtype: np.dtype[Any]) -> bool:
    """Return whether a type of ml_dtypes is one of floating point."""
    if is_plain(dtype):
        return False
    try:
        _FINFO(dtype)
    except ValueError:
        return False
    return True


def _signed(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return values without their signs where a type has none, as float8_e8m0fnu."""
    unsigned = not is_plain(dtype) and float(_FINFO(dtype).min) >= 0
    return np.abs(values) if unsigned else values


#: What a damaged archive raises: also for a compression or a version that zipfile lacks, a bad
#: stream, an array header of any form, and sizes that no memory holds.
_UNREADABLE = (
    OSError, ValueError, EOFError, BadZipFile, NotImplementedError, RuntimeError, KeyError,
    zlib.error, MemoryError, OverflowError, SyntaxError, struct.error, AttributeError,
)  # fmt: skip


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file by name (no pickled objects are ever loaded).

    numpy writes the types of ml_dtypes as bytes without a name; `as_declared` gives them one.

    Raises
    ------
    PimloopError
        When the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: _member(archive, name) for name in archive.files}
    except _UNREADABLE as error:
        raise PimloopError(f"inputs {path}: cannot be read as .npz: {error}") from error
    except TypeError as error:  # numpy returns a bare array for a .npy file
        raise PimloopError(f"inputs {path}: this is one array; save with numpy.savez") from error


def _member(archive: Any, name: str) -> Array:
    """Return one array of an archive, also one of the type float8_e5m2 as bytes.

    numpy writes that type as '<f1', which it refuses to read.
    """
    try:
        return np.asarray(archive[name])
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"'{name}' is an array of Python objects, and these are never unpickled; save texts"
                " with .astype(str)"
            ) from error
        if "'<f1'" not in str(error):
            raise
    data = archive.zip.read(f"{name}.npy").replace(b"'<f1'", b"'|V1'", 1)
    return np.asarray(np.lib.format.read_array(BytesIO(data), allow_pickle=False))


def as_declared(value: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array in the type that a model declares, where a file cannot say that type.

    Those are the types of ml_dtypes, which a file holds as bytes, and texts, which it holds with
    a fixed length (numpy's `<U` and, in UTF-8, `S`) and a model as objects.

    Parameters
    ----------
    value
        As read from a file.
    dtype
        Of the model's input; object of texts. Bytes are taken for a type of ml_dtypes of their
        size; those of a packed type (int4) only when each is one of its elements, which bytes of a
        float8 are not.

    Returns
    -------
    Array
        `value` itself where it has a type or can be none of `dtype`.
    """
    if dtype.kind == "O":
        return _texts(value)
    size = value.dtype.itemsize
    if value.dtype != np.dtype(f"V{size}") or is_plain(dtype) or size != dtype.itemsize:
        return value
    typed = value.view(dtype)
    if packed_bits(dtype) is not None:
        again = typed.astype(np.float32).astype(dtype)
        if again.tobytes() != value.tobytes():
            return value
    return typed


def _texts(value: Array) -> Array:
    """Return texts of a fixed length as objects; other values, and no UTF-8, as they are."""
    try:
        texts = np.char.decode(value, "utf-8") if value.dtype.kind == "S" else value
    except UnicodeDecodeError:
        return value
    return texts.astype(object) if texts.dtype.kind == "U" else value


def declared_inputs(graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """Return values of inputs in the types that the model declares (`as_declared`).

    Texts are left out: the graph has been made for them.

    Raises
    ------
    PimloopError
        When texts are others than those that the model was loaded with.
    """
    declared = {}
    for name, value in values.items():
        if name in graph.texts:
            if not np.array_equal(as_declared(value, graph.texts[name].dtype), graph.texts[name]):
                raise PimloopError(
                    f"model {graph.name}: the texts of input '{name}' are folded away when the"
                    " model is loaded, and these are others; load it with them"
                )
        elif name in graph.inputs:
            declared[name] = as_declared(value, graph.tensors[name].dtype)
        else:
            declared[name] = value
    return declared


def type_advice(value: Array, dtype: np.dtype[Any]) -> str:
    """Return what to do about an array of another type than a model takes, with a semicolon."""
    if dtype.kind == "O":
        return "; texts are read from numpy's <U and S: save the array with .astype(str)"
    if value.dtype == np.dtype(f"V{value.dtype.itemsize}"):
        return (
            "; numpy.savez writes bfloat16, float8 and int4 as bytes without their type: convert"
            f" the array with .astype({_spelt(dtype)}) before it is saved"
        )
    return f"; convert the array with .astype({_spelt(dtype)})"


def _spelt(dtype: np.dtype[Any]) -> str:
    return f"'{dtype}'" if is_plain(dtype) else f"ml_dtypes.{dtype}"


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write outputs as an .npz file; any text may be a name (`numpy.savez` keeps some for itself).

    Types of ml_dtypes are written as bytes of their size, which every numpy reads.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                plain = array if is_plain(array.dtype) else array.view(f"V{array.dtype.itemsize}")
                np.lib.format.write_array(file, np.asarray(plain), allow_pickle=False)
    write_whole(path, content.getvalue())


def check_inputs(graph: Graph, values: Mapping[str, Array], where: str) -> None:
    """Raise PimloopError unless `values` are the inputs of `graph`: names, shapes, types, range."""
    wanted = ", ".join(
        f"{n} {graph.tensors[n].dtype}{list(graph.tensors[n].shape)}" for n in graph.inputs
    )
    for name in values:
        if name not in graph.inputs:
            raise PimloopError(f"{where}: unknown input '{name}'; the model takes {wanted}")
    for name in graph.inputs:
        if name not in values:
            raise PimloopError(f"{where}: input '{name}' is missing; the model takes {wanted}")
        info, value = graph.tensors[name], values[name]
        if value.shape != info.shape or value.dtype != info.dtype:
            advice = "" if value.dtype == info.dtype else type_advice(value, info.dtype)
            raise PimloopError(
                f"{where}: input '{name}' is {value.dtype}{list(value.shape)}, the model takes"
                f" {info.dtype}{list(info.shape)}{advice}"
            )
        below = (graph.input_ranges or {}).get(name)
        # A negative index counts from the end of its table.
        if below is not None and value.size and (value.min() < -below or value.max() >= below):
            raise PimloopError(
                f"{where}: input '{name}' has values outside 0..{below - 1} and their like from"
                f" the end, {-below}..-1"
                f" ({value.min()}..{value.max()})"
            )
