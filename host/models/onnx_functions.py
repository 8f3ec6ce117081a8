"""Local functions of an .onnx file, written out in its graph within a bound.

A file of a few kilobytes can hold functions that call each other twice, twenty levels deep. So the
size of the result is counted before anything is written out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import inliner

from pimloop.host.common.errors import PimloopError
from pimloop.host.models.onnx_order import subgraphs

#: The most operators that a model may have when its functions are written out.
MAX_NODES = 200_000

#: A function: its domain, its name and the overload that a node may ask for.
_Name = tuple[str, str, str]


def inline_functions(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the model without local functions.

    Raises
    ------
    PimloopError
        When functions call themselves, or the model would grow beyond `MAX_NODES` operators.
    """
    if not model.functions:
        return model
    total = _Sizes(model, path).of(model.graph.node)
    if total > MAX_NODES:
        raise PimloopError(
            f"{path}: its functions, written out, are {total:,} operators; at most"
            f" {MAX_NODES:,} are supported"
        )
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the binding raises its own types, all with a readable text
        raise PimloopError(f"{path}: its functions cannot be written out: {error}") from error


class _Sizes:
    """Counts operators, each function once."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self._functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self._path = path
        self._known: dict[_Name, int] = {}
        self._open: set[_Name] = set()

    def of(self, nodes: Iterable[onnx.NodeProto]) -> int:
        return sum(self._of_node(node) for node in nodes)

    def _of_node(self, node: onnx.NodeProto) -> int:
        name = (node.domain, node.op_type, node.overload)
        inner = sum(
            self.of(graph.node) for attribute in node.attribute for graph in subgraphs(attribute)
        )
        return inner + (self._of_function(name) if name in self._functions else 1)

    def _of_function(self, name: _Name) -> int:
        if name not in self._known:
            if name in self._open:
                raise PimloopError(
                    f"{self._path}: the function '{name[1]}' of domain '{name[0]}' calls itself"
                )
            self._open.add(name)
            self._known[name] = self.of(self._functions[name].node)
            self._open.discard(name)
        return self._known[name]
