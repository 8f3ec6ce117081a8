"""Small files whose products stayed on the CPU, or failed verification: what they must give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from support.fused_models import model_of, model_of_nodes, whole_values
from test_pim_operands import execute

import pimloop.host.cli
from pimloop.host.execution.accuracy import compare
from pimloop.host.models.onnx_file import load_onnx

Array = np.ndarray[Any, Any]
STYLES = ("per_bank", "all_bank")


def floats(seed: int, *shape: int, kind: type = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(kind)


def cases() -> dict[str, tuple[onnx.ModelProto, dict[str, Array]]]:
    """Return model and inputs of each case; its constants are the inputs that it names so."""
    w, c = floats(1, 5, 6), floats(2, 4, 5)
    half = {"x": floats(3, 4, 8, kind=np.float16), "w": floats(4, 8, 8, kind=np.float16),
            "b": floats(5, 8, kind=np.float16)}  # fmt: skip
    two = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    given: dict[str, tuple[onnx.ModelProto, dict[str, Array]]] = {}

    def add(name: str, op: str, inputs: dict[str, Array], constants: str, **flags: Any) -> None:
        model = model_of(op, inputs, ["y"], constants=tuple(constants), **flags)
        given[name] = model, inputs

    add("batched_weight", "MatMul", {"x": floats(6, 4, 8, 16), "w": floats(7, 4, 16, 16)}, "w")
    add("weight_left", "MatMul", {"w": floats(8, 64, 64), "x": floats(9, 64, 8)}, "w")
    add("vector_matrix", "MatMul", {"x": floats(10, 64), "w": floats(11, 64, 64)}, "w")
    add("matrix_vector", "MatMul", {"w": floats(11, 64, 64), "x": floats(10, 64)}, "w")
    flags = {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}
    add("gemm_all_flags", "Gemm", {"x": floats(12, 6, 4), "w": w, "c": c}, "wc", **flags)
    column = {"x": floats(13, 5, 6), "w": floats(14, 6, 5), "c": floats(15, 5, 1)}
    add("gemm_column_bias", "Gemm", column, "wc")
    add("float16_gemm", "MatMul", {"x": floats(16, 4, 64, kind=np.float16),
                                   "w": floats(17, 64, 64, kind=np.float16)}, "w")  # fmt: skip
    given["float16_model"] = model_of_nodes(two, half, ["y"], ("w", "b")), half
    tiny = {"x": (floats(18, 4, 32) * np.float32(1e-20)), "c": np.array(3e-20, np.float32)}
    add("subnormal_products", "Mul", tiny, "c")
    middle = {"x": floats(19, 1, 4, 12, 12), "c": floats(20, 1, 1, 12, 12)}
    add("broadcast_over_heads", "Add", middle, "c")
    return given


CASES = cases()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", sorted(CASES))
def test_all_arithmetic_runs_on_the_pim(name: str, style: str, tmp_path: Path) -> None:
    """Bits as the golden model; values as ONNX Runtime gives for the file, to bfloat16."""
    model, inputs = CASES[name]
    file = tmp_path / f"{name}.onnx"
    onnx.save(model, str(file))
    graph = load_onnx(file)
    result = execute(graph, inputs, style, on_cpu=("Transpose",)).values["y"]
    wanted = whole_values(model, inputs)["y"]
    assert (result.shape, result.dtype) == (wanted.shape, wanted.dtype)
    assignment = {n.id: "cpu_parallel" if n.op == "Transpose" else "pim" for n in graph.nodes}
    (comparison,) = compare(graph, assignment, {"y": result}, {"y": wanted})
    assert comparison.passed, comparison
    if name == "subnormal_products":
        assert 0 < np.abs(wanted).max() < 2.0**-126
        # Off by at most half the distance of two subnormal bfloat16, and a rounding of each factor.
        assert np.abs(result - wanted).max() <= 2.0**-134 + 2.0**-8 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["gemm_all_flags", "float16_model", "subnormal_products"])
def test_the_command_verifies_them(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, inputs = CASES[name]
    file = tmp_path / f"{name}.onnx"
    onnx.save(model, str(file))
    np.savez(tmp_path / "in.npz", **{k: v for k, v in inputs.items() if k == "x"})
    arguments = ["run", str(file), "--policy", "pim_first", "--platform", "aim"]
    arguments += ["--device", "model", "--inputs", str(tmp_path / "in.npz")]
    assert pimloop.host.cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "verification: passed" in capsys.readouterr().out
