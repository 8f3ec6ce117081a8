"""Models larger than the device: what is kept off the PIM, and weights that take turns."""

from __future__ import annotations

import gc
import json
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from support.tiny_models import TINY

import pimloop.host.cli
from pimloop.errors import PimloopError
from pimloop.host.execution.options import Options
from pimloop.host.models.generator import build_generator
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.fit import _known, pim_fit
from pimloop.host.pim.resident import ResidentModel, leave_constants
from pimloop.host.pim.weights import DeviceWeights
from pimloop.host.pipeline.generate import generate
from pimloop.host.pipeline.generation import Placed
from pimloop.host.pipeline.pipeline import Pipeline, execute_once
from pimloop.host.planning.graph import partition_graph
from pimloop.host.planning.policies import POLICIES
from pimloop.host.planning.profiling import plan_runs
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import build_report
from pimloop.host.report.html.labels import executed_meaning
from pimloop.partitioner.place.capacity import overfull, resident_bytes

SMALL = {"device.rows": "16"}  # 16 banks x 16 rows x 8 KiB: 2 MiB
TWO_MIB = 2 << 20
KIB = 1024


def chain(shapes, rows=4, weights=None):
    """x times one weight after the other."""
    rng = np.random.default_rng(0)
    names = ["x", *(f"y{i}" for i in range(len(shapes)))]
    nodes = [
        helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], name=f"n{i}")
        for i in range(len(shapes))
    ]
    weights = weights or {
        f"w{i}": (rng.standard_normal((q, r)) / np.sqrt(q)).astype(np.float32)
        for i, (q, r) in enumerate(shapes)
    }
    inputs = {"x": TensorInfo((rows, shapes[0][0]), np.dtype(np.float32))}
    return normalize(RawModel("chain", nodes, weights, inputs, (names[-1],), {"": 17}))


LARGE = [(64, 64), (64, 2048), (2048, 1024), (1024, 64)]
SIX = [(512, 512)] * 6
THIN = [(448, 200), (200, 448)] * 6


def test_a_weight_that_cannot_fit_is_named_with_its_size():
    graph = chain(LARGE)
    fit = pim_fit(graph, load_platform("htg-z920", SMALL))
    assert set(fit.operations) == {"n0", "n1", "n3"}
    assert list(fit.kept_on_cpu) == ["n2"]
    assert "4194304 bytes in device memory, which has 2097152" in fit.kept_on_cpu["n2"]
    assert fit.static
    larger = pim_fit(graph, load_platform("htg-z920", {"device.rows": "64"}))
    assert set(larger.operations) == {"n0", "n1", "n2", "n3"}


def test_a_plan_with_an_operator_that_cannot_fit_says_why():
    graph, platform = chain(LARGE), load_platform("htg-z920", SMALL)
    assignment = dict.fromkeys(("n0", "n1", "n2", "n3"), "pim")
    with pytest.raises(
        PimloopError,
        match=r"node 'n2' cannot run on the PIM: its weights take 4194304 bytes in device memory,"
        r" which has 2097152, .*; make the plan from this platform's costs",
    ):
        execute_once(
            graph, random_inputs(graph), platform, "plan", assignment,
            Options(backend="model", jobs=1), lambda _: None,
        )  # fmt: skip


def test_what_fits_is_computed_once_for_a_graph_and_a_platform():
    graph = chain([(64, 64)])
    fit = pim_fit(graph, load_platform("htg-z920"))
    assert pim_fit(graph, load_platform("htg-z920")) is fit
    small = pim_fit(graph, load_platform("htg-z920", SMALL))
    assert small.device_bytes == TWO_MIB < fit.device_bytes
    assert pim_fit(graph, load_platform("htg-z920")).device_bytes == fit.device_bytes
    number = id(graph)
    assert number in _known
    del graph
    gc.collect()
    assert number not in _known


def test_weights_are_counted_as_the_driver_stores_them():
    platform = load_platform("htg-z920", SMALL)
    graph = chain(THIN)
    fit = pim_fit(graph, platform)
    # 200 columns are stored as a tile of 512.
    assert [fit.weights[f"n{i}"][0].nbytes for i in range(4)] == [448 * KIB, 200 * KIB] * 2
    assert not fit.static
    # Activations: 4 rows of 448, stored as 512, read and made at a time, and two rows of a tile.
    with (
        ModelDevice(platform.geometry(), 1 << 20) as device,
        PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
    ):
        own = driver.memory.used_bytes
        assert fit.device_bytes == TWO_MIB
        assert fit.weight_room < TWO_MIB - own - 2 * 4 * KIB
        assert fit.weight_room >= 3 * (448 + 168) * KIB
        uses = {n: operation.constants(graph) for n, operation in fit.operations.items()}
        weights = DeviceWeights(driver)
        for node, node_uses in uses.items():
            before = driver.memory.used_bytes
            placed = weights.place(graph, node_uses)
            taken = driver.memory.used_bytes - before
            assert taken == sum(constant.nbytes for constant in fit.weights[node])
            weights.drop(graph, placed)


