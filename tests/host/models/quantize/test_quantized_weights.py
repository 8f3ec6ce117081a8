"""Rounding to integer weights, reading them from files, and the one form of all products."""

from __future__ import annotations

import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from support.fused_models import CONTRIB, model_of, model_of_nodes, whole_values
from support.tiny_checkpoints import write_checkpoint

from pimloop.errors import PimloopError
from pimloop.host.cli import main
from pimloop.host.common import golden, golden_quantized
from pimloop.host.cpu.operators import run_reference
from pimloop.host.execution.verification import Check, operator_error
from pimloop.host.models.generator import load_generator, quantized_generator
from pimloop.host.models.graph import to_model
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.models.onnx_file import load_onnx
from pimloop.host.models.quantize.products import Quantizer, weights_of
from pimloop.host.models.quantize.reading import is_packed
from pimloop.host.models.quantize.weights import BLOCK, KINDS, pack, quantize
from pimloop.host.operators import Capabilities
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import DriverError, PimDriver, ShapeError
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.pipeline.growth import longer_step
from pimloop.host.pipeline.quantization import (
    divergence,
    product_errors,
    step_errors,
)
from pimloop.host.planning.keys import model_key
from pimloop.host.planning.reasons import reasons
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.generation.numbers import BY_WEIGHTS, WEIGHTS, kind_of
from pimloop.rtl.tables.isa import Weights

SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    write_checkpoint(folder, "gpt2")
    return folder


