"""Cycles and stalls of descriptor lists against a model derived by hand (cycle_model.py)."""

from __future__ import annotations

import pytest
from cycle_model import Model

from host.driver import descriptors
from host.platform import load_platform
from host.testing.raw import DATA_OFFSET, RawDevice
from rtl.isa import Opcode, Reg
from sim.config import SimConfig
from sim.device import SimDevice

#: Platform with settings; those of `make test`, then the others.
DEVICES = {
    "htg-z920": ("htg-z920", {}),
    "few lanes, no refresh": (
        "htg-z920",
        {"device.lanes": "4", "device.vector_setup": "300", "dram.trefi": "0"},
    ),
    # Without refresh: the model follows one that falls into a stream of reads, not into a wait.
    "lanes 24": ("htg-z920", {"device.lanes": "24", "dram.trefi": "0"}),
    "lanes 16": ("htg-z920", {"device.lanes": "16", "dram.trefi": "0"}),
    "lanes 8": ("htg-z920", {"device.lanes": "8", "dram.trefi": "0"}),
    "aim": ("aim", {}),
}
QUICK = ("htg-z920", "few lanes, no refresh")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in DEVICES
    ],
)
def built(request):
    platform, settings = DEVICES[request.param]
    params = load_platform(platform, settings).rtl_parameters()
    with SimDevice(SimConfig(params=params, memory_bytes=4 << 20)) as device:
        yield RawDevice(device), Model(params)


def timed(raw, items, repeat=1):
    """Run a list; return its cycles and stall."""
    results = set()
    for _ in range(repeat):
        before = raw.read64(Reg.CNT_CYCLES_LO), raw.read64(Reg.CNT_STALL_LO)
        statuses = raw.run(items)
        assert all(status.code == 1 for status in statuses), statuses
        after = raw.read64(Reg.CNT_CYCLES_LO), raw.read64(Reg.CNT_STALL_LO)
        results.add((after[0] - before[0], after[1] - before[1]))
    assert len(results) == 1
    return results.pop()


def bank(model, index):
    """Return the address of a bank, per_bank."""
    return index * model.p["RowBytes"] * model.p["Rows"]


@pytest.mark.parametrize("count", [0, 1, 12, 40, 100])
def test_fences(built, count):
    raw, model = built
    assert timed(raw, [descriptors.fence()] * count, repeat=2) == model.fences(count)


def fences_to_refresh(model):
    """Return how many FENCEs end as the first refresh falls due, or just after."""
    return model.fences_before(-(-model.p["TRefi"] // model.p["CkRatio"]))


def test_a_list_that_ends_as_a_refresh_falls_due_waits_for_it(built):
    """A clock more or less of tREFI shows in the cycles."""
    raw, model = built
    if not model.p["TRefi"]:
        pytest.skip("no refresh")
    count = fences_to_refresh(model)
    cycles, stall = timed(raw, [descriptors.fence()] * count)
    assert (cycles, stall) == model.fences(count)
    assert cycles > timed(raw, [descriptors.fence()] * (count - 1))[0] + model.p["TRfc"] // 2


@pytest.mark.parametrize("lines", [1, 5, 16])
@pytest.mark.parametrize("direction", ["in", "out"])
def test_copies(built, direction, lines):
    raw, model = built
    if model.p["AllBank"]:
        pytest.skip("atoms of a copy lie in different banks: not in the model")
    make = descriptors.copy_in if direction == "in" else descriptors.copy_out
    item = make(
        raw.base + DATA_OFFSET, 0, rows=1, row_bytes=64 * lines, host_stride=0, device_stride=0
    )
    expected = model.copy_in(lines) if direction == "in" else model.copy_out(lines)
    assert timed(raw, [item]) == expected


@pytest.mark.parametrize(("rows", "beats"), [(2, 4), (3, 5), (4, 4)])
def test_elementwise(built, rows, beats):
    raw, model = built
    if model.p["AllBank"]:
        pytest.skip("set-up hides no data")
    item = descriptors.elementwise(
        Opcode.ADD, 0, bank(model, 1), bank(model, 2), rows=rows, cols=32 * beats,
        stride_a=64 * beats, stride_b=64 * beats, stride_y=64 * beats,
    )  # fmt: skip
    assert timed(raw, [item])[0] == model.add(rows, beats)


@pytest.mark.parametrize(("inner", "beats"), [(40, 3), (64, 16), (600, 3), (640, 16)])
def test_products(built, inner, beats):
    """The two long ones cross pages and, where there is refresh, refreshes."""
    raw, model = built
    if model.p["AllBank"]:
        pytest.skip("per_bank alone is in the model")
    item = descriptors.matmul(
        0, bank(model, 1), bank(model, 2), rows=1, inner=inner, cols=32 * beats,
        stride_a=64 * 20, stride_y=64 * beats, tile=beats,
    )  # fmt: skip
    assert timed(raw, [item])[0] == model.matmul(inner, beats)


def transposed(raw, model, inner, cols=None):
    """Return the cycles of one row times B^T, by default of one block of columns."""
    atom = model.p["AtomBytes"]
    place = (lambda i: i << 20) if model.p["AllBank"] else (lambda i: bank(model, i))
    elements = atom // 2
    item = descriptors.matmul(
        place(0), place(1), place(2), rows=1, inner=inner, cols=cols or elements, stride_a=1 << 13,
        stride_y=1 << 13, tile=atom * elements, transposed=True, stride_b=atom,
    )  # fmt: skip
    return timed(raw, [item])[0]


def test_transposed_products(built):
    """A block more: its slices, each as far from the last as sums must be.

    A block is read while the one before leaves, which takes longer. per_bank: blocks of the inner
    dimension; they start when the row of A is there, one atom a block. all_bank, where A and B
    share their banks: blocks of columns, in one beat of the result.
    """
    raw, model = built
    elements = model.p["AtomBytes"] // 2
    block = elements * max(model.p["LaneLatency"], model.passes)
    counts = (3, 4, 6)
    if model.p["AllBank"]:
        spans = [transposed(raw, model, elements, elements * blocks) for blocks in counts]
        clocks = [block * blocks for blocks in counts]
    else:
        spans = [transposed(raw, model, elements * blocks) for blocks in counts]
        clocks = [block * blocks + model.left_operand(blocks) for blocks in counts]
    assert spans[1] - spans[0] == model.cycles(clocks[1] - clocks[0])
    assert spans[2] - spans[1] == model.cycles(clocks[2] - clocks[1])
