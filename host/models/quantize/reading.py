"""Integer weights as .onnx files have them: DequantizeLinear of constants, and MatMulNBits.

What a file has is taken as it is where it is of the kind that is asked for, and refused where not:
rounding the floats that it stands for once more would give other weights than the file's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.models.decompose.packed_weights import bytes_apart
from pimloop.host.models.decompose.registry import CONTRIB
from pimloop.host.models.graph import Array, Node, TensorInfo
from pimloop.host.models.quantize.weights import BLOCK, Kind, Quantized, pack

_FOUR_BITS = frozenset({np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)})
_EIGHT_BITS = frozenset({np.dtype(np.int8), np.dtype(np.uint8)})


@dataclass(frozen=True)
class Dequantized:
    """The operands of a DequantizeLinear whose result is a constant."""

    where: str  # for a message
    integers: Array
    scales: Array
    zero: Array | None
    axis: int  # along which there are several scales
    block: int  # elements along it that share one; 0: each has one of its own

    def turned(self) -> Dequantized:
        """Return the operands of the transposed matrix."""
        blocked = self.scales.ndim == 2
        return replace(
            self,
            integers=self.integers.T,
            scales=self.scales.T if blocked else self.scales,
            zero=self.zero if self.zero is None or self.zero.ndim < 2 else self.zero.T,
            axis=1 - self.axis,
        )


def dequantized(
    node: Node, constants: Mapping[str, Array], before: Mapping[str, Dequantized], where: str
) -> Dequantized | None:
    """Return what a folded operator's result was made from; None: from no integers.

    Parameters
    ----------
    node
        All of its inputs are constants.
    constants
        Their values.
    before
        What earlier results were made from, by name.
    where
        For a message.
    """
    if node.op == "DequantizeLinear":
        integers, scales = constants[node.inputs[0]], constants[node.inputs[1]]
        if integers.ndim != 2 or integers.dtype not in _FOUR_BITS | _EIGHT_BITS:
            return None
        zero = constants[node.inputs[2]] if len(node.inputs) > 2 else None
        axis = int(node.attributes.get("axis", 1)) % 2
        block = int(node.attributes.get("block_size", 0))
        return Dequantized(where, integers, scales, zero, axis, block)
    source = before.get(node.inputs[0]) if node.inputs else None
    if source is None or node.domain:
        return None
    if node.op == "Transpose" and list(node.attributes.get("perm", [1, 0])) == [1, 0]:
        return source.turned()
    return source if node.op == "Identity" else None


def as_weights(source: Dequantized, kind: Kind) -> Quantized:
    """Return the integers of a DequantizeLinear as weights of a kind.

    Raises
    ------
    PimloopError
        When they are of another kind.
    """
    integers, zero = _centred(source, kind)
    inner, columns = integers.shape
    scales = source.scales.astype(np.float32)
    _require(np.isfinite(scales).all(), source.where, kind, "scales that are not finite")
    if source.block:
        _require(kind.grouped, source.where, kind, f"a scale for each {source.block} elements")
        _require(source.axis == 0, source.where, kind, "groups along the columns")
        _require(source.block % BLOCK == 0 or source.block >= inner, source.where, kind,
                 f"groups of {source.block}")  # fmt: skip
        repeats = -(-source.block // BLOCK)
        scales = np.repeat(scales, repeats, axis=0)[: -(-inner // BLOCK)]
    else:
        alone = scales.size == 1
        _require(alone or source.axis == 1, source.where, kind, "a scale for each row")
        row = np.broadcast_to(scales.reshape(-1), (columns,))
        scales = np.broadcast_to(row, (-(-inner // BLOCK), columns))
    _require(not zero.any(), source.where, kind, "zero points away from the middle of the range")
    return pack(integers, scales, kind)


def _centred(source: Dequantized, kind: Kind) -> tuple[Array, Array]:
    """Return the integers as signed ones, and the zero points that are left."""
    width = 4 if source.integers.dtype in _FOUR_BITS else 8
    _require(width <= kind.bits, source.where, kind, f"integers of {width} bits")
    unsigned = source.integers.dtype in (np.dtype(np.uint8), np.dtype(ml_dtypes.uint4))
    middle = 1 << (width - 1) if unsigned else 0
    zero = np.zeros((), np.int16) if source.zero is None else source.zero.astype(np.int16)
    return source.integers.astype(np.int16) - middle, zero - middle


def packed_weights(
    node: Node, infos: Mapping[str, TensorInfo], constants: Mapping[str, Array], kind: Kind
) -> Quantized:
    """Return the weights of a MatMulNBits as weights of a kind.

    Raises
    ------
    PimloopError
        When they are of another kind, or not constant.
    """
    where = f"node '{node.id}' ({node.op})"
    names = (*node.inputs, *[""] * (6 - len(node.inputs)))
    attributes = node.attributes
    bits, block = int(attributes.get("bits", 4)), int(attributes.get("block_size", 0))
    inner, columns = int(attributes.get("K", 0)), int(attributes.get("N", 0))
    packed, scales = constants.get(names[1]), constants.get(names[2])
    if packed is None or scales is None:
        missing = "weights" if packed is None else "scales"
        raise PimloopError(
            f"{where}: its {missing} are not constant, so --quantize {kind.name} cannot take them;"
            " leave it out, or export the model with constant weights"
        )
    _require(bits == kind.bits, where, kind, f"{bits} bits")
    _require(block >= 16 and (not kind.grouped or block % BLOCK == 0), where, kind,
             f"groups of {block}")  # fmt: skip
    blocks = -(-inner // block)
    if packed.size != columns * blocks * block * bits // 8 or scales.size != columns * blocks:
        raise PimloopError(
            f"{where}: {packed.size} bytes of weights and {scales.size} scales; K = {inner}, N ="
            f" {columns}, block_size = {block} and bits = {bits} need"
            f" {columns * blocks * block * bits // 8} and {columns * blocks}; export the model anew"
        )
    _require(not names[4], where, kind, "groups that are given by an index")
    centred = not names[3] or _is_middle(constants.get(names[3]), columns, blocks, bits)
    _require(centred, where, kind, "zero points away from the middle of the range")
    _require(infos[node.inputs[0]].dtype == np.float32, where, kind,
             f"activations of {infos[node.inputs[0]].dtype}")  # fmt: skip
    raised = bytes_apart(packed.reshape(columns, blocks, -1), bits).reshape(columns, -1)
    integers = raised[:, :inner].astype(np.int16) - (1 << (bits - 1))
    each = scales.reshape(columns, blocks).astype(np.float32)
    _require(np.isfinite(each).all(), where, kind, "scales that are not finite")
    if not kind.grouped:
        _require((each == each[:, :1]).all(), where, kind, f"a scale for each {block} elements")
        each = each[:, :1]
    rows = np.repeat(each, block if kind.grouped else inner, axis=1)[:, :inner:BLOCK]
    return pack(integers.T, rows.T, kind)


def is_packed(node: Node) -> bool:
    """Return whether an operator is a product by packed weights."""
    return (node.domain, node.op) == (CONTRIB, "MatMulNBits")


def _is_middle(zero: Array | None, columns: int, blocks: int, bits: int) -> bool:
    """Return whether zero points are what they are without any."""
    if zero is None or zero.size == 0:
        return False
    if zero.dtype == np.uint8:
        zero = bytes_apart(zero.reshape(columns, -1), bits)[:, :blocks]
    return bool((zero == 1 << (bits - 1)).all())


def _require(holds: bool | np.bool_, where: str, kind: Kind, has: str) -> None:
    if not holds:
        raise PimloopError(
            f"{where} has {has}; --quantize {kind.name} takes {kind.words}, symmetric: leave the"
            " option out, which unpacks the weights, or export the model anew"
        )
