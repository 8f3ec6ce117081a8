"""Local functions of an .onnx file, written out in its graph within a bound.

A file of a few kilobytes can hold functions that call each other twice, twenty levels deep. So the
size of the result is counted before anything is written out.

A function may import another operator set than the model. ONNX Runtime (1.32.0, with and without
optimizations) and ONNX's reference evaluator then execute its operators as the model's operator set
defines them, and so does this.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, inliner
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from pimloop.errors import PimloopError
from pimloop.host.models.inference import schema_of
from pimloop.host.models.onnx_opsets import form_of, opsets_of
from pimloop.host.models.onnx_order import all_nodes, subgraphs
from pimloop.partitioner.quantity import quantity

log = logging.getLogger(__name__)

#: The most operators that a model may have when its functions are written out.
MAX_NODES = 200_000

#: A function: its domain, its name and the overload that a node may ask for.
_Name = tuple[str, str, str]


def inline_functions(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return the model without local functions.

    A function under the name of an operator that ONNX Runtime knows is never called.

    Raises
    ------
    PimloopError
        When functions call themselves, two have the same name, an operator in one has another form
        in the model's operator set, or the model would grow beyond `MAX_NODES` operators.
    """
    if not model.functions:
        return model
    opsets = opsets_of(model)
    functions = [f for f in model.functions if not _is_operator(f, opsets)]
    del model.functions[:]
    model.functions.extend(functions)
    for (domain, name, _), count in Counter(map(_name_of, functions)).items():
        if count > 1:
            raise PimloopError(
                f"{path}: {count} of its functions are called '{name}' of domain '{domain}'"
            )
    for node in all_nodes(model.graph.node):
        if node.domain not in opsets and any(f.domain == node.domain for f in functions):
            raise PimloopError(
                f"{path}: it calls the function '{node.op_type}' of domain '{node.domain}', of"
                " which it imports no operator set"
            )
    sizes = _Sizes(model, path)
    total = sizes.of(model.graph.node)
    if total > MAX_NODES:
        raise PimloopError(
            f"{path}: its functions, written out, are {total:,} operators; at most"
            f" {MAX_NODES:,} are supported"
        )
    for function in model.functions:
        if _name_of(function) in sizes.known:
            _adopt(function, opsets, path)
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the binding raises its own types, all with a readable text
        raise PimloopError(f"{path}: its functions cannot be written out: {error}") from error


def _name_of(function: onnx.FunctionProto) -> _Name:
    return function.domain, function.name, function.overload


def _is_operator(function: onnx.FunctionProto, opsets: Mapping[str, int]) -> bool:
    """Return whether ONNX Runtime has an operator of a function's name in these operator sets."""
    domain = "" if function.domain == "ai.onnx" else function.domain
    first = _operators().get((domain, function.name))
    return first is not None and first <= opsets.get(domain, 0)


@cache
def _operators() -> dict[tuple[str, str], int]:
    """Return the operator set, by domain and name, in which each operator of the runtime began."""
    first: dict[tuple[str, str], int] = {}
    for schema in runtime.get_all_operator_schema():
        key = (schema.domain, schema.name)
        first[key] = min(first.get(key, schema.since_version), schema.since_version)
    return first


def _adopt(function: onnx.FunctionProto, opsets: Mapping[str, int], path: Path) -> None:
    """Make a function one of the model's operator sets, in place."""
    own = opsets_of(function)
    changed = []
    for node in all_nodes(function.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain not in own:
            raise PimloopError(
                f"{path}: the function '{function.name}' has an operator {node.op_type} of the"
                f" domain '{domain}', of which it imports no operator set"
            )
        before, after = schema_of(node, own), schema_of(node, opsets)
        if before is None or (after and after.since_version == before.since_version):
            continue
        reason = _unfit(node, after)
        if reason:
            raise PimloopError(
                f"{path}: the function '{function.name}' imports operator set {own[domain]}, the"
                f" model {opsets.get(domain)}, in which {node.op_type} {reason}; export both in one"
                " operator set"
            )
        if form_of(before) != form_of(after):
            changed.append(node.op_type)
    if changed:
        log.warning(
            "%s: the function '%s' imports operator set %s, the model %s; as in ONNX Runtime the"
            " latter's definitions count, of %s",
            path, function.name, own.get(""), opsets.get(""), ", ".join(dict.fromkeys(changed)),
        )  # fmt: skip
    del function.opset_import[:]
    function.opset_import.extend(
        helper.make_opsetid(domain, opsets.get(domain, version)) for domain, version in own.items()
    )


def _unfit(node: onnx.NodeProto, schema: Any) -> str:
    """Return what of an operator does not fit a definition; "" where all does."""
    if schema is None:
        return "does not exist"
    if not schema.min_input <= len(node.input) <= schema.max_input:
        return f"does not take {quantity(len(node.input), 'input')}"
    if not schema.min_output <= len(node.output) <= schema.max_output:
        return f"does not make {quantity(len(node.output), 'output')}"
    unknown = [a.name for a in node.attribute if a.name not in schema.attributes]
    return f"has no attribute '{unknown[0]}'" if unknown else ""


class _Sizes:
    """Counts operators, each function once."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self._functions = {_name_of(f): f for f in model.functions}
        self._path = path
        #: Operators in each function that is called.
        self.known: dict[_Name, int] = {}
        self._open: set[_Name] = set()

    def of(self, nodes: Iterable[onnx.NodeProto]) -> int:
        return sum(self._of_node(node) for node in nodes)

    def _of_node(self, node: onnx.NodeProto) -> int:
        name = (node.domain, node.op_type, node.overload)
        inner = sum(
            self.of(graph.node) for attribute in node.attribute for graph in subgraphs(attribute)
        )
        if name not in self._functions:
            return inner + 1
        self._check_call(node, self._functions[name])
        return inner + self._of_function(name)

    def _check_call(self, node: onnx.NodeProto, function: onnx.FunctionProto) -> None:
        for kind, count, most in (
            ("input", len(node.input), len(function.input)),
            ("output", len(node.output), len(function.output)),
        ):
            if count > most:
                raise PimloopError(
                    f"{self._path}: node '{node.name}' calls the function '{function.name}' with"
                    f" {quantity(count, kind)}, it has {most}"
                )

    def _of_function(self, name: _Name) -> int:
        if name not in self.known:
            if name in self._open:
                raise PimloopError(
                    f"{self._path}: the function '{name[1]}' of domain '{name[0]}' calls itself"
                )
            self._open.add(name)
            self.known[name] = self.of(self._functions[name].node)
            self._open.discard(name)
        return self.known[name]
