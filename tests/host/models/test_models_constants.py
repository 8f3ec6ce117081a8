"""Constants, names and declarations of .onnx files that are legal, odd or wrong.

Right is what ONNX Runtime gives for the very file; what it refuses is one error.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import BOOL, FLOAT, INT64, check, floats, runtime, save, tensor, value

from pimloop.errors import PimloopError
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.loader import LoadOptions, load_model

ADD = helper.make_node("Add", ["x", "w"], ["y"])
NEG = helper.make_node("Neg", ["x"], ["y"])


def changed(path, change):
    """Change the model of a file; return the file's path."""
    model = onnx.load(str(path), load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def small(folder, nodes, constants=(), outputs=(("y", FLOAT, None),), length=2):
    return save(folder, nodes, [("x", FLOAT, [length])], list(outputs), constants, opset=21)


def absent(name, kind=TensorProto.INT4):
    """Return a constant whose data lies in a file that is not there."""
    held = TensorProto(name=name, data_type=kind, dims=[4], data_location=TensorProto.EXTERNAL)
    held.external_data.add(key="location", value="absent.bin")
    return held


# -- constants that nothing reads ----------------------------------------------------------------


def branch(nodes, output, constants=()):
    return helper.make_graph(nodes, output, [], [value(output, FLOAT, [2])], list(constants))


def condition(then_nodes, constants=()):
    return helper.make_node(
        "If", ["c"], ["y"],
        then_branch=branch(then_nodes, "t", constants),
        else_branch=branch([helper.make_node("Abs", ["x"], ["e"])], "e"),
    )  # fmt: skip


@pytest.mark.parametrize("place", ["graph", "operator", "subgraph", "operator inside", "function"])
def test_external_data_of_a_constant_that_nothing_reads_may_be_absent(place, tmp_path):
    held = helper.make_node("Constant", [], ["w"], value=absent("w"))
    negated = helper.make_node("Neg", ["x"], ["t"])
    nodes, constants, functions = [NEG], [("c", np.array(True))], []
    match place:
        case "graph":
            constants.append(absent("w"))
        case "operator":
            nodes.insert(0, held)
        case "subgraph":
            nodes = [condition([negated], [absent("w")])]
        case "operator inside":
            nodes = [condition([held, negated])]
        case "function":
            nodes = [helper.make_node("G", ["x"], ["y"], domain="f")]
            body, imports = [held, negated], [helper.make_opsetid("", 21)]
            functions = [helper.make_function("f", "G", ["x"], ["t"], body, imports)]
    path = save(tmp_path, nodes, [("x", FLOAT, [2])], [("y", FLOAT, None)], constants, 21, ["f"],
                functions)  # fmt: skip
    feeds = {"x": floats(2)}
    if place in ("subgraph", "operator inside"):  # ONNX Runtime checks the files of those
        assert np.array_equal(run_reference(load_model(str(path)), feeds)["y"], -feeds["x"])
    else:
        check(path, feeds)


@pytest.mark.parametrize("taken", [True, False])
def test_external_data_that_a_branch_reads_is_asked_for(taken, tmp_path):
    nodes = [condition([helper.make_node("Add", ["x", "w"], ["t"])], [absent("w", FLOAT)])]
    inputs = [("x", FLOAT, [2]), *([] if taken else [("c", BOOL, [])])]
    constants = [("c", np.array(True))] if taken else []
    path = save(tmp_path, nodes, inputs, [("y", FLOAT, None)], constants)
    with pytest.raises(PimloopError, match=r"'w': cannot read its data .*absent\.bin"):
        load_model(str(path))


# -- names given twice ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [31, 32])
@pytest.mark.parametrize("values", [(10, 20), (10, 20, 30)])
@pytest.mark.parametrize("as_operators", [False, True])
def test_a_constant_given_twice_is_the_one_that_onnx_runtime_takes(
    length, values, as_operators, tmp_path
):
    arrays = [np.full(length, v, np.float32) for v in values]
    held = [
        helper.make_node("Constant", [], ["w"], value=tensor(array, "w")) for array in arrays[1:]
    ]
    constants = [("w", array) for array in (arrays[:1] if as_operators else arrays)]
    path = small(tmp_path, [*(held if as_operators else []), ADD], constants, length=length)
    check(path, {"x": floats(length)})


def test_a_constant_given_in_two_shapes_is_refused(tmp_path):
    path = small(tmp_path, [ADD], [("w", floats(1)), ("w", floats(2))])
    with pytest.raises(PimloopError, match=r"constant 'w' is given 2 times, as float32\["):
        load_model(str(path))


def test_two_constants_of_a_branch_with_one_name_are_refused(tmp_path):
    inner = [tensor(floats(2), "w"), tensor(floats(2), "w")]
    nodes = [condition([helper.make_node("Add", ["x", "w"], ["t"])], inner)]
    path = small(tmp_path, nodes, [("c", np.array(True))])
    with pytest.raises(
        PimloopError, match="the graph 't' in an operator has 2 constants called 'w'"
    ):
        load_model(str(path))


@pytest.mark.parametrize("name", ["t", "w"])
@pytest.mark.parametrize("taken", [True, False])
def test_two_results_of_a_branch_with_one_name_are_refused(taken, name, tmp_path):
    nodes = [helper.make_node("Abs", ["x"], [name]), helper.make_node("Add", ["x", "w"], ["t"])]
    path = small(tmp_path, [condition(nodes, [tensor(floats(2), "w")])], [("c", np.array(taken))])
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        runtime(path, {"x": floats(2)})
    with pytest.raises(PimloopError, match=f"the graph 't' in an operator makes '{name}' twice"):
        load_model(str(path))


def test_a_constant_of_a_branch_hides_one_around_it(tmp_path):
    nodes = [
        condition([helper.make_node("Add", ["x", "w"], ["t"])], [tensor(floats(2), "w")]),
        helper.make_node("Add", ["y", "w"], ["z"]),
    ]
    constants = [("c", np.array(True)), ("w", np.full(2, 100, np.float32))]
    path = small(tmp_path, nodes, constants, [("z", FLOAT, None)])
    check(path, {"x": floats(2)})


@pytest.mark.parametrize("given", [False, True])
def test_a_constant_operator_under_the_name_of_an_input_is_its_default(given, tmp_path):
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor(np.float32([5, 6]), "w")), ADD]
    inputs = [("x", FLOAT, [2]), ("w", FLOAT, [2])]
    path = save(tmp_path, nodes, inputs, [("y", FLOAT, None)])
    feeds = {"x": floats(2), **({"w": floats(2)} if given else {})}
    check(path, feeds, LoadOptions(given=feeds))


