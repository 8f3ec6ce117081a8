"""What a PIM operator may read: any broadcast, any product of `numpy.matmul`, float16.

Every operator goes the whole way, from capability through placement and driver to a functional
device, in both styles. Expected bits come from the golden arithmetic one product at a time, with
numpy's own broadcasting of shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import helper
from support.small_devices import operand, plain, small_device

from pimloop.host.common import golden
from pimloop.host.cpu.operators import run_reference
from pimloop.host.execution.accuracy import compare
from pimloop.host.execution.execution import Execution
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.verification import OPERATOR_LIMIT, Verifier
from pimloop.host.models.graph import Graph, TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.planning.graph import partition_graph
from pimloop.host.platforms.platform import load_platform

STYLES = ("per_bank", "all_bank")

#: Of the device, bytes: room for the largest operands that are drawn, (3,3,70,300) among them.
CAPACITY = 1 << 21

NUMPY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}
Array = np.ndarray[Any, Any]


def model(
    op: str, operands: Mapping[str, Array], constants: tuple[str, ...], **attributes: object
) -> Graph:
    """Return a model of one operator on `operands`, in their order."""
    node = helper.make_node(op, list(operands), ["y"], name="n", **attributes)
    return normalize(
        RawModel(
            "one",
            [node],
            {name: operands[name] for name in constants},
            {
                name: TensorInfo(value.shape, value.dtype)
                for name, value in operands.items()
                if name not in constants
            },
            ("y",),
            {"": 17},
        )
    )


def execute(
    graph: Graph, feeds: Mapping[str, Array], style: str, *, on_cpu: tuple[str, ...] = ()
) -> Execution:
    """Run every operator but those of types `on_cpu` on the PIM of a small device.

    Its bits are the golden model's, its values those of float32 operators on the same operands.
    """
    operations = pim_capable(graph, Capabilities())
    assert set(operations) == {node.id for node in graph.nodes if node.op not in on_cpu}
    assignment = {n.id: "pim" if n.id in operations else "cpu_serial" for n in graph.nodes}
    with (
        small_device(style, CAPACITY) as device,
        PimDriver(device) as driver,
        Verifier(graph) as verifier,
        ResidentModel(graph, operations, driver) as resident,
    ):
        executor = Executor(graph, assignment, operations, resident, verifier=verifier)
        executor.load_weights()
        execution = executor.run({name: feeds[name] for name in graph.inputs})
        assert verifier.wait(60)
        assert not verifier.mismatches
        assert max(verifier.errors.values()) <= OPERATOR_LIMIT
    return execution


def golden_product(a: Array, b: Array) -> Array:
    """Return numpy.matmul(a, b) in the device's arithmetic, as float32."""
    left = a.reshape(1, -1) if a.ndim == 1 else a
    right = b.reshape(-1, 1) if b.ndim == 1 else b
    lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    result = np.empty((*lead, left.shape[-2], right.shape[-1]), np.uint16)
    for batch in np.ndindex(*lead):
        result[batch] = golden.matmul(
            golden.to_bf16_bits(np.broadcast_to(left, (*lead, *left.shape[-2:]))[batch]),
            golden.to_bf16_bits(np.broadcast_to(right, (*lead, *right.shape[-2:]))[batch]),
        )
    if b.ndim == 1:
        result = result[..., 0]
    if a.ndim == 1:
        result = result[..., 0] if b.ndim == 1 else result[..., 0, :]
    return golden.bf16_to_f32(result)


def assert_bits(result: Array, expected: Array) -> None:
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    wide = np.uint32 if result.dtype == np.float32 else np.uint16
    assert (result.view(wide) == expected.view(wide)).all()


# ---- element-wise ------------------------------------------------------------------------------


