"""Emits operators at the granularity of an exporter: one ONNX node for each arithmetic step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from pimloop.host.models.activations import ACTIVATIONS, Activation
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.graph import Array, Graph, TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.models.parameters import SharedWeights, Weights

#: Operator set of the built-in models: the last in which ReduceMean takes its axes as an attribute.
OPSET = 17

#: Additive score of a masked position, as in the original BERT and GPT-2.
MASKED_SCORE = -10000.0


@dataclass(frozen=True)
class Past:
    """The states of a layer, (batch, heads, rows, head size) each, and the row to write."""

    keys: str
    values: str
    index: str  # model input, see `GraphBuilder.append`


class GraphBuilder:
    """Collects nodes and constants; every method adds operators and returns the tensor they make.

    Nodes are named `<Op>_<n>` in the order of their creation, as exporters name them.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        sequence_length: int,
        batch: int = 1,
        activations: Mapping[str, Activation] = ACTIVATIONS,
    ) -> None:
        self.config = config
        self.batch = batch
        self.weights = SharedWeights(weights)
        self.sequence_length = sequence_length
        self._activations = activations
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._types: dict[str, np.dtype[Any]] = {}  # of parameters, which may be stored otherwise
        self._inputs: dict[str, TensorInfo] = {}
        self._ranges: dict[str, int] = {}

    def input(
        self, name: str, shape: Sequence[int], dtype: Any = np.int64, *, below: int | None = None
    ) -> str:
        """Declare a model input; integer inputs are at least 0 and less than `below`."""
        self._inputs[name] = TensorInfo(tuple(shape), np.dtype(dtype))
        if below is not None:
            self._ranges[name] = below
        return name

    def op(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add one operator and return its first output."""
        return self.multi(op, *inputs, outputs=outputs, **attributes)[0]

    def multi(self, op: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Add one operator and return all its outputs."""
        name = f"{op}_{len(self._nodes)}"
        names = [f"{name}_out{i}" if i else f"{name}_out" for i in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, name=name, **attributes))
        return names

    def constant(self, name: str, value: Array) -> str:
        """Add a constant under a name of its own; a name given twice is the same constant."""
        self._constants.setdefault(name, value)
        return name

    def scalar(self, value: float) -> str:
        """Return a float32 scalar constant."""
        return self.constant(f"scalar_{value!r}", np.array(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        """Return an int64 vector constant (shapes, axes)."""
        name = "ints_" + "_".join(str(v) for v in values)
        return self.constant(name, np.array(values, dtype=np.int64))

    def parameter(self, name: str, shape: tuple[int, ...]) -> str:
        """Return a parameter of the model as it is stored."""
        return self._parameter(name, self.weights.stored(name, shape))

    def transposed(self, name: str, shape: tuple[int, int]) -> str:
        """Return a stored matrix transposed, once, when the graph is built."""
        return self._parameter(f"{name}.T", self.weights.transposed(name, shape))

    def _parameter(self, name: str, value: Array) -> str:
        """Add a parameter that the operators compute with in float32."""
        self._types[name] = np.dtype(np.float32)
        return self.constant(name, value)

    def table_rows(self, name: str, shape: tuple[int, int], first: int) -> str:
        """Return the rows `first`.. of a table that the positions read, as (1, length, width)."""
        table = self.weights.get(name, shape)
        rows: NDArray[np.float32] = table[None, first : first + self.sequence_length]
        return self.constant(f"{name}.rows", np.ascontiguousarray(rows))

    def linear(self, x: str, name: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
        """x W^T + b as MatMul and Add; the parameters are `name`.weight (out, in) and .bias."""
        product = self.op("MatMul", x, self.transposed(f"{name}.weight", (outputs, inputs)))
        if not bias:
            return product
        return self.op("Add", product, self.parameter(f"{name}.bias", (outputs,)))

    def gemm(self, x: str, name: str, inputs: int, outputs: int) -> str:
        """x W^T + b as one Gemm with transB = 1 on a matrix of rows."""
        return self.op(
            "Gemm",
            x,
            self.parameter(f"{name}.weight", (outputs, inputs)),
            self.parameter(f"{name}.bias", (outputs,)),
            alpha=1.0,
            beta=1.0,
            transB=1,
        )

    def layer_norm(self, x: str, name: str) -> str:
        """Layer normalization over the last axis in nine operators."""
        width = self.config.hidden
        mean = self.op("ReduceMean", x, axes=[-1], keepdims=1)
        centred = self.op("Sub", x, mean)
        square = self.op("Pow", centred, self.scalar(2.0))
        variance = self.op("ReduceMean", square, axes=[-1], keepdims=1)
        epsilon = self.scalar(self.config.layer_norm_epsilon)
        deviation = self.op("Sqrt", self.op("Add", variance, epsilon))
        normal = self.op("Div", centred, deviation)
        scaled = self.op("Mul", normal, self.parameter(f"{name}.weight", (width,)))
        return self.op("Add", scaled, self.parameter(f"{name}.bias", (width,)))

    def rms_norm(self, x: str, name: str, width: int, centred: bool = False) -> str:
        """Root mean square normalization over the last axis in six operators.

        Parameters
        ----------
        x
            (..., width).
        name
            Of the owner of its weight (width,).
        width
            Features.
        centred
            Whether the factor is the weight + 1, as in Gemma.
        """
        square = self.op("Pow", x, self.scalar(2.0))
        mean = self.op("ReduceMean", square, axes=[-1], keepdims=1)
        epsilon = self.scalar(self.config.layer_norm_epsilon)
        root = self.op("Sqrt", self.op("Add", mean, epsilon))
        weight = f"{name}.weight"
        if centred:
            factor = self.constant(f"{weight}+1", self.weights.get(weight, (width,)) + 1)
        else:
            factor = self.parameter(weight, (width,))
        return self.op("Mul", self.op("Div", x, root), factor)

    def capped(self, x: str, cap: float | None) -> str:
        """cap tanh(x / cap); without a cap `x`."""
        if cap is None:
            return x
        limit = self.scalar(cap)
        return self.op("Mul", self.op("Tanh", self.op("Div", x, limit)), limit)

    def activation(self, x: str, name: str | None = None) -> str:
        """An activation function in single operators; default: the configuration's."""
        return self._activations[name or self.config.activation](self, x)

    def pasts(self, heads: int, size: int, context: int) -> list[Past]:
        """Add the states of every layer, model inputs of context + 1 rows, and return them."""
        row = (self.batch, heads, 1, size)
        index = self.input("cache_index", row, below=context + 1)
        shape = (self.batch, heads, context + 1, size)
        return [
            Past(
                self.input(f"past.{layer}.key", shape, np.float32),
                self.input(f"past.{layer}.value", shape, np.float32),
                index,
            )
            for layer in range(self.config.layers)
        ]

    def append(self, past: str, row: str, index: str) -> str:
        """Return a state, a model input, with a row written in place.

        Parameters
        ----------
        past
            (..., rows, size).
        row
            (..., 1, size).
        index
            Model input of the row's shape: the row to write, everywhere.
        """
        return self.op("ScatterElements", past, index, row, axis=-2)

    def finish(self, outputs: dict[str, str], named: Mapping[str, str] | None = None) -> Graph:
        """Return the graph; `outputs` maps the model's output names to tensors.

        `named` does so for tensors that only have a name.
        """
        renamed = {tensor: name for name, tensor in {**outputs, **(named or {})}.items()}
        for node in self._nodes:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    names[index] = renamed.get(name, name)
        return normalize(
            RawModel(
                name=self.config.name,
                nodes=self._nodes,
                constants=self._constants,
                inputs=self._inputs,
                outputs=tuple(outputs),
                opsets={"": OPSET},
                types=self._types,
                sequence_length=self.sequence_length,
                input_ranges=self._ranges,
            )
        )
