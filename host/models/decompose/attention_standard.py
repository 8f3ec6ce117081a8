"""Attention of ONNX (operator sets 23 and 24)."""

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
from pimloop.host.models.decompose.registry import Whole, decomposes
from pimloop.host.models.decompose.writer import Writer

_PAST = 4


@decomposes("", "Attention")
def attention(whole: Whole, write: Writer) -> Sequence[str]:
    """Q, K, V with heads as an axis or side by side; a mask; keys and values of earlier steps."""
    whole.check_float()
    whole.ignore("q_num_heads", "kv_num_heads", "qk_matmul_output_mode", "softmax_precision")
    whole.ignore("right_window_size")  # of a causal attention
    whole.check(not whole.wants(3), "its scores are an output")
    whole.check(whole.input(6) is None, "nonpad_kv_seqlen bounds its keys by the data")
    names, shapes, counts = [], [], []
    for index, attribute in enumerate(("q_num_heads", "kv_num_heads", "kv_num_heads")):
        name, shape = whole.required(index), whole.shape(index)
        if len(shape) == 3:
            count = whole.integer(attribute)
            name = split_heads(write, name, shape[0], shape[1], count, shape[2] // count)
            shape = (shape[0], count, shape[1], shape[2] // count)
        names.append(name)
        shapes.append(shape)
        counts.append(shape[1])
    query, key, value = names
    past = 0
    if whole.input(_PAST) is not None:
        past = whole.shape(_PAST)[2]
        key = write.concat([whole.required(_PAST), key], 2)
        value = write.concat([whole.required(_PAST + 1), value], 2)
    (batch, count, rows, size), shared = shapes[0], counts[1]
    whole.check(shared > 0 and count % shared == 0, f"{count} heads of queries, {shared} of keys")
    heads = Heads(batch, count, shared, rows, past + shapes[1][2], size, shapes[2][3],
                  whole.info(0).dtype)  # fmt: skip
    whole.check(
        rows > 1 or heads.keys <= past + 1 or not whole.integer("is_causal", 0),
        "it is causal with one query and several new keys, where ONNX Runtime masks none and the"
        " specification all but the first",
    )
    bias, empty_rows = _bias(whole, write, heads, past)
    result = attend(
        write,
        heads,
        query,
        key,
        value,
        whole.number("scale", 1 / np.sqrt(size)),
        bias,
        whole.number("softcap", 0.0),
    )
    if empty_rows is not None:
        result = write.op("Where", empty_rows, write.scalar(0.0, heads.dtype), result)
    if len(whole.shape(0)) == 3:
        result = merge_heads(write, result, heads)
    return [result, key, value][: len(whole.node.outputs)]


def _bias(whole: Whole, write: Writer, heads: Heads, past: int) -> tuple[list[str], str | None]:
    """Return what is added to the scores, and which queries see no key (None: every one sees some).

    The result of a query that sees no key is zero.
    """
    left = whole.integer("left_window_size", -1)
    right = 0 if whole.integer("is_causal", 0) else whole.integer("right_window_size", -1)
    bounds = [bound if bound >= 0 else None for bound in (left, right)]
    window = visible_bias(write, heads, past, *bounds)
    total, known = window, write.constants.get(window or "")
    if whole.input(3) is not None:
        mask = whole.required(3)
        info = whole.info(3)
        whole.check(
            info.shape[-1:] in ((1,), (heads.keys,)), "its mask is for fewer keys than there are"
        )
        given = whole.constant(3)
        if info.dtype == np.bool_:
            mask = write.where(mask, 0.0, -np.inf, heads.dtype)
            given = None if given is None else np.where(given, 0.0, -np.inf)
        known = given if window is None or given is None else given + known
        total = mask if window is None else write.op("Add", mask, window)
    if total is None:
        return [], None
    if known is not None and not (known.max(axis=-1) == -np.inf).any():
        return [total], None
    most = _row_maximum(write, total)
    return [total], write.op("Equal", most, write.scalar(-np.inf, heads.dtype))


def _row_maximum(write: Writer, x: str) -> str:
    if write.opset >= 18:
        return write.op("ReduceMax", x, write.integers(-1), keepdims=1)
    return write.op("ReduceMax", x, axes=[-1], keepdims=1)