def test_constants_are_counted_in_the_form_that_their_product_takes():
    """Narrow ones for MATMUL_T, in atoms; on the left and turned around, as rows or tiles."""
    shapes = {"blocked": ((4, 40), (40, 70)), "turned": ((512, 64), (64, 4))}
    left = {"left": ((512, 33), (33, 4))}
    nodes, constants, inputs = [], {}, {}
    for name, (a, b) in (shapes | left).items():
        fixed = "a" if name in left else "b"
        for operand, shape in (("a", a), ("b", b)):
            if operand == fixed:
                constants[name + operand] = np.ones(shape, np.float32)
            else:
                inputs[name + operand] = TensorInfo(shape, np.dtype(np.float32))
        nodes.append(helper.make_node("MatMul", [f"{name}a", f"{name}b"], [f"{name}y"], name=name))
    outputs = tuple(node.output[0] for node in nodes)
    graph = normalize(RawModel("forms", nodes, constants, inputs, outputs, {"": 17}))
    platform = load_platform("native")
    fit = pim_fit(graph, platform)
    stored = {
        node: [(constant.name, constant.nbytes) for constant in fit.weights[node]]
        for node in fit.weights
    }
    assert stored == {
        "blocked": [("blockedb (matrix, MATMUL_T)", 64 * 96 * 2)],
        "turned": [("turnedb (turned)", 31 * 64 * 2 + 512 * 2)],  # and what opcodes may read behind
        "left": [("lefta (transposed)", 33 * 512 * 2)],
    }
    with (
        ModelDevice(platform.geometry(), 1 << 20) as device,
        PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
        ResidentModel(graph, fit.operations, driver) as resident,
    ):
        assert resident.weights.held_bytes == sum(nbytes for [(_, nbytes)] in stored.values())
        assert resident.weight_room == fit.weight_room


def test_a_form_that_others_decide_is_counted_when_they_are_on_the_cpu():
    """The result of a product that does not fit comes from the CPU: the next may be turned."""
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["a"], name="large"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="next"),
    ]
    constants = {
        "v": rng.standard_normal((2048, 1024)).astype(np.float32),
        "w": rng.standard_normal((1024, 4)).astype(np.float32),
    }
    inputs = {"x": TensorInfo((64, 2048), np.dtype(np.float32))}
    graph = normalize(RawModel("chain", nodes, constants, inputs, ("y",), {"": 17}))
    together = pim_fit(graph, load_platform("native"))
    assert [constant.name for constant in together.weights["next"]] == ["w (matrix, MATMUL_T)"]
    alone = pim_fit(graph, load_platform("native", SMALL))
    assert set(alone.operations) == {"next"}
    assert [constant.name for constant in alone.weights["next"]] == ["w (turned)"]


def test_a_constant_that_operators_share_is_counted_once_in_each_form():
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((64, 64)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="second"),
        helper.make_node("Gemm", ["b", "w"], ["c"], name="third", transB=1),
        helper.make_node("Add", ["c", "row"], ["y"], name="last"),
    ]
    constants = {"w": weight, "row": np.ones((64,), np.float32)}
    inputs = {"x": TensorInfo((4, 64), np.dtype(np.float32))}
    graph = normalize(RawModel("shared", nodes, constants, inputs, ("y",), {"": 17}))
    platform = load_platform("htg-z920")
    fit = pim_fit(graph, platform)
    operators = partition_graph(graph, fit, platform)
    as_stored = 64 * 64 * 2  # for MATMUL_T, without the 512 columns of a tile
    name = "w (matrix, MATMUL_T)"
    assert operators.shared_weights == {name: as_stored}
    assert [o.shared_weights for o in operators.operators[:3]] == [(name,)] * 2 + [()]
    assert operators.operators[2].weight_bytes == as_stored  # transposed: stored apart
    everything = range(len(operators.operators))
    with (
        ModelDevice(platform.geometry(), 1 << 20) as device,
        PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
        ResidentModel(graph, fit.operations, driver) as resident,
    ):
        assert resident.weights.held_bytes == resident_bytes(operators, everything)
        assert resident.weight_room == fit.weight_room


