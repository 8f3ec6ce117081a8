"""What people's .onnx files hold: old and new operator sets, unsorted graphs, control flow, types.

Each model is a few lines of onnx.helper; right is what ONNX Runtime gives for the very file.
"""

from __future__ import annotations

import errno
import os
import re

import numpy as np
import onnx
import pytest
from ml_dtypes import bfloat16, int4
from onnx import TensorProto, helper
from onnx_files import BOOL, FLOAT, INT64, check, floats, runtime, save, tensor, value

from pimloop.errors import PimloopError
from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.operators import run_node, run_reference
from pimloop.host.cpu.segments import Segment, SessionCache
from pimloop.host.models.graph import to_model
from pimloop.host.models.inputs import random_inputs, read_arrays, write_arrays
from pimloop.host.models.loader import LoadOptions, load_model

# -- operator sets, order, domains ---------------------------------------------------------------


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 24, 25, 26, 27])
def test_operator_sets_from_7_to_the_newest(opset, tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    constants = [("w", floats(8, 4)), ("b", floats(4))]
    path = save(tmp_path, nodes, [("x", FLOAT, [3, 8])], [("y", FLOAT, None)], constants, opset)
    assert [n.op for n in check(path, {"x": floats(3, 8)}).nodes] == ["MatMul", "Add", "Relu"]


def test_an_operator_set_beyond_all_is_refused(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = save(tmp_path, nodes, [("x", FLOAT, [3])], [("y", FLOAT, None)], opset=99)
    with pytest.raises(PimloopError, match="operator set 99 is not supported; 7 to"):
        load_model(str(path))


def test_operators_in_any_order(tmp_path):
    nodes = [
        helper.make_node("Neg", ["b"], ["y"]),
        helper.make_node("Exp", ["a"], ["b"]),
        helper.make_node("Relu", ["x"], ["a"]),
    ]
    path = save(tmp_path, nodes, [("x", FLOAT, [3])], [("y", FLOAT, None)])
    assert [n.op for n in check(path, {"x": floats(3)}).nodes] == ["Relu", "Exp", "Neg"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("Neg", "b", "a"), ("Neg", "a", "b"), ("Neg", "x", "y")], "form a cycle"),
        ([("Neg", "x", "y"), ("Exp", "x", "y")], "makes 'y', which another operator has made"),
        ([("Neg", "x", "x"), ("Exp", "x", "y")], "makes 'x', which an input or constant has"),
        ([("Neg", "ghost", "y")], "reads 'ghost', which no input, constant or operator makes"),
    ],
)
def test_wiring_that_cannot_be_is_named(nodes, message, tmp_path):
    made = [helper.make_node(op, [a], [b]) for op, a, b in nodes]
    path = save(tmp_path, made, [("x", FLOAT, [3])], [("y", FLOAT, None)])
    with pytest.raises(PimloopError, match=message):
        load_model(str(path))


@pytest.mark.parametrize(
    ("op", "inputs", "opset"),
    [
        ("SimplifiedLayerNormalization", ["x", "s"], 17),
        ("LayerNormalization", ["x", "s", "s"], 14),
        ("LayerNormalization", ["x", "s", "s"], 9),
        ("GroupNormalization", ["n", "s4", "s4"], 21),
    ],
)
def test_normalizations_that_only_the_runtime_knows(op, inputs, opset, tmp_path):
    attributes = {"num_groups": 2} if op.startswith("Group") else {"axis": -1}
    nodes = [helper.make_node(op, inputs, ["y"], **attributes)]
    given = [("x", FLOAT, [4, 8])] if inputs[0] == "x" else [("n", FLOAT, [1, 4, 8])]
    constants = [c for c in (("s", floats(8)), ("s4", floats(4))) if c[0] in inputs]
    path = save(tmp_path, nodes, given, [("y", FLOAT, None)], constants, opset)
    check(path, {name: floats(*shape) for name, _, shape in given})


