"""Memory of the host: weights kept once, executions dropped, too large a run refused."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import subprocess
import sys
import tracemalloc
import weakref
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import ml_dtypes
import numpy as np
import pytest
from onnx import helper
from support.paths import TESTS

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.cpu import segments
from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.operators import open_session, run_reference
from pimloop.host.cpu.profile import profile_cpu
from pimloop.host.cpu.segments import CACHE_BYTES, Segment, SessionCache, timed_sessions
from pimloop.host.cpu.session_memory import intermediate_bytes
from pimloop.host.execution import runner as execute
from pimloop.host.execution.accuracy import COMPARED_BYTES, compare
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.memory import (
    Estimate,
    Present,
    Run,
    _group_available,
    _timing,
    available_bytes,
    estimate,
    require_memory,
)
from pimloop.host.execution.options import Options
from pimloop.host.execution.verification import (
    CHECKED_BYTES,
    LARGEST_BYTES,
    MOST_WAITING_BYTES,
    WIDENED_BYTES,
    Check,
    operator_error,
)
from pimloop.host.models.graph import TensorInfo, to_model
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.pim.device.model import DEFAULT_BUFFER_BYTES
from pimloop.host.pim.device.pool import DevicePool
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.weights import MOST_BITS_BYTES, ConstantBits
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.platforms.platform import load_platform

MIB = 1 << 20


def chain(count, size, rows=4):
    rng = np.random.default_rng(0)
    names = ["x", *(f"y{i}" for i in range(count))]
    nodes = [
        helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], name=f"n{i}")
        for i in range(count)
    ]
    weights = {
        f"w{i}": rng.standard_normal((size, size), np.float32) / np.float32(np.sqrt(size))
        for i in range(count)
    }
    inputs = {"x": TensorInfo((rows, size), np.dtype(np.float32))}
    return normalize(RawModel("chain", nodes, weights, inputs, (names[-1],), {"": 17}))


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_sessions_hold_no_copy_of_a_weight():
    graph = chain(1, 4096)  # 64 MiB
    feeds = random_inputs(graph)
    wanted = run_reference(graph, feeds)["y0"]  # whatever is allocated once, is now
    gc.collect()
    before = resident_bytes()
    sessions = [open_session(to_model(graph), 1, prepack=False) for _ in range(4)]
    assert resident_bytes() - before < 32 * MIB
    for session in sessions:
        np.testing.assert_allclose(session.run(None, feeds)[0], wanted, rtol=1e-4, atol=1e-4)
    packed = open_session(to_model(graph), 1)
    np.testing.assert_allclose(packed.run(None, feeds)[0], wanted, rtol=1e-4, atol=1e-4)


def test_an_open_session_leaves_nothing_in_the_temporary_folder(tmp_path, monkeypatch):
    """So a process that is killed leaves nothing there either."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    graph, sessions = chain(2, 64), SessionCache()
    sessions.prepare(graph, Segment("cpu_serial", graph.nodes))
    assert len(sessions) == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(PimloopError, match="set TMPDIR to one that can be written to"):
        sessions.prepare(graph, Segment("cpu_parallel", graph.nodes))


MEASURED = """
import resource
from pimloop.host.execution.reference.sensitivity import Rounded
from test_host_memory import chain, np, random_inputs, run_reference
most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MiB
graph = chain(8, 2048)  # 128 MiB
feeds = random_inputs(graph)
wanted = run_reference(graph, feeds)["y7"]
before = most()
values = Rounded(graph, {node.id: "pim" for node in graph.nodes}, ("y7",)).run(feeds, 0)["y7"]
print(most() - before, np.linalg.norm(values - wanted) / np.linalg.norm(wanted))
"""


def test_measured_limits_hold_no_copy_of_the_weights():
    """Each weight is rounded where it is read, and is gone after that."""
    ((grown, error),) = run_child(MEASURED)
    assert grown < 64
    assert 0.002 < error < 0.02


def test_a_weight_is_widened_block_by_block():
    size = 2048  # 32 MiB in binary64
    graph = chain(1, size)
    node = graph.nodes[0]
    operation = pim_fit(graph, load_platform("aim")).operations[node.id]
    left = golden.to_bf16_bits(random_inputs(graph)["x"])
    right = golden.to_bf16_bits(graph.constants["w0"])
    tracemalloc.start()
    magnitudes = operation.magnitudes({"x": left, "w0": right})
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * MIB
    a, b = (np.abs(golden.bf16_to_f32(bits).astype(np.float64)) for bits in (left, right))
    np.testing.assert_allclose(magnitudes.reshape(4, size), a @ b, rtol=1e-12)


