"""Operators that the CPU and the PIM compute together: values, transfers, weights, overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from support.small_devices import DEPTH, plain, small_device

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.cpu.operators import run_reference
from pimloop.host.devices.kinds import SplitDevice, kinds
from pimloop.host.execution.execution import Execution
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.verification import OPERATOR_LIMIT, Verifier
from pimloop.host.models.graph import Array, Graph, TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.pim.driver import PimDriver, ShapeError
from pimloop.host.pim.resident import ResidentModel
from pimloop.rtl.tables.isa import Reg

CAPACITY = 1 << 22


@pytest.fixture(params=["per_bank", "all_bank"])
def driver(request: pytest.FixtureRequest) -> Iterator[PimDriver]:
    with small_device(request.param, CAPACITY, 1 << 20) as device, PimDriver(device) as opened:
        yield opened


@pytest.fixture
def per_bank() -> Iterator[PimDriver]:
    with small_device("per_bank", CAPACITY, 1 << 20) as device, PimDriver(device) as opened:
        yield opened


def floats(*shape: int) -> TensorInfo:
    return TensorInfo(shape, np.dtype(np.float32))


def model(
    nodes: list[object], outputs: tuple[str, ...], constants: Mapping[str, Array], *, rows: int = 5
) -> Graph:
    return normalize(
        RawModel("small", nodes, dict(constants), {"x": floats(rows, 96)}, outputs, {"": 17})
    )


def product(columns: int, *, inner: int = 96) -> dict[str, Array]:
    return {"w": plain(1, inner, columns) / 64}


class Run:
    """One execution of a model, its checks done."""

    def __init__(
        self, graph: Graph, assignment: Mapping[str, str], driver: PimDriver, seed: int = 7
    ) -> None:
        self.graph = graph
        self.feeds = {"x": plain(seed, *graph.tensors["x"].shape) / 64}
        operations = pim_capable(graph, Capabilities())
        with Verifier(graph) as verifier, ResidentModel(graph, operations, driver) as resident:
            self.executor = Executor(graph, assignment, operations, resident, verifier=verifier)
            self.weights = self.executor.load_weights()
            self.execution = self.executor.run(self.feeds)
            assert verifier.wait(60)
            assert not verifier.mismatches
            assert max(verifier.errors.values(), default=0) <= OPERATOR_LIMIT
            self.checked = verifier.checked
            self.executor.leave_device()

    @property
    def moves(self) -> list[tuple[str, str, int]]:
        return [(t.tensor, t.direction, t.elements) for t in self.execution.transfers]


def rounded(values: Array) -> Array:
    return np.asarray(golden.bf16_to_f32(golden.to_bf16_bits(values.astype(np.float32))))


def golden_product(x: Array, w: Array) -> Array:
    bits = golden.matmul(golden.to_bf16_bits(x), golden.to_bf16_bits(w), None)
    return np.asarray(golden.bf16_to_f32(bits))


# ---- names -------------------------------------------------------------------------------------


def test_a_split_is_found_by_its_name() -> None:
    split = kinds()["cpu_parallel+pim 5/16"]
    assert isinstance(split, SplitDevice)
    assert [part.name for part in split.parts] == ["cpu_parallel", "pim"]
    assert split.memories == ("cpu", "pim")
    assert split.offloaded
    assert split.first_columns(768) == 240
    with pytest.raises(PimloopError, match="5/16 of its 100 columns is no whole number"):
        split.first_columns(100)
    assert "cpu_parallel+pim 5/16" not in kinds()


@pytest.mark.parametrize(
    "name",
    ["cpu_parallel+pim 16/16", "pim+cpu_parallel 1/2", "pim+pim 1/2", "cpu_parallel+gpu 1/2",
     "cpu_parallel+pim", "cpu_parallel+pim 0/2", "cpu_parallel+pim 1/2 "],
)  # fmt: skip
def test_no_other_name_is_a_split(name: str) -> None:
    assert kinds().find(name) is None
    with pytest.raises(KeyError):
        kinds()[name]


# ---- driver ------------------------------------------------------------------------------------


def test_first_columns_have_the_bits_of_the_whole_product(driver: PimDriver) -> None:
    """Deeper than the scalar buffer, three tiles: the others keep what was in memory."""
    tile = driver.tile_columns(1000)
    x, w = plain(1, 3, DEPTH + 9), plain(2, DEPTH + 9, 2 * tile + 7)
    with driver.upload(x) as a, driver.load_matrix(w) as b, driver.matmul(a, b) as whole:
        wanted = driver.download(whole)
        address = whole.address
    for columns in (tile, 2 * tile):
        with driver.upload(x) as a, driver.load_matrix(w) as b:
            y = driver.matmul(a, b, columns=columns)
            assert y.address == address
            got = driver.download(y.part(0, columns))
            y.free()
        assert np.array_equal(got, wanted[:, :columns])


def test_the_last_columns_are_written_beside_the_first(driver: PimDriver) -> None:
    tile = driver.tile_columns(1000)
    x, w = plain(1, 3, 8), plain(2, 8, tile + 7)
    rest = plain(3, 3, 7)
    with driver.upload(x) as a, driver.load_matrix(w) as b:
        y = driver.matmul(a, b, columns=tile)
        driver.write(y.part(tile, 7), rest)
        got = driver.download(y)
        y.free()
    assert np.array_equal(got, np.concatenate([golden_product(x, w[:, :tile]), rest], axis=1))


@pytest.mark.parametrize("columns", [0, 1, 63, 65, 256])
def test_columns_that_are_no_tiles_are_refused(per_bank: PimDriver, columns: int) -> None:
    with (
        per_bank.upload(plain(1, 2, 8)) as a,
        per_bank.load_matrix(plain(2, 8, 200)) as b,
        pytest.raises(ShapeError, match="give a multiple of 64 below 200"),
    ):
        per_bank.matmul(a, b, columns=columns)


def test_an_operand_without_tiles_has_no_first_columns(per_bank: PimDriver) -> None:
    with (
        per_bank.upload(plain(1, 2, 8)) as a,
        per_bank.load_matrix(plain(2, 8, 200), opcode="MATMUL_T") as b,
        pytest.raises(ShapeError, match="it is not laid out in tiles"),
    ):
        per_bank.matmul(a, b, columns=64)


# ---- execution ---------------------------------------------------------------------------------

READERS = {
    "CPU": ([helper.make_node("Neg", ["y"], ["z"], name="reader")], {"reader": "cpu_serial"}, "z"),
    "PIM": ([helper.make_node("Add", ["y", "c"], ["z"], name="reader")], {"reader": "pim"}, "z"),
    "none": ([], {}, "y"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Gemm transposed"])
def test_each_side_computes_its_columns(driver: PimDriver, op: str, reader: str) -> None:
    """PIM columns have the golden model's bits, CPU columns float32's, rounded for the PIM."""
    tile = driver.tile_columns(1000)
    constants = product(3 * tile)
    names, attributes = ["x", "w"], {}
    whole = constants["w"]
    bias = np.zeros(3 * tile, np.float32)
    if op != "MatMul":
        bias = constants["b"] = plain(5, 3 * tile) / 8
        names.append("b")
        if op == "Gemm transposed":
            constants["w"] = np.ascontiguousarray(whole.T)
            attributes["transB"] = 1
    nodes, assignment, output = READERS[reader]
    constants["c"] = np.zeros(3 * tile, np.float32)
    first = helper.make_node(op.split()[0], names, ["y"], name="p", **attributes)
    graph = model([first, *nodes], (output,), constants)
    run = Run(graph, {"p": "cpu_parallel+pim 2/3", **assignment}, driver)
    x, columns = run.feeds["x"], slice(0, 2 * tile)
    bits = golden.matmul(
        golden.to_bf16_bits(x), golden.to_bf16_bits(whole[:, columns]),
        golden.to_bf16_bits(bias[columns]) if op != "MatMul" else None,
    )  # fmt: skip
    on_cpu = x @ whole[:, 2 * tile :] + bias[2 * tile :]
    wanted = np.concatenate([golden.bf16_to_f32(bits), on_cpu], axis=1)
    got = run.execution.values[output]
    if reader == "CPU":
        wanted = -wanted
    if reader == "PIM":
        wanted[:, 2 * tile :] = got[:, 2 * tile :]
        assert np.abs(got - rounded(got)).max() == 0
        np.testing.assert_allclose(got[:, 2 * tile :], on_cpu, rtol=2**-8, atol=1e-6)
    assert np.array_equal(got[:, columns], wanted[:, columns])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert run.executor.wrong_segments() == []
    assert run.checked == 1 + (reader == "PIM")
    gathered = ("y", "cpu>pim", 5 * tile) if reader == "PIM" else ("y", "pim>cpu", 5 * 2 * tile)
    assert run.moves[:2] == [("x", "cpu>pim", 5 * 96), gathered]


def test_a_result_is_gathered_once_for_each_memory(per_bank: PimDriver) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="p"),
        *(helper.make_node("Neg", ["y"], [f"r{i}"], name=f"r{i}") for i in range(2)),
        *(helper.make_node("Mul", ["y", "y"], [f"m{i}"], name=f"m{i}") for i in range(2)),
    ]
    graph = model(nodes, ("r0", "r1", "m0", "m1"), product(192))
    places = {"r0": "cpu_serial", "r1": "cpu_parallel", "m0": "pim", "m1": "pim"}
    run = Run(graph, {"p": "cpu_parallel+pim 1/3", **places}, per_bank)
    assert [move for move in run.moves if move[0] == "y"] == [
        ("y", "pim>cpu", 5 * 64), ("y", "cpu>pim", 5 * 128),
    ]  # fmt: skip


@pytest.mark.parametrize("reader", ["cpu_serial", "pim"])
def test_columns_are_read_where_somebody_needs_them(
    per_bank: PimDriver, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Without a verifier the PIM's columns stay there if nothing but the PIM reads them."""
    op, names = ("Neg", ["y"]) if reader == "cpu_serial" else ("Add", ["y", "y"])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="p"),
        helper.make_node(op, names, ["z"], name="reader"),
    ]
    graph = model(nodes, ("z",), product(128))
    operations = pim_capable(graph, Capabilities())
    feeds = {"x": plain(7, 5, 96) / 64}
    read: list[str] = []
    with ResidentModel(graph, operations, per_bank) as resident:
        download = resident.download_first

        def downloaded(name: str, columns: int) -> Array:
            read.append(name)
            return download(name, columns)

        monkeypatch.setattr(resident, "download_first", downloaded)
        placed = {"p": "cpu_parallel+pim 1/2", "reader": reader}
        executor = Executor(graph, placed, operations, resident)
        executor.load_weights()
        execution = executor.run(feeds)
    first = golden_product(feeds["x"], graph.constants["w"][:, :64])
    wanted = -first if reader == "cpu_serial" else rounded(2 * first)
    assert np.array_equal(execution.values["z"][:, :64], wanted)
    moved = [transfer.direction for transfer in execution.transfers if transfer.tensor == "y"]
    assert moved == ["pim>cpu" if reader == "cpu_serial" else "cpu>pim"]
    assert read == (["y"] if reader == "cpu_serial" else [])