def load(model, kind, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    return load_onnx(path, quantize=kind)


def the_product(graph):
    (node,) = [node for node in graph.nodes if is_packed(node)]
    return node, weights_of(graph, node)


@SETTINGS
@given(
    kind=st.sampled_from(["w8", "w4"]),
    inner=st.sampled_from([1, 100, 128, 300]),
    columns=st.integers(1, 4),
    power=st.sampled_from([-140, -20, 0, 60]),
    seed=st.integers(0, 99),
)
def test_rounding_is_to_nearest_and_the_packed_form_gives_it_back(
    kind, inner, columns, power, seed
):
    matrix = np.random.default_rng(seed).normal(size=(inner, columns)) * 2.0**power
    matrix = matrix.astype(np.float32)
    matrix[:, 0] = 0
    made = quantize(matrix, KINDS[kind])
    integers, scales = made.integers(), golden.bf16_to_f32(made.scale_bits())
    assert integers.shape == matrix.shape
    assert not integers[:, 0].any()
    assert np.abs(integers.astype(int)).max() <= KINDS[kind].largest
    each = np.repeat(scales, made.group, axis=0)[:inner]
    np.testing.assert_array_equal(made.floats(), integers * each)
    # Half a step, and what the scale's own rounding clips at the end of the range; a group whose
    # scale rounds to 0 is smaller than the step to the smallest bfloat16.
    end = KINDS[kind].largest * np.where(each == 0, 2.0**-133, each * 2.0**-8)
    assert (np.abs(made.floats() - matrix) <= np.maximum(each / 2, end) * 1.001).all()
    again = pack(integers, made.scales.T, KINDS[kind])
    np.testing.assert_array_equal(again.packed, made.packed)
    np.testing.assert_array_equal(again.scales, made.scales)


def packed_model(bits=4, block=BLOCK, inner=200, columns=3, *, equal=False, zero=None, bias=False):
    generator = np.random.default_rng(1)
    blocks = -(-inner // block)
    scales = generator.integers(1, 200, (columns, 1 if equal else blocks)) / 64
    inputs = {
        "x": generator.normal(size=(2, inner)).astype(np.float32),
        "w": generator.integers(0, 256, (columns, blocks, block * bits // 8)).astype(np.uint8),
        "s": np.broadcast_to(scales, (columns, blocks)).astype(np.float32),
        "z": zero,
        "g": None,
        "b": generator.normal(size=columns).astype(np.float32) if bias else None,
    }
    constants = tuple(name for name in ("w", "s", "z", "b") if inputs[name] is not None)
    return inputs, model_of(
        "MatMulNBits", inputs, ["y"], domain=CONTRIB, constants=constants, K=inner, N=columns,
        bits=bits, block_size=block,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("w4", {}),
        ("w4", {"bias": True, "inner": 128}),
        ("w4", {"block": 256, "inner": 600}),
        ("w4", {"zero": np.full((3, 1), 0x88, np.uint8)}),
        ("w4", {"zero": np.full((3, 1), 0x08, np.uint8), "inner": 100}),
        ("w8", {"bits": 8, "block": 32, "equal": True}),
    ],
)
def test_packed_weights_are_taken_as_they_are(kind, form, tmp_path):
    inputs, model = packed_model(**form)
    graph = load(model, kind, tmp_path)
    assert [node.op for node in graph.nodes] == ["MatMulNBits"]
    got = run_reference(graph, {"x": inputs["x"]})["y"]
    np.testing.assert_allclose(got, whole_values(model, inputs)["y"], rtol=1e-4, atol=1e-4)
    node, weights = the_product(graph)
    assert (node.attributes["block_size"], weights.kind.name) == (BLOCK, kind)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("kind", "integers", "scales", "zero", "attributes"),
    [
        ("w8", np.int8, 3, None, {"axis": 1}),
        ("w8", np.uint8, 1, 128, {}),
        ("w4", ml_dtypes.int4, (2, 3), None, {"axis": 0, "block_size": 128}),
        ("w4", ml_dtypes.uint4, (2, 3), 8, {"axis": 0, "block_size": 128}),
        ("w4", ml_dtypes.int4, 3, None, {"axis": 1}),
    ],
)
def test_dequantized_constants_are_taken_as_they_are(
    kind, integers, scales, zero, attributes, turned, tmp_path
):
    generator = np.random.default_rng(2)
    low, high = (0, 16) if integers is ml_dtypes.uint4 else (-8, 8)
    low, high = (0, 256) if integers is np.uint8 else (low, high)
    low, high = (-128, 128) if integers is np.int8 else (low, high)
    values = generator.integers(low, high, (200, 3)).astype(integers)
    steps = (generator.integers(1, 99, scales) / 32).astype(np.float32)
    steps = steps.reshape(()) if scales == 1 else steps
    attributes = dict(attributes)
    rows = np.repeat(steps, 128, axis=0)[:200] if steps.ndim == 2 else steps
    floats = (values.astype(np.float32) - (zero or 0)) * rows
    if turned:
        values = np.ascontiguousarray(values.T)
        steps = np.ascontiguousarray(steps.T) if steps.ndim == 2 else steps
        attributes |= {"axis": 1 - attributes["axis"]} if "axis" in attributes else {}
    inputs = {
        "x": generator.normal(size=(2, 200)).astype(np.float32),
        "q": values,
        "s": steps,
        "z": None if zero is None else np.full(steps.shape, zero, integers),
    }
    read = ["q", "s", *(["z"] if zero is not None else [])]
    nodes = [helper.make_node("DequantizeLinear", read, ["w"], **attributes)]
    weight = "w"
    if turned:
        nodes.append(helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]))
        weight = "wt"
    nodes.append(helper.make_node("MatMul", ["x", weight], ["y"]))
    model = model_of_nodes(nodes, inputs, ["y"], tuple(read), opset=21)
    graph = load(model, kind, tmp_path)
    assert [node.op for node in graph.nodes] == ["MatMulNBits"]
    got = run_reference(graph, {"x": inputs["x"]})["y"]
    wanted = inputs["x"] @ floats
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("turned", [False, True])
def test_a_gemm_keeps_its_row_and_its_transposition(turned, tmp_path):
    generator = np.random.default_rng(3)
    weight = generator.normal(size=(150, 4)).astype(np.float32)
    inputs = {
        "x": generator.normal(size=(3, 150)).astype(np.float32),
        "w": np.ascontiguousarray(weight.T) if turned else weight,
        "c": generator.normal(size=(1, 4)).astype(np.float32),
    }
    model = model_of("Gemm", inputs, ["y"], constants=("w", "c"), transB=int(turned))
    graph = load(model, "w8", tmp_path)
    node, weights = the_product(graph)
    np.testing.assert_array_equal(
        weights.integers(), quantize(weight, KINDS["w8"]).integers(), err_msg=node.id
    )
    got = run_reference(graph, {"x": inputs["x"]})["y"]
    wanted = inputs["x"] @ weights.floats() + inputs["c"]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_the_cpu_gives_what_the_golden_model_gives(tmp_path):
    generator = np.random.default_rng(4)
    x = golden.to_bf16_bits(generator.normal(size=(3, 300)).astype(np.float32))
    inputs = {
        "x": golden.bf16_to_f32(x),
        "w": generator.normal(size=(300, 5)).astype(np.float32),
    }
    for kind in KINDS:
        graph = load(model_of("MatMul", inputs, ["y"], constants=("w",)), kind, tmp_path)
        _, weights = the_product(graph)
        got = run_reference(graph, {"x": inputs["x"]})["y"]
        wanted = golden_quantized.matmul(
            x, weights.integers(), weights.scale_bits(), weights.group, out_f32=True
        )
        # Sums in another order: at most a rounding a term.
        terms = np.abs(inputs["x"]).astype(np.float64) @ np.abs(weights.floats())
        assert (np.abs(got - wanted) <= 2 * 302 * 2.0**-24 * terms).all()


