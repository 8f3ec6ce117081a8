"""Attention of ONNX (operator sets 23 and 24)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from host.models.decompose.attention_core import (
    Heads,
    attend,
    causal_bias,
    merge_heads,
    split_heads,
)
from host.models.decompose.registry import Whole, decomposes
from host.models.decompose.writer import Writer

_PAST = 4


@decomposes("", "Attention")
def attention(whole: Whole, write: Writer) -> Sequence[str]:
    """Q, K, V with heads as an axis or side by side; a mask; keys and values of earlier steps."""
    whole.check_float()
    whole.ignore("q_num_heads", "kv_num_heads", "qk_matmul_output_mode", "softmax_precision")
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
    """Return what is added to the scores, and which queries see no key at all ("" if none can)."""
    causal = causal_bias(write, heads, past) if whole.integer("is_causal", 0) else None
    found = [causal] if causal is not None else []
    mask = whole.input(3)
    if mask is None:
        return found, None
    info = whole.info(3)
    whole.check(info.shape[-1] in (1, heads.keys), "its mask is for fewer keys than there are")
    if info.dtype == np.bool_:
        mask = write.where(mask, 0.0, -np.inf, heads.dtype)
    known = whole.constant(3)
    if known is not None and not _blocks_rows(known, write.constants.get(causal or "")):
        return [*found, mask], None
    total = mask if causal is None else write.op("Add", mask, causal)
    most = _row_maximum(write, total)
    return [total], write.op("Equal", most, write.scalar(-np.inf, heads.dtype))


def _blocks_rows(mask: np.ndarray, causal: np.ndarray | None) -> bool:
    """Return whether a query may see no key."""
    bias = np.where(mask, 0.0, -np.inf) if mask.dtype == np.bool_ else mask
    total = bias if causal is None else bias + causal
    return bool((np.asarray(total).max(axis=-1) == -np.inf).any())


def _row_maximum(write: Writer, x: str) -> str:
    if write.opset >= 18:
        return write.op("ReduceMax", x, write.integers(-1), keepdims=1)
    return write.op("ReduceMax", x, axes=[-1], keepdims=1)