def test_the_device_has_the_weights_of_its_columns_alone(per_bank: PimDriver) -> None:
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], ("y",), product(256))
    sizes = {}
    for share in (1, 2, 3):
        run = Run(graph, {"p": f"cpu_parallel+pim {share}/4"}, per_bank)
        sizes[share] = run.weights.host_bytes_in
    assert sizes == {share: 96 * 64 * share * 2 for share in (1, 2, 3)}


def test_what_a_share_left_is_not_loaded_again(per_bank: PimDriver) -> None:
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], ("y",), product(256))
    operations = pim_capable(graph, Capabilities())
    feeds = {"x": plain(7, 5, 96) / 64}
    wanted = golden_product(feeds["x"], graph.constants["w"])
    with ResidentModel(graph, operations, per_bank) as resident:
        loaded = []
        for device in ("cpu_parallel+pim 1/2", "cpu_parallel+pim 1/4", "pim"):
            executor = Executor(graph, {"p": device}, operations, resident)
            loaded.append(executor.load_weights().host_bytes_in)
            got = executor.run(feeds).values["y"]
            computed = 256 if device == "pim" else kinds()[device].first_columns(256)
            assert np.array_equal(got[:, :computed], wanted[:, :computed])
    assert loaded == [96 * 128 * 2, 0, 96 * 128 * 2]