def test_a_contributed_operator_whose_shape_depends_on_the_data_is_refused(tmp_path):
    nodes = [helper.make_node("Unique", ["x"], ["y", "i", "c"], domain="com.microsoft")]
    outputs = [("y", FLOAT, None), ("i", INT64, None), ("c", INT64, None)]
    path = save(tmp_path, nodes, [("x", FLOAT, [6])], outputs, domains=["com.microsoft"])
    with pytest.raises(PimloopError, match="depends on the data"):
        load_model(str(path))


def test_a_shape_that_depends_on_the_data_is_that_of_the_given_inputs(tmp_path):
    """Also behind other operators; with other values it is an error, never a wrong result."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("NonZero", ["n"], ["places"]),
        helper.make_node("ReduceSum", ["x", "axes"], ["sums"], keepdims=0),
        helper.make_node("Abs", ["sums"], ["y"]),
    ]
    inputs = [("x", FLOAT, [2, 3]), ("axes", INT64, [1])]
    path = save(tmp_path, nodes, inputs, [("places", INT64, None), ("y", FLOAT, None)])
    feeds = {"x": np.array([[1, 0, 2], [0, 0, 3]], np.float32), "axes": np.array([1])}
    graph = check(path, feeds, LoadOptions(given=feeds))
    assert graph.tensors["places"].shape == (2, 3)
    assert graph.tensors["y"].shape == (2,)
    buffers = TensorBuffers(graph)
    buffers.store("x", feeds["x"])
    buffers.store("axes", np.array([0]))
    bound = SessionCache().bind(graph, Segment("cpu_serial", graph.nodes), buffers)
    with pytest.raises(PimloopError, match=r"cannot execute it on these inputs.*shape"):
        bound.run()
    with pytest.raises(PimloopError, match="depends on the data; give the inputs with --inputs"):
        load_model(str(path))


def test_what_made_up_values_are_refused_for_is_said_and_only_then(tmp_path):
    """A Range takes no step of 0; NonZero takes every value, and its shape differs."""
    step = helper.make_node("Range", ["a", "b", "c"], ["y"], "count")
    path = save(tmp_path, [step], [(n, FLOAT, []) for n in "abc"], [("y", FLOAT, [None])])
    with pytest.raises(PimloopError, match=r"'count' \(Range\).*depends on the data") as refused:
        load_model(path, LoadOptions())
    assert re.search(r"on values made up for it: .*delta", str(refused.value), re.DOTALL)
    find = helper.make_node("NonZero", ["a"], ["y"], "find")
    path = save(tmp_path, [find], [("a", FLOAT, [4])], [("y", TensorProto.INT64, [1, None])])
    with pytest.raises(PimloopError, match=r"'find' \(NonZero\).*depends on the data") as differs:
        load_model(path, LoadOptions())
    assert "made up" not in str(differs.value)


def test_a_reduced_scalar_and_a_shape_that_nobody_knows_are_told_apart(tmp_path):
    """ONNX Runtime says [] of both."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)]
    inputs = [("x", FLOAT, [2, 3]), ("axes", INT64, [0])]
    path = save(tmp_path, nodes, inputs, [("y", FLOAT, None)])
    graph = check(path, {"x": floats(2, 3), "axes": np.zeros(0, np.int64)})
    assert graph.tensors["y"].shape == (1, 1)


