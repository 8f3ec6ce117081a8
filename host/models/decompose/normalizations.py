"""Normalizations of ONNX Runtime with sums in front: the sums become operators of their own.

The normalization itself stays one operator: taken apart it would be nine, of which the CPU, where
they mostly run, would read and write every element nine times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer


@decomposes(CONTRIB, "SkipLayerNormalization")
def skip_layer_normalization(whole: Whole, write: Writer) -> Sequence[str]:
    """Input, skip and bias, added and normalized."""
    added = _sum(whole, write, bias=4)
    parameters = [name for name in (whole.required(2), whole.input(3)) if name]
    return _results(whole, write, "LayerNormalization", added, parameters, 1e-12)


@decomposes(CONTRIB, "SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(whole: Whole, write: Writer) -> Sequence[str]:
    """Input, skip and bias, added and divided by their root mean square."""
    added = _sum(whole, write, bias=3)
    return _results(whole, write, "SimplifiedLayerNormalization", added, [whole.required(2)], 1e-12)


def _sum(whole: Whole, write: Writer, bias: int) -> str:
    whole.check_float()
    added = write.op("Add", whole.required(0), whole.required(1))
    name = whole.input(bias)
    return added if name is None else write.op("Add", added, name)


def _results(
    whole: Whole, write: Writer, op: str, added: str, parameters: Sequence[str], epsilon: float
) -> list[str]:
    whole.check(not whole.wants(1) and not whole.wants(2), "its mean or deviation is an output")
    epsilon = whole.number("epsilon", epsilon)
    result = write.op(op, added, *parameters, axis=-1, epsilon=epsilon)
    return [result, "", "", added][: len(whole.node.outputs)]


@decomposes(CONTRIB, "EmbedLayerNormalization")
def embed_layer_normalization(whole: Whole, write: Writer) -> Sequence[str]:
    """Rows of two or three tables, added and normalized; the number of tokens of a mask."""
    whole.ignore("mask_index_type")
    shape = whole.shape(0)
    whole.check(len(shape) == 2, f"its tokens have the shape {list(shape)}")
    batch, rows = shape
    added = write.op("Gather", whole.required(2), whole.required(0), axis=0)
    if whole.input(8) is not None:
        places = write.op("Gather", whole.required(3), whole.required(8), axis=0)
    else:
        places = write.slice(whole.required(3), 0, 0, rows)
    added = write.op("Add", added, places)
    if whole.input(1) is not None:
        kinds = write.op("Gather", whole.required(4), whole.required(1), axis=0)
        added = write.op("Add", added, kinds)
    epsilon = whole.number("epsilon", 1e-12)
    result = write.op(
        "LayerNormalization", added, whole.required(5), whole.required(6), axis=-1, epsilon=epsilon
    )
    lengths = ""
    if whole.wants(1):
        if whole.input(7) is not None:
            lengths = write.sum(whole.required(7), [1])
        else:
            lengths = write.constant(np.zeros(batch, np.int32))
    return [result, lengths, added][: len(whole.node.outputs)]
