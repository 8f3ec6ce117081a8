"""pim_lanes and pim_lanes_native_sim: operations, masks and cycles, equal in both bodies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_bench import LATENCY, LaneBench, LaneModel
from lane_reference import (
    DPI_HEADER,
    DPI_SOURCE,
    LANE_SOURCES,
    LOAD,
    LOAD_F32,
    MAC,
    MAC_I,
    MACZ_I,
    NATIVE_SOURCES,
    OPERATIONS,
    RELU,
    SCALE,
    SPLAT,
    bf16_wide,
    fma_wide,
    random_bf16,
    relu_exact,
)

from pimloop.sim.bench.inprocess import InProcessModel, build_library
from pimloop.sim.errors import SimError

# (Lanes, Groups, Parts): the per_bank beat; the parts of an all_bank beat, of an odd size.
SHAPES = [(32, 16, 1), (48, 2, 16)]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def bench(request):
    with LaneBench(*request.param) as lanes:
        # The sets have no reset: both bodies start from the same known contents.
        for group in range(lanes.groups):
            lanes.present(SPLAT, group, 0, np.zeros(lanes.lanes, dtype=np.uint16))
        # Before the first read, the outputs hold nothing defined.
        lanes.read(0)
        before = lanes["mismatches_o"]
        yield lanes
        assert lanes["mismatches_o"] == before


def start(bench):
    """Give every set the same contents in the lanes and in a new model."""
    model = LaneModel(bench.lanes, bench.groups, bench.parts)
    bench["mask_i"] = (1 << bench.parts) - 1
    for group in range(bench.groups):
        bench.present(SPLAT, group, 0, np.zeros(bench.lanes, dtype=np.uint16))
    bench.read(0)  # an operation may scale what was read last
    return model


def check_all(bench, model):
    for group in range(bench.groups):
        bf16, words = bench.read(group)
        expected_bf16, expected_words = model.read(group)
        assert np.array_equal(words, expected_words)
        assert np.array_equal(bf16, expected_bf16)


def operands(operation, vector):
    """Return a vector as the operation takes it: integers have seven zeros in the middle."""
    return vector & np.uint16(0x80FF) if operation in (MAC_I, MACZ_I) else vector


#: How often each operation of the table is drawn: sums most, those added last least.
_OFTEN = (0.35, 0.1, 0.1, 0.1, 0.1, 0.15)
SHARES = np.array([*_OFTEN, *(0.05 for _ in OPERATIONS[len(_OFTEN) :])])
SHARES /= SHARES.sum()


@pytest.mark.parametrize("seed", range(4))
def test_random_operations(bench, seed):
    """Operations, idle cycles and reads at random; a read sees what was there before its cycle."""
    rng = np.random.default_rng(seed)
    model = start(bench)
    pending: tuple[np.ndarray, np.ndarray] | None = None
    for _ in range(1500):
        mask = int(rng.choice([rng.integers(0, 1 << bench.parts), (1 << bench.parts) - 1]))
        operation = int(rng.choice(OPERATIONS, p=SHARES))
        group, read_group = (int(x) for x in rng.integers(0, min(bench.groups, 3), 2))
        scalar = int(random_bf16(rng, 1)[0])
        vector = operands(operation, random_bf16(rng, bench.lanes))
        read, part = (read_group if rng.random() < 0.3 else None), int(rng.integers(0, 3))
        expected = pending
        pending = None if read is None else model.read(read)
        bench["mask_i"] = mask
        if rng.random() < 0.8:
            bench.present(operation, group, scalar, vector, read, part)
            model.apply(operation, group, mask, scalar, vector)
        else:
            bench.idle(read, part)
        if pending is not None:
            model.hold(pending[1], part)
        # The input registers of the bench make the outputs one cycle late.
        bf16, words = bench.outputs_now()
        if expected is not None:
            assert np.array_equal(words, expected[1])
            assert np.array_equal(bf16, expected[0])
    check_all(bench, model)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_operations(bench, data):
    model = start(bench)
    count = data.draw(st.integers(1, 12))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    for _ in range(count):
        operation = data.draw(st.sampled_from(OPERATIONS))
        group = data.draw(st.integers(0, bench.groups - 1))
        mask = data.draw(st.integers(0, (1 << bench.parts) - 1))
        scalar = data.draw(st.integers(0, 0xFFFF))
        vector = operands(operation, random_bf16(rng, bench.lanes))
        bench["mask_i"] = mask
        if operation == SCALE:
            bench.idle(group, scalar % 3)
            model.hold(model.read(group)[1], scalar % 3)
        bench.present(operation, group, scalar, vector)
        model.apply(operation, group, mask, scalar, vector)
    check_all(bench, model)


def test_masked_parts_keep_their_accumulators(bench):
    model = start(bench)
    vector = np.arange(bench.lanes, dtype=np.uint16)
    for part in range(bench.parts):
        bench["mask_i"] = 1 << part
        bench.present(LOAD, 1, 0, vector)
        model.apply(LOAD, 1, 1 << part, 0, vector)
        bf16, _ = bench.read(1)
        in_part = np.arange(bench.lanes) // (bench.lanes // bench.parts) <= part
        assert np.array_equal(bf16, np.where(in_part, vector, 0))
    bench["mask_i"] = 0
    bench.present(SPLAT, 1, 0x4000, vector)
    check_all(bench, model)


def test_load_f32_is_verbatim_and_reaches_one_half(bench):
    """NaN payloads and subnormals are kept; the other half of the lanes is not touched."""
    start(bench)
    half = bench.lanes // 2
    words = np.resize(
        np.array([0x7F800001, 0xFFFFFFFF, 0x00000001, 0x80000000, 0xFF800000], dtype=np.uint32),
        half,
    )
    bench.present(LOAD_F32, 1, 0xFFFE, words)
    assert np.array_equal(bench.read(1)[1], np.concatenate([words, np.zeros_like(words)]))
    bench.present(LOAD_F32, 1, 0x0001, words[::-1].copy())
    assert np.array_equal(bench.read(1)[1], np.concatenate([words, words[::-1]]))


def test_loads_of_bf16_keep_nan_payloads_until_rounded(bench):
    start(bench)
    bench.present(LOAD, 0, 0, np.full(bench.lanes, 0xFF81, dtype=np.uint16))
    bf16, words = bench.read(0)
    assert np.all(words == 0xFF810000)
    assert np.all(bf16 == 0x7FC0)
    bench.present(SPLAT, 0, 0x7FFF, np.zeros(bench.lanes, dtype=np.uint16))
    assert np.all(bench.read(0)[1] == 0x7FFF0000)


def test_relu_of_every_bfloat16(bench):
    """Whatever the accumulator holds and the scalar is: neither is read."""
    start(bench)
    rng = np.random.default_rng(5)
    every = rng.permutation(1 << 16).astype(np.uint16)
    every = np.resize(every, (-(-every.size // bench.lanes), bench.lanes))
    for index, vector in enumerate(every):
        group = index % bench.groups
        scalar = int(random_bf16(rng, 1)[0])
        bench.present(SPLAT, group, int(random_bf16(rng, 1)[0]), vector)
        bench.present(RELU, group, scalar, vector)
        bf16, words = bench.read(group)
        expected = [relu_exact(x) for x in vector.tolist()]
        assert words.tolist() == expected
        assert bf16.tolist() == [word >> 16 for word in expected]


def test_outputs_keep_the_last_read(bench):
    start(bench)
    bench.present(SPLAT, 0, 0x3F80, np.zeros(bench.lanes, dtype=np.uint16))
    _, words = bench.read(0)
    bench.present(SPLAT, 0, 0x4000, np.zeros(bench.lanes, dtype=np.uint16))
    for _ in range(3):
        bench.idle()
        assert np.array_equal(bench.outputs_now()[1], words)


def test_instances_do_not_share_accumulators():
    """Two models of one library, and so two native instances of one process."""
    with LaneBench(*SHAPES[0]) as first, LaneBench(*SHAPES[0]) as second:
        ones = np.full(first.lanes, 0x3F80, dtype=np.uint16)
        for lanes, value in ((first, 0x3F80), (second, 0x4000)):
            lanes.present(SPLAT, 3, value, ones)
        for lanes, value in ((first, 0x40000000), (second, 0x40400000)):
            lanes.present(MAC, 3, 0x3F80, ones)
            assert np.all(lanes.read(3)[1] == value)


def test_all_bank_beat_of_the_native_body():
    """256 lanes in 16 parts, as in the all_bank style."""
    rng = np.random.default_rng(9)
    with InProcessModel(
        "pim_lanes_native_sim",
        NATIVE_SOURCES,
        params={"Lanes": 256, "Groups": 16, "Parts": 16},
        cpp_sources=[DPI_SOURCE],
        headers=[DPI_HEADER],
    ) as lanes:
        model = LaneModel(256, 16, 16)
        lanes["valid_i"] = 1
        for operation, mask in [(SPLAT, 0xFFFF)] + [(MAC, int(rng.integers(1 << 16)))] * 40:
            scalar, vector = int(random_bf16(rng, 1)[0]), random_bf16(rng, 256)
            lanes["op_i"], lanes["mask_i"], lanes["scalar_i"] = operation, mask, scalar
            lanes.view("vector_i")[:] = vector.view(np.uint32)
            lanes.tick()
            model.apply(operation, 0, mask, scalar, vector)
        lanes["valid_i"], lanes["read_i"] = 0, 1
        lanes.tick()
        bf16, words = model.read(0)
        assert np.array_equal(lanes.view("read_f32_o"), words)
        assert np.array_equal(lanes.view("read_bf16_o").view(np.uint16), bf16)


def test_one_lane_alone():
    """pim_lane as its own top, without the wrapper that slices the beat."""
    rng = np.random.default_rng(10)
    operands = random_bf16(rng, (50, LATENCY, 2)) & np.uint16(0xBFFF)
    expected = rng.integers(0, 1 << 30, LATENCY, dtype=np.uint32)
    with InProcessModel("pim_lane", LANE_SOURCES[:2], params={"Groups": 4}) as lane:
        lane["valid_i"], lane["op_i"] = 1, LOAD_F32
        for group, word in enumerate(expected):
            lane["group_i"], lane["word_i"] = group, int(word)
            lane.tick()
        # One operation a cycle: each meets its accumulator in the first cycle that it may.
        lane["op_i"] = MAC
        for row in operands:
            for group, (scalar, vector) in enumerate(row):
                lane["group_i"], lane["scalar_i"] = group, int(scalar)
                lane["vector_i"] = int(vector)
                lane.tick()
            expected = fma_wide(row[:, 0], row[:, 1], expected)
        lane["valid_i"], lane["read_i"] = 0, 1
        for group, word in enumerate(expected):
            lane["read_group_i"] = group
            lane.tick()
            assert lane["read_f32_o"] == int(word)
            assert lane["read_bf16_o"] == int(bf16_wide(expected[group : group + 1])[0])


@pytest.mark.parametrize("distance", range(1, LATENCY + 1))
@pytest.mark.parametrize("port", ["valid_i", "read_i"])
def test_what_comes_too_early_is_caught(port, distance):
    """An operation or a read that meets an accumulator before it is written."""
    with InProcessModel("pim_lane", LANE_SOURCES[:2], params={"Groups": 4}) as lane:
        lane["op_i"], lane["group_i"], lane["read_group_i"] = SPLAT, 2, 2
        lane.tick()  # what comes with the first edge, perhaps at power-up, is not watched
        lane["scalar_i"], lane["valid_i"] = 0x3F80, 1
        lane.tick()
        lane["valid_i"] = 0
        lane.tick(distance - 1)
        lane[port] = 1
        if distance < LATENCY:
            with pytest.raises(SimError, match=r"pim_lane.*assertion"):
                lane.tick()
        else:
            lane.tick()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"Lanes": 31}, "Lanes must be even"),
        ({"Parts": 3}, r"Parts must divide Lanes \(32\)"),
        ({"Lanes": 64, "Parts": 64}, "be 1 to 32, is 64"),
        ({"Groups": 12}, "Groups must be a power of two"),
        ({"Latency": 3}, "Latency must be at least 4"),
    ],
)
@pytest.mark.parametrize("body", ["pim_lanes", "pim_lanes_native_sim"])
def test_wrong_parameters_stop_the_elaboration(body, params, message):
    if body == "pim_lanes_native_sim" and "Latency" in params:
        pytest.skip("the native body has no pipeline")
    sources = LANE_SOURCES if body == "pim_lanes" else NATIVE_SOURCES
    with pytest.raises(SimError, match=message):
        build_library(body, sources, params=params)
