"""Every operator that the CPU runtime and the PIM share, on random shapes and values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from pimloop.host.common import golden
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.verification import OPERATOR_LIMIT, Verifier
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.platforms.platform import load_platform

RANDOM = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SIZES = st.integers(1, 70)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=["htg-z920", "aim"])
def driver(request):
    platform = load_platform(request.param)
    columns = platform.driver.tile_columns
    with (
        ModelDevice(platform.geometry(), 4 << 20) as device,
        PimDriver(device, column_granule=columns) as opened,
    ):
        yield opened


def check_both(driver, node, seed, shapes, constants):
    """Run `node` on the PIM and in float32; bits as golden, values within the limit."""
    generator = np.random.default_rng(seed)
    values = {n: generator.standard_normal(s, np.float32) for n, s in shapes.items()}
    held = {n: values[n] for n in constants}
    inputs = {
        n: TensorInfo(s, np.dtype(np.float32)) for n, s in shapes.items() if n not in constants
    }
    graph = normalize(RawModel("one", [node], held, inputs, ("y",), {"": 17}))
    operations = pim_capable(graph, Capabilities())
    assert set(operations) == {"n"}
    with Verifier(graph) as verifier, ResidentModel(graph, operations, driver) as resident:
        executor = Executor(graph, {"n": "pim"}, operations, resident, verifier=verifier)
        executor.load_weights()
        result = executor.run({n: values[n] for n in inputs}).values["y"]
        assert verifier.wait(60)
        assert not verifier.mismatches
        assert verifier.errors["n"] <= OPERATOR_LIMIT
    assert result.shape == graph.tensors["y"].shape
    # What leaves the PIM is bfloat16, whatever the operator.
    assert np.array_equal(result, golden.bf16_to_f32(golden.to_bf16_bits(result)))


@RANDOM
@given(p=SIZES, q=SIZES, r=SIZES, lead=st.sampled_from([(), (1,), (2, 3)]), seed=SEEDS)
def test_matmul_by_a_weight(driver, p, q, r, lead, seed):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
    check_both(driver, node, seed, {"x": (*lead, p, q), "w": (q, r)}, {"w"})


@RANDOM
@given(p=SIZES, q=SIZES, r=SIZES, lead=st.sampled_from([(), (1,), (1, 3)]), seed=SEEDS)
def test_matmul_of_two_activations(driver, p, q, r, lead, seed):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
    check_both(driver, node, seed, {"x": (*lead, p, q), "w": (*lead, q, r)}, set())


@RANDOM
@given(
    p=SIZES, q=SIZES, r=SIZES, transposed=st.booleans(), bias=st.booleans(),
    resident=st.booleans(), seed=SEEDS,
)  # fmt: skip
def test_gemm(driver, p, q, r, transposed, bias, resident, seed):
    shapes = {"x": (p, q), "w": (r, q) if transposed else (q, r)}
    if bias:
        shapes["b"] = (r,)
    node = helper.make_node("Gemm", list(shapes), ["y"], name="n", transB=int(transposed))
    check_both(driver, node, seed, shapes, {"w", "b"} & set(shapes) if resident else set())


@RANDOM
@given(
    op=st.sampled_from(["Add", "Sub", "Mul"]), p=SIZES, r=SIZES, lead=st.sampled_from([(), (1,)]),
    kind=st.sampled_from(["same", "row", "column", "one", "scalar"]), swap=st.booleans(),
    resident=st.booleans(), seed=SEEDS,
)  # fmt: skip
def test_elementwise(driver, op, p, r, lead, kind, swap, resident, seed):
    full = (*lead, p, r)
    other = {"same": full, "row": (r,), "column": (*lead, p, 1), "one": (1,), "scalar": ()}[kind]
    names = ["z", "x"] if swap and op != "Sub" else ["x", "z"]
    node = helper.make_node(op, names, ["y"], name="n")
    check_both(driver, node, seed, {"x": full, "z": other}, {"z"} if resident else set())
