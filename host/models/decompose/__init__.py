"""Fused operators as primitives, so that the products inside them are seen by the partitioner.

One file has the rules of one family of operators; `registry` has the table they enter themselves
into. What has no rule, or a rule that declines (`KeptWhole`), stays one operator on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

# Imported for the rules that they enter into the registry.
from pimloop.host.models.decompose import (  # noqa: F401
    activations,
    attention_contrib,
    attention_grouped,
    attention_standard,
    convolution,
    einsum,
    gemm,
    integer_convolutions,
    integer_products,
    kept,
    normalizations,
    packed_weights,
    products,
)
from pimloop.host.models.decompose.registry import RULES, KeptWhole, Reader, Whole
from pimloop.host.models.decompose.writer import OLDEST, Writer
from pimloop.host.models.graph import Array

__all__ = ["Choice", "KeptWhole", "Parts", "Reader", "Whole", "decompose", "has_rule"]


@dataclass(frozen=True)
class Choice:
    """Which operators are decomposed."""

    keep_fused: bool = False  # none
    im2col: bool = False  # also convolutions that copy their input several times to be a product


@dataclass(frozen=True)
class Parts:
    """What an operator becomes."""

    nodes: Sequence[onnx.NodeProto]  # in a topological order; the last make the operator's results
    constants: Mapping[str, Array]


def has_rule(domain: str, op: str) -> bool:
    """Return whether there is a rule for operators of a type."""
    return (domain, op) in RULES


def decompose(whole: Whole, prefix: str, opset: int) -> Parts | None:
    """Return the primitives that an operator equals; None where it is a primitive itself.

    Parameters
    ----------
    whole
        The operator; `has_rule` holds for its type.
    prefix
        What the names of operators and tensors begin with; unique in the model.
    opset
        Of the standard domain.

    Raises
    ------
    KeptWhole
        When it has a form that the rule does not cover; the text says which.
    """
    if opset < OLDEST:
        raise KeptWhole(f"operator set {opset}: primitives are written for {OLDEST} and later")
    write = Writer(prefix, opset)
    rule = RULES[whole.node.domain, whole.node.op]
    results = rule(whole, write)
    if results is None:
        return None
    if unknown := whole.unknown():
        raise KeptWhole(f"its {' and '.join(unknown)} are not known to the decomposition")
    return Parts(write.finish(results, whole.node.outputs), write.constants)
