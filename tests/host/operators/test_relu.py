"""Relu, and Clip where it is the same: matched, computed, and equal to ONNX Runtime's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import exact

from pimloop.host.common import golden
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.onnx_file import load_onnx
from pimloop.host.operators import Capabilities, pim_operation, refusal
from pimloop.host.operators.registry import elementwise
from pimloop.host.platforms.platform import load_platform

EVERY = np.arange(1 << 16, dtype=np.uint16)


def model(folder: Path, op: str, *limits: float | None) -> Path:
    """Return a file of one operator of x (256, 256); `limits`: further inputs, None where none."""
    names = ["" if limit is None else f"limit{i}" for i, limit in enumerate(limits)]
    constants = [
        numpy_helper.from_array(np.float32(limit), name)
        for name, limit in zip(names, limits, strict=True)
        if limit is not None
    ]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], name="op")],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [256, 256])],
        [helper.make_empty_tensor_value_info("y")],
        constants,
    )
    file = folder / f"{op}.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file
    )
    return file


SAME = [("Relu", ()), ("Clip", (0.0,)), ("Clip", (0.0, None))]


@pytest.mark.parametrize(("op", "limits"), SAME)
def test_every_bfloat16_is_what_onnx_runtime_gives(
    tmp_path: Path, op: str, limits: tuple[float | None, ...]
) -> None:
    """All of them, the sign of -0 included; NaN is canonical."""
    graph = load_onnx(model(tmp_path, op, *limits))
    (node,) = graph.nodes
    operation = pim_operation(graph, node, Capabilities())
    assert operation is not None
    assert operation.operands == ("x",)
    ((_, part),) = operation.expected({"x": EVERY.reshape(256, 256)})
    bits = part().reshape(-1)
    assert bits.tolist() == [exact.relu(x) for x in EVERY.tolist()]
    x = golden.bf16_to_f32(EVERY).reshape(256, 256)
    theirs = run_reference(graph, {"x": x})["y"].reshape(-1)
    assert np.array_equal(bits, golden.to_bf16_bits(theirs))


@pytest.mark.parametrize(
    "limits", [(), (None,), (0.5,), (None, 6.0), (0.0, 6.0), (-1.0,), (-0.0,)], ids=str
)
def test_other_limits_stay_on_the_cpu(tmp_path: Path, limits: tuple[float | None, ...]) -> None:
    graph = load_onnx(model(tmp_path, "Clip", *limits))
    reasons = [refusal(graph, node, Capabilities()) for node in graph.nodes]
    assert reasons in ([], ["a Clip other than from 0 on"])


def test_platforms_that_take_all_take_it_and_the_papers_board_does_not(tmp_path: Path) -> None:
    graph = load_onnx(model(tmp_path, "Relu"))
    (node,) = graph.nodes
    for name in ("aim", "native"):
        assert pim_operation(graph, node, load_platform(name).capabilities) is not None
    reason = refusal(graph, node, load_platform("htg-z920").capabilities)
    assert reason == "the platform's [capabilities] leave the operation out"


def test_it_is_an_operation_of_one_operand() -> None:
    kind = elementwise()["relu"]
    assert kind.operands == 1
    assert list(elementwise()) == ["add", "sub", "mul", "relu"]
