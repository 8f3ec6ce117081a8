"""Refuses operators on packed and scaled integers that break the rules of their definition.

ONNX Runtime refuses them too, by an assertion of its source. Definitions: MatMulNBits in ONNX
Runtime's ContribOperators.md, DequantizeLinear and QuantizeLinear in ONNX's Operators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.models.decompose.registry import CONTRIB
from pimloop.host.models.graph import Node, TensorInfo

_Infos = Mapping[str, TensorInfo]

#: Bits of a packed weight, and the shortest block of weights with one scale.
_BITS = (2, 4, 8)
_SHORTEST_BLOCK = 16


def check_scaled_integers(node: Node, infos: _Infos, where: str) -> None:
    """Raise PimloopError for an operator whose attributes or shapes its definition forbids.

    Parameters
    ----------
    node
        Any operator; those of no definition here pass.
    infos
        Of its inputs.
    where
        For messages.
    """
    check = _CHECKS.get((node.domain, node.op))
    if check is not None:
        check(node, infos, where)


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise PimloopError(f"{where}: {what}; correct the file, or export the model anew")


def _packed(node: Node, infos: _Infos, where: str) -> None:
    names = (*node.inputs, *[""] * (6 - len(node.inputs)))
    for name, role in zip(names[:3], ("A", "B", "scales"), strict=False):
        _require(bool(name), where, f"its input {role} is missing")
    values = {key: int(node.attributes.get(key, 0)) for key in ("K", "N", "block_size")}
    inner, columns, block = values.values()
    bits = int(node.attributes.get("bits", 4))
    for key in ("K", "N"):
        _require(values[key] > 0, where, f"{key} is {values[key]}; it must be 1 or more")
    _require(bits in _BITS, where, f"bits is {bits}; it must be one of {_BITS}")
    power = block >= _SHORTEST_BLOCK and block & (block - 1) == 0
    _require(power, where,
             f"block_size is {block}; it must be a power of 2 from {_SHORTEST_BLOCK}")  # fmt: skip
    shape = infos[names[0]].shape
    _require(bool(shape) and shape[-1] == inner, where,
             f"A has the shape {list(shape)}; its last axis must be K = {inner}")  # fmt: skip
    if node.attributes.get("weight_prepacked", 0):
        return  # the sizes are those of one device
    blocks = -(-inner // block)
    said = f"K = {inner}, N = {columns}, block_size = {block} and bits = {bits}"
    sizes = {"B": columns * blocks * block * bits // 8, "scales": columns * blocks}
    for (role, wanted), name in zip(sizes.items(), names[1:3], strict=True):
        has = infos[name].elements
        _require(has == wanted, where, f"{role} has {has} elements; {said} need {wanted}")
    if names[3]:
        zero = infos[names[3]]
        packed = zero.dtype == np.uint8
        wanted = columns * (-(-blocks * bits // 8) if packed else blocks)
        _require(zero.elements == wanted, where,
                 f"zero_points has {zero.elements} elements; {said} need {wanted}"
                 f"{', each column in whole bytes' if packed else ''}")  # fmt: skip
    if names[4]:
        has, most = infos[names[4]].elements, blocks * block
        _require(has in (inner, most), where,
                 f"g_idx has {has} elements; {said} need {inner}"
                 f"{f' or, with padding, {most}' if most > inner else ''}")  # fmt: skip
    if names[5]:
        has = infos[names[5]].elements
        _require(has == columns, where, f"bias has {has} elements; N = {columns} needs as many")


def _linear(node: Node, infos: _Infos, where: str) -> None:
    """Check a DequantizeLinear or QuantizeLinear."""
    if len(node.inputs) < 2 or not all(node.inputs[:2]):
        return  # a number of inputs that ONNX's own definition refuses
    shape, scales = infos[node.inputs[0]].shape, infos[node.inputs[1]].shape
    block = int(node.attributes.get("block_size", 0))
    _require(block >= 0, where, f"block_size is {block}; it must be 0 or more, 0: no blocks")
    if block or len(scales) > 1 or prod(scales) != 1:
        axis, rank = int(node.attributes.get("axis", 1)), len(shape)
        _require(-rank <= axis < rank, where,
                 f"axis is {axis}; it must be from {-rank} to {rank - 1}")  # fmt: skip
        axis %= rank
        if block:
            wanted = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])
            said = f"blocks of {block} along axis {axis} of {list(shape)}"
        else:
            wanted = (shape[axis],)
            said = f"axis {axis} of {list(shape)}"
        _require(scales == wanted, where,
                 f"scales have the shape {list(scales)}; {said} needs {list(wanted)}")  # fmt: skip
    if len(node.inputs) > 2 and node.inputs[2]:
        zero = infos[node.inputs[2]].shape
        alike = zero == scales or prod(zero) == prod(scales) == 1
        _require(alike, where,
                 f"zero points have the shape {list(zero)}, scales {list(scales)}: both must"
                 " have the same")  # fmt: skip


_CHECKS: Mapping[tuple[str, str], Callable[[Node, _Infos, str], None]] = {
    (CONTRIB, "MatMulNBits"): _packed,
    ("", "DequantizeLinear"): _linear,
    ("", "QuantizeLinear"): _linear,
}