def test_operators_whose_activations_do_not_fit_are_named():
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="wide"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="narrow"),
    ]
    constants = {
        "w": rng.standard_normal((16, 512)).astype(np.float32),
        "v": rng.standard_normal((512, 16)).astype(np.float32),
    }
    for rows, able in ((1024, ["wide", "narrow"]), (2000, ["wide"]), (2100, [])):
        inputs = {"x": TensorInfo((rows, 16), np.dtype(np.float32))}
        graph = normalize(RawModel("rows", nodes, constants, inputs, ("y",), {"": 17}))
        fit = pim_fit(graph, load_platform("htg-z920", SMALL))
        kept = {name for name in ("wide", "narrow") if name not in fit.operations}
        assert kept == set(fit.kept_on_cpu)
        assert all("do not fit" in why or "bytes" in why for why in fit.kept_on_cpu.values())
        assert len(fit.operations) <= len(able)


@pytest.mark.parametrize("shapes", [LARGE, SIX, THIN], ids=["large", "six", "thin"])
@pytest.mark.parametrize("name", ["htg-z920", "aim"])
def test_every_placement_runs_and_is_right(shapes, name):
    settings = SMALL if name == "htg-z920" else {"device.rows": "64"}
    platform = load_platform(name, settings)
    graph = chain(shapes)
    feeds = random_inputs(graph, 1)
    options = Options(backend="model", jobs=1, rounds=1)
    with Pipeline(graph, feeds, platform, options) as pipeline:
        outcome = pipeline.run()
        operators, fit = pipeline.operators, pipeline.runner.fit
    assert outcome.passed
    assert set(outcome.schedules) == set(POLICIES)
    assert outcome.schedules["pim_first"].result.execution.pim
    profile = plan_runs(graph, operators, fit.operations, fit.weight_room)
    assert profile.plan.proved
    for number, run in enumerate(profile.runs):
        assert not overfull(operators, {"pim": fit.weight_room}, run)
        once = execute_once(graph, feeds, platform, f"run {number}", run, options, lambda _: None)
        assert once.passed


def test_weights_take_turns_on_one_device_and_keep_their_addresses():
    graph = chain(SIX)
    platform = load_platform("htg-z920", SMALL)
    fit = pim_fit(graph, platform)
    with (
        ModelDevice(platform.geometry(), 4 << 20) as device,
        PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
    ):
        held = driver.memory.used_bytes
        with ResidentModel(graph, fit.operations, driver) as resident:
            assert not resident.static
            seen = {}
            for chosen in ((0, 1, 2), (3, 4, 5), (0, 4, 2), (3, 1, 5)):
                resident.load_weights([f"n{i}" for i in chosen])
                for i in chosen:
                    matrix = resident.weights.matrix(graph, fit.operations[f"n{i}"].right_use())
                    assert seen.setdefault(i, matrix.address) == matrix.address
            # Two that share an address: one of them moves, all are there.
            resident.load_weights(["n0", "n3", "n1"])
            where = {
                resident.weights.matrix(graph, fit.operations[f"n{i}"].right_use()).address
                for i in (0, 3, 1)
            }
            assert len(where) == 3
            with pytest.raises(Exception, match=r"2097152 bytes as bfloat16.*beside"):
                resident.load_weights(["n0", "n1", "n2", "n3"])
        assert driver.memory.used_bytes == held


