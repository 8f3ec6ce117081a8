"""The executor on the functional device: values, transfers, residency, refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper
from support.tiny_models import TINY

import pimloop.host.execution.cpu_times
import pimloop.host.execution.offload
from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.cpu.operators import run_reference
from pimloop.host.cpu.timing import Timing
from pimloop.host.execution.accuracy import compare, compared_tensors, rounding_depth, tolerance
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.verification import OPERATOR_LIMIT, Check, Verifier, operator_error
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.models.weights import RandomWeights
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.planning.policies import pim_first
from pimloop.host.platforms.geometry import Geometry

GEOMETRY = Geometry(
    capacity=64 << 20, all_bank=False, native_lanes=True, banks=16, bank_groups=4, row_bytes=8192,
    atom_bytes=64, beat_bytes=64, lanes=32, acc_groups=16, scalar_depth=4096, ck_ratio=4,
    tck_fs=833333, lane_latency=4,
)  # fmt: skip
PAPER = Capabilities(
    activation_matmul=False, elementwise_max_rank=3, operands="paper", types=frozenset({"float32"})
)


@pytest.fixture
def driver():
    with ModelDevice(GEOMETRY, 4 << 20) as device, PimDriver(device) as opened:
        yield opened


def tiny(name, length=6):
    config = TINY[name]
    return build_graph(config, RandomWeights(config), LoadOptions(sequence_length=length))


def floats(*shape):
    return TensorInfo(shape, np.dtype(np.float32))


def small(nodes, inputs, outputs, constants=None):
    return normalize(RawModel("small", nodes, constants or {}, inputs, outputs, {"": 17}))


def execute(graph, assignment, operations, driver, feeds, **options):
    held = driver.memory.used_bytes
    with Verifier(graph) as verifier, ResidentModel(graph, operations, driver) as resident:
        executor = Executor(graph, assignment, operations, resident, verifier=verifier, **options)
        executor.load_weights()
        execution = executor.run(feeds)
        assert verifier.wait(60)
        assert verifier.checked == sum(device == "pim" for device in assignment.values())
        assert not verifier.mismatches
        assert max(verifier.errors.values(), default=0) <= OPERATOR_LIMIT
    assert driver.memory.used_bytes == held
    return execution


@pytest.mark.parametrize("capabilities", [Capabilities(), PAPER], ids=["all", "paper"])
@pytest.mark.parametrize("name", sorted(TINY))
def test_pim_first_is_bit_exact_and_near_float32(name, capabilities, driver):
    graph = tiny(name)
    operations = pim_capable(graph, capabilities)
    assignment = pim_first(graph, capabilities)
    feeds = random_inputs(graph, seed=2)
    tensors = compared_tensors(graph)
    execution = execute(graph, assignment, operations, driver, feeds, keep=tensors)
    wanted = run_reference(graph, feeds, outputs=tensors)
    for comparison in compare(graph, assignment, execution.values, wanted):
        assert comparison.passed, comparison
    assert set(execution.pim) == set(operations)


def test_random_assignments_agree_with_float32(driver):
    graph = tiny("bert", 5)
    operations = pim_capable(graph, Capabilities())
    feeds = random_inputs(graph)
    tensors = compared_tensors(graph)
    wanted = run_reference(graph, feeds, outputs=tensors)
    generator = np.random.default_rng(0)
    for _ in range(4):
        assignment = {
            node.id: str(
                generator.choice(["cpu_serial", "cpu_parallel"] + ["pim"] * (node.id in operations))
            )
            for node in graph.nodes
        }
        execution = execute(graph, assignment, operations, driver, feeds, keep=tensors)
        for comparison in compare(graph, assignment, execution.values, wanted):
            assert comparison.passed, comparison


def test_everything_on_the_cpu_needs_no_device():
    graph = tiny("roberta")
    feeds = random_inputs(graph)
    assignment = {node.id: "cpu_serial" for node in graph.nodes}
    executor = Executor(graph, assignment, {})
    executor.load_weights()
    execution = executor.run(feeds)
    times = executor.time_cpu(rounds=2)
    wanted = run_reference(graph, feeds, threads=1)["logits"]
    np.testing.assert_allclose(execution.values["logits"], wanted, rtol=1e-5, atol=1e-6)
    assert execution.transfers == []
    assert set(times) == set(assignment)
    assert all(time.median_us >= time.min_us > 0 for time in times.values())


def test_a_tensor_moves_once_to_each_memory(driver):
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"], name="a"),
        helper.make_node("Mul", ["x", "a"], ["b"], name="b"),
        helper.make_node("Neg", ["a"], ["c"], name="c"),
        helper.make_node("Abs", ["a"], ["d"], name="d"),
        helper.make_node("Add", ["b", "d"], ["e"], name="e"),
    ]
    graph = small(nodes, {"x": floats(2, 8)}, ("c", "e"))
    operations = pim_capable(graph, Capabilities())
    assignment = pim_first(graph, Capabilities())
    feeds = {"x": np.arange(16, dtype=np.float32).reshape(2, 8)}
    execution = execute(graph, assignment, operations, driver, feeds)
    moved = [(t.tensor, t.direction) for t in execution.transfers]
    assert moved == [
        ("x", "cpu>pim"), ("a", "pim>cpu"), ("d", "cpu>pim"), ("e", "pim>cpu"),
    ]  # fmt: skip
    assert all(t.nbytes == 32 for t in execution.transfers)
    x = feeds["x"]
    assert np.array_equal(execution.values["c"], -2 * x)
    assert np.allclose(execution.values["e"], 2 * x * x + 2 * x, rtol=2**-7)


def test_the_cpu_is_timed_with_waits_where_the_pim_works(driver, monkeypatch):
    """In the order of an execution: operands out, the PIM, its results back, the CPU's segment."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"], name="a"),
        helper.make_node("Mul", ["x", "a"], ["b"], name="b"),
        helper.make_node("Neg", ["b"], ["c"], name="c"),
        helper.make_node("Abs", ["c"], ["d"], name="d"),
        helper.make_node("Add", ["b", "d"], ["e"], name="e"),
    ]
    graph = small(nodes, {"x": floats(2, 8)}, ("e",))
    operations = pim_capable(graph, Capabilities())
    blocks = []

    def timed(steps, *, rounds, window):
        blocks.append([step.name for step in steps])
        return {step.name: Timing(1.0, 1.0, rounds, False) for step in steps}

    with ResidentModel(graph, operations, driver) as resident:
        executor = Executor(graph, pim_first(graph, Capabilities()), operations, resident)
        executor.load_weights()
        executor.run({"x": np.ones((2, 8), np.float32)})
        monkeypatch.setattr(pimloop.host.execution.cpu_times, "time_rounds", timed)
        executor.time_cpu(rounds=1)
    segment = "segment of 2 from c"
    assert blocks == [
        ["cpu>pim x", "wait", "wait", "pim>cpu b", segment, "cpu>pim d", "wait", "pim>cpu e"],
        ["c", "d"],
    ]


