"""One byte of a model changed at random: the right result, or one clear error; nothing else.

Every change is loaded and executed in a child with bounds on memory and time. Where ONNX Runtime
executes the changed file too, the results have to be its.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from ml_dtypes import int4
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from sandbox import run_bounded
from support.tiny_checkpoints import write_checkpoint
from support.tiny_models import TINY

from pimloop.host.cpu.operators import run_reference, session_options
from pimloop.host.models.graph import Array, to_model
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph, load_model
from pimloop.host.models.weights import RandomWeights

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _value(name: str, kind: int, shape: list[int] | None) -> object:
    return helper.make_tensor_value_info(name, kind, shape)


def transformer(folder: Path) -> Path:
    """Write an encoder as an exporter does: every operator, weights inside."""
    graph = build_graph(TINY["bert"], RandomWeights(TINY["bert"]), LoadOptions(sequence_length=3))
    (folder / "m.onnx").write_bytes(to_model(graph, inline=True).proto.SerializeToString())
    return folder / "m.onnx"


def control_flow(folder: Path) -> Path:
    """Write a choice, a loop and a function, with names that the graphs inside share."""

    def branch(op: str) -> object:
        ends = [_value("z", FLOAT, [4])]
        return helper.make_graph([helper.make_node(op, ["x"], ["z"])], op, [], ends)

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["sum", "x"], ["next"]),
            helper.make_node("Mul", ["next", "next"], ["square"]),
        ],
        "body",
        [_value("i", INT64, []), _value("go", BOOL, []), _value("sum", FLOAT, [4])],
        [_value("on", BOOL, []), _value("next", FLOAT, [4]), _value("square", FLOAT, [4])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    twice = helper.make_function(
        "f", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], imports
    )
    nodes = [
        helper.make_node("If", ["c"], ["chosen"], then_branch=branch("Relu"),
                         else_branch=branch("Neg")),
        helper.make_node("Loop", ["trips", "", "chosen"], ["last", "all"], body=body),
        helper.make_node("Twice", ["last"], ["y"], domain="f"),
        helper.make_node("ReduceSum", ["all"], ["s"], keepdims=0),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [_value("x", FLOAT, [4]), _value("c", BOOL, [])],
        [_value("y", FLOAT, [4]), _value("s", FLOAT, [])],
        [numpy_helper.from_array(np.array(3), "trips")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=imports, ir_version=10, functions=[twice])
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def external_int4(folder: Path) -> Path:
    """Write a product with packed weights, all constants in a file beside the model."""
    chance = np.random.default_rng(0)
    packed = chance.integers(-8, 8, (8, 6)).astype(int4)
    constants = [
        numpy_helper.from_array(packed, "q"),
        numpy_helper.from_array(chance.random(6, np.float32), "scale"),
        numpy_helper.from_array(chance.random((1, 6), np.float32), "bias"),
        numpy_helper.from_array(np.array([3, 2]), "shape"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "bias"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [_value("x", FLOAT, [1, 8])], [_value("y", FLOAT, None)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    external_data_helper.convert_model_to_external_data(model, location="m.bin", size_threshold=20)
    path = folder / "m.onnx"
    external_data_helper.write_external_data_tensors(model, str(folder))
    path.write_bytes(model.SerializeToString())
    return path


def weights(folder: Path) -> Path:
    """Write a checkpoint; its weights are changed."""
    write_checkpoint(folder, "distilbert")
    return folder / "model.safetensors"


def configuration(folder: Path) -> Path:
    """Write a checkpoint; its configuration is changed."""
    write_checkpoint(folder, "gpt2")
    return folder / "config.json"


def changed(content: bytes, seed: int) -> bytes:
    """Return a file with one byte changed: half of the places near its start or its end."""
    chance = random.Random(seed)
    near = min(len(content), 1500)
    places = [range(len(content)), range(near), range(len(content) - near, len(content))]
    at = chance.choice(places[chance.choice((0, 0, 1, 2))])
    other = chance.choice([b for b in range(256) if b != content[at]])
    return content[:at] + bytes([other]) + content[at + 1 :]


def runtime(path: Path, feeds: dict[str, Array]) -> dict[str, Array] | None:
    """Return what ONNX Runtime gives for a file; None where it refuses it."""
    try:
        session = ort.InferenceSession(str(path), session_options(1))
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception:  # onnxruntime's exceptions share no public base class
        return None


def execute(path: Path) -> str:
    """Load and execute a model; compare with ONNX Runtime's own result for the file."""
    model = path if path.suffix == ".onnx" else path.parent
    options = None if path.suffix == ".onnx" else LoadOptions(sequence_length=3)
    graph = load_model(str(model), options)
    feeds = random_inputs(graph)
    values = run_reference(graph, feeds, threads=1)
    wanted = runtime(path, feeds) if path.suffix == ".onnx" else None
    if wanted is None:
        return "executed"
    for name, value in wanted.items():
        same = np.allclose(values[name], value, rtol=1e-4, atol=1e-4, equal_nan=True)
        if values[name].shape != value.shape or not same:
            return f"WRONG {name}: {values[name]} instead of {value}"
    return "equal"


@pytest.mark.parametrize("make", [transformer, control_flow, external_int4, weights, configuration])
@pytest.mark.parametrize(
    "seeds", [pytest.param(range(30), id="30"),
              pytest.param(range(30, 300), id="300", marks=pytest.mark.full)]
)  # fmt: skip
def test_one_changed_byte(make: Callable[[Path], Path], seeds: range, tmp_path: Path) -> None:
    path = make(tmp_path)
    content = path.read_bytes()
    assert run_bounded(lambda: execute(path)).text in ("equal", "executed")
    endings: Counter[str] = Counter()
    for seed in seeds:
        path.write_bytes(changed(content, seed))
        ending = run_bounded(lambda: execute(path))
        assert ending.kind in ("returned", "refused"), f"seed {seed}: {ending.kind}: {ending.text}"
        assert not ending.text.startswith("WRONG"), f"seed {seed}: {ending.text}"
        assert ending.megabytes < 1024, f"seed {seed}: {ending.megabytes:.0f} MiB"
        endings[ending.kind] += 1
    assert endings["refused"] > 0