def test_the_cpu_computes_while_the_device_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is started before the CPU's part and waited for after it."""
    events: list[str] = []
    with small_device("per_bank", CAPACITY, 1 << 20) as device, PimDriver(device) as driver:
        graph = model(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], ("y",), product(128)
        )
        operations = pim_capable(graph, Capabilities())
        write32, wait_irq = device.write32, device.wait_irq

        def written(offset: int, value: int) -> None:
            if offset == Reg.DOORBELL:
                events.append("start")
            write32(offset, value)

        def waited(timeout: float) -> None:
            events.append("wait")
            wait_irq(timeout)

        with ResidentModel(graph, operations, driver) as resident:
            executor = Executor(graph, {"p": "cpu_parallel+pim 1/2"}, operations, resident)
            executor.load_weights()
            compute = executor._coexecuted.bound  # type: ignore[union-attr]

            def bound(*arguments: object) -> object:
                segment = compute(*arguments)  # type: ignore[arg-type]
                run = segment.run
                monkeypatch.setattr(segment, "run", lambda: (events.append("CPU"), run())[1])
                return segment

            monkeypatch.setattr(executor._coexecuted, "bound", bound)
            monkeypatch.setattr(device, "write32", written)
            monkeypatch.setattr(device, "wait_irq", waited)
            executor.run({"x": plain(7, 5, 96)})
    middle = events.index("CPU")
    assert events[middle - 1 : middle + 2] == ["start", "CPU", "wait"]


