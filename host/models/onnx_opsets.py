"""The operator set of an .onnx file, brought to one that ONNX Runtime executes.

Neighbours: `onnx_file` loads the rest of a file, `alternatives` knows ONNX's definitions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import inliner, version_converter

from pimloop.errors import PimloopError
from pimloop.host.models.alternatives import fill_defaults, is_defined
from pimloop.host.models.inference import OLDEST_OPSET, schema_of
from pimloop.host.models.onnx_order import all_nodes

#: Operator sets of the standard domain that ONNX Runtime executes; others are converted.
OPSETS = range(OLDEST_OPSET, 28)


def opsets_of(model: onnx.ModelProto | onnx.FunctionProto) -> dict[str, int]:
    """Return the version of each domain's operator set that a model or a function names."""
    opsets = {entry.domain or "": entry.version for entry in model.opset_import}
    if "ai.onnx" in opsets:
        opsets[""] = opsets.pop("ai.onnx")
    return opsets


def to_known_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the model in an operator set that ONNX Runtime executes."""
    version = opsets_of(model).get("", OPSETS.start)
    if version in OPSETS:
        return model
    target = OPSETS.start if version < OPSETS.start else OPSETS.stop - 1
    refused = f"{path}: operator set {version} is not supported; {OPSETS.start} to"
    refused += f" {OPSETS.stop - 1} are"
    if not 1 <= version <= onnx.defs.onnx_opset_version():
        raise PimloopError(refused)
    try:
        if version > target:
            model = inliner.inline_selected_functions(
                model, _defined_after(model, version, target), inline_schema_functions=True
            )
            if _is_as_old(model, version, target):
                return _relabelled(model, target)
        return version_converter.convert_version(model, target)
    except (
        RuntimeError,
        version_converter.ConvertError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise PimloopError(f"{refused}, and converting it fails: {error}") from error


def _defined_after(model: onnx.ModelProto, version: int, target: int) -> list[tuple[str, str]]:
    """Return the operators that are newer than `target` and that ONNX defines by others.

    Their nodes are given the attributes that they leave out.
    """
    defined = {}
    for node, schema in _newer(model, version, target):
        if is_defined(schema):
            defined[node.op_type] = ("", node.op_type)
            fill_defaults(node, schema)
    return list(defined.values())


def _is_as_old(model: onnx.ModelProto, version: int, target: int) -> bool:
    """Return whether the operators of a model have got nothing since `target` but more types."""
    return all(
        form_of(schema) == form_of(schema_of(node, {"": target}))
        for node, schema in _newer(model, version, target)
    )


def _relabelled(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    for imports in (model.opset_import, *(f.opset_import for f in model.functions)):
        for entry in imports:
            if entry.domain in ("", "ai.onnx"):
                entry.version = min(entry.version, target)
    return model


def _newer(
    model: onnx.ModelProto, version: int, target: int
) -> Iterator[tuple[onnx.NodeProto, Any]]:
    """Yield the standard operators of a model that have changed since `target`."""
    inside = [node for function in model.functions for node in function.node]
    for node in all_nodes([*model.graph.node, *inside]):
        standard = node.domain in ("", "ai.onnx")
        schema = schema_of(node, {"": version}) if standard else None
        if schema is not None and schema.since_version > target:
            yield node, schema


def form_of(schema: Any) -> object:
    """Return all that a schema says but the types of its tensors; None of no schema."""
    if schema is None:
        return None
    attributes = {n: a.default_value.SerializeToString() for n, a in schema.attributes.items()}
    ports = [(port.name, port.option) for port in (*schema.inputs, *schema.outputs)]
    return attributes, ports
