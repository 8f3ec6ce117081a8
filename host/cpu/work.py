"""The work of every operator: from its type and the shapes of its tensors.

The serial time of an operator is linear in the parameters of `pimloop.host.cpu.parameters`: a fixed
part for the call, then amounts (elements, multiply-adds) times nanoseconds each. `operator_work`
derives them from the operator's type and shapes alone; `pimloop.host.cpu.model` adds how cores
share the work and `pimloop.host.calibration.calibrate` solves for the parameters.
"""

from __future__ import annotations

from math import prod

import numpy as np

from pimloop.host.cpu import attention, contractions, windows
from pimloop.host.cpu.amounts import (
    CLASSES,
    Basis,
    Describe,
    Work,
    WorkClass,
    inputs,
    result,
)
from pimloop.host.models.decompose.registry import CONTRIB
from pimloop.host.models.graph import Graph, Node

__all__ = ["CLASSES", "Basis", "Work", "WorkClass", "operator_work", "signature"]

#: What a description raises when a node's tensors or attributes are not those of its type.
_NOT_OF_ITS_TYPE = (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError)


def operator_work(graph: Graph, node: Node) -> Work:
    """Return the work of `node`, from its type and the shapes of its tensors."""
    describe = _DESCRIBE.get((node.domain, node.op))
    if describe is None:
        return _other(graph, node)
    try:
        return describe(graph, node)
    except _NOT_OF_ITS_TYPE:
        return _other(graph, node)


# ---- element-wise ------------------------------------------------------------------------------


def _elementwise(extra: str | None = None, *, basis: Basis = "calibrated") -> Describe:
    def describe(graph: Graph, node: Node) -> Work:
        out = result(graph, node)
        elements = out.elements
        operands = inputs(graph, node)
        streams = elements + sum(info.elements for info in operands if info.elements == elements)
        # A smaller operand with a last axis of one is a scalar for each row: nothing is read.
        rows = sum(
            elements
            for info in operands
            if 1 < info.elements < elements and info.shape and info.shape[-1] > 1
        )
        amounts: dict[str, float] = {"stream_ns": streams, "row_ns": rows}
        if len(operands) > 1:
            amounts["span_ns"] = max(_spans(info.shape, out.shape) for info in operands)
        if extra is not None:
            amounts[extra] = elements
        call = "elementwise_call_us" if len(operands) > 1 else "unary_call_us"
        return Work("element-wise", call, amounts, elements, basis=basis)

    return describe


def _spans(shape: tuple[int, ...], result: tuple[int, ...]) -> int:
    """Return in how many pieces the runtime walks through a result that `shape` is broadcast to.

    A piece runs over the last axes as long as all of them are broadcast, or none is. A last axis
    of one is walked element by element.

    >>> [_spans(s, (8, 32, 64)) for s in ((8, 32, 64), (64,), (32, 64), (8, 32, 1), ())]
    [1, 256, 8, 256, 1]
    >>> _spans((), (1, 32, 1))
    32
    """
    if not result or result[-1] == 1:
        return prod(result)
    full = (1,) * (len(result) - len(shape)) + shape
    span, state = 1, None
    for size, whole in zip(reversed(full), reversed(result), strict=True):
        if whole == 1:
            continue
        if state is not None and (size == whole) != state:
            break
        state = size == whole
        span *= whole
    return prod(result) // span if span else 0


def _function(parameter: str, basis: Basis = "calibrated") -> Describe:
    def describe(graph: Graph, node: Node) -> Work:
        elements = result(graph, node).elements
        amounts = {parameter: float(elements)}
        return Work("function", "function_call_us", amounts, elements, basis=basis)

    return describe


def _reduction(graph: Graph, node: Node) -> Work:
    elements = inputs(graph, node)[0].elements
    return Work("reduction", "reduce_call_us", {"reduce_ns": elements}, elements)


# ---- movement ----------------------------------------------------------------------------------


def _copy(graph: Graph, node: Node) -> Work:
    elements = sum(graph.tensors[name].elements for name in node.outputs if name)
    call = "slice_call_us" if node.op == "Slice" else "copy_call_us"
    if node.op == "Gather" and node.inputs[0] in graph.constants:
        call = "table_call_us"
    return Work("movement", call, {"copy_ns": elements}, elements)