def test_a_plan_that_does_not_fit_is_refused_with_the_numbers(tmp_path, capsys):
    weights = [
        numpy_helper.from_array(np.ones((512, 512), np.float32) / 512, f"w{i}") for i in range(6)
    ]
    names = ["x", *(f"y{i}" for i in range(6))]
    nodes = [
        helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], name=f"n{i}")
        for i in range(6)
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 512]) for n in ("x", "y5")]
    model = helper.make_model(
        helper.make_graph(nodes, "six", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    save(model, tmp_path / "six.onnx")
    plan = {"format": "pimloop-plan/1", "assignment": {f"n{i}": "pim" for i in range(6)}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    common = ["--set", "device.rows=16", "--device", "model", "--quiet"]
    model_file = str(tmp_path / "six.onnx")
    code = pimloop.host.cli.main(
        ["run", model_file, "--plan", str(tmp_path / "plan.json"), *common]
    )
    assert code == 2
    error = capsys.readouterr().err
    assert "3145728 bytes as bfloat16" in error
    assert "Traceback" not in error
    assert pimloop.host.cli.main(["run", model_file, "--policy", "pim_first", *common]) == 0


def test_two_models_on_one_device_take_turns():
    first, second = chain(SIX), chain([(512, 512)] * 5, rows=64)
    platform = load_platform("htg-z920", SMALL)
    with (
        ModelDevice(platform.geometry(), 4 << 20) as device,
        PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
    ):
        weights = DeviceWeights(driver)
        for graph in (first, replace(second)):
            operations = pim_fit(graph, platform).operations
            with ResidentModel(graph, operations, driver, weights) as resident:
                resident.load_weights(list(operations)[:3])
                assert resident.weights.held_bytes == 3 * 512 * KIB
            # Where they lie depends on the schedule: the next model's addresses must not.
            assert weights.held_bytes == 0


@pytest.mark.parametrize(("count", "moved"), [(1, 2 * 512 * KIB), (3, 0)])
def test_a_model_behind_another_has_the_addresses_that_it_was_profiled_with(count, moved):
    """Behind the first one's 1 MiB, or in its place where both do not fit into 2 MiB."""
    platform = load_platform("htg-z920", SMALL)
    first, second = chain([(512, 512)] * 2), chain([(512, 512)] * count)

    def addresses(before):
        with (
            ModelDevice(platform.geometry(), 4 << 20) as device,
            PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
        ):
            weights = DeviceWeights(driver)
            before(pim_fit(first, platform).operations, driver, weights)
            operations = pim_fit(second, platform).operations
            with ResidentModel(second, operations, driver, weights) as resident:
                assert resident.static
                uses = [operations[f"n{i}"].right_use() for i in range(count)]
                return [weights.matrix(second, use).address for use in uses]

    def profiled(operations, driver, weights):
        leave_constants(first, operations, driver, weights)

    def executed(operations, driver, weights):
        with ResidentModel(first, operations, driver, weights) as resident:
            resident.load_weights(["n1"])

    assert addresses(profiled) == addresses(executed)
    alone = addresses(lambda *_: None)
    assert addresses(profiled) == [address + moved for address in alone]


def test_a_generation_fits_its_phases_one_after_the_other():
    """A prompt and steps of a tiny GPT-2 on devices that hold a part of its weights."""
    config = replace(TINY["gpt2"], vocabulary=1000)
    options = LoadOptions(sequence_length=6)
    generator = build_generator(config, RandomWeights(config, 0), 3, options)
    prompt = random_inputs(generator.prefill, 0)["input_ids"]
    on_pim = {}
    for rows in (2, 4096):
        platform = load_platform("htg-z920", {"device.rows": str(rows)})

        def plan(graph, *_, platform=platform):
            placed = POLICIES["pim_first"](graph, platform.capabilities)
            return Placed(pim_fit(graph, platform).within(graph, placed), "any")

        settings = Options(backend="model", rounds=1)
        generation = generate(generator, prompt, platform, plan, settings)
        assert generation.passed
        assert len(generation.tokens) == 3
        on_pim[rows] = [sum(d == "pim" for d in p.assignment.values()) for p in generation.phases]
        room = pim_fit(generator.step, platform)
        assert room.static == (rows == 4096)
    # The head, with 1,024 columns, has 131,072 of the 269,312 bytes.
    assert on_pim == {2: [45, 45], 4096: [46, 46]}


@pytest.mark.full
def test_the_whole_pipeline_on_a_small_device():
    """Predicted is executed although weights take turns; every policy that fits runs."""
    graph = chain(SIX)
    platform = load_platform("htg-z920", SMALL)
    with Pipeline(
        graph, random_inputs(graph, 1), platform, Options(jobs=2, fresh=True)
    ) as pipeline:
        outcome = pipeline.run()
    assert outcome.passed
    assert len(outcome.profile.plan.runs) == outcome.profile.plan.lower_bound == 3
    assert set(outcome.failed) <= {"paper_dp"}
    for name, schedule in outcome.schedules.items():
        assert schedule.executed.total_us == pytest.approx(schedule.plan.total_us), name
    assert sum(d == "pim" for d in outcome.schedules["optimal"].result.assignment.values()) == 3


def test_a_modelled_cpu_stays_modelled_where_conversions_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    platform = load_platform("htg-z920", {"driver.conversion": "measured"})
    graph = chain([(64, 64)])
    model = platform.cpu_model()
    for stored in (False, True):
        options = Options(jobs=1, rounds=2)
        with Pipeline(graph, random_inputs(graph), platform, options) as pipeline:
            outcome = pipeline.run()
        assert (not outcome.profile_results) == stored
        costs = outcome.costs.cost_us["n0"]
        for device in ("cpu_serial", "cpu_parallel"):
            assert costs[device] == model.time_us(graph, graph.nodes[0], device)
        assert not outcome.costs.entry_us
        assert outcome.passed
    report = build_report(outcome)
    assert executed_meaning(report).startswith("conversions are measured on this machine, CPU")
