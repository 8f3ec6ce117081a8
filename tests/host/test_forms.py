"""Forms of activations: which are chosen, the same bits, fewer clocks on the simulated device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper
from small_devices import plain, small_geometry

from host.capabilities import Capabilities, pim_capable
from host.device.base import Device
from host.device.geometry import Geometry
from host.driver import PimDriver
from host.executor import Execution, Executor
from host.forms import WORTH, Form, Forms, choose_forms, clocks
from host.models.graph import Graph, TensorInfo
from host.models.normalize import RawModel, normalize
from host.resident import ResidentModel

PLAIN = Forms({}, frozenset())


def graph(nodes: list, inputs: dict[str, tuple[int, ...]], *outputs: str) -> Graph:
    single = np.dtype(np.float32)
    infos = {name: TensorInfo(shape, single) for name, shape in inputs.items()}
    return normalize(RawModel("m", nodes, {}, infos, outputs, {"": 17}))


def product(a: tuple[int, ...], b: tuple[int, ...], transposed: bool = False) -> Graph:
    attributes = {"transB": 1} if transposed else {}
    op = "Gemm" if transposed else "MatMul"
    node = helper.make_node(op, ["a", "b"], ["y"], name="n", **attributes)
    return graph([node], {"a": a, "b": b}, "y")


def chosen(model: Graph, style: str = "all_bank") -> Forms:
    return choose_forms(model, pim_capable(model, Capabilities()), small_geometry(style))


# ---- which -------------------------------------------------------------------------------------


def test_values_of_attention_are_turned_around() -> None:
    """Many rows, few columns; the heads of keys and values may be fewer."""
    forms = chosen(product((2, 4, 64, 40), (2, 1, 40, 8)))
    assert forms.turned == {"n"}
    assert forms.tensors == {
        "a": Form("right", True, (2, 4, 64, 40)),
        "b": Form("left", True, (2, 1, 40, 8)),
    }
    assert [form.stored for form in forms.tensors.values()] == [(2, 4, 40, 64), (2, 1, 8, 40)]


def test_what_is_as_fast_stays_as_it_is() -> None:
    forms = chosen(product((4, 64, 40), (4, 40, 64)))
    assert forms == Forms({"b": Form("right", False, (4, 40, 64))}, frozenset())
    # One right operand for all rows is one product, and would be four.
    assert not chosen(product((4, 8, 40), (40, 8))).turned


def test_transposed_operands_from_the_cpu_are_written_turned() -> None:
    assert chosen(product((4, 40), (64, 40), True)).tensors == {"b": Form("right", True, (64, 40))}
    vector = chosen(product((64, 40), (40,)))
    assert vector.tensors == {"a": Form("right", True, (64, 40))}
    few = chosen(product((64, 40), (4, 40), True))
    assert few.turned == {"n"}
    assert few.tensors["b"] == Form("left", False, (4, 40))


def test_a_tensor_that_others_read_or_the_pim_makes_keeps_its_rows() -> None:
    many = {"a": (64, 40), "b": (40, 8)}
    product = helper.make_node("MatMul", ["a", "b"], ["y"], name="n")

    def add(left: str, right: str, result: str) -> object:
        return helper.make_node("Add", [left, right], [result], name=result)

    alone = graph([product], many, "y")
    assert chosen(alone).turned == {"n"}
    for nodes, outputs in (
        ([product, add("a", "a", "z")], ("y", "z")),
        ([product, add("y", "y", "z")], ("z",)),
        ([add("b", "b", "c"), helper.make_node("MatMul", ["a", "c"], ["y"], name="n")], ("y",)),
    ):
        assert not chosen(graph(nodes, many, *outputs)).turned
    # An operator of the CPU may read them all.
    softmax = helper.make_node("Softmax", ["y"], ["z"], name="s")
    negative = helper.make_node("Neg", ["a"], ["w"], name="w")
    assert chosen(graph([product, softmax, negative], many, "y", "z", "w")).turned == {"n"}
    square = graph([helper.make_node("MatMul", ["a", "a"], ["y"], name="n")], {"a": (9, 9)}, "y")
    assert chosen(square) == PLAIN


def test_an_operand_that_is_also_the_bias_keeps_its_rows() -> None:
    node = helper.make_node("Gemm", ["a", "b", "b"], ["y"], name="n")
    assert chosen(graph([node], {"a": (6, 1), "b": (1, 300)}, "y")) == PLAIN


def test_clocks_count_beats_and_the_wait_between_them() -> None:
    narrow = Geometry(
        capacity=1 << 20, all_bank=False, native_lanes=True, banks=16, bank_groups=4,
        row_bytes=8192, atom_bytes=64, beat_bytes=64, lanes=16, acc_groups=16, scalar_depth=4096,
        ck_ratio=4, tck_fs=833333, lane_latency=4,
    )  # fmt: skip
    # 32 columns a beat on 16 lanes: 2 clocks. Up to 2 beats wait for the lanes, 16 beats a tile.
    assert clocks(narrow, 1, 10, 32) == clocks(narrow, 1, 10, 64) == 10 * 4 + 100
    assert clocks(narrow, 3, 10, 96) == 3 * (10 * 6 + 100)
    assert clocks(narrow, 1, 10, 17 * 32) == 10 * (32 + 4) + 100


# ---- on the device -----------------------------------------------------------------------------

#: Operands, whether the right one is transposed, and the most that the chosen form may take of the
#: clocks of the plain one. Where the form is the same the operand may lie in another bank.
CASES = [
    ((2, 64, 48), (2, 48, 16), False, 0.6),
    ((40, 64), (64, 8), False, 0.3),
    ((2, 16, 32), (2, 32, 700), False, 1.01),
    ((5, 32), (40, 32), True, 0.8),
    ((40, 64), (64,), False, 0.8),
    ((48, 32), (8, 32), True, 0.4),
    ((33, 20), (20, 33), False, 1.01),
]


def run(device: Device, model: Graph, forms: Forms) -> Execution:
    operations = pim_capable(model, Capabilities())
    feeds = {name: plain(3, *model.tensors[name].shape) / 64 for name in model.inputs}
    with (
        PimDriver(device) as driver,
        ResidentModel(model, operations, driver, forms=forms) as resident,
    ):
        executor = Executor(model, {"n": "pim"}, operations, resident)
        executor.load_weights()
        return executor.run(feeds)


@pytest.mark.parametrize("style", ["per_bank", "all_bank"])
def test_chosen_forms_have_the_same_bits_and_take_fewer_clocks(
    style: str, devices: Callable[[str], Device]
) -> None:
    device = devices(f"native-{style}")
    for a, b, transposed, most in CASES:
        model = product(a, b, transposed)
        operations = pim_capable(model, Capabilities())
        with PimDriver(device) as driver:
            forms = choose_forms(model, operations, driver.geometry)
        plainly, better = run(device, model, PLAIN), run(device, model, forms)
        same = plainly.values["y"].view(np.uint32) == better.values["y"].view(np.uint32)
        assert same.all(), (a, b)
        before, after = plainly.pim["n"].cycles, better.pim["n"].cycles
        assert after <= most * before, (a, b, before, after)
        if style == "per_bank" and b[-1] == 700:  # wider than a tile of 512 columns
            assert after <= 0.45 * before, (a, b, before, after)


@pytest.mark.parametrize("style", ["per_bank", "all_bank"])
def test_the_model_of_clocks_agrees_with_the_simulator(
    style: str, devices: Callable[[str], Device]
) -> None:
    """What it says is cheaper by the margin is cheaper; what it misses is worth little."""
    device = devices(f"native-{style}")
    for p, q, r in [(4, 20, 300), (9, 64, 40), (24, 8, 3), (16, 96, 16), (12, 40, 1), (40, 5, 33)]:
        model = product((2, p, q), (2, q, r))
        turned = Forms(
            {"a": Form("right", True, (2, p, q)), "b": Form("left", True, (2, q, r))},
            frozenset({"n"}),
        )
        straight = run(device, model, PLAIN).pim["n"].cycles
        other = run(device, model, turned).pim["n"].cycles
        with PimDriver(device) as driver:
            geometry = driver.geometry
        if clocks(geometry, r, q, p) <= WORTH * clocks(geometry, p, q, r):
            assert other <= 0.9 * straight, (p, q, r, straight, other)
        else:
            assert other >= 0.7 * straight, (p, q, r, straight, other)