def test_a_name_for_two_inputs_is_refused(tmp_path):
    path = save(tmp_path, [NEG], [("x", FLOAT, [2]), ("x", FLOAT, [2])], [("y", FLOAT, None)])
    with pytest.raises(PimloopError, match="2 of its inputs are called 'x'"):
        load_model(str(path))


def test_a_result_under_the_name_of_a_constant_that_nothing_reads_is_refused(tmp_path):
    nodes = [NEG, helper.make_node("Abs", ["x"], ["w"])]
    path = small(tmp_path, nodes, [("w", floats(2))])
    with pytest.raises(PimloopError, match="makes 'w', which an input or constant has made"):
        load_model(str(path))


def test_an_output_listed_twice_is_returned_once(tmp_path):
    path = small(tmp_path, [NEG], outputs=[("y", FLOAT, None), ("y", FLOAT, None)])
    assert check(path, {"x": floats(2)}).outputs == ("y",)


def test_an_output_without_a_name_is_refused(tmp_path):
    path = small(tmp_path, [NEG], outputs=[("y", FLOAT, None), ("", FLOAT, None)])
    with pytest.raises(PimloopError, match="one of its outputs has no name"):
        load_model(str(path))


# -- sparse constants ----------------------------------------------------------------------------


def sparse(values, indices, shape, name="w"):
    return helper.make_sparse_tensor(
        tensor(np.array(values, np.float32), name), tensor(np.array(indices), "i"), shape
    )


SPARSE = {
    "flat": ([7, 8], [1, 4], [3, 2]),
    "unsorted": ([7, 8], [4, 1], [3, 2]),
    "coordinates": ([7, 8], [[0, 1], [2, 0]], [3, 2]),
    "an element twice": ([7, 8], [1, 1], [3, 2]),
    "empty": ([], np.zeros(0, np.int64), [3, 2]),
    "short indices": ([7], np.array([1], np.int32), [3, 2]),
    "scalar": ([7], [0], []),
}


@pytest.mark.parametrize(
    ("place", "form"),
    # In a branch ONNX Runtime asks for sorted indices.
    [("graph", f) for f in SPARSE] + [("operator", f) for f in SPARSE]
    + [("branch", "flat"), ("branch", "coordinates")],
)  # fmt: skip
def test_sparse_constants(form, place, tmp_path):
    constant = sparse(*SPARSE[form])
    make = helper.make_node("Constant", [], ["w"], sparse_value=constant)
    add = helper.make_node("Add", ["x", "w"], ["t" if place == "branch" else "y"])
    then = helper.make_graph([add], "then", [], [value("t", FLOAT, None)])
    then.sparse_initializer.append(constant)
    nodes = [make, add] if place == "operator" else [add]
    if place == "branch":
        other = helper.make_graph(
            [helper.make_node("Abs", ["x"], ["e"])], "other", [], [value("e", FLOAT, None)]
        )
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)]
    path = small(tmp_path, nodes, [("c", np.array(True))])
    if place == "graph":
        changed(path, lambda model: model.graph.sparse_initializer.append(constant))
    check(path, {"x": floats(2)})


