"""Relu: max(x, 0), and Clip where it is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pimloop.host.common.golden import Floats
from pimloop.host.models.graph import Graph, Node
from pimloop.host.operators.base import Operation
from pimloop.host.operators.unary import UnaryKind
from pimloop.rtl.tables.isa import Opcode

if TYPE_CHECKING:
    from pimloop.host.operators.capabilities import Capabilities


def _relu(x: Floats) -> Floats:
    """Return max(x, 0) with the -0 and the NaN that ONNX Runtime's Relu keeps."""
    return np.where(x < 0, np.float32(0), x)


KINDS = (UnaryKind(Opcode.RELU, _relu),)


def _clip(graph: Graph, node: Node, capabilities: Capabilities) -> Operation | str:
    """Return Relu where a Clip has the constant 0 as its minimum and no maximum."""
    least, most = (*node.inputs[1:], "", "")[:2]
    constant = graph.constants.get(least)
    # From -0 on, ONNX Runtime's zeros have other signs.
    if most or constant is None or constant.item() != 0 or np.signbit(constant):
        return "a Clip other than from 0 on"
    return KINDS[0].match(graph, node, capabilities)


MATCHERS = {"Relu": KINDS[0].match, "Clip": _clip}