def test_operators_of_bfloat16_are_computed_in_float32_and_rounded(tmp_path):
    weight = floats(8, 4).astype(bfloat16)
    nodes = [
        helper.make_node("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16),
        helper.make_node("MatMul", ["b", "w"], ["p"]),
        helper.make_node("Cast", ["p"], ["y"], to=FLOAT),
    ]
    path = save(tmp_path, nodes, [("x", FLOAT, [2, 8])], [("y", FLOAT, None)], [("w", weight)], 21)
    graph = load_model(str(path))
    assert [n.op for n in graph.nodes] == ["Cast", "Cast", "MatMul", "Cast", "Cast"]
    x = floats(2, 8)
    right = x.astype(bfloat16).astype(np.float32) @ weight.astype(np.float32)
    result = run_reference(graph, {"x": x})["y"]
    np.testing.assert_allclose(result, right.astype(bfloat16).astype(np.float32), rtol=2**-7)
    assert np.array_equal(result, result.astype(bfloat16).astype(np.float32))


def test_packed_integers_are_executed(tmp_path):
    """Two in a byte in ONNX Runtime, one in a byte in numpy: an odd count shows which."""
    values = np.random.default_rng(1).integers(-8, 8, (3, 5)).astype(int4)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Cast", ["t"], ["y"], to=FLOAT),
    ]
    path = save(tmp_path, nodes, [("x", TensorProto.INT4, [3, 5])], [("y", FLOAT, None)], opset=21)
    graph = load_model(str(path))
    buffers = TensorBuffers(graph)
    buffers.store("x", values)
    assert np.array_equal(buffers.array("x"), values)
    segment = Segment("cpu_serial", graph.nodes)
    SessionCache().bind(graph, segment, buffers, graph.outputs).run()
    assert np.array_equal(buffers.array("y"), values.T.astype(np.float32))
    assert np.array_equal(run_reference(graph, {"x": values})["y"], values.T.astype(np.float32))


# -- constants -----------------------------------------------------------------------------------


def test_what_is_constant_is_evaluated_before_its_shape_is_asked_for(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["c"], ["nz"]),
        helper.make_node("Cast", ["nz"], ["f"], to=FLOAT),
        helper.make_node("ReduceSum", ["f"], ["s"], keepdims=0),
        helper.make_node("Compress", ["v", "m"], ["u"]),
        helper.make_node("Unique", ["v"], ["q"]),
        helper.make_node("Add", ["x", "s"], ["a"]),
        helper.make_node("Add", ["a", "u"], ["b"]),
        helper.make_node("Add", ["b", "q"], ["y"]),
    ]
    constants = [
        ("c", np.array([[0, 1], [2, 0]], np.float32)),
        ("v", np.array([3, 1], np.float32)),
        ("m", np.array([True, True])),
    ]
    path = save(tmp_path, nodes, [("x", FLOAT, [2])], [("y", FLOAT, None)], constants)
    assert [n.op for n in check(path, {"x": floats(2)}).nodes] == ["Add", "Add", "Add"]


def test_narrow_types_are_folded(tmp_path):
    weight = floats(8, 4).astype(bfloat16)
    packed = np.random.default_rng(1).integers(-8, 8, (4, 3)).astype(int4)
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=FLOAT),
        helper.make_node("MatMul", ["x", "f"], ["p"]),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["d"], axis=1),
        helper.make_node("MatMul", ["p", "d"], ["y"]),
    ]
    constants = [("w", weight), ("q", packed), ("scale", np.array([0.5, 1, 2], np.float32))]
    path = save(tmp_path, nodes, [("x", FLOAT, [2, 8])], [("y", FLOAT, None)], constants, 21)
    graph = check(path, {"x": floats(2, 8)})
    assert [n.op for n in graph.nodes] == ["MatMul", "MatMul"]
    assert np.array_equal(graph.constants["f"], weight.astype(np.float32))
    assert np.array_equal(graph.constants["d"], packed.astype(np.float32) * [0.5, 1, 2])


def external(name, kind, shape, place, **entries):
    made = TensorProto(name=name, data_type=kind, dims=shape)
    made.data_location = TensorProto.EXTERNAL
    for key, text in {"location": place, **entries}.items():
        made.external_data.add(key=key, value=str(text))
    return made


