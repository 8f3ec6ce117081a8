"""Einsum as matrix products, two operands at a time from the left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from pimloop.host.models.decompose.registry import KeptWhole, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer
from pimloop.host.models.einsum import parse_equation


@dataclass(frozen=True)
class _Operand:
    """A tensor whose axes have labels."""

    name: str
    labels: str
    sizes: dict[str, int]  # of its labels
    constant: bool

    def shape(self, labels: str) -> tuple[int, ...]:
        return tuple(self.sizes[label] for label in labels)


@decomposes("", "Einsum")
def einsum(whole: Whole, write: Writer) -> Sequence[str] | None:
    """Products over the labels that the result does not have."""
    if len(whole.node.inputs) < 2:
        return None
    whole.check_float()
    shapes = [whole.shape(index) for index in range(len(whole.node.inputs))]
    terms, wanted = parse_equation(whole.text("equation"), [len(shape) for shape in shapes])
    operands = []
    for name, labels, shape in zip(whole.node.inputs, terms, shapes, strict=True):
        whole.check(len(set(labels)) == len(labels), "it takes a diagonal")
        operand = _Operand(
            name, labels, dict(zip(labels, shape, strict=True)), name in whole.constants
        )
        operands.append(operand)
    sizes: dict[str, int] = {}
    for operand in operands:
        for label, size in operand.sizes.items():
            whole.check(
                label.isdigit() or sizes.get(label, size) == size,
                f"its axes '{label}' have different lengths",
            )
            sizes[label] = max(size, sizes.get(label, 1))
    operands = [_without_broadcast(write, operand, sizes) for operand in operands]
    joined = operands[0]
    for index, operand in enumerate(operands[1:], 2):
        later = set(wanted).union(*(other.labels for other in operands[index:]))
        kept = wanted if index == len(operands) else ""
        joined = _contract(write, joined, operand, later, kept)
    if joined.labels != wanted:
        joined = _ordered(write, joined, wanted)
    return [joined.name]


def _without_broadcast(write: Writer, operand: _Operand, sizes: dict[str, int]) -> _Operand:
    """Drop axes of one element that other operands have more of: they are repeated anyhow."""
    labels = "".join(label for label in operand.labels if operand.sizes[label] == sizes[label])
    name = write.reshape(operand.name, operand.shape(labels), operand.shape(operand.labels))
    kept = {label: operand.sizes[label] for label in labels}
    return _Operand(name, labels, kept, operand.constant)


def _contract(
    write: Writer, left: _Operand, right: _Operand, later: set[str], wanted: str
) -> _Operand:
    """Return the product of two operands over the labels that nothing reads later."""
    left, right = (_summed(write, a, b, later) for a, b in ((left, right), (right, left)))
    inner = "".join(label for label in left.labels if label in right.labels and label not in later)
    if not inner:
        raise KeptWhole("it multiplies elements and adds up nothing")
    shared = [label for label in left.labels if label in right.labels and label in later]
    if left.constant and not right.constant and not shared:
        left, right = right, left  # a product with a constant matrix
    batch = "".join(shared)
    rows = "".join(label for label in left.labels if label not in batch + inner)
    columns = "".join(label for label in right.labels if label not in batch + inner)
    if wanted:
        rows, columns = ("".join(sorted(part, key=wanted.index)) for part in (rows, columns))
        batch = "".join(sorted(batch, key=wanted.index))
    a = _ordered(write, left, batch + rows + inner)
    b = _ordered(write, right, batch + inner + columns)
    lead, k, n = left.shape(batch), prod(left.shape(inner)), prod(right.shape(columns))
    # Several axes of rows stay apart where they are axes of a batch to a product anyhow.
    flat = (*left.shape(rows),) if not batch and rows else (prod(left.shape(rows)),)
    x = write.reshape(a.name, (*lead, *flat, k), a.shape(a.labels))
    y = write.reshape(b.name, (*lead, k, n), b.shape(b.labels))
    result = write.op("MatMul", x, y)
    labels = batch + rows + columns
    sizes = left.sizes | right.sizes
    shape = tuple(sizes[label] for label in labels)
    result = write.reshape(result, shape, (*lead, *flat, n))
    return _Operand(result, labels, {label: sizes[label] for label in labels}, False)


def _summed(write: Writer, operand: _Operand, other: _Operand, later: set[str]) -> _Operand:
    """Add up along labels that only this operand has and nothing reads later."""
    alone = [label for label in operand.labels if label not in other.labels and label not in later]
    if not alone:
        return operand
    axes = [operand.labels.index(label) for label in alone]
    labels = "".join(label for label in operand.labels if label not in alone)
    sizes = {label: operand.sizes[label] for label in labels}
    return _Operand(write.sum(operand.name, axes), labels, sizes, operand.constant)


def _ordered(write: Writer, operand: _Operand, labels: str) -> _Operand:
    order = [operand.labels.index(label) for label in labels]
    name = write.transpose(operand.name, order)
    return _Operand(name, labels, operand.sizes, operand.constant)
