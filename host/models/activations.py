"""Activation functions in single operators, by their names in config.json.

An architecture may have others or write one in another way (`Architecture.activations`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pimloop.host.models.builder import GraphBuilder

#: Adds an activation of a tensor to a graph and returns its result.
Activation = Callable[["GraphBuilder", str], str]


def relu(build: GraphBuilder, x: str) -> str:
    """max(x, 0)."""
    return build.op("Relu", x)


def gelu(build: GraphBuilder, x: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2, the product with x first."""
    return build.op("Mul", build.op("Mul", x, _one_and_erf(build, x)), build.scalar(0.5))


def gelu_half_first(build: GraphBuilder, x: str) -> str:
    """(x / 2) (1 + erf(x / sqrt 2)): exporters differ in which product comes first."""
    both = _one_and_erf(build, x)
    return build.op("Mul", build.op("Mul", x, build.scalar(0.5)), both)


def gelu_tanh(build: GraphBuilder, x: str) -> str:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 in eight operators."""
    half = build.op("Mul", x, build.scalar(0.5))
    cubic = build.op("Mul", build.op("Pow", x, build.scalar(3.0)), build.scalar(0.044715))
    inner = build.op("Add", x, cubic)
    factor = build.scalar(float(np.float32(np.sqrt(2.0 / np.pi))))
    bent = build.op("Tanh", build.op("Mul", inner, factor))
    return build.op("Mul", half, build.op("Add", bent, build.scalar(1.0)))


def silu(build: GraphBuilder, x: str) -> str:
    """x / (1 + exp(-x))."""
    return build.op("Mul", x, build.op("Sigmoid", x))


def _one_and_erf(build: GraphBuilder, x: str) -> str:
    root = build.scalar(float(np.float32(np.sqrt(2.0))))
    return build.op("Add", build.op("Erf", build.op("Div", x, root)), build.scalar(1.0))


ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": relu,
    "silu": silu,
}