def test_a_wrong_column_of_the_cpu_is_found(per_bank: PimDriver) -> None:
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], ("y",), product(128))
    run = Run(graph, {"p": "cpu_parallel+pim 1/2"}, per_bank)
    assert run.executor.wrong_segments() == []
    assert run.executor._coexecuted is not None
    run.executor._coexecuted._buffers["p"].array("y")[4, 63] += 1
    (text,) = run.executor.wrong_segments()
    assert text.startswith("y: 1 of 320 elements differ")


def test_times_of_the_parts_are_measured(per_bank: PimDriver) -> None:
    """The CPU's columns alone, and conversions of what is gathered."""
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], ("y",), product(128))
    run = Run(graph, {"p": "cpu_parallel+pim 1/2"}, per_bank)
    times = run.executor.time_cpu(rounds=1)
    assert set(times) == {"p", "cpu>pim x", "pim>cpu y"}
    assert all(timing.us > 0 for timing in times.values())


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cpu_parallel+pim 1/3", "'p' is assigned to .*1/3 of its 200 columns is no whole"),
        ("cpu_parallel+pim 1/2", "the PIM cannot compute its first 100 columns alone; it can "
         "compute: 64, 128, 192"),
        ("cpu_parallel+npu 1/2", r"assigned to 'cpu_parallel\+npu 1/2'; devices: cpu_serial"),
    ],
)  # fmt: skip
def test_a_split_that_cannot_be_is_refused(per_bank: PimDriver, device: str, message: str) -> None:
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], ("y",), product(200))
    with pytest.raises(PimloopError, match=message):
        Run(graph, {"p": device}, per_bank)


def test_an_operator_of_another_kind_is_not_split(per_bank: PimDriver) -> None:
    graph = model([helper.make_node("Mul", ["x", "x"], ["y"], name="p")], ("y",), {})
    with pytest.raises(PimloopError, match=r"'p' \(Mul\).*only products by a constant matrix"):
        Run(graph, {"p": "cpu_parallel+pim 1/2"}, per_bank)


