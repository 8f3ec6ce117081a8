"""Constants as they lie in memory: in a narrower type than their tensor's, or turned.

A weight of bfloat16 stays bfloat16 and is there once. An operator that ONNX Runtime computes in
float32 reads it behind a Cast, which is exact, so float32 lives as long as the operator needs it. A
table that is read by its rows and multiplied by transposed is one array: the second constant is a
view of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

Array = NDArray[Any]

#: The domain of ONNX Runtime's own operators, and the version of its operator set.
CONTRIB, CONTRIB_VERSION = "com.microsoft", 1

_STORED = "/stored"

#: Columns of a turned matrix that are copied together.
_BAND = 64


def widened(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return a constant in the type of its tensor and in one piece: itself where it is so."""
    return in_one_piece(array.astype(dtype, copy=False))


def in_one_piece(array: Array) -> Array:
    """Return an array whose rows lie one after the other: itself where they do, else a copy."""
    if not is_turned(array):
        # Not np.ascontiguousarray, which gives a scalar an axis.
        return np.require(array, requirements="C")
    # By bands whose rows stay in the cache.
    copied = np.empty(array.shape, array.dtype)
    for first in range(0, array.shape[1], _BAND):
        copied[:, first : first + _BAND] = array[:, first : first + _BAND]
    return copied


def is_turned(array: Array) -> bool:
    """Return whether a matrix is the transposed view of one that lies in one piece."""
    return array.ndim == 2 and not array.flags.c_contiguous and array.flags.f_contiguous


class StoredOperators:
    """Writes operators that read constants as they are stored.

    Parameters
    ----------
    types
        Of the tensors, as ONNX numbers them, by name.
    constants
        Those that are handed to ONNX Runtime beside the model.
    """

    def __init__(self, types: Mapping[str, int], constants: Mapping[str, Array]) -> None:
        self._types = types
        self._narrow = {name for name, array in constants.items() if _number(array) != types[name]}
        self._turned = {name for name, array in constants.items() if is_turned(array)}
        self._made: set[str] = set()
        #: What is handed over, by the name in the model.
        self.external: dict[str, Array] = {
            self._stored(name): array.T if name in self._turned else array
            for name, array in constants.items()
        }
        #: Whether operators must run in the order of the model, so that few are widened at a time.
        self.in_order = bool(self._narrow or self._turned)
        self.contributed = False  # whether an operator of `CONTRIB` was written

    def _stored(self, name: str) -> str:
        return name + _STORED if name in self._narrow or name in self._turned else name

    def write(self, proto: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return what stands for an operator: itself, and what widens the constants it reads."""
        if self._reads_rows(proto):
            return self._rows(proto)
        written: list[onnx.NodeProto] = []
        for index, name in enumerate(proto.input):
            if name in self._turned and index == 1 and _is_product(proto):
                proto.input[index] = self._widen(self._stored(name), name, written)
                proto.op_type, proto.domain, self.contributed = "FusedMatMul", CONTRIB, True
                proto.attribute.append(helper.make_attribute("transB", 1))
            elif name in self._turned or name in self._narrow:
                self._whole(name, written)
        return [*written, proto]

    def whole(self, name: str) -> list[onnx.NodeProto]:
        """Return what makes a constant that is read outside, in the type of its tensor."""
        written: list[onnx.NodeProto] = []
        if name in self._narrow or name in self._turned:
            self._whole(name, written)
        return written

    def _reads_rows(self, proto: onnx.NodeProto) -> bool:
        name = proto.input[0] if proto.input else ""
        return (
            proto.op_type == "Gather"
            and not proto.domain
            and name in self._narrow
            and name not in self._turned
        )

    def _rows(self, proto: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Widen the rows that a Gather reads, not its table."""
        result, kind = proto.output[0], self._types[proto.input[0]]
        proto.input[0], proto.output[0] = self._stored(proto.input[0]), result + _STORED
        return [proto, _cast(result + _STORED, result, kind)]

    def _widen(self, stored: str, name: str, written: list[onnx.NodeProto]) -> str:
        """Return a constant in the type of its tensor, as it lies."""
        if name not in self._narrow:
            return stored
        wide = f"{stored}/wide"
        if wide not in self._made:
            self._made.add(wide)
            written.append(_cast(stored, wide, self._types[name]))
        return wide

    def _whole(self, name: str, written: list[onnx.NodeProto]) -> None:
        """Make a constant under its own name."""
        if name in self._made:
            return
        self._made.add(name)
        stored = self._stored(name)
        if name in self._turned:
            wide = self._widen(stored, name, written)
            written.append(
                helper.make_node("Transpose", [wide], [name], name=f"{name}/turn", perm=[1, 0])
            )
        else:
            written.append(_cast(stored, name, self._types[name]))


def _number(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _is_product(proto: onnx.NodeProto) -> bool:
    return proto.op_type == "MatMul" and not proto.domain


def _cast(source: str, result: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}/widen", to=kind)
