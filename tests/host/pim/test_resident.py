"""Static addresses: an operator is the same descriptor list in every schedule of its model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper
from support.tiny_models import TINY

from pimloop.errors import PimloopError
from pimloop.host.execution.executor import Executor
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.models.weights import RandomWeights
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import DriverError, OutOfDeviceMemoryError, PimDriver
from pimloop.host.pim.driver.memory import Block, DeviceMemory
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.pim.weights import ConstantBits, DeviceWeights
from pimloop.host.planning.policies import pim_first
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import DESCRIPTOR, Code, Opcode, Reg

GEOMETRY = Geometry(
    capacity=64 << 20, all_bank=False, native_lanes=True, banks=16, bank_groups=4, row_bytes=8192,
    atom_bytes=64, beat_bytes=64, lanes=32, acc_groups=16, scalar_depth=4096, ck_ratio=4,
    tck_fs=833333, lane_latency=4,
)  # fmt: skip


class Recorder(ModelDevice):
    """A device that notes every list; with `compute` off it does nothing but accept them."""

    def __init__(self, geometry, buffer_bytes=16 << 20, *, compute=True):
        super().__init__(geometry, buffer_bytes)
        self.lists = []
        self._compute = compute

    def write32(self, offset, value):
        if offset == Reg.DOORBELL:
            slots = self.buffer[: self.buffer.size // 16].view(DESCRIPTOR)
            count = int(np.argmax(slots["control"] & 0xFF == Opcode.END)) + 1
            if not self._compute:
                slots["status"][:count] = Code.DONE
            listed = slots[:count].copy()
            listed["status"] = 0
            self.lists.append(listed.tobytes())
            if not self._compute:
                return
        super().write32(offset, value)

    def wait_irq(self, timeout):
        if self._compute:
            super().wait_irq(timeout)


def tiny(name, length=6):
    config = TINY[name]
    return build_graph(config, RandomWeights(config), LoadOptions(sequence_length=length))


def placements(graph, operations, seeds):
    """Everything capable on the PIM, and random halves of it."""
    yield {n.id: "pim" if n.id in operations else "cpu_parallel" for n in graph.nodes}
    for seed in seeds:
        generator = np.random.default_rng(seed)
        chosen = {name for name in operations if generator.random() < 0.5}
        yield {n.id: "pim" if n.id in chosen else "cpu_serial" for n in graph.nodes}


def recorded_run(graph, operations, assignment, device, driver, resident=None):
    """Execute; return the lists of each operator and of each transfer, and the values."""
    own = resident or ResidentModel(graph, operations, driver)
    executor = Executor(graph, assignment, operations, own)
    executor.load_weights()
    by_operator = {}

    def note(kind, call):
        def noted(subject, *rest):
            start = len(device.lists)
            result = call(subject, *rest)
            key = (kind, getattr(subject, "id", subject))
            by_operator[key] = device.lists[start:]
            return result

        return noted

    own.run, kept_run = note("run", own.run), own.run
    own.upload, kept_upload = note("upload", own.upload), own.upload
    own.download, kept_download = note("download", own.download), own.download
    execution = executor.run(random_inputs(graph, 3))
    own.run, own.upload, own.download = kept_run, kept_upload, kept_download
    if resident is None:
        own.close()
    return {key: value for key, value in by_operator.items() if value}, execution


@pytest.mark.parametrize("name", sorted(TINY))
def test_lists_do_not_depend_on_the_schedule(name):
    graph = tiny(name)
    operations = pim_capable(graph, Capabilities())
    seen, compared = {}, 0
    for assignment in placements(graph, operations, (1, 2, 3)):
        with Recorder(GEOMETRY) as device, PimDriver(device, column_granule=64) as driver:
            recorded, _ = recorded_run(graph, operations, assignment, device, driver)
        for key, value in recorded.items():
            compared += key in seen
            assert seen.setdefault(key, value) == value, key
    assert compared > len(operations)
    assert {key[0] for key in seen} == {"run", "upload", "download"}


@pytest.mark.parametrize("name", ["bert-small", "gpt2"])
def test_lists_of_models_of_real_depth(name):
    """The shapes of the originals but for the widths; nothing is computed."""
    config = replace(BUILT_IN[name], hidden=192, heads=3, intermediate=768, vocabulary=400)
    graph = build_graph(config, RandomWeights(config), LoadOptions(sequence_length=16))
    operations = pim_capable(graph, Capabilities())
    geometry = replace(GEOMETRY, capacity=256 << 20)
    seen, compared = {}, 0
    for assignment in placements(graph, operations, (5,)):
        with (
            Recorder(geometry, compute=False) as device,
            PimDriver(device, column_granule=512) as driver,
        ):
            recorded, _ = recorded_run(graph, operations, assignment, device, driver)
        for key, value in recorded.items():
            compared += key in seen
            assert seen.setdefault(key, value) == value, key
    assert compared > len(operations) // 3


def test_executions_on_one_device_share_weights_and_leave_nothing():
    graph = tiny("bert")
    operations = pim_capable(graph, Capabilities())
    with Recorder(GEOMETRY) as device, PimDriver(device) as driver:
        held = driver.memory.used_bytes
        with ResidentModel(graph, operations, driver) as resident:
            assert resident.static
            used = driver.memory.used_bytes
            results = []
            for assignment in placements(graph, operations, (7, 7)):
                before = driver.totals.lists
                executor = Executor(graph, assignment, operations, resident)
                executor.load_weights()
                loaded = driver.totals.lists - before
                values = executor.run(random_inputs(graph, 3)).values
                results.append((loaded, values["logits"].tobytes()))
                assert driver.memory.used_bytes == used
            # The first loads everything; the others find what they need.
            assert results[0][0] > 0
            assert [loaded for loaded, _ in results[1:]] == [0, 0]
            assert results[1][1] == results[2][1]
        assert driver.memory.used_bytes == held


def test_values_are_those_of_a_fresh_device():
    graph = tiny("gpt2")
    operations = pim_capable(graph, Capabilities())
    assignments = list(placements(graph, operations, (1, 2)))
    with (
        Recorder(GEOMETRY) as device,
        PimDriver(device) as driver,
        ResidentModel(graph, operations, driver) as resident,
    ):
        shared = [
            recorded_run(graph, operations, assignment, device, driver, resident)[1].values[
                "logits"
            ]
            for assignment in assignments
        ]
    for assignment, values in zip(assignments, shared, strict=True):
        with Recorder(GEOMETRY) as device, PimDriver(device) as driver:
            fresh = recorded_run(graph, operations, assignment, device, driver)[1].values["logits"]
        assert np.array_equal(values, fresh)


def product(sizes):
    """x times one weight after the other, each (512, 512)."""
    generator = np.random.default_rng(0)
    names = ["x", *(f"y{i}" for i in range(sizes))]
    nodes = [
        helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], name=f"n{i}")
        for i in range(sizes)
    ]
    weights = {
        f"w{i}": generator.standard_normal((512, 512), np.float32) / 20 for i in range(sizes)
    }
    inputs = {"x": TensorInfo((2, 512), np.dtype(np.float32))}
    return normalize(RawModel("chain", nodes, weights, inputs, (names[-1],), {"": 17}))


def test_an_array_under_two_names_is_loaded_and_counted_once():
    graph = product(2)
    graph = replace(graph, constants=dict.fromkeys(graph.constants, graph.constants["w0"]))
    operations = pim_capable(graph, Capabilities())
    with (
        Recorder(GEOMETRY) as device,
        PimDriver(device) as driver,
        ResidentModel(graph, operations, driver) as resident,
    ):
        executor = Executor(graph, dict.fromkeys(operations, "pim"), operations, resident)
        executor.load_weights()
        assert executor.weight_cost.host_bytes_in == 512 * 512 * 2
        assert executor.weight_cost == executor.weight_stats


def test_what_does_not_fit_is_given_out_as_needed(caplog):
    """Three weights of 512 KiB in 1 MiB: two operators a schedule, whichever."""
    graph = product(3)
    operations = pim_capable(graph, Capabilities())
    geometry = replace(GEOMETRY, capacity=(1 << 20) + (1 << 18))
    with Recorder(geometry, 4 << 20) as device, PimDriver(device) as driver:
        held = driver.memory.used_bytes
        with caplog.at_level("INFO"), ResidentModel(graph, operations, driver) as resident:
            assert not resident.static
            assert "cycles may depend on the schedule" in caplog.text
            feeds = random_inputs(graph)
            wanted = feeds["x"]
            for name in graph.constants:
                wanted = wanted @ graph.constants[name]
            for off in ("n0", "n1", "n2", "n1"):
                assignment = {n.id: "cpu_serial" if n.id == off else "pim" for n in graph.nodes}
                executor = Executor(graph, assignment, operations, resident)
                executor.load_weights()
                values = executor.run(feeds).values[graph.outputs[0]]
                assert np.linalg.norm(values - wanted) < 0.02 * np.linalg.norm(wanted)
            everything = Executor(graph, pim_first(graph, Capabilities()), operations, resident)
            with pytest.raises(PimloopError, match=r"1572864 bytes as bfloat16.*has 1310720"):
                everything.load_weights()
        assert driver.memory.used_bytes == held


def test_loading_tells_how_far_it_is():
    graph = product(3)
    operations = pim_capable(graph, Capabilities())
    each = 512 * 512
    with (
        Recorder(GEOMETRY) as device,
        PimDriver(device) as driver,
        ResidentModel(graph, operations, driver) as resident,
    ):
        seen = []
        resident.load_weights(["n0", "n2"], lambda *progress: seen.append(progress))
        assert seen == [("w0", 0, 2 * each), ("w2", each, 2 * each), ("", 2 * each, 2 * each)]


def test_a_model_frees_what_is_its_own_and_no_more():
    graph = product(2)
    operations = pim_capable(graph, Capabilities())
    with Recorder(GEOMETRY) as device, PimDriver(device) as driver:
        empty = driver.memory.used_bytes
        weights = DeviceWeights(driver, ConstantBits())
        with ResidentModel(graph, operations, driver, weights) as first:
            first.load_weights(operations)
            first.upload("x", np.ones((2, 512), np.uint16))
            assert first.holds("x")
        assert not first.holds("x")
        # Two matrices of 512 x 512 bfloat16 stay for the next model.
        assert weights.held_bytes == driver.memory.used_bytes - empty == 2 * 512 * 512 * 2
        with ResidentModel(graph, operations, driver, weights) as second:
            assert second.load_weights(operations).lists == 0
        weights.close()
        assert driver.memory.used_bytes == empty


def test_two_graphs_share_weights_by_array():
    graph = product(2)
    half = product(2)
    shared = replace(half, constants={name: graph.constants[name] for name in half.constants})
    operations = pim_capable(graph, Capabilities())
    with Recorder(GEOMETRY) as device, PimDriver(device) as driver:
        weights = DeviceWeights(driver, ConstantBits())
        with (
            ResidentModel(graph, operations, driver, weights) as first,
            ResidentModel(shared, operations, driver, weights) as second,
        ):
            assert first.load_weights(operations).lists > 0
            assert second.load_weights(operations).lists == 0
            feeds = random_inputs(graph)
            assignment = pim_first(graph, Capabilities())
            results = [
                Executor(resident.graph, assignment, operations, resident).run(feeds).values["y1"]
                for resident in (first, second, first)
            ]
        assert np.array_equal(results[0], results[1])
        assert np.array_equal(results[0], results[2])
        weights.close()


def test_a_rehearsal_changes_nothing_and_touches_no_device():
    with Recorder(GEOMETRY) as device, PimDriver(device) as driver:
        a = driver.upload(np.ones((3, 40), np.float32))
        list_count, free = len(device.lists), driver.memory.free_ranges
        with driver.rehearsal() as taken:
            b = driver.new_tensor((3, 40))
            driver.write(b, np.ones((3, 40), np.float32))
            rehearsed = driver.elementwise("add", a, b)
            with pytest.raises(DriverError, match="rehearsal"), driver.rehearsal():
                pass
        assert {block.address for block in taken} >= {b.address, rehearsed.address}
        assert (len(device.lists), driver.memory.free_ranges) == (list_count, free)
        b = driver.upload(np.ones((3, 40), np.float32))
        assert driver.elementwise("add", a, b).address == rehearsed.address


def test_reserved_and_restricted_memory():
    memory = DeviceMemory(replace(GEOMETRY, capacity=1 << 16))
    block = memory.reserve(Block(4096, 128))
    with pytest.raises(OutOfDeviceMemoryError, match="0x1040 are in use"):
        memory.reserve(Block(0x1040, 64))
    with memory.restricted(((4096, 4224),)):
        assert memory.allocate_low(64).address == 4096
        with pytest.raises(OutOfDeviceMemoryError):
            memory.allocate_low(128)
    memory.free(block)
    assert memory.free_ranges == ((0, 1 << 16),)