def test_external_data_of_packed_types_and_in_attributes(tmp_path):
    values = np.arange(-8, 7).astype(int4)
    (tmp_path / "q.bin").write_bytes(tensor(values, "q").raw_data)
    (tmp_path / "a.bin").write_bytes(np.arange(15, dtype=np.float32).tobytes())
    inside = external("a", FLOAT, [15], "a.bin")
    nodes = [
        helper.make_node("Cast", ["q"], ["f"], to=FLOAT),
        helper.make_node("Constant", [], ["a"], value=inside),
        helper.make_node("Add", ["f", "a"], ["s"]),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    packed = external("q", TensorProto.INT4, [15], "q.bin", length=8)
    path = save(tmp_path, nodes, [("x", FLOAT, [15])], [("y", FLOAT, None)], [packed], 21)
    graph = load_model(str(path))
    assert np.array_equal(graph.constants["s"], np.arange(15) + np.arange(-8, 7))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/etc/passwd", "outside the model's folder"),
        ("../w.bin", "outside the model's folder"),
        ("w\0.bin", "outside the model's folder"),
        ("", "outside the model's folder"),
        ("folder", "is no file"),
        ("nowhere.bin", "cannot read its data"),
        ("x" * 5000, "cannot be found|cannot read"),
    ],
)
@pytest.mark.parametrize("attribute", [False, True])
def test_hostile_places_of_external_data(attribute, place, message, tmp_path):
    (tmp_path / "folder").mkdir()
    made = external("w", FLOAT, [4], place)
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    if attribute:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=made))
    constants = [] if attribute else [made]
    path = save(tmp_path, nodes, [("x", FLOAT, [4])], [("y", FLOAT, None)], constants)
    with pytest.raises(PimloopError, match=message):
        load_model(str(path))


def test_scalars_stay_scalars(tmp_path):
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["row"], axis=0),
        helper.make_node("ReduceMean", ["row"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    path = save(
        tmp_path, nodes, [("x", FLOAT, [2, 8]), ("i", INT64, [])], [("y", FLOAT, None)],
        [("w", floats(6, 8))],
    )  # fmt: skip
    graph = check(path, {"x": floats(2, 8), "i": np.array(3)})
    assert graph.tensors["row"].shape == (8,)
    assert graph.tensors["m"].shape == ()


def test_an_initializer_that_is_an_input_may_be_overridden(tmp_path):
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    inputs = [("x", FLOAT, [4]), ("w", FLOAT, [4])]
    path = save(tmp_path, nodes, inputs, [("y", FLOAT, None)], [("w", np.zeros(4, np.float32))])
    assert load_model(str(path)).inputs == ("x",)
    feeds = {"x": floats(4), "w": np.ones(4, np.float32)}
    check(path, feeds, LoadOptions(given=feeds))


# -- attributes and names ------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "attributes"), [("Squeeze", []), ("Unsqueeze", ["axes"])])
def test_a_list_without_values(op, attributes, tmp_path):
    """Left out where that means the same, else kept with its type."""
    node = helper.make_node(op, ["x"], ["y"])
    node.attribute.append(helper.make_attribute("axes", [], attr_type=onnx.AttributeProto.INTS))
    path = save(tmp_path, [node], [("x", FLOAT, [1, 4])], [("y", FLOAT, None)], opset=11)
    graph = check(path, {"x": floats(1, 4)})
    again = to_model(graph).proto.graph.node[0].attribute
    assert [a.name for a in again] == attributes
    assert all(a.type == onnx.AttributeProto.INTS and not a.ints for a in again)


def test_an_attribute_called_name_is_no_traceback(tmp_path):
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    node.attribute.append(helper.make_attribute("name", "strange"))
    path = save(
        tmp_path, [node], [("x", FLOAT, [4])], [("y", FLOAT, None)], domains=["com.microsoft"]
    )
    with pytest.raises(PimloopError, match=r"\(Gelu\).*Unrecognized attribute: name"):
        load_model(str(path))


def test_a_name_that_is_no_text(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="NAME")]
    path = save(tmp_path, nodes, [("x", FLOAT, [4])], [("y", FLOAT, None)])
    path.write_bytes(path.read_bytes().replace(b"NAME", b"N\xffME"))
    with pytest.raises(PimloopError, match="utf-8"):
        load_model(str(path))


def test_thousands_of_operators_of_one_name(tmp_path):
    count = 8000
    nodes = [helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"], name="n") for i in range(count)]
    path = save(tmp_path, nodes, [("t0", FLOAT, [2])], [(f"t{count}", FLOAT, None)])
    graph = load_model(str(path))
    assert len({node.id for node in graph.nodes}) == count


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("MatMul", ["x", "x", "x"], ["y"])], "has 3 inputs, 2 are right"),
        ([helper.make_node("MatMul", ["x"], ["y"])], "has 1 input, 2 are right"),
        ([helper.make_node("Shape", [], ["y"])], "has 0 inputs, 1 is right"),
        ([helper.make_node("Constant", [], ["y"])], "has 0 attributes"),
        (
            [
                helper.make_node(
                    "Constant", [], ["y"],
                    value=TensorProto(data_type=FLOAT, dims=[4], raw_data=b"abc"),
                )
            ],
            r"\[4\] of float32 takes 16 bytes, it has 3",
        ),
        ([helper.make_node("Dropout", ["x", "", "t"], ["y"])], "draws random numbers"),
        ([helper.make_node("Bernoulli", ["x"], ["y"])], "draws random numbers"),
    ],
)  # fmt: skip
def test_malformed_and_random_operators_are_named(nodes, message, tmp_path):
    constants = [("t", np.array(True))]
    path = save(tmp_path, nodes, [("x", FLOAT, [4, 4])], [("y", FLOAT, None)], constants)
    with pytest.raises(PimloopError, match=message):
        load_model(str(path))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("drawn", ["RandomNormalLike", "Bernoulli", "Dropout", None])