def dequantize(integers, scales, zero=None, **attributes):
    inputs = {"x": np.ones((2, integers.shape[0]), np.float32), "q": integers, "s": scales}
    read = ["q", "s"]
    if zero is not None:
        inputs["z"] = zero
        read.append("z")
    nodes = [
        helper.make_node("DequantizeLinear", read, ["w"], **attributes),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    return model_of_nodes(nodes, inputs, ["y"], tuple(read), opset=21)


def not_constant(name):
    inputs = {
        "x": np.ones((2, 128), np.float32),
        "w": np.zeros((3, 1, 64), np.uint8),
        "s": np.ones((3, 1), np.float32),
    }
    constants = tuple({"w", "s"} - {name})
    return model_of(
        "MatMulNBits", inputs, ["y"], domain=CONTRIB, constants=constants, K=128, N=3, bits=4,
        block_size=128,
    )  # fmt: skip


ONES = np.ones((128, 2), np.int8)
REFUSED = {
    "scales that are an input": ("w4", not_constant("s"), "its scales are not constant"),
    "weights that are an input": ("w4", not_constant("w"), "its weights are not constant"),
    "groups of 32": ("w4", packed_model(block=32)[1], "has groups of 32; --quantize w4 takes"),
    "8 bits as w4": ("w4", packed_model(bits=8)[1], "has 8 bits"),
    "4 bits as w8": ("w8", packed_model()[1], "has 4 bits"),
    "scales of blocks": ("w8", packed_model(bits=8)[1], "a scale for each 128 elements"),
    "zero points": ("w4", packed_model(zero=np.full((3, 1), 0x77, np.uint8))[1], "zero points"),
    "int8 as w4": ("w4", dequantize(ONES, np.float32(1)), "integers of 8 bits"),
    "a scale a row": ("w8", dequantize(ONES, np.ones(128, np.float32), axis=0), "for each row"),
    "blocks of int8": (
        "w8", dequantize(ONES, np.ones((4, 2), np.float32), axis=0, block_size=32),
        "a scale for each 32 elements",
    ),
    "odd groups": (
        "w4", dequantize(ONES.astype(ml_dtypes.int4), np.ones((2, 2), np.float32), axis=0,
                         block_size=64), "has groups of 64",
    ),
    "asymmetric": (
        "w8", dequantize(ONES, np.float32(1), np.int8(3)), "away from the middle of the range",
    ),
    "infinite scales": ("w8", dequantize(ONES, np.float32(np.inf)), "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_weights_of_another_kind_are_one_error(case, tmp_path):
    kind, model, text = REFUSED[case]
    with pytest.raises(PimloopError, match=text) as error:
        load(model, kind, tmp_path)
    assert "\n" not in str(error.value)
    assert "leave" in str(error.value) or "export the model" in str(error.value)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    weight = np.ones((4, 2), np.float32)
    weight[1, 1] = np.nan
    model = model_of("MatMul", {"x": weight.T.copy(), "w": weight}, ["y"], constants=("w",))
    with pytest.raises(PimloopError, match="weight 'w' cannot be quantized: it has NaN"):
        load(model, "w8", tmp_path)


def test_packed_weights_of_another_size_are_refused(tmp_path):
    inputs, model = packed_model()
    inputs["s"] = inputs["s"][:, :1]
    model = model_of(
        "MatMulNBits", inputs, ["y"], domain=CONTRIB, constants=("w", "s"), K=200, N=3, bits=4,
        block_size=128,
    )  # fmt: skip
    with pytest.raises(PimloopError, match="MatMulNBits"):
        load(model, "w4", tmp_path)


def nbits(scales=True, packed=None, bias=None, zero=None, groups=None, **attributes):
    """Return a product of 3 columns by 200 rows, 4 bits in blocks of 128, with changes."""
    said = {"K": 200, "N": 3, "bits": 4, "block_size": 128} | attributes
    inputs = {
        "x": np.ones((2, 200), np.float32),
        "w": np.zeros((3, 2, 64) if packed is None else packed, np.uint8),
        "s": None if scales is False else np.ones((3, 2) if scales is True else scales, np.float32),
        "z": zero, "g": None if groups is None else np.asarray(groups, np.int32),
        "b": None if bias is None else np.ones(bias, np.float32),
    }  # fmt: skip
    constants = tuple(name for name in ("w", "s", "z", "g", "b") if inputs[name] is not None)
    return model_of("MatMulNBits", inputs, ["y"], domain=CONTRIB, constants=constants, **said)


BLOCKS = "it must be a power of 2 from 16"
BROKEN = {
    "no scales": (nbits(scales=False), "MatMulNBits.*: its input scales is missing"),
    "block 24": (nbits(block_size=24), f"block_size is 24; {BLOCKS}"),
    "block 100": (nbits(block_size=100), f"block_size is 100; {BLOCKS}"),
    "block 8": (nbits(block_size=8), f"block_size is 8; {BLOCKS}"),
    "block 0": (nbits(block_size=0), f"block_size is 0; {BLOCKS}"),
    "block -128": (nbits(block_size=-128), f"block_size is -128; {BLOCKS}"),
    "bits 3": (nbits(bits=3), r"bits is 3; it must be one of \(2, 4, 8\)"),
    "bits 0": (nbits(bits=0), "bits is 0; it must be one of"),
    "K 0": (nbits(K=0), "K is 0; it must be 1 or more"),
    "N -3": (nbits(N=-3), "N is -3; it must be 1 or more"),
    "another K": (nbits(K=201), r"A has the shape \[2, 200\]; its last axis must be K = 201"),
    "few scales": (nbits(scales=(3, 1)), "scales has 3 elements; K = 200, N = 3, .* need 6"),
    "few weights": (nbits(packed=(3, 1, 64)), "B has 192 elements; K = 200, .* need 384"),
    "a long bias": (nbits(bias=4), "bias has 4 elements; N = 3 needs as many"),
    "few zero points": (
        nbits(zero=np.full((3,), 0x88, np.uint8)[:2]),
        "zero_points has 2 elements; K = 200, N = 3, .* need 3, each column in whole bytes",
    ),
    "zero points of a byte each": (
        nbits(zero=np.full((3, 2), 8, np.uint8)), "zero_points has 6 elements; .* need 3, each",
    ),
    "few zero points of floats": (
        nbits(zero=np.full((3, 1), 8, np.float32)), "zero_points has 3 elements; .* need 6;",
    ),
    "few groups by index": (
        nbits(groups=np.arange(199) // 128),
        "g_idx has 199 elements; K = 200, .* need 200 or, with padding, 256",
    ),
    "many groups by index": (
        nbits(groups=np.arange(257) // 128), "g_idx has 257 elements; .* need 200 or, with",
    ),
    "negative blocks": (
        dequantize(ONES, np.ones((1, 2), np.float32), axis=0, block_size=-32),
        "DequantizeLinear.*: block_size is -32; it must be 0 or more",
    ),
    "few blocks": (
        dequantize(ONES, np.ones((3, 2), np.float32), axis=0, block_size=32),
        r"scales have the shape \[3, 2\]; blocks of 32 along axis 0 of \[128, 2\] needs \[4, 2\]",
    ),
    "few columns": (
        dequantize(ONES, np.ones(3, np.float32), axis=1),
        r"scales have the shape \[3\]; axis 1 of \[128, 2\] needs \[2\]",
    ),
    "an axis too far": (
        dequantize(ONES, np.ones(2, np.float32), axis=2), "axis is 2; it must be from -2 to 1",
    ),
    "zero points of another shape": (
        dequantize(ONES, np.ones(2, np.float32), np.zeros(128, np.int8), axis=1),
        r"zero points have the shape \[128\], scales \[2\]: both must have the same",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [None, "w4", "w8"])
@pytest.mark.parametrize("case", BROKEN)
def test_what_the_definition_forbids_is_one_error_before_onnx_runtime_is_asked(
    case, kind, tmp_path
):
    model, text = BROKEN[case]
    with pytest.raises(PimloopError, match=text) as error:
        load(model, kind, tmp_path)
    assert "ONNXRuntime" not in str(error.value)
    assert "of model m: " in str(error.value)
    assert str(error.value).endswith("; correct the file, or export the model anew")


@pytest.mark.parametrize("group", [2, -1])
def test_a_group_that_there_is_not_is_one_error(group, tmp_path, capsys):
    groups = np.arange(200) // 128
    groups[7] = group
    model = nbits(groups=groups)
    text = f"g_idx names the group {group}; there are 2, from 0 on; correct the file"
    with pytest.raises(PimloopError, match=text):
        load(model, None, tmp_path)
    path = tmp_path / "given.onnx"
    path.write_bytes(model.SerializeToString())
    assert main(["models", "show", str(path)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert text in error
    assert "Traceback" not in error


@pytest.mark.parametrize("groups", [np.arange(200) // 128, np.arange(256) // 128])
def test_groups_by_an_index_are_unpacked_with_and_without_padding(groups, tmp_path):
    graph = load(nbits(groups=groups), None, tmp_path)
    assert "MatMul" in [node.op for node in graph.nodes]


def test_a_model_without_products_and_an_unknown_kind_are_refused(tmp_path):
    x = {"x": np.ones((2, 2), np.float32)}
    with pytest.raises(PimloopError, match="--quantize w4 would do nothing"):
        load(model_of("Relu", x, ["y"]), "w4", tmp_path)
    with pytest.raises(PimloopError, match="no weights 'w2'; there are w8, w4"):
        load_model("bert-small", LoadOptions(4, quantize="w2"))


def test_products_stay_on_the_cpu_where_the_device_has_no_integers():
    graph = load_model("bert-small", LoadOptions(4, quantize="w4"))
    plain = load_model("bert-small", LoadOptions(4))
    assert graph.parameters == plain.parameters
    products = [node.id for node in graph.nodes if is_packed(node)]
    fit = pim_fit(graph, load_platform("aim"))
    assert not fit.operations.keys() & set(products)
    assert set(fit.kept_on_cpu) == set(products)
    stay = reasons(graph, fit.operations, Capabilities(), fit.kept_on_cpu)
    (group,) = [group for group in stay if "weights of 4 bits" in group.reason]
    assert (group.count, group.operators) == (len(products), {"MatMulNBits": len(products)})
    assert "need rows_per_beat and acc_groups of at least 4, the device has 1" in group.reason
    assert to_model(graph).external.keys() <= graph.constants.keys()


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("turned", [False, True])
def test_products_on_the_pim_have_the_bits_of_the_golden_model(kind, turned, tmp_path):
    """With a bias, twice: the weights stay where they are. What the CPU gives is near."""
    generator = np.random.default_rng(5)
    weight = generator.normal(size=(300, 70)).astype(np.float32)
    inputs = {
        "x": generator.normal(size=(3, 300)).astype(np.float32),
        "w": np.ascontiguousarray(weight.T) if turned else weight,
        "c": generator.normal(size=70).astype(np.float32),
    }
    model = model_of("Gemm", inputs, ["y"], constants=("w", "c"), transB=int(turned))
    graph = load(model, kind, tmp_path)
    node, weights = the_product(graph)
    platform = load_platform("htg-z920", {"device.rows_per_beat": "4"})
    fit = pim_fit(graph, platform)
    operation = fit.operations[node.id]
    assert operation.multiply_adds(210) == 210 * 300
    x, bias = (golden.to_bf16_bits(inputs[name]) for name in ("x", "c"))
    operands = {"x": x, operation.bias: bias}
    (wanted,) = [part() for _, part in operation.expected(operands)]
    with (
        ModelDevice(platform.geometry(), 4 << 20) as device,
        PimDriver.for_platform(device, platform) as driver,
        ResidentModel(graph, fit.operations, driver) as resident,
    ):
        resident.load_weights([node.id])
        stored = sum(constant.nbytes for constant in fit.weights[node.id])
        assert stored == resident.weights.held_bytes > weights.stored_bytes
        for _ in range(2):
            resident.upload("x", x)
            resident.run(node)
            got = golden.to_bf16_bits(resident.download("y"))
            np.testing.assert_array_equal(got, wanted)
            resident.release("y")
            resident.release("x")
    check = Check(node, operation, operands, got, graph)
    assert operator_error(graph, check) <= 1


def test_integers_that_a_device_does_not_have_are_refused_by_the_driver():
    platform = load_platform("htg-z920", {"device.rows_per_beat": "2"})
    with (
        ModelDevice(platform.geometry(), 1 << 20) as device,
        PimDriver.for_platform(device, platform) as driver,
    ):
        with pytest.raises(DriverError, match="weights of 4 bits need rows_per_beat"):
            driver.new_integers((8, 8), Weights.W4, 7)
        with pytest.raises(DriverError, match="groups of 8192 rows"):
            driver.new_integers((9000, 8), Weights.W8, 13)
        with pytest.raises(ShapeError, match="2 axes"):
            driver.new_integers((2, 8, 8), Weights.W8, 7)
        matrix = driver.new_integers((200, 8), Weights.W8, 7)
        values = np.zeros((200, 8), np.int8)
        with pytest.raises(ShapeError, match="scales"):
            driver.write_integers(matrix, values, np.zeros((1, 8), np.uint16))
        with pytest.raises(ShapeError, match="load_matrix"):
            driver.write_matrix(matrix, np.zeros((200, 8), np.float32))
        for bits in (0x0001, 0x807F):
            scales = np.full((2, 8), 0x0080, np.uint16)
            driver.write_integers(matrix, values, scales)
            scales[1, 3] = bits
            with pytest.raises(DriverError, match="group 1, column 3 is subnormal"):
                driver.write_integers(matrix, values, scales)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_subnormal_scales_are_zeros(kind):
    least = np.float32(2.0**-126)
    largest = np.array([kind.largest * least, kind.largest * least / 2, 0], np.float32)
    weights = quantize(np.tile(largest, (3, 1)), kind)
    np.testing.assert_array_equal(weights.scale_bits()[0], [0x0080, 0, 0])
    np.testing.assert_array_equal(weights.integers()[0], [kind.largest, 0, 0])
    # The integers of a file stay as they are; what they stand for is 0 on every device.
    scales = np.array([[least, -least, least / 2, -least / 128]], np.float32)
    stored = pack(np.ones((3, 4), np.int8), scales, kind)
    np.testing.assert_array_equal(stored.scale_bits()[0], [0x0080, 0x8080, 0, 0])
    assert stored.integers().all()


def test_a_generation_is_judged_step_by_step(tiny_gpt2):
    generator = load_generator(str(tiny_gpt2), 4, LoadOptions(3))
    prompt = random_inputs(generator.prefill, 0)["input_ids"]
    eight = quantized_generator(generator, Quantizer.of("w8"))
    errors = list(product_errors(generator.prefill, eight.prefill, {"input_ids": prompt}))
    assert {error.node for error in errors} == {n.id for n in eight.prefill.nodes if is_packed(n)}
    for error in errors:
        assert 0 < error.weight_error < 0.01
        assert 0 < error.result_error < 0.02
    steps = list(step_errors(generator, eight, prompt))
    four = list(step_errors(generator, quantized_generator(generator, Quantizer.of("w4")), prompt))
    assert len(steps) == len(four) == 4
    # Sixteen times the step of the integers.
    assert 0 < sum(s.divergence for s in steps) < sum(s.divergence for s in four)
    same = list(step_errors(generator, generator, prompt))
    assert all(step.agrees and step.divergence == 0 for step in same)
    with pytest.raises(PimloopError, match="one sequence"):
        next(step_errors(replace(generator, batch=2), generator, prompt))


def test_the_divergence_of_known_distributions():
    assert divergence(np.log([0.5, 0.5]), np.log([0.25, 0.75])) == pytest.approx(
        0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    )


def test_both_graphs_of_a_generator_share_their_integers(tiny_gpt2):
    generator = load_generator(str(tiny_gpt2), 3, LoadOptions(3, quantize="w4"))
    step = {id(array) for array in generator.step.constants.values() if array.dtype == np.uint8}
    prefill = {
        id(array) for array in generator.prefill.constants.values() if array.dtype == np.uint8
    }
    assert step
    assert step == prefill


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_step_with_a_longer_cache_has_the_same_weights(tiny_gpt2, kind):
    generator = load_generator(str(tiny_gpt2), 3, LoadOptions(3, quantize=kind))
    longer = longer_step(generator, 9)
    assert [(n.id, n.op) for n in longer.nodes] == [(n.id, n.op) for n in generator.step.nodes]
    assert longer.constants.keys() == generator.step.constants.keys()
    packed = [node for node in longer.nodes if is_packed(node)]
    assert bool(packed) == (kind is not None)
    for node in packed:
        assert weights_of(longer, node).packed is weights_of(generator.step, node).packed
        assert kind_of(longer, node) == (BY_WEIGHTS, WEIGHTS)


def test_a_quantized_model_has_results_of_its_own(tiny_gpt2):
    graphs = [load_model(str(tiny_gpt2), LoadOptions(3, quantize=kind)) for kind in (None, *KINDS)]
    assert len({model_key(graph) for graph in graphs}) == len(graphs)


def test_the_command_states_the_errors(tiny_gpt2, capsys):
    words = ["quantize", str(tiny_gpt2), "--weights", "w4", "--seq", "3", "--steps", "3"]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["steps"]) == 3
    agreeing = sum(step["token"] == step["quantized"] for step in report["steps"])
    assert report["top1_agreement"] == agreeing / 3
    assert report["divergence_max"] == max(step["divergence"] for step in report["steps"])
    assert main(words) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"{agreeing} of 3 steps agree with float32" in text
    assert main(["quantize", "bert-small", "--weights", "w4", "--steps", "3"]) == 2
    assert "cannot generate" in capsys.readouterr().err