# ---- any graph, any placement ------------------------------------------------------------------


@st.composite
def placed_graphs(draw: st.DrawFn) -> tuple[Graph, dict[str, str]]:
    """Draw up to six operators on any earlier tensors, each on any device that can run it."""
    width = 192
    constants = {f"w{i}": plain(10 + i, width, width) / 1024 for i in range(2)}
    constants["w"] = plain(3, 96, width) / 64
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t0"], name="n0")]
    choices = ["cpu_serial", "cpu_parallel", "pim", "cpu_parallel+pim 1/3", "cpu_serial+pim 2/3"]
    assignment = {"n0": draw(st.sampled_from(choices))}
    for i in range(1, draw(st.integers(1, 6))):
        op = draw(st.sampled_from(["MatMul", "Add", "Neg"]))
        names = [f"t{draw(st.integers(0, i - 1))}"]
        if op == "MatMul":
            names.append(f"w{draw(st.integers(0, 1))}")
        if op == "Add":
            names.append(f"t{draw(st.integers(0, i - 1))}")
        nodes.append(helper.make_node(op, names, [f"t{i}"], name=f"n{i}"))
        able = {"MatMul": choices, "Add": choices[:3], "Neg": choices[:2]}[op]
        assignment[f"n{i}"] = draw(st.sampled_from(able))
    outputs = tuple(
        f"t{i}" for i in range(len(nodes)) if i == len(nodes) - 1 or draw(st.booleans())
    )
    graph = model(nodes, outputs, constants)
    return graph, {node.id: assignment[node.id] for node in graph.nodes}


@given(placed=placed_graphs())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_placement_is_near_float32_and_moves_what_it_must(
    placed: tuple[Graph, dict[str, str]],
) -> None:
    graph, assignment = placed
    with small_device("per_bank", CAPACITY, 1 << 20) as device, PimDriver(device) as driver:
        run = Run(graph, assignment, driver)
    assert run.executor.wrong_segments() == []
    wanted = run_reference(graph, run.feeds)
    for name in graph.outputs:
        scale = max(float(np.abs(wanted[name]).max()), 1e-3)
        np.testing.assert_allclose(run.execution.values[name], wanted[name], atol=0.1 * scale)
    assert sorted(run.moves) == sorted(_expected_moves(graph, assignment))


def _expected_moves(graph: Graph, assignment: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """Yield every transfer that the placement needs, by the definition."""
    for name in (*graph.inputs, *(node.outputs[0] for node in graph.nodes)):
        info = graph.tensors[name]
        needed = {"cpu"} if name in graph.outputs else set()
        for node in graph.consumers.get(name, ()):
            needed.update(kinds()[assignment[node.id]].memories)
        made = graph.producer.get(name)
        device = "cpu_serial" if made is None else assignment[made.id]
        kind = kinds()[device]
        first = kind.first_columns(info.shape[-1]) if isinstance(kind, SplitDevice) else 0
        on_pim = info.shape[-1] if device == "pim" else first
        rows = info.elements // info.shape[-1]
        if "cpu" in needed and on_pim:
            yield name, "pim>cpu", rows * on_pim
        if "pim" in needed and on_pim < info.shape[-1]:
            yield name, "cpu>pim", rows * (info.shape[-1] - on_pim)


def test_an_execution_that_is_split_can_be_repeated(per_bank: PimDriver) -> None:
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"], name="p")], ("y",), product(128))
    operations = pim_capable(graph, Capabilities())
    with ResidentModel(graph, operations, per_bank) as resident:
        executor = Executor(graph, {"p": "cpu_parallel+pim 1/2"}, operations, resident)
        executor.load_weights()
        runs: list[Execution] = []
        for seed in (1, 2, 1):
            runs.append(executor.run({"x": plain(seed, 5, 96)}))
    assert np.array_equal(runs[0].values["y"], runs[2].values["y"])
    assert not np.array_equal(runs[0].values["y"], runs[1].values["y"])
