"""Any .onnx file as a graph: checked, its external data read, its dynamic axes bound.

Neighbours: `onnx_shapes` binds axes, `onnx_constants` reads constants, `onnx_functions` writes out
local functions, `onnx_order` sorts, `normalize` does the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from pimloop.errors import PimloopError
from pimloop.host.models.decompose import Choice
from pimloop.host.models.graph import Array, Graph, TensorInfo
from pimloop.host.models.inputs import as_declared
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.models.onnx_constants import read_constants
from pimloop.host.models.onnx_functions import inline_functions
from pimloop.host.models.onnx_opsets import opsets_of, to_known_opset
from pimloop.host.models.onnx_order import in_order
from pimloop.host.models.onnx_shapes import AxisOptions, bind_inputs
from pimloop.host.models.onnx_types import declared_types

#: Operators through which token ids reach their table unchanged.
_ID_PATH = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Cast", "Identity", "Flatten"})


def load_onnx(
    path: Path,
    axes: AxisOptions | None = None,
    choice: Choice | None = None,
    quantize: str | None = None,
) -> Graph:
    """Return the graph of a file.

    Parameters
    ----------
    path
        The file; external data is read from its own folder only.
    axes
        What the axes of its inputs are bound to. An initializer that is an input too becomes one
        when a value is given for it, and is a constant otherwise.
    choice
        Which fused operators are decomposed.
    quantize
        The kind of integer weights that products get; None: floats, as they are or unpacked.

    Raises
    ------
    PimloopError
        When the file is damaged, leaves its folder, or holds something not supported.
    """
    try:
        return _load(path, axes or AxisOptions(), choice or Choice(), quantize)
    except UnicodeDecodeError as error:
        raise PimloopError(f"{path} is damaged: a name in it is no UTF-8 text: {error}") from error
    except RecursionError as error:
        raise PimloopError(f"{path}: its graphs are nested too deeply") from error


def _load(path: Path, axes: AxisOptions, choice: Choice, quantize: str | None) -> Graph:
    model = to_known_opset(_parse(path), path)
    opsets = opsets_of(model)
    model = inline_functions(model, path)
    constants, nodes = read_constants(model.graph, axes.given.keys(), path)
    held = {tensor.name for tensor in model.graph.initializer} | constants.keys()
    bound = bind_inputs(_inputs(model.graph, held - axes.given.keys(), path), axes, path)
    texts = _texts_given(bound.inputs, axes.given, path)
    inputs = {name: info for name, info in bound.inputs.items() if name not in texts}
    # ONNX Runtime returns an output that is listed twice twice, by one name.
    outputs = tuple(dict.fromkeys(value.name for value in model.graph.output))
    if not all(outputs):
        raise PimloopError(f"{path}: one of its outputs has no name")
    graph = normalize(
        RawModel(
            name=path.stem,
            nodes=in_order(nodes, held | bound.inputs.keys(), str(path)),
            constants={**constants, **texts},
            inputs=inputs,
            outputs=outputs,
            opsets=opsets,
            sequence_length=bound.sequence_length,
            choice=choice,
            quantize=quantize,
            given={
                name: as_declared(axes.given[name], info.dtype)
                for name, info in inputs.items()
                if name in axes.given
            },
            check_operators=True,
            declared=declared_types(model.graph, str(path)),
        )
    )
    _refuse_texts(graph)
    return replace(graph, input_ranges=_id_ranges(graph), texts=texts)


def _texts_given(
    inputs: Mapping[str, TensorInfo], given: Mapping[str, Array], path: Path
) -> dict[str, Array]:
    """Return the values of the inputs that take texts."""
    texts = {}
    for name, info in inputs.items():
        if info.dtype.kind != "O":
            continue
        if name not in given:
            raise PimloopError(
                f"{path}: input '{name}' takes texts; what is made of them is computed when the"
                " model is loaded, so give them with --inputs, as numpy's <U or S"
            )
        texts[name] = as_declared(given[name], info.dtype)
    return texts


def _refuse_texts(graph: Graph) -> None:
    """Refuse texts that would have to be made while the model runs, or be returned."""
    rule = "numbers and booleans are executed and returned, texts are folded away where they can be"
    for node in graph.nodes:
        for name in node.outputs:
            if name and graph.tensors[name].dtype.kind == "O":
                raise PimloopError(
                    f"node '{node.id}' ({node.op}) of model {graph.name} makes the texts '{name}';"
                    f" {rule}"
                )
    for name in graph.outputs:
        if graph.tensors[name].dtype.kind == "O":
            raise PimloopError(f"model {graph.name} returns the texts '{name}'; {rule}")


def _inputs(
    graph: onnx.GraphProto, constants: Collection[str], path: Path
) -> list[onnx.ValueInfoProto]:
    """Return the inputs of a graph that are no constants."""
    inputs = [value for value in graph.input if value.name not in constants]
    for name, count in Counter(value.name for value in inputs).items():
        if count > 1:
            raise PimloopError(f"{path}: {count} of its inputs are called '{name}'")
    return inputs


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise PimloopError(f"cannot read {path}: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        raise PimloopError(f"{path} is damaged or no ONNX file: {error}") from error
    for text in _texts(model):
        if isinstance(text, bytes):  # what protobuf gives for a string that it cannot decode
            raise PimloopError(f"{path} is damaged: a name in it is no utf-8 text: {text!r}")
    if not model.graph.output:
        raise PimloopError(f"{path} is damaged or no ONNX model: it has no outputs")
    return model


def _texts(message: Message) -> Iterator[str | bytes]:
    """Yield every string in a message and in those within it."""
    for entry, value in message.ListFields():
        if entry.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        for single in value if entry.is_repeated else [value]:
            if entry.type == FieldDescriptor.TYPE_STRING:
                yield single
            else:
                yield from _texts(single)


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