@pytest.mark.parametrize(
    ("values", "indices", "shape", "message"),
    [
        ([7], [6], [3, 2], r"has the index \[6\], outside its shape \[3, 2\]"),
        ([7], [-1], [3, 2], r"has the index \[-1\], outside"),
        ([7], [[0, 2]], [3, 2], r"has the index \[0, 2\], outside"),
        ([7, 8], [1], [3, 2], r"has 2 elements, but indices int64\[1\]; right are \[2\]"),
        ([7], [1 << 40], [1 << 41, 1 << 20], "the constants that the model computes have"),
    ],
)  # fmt: skip
def test_sparse_constants_that_are_refused(values, indices, shape, message, tmp_path):
    path = small(tmp_path, [ADD])
    constant = sparse(values, indices, shape)
    changed(path, lambda model: model.graph.sparse_initializer.append(constant))
    with pytest.raises(PimloopError, match=message):
        load_model(str(path))


# -- graphs without operators --------------------------------------------------------------------


def test_a_model_of_constants_is_one_copy(tmp_path):
    nodes = [helper.make_node("Neg", ["w"], ["y"])]
    graph = check(small(tmp_path, nodes, [("w", floats(2))]), {"x": floats(2)})
    assert [n.op for n in graph.nodes] == ["Identity"]


def test_outputs_that_are_constants_and_inputs(tmp_path):
    outputs = [("x", FLOAT, [2]), ("w", FLOAT, [2])]
    check(small(tmp_path, [], [("w", floats(2))], outputs), {"x": floats(2)})


def test_a_model_that_returns_its_input_is_refused(tmp_path):
    path = small(tmp_path, [], outputs=[("x", FLOAT, [2])])
    with pytest.raises(PimloopError, match="has no operators: each of its outputs is an input"):
        load_model(str(path))


# -- declared types ------------------------------------------------------------------------------


def declare(name, kind):
    return lambda model: model.graph.value_info.append(value(name, kind, [2]))


TWO = [helper.make_node("Abs", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]


@pytest.mark.parametrize(
    "wrong",
    ["output", "result", "result of a dropped operator", "result that nothing reads", "branch",
     "no tensor"],
)  # fmt: skip
def test_a_declared_type_that_is_not_the_results_is_refused(wrong, tmp_path):
    outputs = [("y", INT64, [2])] if wrong == "output" else [("y", FLOAT, [2])]
    nodes = list(TWO)
    if wrong == "result of a dropped operator":
        nodes[0] = helper.make_node("Identity", ["x"], ["h"])
    if wrong == "result that nothing reads":
        nodes[1] = NEG
    if wrong == "branch":
        nodes = [condition([helper.make_node("Neg", ["x"], ["t"])])]
        nodes[0].attribute[1].g.output[0].CopyFrom(value("t", INT64, [2]))
    path = small(tmp_path, nodes, [("c", np.array(True))], outputs)
    if wrong.startswith("result"):
        changed(path, declare("h", INT64))
    if wrong == "no tensor":
        sequence = helper.make_tensor_sequence_value_info("y", FLOAT, None)
        changed(path, lambda model: model.graph.output[0].CopyFrom(sequence))
    with pytest.raises(PimloopError, match=r"is declared as (int64|no tensor), but its operator"):
        load_model(str(path))
    with pytest.raises(Exception, match="does not match expected type"):
        runtime(path, {"x": floats(2)})


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.graph.output[0].CopyFrom(value("y", FLOAT, [7, 9])),
        declare("nobody", INT64),
        declare("x", INT64),
        declare("c", INT64),
        lambda model: (declare("h", INT64)(model), declare("h", FLOAT)(model)),
        lambda model: declare("y", INT64)(model),
        lambda model: model.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("y")),
    ],
)
def test_declarations_that_onnx_runtime_takes(change, tmp_path):
    path = small(tmp_path, TWO, [("c", floats(2))])
    check(changed(path, change), {"x": floats(2)})


# -- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bytes_there", "fault"), [(12, "damaged"), (4, "truncated")])
def test_data_of_another_size_than_its_shape_needs(bytes_there, fault, tmp_path):
    held = TensorProto(name="w", data_type=FLOAT, dims=[2], raw_data=bytes(bytes_there))
    wanted = rf"'w' is {fault}: \[2\] of float32 takes 8 bytes, it has {bytes_there} bytes"
    with pytest.raises(PimloopError, match=wanted):
        load_model(str(small(tmp_path, [ADD], [held])))
