"""CPU memory of a model in execution: one fixed buffer for each tensor.

The same bytes are a numpy array and an ONNX Runtime value, so binding an operator once serves
every run and nothing is copied between operators.
"""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from pimloop.errors import PimloopError
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.ort_values import (
    empty_packed,
    from_runtime,
    is_plain,
    pack,
    packed_bits,
    packed_memory,
    to_runtime,
)

#: Cache line and vector alignment, bytes.
ALIGNMENT = 64


class TensorBuffers:
    """Buffers of the tensors of one graph, made when first asked for, kept until dropped.

    A state (`Graph.in_place`) has one buffer, into which an execution writes its rows.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._arrays: dict[str, Array] = {}
        self._values: dict[str, ort.OrtValue] = {}

    def array(self, name: str) -> Array:
        """Return the buffer of a tensor (of a packed type a copy), or the value of a constant."""
        if name in self._graph.constants:
            return self._graph.value(name)
        if packed_bits(self._graph.tensors[name].dtype) is not None:
            return from_runtime(self.value(name))
        name = self._graph.in_place.get(name, name)
        if name not in self._arrays:
            self._arrays[name] = _aligned(self._graph, name)
        return self._arrays[name]

    def value(self, name: str) -> ort.OrtValue:
        """Return the same memory as ONNX Runtime's value."""
        if name not in self._values:
            info = self._graph.tensors[name]
            if name in self._graph.constants or packed_bits(info.dtype) is None:
                self._values[name] = to_runtime(self.array(name))
            else:
                self._values[name] = empty_packed(info.dtype, info.shape)
        return self._values[name]

    def store(self, name: str, value: Array) -> None:
        """Copy `value` into the buffer of a tensor; its shape must be the tensor's."""
        if packed_bits(self._graph.tensors[name].dtype) is not None:
            packed_memory(self.value(name))[:] = pack(value)
        else:
            np.copyto(self.array(name), value, casting="no")

    def adopt(self, other: TensorBuffers) -> None:
        """Take over the buffers of tensors that have none here; `other` is not used afterwards."""
        for name, array in other._arrays.items():
            self._arrays.setdefault(name, array)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers made so far, constants apart."""
        return sum(array.nbytes for array in self._arrays.values())


def _aligned(graph: Graph, name: str) -> Array:
    info = graph.tensors[name]
    if info.dtype.kind not in "fiub" and is_plain(info.dtype):
        raise PimloopError(
            f"model {graph.name}: tensor '{name}' of type {info.dtype} cannot be executed;"
            " numbers and booleans can"
        )
    raw = np.zeros(info.nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + info.nbytes].view(info.dtype).reshape(info.shape)