@st.composite
def broadcast_pairs(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw two shapes that broadcast, each with axes of 1 and axes left out."""
    result = draw(st.lists(st.integers(1, 4), max_size=4))
    if result:
        result[-1] = draw(st.sampled_from([1, 3, 33, 130]))

    def part() -> tuple[int, ...]:
        cut = draw(st.integers(0, len(result)))
        return tuple(1 if draw(st.booleans()) else size for size in result[cut:])

    return part(), part()


@pytest.mark.parametrize("style", STYLES)
@given(broadcast_pairs(), st.sampled_from(sorted(NUMPY)), st.sampled_from(["", "a", "b"]))
@example(((1, 4, 12, 12), (1, 1, 12, 12)), "Add", "b")
@example(((1, 1, 12, 12), (1, 4, 12, 12)), "Sub", "a")
@example(((7, 1), (1, 9)), "Sub", "")
@example(((), ()), "Mul", "b")
def test_any_broadcast(
    style: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], op: str, constant: str
) -> None:
    values = {"a": operand(1, *shapes[0]), "b": operand(2, *shapes[1])}
    graph = model(op, values, (constant,) if constant else ())
    with np.errstate(all="ignore"):
        whole = NUMPY[op](values["a"], values["b"])
    expected = golden.bf16_to_f32(golden.to_bf16_bits(whole)).reshape(whole.shape)
    assert_bits(execute(graph, values, style).values["y"], expected)


# ---- products ----------------------------------------------------------------------------------


@st.composite
def matmul_pairs(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw the shapes of two operands of numpy.matmul."""
    lead = draw(st.lists(st.integers(1, 3), max_size=2))
    inner = draw(st.sampled_from([1, 2, 31, 70]))

    def batch() -> tuple[int, ...]:
        cut = draw(st.integers(0, len(lead)))
        return tuple(1 if draw(st.booleans()) else size for size in lead[cut:])

    rows, columns = draw(st.sampled_from([1, 2, 4, 40])), draw(st.sampled_from([1, 5, 17, 66, 300]))
    left = (inner,) if draw(st.integers(0, 3)) == 0 else (*batch(), rows, inner)
    right = (inner,) if draw(st.integers(0, 3)) == 0 else (*batch(), inner, columns)
    return left, right


@pytest.mark.parametrize("style", STYLES)
@given(matmul_pairs(), st.sampled_from(["", "a", "b"]))
@example(((64, 64), (64, 8)), "a")  # constant on the left
@example(((4, 8, 16), (4, 16, 16)), "b")  # a constant matrix for each of a batch
@example(((3, 8, 16), (1, 16, 9)), "b")
@example(((2, 4, 3, 16), (2, 1, 16, 5)), "")  # grouped queries
@example(((64,), (64, 64)), "b")
@example(((40, 64), (64,)), "a")
@example(((64,), (64,)), "b")
@example(((70,), (2, 70, 5)), "b")
@example(((2, 3, 70), (70,)), "a")
@example(((5, 70), (70, 1)), "")
def test_any_product(
    style: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], constant: str
) -> None:
    values = {"a": plain(1, *shapes[0]) / 64, "b": plain(2, *shapes[1]) / 64}
    graph = model("MatMul", values, (constant,) if constant else ())
    expected = golden_product(values["a"], values["b"])
    assert_bits(execute(graph, values, style).values["y"], expected)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("constant", ["", "a", "b"])