def test_operators_that_draw_in_a_body_are_refused(drawn, nested, tmp_path):
    """A body that is executed whole draws anew each time; one that draws nothing is let through."""
    if drawn in (None, "Dropout"):
        training = helper.make_node("Constant", [], ["t"], value_int=int(drawn is not None))
        inner = [
            training,
            helper.make_node("Cast", ["t"], ["flag"], to=TensorProto.BOOL),
            helper.make_node("Dropout", ["x", "", "flag" if drawn else ""], ["b"]),
        ]
    else:
        inner = [helper.make_node(drawn, ["x"], ["b"])]
    other = [helper.make_node("Neg", ["x"], ["b"])]

    def choose(nodes, result):
        outputs = [helper.make_tensor_value_info("b", FLOAT, [4])]
        return helper.make_node(
            "If", ["c"], [result],
            then_branch=helper.make_graph(nodes, "then", [], outputs),
            else_branch=helper.make_graph(other, "else", [], outputs),
        )  # fmt: skip

    top = choose([choose(inner, "b")], "y") if nested else choose(inner, "y")
    inputs = [("x", FLOAT, [4]), ("c", TensorProto.BOOL, [])]
    path = save(tmp_path, [top], inputs, [("y", FLOAT, None)])
    if drawn is None:
        assert len(load_model(str(path)).nodes) == 1
        return
    with pytest.raises(PimloopError, match=f"{drawn} in its body draws random numbers"):
        load_model(str(path))


def test_noise_without_data_is_drawn_once(tmp_path):
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["n"]),
        helper.make_node("Add", ["x", "n"], ["y"]),
    ]
    path = save(tmp_path, nodes, [("x", FLOAT, [4])], [("y", FLOAT, None)])
    first, second = load_model(str(path)), load_model(str(path))
    assert [n.op for n in first.nodes] == ["Add"]
    assert np.array_equal(first.constants["n"], second.constants["n"])
    assert first.constants["n"].std() > 0


# -- bombs ---------------------------------------------------------------------------------------


def test_functions_that_call_each_other_twice(tmp_path):
    depth = 24

    def function(level):
        inner = f"F{level - 1}"
        nodes = [
            helper.make_node(inner, ["x"], ["a"], domain="f"),
            helper.make_node(inner, ["a"], ["y"], domain="f"),
        ]
        if not level:
            nodes = [helper.make_node("Neg", ["x"], ["y"])]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        return helper.make_function("f", f"F{level}", ["x"], ["y"], nodes, imports)

    functions = [function(level) for level in range(depth + 1)]
    nodes = [helper.make_node(f"F{depth}", ["x"], ["y"], domain="f")]
    ends = [("x", FLOAT, [4])], [("y", FLOAT, None)]
    path = save(tmp_path, nodes, *ends, domains=["f"], functions=functions)
    with pytest.raises(PimloopError, match=f"{2**depth:,} operators; at most"):
        load_model(str(path))
    nodes = [helper.make_node("F3", ["x"], ["y"], domain="f")]
    path = save(tmp_path, nodes, *ends, domains=["f"], functions=functions)
    assert [n.op for n in check(path, {"x": floats(4)}).nodes] == ["Neg"] * 8


