"""Faults that change only cycles, stalls or when commands go out: the models must notice each.

`tests/mutants/cycles`: all in one build; a list that one of them touches must differ from the sums
of cycle_model.py by exactly what the fault adds, so that no fault hides behind another.
`tests/mutants/timing`: each in a build of its own, on the device that its text names; the table of
test_cycles.py must differ from clock_model.py.
"""

import re

import pytest
from clock_model import ClockModel
from cycle_lists import DEVICES, table
from cycle_model import Model
from mutants import mutated, patches
from support.raw import DATA_OFFSET, RawDevice
from test_cycles import MEMORIES, differences, spent

from pimloop.host.pim.driver import descriptors
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Opcode
from pimloop.sim.device.config import SimConfig, rtl_sources
from pimloop.sim.device.process import SimDevice

#: Four lanes: eight passes of a beat, more than the latency of a lane.
SETTINGS = {"device.lanes": "4", "device.vector_setup": "400"}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Return the device with every fault of `cycles`, and the model of what it should take."""
    sources = rtl_sources()
    for patch in patches("cycles"):
        sources = mutated(patch, sources, tmp_path_factory.mktemp(patch.stem))
    params = load_platform("htg-z920", SETTINGS).rtl_parameters()
    config = SimConfig(params=params, memory_bytes=4 << 20, device_sources=sources, flavour="rtl")
    with SimDevice(config) as device:
        yield RawDevice(device), Model(params)


def bank(model, index):
    """Return the address of a bank."""
    return index * model.p["RowBytes"] * model.p["Rows"]


def cycles(raw, *items):
    """Return the cycles of a list."""
    return spent(raw, items)["cycles"]


def test_refresh_interval_and_write_response_stall(broken):
    raw, model = broken
    total = spent(raw, [descriptors.fence()] * 12)
    expected = model.fences(12)
    assert total["cycles"] == expected[0]
    assert total["stall"] == expected[1] - model.cycles(13)
    # As the first refresh falls due.
    count = model.fences_before(-(-model.p["TRefi"] // model.p["CkRatio"]))
    late = model.fences(count)[0] + model.cycles(1)
    assert cycles(raw, *[descriptors.fence()] * count) == late


def test_settle(broken):
    raw, model = broken
    item = descriptors.matmul(
        0, bank(model, 1), bank(model, 2), rows=1, inner=40, cols=96, stride_a=64 * 20,
        stride_y=64 * 3, tile=3,
    )  # fmt: skip
    assert cycles(raw, item) == model.matmul(40, 3) + model.cycles(1)


def test_vector_setup(broken):
    """A clock for each of the two rows, and one for the lanes that settle later."""
    raw, model = broken
    item = descriptors.elementwise(
        Opcode.ADD, 0, bank(model, 1), bank(model, 2), rows=2, cols=128, stride_a=256,
        stride_b=256, stride_y=256,
    )  # fmt: skip
    assert cycles(raw, item) == model.add(2, 4) + model.cycles(3)


def test_slice_spacing(broken):
    """A block of the inner dimension more: its slices leave as far apart as the fault says."""
    raw, model = broken
    assert model.passes == 2 * model.p["LaneLatency"]
    took = [
        cycles(
            raw,
            descriptors.matmul(
                0, bank(model, 1), bank(model, 2), rows=1, inner=32 * blocks, cols=32,
                stride_a=1 << 13, stride_y=1 << 13, tile=64 * 32, transposed=True, stride_b=64,
            ),
        )
        for blocks in (3, 4)
    ]  # fmt: skip
    later = model.left_operand(4) - model.left_operand(3)
    assert took[1] - took[0] == model.cycles(32 * model.p["LaneLatency"] + later)


@pytest.mark.full
@pytest.mark.parametrize("patch", patches("timing"), ids=lambda patch: patch.stem)
def test_each_alone(patch, tmp_path):
    named = re.search(r"^device: (.*)$", patch.read_text(encoding="utf-8"), re.MULTILINE)
    assert named is not None, f"{patch.name} has no line 'device: NAME'"
    platform, settings = DEVICES[named[1]]
    params = load_platform(platform, settings).rtl_parameters()
    memory = MEMORIES["slow"]
    config = SimConfig(
        params=params,
        memory_bytes=4 << 20,
        host_memory=memory,
        # DRAM rules that it breaks are not what is asked here.
        assertions=False,
        device_sources=mutated(patch, rtl_sources(), tmp_path),
    )
    with SimDevice(config) as device:
        raw = RawDevice(device)
        table_of_lists = table(params, raw.base + DATA_OFFSET)
        assert differences(raw, ClockModel(params, memory), table_of_lists)
