"""Models of one fused operator, executed whole and decomposed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.decompose import Choice
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.onnx_file import load_onnx

CONTRIB = "com.microsoft"


def model_of(
    op: str,
    inputs: Mapping[str, Array | None],
    outputs: list[str],
    *,
    constants: tuple[str, ...] = (),
    domain: str = "",
    opset: int = 17,
    **attributes: Any,
) -> onnx.ModelProto:
    """Return a model of one operator; `inputs` in order, None where an input is left out."""
    node = helper.make_node(
        op,
        [name if value is not None else "" for name, value in inputs.items()],
        outputs,
        domain=domain,
        **attributes,
    )
    return model_of_nodes([node], inputs, [n for n in outputs if n], constants, opset)


def model_of_nodes(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, Array | None],
    outputs: list[str],
    constants: tuple[str, ...] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a model of several operators."""
    given = {name: value for name, value in inputs.items() if value is not None}
    graph = helper.make_graph(
        nodes,
        "fused",
        [
            helper.make_tensor_value_info(
                n, helper.np_dtype_to_tensor_dtype(v.dtype), list(v.shape)
            )
            for n, v in given.items()
            if n not in constants
        ],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
        [numpy_helper.from_array(given[n], n) for n in constants],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB, 1)],
        ir_version=10,
    )


def load(model: onnx.ModelProto, **choice: bool) -> Graph:
    """Return the graph of a model, decomposed by default."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fused.onnx"
        onnx.save(model, str(path))
        return load_onnx(path, choice=Choice(**choice))


def whole_values(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return what ONNX Runtime gives for the file as it is.

    Its products of uint8 by int8 saturate on a CPU without VNNI; by this setting those of most
    operators do not. QLinearMatMul and QLinearConv are not among them: see `defined_values`.
    """
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    asked = {value.name for value in session.get_inputs()}
    values = session.run(None, {n: v for n, v in feeds.items() if n in asked})
    return dict(zip((o.name for o in session.get_outputs()), values, strict=True))


def defined_values(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return what ONNX's own evaluator gives, for operators that contrib took over from ONNX."""
    standard = onnx.ModelProto()
    standard.CopyFrom(model)
    for node in standard.graph.node:
        node.domain = ""
        del node.attribute[:]
    evaluator = ReferenceEvaluator(standard)
    values = evaluator.run(None, {n: feeds[n] for n in evaluator.input_names})
    return dict(zip(evaluator.output_names, values, strict=True))


def compare(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array | None],
    *,
    tolerance: float = 1e-5,
    oracle: Callable[[onnx.ModelProto, Mapping[str, Array]], dict[str, Array]] = whole_values,
    **choice: bool,
) -> Graph:
    """Check that a model decomposed equals it whole; return the decomposed graph."""
    feeds = {name: value for name, value in inputs.items() if value is not None}
    graph = load(model, **choice)
    assert not graph.kept_whole, graph.kept_whole
    assert graph.decomposed
    wanted = oracle(model, feeds)
    given = {n: feeds[n] for n in graph.inputs}
    got = run_reference(graph, given, outputs=tuple(wanted))
    for name, value in wanted.items():
        assert got[name].shape == value.shape, name
        assert got[name].dtype == value.dtype, name
        assert_close(got[name], value, tolerance, name)
    return graph


def assert_close(got: Array, wanted: Array, tolerance: float, name: str) -> None:
    """Check equality: integers exactly, floats by the largest value of the tensor."""
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted, name)
        return
    scale = max(float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)), 1e-6)
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * scale, err_msg=name)


def ops(graph: Graph) -> list[str]:
    """Return the operator types of a graph, in order; products by a state are MatMul too."""
    return [node.op.removeprefix("Fused") for node in graph.nodes]
