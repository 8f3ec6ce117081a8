"""Writes primitive operators, in whatever operator set a model has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pimloop.host.models.graph import Array

#: The oldest operator set that primitives are written in.
OLDEST = 11


class Writer:
    """Collects primitives; every method adds operators and returns the tensor they make.

    Shapes are static, so reshapes take constants.

    Parameters
    ----------
    prefix
        What names begin with; unique in the model.
    opset
        Of the standard domain, at least `OLDEST`.
    """

    def __init__(self, prefix: str, opset: int) -> None:
        self.prefix = prefix
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._turned: dict[str, tuple[str, tuple[int, ...]]] = {}  # source and order of Transposes

    def op(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator with one output."""
        return self.multi(op, *inputs, domain=domain, outputs=1, **attributes)[0]

    def multi(
        self, op: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add an operator with several outputs."""
        name = f"{self.prefix}/{op}_{len(self.nodes)}"
        names = [f"{name}_out{i}" if i else f"{name}_out" for i in range(outputs)]
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes)
        )
        return names

    def constant(self, value: Array) -> str:
        """Add a constant; equal ones are one, in the whole model."""
        content = hashlib.sha256(repr((value.dtype.name, value.shape)).encode())
        content.update(np.ascontiguousarray(value).tobytes())
        name = f"decomposed/{content.hexdigest()[:24]}"
        self.constants[name] = value
        return name

    def large_constant(self, name: str, value: Array) -> str:
        """Add a constant that is this operator's own, under a name."""
        full = f"{self.prefix}/{name}"
        self.constants[full] = value
        return full

    def scalar(self, value: float, dtype: Any = np.float32) -> str:
        """Add a constant of one element and no axes."""
        return self.constant(np.array(value, dtype))

    def integers(self, *values: int) -> str:
        """Add an int64 vector."""
        return self.constant(np.array(values, np.int64))

    # -- what most rules need ----------------------------------------------------------------

    def reshape(self, x: str, shape: Sequence[int], known: Sequence[int] | None = None) -> str:
        """Reshape; nothing is added when `known`, the shape that `x` has, is that shape."""
        if known is not None and tuple(known) == tuple(shape):
            return x
        return self.op("Reshape", x, self.integers(*shape))

    def transpose(self, x: str, order: Sequence[int]) -> str:
        """Reorder axes; nothing is added when they stay, and of two in a row one is left."""
        if x in self._turned:
            x, before = self._turned[x]
            order = [before[axis] for axis in order]
        if list(order) == list(range(len(order))):
            return x
        made = self.op("Transpose", x, perm=list(order))
        self._turned[made] = (x, tuple(order))
        return made

    def slice(self, x: str, axis: int, start: int, end: int) -> str:
        """Return elements `start` to `end` along an axis."""
        bounds = (self.integers(start), self.integers(end), self.integers(axis))
        return self.op("Slice", x, *bounds)

    def concat(self, parts: Sequence[str], axis: int) -> str:
        """Join tensors along an axis."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=axis)

    def cast(self, x: str, dtype: Any) -> str:
        """Change the element type."""
        return self.op("Cast", x, to=int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def scale(self, x: str, factor: float, dtype: Any) -> str:
        """Multiply by a number; nothing is added when it is 1."""
        return x if factor == 1 else self.op("Mul", x, self.scalar(factor, dtype))

    def sum(self, x: str, axes: Sequence[int]) -> str:
        """Add up along axes, which disappear."""
        if self.opset >= 13:
            return self.op("ReduceSum", x, self.integers(*axes), keepdims=0)
        return self.op("ReduceSum", x, axes=list(axes), keepdims=0)

    def where(self, condition: str, chosen: float, other: float, dtype: Any) -> str:
        """Return one of two numbers for each element of a boolean tensor."""
        return self.op("Where", condition, self.scalar(chosen, dtype), self.scalar(other, dtype))

    def finish(self, results: Sequence[str], outputs: Sequence[str]) -> list[onnx.NodeProto]:
        """Return the primitives, with the results under the names that the operator gave them."""
        renamed: dict[str, str] = {}
        made = {name for node in self.nodes for name in node.output}
        ends = []
        for result, output in zip(results, outputs, strict=False):
            if not output:
                continue
            if result in made and result not in renamed:
                renamed[result] = output
            else:
                ends.append(helper.make_node("Identity", [renamed.get(result, result)], [output]))
        for node in self.nodes:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    names[index] = renamed.get(name, name)
        return [*self.nodes, *ends]
