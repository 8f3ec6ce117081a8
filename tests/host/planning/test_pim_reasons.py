"""What `pimloop models show` says of operators that cannot run on the PIM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimloop.host.cli
from pimloop.host.cli.models import summarize
from pimloop.host.models.onnx_file import load_onnx
from pimloop.host.operators import Capabilities, kept_on_cpu, pim_capable
from pimloop.host.planning.reasons import cpu_only, reasons
from pimloop.host.platforms.platform import load_platform

PAPER = Capabilities(
    activation_matmul=False,
    elementwise_max_rank=3,
    operands="paper",
    types=frozenset({"float32"}),
)


def mixed(folder: Path) -> Path:
    """Return a file with an operator for every reason; multiply-adds in products of 4 sizes."""
    nodes = [
        ("MatMul", ["x", "w"], "on_pim"),  # (3,4,5) (5,6): 360
        ("MatMul", ["x", "batch"], "batched"),  # (3,4,5) (3,5,7): 420
        ("MatMul", ["x", "t"], "scores"),  # (3,4,5) (3,5,4): 240
        ("MatMul", ["left", "u"], "lefty"),  # (8,4) (3,4,5): 480
        ("Add", ["x", "middle"], "added"),
        ("Softmax", ["x"], "soft"),
        ("Tanh", ["x"], "cut"),
        ("Add", ["x", "mask"], "masked"),
        ("Add", ["i", "i"], "integers"),
        ("Transpose", ["x"], "t"),
        ("Abs", ["x"], "u"),
    ]
    order = ["Transpose", "Abs"]
    protos = [
        helper.make_node(op, inputs, [name], name=name,
                         **({"perm": [0, 2, 1]} if op == "Transpose" else {}))
        for op, inputs, name in sorted(nodes, key=lambda node: node[0] not in order)
    ]  # fmt: skip
    draw = np.random.default_rng(0)
    constants = {
        name: draw.standard_normal(shape, np.float32)
        for name, shape in {
            "w": (5, 6), "batch": (3, 5, 7), "left": (8, 4), "middle": (3, 1, 5), "mask": (5,),
        }.items()
    }  # fmt: skip
    constants["mask"][0] = np.finfo(np.float32).min
    outputs = ["on_pim", "batched", "scores", "lefty", "added", "soft", "cut", "masked", "integers"]
    graph = helper.make_graph(
        protos,
        "mixed",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4, 5]),
            helper.make_tensor_value_info("i", TensorProto.INT64, [2]),
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "mixed.onnx"))
    return folder / "mixed.onnx"


def table(file: Path, capabilities: Capabilities) -> dict[str, tuple[dict[str, int], int]]:
    graph = load_onnx(file)
    kept = kept_on_cpu(graph, capabilities)
    groups = reasons(graph, pim_capable(graph, capabilities), capabilities, kept)
    counts = cpu_only(graph, pim_capable(graph, capabilities), capabilities, kept)
    assert counts == {group.reason: group.count for group in groups}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    return {group.reason: (dict(group.operators), group.multiply_adds) for group in groups}


def test_reasons_on_the_papers_board(tmp_path: Path) -> None:
    reasons = table(mixed(tmp_path), PAPER)
    assert reasons == {
        "a product with a constant on the left": ({"MatMul": 1}, 480),
        "a product by a constant of more than two axes": ({"MatMul": 1}, 420),
        "a product of two activations, which the platform leaves out": ({"MatMul": 1}, 240),
        "the PIM has no such operation": (
            {"Transpose": 1, "Abs": 1, "Softmax": 1, "Tanh": 1}, 0,
        ),
        "element-wise with a broadcast other than (r), (p,1) and one element": ({"Add": 1}, 0),
        "a constant with finite values beyond the largest bfloat16 (kept_on_cpu)": ({"Add": 1}, 0),
        "int64 operands, the PIM takes float32": ({"Add": 1}, 0),
    }  # fmt: skip
    assert list(reasons)[:4] == [
        "a product with a constant on the left",
        "a product by a constant of more than two axes",
        "a product of two activations, which the platform leaves out",
        "the PIM has no such operation",
    ]


def test_reasons_where_the_driver_takes_everything(tmp_path: Path) -> None:
    reasons = table(mixed(tmp_path), Capabilities())
    assert {reason: operators for reason, (operators, _) in reasons.items()} == {
        "the PIM has no such operation": {"Transpose": 1, "Abs": 1, "Softmax": 1, "Tanh": 1},
        "a constant with finite values beyond the largest bfloat16 (kept_on_cpu)": {"Add": 1},
        "int64 operands, the PIM takes float32 and float16": {"Add": 1},
    }


def test_an_operation_that_a_platform_leaves_out(tmp_path: Path) -> None:
    reasons = table(mixed(tmp_path), Capabilities(operators=frozenset({"MatMul"})))
    assert reasons["the platform's [capabilities] leave the operation out"][0] == {"Add": 3}


def show(file: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert pimloop.host.cli.main(["models", "show", str(file), *arguments]) == 0
    return capsys.readouterr().out


def test_the_command_counts_and_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = mixed(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    text = show(file, capsys)
    assert "1,500 multiply-adds in products, 24.0 % of them can run on the PIM" in text
    lines = [line for line in text.splitlines() if line[:1] in "│┃┡┏└"]
    assert len(lines) > 20
    assert max(map(len, lines)) <= 80
    summary: dict[str, Any] = json.loads(show(file, capsys, "--json"))
    assert (summary["multiply_adds"], summary["pim_multiply_adds"]) == (1500, 360)
    assert sum(group["count"] for group in summary["cpu_only"]) == 10
    assert summary["nodes"] - summary["pim_nodes"] == 10
    assert summary["cpu_only"][0] == {
        "reason": "a product with a constant on the left",
        "count": 1,
        "operators": {"MatMul": 1},
        "multiply_adds": 480,
    }
    everything = json.loads(show(file, capsys, "--json", "--platform", "aim"))
    assert everything["pim_multiply_adds"] == 1500


def test_what_does_not_fit_says_so(tmp_path: Path) -> None:
    """Weights of 4 MiB as the driver stores them, on a device of 2 MiB."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1024])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.ones((1024, 2048), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "large.onnx"))
    small = load_platform("htg-z920", {"device.rows": "16"})
    summary = summarize(load_onnx(tmp_path / "large.onnx"), small)
    (group,) = summary["cpu_only"]
    assert group["reason"] == (
        "weights or activations that do not fit into device memory (kept_on_cpu)"
    )
    assert group["multiply_adds"] == summary["multiply_adds"] == 1024 * 2048
    assert summary["pim_multiply_adds"] == 0