def test_a_function_that_calls_itself(tmp_path):
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    body = [helper.make_node("R", ["x"], ["y"], domain="f")]
    function = helper.make_function("f", "R", ["x"], ["y"], body, imports)
    path = save(
        tmp_path, body, [("x", FLOAT, [4])], [("y", FLOAT, None)], domains=["f"],
        functions=[function],
    )  # fmt: skip
    with pytest.raises(PimloopError, match="'R' of domain 'f' calls itself"):
        load_model(str(path))


def test_constants_that_grow(tmp_path):
    nodes = []
    for index in range(6):
        filled = helper.make_node("ConstantOfShape", ["size"], [f"c{index}"])
        nodes += [filled, helper.make_node("ReduceMax", [f"c{index}"], [f"m{index}"], keepdims=0)]
    nodes.append(helper.make_node("Sum", ["x", *(f"m{i}" for i in range(6))], ["y"]))
    for size, fits in ((1 << 27, False), (1 << 10, True)):
        constants = [("size", np.array([size]))]
        path = save(tmp_path, nodes, [("x", FLOAT, [4])], [("y", FLOAT, None)], constants)
        if fits:
            assert [n.op for n in load_model(str(path)).nodes] == ["Sum"]
        else:
            with pytest.raises(PimloopError, match="constants that the model computes have"):
                load_model(str(path))


# -- control flow --------------------------------------------------------------------------------


def branch(op, name):
    return helper.make_graph(
        [helper.make_node(op, ["x"], ["z"])], name, [], [value("z", FLOAT, [4])]
    )


def fork(condition):
    return helper.make_node(
        "If", [condition], ["y"], then_branch=branch("Relu", "t"), else_branch=branch("Neg", "e")
    )


@pytest.mark.parametrize("taken", [True, False])
def test_a_constant_condition_is_decided(taken, tmp_path):
    constants = [("c", np.array(taken))]
    path = save(tmp_path, [fork("c")], [("x", FLOAT, [4])], [("y", FLOAT, None)], constants)
    ops = [n.op for n in check(path, {"x": floats(4)}).nodes]
    assert ops == ["Relu" if taken else "Neg", "Identity"]


@pytest.mark.parametrize("taken", [True, False])
def test_another_condition_is_executed_whole(taken, tmp_path):
    nodes = [
        helper.make_node("Neg", ["a"], ["x"]),
        fork("c"),
        helper.make_node("Abs", ["y"], ["o"]),
    ]
    path = save(tmp_path, nodes, [("a", FLOAT, [4]), ("c", BOOL, [])], [("o", FLOAT, None)])
    feeds = {"a": floats(4), "c": np.array(taken)}
    graph = check(path, feeds)
    assert [n.op for n in graph.nodes] == ["Neg", "If_0", "Abs"]
    assert set(graph.nodes[1].inputs) == {"c", "x"}
    (alone,) = run_node(graph, graph.nodes[1], {"c": feeds["c"], "x": -feeds["a"]})
    assert np.array_equal(np.abs(alone), runtime(path, feeds)["o"])


def loop(trips, keep):
    """A loop that adds its number to a sum, and gives every sum out."""
    body = helper.make_graph(
        [
            helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
            helper.make_node("Add", ["s", "f"], ["t"]),
            helper.make_node("Mul", ["t", "x"], ["each"]),
            helper.make_node("Identity", ["c"], ["d"])
            if keep
            else helper.make_node("Less", ["i", "two"], ["d"]),
        ],
        "body",
        [value("i", INT64, []), value("c", BOOL, []), value("s", FLOAT, [4])],
        [value("d", BOOL, []), value("t", FLOAT, [4]), value("each", FLOAT, [4])],
    )
    return helper.make_node("Loop", [trips, "", "x"], ["y", "all"], body=body)


