"""Products in disguise: fused, Einsum, convolutions; decomposed as whole."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fused_models import CONTRIB, compare, load, model_of, ops

from pimloop.host.models import einsum
from pimloop.host.models.decompose import packed_weights
from pimloop.host.operators import Capabilities, pim_capable

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


def floats(seed: int, *shape: int):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def products_on_the_pim(graph) -> int:
    capable = pim_capable(graph, Capabilities())
    return sum(graph.node(identifier).op == "MatMul" for identifier in capable)


@SETTINGS
@given(
    turned=st.tuples(*[st.booleans()] * 4),
    alpha=st.sampled_from([1.0, 0.25]),
    batch=st.lists(st.integers(1, 3), max_size=2),
    constant=st.booleans(),
)
def test_fused_matmul(turned, alpha, batch, constant):
    batch_a, batch_b, a, b = turned
    rows, inner, columns = 4, 5, 3

    def stored(lead, last_two, swap, swap_batch):
        shape = (*lead, *(last_two[::-1] if swap else last_two))
        return (*shape[1:-1], shape[0], shape[-1]) if swap_batch and lead else shape

    # A batch that is transposed with the rows has one axis in ONNX Runtime.
    lead = tuple(batch[:1]) if batch_a or batch_b else tuple(batch)
    batch_a, batch_b = batch_a and bool(lead), batch_b and bool(lead)
    inputs = {
        "a": floats(0, *stored(lead, (rows, inner), a, batch_a)),
        "b": floats(1, *stored(lead, (inner, columns), b, batch_b)),
    }
    model = model_of(
        "FusedMatMul", inputs, ["y"], domain=CONTRIB, constants=("b",) if constant else (),
        alpha=alpha, transA=int(a), transB=int(b), transBatchA=int(batch_a),
        transBatchB=int(batch_b),
    )  # fmt: skip
    graph = compare(model, inputs)
    assert products_on_the_pim(graph) == 1
    if constant:
        assert "Mul" not in ops(graph)  # the factor is in the constant


@pytest.mark.parametrize(
    "attributes",
    [
        {"activation": "Relu"},
        {"activation": "LeakyRelu", "activation_alpha": 0.2, "transB": 1},
        {"activation": "HardSigmoid", "activation_alpha": 0.3, "activation_beta": 0.4},
        {"activation": "Tanh", "alpha": 0.5, "beta": 2.0},
    ],
)
def test_fused_gemm(attributes):
    shape = (3, 5) if attributes.get("transB") else (5, 3)
    inputs = {"a": floats(0, 4, 5), "b": floats(1, *shape), "c": floats(2, 3)}
    model = model_of("FusedGemm", inputs, ["y"], domain=CONTRIB, constants=("b", "c"), **attributes)
    assert ops(compare(model, inputs)) == ["Gemm", attributes["activation"]]


EQUATIONS = [
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bij,bkj->bik", [(2, 3, 4), (2, 5, 4)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("...ij,jk->...ik", [(2, 3, 4, 5), (5, 6)]),
    ("...ij,...jk", [(2, 1, 4, 5), (1, 3, 5, 6)]),
    ("bsd,dnh->bsnh", [(2, 3, 8), (8, 2, 4)]),
    ("bsnh,nhd->bsd", [(2, 3, 2, 4), (2, 4, 8)]),
    ("bqnh,bknh->bnqk", [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ("bnqk,bknh->bqnh", [(2, 2, 3, 5), (2, 5, 2, 4)]),
    ("dn,bsd->nbs", [(8, 4), (2, 3, 8)]),
    ("ij,ij->", [(3, 4), (3, 4)]),
    ("ij,ij->i", [(3, 4), (3, 4)]),
    ("i,i", [(4,), (4,)]),
    ("ij,j->i", [(3, 4), (4,)]),
    ("ij,jk,kl->il", [(3, 4), (4, 5), (5, 2)]),
    ("bij,jk,bkl->lib", [(2, 3, 4), (4, 5), (2, 5, 6)]),
    ("aij,jk->k", [(2, 3, 4), (4, 5)]),
    ("abij,bajk->kiab", [(2, 3, 4, 5), (3, 2, 5, 6)]),
]


@pytest.mark.parametrize("constant", [None, 0, 1])
@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_einsum(equation, shapes, constant):
    inputs = {f"x{i}": floats(i, *shape) for i, shape in enumerate(shapes)}
    constants = () if constant is None else (f"x{constant}",)
    model = model_of("Einsum", inputs, ["y"], constants=constants, equation=equation)
    graph = compare(model, inputs)
    assert products_on_the_pim(graph) == len(shapes) - 1
    assert "Einsum" not in ops(graph)


def test_a_constant_matrix_of_einsum_is_stored_as_it_is_read():
    inputs = {"w": floats(0, 8, 4), "x": floats(1, 2, 3, 8)}
    model = model_of("Einsum", inputs, ["y"], constants=("w",), equation="dn,bsd->bsn")
    assert ops(compare(model, inputs)) == ["MatMul"]


@pytest.mark.parametrize(
    ("equation", "shapes", "reason"),
    [
        ("ij,ij->ij", [(3, 4), (3, 4)], "adds up nothing"),
        ("ii,ij->j", [(3, 3), (3, 4)], "diagonal"),
        ("bij,bjk->bik", [(1, 3, 4), (2, 4, 5)], "different lengths"),
    ],
)
def test_an_einsum_that_is_no_product_stays_whole(equation, shapes, reason):
    inputs = {f"x{i}": floats(i, *shape) for i, shape in enumerate(shapes)}
    graph = load(model_of("Einsum", inputs, ["y"], equation=equation))
    assert ops(graph) == ["Einsum"]
    assert reason in next(iter(graph.kept_whole.values()))


def test_an_einsum_of_one_operand_is_a_primitive():
    inputs = {"x": floats(0, 3, 4)}
    graph = load(model_of("Einsum", inputs, ["y"], equation="ij->ji"))
    assert ops(graph) == ["Einsum"]
    assert not graph.kept_whole


@SETTINGS
@given(
    axes=st.integers(1, 3),
    batch=st.integers(1, 2),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["NOTSET", "pads", "VALID", "SAME_UPPER", "SAME_LOWER"]),
    bias=st.booleans(),
    fused=st.booleans(),
    seed=st.integers(0, 99),
)
def test_convolutions(axes, batch, kernel, stride, dilation, padding, bias, fused, seed):
    generator = np.random.default_rng(seed)
    size = tuple(int(n) for n in generator.integers(6, 9, axes))
    if padding.startswith("SAME"):
        dilation = 1
    attributes = {"strides": [stride] * axes, "dilations": [dilation] * axes}
    if padding == "pads":
        attributes["pads"] = [int(n) for n in generator.integers(0, 3, 2 * axes)]
    elif padding != "NOTSET":
        attributes["auto_pad"] = padding
    inputs = {
        "x": floats(seed, batch, 3, *size),
        "w": floats(seed + 1, 4, 3, *(kernel,) * axes),
        "b": floats(seed + 2, 4) if bias else None,
    }
    domain = ""
    if fused and axes == 2:
        domain, attributes["activation"] = CONTRIB, "Relu"
    constants = ("w", "b") if bias else ("w",)
    op = "FusedConv" if domain else "Conv"
    model = model_of(op, inputs, ["y"], constants=constants, domain=domain, **attributes)
    graph = compare(model, inputs, im2col=True)
    assert products_on_the_pim(graph) == 1


def test_a_convolution_that_copies_its_input_is_a_product_only_where_asked_for():
    inputs = {"x": floats(0, 1, 3, 8, 8), "w": floats(1, 4, 3, 3, 3)}
    model = model_of("Conv", inputs, ["y"], constants=("w",))
    graph = load(model)
    assert ops(graph) == ["Conv"]
    assert "kernel of 3x3" in graph.kept_whole["Conv_y"]
    assert "--im2col" in graph.kept_whole["Conv_y"]


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (4, 4)])
def test_a_convolution_that_reads_each_element_once_is_a_product(kernel, stride):
    inputs = {"x": floats(0, 1, 3, 8, 8), "w": floats(1, 5, 3, kernel, kernel)}
    model = model_of("Conv", inputs, ["y"], constants=("w",), strides=[stride, stride])
    graph = compare(model, inputs)
    assert products_on_the_pim(graph) == 1
    assert "Gather" in ops(graph) or kernel == stride


def test_a_convolution_in_groups_stays_whole():
    inputs = {"x": floats(0, 1, 4, 8, 8), "w": floats(1, 4, 1, 1, 1)}
    model = model_of("Conv", inputs, ["y"], constants=("w",), group=4)
    graph = load(model, im2col=True)
    assert ops(graph) == ["Conv"]
    assert "groups of channels" in graph.kept_whole["Conv_y"]


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_say_why_they_stay_whole(op):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    inputs = {
        "x": floats(0, 3, 1, 4),
        "w": floats(1, 1, gates * 2, 4),
        "r": floats(2, 1, gates * 2, 2),
    }
    graph = load(model_of(op, inputs, ["y"], constants=("w", "r"), hidden_size=2))
    assert "each of its steps" in graph.kept_whole[f"{op}_y"]


@pytest.mark.parametrize("module", [einsum, packed_weights])
def test_doctests(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
