"""The constants of an .onnx file that something reads.

Exporters leave constants that no operator reads, and files are handed on without the external data
of those. Neighbours: `onnx_tensors` reads one, `onnx_file` loads the rest of a file.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto

from pimloop.errors import PimloopError
from pimloop.host.models.constant_nodes import (
    attribute_tensors,
    constant_value,
    is_constant,
    sparse_constant,
)
from pimloop.host.models.graph import Array
from pimloop.host.models.onnx_order import names_read, subgraphs
from pimloop.host.models.onnx_tensors import check_tensor, embed, read_tensor

log = logging.getLogger(__name__)

#: ONNX Runtime keeps constants of so many bytes and more in memory of their own.
_APART_BYTES = 128


def read_constants(
    graph: onnx.GraphProto, given: Collection[str], path: Path
) -> tuple[dict[str, Array], list[onnx.NodeProto]]:
    """Return the constants of a graph that something reads, and its operators.

    The operators have no constants that nothing reads, and no external data: it is read into them.
    Sparse constants are operators among them.

    Parameters
    ----------
    graph
        The graph of a file; its operators are changed in place.
    given
        Names with values of the user; a constant that is an input too gets that one.
    path
        The file; external data lies in its folder or below.

    Raises
    ------
    PimloopError
        When a constant is damaged, has two values that differ in shape or type, or its external
        data lies outside the folder or cannot be read.
    """
    sparse = [sparse_constant(value) for value in graph.sparse_initializer]
    if len({node.name for node in sparse}) < len(sparse):
        raise PimloopError(f"{path}: two of its sparse constants have the same name")
    nodes = [*graph.node, *sparse]
    read = _names_read(nodes, graph)
    nodes = _read_ones(nodes, read)
    for node in nodes:
        _embed(node, path)
    inputs = {value.name for value in graph.input}
    given = inputs.intersection(given)
    times = Counter(tensor.name for tensor in graph.initializer if tensor.name in read)
    times.update(node.output[0] for node in nodes if is_constant(node) and node.output)
    # A Constant operator is a constant under any name, also under that of an input.
    named = {name for name, count in times.items() if count > 1 or name in inputs}
    values: dict[str, list[Array]] = {}
    for tensor in graph.initializer:
        if tensor.name in read and tensor.name not in given:
            values.setdefault(tensor.name, []).append(read_tensor(tensor, path))
    others = []
    for node in nodes:
        if is_constant(node) and node.output and node.output[0] in named:
            if node.output[0] not in given:
                value = constant_value(node, f"{path}: constant '{node.output[0]}'")
                values.setdefault(node.output[0], []).append(value)
        else:
            others.append(node)
    return {name: _counting(name, arrays, path) for name, arrays in values.items()}, others


def _counting(name: str, values: Sequence[Array], path: Path) -> Array:
    """Return the value that counts for ONNX Runtime of those that a file gives one name.

    That is the last, and of constants in memory of their own the one before it. Measured with
    version 1.32.0, optimizations on and off; ONNX itself gives no meaning to such a file.
    """
    kinds = {(value.shape, value.dtype) for value in values}
    if len(kinds) > 1:
        forms = " and ".join(f"{dtype}{list(shape)}" for shape, dtype in kinds)
        raise PimloopError(f"{path}: constant '{name}' is given {len(values)} times, as {forms}")
    if len(values) > 1 and any(value.tobytes() != values[0].tobytes() for value in values):
        log.warning(
            "%s: constant '%s' is given %d times, with other values; ONNX Runtime's choice counts",
            path, name, len(values),
        )  # fmt: skip
    apart = len(values) > 1 and values[-1].nbytes >= _APART_BYTES
    return values[-2 if apart else -1]


def prepare_graph(graph: onnx.GraphProto, path: Path) -> None:
    """Drop the constants of a graph inside an operator that nothing reads; embed the others' data.

    Sparse constants become operators, the first of the graph. In place.

    Raises
    ------
    PimloopError
        As `read_constants`, and when two constants or results have the same name.
    """
    nodes = [*(sparse_constant(value) for value in graph.sparse_initializer), *graph.node]
    read = _names_read(nodes, graph)
    kept = _read_ones(nodes, read)
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    _check_names(graph, kept, constants, path)
    for tensor in constants:
        embed(tensor, path)
    for node in kept:
        _embed(node, path)
    if len(kept) != len(graph.node) or graph.sparse_initializer:
        del graph.node[:], graph.sparse_initializer[:]
        graph.node.extend(kept)
    if len(constants) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(constants)


def _check_names(
    graph: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[TensorProto],
    path: Path,
) -> None:
    """Refuse two constants, or two results, of one name in a graph inside an operator."""
    where = f"{path}: the graph '{graph.name}' in an operator"
    given = Counter(tensor.name for tensor in constants)
    for name, count in given.items():
        if count > 1:
            raise PimloopError(f"{where} has {count} constants called '{name}'")
    made = Counter(name for node in nodes for name in node.output if name)
    taken = given.keys() | {value.name for value in graph.input}
    for name, count in made.items():
        if count > 1 or name in taken:
            raise PimloopError(f"{where} makes '{name}' twice, or as an input or constant too")


def _embed(node: onnx.NodeProto, path: Path) -> None:
    """Read the external data of an operator's tensors into it, in place; check the others.

    `normalize` decodes them.
    """
    for attribute in node.attribute:
        for tensor in attribute_tensors(attribute):
            if tensor.data_location == TensorProto.EXTERNAL:
                embed(tensor, path, "attribute")
            else:
                check_tensor(tensor, path, "attribute")
        for graph in subgraphs(attribute):
            prepare_graph(graph, path)


def _names_read(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto) -> set[str]:
    read = {name for node in nodes for name in names_read(node)}
    return read | {value.name for value in graph.output}


def _read_ones(nodes: Iterable[onnx.NodeProto], read: set[str]) -> list[onnx.NodeProto]:
    """Return `nodes` without the well-formed Constant operators of which nothing is in `read`."""
    return [
        node
        for node in nodes
        if not (is_constant(node) and len(node.attribute) == 1 and read.isdisjoint(node.output))
    ]