def test_work_and_time_on_the_device_are_told_in_their_units(driver, monkeypatch):
    """Multiply-adds of a product, elements of a sum; seconds of a clock that tells nanoseconds."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a"),
        helper.make_node("Add", ["a", "a"], ["b"], name="b"),
    ]
    graph = small(nodes, {"x": floats(2, 8)}, ("b",), {"w": np.ones((8, 4), np.float32)})
    operations = pim_capable(graph, Capabilities())
    seen = []
    with ResidentModel(graph, operations, driver) as resident:
        assignment = pim_first(graph, Capabilities())
        executor = Executor(graph, assignment, operations, resident, progress=seen.append)
        executor.load_weights()
        before, seen[:] = executor.device_seconds, []
        ticks = itertools.count(step=1_500_000_000)
        monkeypatch.setattr(pimloop.host.execution.offload, "perf_counter_ns", lambda: next(ticks))
        execution = executor.run({"x": np.ones((2, 8), np.float32)})
        calls = len(execution.pim) + len(execution.transfers)
        assert executor.device_seconds - before == pytest.approx(1.5 * calls)
        # Nothing is read any more: nothing stays.
        assert not any(resident.holds(name) for name in graph.tensors)
    assert [(progress.label, progress.done, progress.total) for progress in seen] == [
        ("a", 0, 64 + 8), ("b", 64, 64 + 8), ("", 64 + 8, 64 + 8),
    ]  # fmt: skip


def test_conversions_are_timed_once_for_each_transfer(driver):
    graph = tiny("bert")
    operations = pim_capable(graph, PAPER)
    assignment = pim_first(graph, PAPER)
    with ResidentModel(graph, operations, driver) as resident:
        executor = Executor(graph, assignment, operations, resident)
        executor.load_weights()
        execution = executor.run(random_inputs(graph))
    times = executor.time_cpu(rounds=2)
    keys = [transfer.key for transfer in execution.transfers]
    assert len(set(keys)) == len(keys)
    on_cpu = {identifier for identifier, device in assignment.items() if device != "pim"}
    assert set(times) == on_cpu | set(keys)


def test_gemm_forms(driver):
    generator = np.random.default_rng(1)
    x = generator.standard_normal((5, 7), np.float32)
    w = generator.standard_normal((9, 7), np.float32)
    bias = generator.standard_normal((1, 9), np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "bias"], ["y"], name="fused", transB=1),
        helper.make_node("Gemm", ["x", "wt"], ["z"], name="plain"),
        helper.make_node("Gemm", ["x", "wt"], ["s"], name="scaled", alpha=2.0),
        helper.make_node("Gemm", ["v", "wt"], ["t"], name="transposed", transA=1),
        helper.make_node("Gemm", ["x", "u"], ["m"], name="activation", transB=1),
    ]
    graph = small(
        nodes,
        {"x": floats(5, 7), "v": floats(7, 5), "u": floats(9, 7)},
        ("y", "z", "s", "t", "m"),
        {"w": w, "wt": np.ascontiguousarray(w.T), "bias": bias},
    )
    # alpha goes into the constant; v is transposed on the CPU.
    gemms = {"fused", "plain", "scaled/Gemm_1", "transposed/Gemm_1"}
    assert set(pim_capable(graph, Capabilities())) == gemms | {"activation"}
    assert set(pim_capable(graph, PAPER)) == gemms
    operations = pim_capable(graph, Capabilities())
    feeds = {"x": x, "v": np.ascontiguousarray(x.T), "u": w}
    values = execute(graph, pim_first(graph, Capabilities()), operations, driver, feeds).values
    assert np.allclose(values["y"], x @ w.T + bias, rtol=0.02, atol=0.05)
    assert np.allclose(values["m"], values["z"])
    assert np.allclose(values["z"], x @ w.T, rtol=0.02, atol=0.05)
    assert np.array_equal(values["t"], values["z"])
    assert np.array_equal(values["s"], 2 * values["z"])


@pytest.mark.parametrize(
    ("op", "left", "right", "capable"),
    [
        ("Add", (1, 4, 6), (1, 4, 6), True),
        ("Add", (1, 4, 6), (6,), True),
        ("Add", (6,), (1, 4, 6), True),
        ("Mul", (1, 4, 6), (), True),
        ("Mul", (1,), (1, 4, 6), True),
        ("Sub", (1, 4, 6), (1, 4, 1), True),
        ("Sub", (1, 4, 1), (1, 4, 6), False),
        ("Sub", (), (4, 6), False),
        ("Add", (1, 4, 6), (4, 1), False),
        ("Add", (4, 1), (1, 6), False),
        ("Add", (1, 2, 4, 6), (1, 1, 1, 6), True),
        ("Add", (1, 2, 4, 6), (1, 1, 4, 6), False),
        ("Add", (), (), False),
        ("Div", (4, 6), (4, 6), False),
    ],
)
def test_elementwise_broadcasts(op, left, right, capable, driver):
    """`capable`: whether the paper's board takes the shapes; the driver takes every broadcast."""
    node = helper.make_node(op, ["x", "y"], ["z"], name="n")
    graph = small([node], {"x": floats(*left), "y": floats(*right)}, ("z",))
    operations = pim_capable(graph, Capabilities())
    assert bool(operations) == (op != "Div")
    paper = Capabilities(elementwise_max_rank=8, operands="paper")
    assert bool(pim_capable(graph, paper)) == capable
    if operations:
        feeds = random_inputs(graph)
        result = execute(graph, {"n": "pim"}, operations, driver, feeds).values["z"]
        assert np.allclose(result, run_reference(graph, feeds)["z"], rtol=0.02, atol=0.02)


