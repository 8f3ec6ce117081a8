"""Gemm with a transposed left operand, factors, or a C that is no row.

The PIM's product adds one row to every row of the result and has no factors. What goes beyond that
becomes operators of its own: a Transpose, a Mul, an Add. A factor goes to a constant where there is
one, in the constant's own type and before anything is rounded to bfloat16; of two activations to
the smaller one. C that is no row is added to the product when that is rounded already.
"""

from __future__ import annotations

from collections.abc import Sequence

from pimloop.host.models.decompose.registry import Whole, decomposes
from pimloop.host.models.decompose.writer import Writer


@decomposes("", "Gemm")
def gemm(whole: Whole, write: Writer) -> Sequence[str] | None:
    """alpha A B + beta C, of A and B transposed as asked for."""
    alpha, beta = whole.number("alpha", 1.0), whole.number("beta", 1.0)
    whole.ignore(inputs=(2,))  # of no effect where beta is 0
    turned = whole.integer("transA", 0)
    added = whole.input(2) if beta else None
    row = added is not None and _is_row(whole)
    # A C of no effect is left out: the PIM's product has no beta.
    without = whole.input(2) is None
    if not turned and alpha == 1 and (without or (beta == 1 and row)):
        return None  # the device's own product
    whole.check_float()
    kind = whole.info(0).dtype
    names = [whole.required(0), whole.required(1)]
    # A factor of a constant is a constant.
    sizes = [
        0 if name in whole.constants else whole.info(index).elements
        for index, name in enumerate(names)
    ]
    smaller = sizes.index(min(sizes))
    names[smaller] = write.scale(names[smaller], alpha, kind)
    if turned:
        names[0] = write.transpose(names[0], (1, 0))
    if added is not None:
        added = write.scale(added, beta, kind)
    transposed = whole.integer("transB", 0)
    if row and added is not None:
        return [write.op("Gemm", *names, added, transB=transposed)]
    result = write.op("Gemm", *names, transB=transposed)
    return [result if added is None else write.op("Add", result, added)]


def _is_row(whole: Whole) -> bool:
    """Return whether C is one row of the result."""
    columns = whole.results[0].shape[-1]
    return whole.info(2).elements == columns and whole.shape(2)[-1:] == (columns,)
