"""Operators whose work is multiply-adds: matrix products, convolutions, Einsum.

Each is priced as the matrix product that it equals, so equal work has an equal price in whatever
operator it is written. Integer types and convolutions have no parameter of their own: they take
the rate of float32 products, and their work says that it is derived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from pimloop.host.cpu.amounts import (
    Basis,
    Describe,
    Shape,
    Work,
    inputs,
    matrix_product,
    product,
    result,
)
from pimloop.host.models.einsum import parse_equation
from pimloop.host.models.graph import Graph, Node


def matmul(right: int = 1, basis: Basis = "calibrated") -> Describe:
    """Return how MatMul is described whose right operand is input `right`."""

    def describe(graph: Graph, node: Node) -> Work:
        left, weights = (graph.tensors[node.inputs[index]].shape for index in (0, right))
        return matrix_product(left, weights, result(graph, node).elements, basis)

    return describe


def fused_matmul(graph: Graph, node: Node) -> Work:
    """Describe FusedMatMul: operands may be transposed as they are read."""
    left, right = (
        _turned(
            graph.tensors[node.inputs[index]].shape,
            bool(node.attributes.get(f"transBatch{letter}", 0)),
            bool(node.attributes.get(f"trans{letter}", 0)),
        )
        for index, letter in enumerate("AB")
    )
    return matrix_product(left, right, result(graph, node).elements, "derived")


def _turned(shape: Shape, batch: bool, last: bool) -> Shape:
    if batch:
        shape = (*shape[1:-1], shape[0], shape[-1])
    if last and len(shape) > 1:
        shape = (*shape[:-2], shape[-1], shape[-2])
    return shape


def gemm(right: int = 1, basis: Basis = "calibrated") -> Describe:
    """Return how Gemm is described whose right operand is input `right`."""

    def describe(graph: Graph, node: Node) -> Work:
        left, weights = (graph.tensors[node.inputs[index]] for index in (0, right))
        out = result(graph, node)
        inner = left.shape[0 if node.attributes.get("transA", 0) else 1]
        return product(
            out.elements * inner,
            right_elements=weights.elements,
            elements=out.elements,
            basis=basis,
        )

    return describe


def packed_matmul(graph: Graph, node: Node) -> Work:
    """Describe MatMulNBits and MatMulBnb4: K and N are attributes, the weights are packed."""
    inner, columns = int(node.attributes["K"]), int(node.attributes["N"])
    out = result(graph, node).elements
    return product(out * inner, right_elements=inner * columns, elements=out, basis="derived")


def convolution(weights: int = 1) -> Describe:
    """Return how a convolution is described: weights (M, C/group, kernel...), any stride.

    Every element of the result takes the multiply-adds of one filter.
    """

    def describe(graph: Graph, node: Node) -> Work:
        filters = graph.tensors[node.inputs[weights]]
        out = result(graph, node).elements
        macs = out * prod(filters.shape[1:])
        return product(macs, right_elements=filters.elements, elements=out, basis="derived")

    return describe


def transposed_convolution(graph: Graph, node: Node) -> Work:
    """Describe ConvTranspose: weights (C, M/group, kernel...), each input spread by a filter."""
    source, filters = inputs(graph, node)[:2]
    macs = source.elements * prod(filters.shape[1:])
    return product(
        macs,
        right_elements=filters.elements,
        elements=result(graph, node).elements,
        basis="derived",
    )


# ---- Einsum ------------------------------------------------------------------------------------


def einsum(graph: Graph, node: Node) -> Work:
    """Describe Einsum as the matrix products that it is, two operands at a time from the left.

    An equation with one operand moves or adds up its elements; one that contracts nothing is an
    element-wise product.
    """
    shapes = [info.shape for info in inputs(graph, node)]
    terms, wanted = parse_equation(_text(node.attributes["equation"]), [len(s) for s in shapes])
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    if len(terms) == 1:
        return _single(terms[0], shapes[0], wanted, sizes)
    left, left_sizes = terms[0], dict(zip(terms[0], shapes[0], strict=True))
    works: list[Work] = []
    for index in range(1, len(terms)):
        right = terms[index]
        right_sizes = dict(zip(right, shapes[index], strict=True))
        later = set(wanted).union(*terms[index + 1 :])
        last = index == len(terms) - 1
        kept = wanted if last else _kept(left, right, later)
        works.append(_pair(left_sizes, right_sizes, kept, sizes))
        left, left_sizes = kept, {label: sizes[label] for label in kept}
    return replace(works[0], parts=tuple(works[1:]))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _kept(left: str, right: str, later: set[str]) -> str:
    return "".join(label for label in dict.fromkeys(left + right) if label in later)


def _single(term: str, shape: Shape, wanted: str, sizes: Mapping[str, int]) -> Work:
    elements = prod(shape)
    if set(term) - set(wanted):
        amounts = {"reduce_ns": float(elements)}
        return Work("reduction", "reduce_call_us", amounts, elements, basis="derived")
    out = prod(sizes[label] for label in wanted)
    parameter = "copy_ns" if wanted == term else "permute_ns"
    return Work("movement", "copy_call_us", {parameter: float(out)}, out, basis="derived")


def _pair(
    left: Mapping[str, int], right: Mapping[str, int], wanted: str, sizes: Mapping[str, int]
) -> Work:
    """Return the work of one contraction, operands in the order in which the result has them."""
    elements = prod(sizes[label] for label in wanted)
    inner = [label for label in left if label in right and label not in wanted]
    if not inner:
        streams = elements + sum(
            prod(operand.values())
            for operand in (left, right)
            if prod(operand.values()) == elements
        )
        amounts = {"stream_ns": float(streams)}
        return Work("element-wise", "elementwise_call_us", amounts, elements, basis="derived")
    work = _as_matmul(left, right, wanted, elements) or _as_products(
        left, right, wanted, inner, elements
    )
    alone = [
        labels
        for labels, other in ((left, right), (right, left))
        if any(label not in other and label not in wanted for label in labels)
    ]
    # A label that only one operand has and the result has not is added up first.
    sums = tuple(
        Work("reduction", "reduce_call_us", {"reduce_ns": float(prod(operand.values()))})
        for operand in alone
    )
    return replace(work, parts=sums)


def _as_matmul(
    left: Mapping[str, int], right: Mapping[str, int], wanted: str, elements: int
) -> Work | None:
    """Return the work where MatMul, with the right operand as it is or turned, says the same."""
    lead, last = wanted[:-2], wanted[-2:]
    ours, theirs = "".join(left), "".join(right)
    if len(last) < 2 or ours[:-1] != lead + last[0] or not lead.endswith(theirs[:-2]):
        return None
    inner = ours[-1]
    if theirs[-2:] not in (inner + last[1], last[1] + inner):
        return None
    shape = (*(right[label] for label in theirs[:-2]), right[inner], right[last[1]])
    return matrix_product(tuple(left.values()), shape, elements, "derived")


def _as_products(
    left: Mapping[str, int],
    right: Mapping[str, int],
    wanted: str,
    inner: Sequence[str],
    elements: int,
) -> Work:
    """Return the work of products whose operands are in the order in which the result has them."""
    mine = [label for label in wanted if label in left and label not in right]
    theirs = [label for label in wanted if label in right and label not in left]
    if mine and theirs and wanted.index(theirs[-1]) < wanted.index(mine[-1]):
        left, right, mine, theirs = right, left, theirs, mine
    columns_from = wanted.index(mine[-1]) if mine else -1
    columns = [label for label in theirs if wanted.index(label) > columns_from]
    batch = [label for label in wanted if label in right and label not in columns]
    k = prod(max(left[label], right[label]) for label in inner)
    n = prod(right[label] for label in columns)
    return matrix_product(
        (*(left.get(label, 1) for label in batch), prod(left[label] for label in mine), k),
        (*(right[label] for label in batch), k, n),
        elements,
        "derived",
    )
