"""Weights of integer products in the type of the activations.

On x86 without VNNI instructions, ONNX Runtime multiplies uint8 by int8 in pairs whose sum saturates
at 16 bits: `255 * 127 + 255 * 127` becomes 32767, and the result is another than on a CPU that has
them. Two operands of one type are multiplied exactly everywhere. Moving a weight and its zero point
by 128 changes its type and not the product, so the same file gives the same bits on every CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pimloop.host.models.decompose.registry import CONTRIB
from pimloop.host.models.graph import Array, Node, TensorInfo


@dataclass(frozen=True)
class _Operands:
    """Positions of inputs of an operator; `left` is None where it quantizes to uint8 itself."""

    left: int | None
    weight: int
    zero: int


_OPERANDS: Mapping[tuple[str, str], _Operands] = {
    ("", "MatMulInteger"): _Operands(0, 1, 3),
    ("", "ConvInteger"): _Operands(0, 1, 3),
    ("", "QLinearMatMul"): _Operands(0, 3, 5),
    ("", "QLinearConv"): _Operands(0, 3, 5),
    (CONTRIB, "QLinearConv"): _Operands(0, 3, 5),
    (CONTRIB, "QGemm"): _Operands(0, 3, 5),
    (CONTRIB, "MatMulIntegerToFloat"): _Operands(0, 1, 5),
    (CONTRIB, "DynamicQuantizeMatMul"): _Operands(None, 1, 3),
    (CONTRIB, "QAttention"): _Operands(0, 1, 7),
}


def with_weights_of_one_type(
    node: Node, infos: Mapping[str, TensorInfo], constants: Mapping[str, Array]
) -> tuple[Node, dict[str, Array]]:
    """Return the operator with its constant weights in the activations' type, and new constants.

    The operator itself, and none, where both have one type already, where it is no integer product,
    or where the weights or their zero point are known only when the model runs.

    Parameters
    ----------
    node
        Any operator.
    infos
        Of its inputs.
    constants
        The model's, by name.
    """
    operands = _OPERANDS.get((node.domain, node.op))
    if operands is None or len(node.inputs) <= operands.weight:
        return node, {}
    weight = node.inputs[operands.weight]
    left = np.dtype(np.uint8) if operands.left is None else infos[node.inputs[operands.left]].dtype
    if weight not in constants or {left, constants[weight].dtype} != {
        np.dtype(np.uint8),
        np.dtype(np.int8),
    }:
        return node, {}
    inputs = [*node.inputs, *[""] * (operands.zero + 1 - len(node.inputs))]
    zero = inputs[operands.zero]
    if zero and zero not in constants:
        return node, {}
    inputs[operands.weight] = f"{weight}/{left}"
    inputs[operands.zero] = f"{zero}/{left}" if zero else f"{weight}/{left} zero point"
    originals = {
        inputs[operands.weight]: constants[weight],
        inputs[operands.zero]: constants[zero] if zero else np.zeros((), constants[weight].dtype),
    }
    # Another operator that reads the same weights has moved them already.
    new = {
        name: _moved(values, left) for name, values in originals.items() if name not in constants
    }
    return replace(node, inputs=tuple(inputs)), new


def _moved(values: Array, dtype: np.dtype[np.generic]) -> Array:
    """Return 8-bit integers moved by 128 into the other type of 8 bits: their top bit flips."""
    return (values.view(np.uint8) ^ np.uint8(0x80)).view(dtype)
