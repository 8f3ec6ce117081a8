"""The types that a graph of an .onnx file declares for the results of its operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from pimloop.errors import PimloopError


def declared_types(graph: onnx.GraphProto, where: str) -> dict[str, np.dtype[Any] | None]:
    """Return the types that a graph declares for results; None of what is declared no tensor.

    As in ONNX Runtime the declarations of outputs count first, then the last one of a name.

    Raises
    ------
    PimloopError
        When a type is unknown.
    """
    made = {name for node in graph.node for name in node.output}
    declared: dict[str, np.dtype[Any] | None] = {}
    for value in (*graph.value_info, *graph.output):
        kind = value.type.WhichOneof("value")
        if kind is None or value.name not in made:
            continue
        declared[value.name] = None
        if kind == "tensor_type":
            number = value.type.tensor_type.elem_type
            try:
                declared[value.name] = np.dtype(helper.tensor_dtype_to_np_dtype(number))
            except KeyError as error:
                raise PimloopError(
                    f"{where}: '{value.name}' is declared with the unknown type {number}"
                ) from error
    return declared
