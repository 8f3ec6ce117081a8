"""Attention, also quantized, and MultiHeadAttention of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pimloop.host.models.decompose.attention_core import (
    Heads,
    attend,
    merge_heads,
    split_heads,
    visible_bias,
)
from pimloop.host.models.decompose.integer_products import exact_product, less_zero_point
from pimloop.host.models.decompose.padding import padding_bias
from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer


@decomposes(CONTRIB, "Attention")
def projected_attention(whole: Whole, write: Writer) -> Sequence[str]:
    """One product gives query, key and value; then heads, mask and cache."""
    whole.check_float()
    whole.ignore("mask_filter_value", "rotary_embedding_dim", inputs=(6,))
    whole.check(not whole.integer("do_rotary", 0), "it rotates its queries (do_rotary)")
    whole.check(
        not whole.integer("past_present_share_buffer", 0), "its cache is one buffer for all steps"
    )
    whole.check(
        whole.input(4) is None or whole.input(5) is None,
        "it has a cache and a bias, which ONNX Runtime refuses",
    )
    weights = whole.shape(1)
    sizes = whole.attribute("qkv_hidden_sizes") or (weights[1] // 3,) * 3
    whole.check(sizes[0] == sizes[1], "its queries and keys have different sizes")
    joined = write.op("MatMul", whole.required(0), whole.required(1))
    if whole.input(2) is not None:
        joined = write.op("Add", joined, whole.required(2))
    return _attended(whole, write, joined, sizes, mask=3, added=5, cache=4)


@decomposes(CONTRIB, "QAttention")
def quantized_attention(whole: Whole, write: Writer) -> Sequence[str]:
    """Attention whose projection is a product of 8-bit integers; the rest is floating point."""
    whole.ignore("mask_filter_value", "rotary_embedding_dim")
    whole.check(not whole.integer("do_rotary", 0), "it rotates its queries (do_rotary)")
    whole.check(
        not whole.integer("past_present_share_buffer", 0), "its cache is one buffer for all steps"
    )
    left = less_zero_point(whole, write, 0, 6)
    sums = exact_product(whole, write, left, right=1, zero=7)
    factor = write.op("Mul", whole.required(3), whole.required(4))
    joined = write.op("Add", write.op("Mul", sums, factor), whole.required(2))
    sizes = (whole.shape(1)[1] // 3,) * 3
    return _attended(whole, write, joined, sizes, mask=5, added=None, cache=8)


def _attended(
    whole: Whole,
    write: Writer,
    joined: str,
    sizes: Sequence[int],
    *,
    mask: int,
    added: int | None,
    cache: int,
) -> list[str]:
    """Return attention on queries, keys and values that are side by side, and perhaps a cache.

    Parameters
    ----------
    whole, write
        As of a rule.
    joined
        (batch, rows, sum of `sizes`), floats.
    sizes
        Columns of queries, keys and values.
    mask, added, cache
        Inputs: the padding, what is added to the scores (None: there is no such input), and earlier
        keys and values.
    """
    (batch, rows, _), dtype = whole.shape(0), whole.results[0].dtype
    count = whole.integer("num_heads")
    parts, start = [], 0
    for size in sizes:
        part = write.slice(joined, 2, start, start + size)
        parts.append(split_heads(write, part, batch, rows, count, size // count))
        start += size
    query, key, value = parts
    outputs = []
    past = 0
    if whole.input(cache) is not None:
        past = whole.shape(cache)[3]
        old = [_half(whole, write, cache, half, batch, count, past) for half in (0, 1)]
        key, value = (write.concat([o, n], 2) for o, n in zip(old, (key, value), strict=True))
    if whole.wants(1):
        whole.check(sizes[1] == sizes[2], "its keys and values have different sizes")
        full = (1, batch, count, past + rows, sizes[1] // count)
        halves = [write.reshape(tensor, full) for tensor in (key, value)]
        outputs.append(write.concat(halves, 0))
    heads = Heads(batch, count, count, rows, past + rows, sizes[0] // count, sizes[2] // count,
                  dtype)  # fmt: skip
    bias = _bias(whole, write, heads, mask=mask, added=added, past=past)
    scale = whole.number("scale", 0.0) or 1 / np.sqrt(heads.size)
    result = attend(write, heads, query, key, value, scale, bias)
    return [merge_heads(write, result, heads), *outputs]


def _half(
    whole: Whole, write: Writer, index: int, half: int, batch: int, heads: int, past: int
) -> str:
    """Return the keys (0) or the values (1) of a cache (2, batch, heads, past, size)."""
    size = whole.shape(index)[4]
    part = write.slice(whole.required(index), 0, half, half + 1)
    return write.reshape(part, (batch, heads, past, size))


def _bias(
    whole: Whole, write: Writer, heads: Heads, *, mask: int, added: int | None, past: int
) -> list[str]:
    """Return what is added to the scores: the padding, the causal mask, a bias of the model."""
    terms = []
    if whole.integer("unidirectional", 0):
        terms.append(visible_bias(write, heads, past))
    terms.append(padding_bias(whole, write, mask, heads))
    if added is not None:
        terms.append(whole.input(added))
    return [name for name in terms if name is not None]


@decomposes(CONTRIB, "MultiHeadAttention")
def multi_head_attention(whole: Whole, write: Writer) -> Sequence[str]:
    """Query, key and value apart; key and value may have their heads as an axis already."""
    whole.check_float()
    whole.ignore("mask_filter_value", inputs=(7,))
    whole.check(not whole.wants(3), "its scores are an output")
    for index, operand in ((1, "key"), (2, "value")):
        whole.check(whole.input(index) is not None, f"its {operand} is packed with another input")
    whole.check(len(whole.shape(0)) == 3, "its query is packed with other inputs")
    whole.check(len(whole.shape(1)) == len(whole.shape(2)), "its key is packed with the value")
    whole.check(whole.input(8) is None, "its cache is one buffer for all steps")
    batch, rows, width = whole.shape(0)
    count = whole.integer("num_heads")
    query, key, value = (whole.required(index) for index in range(3))
    widths = [width, _width(whole, 1), _width(whole, 2)]
    if whole.input(3) is not None:
        query, key, value = _with_bias(whole, write, widths)
    query = split_heads(write, query, batch, rows, count, width // count)
    value_size = widths[2] // count
    if len(whole.shape(1)) == 3:
        keys = whole.shape(1)[1]
        key = split_heads(write, key, batch, keys, count, widths[1] // count)
        value = split_heads(write, value, batch, keys, count, value_size)
    else:
        keys = whole.shape(1)[2]
        whole.check(
            whole.shape(1) == whole.shape(2),
            "its key and value have different shapes, which ONNX Runtime refuses",
        )
    past = 0
    if whole.input(6) is not None:
        past = whole.shape(6)[2]
        key = write.concat([whole.required(6), key], 2)
        value = write.concat([whole.required(7), value], 2)
    heads = Heads(batch, count, count, rows, past + keys, width // count, value_size,
                  whole.info(0).dtype)  # fmt: skip
    bias = _bias(whole, write, heads, mask=4, added=5, past=past)
    scale = whole.number("scale", 0.0) or 1 / np.sqrt(heads.size)
    result = merge_heads(write, attend(write, heads, query, key, value, scale, bias), heads)
    return [result, key, value][: len(whole.node.outputs)]


def _width(whole: Whole, index: int) -> int:
    shape = whole.shape(index)
    return shape[2] if len(shape) == 3 else shape[1] * shape[3]


def _with_bias(whole: Whole, write: Writer, widths: Sequence[int]) -> list[str]:
    """Return query, key and value with their parts of the bias, input 3, added."""
    whole.check(len(whole.shape(1)) == 3, "its bias is for keys that have their heads as an axis")
    biased, start = [], 0
    for index, width in enumerate(widths):
        part = write.slice(whole.required(3), 0, start, start + width)
        biased.append(write.op("Add", whole.required(index), part))
        start += width
    return biased