@pytest.mark.parametrize("shapes", [((6, 40), (40, 7)), ((40,), (3, 40, 5)), ((6, 40), (40,))])
def test_products_with_nan_and_infinities(
    style: str, constant: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    values = {"a": operand(3, *shapes[0]), "b": operand(4, *shapes[1])}
    graph = model("MatMul", values, (constant,) if constant else ())
    assert set(pim_capable(graph, Capabilities())) == {"n"}
    with np.errstate(all="ignore"):
        expected = golden_product(values["a"], values["b"])
    operations = pim_capable(graph, Capabilities())
    with (
        small_device(style, CAPACITY) as device,
        PimDriver(device) as driver,
        ResidentModel(graph, operations, driver) as resident,
    ):
        executor = Executor(graph, {"n": "pim"}, operations, resident)
        executor.load_weights()
        result = executor.run({name: values[name] for name in graph.inputs}).values["y"]
    assert_bits(result, expected)


@pytest.mark.parametrize("style", STYLES)
def test_results_of_products_with_vectors_are_operands_again(style: str) -> None:
    """A result has the axes of its tensor in device memory, whatever the product saw."""
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal((9, 9), np.float32)
    nodes = [
        helper.make_node("MatMul", ["m", "x"], ["p"], name="p"),  # (9)
        helper.make_node("MatMul", ["p", "m"], ["q"], name="q"),  # (9)
        helper.make_node("Add", ["p", "q"], ["s"], name="s"),
        helper.make_node("MatMul", ["s", "q"], ["d"], name="d"),  # ()
        helper.make_node("Mul", ["s", "d"], ["y"], name="y"),
    ]
    vector = TensorInfo((9,), np.dtype(np.float32))
    graph = normalize(RawModel("m", nodes, {"m": matrix}, {"x": vector}, ("y",), {"": 17}))
    x = rng.standard_normal(9, np.float32)

    def rounded(values: Array) -> Array:
        return golden.bf16_to_f32(golden.to_bf16_bits(values))

    p = golden_product(matrix, x)
    q = golden_product(p, matrix)
    s = rounded(p + q)
    expected = rounded(s * golden_product(s, q))
    assert_bits(execute(graph, {"x": x}, style).values["y"], expected)


# ---- float16 -----------------------------------------------------------------------------------


def half(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


@pytest.mark.parametrize("style", STYLES)
def test_a_float16_model_runs_in_bfloat16(style: str) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="m"),
        helper.make_node("Add", ["m", "b"], ["y"], name="y"),
    ]
    kind = np.dtype(np.float16)
    constants = {"w": half(1, 8, 8), "b": half(2, 8)}
    inputs = {"x": TensorInfo((4, 8), kind)}
    graph = normalize(RawModel("half", nodes, constants, inputs, ("y",), {"": 17}))
    x = half(3, 4, 8)
    product = golden_product(x.astype(np.float32), constants["w"].astype(np.float32))
    row = golden.bf16_to_f32(golden.to_bf16_bits(constants["b"]))
    expected = golden.bf16_to_f32(golden.to_bf16_bits(product + row)).astype(np.float16)
    execution = execute(graph, {"x": x}, style)
    assert_bits(execution.values["y"], expected)
    on_pim = dict.fromkeys(("m", "y"), "pim")
    (comparison,) = compare(graph, on_pim, execution.values, run_reference(graph, {"x": x}))
    assert comparison.passed, comparison


@pytest.mark.parametrize("style", STYLES)
@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=40))
def test_results_become_float16(style: str, words: list[int]) -> None:
    """Nearest even from bfloat16: subnormals stay, what is beyond 65,504 is infinite."""
    x = np.array(words, np.uint16).view(np.float16)
    ones = np.ones(1, np.float16)
    graph = model("Mul", {"x": x, "b": ones}, ("b",))
    result = execute(graph, {"x": x}, style).values["y"]
    with np.errstate(all="ignore"):
        expected = x.astype(ml_dtypes.bfloat16).astype(np.float16)
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, expected)


def test_types_of_a_platform() -> None:
    graph = model("MatMul", {"x": half(1, 2, 3), "w": half(2, 3, 4)}, ("w",))
    assert pim_capable(graph, Capabilities())
    assert not pim_capable(graph, Capabilities(types=frozenset({"float32"})))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_transfer_moves_bfloat16_whatever_the_host_has(kind: type) -> None:
    """2 bytes an element cross; the price is one for an element, not for the host's bytes."""
    graph = model(
        "MatMul", {"x": half(1, 2, 3).astype(kind), "w": half(2, 3, 4).astype(kind)}, ("w",)
    )
    execution = execute(graph, {"x": half(1, 2, 3).astype(kind)}, "per_bank")
    assert [(t.direction, t.elements, t.nbytes) for t in execution.transfers] == [
        ("cpu>pim", 6, 12),
        ("pim>cpu", 8, 16),
    ]
    aim = load_platform("aim")
    operators = partition_graph(graph, pim_fit(graph, aim), aim)
    assert [t.bytes for t in operators.tensors] == [12, 16]


def test_float16_tensors_move_in_plans() -> None:
    graph = model("MatMul", {"x": half(1, 2, 3), "w": half(2, 3, 4)}, ("w",))
    aim = load_platform("aim")
    operators = partition_graph(graph, pim_fit(graph, aim), aim)
    both = {("cpu", "pim"), ("pim", "cpu")}
    assert {t.id: (t.bytes, set(t.moves)) for t in operators.tensors} == {
        "x": (12, both),
        "y": (16, both),
    }
