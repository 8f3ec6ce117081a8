"""Any .onnx file as a graph: checked, its external data read, its dynamic axes bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, inliner, numpy_helper

from host.errors import PimloopError
from host.models.graph import Array, Graph, TensorInfo
from host.models.normalize import RawModel, normalize

#: Operator sets of the standard domain that are accepted.
OPSETS = range(11, 24)

#: The most elements an input may have (a hostile shape must not eat memory).
MAX_INPUT_ELEMENTS = 1 << 28

#: Operators through which token ids reach their table unchanged.
_ID_PATH = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Cast", "Identity", "Flatten"})


def load_onnx(
    path: Path, sequence_length: int | None, shapes: Mapping[str, tuple[int, ...]]
) -> Graph:
    """Return the graph of a file.

    Parameters
    ----------
    path
        The file; external data is read from its own folder only.
    sequence_length
        What axes named after a sequence are bound to; None: such axes are an error.
    shapes
        Shapes of inputs by name; they come before `sequence_length`.

    Raises
    ------
    PimloopError
        When the file is damaged, leaves its folder, or holds something not supported.
    """
    model = _parse(path)
    opsets = {entry.domain or "": entry.version for entry in model.opset_import}
    if "ai.onnx" in opsets:
        opsets[""] = opsets.pop("ai.onnx")
    if opsets.get("", OPSETS.start) not in OPSETS:
        raise PimloopError(
            f"{path}: operator set {opsets['']} is not supported;"
            f" {OPSETS.start} to {OPSETS.stop - 1} are"
        )
    if model.functions:
        model = inliner.inline_local_functions(model)
    if model.graph.sparse_initializer:
        raise PimloopError(f"{path}: sparse constants are not supported")
    constants = {t.name: _tensor(t, path) for t in model.graph.initializer}
    binder = _Binder(path, sequence_length, shapes)
    inputs = {
        value.name: binder.bind(value) for value in model.graph.input if value.name not in constants
    }
    binder.check_all_used(inputs)
    graph = normalize(
        RawModel(
            name=path.stem,
            nodes=list(model.graph.node),
            constants=constants,
            inputs=inputs,
            outputs=tuple(value.name for value in model.graph.output),
            opsets=opsets,
            sequence_length=binder.sequence_length,
        )
    )
    return replace(graph, input_ranges=_id_ranges(graph))


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise PimloopError(f"cannot read {path}: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        raise PimloopError(f"{path} is damaged or no ONNX file: {error}") from error
    if not model.graph.node or not model.graph.output:
        raise PimloopError(f"{path} is damaged or no ONNX model: it has no operators or no outputs")
    return model


class _Binder:
    """Gives every axis of every input a length."""

    def __init__(
        self, path: Path, sequence_length: int | None, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._path = path
        self._length = sequence_length
        self._shapes = shapes
        self._length_used = False

    @property
    def sequence_length(self) -> int | None:
        """The sequence length, when an axis was bound to it."""
        return self._length if self._length_used else None

    def bind(self, value: onnx.ValueInfoProto) -> TensorInfo:
        where = f"{self._path}: input '{value.name}'"
        if value.type.WhichOneof("value") != "tensor_type":
            raise PimloopError(f"{where} is no tensor; sequences and maps are not supported")
        tensor = value.type.tensor_type
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except KeyError as error:
            raise PimloopError(f"{where} has the unknown type {tensor.elem_type}") from error
        if not tensor.HasField("shape") and value.name not in self._shapes:
            raise PimloopError(f"{where} has no shape; give --shape {value.name}=...")
        dims = list(tensor.shape.dim)
        given = self._shapes.get(value.name)
        if given is not None:
            fits = len(given) == len(dims) and all(
                not d.HasField("dim_value") or d.dim_value == g
                for d, g in zip(dims, given, strict=True)
            )
            if tensor.HasField("shape") and not fits:
                raise PimloopError(
                    f"{where}: the shape {list(given)} does not fit {_describe(dims)}"
                )
            shape = given
        else:
            shape = tuple(self._axis(where, value.name, i, dims) for i in range(len(dims)))
        if any(n < 0 for n in shape) or prod(shape) > MAX_INPUT_ELEMENTS:
            raise PimloopError(
                f"{where} has the shape {list(shape)}; at most {MAX_INPUT_ELEMENTS} elements are"
                " supported"
            )
        return TensorInfo(shape, dtype)

    def _axis(self, where: str, name: str, index: int, dims: list[Any]) -> int:
        dim = dims[index]
        if dim.HasField("dim_value"):
            return int(dim.dim_value)
        label = dim.dim_param.lower()
        if "batch" in label or (index == 0 and not label):
            return 1
        if self._length is not None and ("seq" in label or "length" in label or not label):
            self._length_used = True
            return self._length
        raise PimloopError(
            f"{where}: axis {index} ({dim.dim_param or 'unnamed'}) of {_describe(dims)} is"
            f" dynamic; bind it with --seq N or --shape {name}=..."
        )

    def check_all_used(self, inputs: Mapping[str, TensorInfo]) -> None:
        for name in self._shapes:
            if name not in inputs:
                raise PimloopError(
                    f"{self._path} has no input '{name}'; its inputs: {', '.join(inputs)}"
                )


def _describe(dims: list[Any]) -> str:
    parts = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
    return f"[{', '.join(parts)}]"


def _tensor(tensor: TensorProto, path: Path) -> Array:
    where = f"{path}: constant '{tensor.name}'"
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except KeyError as error:
        raise PimloopError(f"{where} has the unknown type {tensor.data_type}") from error
    shape = tuple(tensor.dims)
    if any(n < 0 for n in shape):
        raise PimloopError(f"{where} has the shape {list(shape)}")
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, dtype, shape, path, where)
    if tensor.HasField("raw_data") and dtype.kind != "O":
        # Types narrower than a byte are packed; to_array knows them.
        size = prod(shape) * dtype.itemsize
        if dtype.kind in "fiub" and len(tensor.raw_data) != size:
            raise PimloopError(
                f"{where} is truncated: {list(shape)} of {dtype} takes {size} bytes, it has"
                f" {len(tensor.raw_data)}"
            )
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise PimloopError(f"{where} is damaged: {error}") from error


def _external(
    tensor: TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...], path: Path, where: str
) -> Array:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    place = entries.get("location", "")
    folder = path.resolve().parent
    file = (folder / place).resolve()
    if not place or Path(place).is_absolute() or not file.is_relative_to(folder):
        raise PimloopError(f"{where}: its data lies at '{place}', outside the model's folder")
    size = prod(shape) * dtype.itemsize
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
            f"{where}: {list(shape)} of {dtype} takes {size} bytes, its data is {length} bytes at"
            f" {offset} of {available} in {file.name}"
        )
    if size == 0:
        return np.zeros(shape, dtype)
    data = np.memmap(file, np.uint8, mode="r", offset=offset, shape=(size,))
    return np.array(data).view(dtype).reshape(shape)


def _id_ranges(graph: Graph) -> dict[str, int]:
    """Return the exclusive bound of the integer inputs that index a constant table."""
    return {
        name: below
        for name in graph.inputs
        if graph.tensors[name].dtype.kind in "iu" and (below := _table_rows(graph, name))
    }


def _table_rows(graph: Graph, name: str) -> int | None:
    """Return the rows of the smallest table that the values of `name` index."""
    rows: list[int] = []
    waiting = [name]
    while waiting:
        tensor = waiting.pop()
        for node in graph.consumers.get(tensor, ()):
            if node.op in _ID_PATH and node.inputs[0] == tensor:
                waiting.append(node.outputs[0])
            elif node.op == "Gather" and node.inputs[1] == tensor and node.inputs[0] != tensor:
                rows.append(graph.tensors[node.inputs[0]].shape[node.attributes.get("axis", 0)])
    return min(rows, default=None)