def _append(graph: Graph, node: Node) -> Work:
    """Describe an operator that may append to a state: then it writes the rows alone."""
    state = graph.state_of.get(node.id)
    if state is None:
        return _copy(graph, node)
    elements = graph.tensors[state.rows].elements
    return Work("movement", "copy_call_us", {"copy_ns": elements}, elements)


def _transpose(graph: Graph, node: Node) -> Work:
    shape = graph.tensors[node.inputs[0]].shape
    order = list(node.attributes.get("perm", range(len(shape))[::-1]))
    # Axes of one element move nothing.
    moved = [axis for axis in order if shape[axis] > 1]
    if moved == sorted(moved) or (moved and moved[-1] == max(moved)):
        return _copy(graph, node)
    elements = prod(shape)
    return Work(
        kind="movement",
        call="copy_call_us",
        amounts={"permute_ns": elements, "permute_miss_ns": elements},
        elements=elements,
        source_bytes=graph.tensors[node.inputs[0]].nbytes,
    )


def _view(call: str) -> Describe:
    def describe(graph: Graph, node: Node) -> Work:
        elements = result(graph, node).elements
        return Work("view", call, {"view_ns": elements}, elements)

    return describe


def _other(graph: Graph, node: Node) -> Work:
    """The stated fallback: a call, and every element read and written once, as one stream each."""
    results = [graph.tensors[name] for name in node.outputs if name]
    elements = sum(info.elements for info in results)
    # Integer operands steer (indices, axes, shapes); a table is read only where it is indexed.
    streamed = sum(
        min(info.elements, elements) for info in inputs(graph, node) if info.dtype.kind == "f"
    )
    return Work(
        kind="other",
        call="elementwise_call_us",
        amounts={"stream_ns": float(elements + streamed)},
        elements=elements,
        basis="unknown",
    )


def _standard() -> dict[str, Describe]:
    """Return the operators of ONNX."""
    table: dict[str, Describe] = {
        "MatMul": contractions.matmul(),
        "Gemm": contractions.gemm(),
        "MatMulInteger": contractions.matmul(basis="derived"),
        "QLinearMatMul": contractions.matmul(3, basis="derived"),
        "Conv": contractions.convolution(),
        "ConvInteger": contractions.convolution(),
        "DeformConv": contractions.convolution(),
        "QLinearConv": contractions.convolution(3),
        "ConvTranspose": contractions.transposed_convolution,
        "Einsum": contractions.einsum,
        "Attention": attention.standard_attention,
        "LSTM": attention.recurrent(5),
        "GRU": attention.recurrent(3),
        "RNN": attention.recurrent(1),
        "Div": _elementwise("divide_ns"),
        "Pow": _elementwise("power_ns"),
        "Sqrt": _elementwise("divide_ns"),  # the same unit computes both
        "Reciprocal": _elementwise("divide_ns"),
        "Erf": _function("erf_ns"),
        "Tanh": _function("tanh_ns"),
        "Softmax": _function("softmax_ns"),
        "LogSoftmax": _function("softmax_ns", "derived"),
        "Gelu": _function("erf_ns", "derived"),
        "Transpose": _transpose,
        "Reshape": _view("reshape_call_us"),
        "LRN": windows.local_response,
        "Resize": windows.interpolation,
        "Upsample": windows.interpolation,
    }
    for op in (
        "Exp", "Log", "Sigmoid", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Asin", "Acos", "Atan",
        "Asinh", "Acosh", "Atanh", "Elu", "Selu", "Celu", "Softplus", "Mish", "HardSwish", "Swish",
    ):  # fmt: skip
        table[op] = _function("tanh_ns", "derived")
    for op in (
        "Add", "Sub", "Mul", "Min", "Max", "Sum", "Mean", "Abs", "Neg", "Relu", "LeakyRelu", "Clip",
        "Floor", "Ceil", "Round", "Sign", "Not", "And", "Or", "Equal", "Greater", "Less", "Where",
        "GreaterOrEqual", "LessOrEqual",
    ):  # fmt: skip
        table[op] = _elementwise()
    for op in (
        "PRelu", "ThresholdedRelu", "HardSigmoid", "Softsign", "Shrink", "Xor", "Mod", "BitShift",
        "IsNaN", "IsInf", "BatchNormalization", "QuantizeLinear", "DequantizeLinear",
        "RotaryEmbedding",
    ):  # fmt: skip
        table[op] = _elementwise(basis="derived")
    for op in ("Mean", "Sum", "Max", "Min", "Prod", "SumSquare", "L1", "L2"):
        table[f"Reduce{op}"] = _reduction
    for op in (
        "ReduceLogSum", "ArgMax", "ArgMin", "CumSum", "GlobalAveragePool", "GlobalMaxPool",
        "GlobalLpPool", "DynamicQuantizeLinear",
    ):  # fmt: skip
        table[op] = windows.all_read
    for op in ("AveragePool", "MaxPool", "LpPool"):
        table[op] = windows.pooling
    for op, passes in (
        ("LayerNormalization", 2), ("GroupNormalization", 2), ("InstanceNormalization", 2),
        ("MeanVarianceNormalization", 2), ("RMSNormalization", 1), ("LpNormalization", 1),
    ):  # fmt: skip
        table[op] = windows.normalization(passes)
    for op in ("Concat", "ScatterElements", "TensorScatter"):
        table[op] = _append
    for op in (
        "Gather", "GatherElements", "GatherND", "Split", "Slice", "Cast", "Expand", "Pad",
        "Tile", "ConstantOfShape", "Range", "Trilu",
    ):  # fmt: skip
        table[op] = _copy
    for op in ("Unsqueeze", "Squeeze", "Flatten", "Identity", "Shape", "Size"):
        table[op] = _view("view_call_us")
    return table