def test_the_papers_board_takes_three_axes_and_float32_only():
    node = helper.make_node("Add", ["x", "x"], ["z"], name="n")
    four = small([node], {"x": floats(1, 2, 3, 4)}, ("z",))
    assert pim_capable(four, Capabilities())
    assert not pim_capable(four, PAPER)
    integers = TensorInfo((3, 4), np.dtype(np.int64))
    assert not pim_capable(small([node], {"x": integers}, ("z",)), Capabilities())


@pytest.mark.parametrize(("name", "count"), [("bert-small", 108), ("roberta", 308), ("gpt2", 246)])
def test_pim_capable_operators_of_the_papers_graphs(name, count):
    """The paper's numbers; GPT-2 has 245 there, without the language-model head."""
    from pimloop.host.models.built_in import BUILT_IN

    config = replace(BUILT_IN[name], hidden=BUILT_IN[name].heads * 2, intermediate=8, vocabulary=9)
    graph = build_graph(config, RandomWeights(config), LoadOptions(sequence_length=8))
    assert len(pim_capable(graph, PAPER)) == count


def test_weights_beyond_the_capacity_say_the_numbers():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
    geometry = replace(GEOMETRY, capacity=1 << 20)

    def product(columns, rows):
        weight = np.ones((512, columns), np.float32)
        return small([node], {"x": floats(rows, 512)}, ("y",), {"w": weight})

    with ModelDevice(geometry, 1 << 20) as device, PimDriver(device) as opened:
        tight = product(896, 256)
        operations = pim_capable(tight, Capabilities())
        with ResidentModel(tight, operations, opened) as resident:
            # The weights alone fit; operand and result take 256 and 448 KiB of the same memory, the
            # driver's two rows of constants 32 of 512 columns (whole atoms of rows).
            executor = Executor(tight, {"n": "pim"}, operations, resident)
            room = (1 << 20) - 256 * 512 * 2 - 256 * 896 * 2 - 32 * 512 * 2
            with pytest.raises(
                PimloopError, match=f"917504 bytes as bfloat16.*has 1048576, {room} of them beside"
            ):
                executor.load_weights()
        large = product(1025, 2)  # stored as 1056 columns
        operations = pim_capable(large, Capabilities())
        with ResidentModel(large, operations, opened) as resident:
            executor = Executor(large, {"n": "pim"}, operations, resident)
            with pytest.raises(PimloopError, match=r"1081344 bytes as bfloat16.*has 1048576"):
                executor.load_weights()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("n1"), "no device for node 'n1'"),
        (lambda a: a.update(n1="gpu"), "assigned to 'gpu'; devices: cpu_serial"),
        (lambda a: a.update(n2="pim"), r"'n2' \(Neg\) cannot run on the PIM"),
        (lambda a: a.update(n3="pim"), "does not have: n3"),
    ],
)
def test_bad_assignments(change, message):
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"], name="n1"),
        helper.make_node("Neg", ["a"], ["b"], name="n2"),
    ]
    graph = small(nodes, {"x": floats(2, 2)}, ("b",))
    assignment = {"n1": "cpu_serial", "n2": "cpu_serial"}
    change(assignment)
    with pytest.raises(PimloopError, match=message):
        Executor(graph, assignment, pim_capable(graph, Capabilities()))


