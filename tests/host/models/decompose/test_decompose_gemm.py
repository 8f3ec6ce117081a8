"""Gemm beyond the device's product: transA, alpha, beta, every C; the same values as whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fused_models import compare, load, model_of, ops

from pimloop.host.operators import Capabilities, pim_capable

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


@SETTINGS
@given(
    rows=st.integers(1, 4),
    inner=st.integers(1, 5),
    columns=st.integers(1, 4),
    turned=st.booleans(),
    transposed=st.booleans(),
    alpha=st.sampled_from([1.0, 0.5, -3.0, 0.1]),
    beta=st.sampled_from([1.0, 2.0, 0.0]),
    c=st.sampled_from(["none", "scalar", "one", "row", "flat", "column", "matrix"]),
    constants=st.sets(st.sampled_from("abc"), max_size=2),
    opset=st.sampled_from([11, 13, 17]),
    seed=st.integers(0, 99),
)
def test_gemm(
    rows, inner, columns, turned, transposed, alpha, beta, c, constants, opset, seed
):  # fmt: skip
    draw = np.random.default_rng(seed)
    shapes = {
        "scalar": (),
        "one": (1,),
        "row": (1, columns),
        "flat": (columns,),
        "column": (rows, 1),
        "matrix": (rows, columns),
    }
    inputs = {
        "a": draw.standard_normal((inner, rows) if turned else (rows, inner), np.float32),
        "b": draw.standard_normal((columns, inner) if transposed else (inner, columns), np.float32),
        "c": None if c == "none" else draw.standard_normal(shapes[c], np.float32),
    }
    held = tuple(sorted(name for name in constants if inputs[name] is not None))
    model = model_of(
        "Gemm", inputs, ["y"], constants=held, opset=opset,
        transA=int(turned), transB=int(transposed), alpha=alpha, beta=beta,
    )  # fmt: skip
    columns_of_c = None if inputs["c"] is None or beta == 0 else inputs["c"].shape
    row = columns_of_c in ((columns,), (1, columns))
    plain = not turned and alpha == 1 and (inputs["c"] is None or (beta == 1 and row))
    if len(held) == sum(value is not None for value in inputs.values()):
        assert ops(load(model)) == ["Identity"]  # nothing depends on an input
        return
    if plain:
        graph = load(model)
        assert not graph.decomposed
        assert ops(graph) == ["Gemm"]
    else:
        graph = compare(model, inputs)
    # Every product and sum that is left can run on the PIM.
    operations = pim_capable(graph, Capabilities())
    assert {node.id for node in graph.nodes if node.op != "Transpose"} == set(operations)


@pytest.mark.parametrize(
    ("constants", "expected"),
    [
        ("bc", ["Transpose", "Gemm", "Add"]),  # factors go into the constants
        ("b", ["Transpose", "Mul", "Gemm", "Add"]),
        ("c", ["Mul", "Transpose", "Gemm", "Add"]),
        ("a", ["Mul", "Gemm", "Add"]),
    ],
)
def test_factors_go_to_constants_or_the_smaller_operand(constants, expected) -> None:
    draw = np.random.default_rng(0)
    inputs = {
        "a": draw.standard_normal((6, 4), np.float32),
        "b": draw.standard_normal((6, 5), np.float32),
        "c": draw.standard_normal((4, 1), np.float32),
    }
    model = model_of("Gemm", inputs, ["y"], constants=tuple(constants), transA=1, alpha=0.5,
                     beta=2.0)  # fmt: skip
    assert ops(compare(model, inputs)) == expected


def test_whole_when_asked_for() -> None:
    inputs = {"a": np.ones((2, 3), np.float32), "b": np.ones((3, 4), np.float32)}
    graph = load(model_of("Gemm", inputs, ["y"], alpha=2.0), keep_fused=True)
    assert ops(graph) == ["Gemm"]
    assert graph.kept_whole
    assert not pim_capable(graph, Capabilities())
    plain = load(model_of("Gemm", inputs, ["y"]), keep_fused=True)
    assert not plain.kept_whole
    assert pim_capable(plain, Capabilities())


def test_float16_factors() -> None:
    draw = np.random.default_rng(1)
    inputs = {name: draw.standard_normal(shape).astype(np.float16)
              for name, shape in {"a": (5, 3), "b": (5, 4), "c": (3, 4)}.items()}  # fmt: skip
    model = model_of("Gemm", inputs, ["y"], constants=("b",), transA=1, alpha=0.3, beta=0.7)
    compare(model, inputs, tolerance=2e-3)