def _contrib() -> dict[str, Describe]:
    """Return the operators of ONNX Runtime's own domain."""
    table: dict[str, Describe] = {
        "FusedMatMul": contractions.fused_matmul,
        "TransposeMatMul": contractions.fused_matmul,
        "FusedGemm": contractions.gemm(basis="derived"),
        "QGemm": contractions.gemm(3, basis="derived"),
        "MatMulIntegerToFloat": contractions.matmul(basis="derived"),
        "DynamicQuantizeMatMul": contractions.matmul(basis="derived"),
        "MatMulNBits": contractions.packed_matmul,
        "MatMulBnb4": contractions.packed_matmul,
        "FusedConv": contractions.convolution(),
        "NhwcFusedConv": contractions.convolution(),
        "QLinearConv": contractions.convolution(3),
        "Attention": attention.projected_attention(4),
        "QAttention": attention.projected_attention(8),
        "MultiHeadAttention": attention.multi_head_attention,
        "GroupQueryAttention": attention.group_query_attention,
        "DynamicQuantizeLSTM": attention.recurrent(5),
        "Gelu": _function("erf_ns", "derived"),
        "BiasGelu": _function("erf_ns", "derived"),
        "FastGelu": _function("tanh_ns", "derived"),
        "QuickGelu": _function("tanh_ns", "derived"),
        "RotaryEmbedding": _elementwise(basis="derived"),
    }
    for op, passes in (
        ("LayerNormalization", 2), ("SkipLayerNormalization", 2), ("GroupNorm", 2),
        ("EmbedLayerNormalization", 2), ("SkipGroupNorm", 2),
        ("SimplifiedLayerNormalization", 1), ("SkipSimplifiedLayerNormalization", 1),
    ):  # fmt: skip
        table[op] = windows.normalization(passes)
    return table


def _describe() -> dict[tuple[str, str], Describe]:
    describers = {("", op): describe for op, describe in _standard().items()}
    # ONNX Runtime registers this one without a domain.
    describers["", "SimplifiedLayerNormalization"] = windows.normalization(1)
    return describers | {(CONTRIB, op): describe for op, describe in _contrib().items()}


_DESCRIBE = _describe()


def signature(graph: Graph, node: Node) -> tuple[object, ...]:
    """Return what the work of `node` depends on: operators with the same one cost the same."""
    shapes = tuple(
        (graph.tensors[name].shape, name in graph.constants) if name else None
        for name in node.inputs
    )
    attributes = tuple(
        sorted((key, repr(np.asarray(value).tolist())) for key, value in node.attributes.items())
    )
    return (node.domain, node.op, shapes, attributes, node.id in graph.state_of)