def test_a_constant_trip_count_is_unrolled(tmp_path):
    constants = [("n", np.array(3))]
    outputs = [("y", FLOAT, None), ("all", FLOAT, None)]
    path = save(tmp_path, [loop("n", keep=True)], [("x", FLOAT, [4])], outputs, constants)
    graph = check(path, {"x": floats(4)})
    assert "Loop" not in {n.op.split("_")[0] for n in graph.nodes}
    assert graph.tensors["all"].shape == (3, 4)


def test_a_loop_that_stops_by_its_data_is_refused_where_its_shape_is_open(tmp_path):
    constants = [("n", np.array(5)), ("two", np.array(2))]
    outputs = [("y", FLOAT, None), ("all", FLOAT, None)]
    path = save(tmp_path, [loop("n", keep=False)], [("x", FLOAT, [4])], outputs, constants)
    with pytest.raises(PimloopError, match=r"\(Loop\).*depends on the data"):
        load_model(str(path))


# -- axes ----------------------------------------------------------------------------------------


def of_shapes(**shapes):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def cached(folder):
    """Tokens and a past of another length, with the mask of both."""
    nodes = [
        helper.make_node("Concat", ["past", "x"], ["all"], axis=1),
        helper.make_node("Add", ["all", "mask"], ["y"]),
    ]
    inputs = [
        ("x", FLOAT, ["batch_size", "sequence_length"]),
        ("past", FLOAT, ["batch_size", "past_sequence_length"]),
        ("mask", FLOAT, ["batch_size", "past_sequence_length + sequence_length"]),
    ]
    return save(folder, nodes, inputs, [("y", FLOAT, None)])


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(sequence_length=4, batch=2, axes={"past_sequence_length": 8}),
        LoadOptions(given=of_shapes(x=(2, 4), past=(2, 8), mask=(2, 12))),
        LoadOptions(sequence_length=4, shapes={"past": (2, 8)}),
        LoadOptions(sequence_length=4, given=of_shapes(mask=(2, 12))),
    ],
)
def test_every_axis_follows_from_what_is_said(options, tmp_path):
    graph = load_model(str(cached(tmp_path)), options)
    assert [graph.tensors[n].shape for n in ("x", "past", "mask")] == [(2, 4), (2, 8), (2, 12)]
    assert graph.sequence_length == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LoadOptions(sequence_length=4), r"axis 1 \(past_sequence_length\).*--axis past_seq"),
        (LoadOptions(axes={"nothing": 4}), "no axis 'nothing'.*its named axes: batch_size"),
        (
            LoadOptions(given=of_shapes(x=(2, 4), past=(3, 8))),
            "'batch_size' would have two lengths: 2 by the given values of 'x', 3 by",
        ),
        (
            LoadOptions(given=of_shapes(x=(2, 4), past=(2, 8), mask=(2, 11))),
            "two lengths: 11 by the given values of 'mask', 12 by",
        ),
        (LoadOptions(given=of_shapes(x=(2, 4)), shapes={"x": (2, 5)}), "--shape says"),
        (
            LoadOptions(given=of_shapes(x=(4,))),
            r"\[4\] does not fit \[batch_size, sequence_length\]",
        ),
    ],
)
def test_axes_that_stay_open_or_disagree(options, message, tmp_path):
    with pytest.raises(PimloopError, match=message):
        load_model(str(cached(tmp_path)), options)


def test_a_length_of_minus_one_is_unknown(tmp_path):
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    path = save(tmp_path, nodes, [("x", FLOAT, [-1, 4])], [("y", FLOAT, None)])
    shape = load_model(str(path), LoadOptions(shapes={"x": (3, 4)})).tensors["y"].shape
    assert shape == (3, 4)


