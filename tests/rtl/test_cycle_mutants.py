"""Faults that change only cycles or stalls, all in one build: each shifts its own lists, exactly.

`tests/mutants/cycles`; a list of test_cycles that one of them touches must differ from the model by
what the fault adds, so that no fault hides behind another.
"""

import pytest
from cycle_model import Model
from mutants import mutated, patches
from test_cycles import bank, fences_to_refresh, timed, transposed

from host.driver import descriptors
from host.platform import load_platform
from host.testing.raw import RawDevice
from rtl.isa import Opcode
from sim.config import SimConfig, rtl_sources
from sim.device import SimDevice

#: Four lanes: eight passes of a beat, more than the latency of a lane.
SETTINGS = {"device.lanes": "4", "device.vector_setup": "400"}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Return the device with every fault, and the model of what it should take."""
    sources = rtl_sources()
    for patch in patches("cycles"):
        sources = mutated(patch, sources, tmp_path_factory.mktemp(patch.stem))
    params = load_platform("htg-z920", SETTINGS).rtl_parameters()
    config = SimConfig(params=params, memory_bytes=4 << 20, device_sources=sources, flavour="rtl")
    with SimDevice(config) as device:
        yield RawDevice(device), Model(params)


def test_refresh_interval_and_write_response_stall(broken):
    raw, model = broken
    cycles, stall = timed(raw, [descriptors.fence()] * 12)
    assert (cycles, stall) == (model.fences(12)[0], model.fences(12)[1] - model.cycles(13))
    count = fences_to_refresh(model)
    assert timed(raw, [descriptors.fence()] * count)[0] == model.fences(count)[0] + model.cycles(1)


def test_settle(broken):
    raw, model = broken
    item = descriptors.matmul(
        0, bank(model, 1), bank(model, 2), rows=1, inner=40, cols=96, stride_a=64 * 20,
        stride_y=64 * 3, tile=3,
    )  # fmt: skip
    assert timed(raw, [item])[0] == model.matmul(40, 3) + model.cycles(1)


def test_vector_setup(broken):
    """A clock for each of the two rows, and one for the lanes that settle later."""
    raw, model = broken
    item = descriptors.elementwise(
        Opcode.ADD, 0, bank(model, 1), bank(model, 2), rows=2, cols=128, stride_a=256,
        stride_b=256, stride_y=256,
    )  # fmt: skip
    assert timed(raw, [item])[0] == model.add(2, 4) + model.cycles(3)


def test_slice_spacing(broken):
    raw, model = broken
    assert model.passes == 2 * model.p["LaneLatency"]
    spans = [transposed(raw, model, 32 * blocks) for blocks in (3, 4)]
    later = model.left_operand(4) - model.left_operand(3)
    assert spans[1] - spans[0] == model.cycles(32 * model.p["LaneLatency"] + later)