def test_pim_nodes_need_a_device():
    node = helper.make_node("Add", ["x", "x"], ["a"], name="n")
    graph = small([node], {"x": floats(2, 2)}, ("a",))
    with pytest.raises(PimloopError, match="no device is open"):
        Executor(graph, {"n": "pim"}, pim_capable(graph, Capabilities()))


def check_of(graph, operation, left, right, bias, result):
    operands = {operation.left: left, operation.right: right}
    if bias is not None:
        operands[operation.bias] = bias
    return Check(graph.nodes[0], operation, operands, result)


def test_a_wrong_bit_is_found_and_named():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = small([node], {"x": floats(1, 3, 4)}, ("y",), {"w": np.ones((4, 40), np.float32)})
    operation = pim_capable(graph, Capabilities())["product"]
    ones = np.full((1, 3, 4), 0x3F80, np.uint16)
    right = np.full((4, 40), 0x3F80, np.uint16)
    result = np.full((1, 3, 40), 0x4080, np.uint16)  # 4.0
    wrong = result.copy()
    wrong[0, 2, 33] ^= 1
    with Verifier(graph) as verifier:
        verifier.submit(check_of(graph, operation, ones, right, None, result))
        verifier.submit(check_of(graph, operation, ones, right, None, wrong))
        assert verifier.wait(30)
        (mismatch,) = verifier.mismatches
    assert str(mismatch) == (
        "product: 1 of 120 elements differ, first at [0, 2, 33]: device 0x4081, golden 0x4080"
    )


