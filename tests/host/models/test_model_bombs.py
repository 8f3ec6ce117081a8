"""Small files that ask for much: loaded or refused within 1 GB and 20 s of CPU time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sandbox import run_bounded
from support.tiny_checkpoints import write_checkpoint

from pimloop.host.models.loader import LoadOptions, load_model

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
OPSET = helper.make_opsetid("", 17)


def value(name: str, kind: int = FLOAT, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, number: object) -> TensorProto:
    return numpy_helper.from_array(np.asarray(number), name)


def write(
    folder: Path,
    nodes: list[onnx.NodeProto],
    constants: list[TensorProto] | None = None,
    shape: list[int] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
) -> Path:
    """Write a model from x to y."""
    graph = helper.make_graph(
        nodes, "g", [value("x", FLOAT, shape or [4])], [value("y")], constants or []
    )
    imports = [OPSET, helper.make_opsetid("f", 1)]
    model = helper.make_model(
        graph, opset_imports=imports, ir_version=10, functions=functions or []
    )
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def functions_of_functions(folder: Path) -> Path:
    def function(level: int) -> onnx.FunctionProto:
        inner = {"domain": "f"} if level else {}
        op = f"F{level - 1}" if level else "Neg"
        nodes = [node(op, "x", "a", **inner), node(op, "a", "y", **inner)]
        return helper.make_function(
            "f", f"F{level}", ["x"], ["y"], nodes, [OPSET, helper.make_opsetid("f", 1)]
        )

    return write(folder, [node("F40", "x", "y", domain="f")],
                 functions=[function(level) for level in range(41)])  # fmt: skip


def filled_constants(folder: Path) -> Path:
    nodes = [node("ConstantOfShape", "size", f"c{i}") for i in range(40)]
    nodes += [node("ReduceMax", f"c{i}", f"m{i}", keepdims=0) for i in range(40)]
    nodes.append(helper.make_node("Sum", ["x", *(f"m{i}" for i in range(40))], ["y"]))
    return write(folder, nodes, [constant("size", [1 << 26])])


def doubled_constants(folder: Path) -> Path:
    nodes = [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(40)]
    nodes += [node("ReduceMax", "c40", "m", keepdims=0), node("Add", "x m", "y")]
    return write(folder, nodes, [constant("c0", np.ones(4, np.float32))])


def long_range(folder: Path) -> Path:
    nodes = [node("Range", "zero end one", "r"), node("ReduceMax", "r", "m", keepdims=0),
             node("Cast", "m", "f", to=FLOAT), node("Add", "x f", "y")]  # fmt: skip
    return write(folder, nodes, [constant("zero", 0), constant("end", 1 << 40), constant("one", 1)])


def expanded_input(folder: Path) -> Path:
    nodes = [node("Expand", "x size", "e"), node("ReduceMax", "e", "y")]
    return write(folder, nodes, [constant("size", [1 << 20, 1 << 20, 4])])


def one_name(folder: Path) -> Path:
    nodes = [node("Neg", f"t{i}", f"t{i + 1}", name="n") for i in range(8000)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    return write(folder, nodes)


def different_shapes(folder: Path) -> Path:
    nodes = [node("Concat", f"t{i} one", f"t{i + 1}", axis=0) for i in range(4000)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    return write(folder, nodes, [constant("one", np.ones(1, np.float32))])


def huge_shape_of_a_constant(folder: Path) -> Path:
    made = TensorProto(name="w", data_type=FLOAT, dims=[1 << 40, 1 << 40])
    return write(folder, [node("Add", "x w", "y")], [made])


def huge_input(folder: Path) -> Path:
    return write(folder, [node("Neg", "x", "y")], shape=[1 << 40, 1 << 20])


def many_axes(folder: Path) -> Path:
    return write(folder, [node("Neg", "x", "y")], shape=[1] * 200_000)


def _branches(depth: int, inner: onnx.NodeProto) -> onnx.NodeProto:
    for level in range(depth):
        ends = [value(inner.output[0])]
        inner = helper.make_node(
            "If", ["c"], [f"y{level}"],
            then_branch=helper.make_graph([inner], "t", [], ends),
            else_branch=helper.make_graph([inner], "e", [], ends),
        )  # fmt: skip
    return inner


def branches_in_branches(folder: Path) -> Path:
    """Twelve deep each of them is in the file 4096 times."""
    inner = _branches(12, node("Neg", "x", "z"))
    return write(folder, [inner, node("Abs", inner.output[0], "y")], [constant("c", True)])


def branches_beyond_what_protobuf_nests(folder: Path) -> Path:
    """Write a graph in an attribute of an operator of a graph, 10,000 times."""
    content = b""
    for number in (1, 5, 6) * 10_000 + (7,):  # node, attribute, its graph; the model's graph
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        content = bytes([number << 3 | 2]) + length + bytes([size]) + content
    (folder / "m.onnx").write_bytes(b"\x08\x0a" + content)
    return folder / "m.onnx"


def loops_in_loops(folder: Path) -> Path:
    inner = node("Neg", "s", "z")
    for level in range(6):
        body = helper.make_graph(
            [node("Identity", "go", "on"), inner], "b",
            [value("i", INT64, []), value("go", BOOL, []), value("s", FLOAT, [4])],
            [value("on", BOOL, []), value(inner.output[0], FLOAT, [4])],
        )  # fmt: skip
        source = "x" if level == 5 else "s"
        inner = helper.make_node("Loop", ["n", "", source], [f"y{level}"], body=body)
    return write(folder, [inner, node("Abs", inner.output[0], "y")], [constant("n", 1000)])


def growing_loop(folder: Path) -> Path:
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Concat", "s s", "z", axis=0)], "b",
        [value("i", INT64, []), value("go", BOOL, []), value("s")],
        [value("on", BOOL, []), value("z")],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["l"], body=body), node("Abs", "l", "y")]
    return write(folder, nodes, [constant("n", 60)])


def claimed_length(folder: Path) -> Path:
    """A graph of 2 GB by its length field."""
    (folder / "m.onnx").write_bytes(b"\x08\x0a\x3a\xff\xff\xff\xff\x07" + b"\x0a" * 64)
    return folder / "m.onnx"


def _checkpoint(folder: Path, name: str, content: bytes) -> Path:
    write_checkpoint(folder, "bert")
    (folder / name).write_bytes(content)
    return folder


def _header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


CHECKPOINTS: dict[str, tuple[str, bytes]] = {
    "header length": ("model.safetensors", _header(b"{}", (1 << 64) - 1)),
    "header nested": ("model.safetensors", _header(b'{"a":' * 1_000_000)),
    "header list": ("model.safetensors", _header(b"[" * 4_000_000)),
    "header entries": (
        "model.safetensors",
        _header(
            b"{%s}" % b", ".join(
                b'"w%d": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}' % i
                for i in range(200_000)
            )
        ),
    ),
    "header axes": (
        "model.safetensors",
        _header(
            b'{"w": {"dtype": "F32", "shape": [%s2], "data_offsets": [0, 4]}}' % (b"2, " * 999_999)
        ),
    ),
    "header number": (
        "model.safetensors",
        _header(
            b'{"w": {"dtype": "F32", "shape": [' + b"9" * 4000 + b'], "data_offsets": [0, 4]}}'
        ),
    ),
    "config nested": ("config.json", b'{"a":' * 1_000_000),
    "config layers": (
        "config.json",
        json.dumps({
            "model_type": "bert", "num_hidden_layers": 1 << 24, "hidden_size": 64,
            "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 101,
            "max_position_embeddings": 40, "type_vocab_size": 2,
        }).encode(),
    ),
}  # fmt: skip


def bounded(path: Path) -> str:
    """Load a model in a child; return how that ended."""

    def load() -> str:
        return str(len(load_model(str(path), LoadOptions(sequence_length=4)).nodes))

    ending = run_bounded(load, megabytes=1024, seconds=20)
    assert ending.kind in ("returned", "refused"), f"{ending.kind}: {ending.text}"
    assert ending.megabytes < 1024
    return f"{ending.kind}: {ending.text}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functions_of_functions, "operators; at most"),
        (filled_constants, "constants that the model computes"),
        (doubled_constants, "constants that the model computes"),
        (long_range, "elements|depends on the data|refuses"),
        (expanded_input, "too many"),
        (one_name, "returned: 8000"),
        (different_shapes, "returned: 4000"),
        (huge_shape_of_a_constant, "damaged|truncated|takes"),
        (huge_input, "at most 268435456 elements"),
        (many_axes, "200000 axes; at most 64"),
        (branches_in_branches, "returned|operators"),
        (branches_beyond_what_protobuf_nests, "damaged|nested"),
        (loops_in_loops, "more than 200,000 operators|returned|depends on the data"),
        (growing_loop, "too many|constants that"),
        (claimed_length, "damaged or no ONNX file"),
    ],
)
def test_files_of_onnx(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    ending = bounded(make(tmp_path))
    assert re.search(message, ending), ending[:400]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name: str, tmp_path: Path) -> None:
    assert bounded(_checkpoint(tmp_path, *CHECKPOINTS[name])).startswith("refused")