def test_constants_outlive_their_graph_in_a_session():
    graph = chain(1, 256)
    feeds = random_inputs(graph)
    wanted = run_reference(graph, feeds)["y0"]
    session = open_session(to_model(graph), 1, prepack=False)
    del graph
    gc.collect()
    _ = [np.full((256, 256), np.nan, np.float32) for _ in range(50)]
    np.testing.assert_allclose(session.run(None, feeds)[0], wanted, rtol=1e-4, atol=1e-4)


def test_sessions_that_hold_nothing_are_not_dropped():
    graph = chain(3, 64)
    for prepack, left in ((False, 3), (True, 1)):
        cache = SessionCache(limit_bytes=1, prepack=prepack)
        for node in graph.nodes:
            cache.prepare(graph, Segment("cpu_serial", (node,)))
        assert len(cache) == left


@pytest.mark.parametrize("name", ["htg-z920", "native"])
def test_executions_that_are_over_are_dropped(name, monkeypatch):
    made = []

    class Watched(Executor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(weakref.ref(self))

    monkeypatch.setattr(execute, "Executor", Watched)
    graph = chain(4, 64)
    options = Options(backend="model", jobs=1, rounds=1)
    with Pipeline(graph, random_inputs(graph), load_platform(name), options) as pipeline:
        outcome = pipeline.run()
        assert outcome.passed
        gc.collect()
        assert len(made) == 3
        # A worker may keep the last one it ran.
        assert sum(executor() is not None for executor in made) <= options.jobs
        kept = pipeline.runner._buffers
    once = sum(i.nbytes for n, i in graph.tensors.items() if n not in graph.constants)
    assert kept.nbytes <= once + 64 * len(graph.tensors)
    if name == "native":
        # All were timed, on one set of buffers.
        assert all(schedule.result.cpu_times for schedule in outcome.schedules.values())
        assert kept.nbytes > 0
    else:
        assert kept.nbytes == 0


def test_buffers_are_taken_over():
    graph = chain(1, 16)
    first, second = TensorBuffers(graph), TensorBuffers(graph)
    x = first.array("x")
    y = second.array("y0")
    second.array("x")
    first.adopt(second)
    assert first.array("x") is x
    assert first.array("y0") is y


def test_an_estimate_counts_what_is_held():
    graph = chain(2, 512, rows=8)
    platform = load_platform("htg-z920")
    fit = pim_fit(graph, platform)
    both = {"n0": "pim", "n1": "pim"}
    first_on_pim = {"n0": "pim", "n1": "cpu_parallel"}
    none = {"n0": "cpu_serial", "n1": "cpu_serial"}
    weight, rows = 512 * 512 * 2, 8 * 512 * 4
    device = DEFAULT_BUFFER_BYTES + fit.device_bytes - fit.weight_room  # activations in its memory
    compared = COMPARED_BYTES * 8 * 512
    check = CHECKED_BYTES * 8 * 512 + 4 * 8 * 512 + LARGEST_BYTES * 512 * 512

    def parts(assignments, jobs, timed=False, **options):
        runs = [Run(graph, fit, assignments, **options)]
        return list(estimate(runs, jobs, timed=timed).parts.values())

    # Bits, results (float32 has them too), memories, activations, sessions, what waits.
    # The input and the result have buffers; y0 has none within a segment, nor on the PIM alone.
    assert parts([none], 2) == [0, 2 * rows, 0, 2 * rows, compared, 0]
    one_device = [weight, 3 * rows, device + weight]
    wanted = [*one_device, (3 + 2) * rows, 2 * rows + compared, rows + check]
    assert parts([first_on_pim, none], 2) == wanted  # of the operands x and y0, as bfloat16
    # One execution on each of two devices, and there is no third that is verified meanwhile.
    two_devices = [2 * weight, 3 * rows, 2 * (device + 2 * weight)]
    waiting = rows + 3 * rows // 2 + 2 * check
    wanted = [*two_devices, (3 + 2) * rows, 2 * rows + compared, waiting]
    assert parts([first_on_pim, both], 2) == wanted
    # Two graphs that share their constants, as the phases of a generation: both have activations.
    # Each of its executions leaves its results.
    phases = [Run(graph, fit, [both]), Run(graph, fit, [first_on_pim], repeats=5)]
    total = estimate(phases, 1, timed=False).parts
    assert list(total.values())[:4] == [
        2 * weight, (2 + 6) * rows, device + 2 * weight + device - DEFAULT_BUFFER_BYTES,
        (2 + 3) * rows,
    ]  # fmt: skip


def test_an_estimate_counts_what_is_held_while_the_cpu_is_timed():
    graph = chain(2, 512, rows=8)
    fit = pim_fit(graph, load_platform("htg-z920"))
    first_on_pim = {"n0": "pim", "n1": "cpu_parallel"}
    none = {"n0": "cpu_serial", "n1": "cpu_serial"}
    weight, rows = 4 * 512 * 512, 8 * 512 * 4
    serial = timed_sessions(graph, [Segment("cpu_serial", graph.nodes)])
    # Packed weights, and y0 twice: in the first run's memory, and in that of those that follow.
    assert list(serial.values()) == [2 * weight + 2 * rows]

    def parts(assignments, **options):
        present = options.pop("present", Present())
        return _timing([Run(graph, fit, assignments, **options)], present)

    # Of the whole model, then of each operator alone. The operators' weights are others.
    sessions = "CPU sessions that are timed"
    assert parts([none]) == {
        "activations": 3 * rows, "conversions": 0, sessions: 4 * weight + 2 * rows
    }  # fmt: skip
    # x and y0 cross; one segment of one operator.
    assert parts([first_on_pim]) == {
        "activations": 3 * rows, "conversions": 3 * rows, sessions: weight
    }  # fmt: skip
    assert parts([first_on_pim, none])[sessions] == 5 * weight + 2 * rows
    # A profile has the same of both devices.
    assert parts([], profiled=True)[sessions] == 8 * weight + 4 * rows
    # What there is already is not counted again.
    there = Present(buffers=2 * rows, sessions=serial)
    assert parts([none], present=there) == {
        "activations": rows, "conversions": 0, sessions: 2 * weight
    }  # fmt: skip
    full = Present(sessions={"other": CACHE_BYTES})
    assert parts([none], present=full)[sessions] == 2 * weight + 2 * rows  # open at a time


def test_the_estimate_bounds_what_is_bounded():
    """Bits that are kept, and results that wait."""
    graph = chain(40, 2048)  # 320 MiB as bfloat16
    fit = pim_fit(graph, load_platform("aim"))
    assignment = {node.id: "pim" for node in graph.nodes}
    parts = estimate([Run(graph, fit, [assignment])], 1, timed=False).parts
    assert parts["weights of the PIM as bfloat16"] == MOST_BITS_BYTES
    check = CHECKED_BYTES * 4 * 2048 + 4 * 4 * 2048 + LARGEST_BYTES * 2048**2
    assert parts["results waiting for verification"] == MOST_WAITING_BYTES + check
    assert parts["memory of 1 device"] >= 320 * MIB


def test_results_of_one_shape_share_memory_until_the_last_is_read():
    """Those of another shape live in their own meanwhile, as ONNX Runtime has it."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"], name="a"),  # 1 MiB
        helper.make_node("Add", ["a", "a"], ["b"], name="b"),
        helper.make_node("Transpose", ["b"], ["c"], name="c"),
        helper.make_node("Add", ["c", "c"], ["d"], name="d"),
        helper.make_node("Transpose", ["d"], ["e"], name="e"),
        helper.make_node("Add", ["e", "e"], ["y"], name="y"),
    ]
    inputs = {"x": TensorInfo((128, 2048), np.dtype(np.float32))}
    graph = normalize(RawModel("shapes", nodes, {}, inputs, ("y",), {"": 17}))
    # Two of (128, 2048), a and b; two of (2048, 128), c and d, though b is over by then.
    assert intermediate_bytes(graph, graph.nodes, ("y",)) == 4 * MIB
    assert intermediate_bytes(graph, graph.nodes, ()) == 4 * MIB
    assert intermediate_bytes(graph, graph.nodes, ("b", "e", "y")) == 3 * MIB
    assert intermediate_bytes(graph, graph.nodes[:1], ()) == MIB


def test_temporary_memory_of_comparisons_is_what_the_estimate_counts():
    """An equal number of elements of the result and of each operand."""
    size = 512
    graph = chain(1, size, rows=size)
    node, values = graph.nodes[0], random_inputs(graph)
    operation = pim_fit(graph, load_platform("aim")).operations[node.id]
    operands = {"x": values["x"], "w0": graph.constants["w0"]}
    bits = {name: golden.to_bf16_bits(value) for name, value in operands.items()}
    wanted = run_reference(graph, values)
    check = Check(node, operation, bits, golden.to_bf16_bits(wanted["y0"]))
    for limit, work in (
        (COMPARED_BYTES, lambda: compare(graph, {node.id: "pim"}, wanted, wanted)),
        (
            CHECKED_BYTES + max(WIDENED_BYTES, LARGEST_BYTES + 4),
            lambda: operator_error(graph, check),
        ),
    ):
        work()  # what is allocated once, is now
        tracemalloc.start()
        work()
        most = tracemalloc.get_traced_memory()[1] / size**2
        tracemalloc.stop()
        assert 0.9 * most < limit < 1.5 * most


TIMED = """
import gc
from test_host_memory import *
nodes, at = [], "x"
for i in range(3):  # rows of 8 MiB, as they lie and turned around, in turn
    for op, result in (("Exp", f"a{i}"), ("Exp", f"b{i}"), ("Transpose", f"c{i}"), ("Exp", f"d{i}"),
                       ("Transpose", f"e{i}")):
        nodes.append(helper.make_node(op, [at], [result], name=result))
        at = result
inputs = {"x": TensorInfo((1024, 2048), np.dtype(np.float32))}
graph = normalize(RawModel("turned", nodes, {}, inputs, (at,), {"": 17}))
buffers, sessions = TensorBuffers(graph), SessionCache()
buffers.array("x")[...] = buffers.array(at)[...] = 0
sessions.bind(chain(1, 8), Segment("cpu_serial", chain(1, 8).nodes), TensorBuffers(chain(1, 8)))
gc.collect()
before = resident_bytes()
bound = sessions.bind(graph, Segment("cpu_serial", graph.nodes), buffers)
for _ in range(3):
    bound.run()
print((resident_bytes() - before) / MIB, sum(sessions.held.values()) / MIB)
"""


def test_sessions_that_are_timed_keep_what_the_estimate_counts():
    ((taken, counted),) = run_child(TIMED)
    assert round(counted) == 64  # four tensors twice
    assert 0.9 * taken <= counted <= 1.3 * taken


def run_child(text, *arguments):
    """Return the numbers that each line of a fresh process begins with."""
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *(["-c", text] if text else []), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(map(float, line.split()[:2])) for line in done.stdout.splitlines()]


logger = logging.getLogger(__name__)

GENERATION = """
import gc
from dataclasses import replace
from pathlib import Path
from test_host_memory import *
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.generator import build_generator
from pimloop.host.models.loader import LoadOptions
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pipeline.generate import generate
from pimloop.host.pipeline.generation import Placed
config = replace(BUILT_IN["llama-3.2-1b"], layers=12, hidden=768, intermediate=2048, heads=12,
                 key_heads=4, vocabulary=6000)
small = replace(config, layers=1, hidden=64, heads=4, key_heads=2, intermediate=64, vocabulary=64)
platform = load_platform("htg-z920")
def generated(config):
    generator = build_generator(config, RandomWeights(config), 3, LoadOptions(sequence_length=4))
    prompt = random_inputs(generator.prefill)["input_ids"]
    def plan(graph, *_):
        return Placed({node.id: "cpu_parallel" for node in graph.nodes}, "cpu")
    made = generate(generator, prompt, platform, plan, Options(backend="model", rounds=1))
    assert made.passed
    return generator.prefill.parameters
generated(small)  # libraries are loaded
gc.collect()
before = resident_bytes()
Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak from now on
parameters = generated(config)
lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
(peak,) = (int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
print((peak - before) / MIB, 2 * parameters / MIB)
"""


def test_a_decoder_of_bfloat16_takes_little_more_than_its_weights():
    """Peak of building and generating, on the CPU; as float32 the weights alone take twice this."""
    ((taken, stored),) = run_child(GENERATION)
    assert stored > 150
    assert taken < 1.6 * stored


@pytest.mark.full
def test_a_decoder_of_a_billion_parameters_is_generated_within_12_gb(tmp_path):
    """The whole command, simulators included: the sum of the processes' proportional sets."""
    if total_memory() < 16 << 30:
        pytest.skip("needs a machine with 16 GB")
    command = [
        sys.executable, "-m", "pimloop", "sim", "llama-3.2-1b", "--seq", "8", "--generate", "16",
        "--no-plots", "--quiet", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    with subprocess.Popen(command) as process:
        peak, end = 0, monotonic() + 3600
        try:
            while process.poll() is None and monotonic() < end:
                peak = max(peak, proportional_bytes(process.pid))
                sleep(1)
        finally:
            process.terminate()
    logger.info("llama-3.2-1b --generate 16: %.2f GB at most, all processes together", peak / 1e9)
    assert process.returncode == 0
    report = json.loads((tmp_path / "out" / "generation.json").read_text())
    assert report["verification"]["passed"]
    assert len(report["tokens"]) == 16
    # The weights alone are 2.5 GB: less would be a measurement that missed the process.
    assert 2.4e9 < peak < 12e9, peak


def total_memory():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def proportional_bytes(process):
    """Return the proportional set sizes of a process and of those it started."""
    total, waiting = 0, [process]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        with suppress(OSError):  # it ended
            for task in (folder / "task").iterdir():
                waiting += (task / "children").read_text(encoding="ascii").split()
            text = (folder / "smaps_rollup").read_text(encoding="ascii")
            total += sum(int(kib) << 10 for kib in re.findall(r"^Pss: +(\d+) kB", text, re.M))
    return total


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "stages"),
    [
        ("pim bert 2 512 aim", 1),
        ("pim bert 2 256 htg-z920", 1),
        ("products bert 2 256 native", 1),
        ("profile bert 2 256 aim", 1),
        ("profile gpt2 1 64 native", 1),
        ("generate gpt2 1 64 aim", 1),
    ],
)
def test_the_estimate_is_near_what_is_taken(arguments, stages):
    """Of BERT and GPT-2 with fewer layers: not below by more than a tenth, nor far above."""
    taken = run_child("", "-m", "support.memory_peaks", *arguments.split())
    assert len(taken) == stages
    for measured, needed in taken:
        assert 0.9 * measured <= needed <= 1.5 * measured


def test_bits_of_constants_are_kept_within_their_limit():
    constants = [np.full((4, 1024), value, np.float32) for value in range(4)]  # 8 KiB of bits each
    bits = ConstantBits(limit_bytes=20 << 10)
    first = bits.of(constants[0])
    second = bits.of(constants[1])
    assert bits.of(constants[0]) is first
    bits.of(constants[2])  # in place of the second, which was used longer ago
    assert bits.nbytes == 16 << 10
    assert bits.of(constants[0]) is first
    again = bits.of(constants[1])
    assert again is not second
    np.testing.assert_array_equal(again, second)
    # What is larger than the limit is converted and not kept; nothing goes for it.
    large = np.ones(1 << 20, np.float32)
    assert bits.of(large)[0] == 0x3F80
    assert bits.of(constants[0]) is first
    assert bits.of(constants[1]) is again
    assert bits.nbytes <= 20 << 10


def test_bits_of_bfloat16_are_looked_at_once_and_take_nothing(monkeypatch):
    """A model's weights are asked for in every step of a generation."""
    constants = [np.full((4, 1024), value, ml_dtypes.bfloat16) for value in range(4)]
    bits = ConstantBits(limit_bytes=1)
    first = [bits.of(constant) for constant in constants]
    assert all(map(np.shares_memory, first, constants))
    assert bits.nbytes == 0
    monkeypatch.setattr(golden, "to_bf16_bits", None)
    assert all(bits.of(c) is b for c, b in zip(constants, first, strict=True))


@pytest.mark.parametrize("timed", [True, False])
def test_devices_are_gone_when_the_last_executions_are_timed(timed, monkeypatch):
    graph = chain(3, 64)
    options = Options(backend="model", jobs=2, rounds=1)
    opened, alive = [], []
    opens = DevicePool._open_worker

    def open_worker(pool, index):
        worker = opens(pool, index)
        opened.append(weakref.ref(worker.device.memory))
        return worker

    def time_cpu(executor, **kwargs):
        alive.append(sum(memory() is not None for memory in opened))
        assert not kwargs["sessions"]._open or kwargs["sessions"]._prepack
        return timed_cpu(executor, **kwargs)

    timed_cpu = Executor.time_cpu
    monkeypatch.setattr(DevicePool, "_open_worker", open_worker)
    monkeypatch.setattr(Executor, "time_cpu", time_cpu)
    jobs = [
        execute.Job("pim", {node.id: "pim" for node in graph.nodes}),
        execute.Job("cpu", {node.id: "cpu_serial" for node in graph.nodes}),
    ]
    platform = load_platform("aim")
    with execute.Runner(graph, random_inputs(graph), platform, options, lambda _: None) as runner:
        results = runner.run(jobs, last=timed)
        assert all(result.passed for result in results)
        assert len(opened) == 1
        assert alive == ([0, 0] if timed else [1, 1])
        # A device is opened again when there is more to do.
        assert runner.run(jobs[:1])[0].passed
        assert len(opened) == (2 if timed else 1)


class PackedBytes:
    """Constants of the sessions that live, at most so far."""

    def __init__(self, monkeypatch):
        self.most, self._live = 0, []
        opened = segments.open_session
        monkeypatch.setattr(segments, "open_session", self._open)
        self._opened = opened

    def _open(self, *args, prepack):
        session = self._opened(*args, prepack=prepack)
        if not prepack:
            return session
        nbytes = sum(int(np.prod(value.shape())) * 4 for value in session.pimloop_values.values())
        self._live = [(other, n) for other, n in self._live if other() is not None]
        self._live.append((weakref.ref(session), nbytes))
        self.most = max(self.most, sum(n for _, n in self._live))
        return session


def test_weights_are_packed_as_often_as_the_estimate_counts(monkeypatch):
    graph, size = chain(3, 256), 3 * 256 * 256 * 4
    feeds, sessions = random_inputs(graph), SessionCache(limit_bytes=1)
    packed = PackedBytes(monkeypatch)
    executor = Executor(graph, {n.id: "cpu_serial" for n in graph.nodes}, {})
    executor.run(feeds)
    assert executor.wrong_segments() == []
    assert packed.most == 0
    executor.time_cpu(rounds=1, sessions=sessions)
    assert packed.most == size
    # Another device's sessions take the place of those before.
    other = Executor(graph, {n.id: "cpu_parallel" for n in graph.nodes}, {})
    other.run(feeds)
    other.time_cpu(rounds=1, sessions=sessions)
    executor.time_cpu(rounds=1, sessions=sessions)
    assert packed.most == size
    profile_cpu(graph, feeds, sessions, rounds=1)
    assert packed.most == size


def test_a_profile_that_cannot_fit_is_refused_before_anything_runs(monkeypatch):
    graph = chain(2, 512)
    size = 2 * 512 * 512 * 4
    monkeypatch.setattr("pimloop.host.execution.memory.available_bytes", lambda: size)
    options = Options(jobs=1, folder=None)
    with (
        Pipeline(graph, random_inputs(graph), load_platform("aim"), options) as pipeline,
        pytest.raises(
            PimloopError, match=r"CPU sessions that are timed 8 MiB\); 2 MiB are available"
        ),
    ):
        pipeline.run()


def test_a_run_that_cannot_fit_is_refused_with_the_numbers(monkeypatch):
    needed = Estimate({"activations": 3 << 30, "weights": 1 << 30, "crumbs": 5})
    monkeypatch.setattr("pimloop.host.execution.memory.available_bytes", lambda: 2 << 30)
    with pytest.raises(PimloopError) as caught:
        require_memory("large", needed)
    text = str(caught.value)
    assert "model large" in text
    assert "about 4,096 MiB" in text
    assert "activations 3,072 MiB, weights 1,024 MiB);" in text
    assert "2,048 MiB are available" in text
    monkeypatch.setattr("pimloop.host.execution.memory.available_bytes", lambda: 5 << 30)
    require_memory("large", needed)
    monkeypatch.setattr("pimloop.host.execution.memory.available_bytes", lambda: None)
    require_memory("large", needed)
    # Before anything runs:
    graph = chain(2, 64)
    monkeypatch.setattr("pimloop.host.execution.memory.available_bytes", lambda: 1000)
    options = Options(backend="model", jobs=1)
    with (
        Pipeline(graph, random_inputs(graph), load_platform("aim"), options) as pipeline,
        pytest.raises(PimloopError, match="0 MiB are available"),
    ):
        pipeline.run()


def test_limits_of_control_groups_are_read(tmp_path):
    assert (available_bytes() or 1) > 0
    assert _group_available(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("10\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 4\n")
    assert _group_available(tmp_path) is None
    (tmp_path / "memory.max").write_text("100\n")
    assert _group_available(tmp_path) == 94
    old = tmp_path / "old" / "memory"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("50\n")
    (old / "memory.usage_in_bytes").write_text("70\n")
    (old / "memory.stat").write_text("total_inactive_file 5\n")
    assert _group_available(old.parent) == 0