def test_a_failing_check_is_raised_to_the_caller():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = small([node], {"x": floats(3, 4)}, ("y",), {"w": np.ones((4, 8), np.float32)})
    operation = pim_capable(graph, Capabilities())["product"]
    left, right = np.zeros((3, 4), np.uint16), np.zeros((5, 8), np.uint16)
    with Verifier(graph) as verifier:
        verifier.submit(check_of(graph, operation, left, right, None, right))
        with pytest.raises(ValueError, match="cannot reshape"):
            verifier.wait(30)


def test_the_verifier_stands_still_while_paused(monkeypatch):
    node = helper.make_node("Add", ["x", "x"], ["y"], name="sum")
    graph = small([node], {"x": floats(2, 2)}, ("y",))
    operation = pim_capable(graph, Capabilities())["sum"]
    zeros = np.zeros((2, 2), np.uint16)
    with Verifier(graph) as verifier:
        with verifier.paused():
            verifier.submit(check_of(graph, operation, zeros, zeros, None, zeros))
            assert not verifier.wait(0.05)
            assert verifier.pending == 1
            monkeypatch.setattr("pimloop.host.execution.verification.TIMEOUT_S", 0.0)
            with pytest.raises(PimloopError, match="has 1 result left to check after 0 s: hurry"):
                verifier.finish("hurry")
        assert verifier.wait(30)
        verifier.finish()


def test_rounding_depth_and_tolerance():
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"], name="n1"),
        helper.make_node("Neg", ["a"], ["b"], name="n2"),
        helper.make_node("Add", ["a", "b"], ["c"], name="n3"),
    ]
    graph = small(nodes, {"x": floats(2, 2)}, ("c",))
    depth = rounding_depth(graph, {"n1": "pim", "n2": "cpu_serial", "n3": "pim"})
    assert (depth["a"], depth["b"], depth["c"]) == (2, 2, 4)
    assert rounding_depth(graph, dict.fromkeys(("n1", "n2", "n3"), "cpu_serial"))["c"] == 0
    assert tolerance(0) == 1e-5
    assert 0.02 < tolerance(100) < 0.025


def test_small_outputs_bring_the_tensor_they_come_from():
    assert compared_tensors(tiny("bert"))[0] == "logits"
    graph = tiny("bert")
    (features,) = compared_tensors(graph)[1:]
    assert graph.producer[features].op == "Tanh"
    assert compared_tensors(tiny("gpt2")) == ("logits",)


