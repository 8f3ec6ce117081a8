"""Masks of ONNX Runtime's attention as a tensor that is added to the scores."""

from __future__ import annotations

import numpy as np

from pimloop.host.models.decompose.attention_core import Heads
from pimloop.host.models.decompose.registry import Whole
from pimloop.host.models.decompose.writer import Writer

#: What ONNX Runtime adds to the score of a padded key unless an operator says otherwise.
_FILTER_VALUE = -10000.0


def padding_bias(whole: Whole, write: Writer, index: int, heads: Heads) -> str | None:
    """Return what the padding mask, input `index`, adds; it broadcasts to the scores.

    A mask of integers has an element for each key (1: seen), for each query and key, or one for
    each sequence: the number of its keys, then, in a second half, the first of them.
    """
    name = whole.input(index)
    if name is None:
        return None
    shape, batch, keys = whole.shape(index), heads.batch, heads.keys
    kind = whole.info(index).dtype
    zero = write.scalar(0, kind)
    if shape in ((batch, keys), (batch, heads.queries, keys)):
        rows = shape[1] if len(shape) == 3 else 1
        seen = write.op("Greater", write.reshape(name, (batch, 1, rows, keys)), zero)
    elif shape in ((batch,), (2 * batch,)):
        positions = write.constant(np.arange(keys, dtype=kind).reshape(1, 1, 1, keys))
        ends = write.slice(name, 0, 0, batch) if shape[0] > batch else name
        seen = write.op("Less", positions, write.reshape(ends, (batch, 1, 1, 1)))
        if shape[0] > batch:
            starts = write.reshape(write.slice(name, 0, batch, 2 * batch), (batch, 1, 1, 1))
            early = write.op("Less", positions, starts)
            seen = write.op("And", seen, write.op("Not", early))
    else:
        whole.check(False, f"its mask has the shape {list(shape)}")
    value = whole.number("mask_filter_value", _FILTER_VALUE)
    return write.where(seen, 0.0, value, heads.dtype)