@pytest.mark.parametrize("name", ["bert-small", "gpt2"])
def test_a_batch_of_a_built_in_model_is_that_many_sequences(name):
    options = LoadOptions(sequence_length=3, batch=2)
    graph, single = load_model(name, options), load_model(name, LoadOptions(sequence_length=3))
    feeds = random_inputs(graph)
    assert feeds["input_ids"].shape == (2, 3)
    # The paper's board ran one sequence: its totals are not those of two.
    assert (graph.built_in, single.built_in) == (False, True)
    both = run_reference(graph, feeds)["logits"]
    for index in range(2):
        alone = run_reference(single, {n: a[index : index + 1] for n, a in feeds.items()})["logits"]
        np.testing.assert_allclose(both[index : index + 1], alone, rtol=1e-4, atol=1e-4)


# -- values --------------------------------------------------------------------------------------


def test_an_index_may_count_from_the_end(tmp_path):
    nodes = [helper.make_node("Gather", ["w", "i"], ["y"])]
    path = save(tmp_path, nodes, [("i", INT64, [3])], [("y", FLOAT, None)], [("w", floats(5, 2))])
    check(path, {"i": np.array([-5, 4, 0])})
    with pytest.raises(PimloopError, match=r"outside 0\.\.4.*-5\.\.-1"):
        check(path, {"i": np.array([-6, 4, 0])})


@pytest.mark.parametrize(
    ("nodes", "feeds", "message"),
    [
        (
            [
                helper.make_node("Add", ["a", "a"], ["i"]),
                helper.make_node("Gather", ["w", "i"], ["y"]),
            ],
            {"a": np.array([1, 4])},
            "idx=8",
        ),
        ([helper.make_node("Div", ["a", "b"], ["y"])],
         {"a": np.array([1, 2]), "b": np.array([1, 0])}, "Integer division by zero"),
        ([helper.make_node("Mod", ["a", "b"], ["y"])],
         {"a": np.array([1, 2]), "b": np.array([1, 0])}, "modulo by zero"),
    ],
)  # fmt: skip
def test_what_fails_on_the_values_is_one_error(nodes, feeds, message, tmp_path):
    kind = FLOAT if nodes[-1].op_type == "Gather" else INT64
    constants = [("w", floats(5, 2))] if kind == FLOAT else []
    inputs = [(name, INT64, [2]) for name in feeds]
    path = save(tmp_path, nodes, inputs, [("y", kind, None)], constants)
    graph = load_model(str(path))
    with pytest.raises(PimloopError, match=f"model m: ONNX Runtime cannot execute it.*{message}"):
        run_reference(graph, feeds)
    buffers = TensorBuffers(graph)
    for name, array in feeds.items():
        buffers.store(name, array)
    bound = SessionCache().bind(graph, Segment("cpu_serial", graph.nodes), buffers)
    with pytest.raises(PimloopError, match=message):
        bound.run()


def test_an_operator_that_fails_on_any_values_says_why(tmp_path):
    """No data make 6 elements fewer out of 4: the reason is that of ONNX Runtime."""
    pads = ("p", np.array([-3, -3]))
    nodes = [helper.make_node("Pad", ["x", "p"], ["y"])]
    path = save(tmp_path, nodes, [("x", FLOAT, [4])], [("y", FLOAT, None)], [pads])
    with pytest.raises(PimloopError, match=r"Tensor shape\.Size\(\) must be >= 0"):
        load_model(path, LoadOptions())


def test_arrays_of_any_name_are_written_and_read_again(tmp_path):
    arrays = {"file": floats(3), "allow_pickle": np.array(2), "a/b c": np.zeros((0, 2), np.int64)}
    write_arrays(tmp_path / "out.npz", arrays)
    again = read_arrays(tmp_path / "out.npz")
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        assert again[name].shape == array.shape
        assert np.array_equal(again[name], array)


def test_outputs_that_cannot_be_written_leave_the_file_as_it_was(tmp_path, monkeypatch):
    write_arrays(tmp_path / "out.npz", {"y": floats(3)})
    before = (tmp_path / "out.npz").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PimloopError, match=r"cannot write .*out\.npz: No space left on device"):
        write_arrays(tmp_path / "out.npz", {"y": floats(4)})
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]
    assert (tmp_path / "out.npz").read_bytes() == before
