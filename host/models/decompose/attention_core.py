"""What all forms of attention have in common: scores, mask, softmax, weighted values.

Fewer heads of keys than of queries (grouped queries) need no copies of the keys: the queries that
share a head are rows of one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimloop.host.models.decompose.writer import Writer


@dataclass(frozen=True)
class Heads:
    """The sizes of an attention."""

    batch: int
    heads: int
    shared: int  # heads of keys and values
    queries: int  # rows of the query
    keys: int  # rows of the key, those of a cache included
    size: int  # of a head of query and key
    value_size: int
    dtype: Any


def split_heads(write: Writer, x: str, batch: int, rows: int, heads: int, size: int) -> str:
    """Return (batch, rows, heads x size) as (batch, heads, rows, size)."""
    return write.transpose(write.reshape(x, (batch, rows, heads, size)), (0, 2, 1, 3))


def merge_heads(write: Writer, x: str, heads: Heads) -> str:
    """Return (batch, heads, rows, size) as (batch, rows, heads x size)."""
    turned = write.transpose(x, (0, 2, 1, 3))
    return write.reshape(turned, (heads.batch, heads.queries, heads.heads * heads.value_size))


def attend(
    write: Writer,
    heads: Heads,
    query: str,
    key: str,
    value: str,
    scale: float,
    bias: Sequence[str] = (),
    softcap: float = 0.0,
) -> str:
    """Return softmax(scale query key^T + bias) value as (batch, heads, queries, value size).

    Parameters
    ----------
    write
        Where the operators go.
    heads
        The sizes.
    query, key, value
        (batch, heads, queries, size), (batch, shared, keys, size), (batch, shared, keys, value
        size).
    scale
        Factor of the scores; applied to the query, which is smaller.
    bias
        Tensors that broadcast to (batch, heads, queries, keys), added to the scores.
    softcap
        Bound c of the scores, c tanh(scores / c); 0: none.
    """
    rows = (heads.batch, heads.heads, heads.queries)
    group = (heads.batch, heads.shared, heads.heads // heads.shared * heads.queries)
    scaled = write.scale(query, scale / softcap if softcap else scale, heads.dtype)
    scaled = write.reshape(scaled, (*group, heads.size), (*rows, heads.size))
    scores = write.op("MatMul", scaled, write.transpose(key, (0, 1, 3, 2)))
    scores = write.reshape(scores, (*rows, heads.keys), (*group, heads.keys))
    if softcap:
        scores = write.scale(write.op("Tanh", scores), softcap, heads.dtype)
    for tensor in bias:
        scores = write.op("Add", scores, tensor)
    shares = write.op("Softmax", scores, axis=-1)
    shares = write.reshape(shares, (*group, heads.keys), (*rows, heads.keys))
    result = write.op("MatMul", shares, value)
    return write.reshape(result, (*rows, heads.value_size), (*group, heads.value_size))


def visible_bias(
    write: Writer, heads: Heads, offset: int, left: int | None = None, right: int | None = 0
) -> str | None:
    """Return -inf for keys that a query does not see; None where it sees all.

    Query i, at position p = i + offset, sees keys p - left to p + right; None: no bound. Causal is
    a right bound of 0.
    """
    last = np.arange(heads.queries)[:, None] + offset
    keys = np.arange(heads.keys)[None, :]
    seen = np.ones((heads.queries, heads.keys), np.bool_)
    if right is not None:
        seen &= keys <= last + right
    if left is not None:
        seen &= keys >= last - left
    if seen.all():
        return None
    return write.constant(np.where(seen, 0.0, -np.inf).astype(heads.dtype)[None, None])