@pytest.mark.parametrize(
    "mistake",
    ["weight", "bias", "transposed", "row of the weight", "an element", "of the bias", "nothing"],
)
def test_operands_that_are_not_the_graphs_are_found(mistake):
    """The golden model agrees with a device that was told the wrong thing; float32 does not."""
    generator = np.random.default_rng(3)
    weight = generator.standard_normal((16, 16), np.float32)
    bias = generator.standard_normal(16, np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="product", transB=1)
    graph = small([node], {"x": floats(4, 16)}, ("y",), {"w": weight, "b": bias})
    operation = pim_capable(graph, Capabilities())["product"]
    used_weight, used_bias = weight.copy(), bias.copy()
    if mistake == "weight":
        used_weight = generator.standard_normal((16, 16), np.float32)
    elif mistake == "bias":
        used_bias[:] = 0
    elif mistake == "transposed":
        used_weight = np.ascontiguousarray(weight.T)
    elif mistake == "row of the weight":
        used_weight[3] = 0
    elif mistake == "an element":
        used_weight[3, 5] *= -1
    elif mistake == "of the bias":
        used_bias[3] *= -1
    x = golden.to_bf16_bits(generator.standard_normal((4, 16), np.float32))
    w, b = golden.to_bf16_bits(used_weight), golden.to_bf16_bits(used_bias)
    check = check_of(graph, operation, x, w, b, golden.matmul(x, w.T, b))
    error = operator_error(graph, check)
    if mistake == "nothing":
        assert 0 < error <= OPERATOR_LIMIT
    else:
        assert error > 10 * OPERATOR_LIMIT


def test_weights_that_round_to_one_side_are_no_error():
    """Values of 4 bits with an offset, behind a ReLU: rounding errors add up instead of averaging.

    Against the weights in float32 the results are off by 3 % of the root of the summed squares.
    """
    generator = np.random.default_rng(0)
    values = ((np.arange(16) - 7.4) * 0.0371).astype(np.float32)
    weight = values[generator.integers(16, size=(4096, 4))]
    x = golden.to_bf16_bits(np.abs(generator.standard_normal((2, 4096), np.float32)))
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = small([node], {"x": floats(2, 4096)}, ("y",), {"w": weight})
    operation = pim_capable(graph, Capabilities())["product"]
    bits = golden.to_bf16_bits(weight)
    result = golden.matmul(x, bits)
    check = check_of(graph, operation, x, bits, None, result)
    assert operator_error(graph, check) <= OPERATOR_LIMIT
    truncated = (weight.view(np.uint32) >> 16).astype(np.uint16)
    wrong = check_of(graph, operation, x, truncated, None, golden.matmul(x, truncated))
    assert operator_error(graph, wrong) > OPERATOR_LIMIT  # weights that were not rounded


@pytest.mark.parametrize("steps", [1, 64, 4096])
def test_sums_of_equal_terms_and_of_what_cancels_are_within_the_bound(steps):
    generator = np.random.default_rng(steps)
    even = np.full((2, steps), 0.1, np.float32)
    odd = np.concatenate([even, -even], 1) * generator.uniform(0.999, 1.001, (2, 2 * steps))
    for left, bit in ((even, 4), (odd.astype(np.float32), 0x4000)):
        x = golden.to_bf16_bits(left)
        w = golden.to_bf16_bits(np.full((x.shape[1], 3), 0.3, np.float32))
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
        tensors = {"x": floats(*x.shape), "w": floats(*w.shape)}
        graph = small([node], tensors, ("y",), {})
        operation = pim_capable(graph, Capabilities())["product"]
        check = check_of(graph, operation, x, w, None, golden.matmul(x, w))
        assert operator_error(graph, check) <= OPERATOR_LIMIT
        check.result[1, 2] ^= bit
        assert operator_error(graph, check) > OPERATOR_LIMIT


def test_infinities_must_be_where_float32_has_them():
    node = helper.make_node("Add", ["x", "z"], ["y"], name="sum")
    graph = small([node], {"x": floats(1, 2), "z": floats(1, 2)}, ("y",))
    operation = pim_capable(graph, Capabilities())["sum"]
    left = golden.to_bf16_bits(np.array([[np.inf, 1]], np.float32))
    right = golden.to_bf16_bits(np.array([[1, 1]], np.float32))
    result = golden.elementwise(np.add, left, right)
    assert operator_error(graph, check_of(graph, operation, left, right, None, result)) == 0
    assert operator_error(graph, check_of(graph, operation, left, right, None, right)) == float(
        "inf"
    )
