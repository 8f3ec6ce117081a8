"""Activations of ONNX Runtime with a bias in front: the sum becomes an operator of its own."""

from __future__ import annotations

from collections.abc import Sequence

from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer


@decomposes(CONTRIB, "BiasGelu")
def bias_gelu(whole: Whole, write: Writer) -> Sequence[str]:
    """A row added, then the exact Gelu."""
    added = write.op("Add", whole.required(0), whole.required(1))
    return [write.op("Gelu", added, domain=CONTRIB)]


@decomposes(CONTRIB, "FastGelu")
def fast_gelu(whole: Whole, write: Writer) -> Sequence[str] | None:
    """A row added, then Gelu by the hyperbolic tangent."""
    if whole.input(1) is None:
        return None
    added = write.op("Add", whole.required(0), whole.required(1))
    return [write.op("FastGelu", added, domain=CONTRIB)]
