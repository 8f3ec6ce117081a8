"""Products of ONNX Runtime with a transposition, a factor or an activation attached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer

#: Attributes of activations, in the order of FusedGemm's and FusedConv's parameters.
_PARAMETERS = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "Softplus": (),
    "Softsign": (),
}


@decomposes(CONTRIB, "FusedMatMul", "TransposeMatMul")
def fused_matmul(whole: Whole, write: Writer) -> Sequence[str]:
    """A factor times the product of two operands, each transposed as asked for."""
    whole.check_float()
    factor = whole.number("alpha", 1.0)
    names, elements = [], []
    for index, letter in enumerate("AB"):
        order = list(range(len(whole.shape(index))))
        if whole.integer(f"transBatch{letter}", 0):
            order = [*order[1:-1], order[0], order[-1]]
        if whole.integer(f"trans{letter}", 0) and len(order) > 1:
            order[-2:] = order[:-3:-1]
        name = whole.required(index)
        names.append(write.transpose(name, order))
        # A factor of a constant is a constant.
        elements.append(0 if name in whole.constants else whole.info(index).elements)
    elements.append(whole.results[0].elements)
    smallest = elements.index(min(elements))
    kind = whole.info(0).dtype
    if smallest < 2:
        names[smallest] = write.scale(names[smallest], factor, kind)
    result = write.op("MatMul", *names)
    return [write.scale(result, factor, kind) if smallest == 2 else result]


@decomposes(CONTRIB, "FusedGemm")
def fused_gemm(whole: Whole, write: Writer) -> Sequence[str]:
    """Gemm, then an activation."""
    whole.check_float()
    kept = {name: whole.attribute(name) for name in ("alpha", "beta", "transA", "transB")}
    given = {name: value for name, value in kept.items() if value is not None}
    operands = [whole.required(0), whole.required(1), whole.input(2)]
    result = write.op("Gemm", *(name for name in operands if name), **given)
    parameters = [
        value
        for name in ("activation_alpha", "activation_beta", "activation_gamma")
        if (value := whole.attribute(name)) is not None
    ]
    return [activation(whole, write, result, parameters)]


def activation(whole: Whole, write: Writer, x: str, parameters: Sequence[Any]) -> str:
    """Return the activation of a fused operator, of x."""
    name = whole.text("activation")
    if not name:
        return x
    if name == "Clip":
        kind = whole.info(0).dtype
        whole.check(len(parameters) == 2, "its Clip has no bounds")
        low, high = (write.scalar(float(value), kind) for value in parameters)
        return write.op("Clip", x, low, high)
    whole.check(name in _PARAMETERS, f"its activation is {name}")
    attributes: dict[str, Any] = {
        key: float(value) for key, value in zip(_PARAMETERS[name], parameters, strict=False)
    }
    return write.op(name, x, **attributes)
