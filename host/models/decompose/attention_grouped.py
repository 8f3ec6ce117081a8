"""GroupQueryAttention of ONNX Runtime: rotary positions, a cache, fewer heads of keys.

How many rows of the cache are in use is data (`seqlens_k`), so the mask, the positions and the rows
that the new keys take are computed by small integer operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pimloop.host.models.decompose.attention_core import (
    Heads,
    attend,
    merge_heads,
    split_heads,
    visible_bias,
)
from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.rotary import Rotation, rotation
from pimloop.host.models.decompose.writer import Writer

#: Inputs and attributes of forms that stay whole, and what they mean.
_INPUTS = {
    9: "its positions are an input",
    11: "a sink takes part in its softmax",
    12: "its cache is quantized",
    13: "its cache is quantized",
    16: "its rows are padded (query_seqlens)",
}
_ATTRIBUTES = {
    "smooth_softmax": "its softmax is smooth",
    "sliding_window_cache": "its cache is a window",
    "qk_output": "its scores are an output",
    "kv_cache_bit_width": "its cache is quantized",
}


@dataclass(frozen=True)
class _Cache:
    """Where the keys of a step stand."""

    past: int  # rows of the cache that is read
    before: str | None  # (batch, 1), keys of earlier steps; None: there are none


@decomposes(CONTRIB, "GroupQueryAttention")
def group_query_attention(whole: Whole, write: Writer) -> Sequence[str]:
    """Query, key and value apart or side by side."""
    whole.check_float()
    whole.ignore("rotary_interleaved", "qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon")
    whole.ignore("k_quant_type", "v_quant_type", inputs=(5, 6, 7, 8))
    for index, reason in _INPUTS.items():
        whole.check(whole.input(index) is None, reason)
    for attribute, reason in _ATTRIBUTES.items():
        whole.check(whole.integer(attribute, 0) <= 0, reason)
    batch, rows, _ = whole.shape(0)
    (query, key, value), heads = _parts(whole, write)
    past = whole.shape(3)[2] if whole.input(3) is not None else 0
    whole.check(heads.keys <= past + rows, "its cache has more rows than it can fill")
    cache = _Cache(past, _earlier(whole, write, batch, rows) if past else None)
    query, key = _normalized(whole, write, query, key)
    if whole.integer("do_rotary", 0):
        query, key = _turned(whole, write, heads, query, key, cache)
    if past:
        order = _order(write, heads, cache)
        key = _present(write, heads, whole.required(3), key, order, heads.size)
        value = _present(write, heads, whole.required(4), value, order, heads.value_size)
    bias = _bias(whole, write, heads, cache)
    if whole.input(10) is not None:
        bias.append(_added(whole, write, heads))
    scale = whole.number("scale", 0.0) or 1 / np.sqrt(heads.size)
    softcap = whole.number("softcap", 0.0)
    result = attend(write, heads, query, key, value, scale, bias, softcap)
    return [merge_heads(write, result, heads), key, value][: len(whole.node.outputs)]


def _parts(whole: Whole, write: Writer) -> tuple[list[str], Heads]:
    """Return query, key and value with their heads as an axis, and the sizes."""
    batch, rows, width = whole.shape(0)
    count, shared = whole.integer("num_heads"), whole.integer("kv_num_heads")
    whole.check(shared > 0 and count % shared == 0, f"{count} heads of queries, {shared} of keys")
    if whole.input(1) is None:
        size = width // (count + 2 * shared)
        starts = (0, count * size, (count + shared) * size, width)
        names = [write.slice(whole.required(0), 2, starts[i], starts[i + 1]) for i in range(3)]
    else:
        size = width // count
        names = [whole.required(index) for index in range(3)]
        whole.check(whole.shape(1)[1] == rows, "its new keys are not those of its queries")
    counts = (count, shared, shared)
    parts = [
        split_heads(write, n, batch, rows, c, size) for n, c in zip(names, counts, strict=True)
    ]
    past = whole.shape(3)[2] if whole.input(3) is not None else 0
    keys = whole.results[1].shape[2] if whole.wants(1) else past + rows
    return parts, Heads(batch, count, shared, rows, keys, size, size, whole.info(0).dtype)


def _earlier(whole: Whole, write: Writer, batch: int, rows: int) -> str:
    """Return the number of keys of earlier steps, (batch, 1) of int64.

    `seqlens_k` is one less than all keys; where a first prompt is padded it is less than the rows.
    """
    lengths = write.cast(write.reshape(whole.required(5), (batch, 1)), np.int64)
    earlier = write.op("Add", lengths, write.constant(np.array(1 - rows, np.int64)))
    return write.op("Max", earlier, write.constant(np.array(0, np.int64)))


def _normalized(whole: Whole, write: Writer, query: str, key: str) -> tuple[str, str]:
    """Return queries and keys divided by the root mean square of their head, where asked for."""
    if whole.input(14) is None:
        return query, key
    epsilon = whole.number("qk_norm_epsilon", 1e-6)
    normalized = []
    for name, index, own in ((query, 14, "q_norm_epsilon"), (key, 15, "k_norm_epsilon")):
        weight = whole.required(index)
        normalized.append(
            write.op("SimplifiedLayerNormalization", name, weight, axis=-1,
                     epsilon=whole.number(own, epsilon))
        )  # fmt: skip
    return normalized[0], normalized[1]


def _turned(
    whole: Whole, write: Writer, heads: Heads, query: str, key: str, cache: _Cache
) -> tuple[str, str]:
    """Return queries and keys turned by the angles of their positions."""
    tables = rotation(
        write, whole.required(7), whole.required(8), whole.shape(7), heads.size,
        bool(whole.integer("rotary_interleaved", 0)), heads.dtype,
    )  # fmt: skip
    rows = np.arange(heads.queries, dtype=np.int64)[None]
    if cache.before is None:
        positions = write.constant(np.repeat(rows, heads.batch, axis=0))
    else:
        positions = write.op("Add", cache.before, write.constant(rows))
    factors = tables.at(write, positions)
    return (
        _turn(write, tables, query, (heads.batch, heads.heads, heads.queries), factors),
        _turn(write, tables, key, (heads.batch, heads.shared, heads.queries), factors),
    )


def _turn(
    write: Writer, tables: Rotation, x: str, rows: tuple[int, ...], factors: tuple[str, str]
) -> str:
    return tables.apply(write, x, rows, factors)


def _order(write: Writer, heads: Heads, cache: _Cache) -> str:
    """Return which row of cache and new keys, one behind the other, each key is: (batch, keys)."""
    assert cache.before is not None
    rows = write.constant(np.arange(heads.keys, dtype=np.int64)[None])
    since = write.op("Sub", rows, cache.before)  # rows since the first new key
    is_new = write.op(
        "And",
        write.op("Not", write.op("Less", rows, cache.before)),
        write.op("Less", since, write.constant(np.array(heads.queries, np.int64))),
    )
    new = write.op("Add", since, write.constant(np.array(cache.past, np.int64)))
    return write.op("Where", is_new, new, rows)


def _present(write: Writer, heads: Heads, past: str, new: str, order: str, size: int) -> str:
    """Return the cache with the new keys, or values, behind those of earlier steps."""
    joined = write.concat([past, new], 2)
    if heads.batch == 1:
        return write.op("Gather", joined, write.reshape(order, (heads.keys,)), axis=2)
    shape = (heads.batch, heads.shared, heads.keys, size)
    spread = write.reshape(order, (heads.batch, 1, heads.keys, 1))
    return write.op(
        "GatherElements", joined, write.op("Expand", spread, write.integers(*shape)), axis=2
    )


def _added(whole: Whole, write: Writer, heads: Heads) -> str:
    """Return the bias of the model, for all rows of the cache."""
    *lead, keys = whole.shape(10)
    if keys == heads.keys:
        return whole.required(10)
    rest = np.zeros((*lead, heads.keys - keys), heads.dtype)  # rows that no query sees
    return write.concat([whole.required(10), write.constant(rest)], 3)


def _bias(whole: Whole, write: Writer, heads: Heads, cache: _Cache) -> list[str]:
    """Return the causal and the local mask."""
    causal = bool(whole.integer("causal", 1))
    window = whole.integer("local_window_size", -1)
    keys = write.constant(np.arange(heads.keys, dtype=np.int64).reshape(1, 1, 1, -1))
    if not causal:
        whole.check(window < 0, "it has a local window and is not causal")
        last = write.cast(write.reshape(whole.required(5), (heads.batch, 1, 1, 1)), np.int64)
        seen = write.op("Not", write.op("Less", last, keys))
        return [write.where(seen, 0.0, -np.inf, heads.dtype)]
    rows = np.arange(heads.queries, dtype=np.int64).reshape(1, 1, -1, 1)
    if cache.before is None:
        mask = visible_bias(write, heads, 0, window - 1 if window >= 0 else None)
        return [] if mask is None else [mask]
    before = write.reshape(cache.before, (heads.batch, 1, 1, 1))
    last = write.op("Add", before, write.constant(rows))
    seen = write.op("Not", write.op("Less", last, keys))  # no key after the query's own
    if window >= 0:
        oldest = write.op("Sub", last, write.constant(np.array(window, np.int64)))
        seen = write.op("And", seen, write.op("Less", oldest, keys))
    return [write.where(seen, 0.0, -np.inf, heads.dtype)]
