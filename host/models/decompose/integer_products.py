"""Products of 8-bit integers as float products that give the same integers.

8-bit integers less a zero point are at most 255: exact in bfloat16, and so are their products in
float32. A sum stays exact while no partial sum can reach 2^24; beyond that the operator stays
whole. The PIM rounds what it stores to bfloat16, so a product is taken apart only where its result
becomes floating point: an integer output keeps all its bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer
from pimloop.host.models.graph import Array

#: Below this, sums of integers are exact in float32.
_EXACT = 1 << 24

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@decomposes("", "MatMulInteger")
def integer_product(whole: Whole, write: Writer) -> Sequence[str]:
    """int32 sums of products of 8-bit integers, each less a zero point."""
    check_becomes_float(whole)
    result = exact_product(whole, write, less_zero_point(whole, write, 0, 2), right=1, zero=3)
    return [write.cast(result, np.int32)]


@decomposes(CONTRIB, "MatMulIntegerToFloat")
def integer_product_to_float(whole: Whole, write: Writer) -> Sequence[str]:
    """The integer product times the scales of both operands, and a row."""
    result = exact_product(whole, write, less_zero_point(whole, write, 0, 4), right=1, zero=5)
    factor = write.op("Mul", whole.required(2), whole.required(3))
    return [_with_bias(whole, write, write.op("Mul", result, factor), 6)]


@decomposes(CONTRIB, "DynamicQuantizeMatMul")
def dynamically_quantized_product(whole: Whole, write: Writer) -> Sequence[str]:
    """Activations quantized by their own range, times constant integers."""
    quantized, scale, zero = write.multi("DynamicQuantizeLinear", whole.required(0), outputs=3)
    left = write.op("Sub", write.cast(quantized, np.float32), write.cast(zero, np.float32))
    result = exact_product(whole, write, left, right=1, zero=3)
    factor = write.op("Mul", scale, whole.required(2))
    return [_with_bias(whole, write, write.op("Mul", result, factor), 4)]


@decomposes("", "QLinearMatMul")
def quantized_product(whole: Whole, write: Writer) -> Sequence[str]:
    """The integer product, scaled and rounded to 8 bits again."""
    result = exact_product(whole, write, less_zero_point(whole, write, 0, 2), right=3, zero=5)
    left, right, out = constant_scales(whole, 1, 4, 6)
    whole.check(out.size == 1, "its result has a scale for each column")
    factor = write.constant(np.asarray(left * right / out.reshape(()), np.float32))
    return [quantized(whole, write, write.op("Mul", result, factor), 7)]


@decomposes(CONTRIB, "QGemm")
def quantized_gemm(whole: Whole, write: Writer) -> Sequence[str]:
    """The integer product with a row of integers added, scaled, and perhaps rounded to 8 bits."""
    whole.check(not whole.integer("transA", 0), "its left operand is transposed")
    turned = bool(whole.integer("transB", 0))
    row = constant_row(whole, 6)
    result = exact_product(
        whole, write, less_zero_point(whole, write, 0, 2), right=3, zero=5, turned=turned,
        further=int(np.abs(row).max(initial=0)),
    )  # fmt: skip
    left, right = constant_scales(whole, 1, 4)
    factor = whole.number("alpha", 1.0) * left * right
    if row.any():
        result = write.op("Add", result, write.constant(row.astype(np.float32)))
    if whole.input(7) is None:
        return [write.op("Mul", result, write.constant(np.asarray(factor, np.float32)))]
    out = whole.constant(7)
    whole.check(out is not None and out.size == 1, "the scale of its result is no constant number")
    factor = np.asarray(factor / np.asarray(out, np.float32).reshape(()), np.float32)
    return [quantized(whole, write, write.op("Mul", result, write.constant(factor)), 8)]


def check_becomes_float(whole: Whole) -> None:
    """Raise KeptWhole unless all that reads the result makes it floating point."""
    readers = whole.readers.get(whole.node.outputs[0], ())
    whole.check(
        bool(readers) and all(reader.cast_to in _FLOATS for reader in readers),
        "its integers are used as such, and the PIM rounds results to bfloat16",
    )


def check_exact(whole: Whole, most: int) -> None:
    """Raise KeptWhole unless sums of integers of up to `most` are exact in float32."""
    whole.check(
        most < _EXACT,
        f"its sums of integers may reach {most:,}; below {_EXACT:,} they are exact in float32",
    )


def constant_row(whole: Whole, index: int) -> Array:
    """Return the integers that are added to the sums, 0 without them; KeptWhole if not constant."""
    if whole.input(index) is None:
        return np.zeros((), np.int64)
    row = whole.constant(index)
    whole.check(row is not None, "the row that it adds is not constant")
    return np.asarray(row, np.int64)


def constant_scales(whole: Whole, *indices: int) -> list[Array]:
    """Return inputs that are scales, in float32; KeptWhole where one is not constant."""
    scales = [whole.constant(index) for index in indices]
    whole.check(all(scale is not None for scale in scales), "its scales are not constant")
    return [np.asarray(scale, np.float32) for scale in scales]


def less_zero_point(whole: Whole, write: Writer, index: int, zero: int) -> str:
    """Return an input of integers less its zero point, as floats."""
    left = write.cast(whole.required(index), np.float32)
    if whole.input(zero) is None:
        return left
    known = whole.constant(zero)
    if known is not None and not known.any():
        return left
    shape = whole.shape(zero)
    point = write.cast(whole.required(zero), np.float32)
    if len(shape) == 1 and shape[0] > 1:
        point = write.reshape(point, (shape[0], 1))  # one for each row
    return write.op("Sub", left, point)


def exact_product(
    whole: Whole,
    write: Writer,
    left: str,
    *,
    right: int,
    zero: int,
    turned: bool = False,
    further: int = 0,
) -> str:
    """Return `left` times the constant integers of input `right`, in float32.

    Parameters
    ----------
    whole, write
        As of a rule.
    left
        Floats that are integers of at most 255, less a zero point.
    right, zero
        Inputs: the integers and their zero points.
    turned
        The integers are stored as (columns, inner).
    further
        The largest integer that is added to the sums.
    """
    integers = whole.constant(right)
    whole.check(integers is not None, "its right operand is not constant")
    whole.check(whole.input(zero) is None or whole.constant(zero) is not None,
                "the zero point of its right operand is not constant")  # fmt: skip
    assert integers is not None
    # Zero points are those of columns, whichever way the matrix is stored.
    columns = integers.swapaxes(-1, -2) if turned else integers
    weights = columns.astype(np.int64) - _aligned(whole.constant(zero), integers.ndim)
    most = int(np.abs(weights).sum(axis=-2).max(initial=0)) * 255 + further
    check_exact(whole, most)
    values = np.ascontiguousarray(weights.astype(np.float32))
    return write.op("MatMul", left, write.large_constant("weight", values))


def _aligned(zero: Array | None, rank: int) -> Array:
    """Return the zero points of the columns, broadcast as the matrix is."""
    if zero is None:
        return np.zeros((), np.int64)
    values = zero.astype(np.int64)
    return values if values.ndim in (0, rank) or values.size > 1 else values.reshape(())


def _with_bias(whole: Whole, write: Writer, x: str, index: int) -> str:
    name = whole.input(index)
    return x if name is None else write.op("Add", x, name)


def quantized(whole: Whole, write: Writer, x: str, zero: int) -> str:
    """Return x rounded to 8-bit integers, with the zero point of the result."""
    return write.op("QuantizeLinear", x, write.scalar(1.0), whole.required(zero))
