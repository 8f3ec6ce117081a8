"""Rows of the left operand that share a beat: the same bits, fewer clocks, one row as before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.integer_products import Product
from support.random_lists import random_bits, random_list, run
from support.raw import RawDevice

from pimloop.host.common import golden
from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.pim.device.integers import WEIGHTS_PER_LANE
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.validate import right_bytes, round_up
from pimloop.host.pim.driver import PimDriver, descriptors
from pimloop.host.pim.driver.accesses import count_accesses
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import CONTROL_FIELDS, Code, Init, Opcode, Reg, Weights
from pimloop.sim.device.config import SimConfig
from pimloop.sim.device.process import SimDevice

BUFFER_BYTES = 4 << 20

#: Platform, rows for a beat, lanes, ways of MATMUL_T: a pass for each row, two passes, four, all
#: rows at once.
DEVICES = {
    "2 rows, 32 lanes": ("htg-z920", 2, 32, 1),
    "4 rows, 64 lanes": ("htg-z920", 4, 64, 2),
    "8 rows, 64 lanes": ("htg-z920", 8, 64, 4),
    "aim, 4 rows, 1024 lanes": ("aim", 4, 1024, 4),
}
QUICK = ("8 rows, 64 lanes",)
EVERY = [pytest.param(n, marks=() if n in QUICK else pytest.mark.full) for n in DEVICES]


def parameters(platform: str, rows: int, lanes: int, ways: int) -> dict[str, int]:
    settings = {"device.rows_per_beat": str(rows), "device.lanes": str(lanes)}
    settings["device.transpose_ways"] = str(ways)
    return load_platform(platform, settings).rtl_parameters()


@pytest.fixture(scope="module", params=EVERY)
def simulated(request: pytest.FixtureRequest) -> Iterator[tuple[str, RawDevice]]:
    params = parameters(*DEVICES[request.param])
    with SimDevice(SimConfig(params=params, memory_bytes=BUFFER_BYTES)) as device:
        yield request.param, RawDevice(device)


def test_the_device_says_how_many_rows(simulated: tuple[str, RawDevice]) -> None:
    name, raw = simulated
    assert raw.device.read32(Reg.ROWS_PER_BEAT) == DEVICES[name][1]
    assert raw.geometry.rows_per_beat == DEVICES[name][1]
    assert raw.geometry.transpose_ways == DEVICES[name][3]


@pytest.mark.parametrize("register", [Reg.ROWS_PER_BEAT, Reg.TRANSPOSE_WAYS])
def test_a_device_of_an_earlier_interface_has_one(register: Reg) -> None:
    class Earlier(ModelDevice):
        def read32(self, offset: int) -> int:
            return 0 if offset == register else super().read32(offset)

    geometry = load_platform("htg-z920").geometry()
    with Earlier(geometry, BUFFER_BYTES, 1 << 32) as device:
        assert read_geometry(device) == geometry


@pytest.mark.parametrize("seed", range(12))
def test_random_lists_do_the_same_on_the_functional_model(
    simulated: tuple[str, RawDevice], seed: int
) -> None:
    """Hostile ones too: every second list ends with a descriptor that is refused."""
    _, raw = simulated
    model = ModelDevice(raw.geometry, BUFFER_BYTES, raw.base)
    rng = np.random.default_rng(seed)
    case = random_list(rng, raw.geometry, raw.base, faults=float(seed % 2))
    outcome = run(raw, case)
    assert outcome.difference(run(RawDevice(model), case)) is None
    if not seed % 2:
        asked = count_accesses(case.descriptors[list(case.positions)], raw.geometry)
        _, _, reads, writes, *_ = outcome.counters
        assert asked.channel_rd + asked.all_bank_rd == reads
        assert asked.channel_wr + asked.all_bank_wr == writes


@pytest.mark.parametrize("transposed", [False, True])
def test_products_of_any_number_of_rows(simulated: tuple[str, RawDevice], transposed: bool) -> None:
    """Fewer rows than a group, whole groups, one more; an inner dimension cut at the buffer."""
    _, raw = simulated
    together = raw.geometry.rows_per_beat
    rng = np.random.default_rng(together)
    driver = PimDriver(raw.device)
    depth = raw.geometry.scalar_depth
    for rows, inner in ((1, 70), (together - 1, 33), (together, 64), (together + 1, 7),
                        (3 * together - 1, 40), (together + 1, depth + 5)):  # fmt: skip
        a = golden.bf16_to_f32(random_bits(rng, rows * inner).reshape(rows, inner))
        b = golden.bf16_to_f32(random_bits(rng, inner * 40).reshape(inner, 40))
        left = driver.upload(a)
        right = driver.upload(np.ascontiguousarray(b.T) if transposed else b)
        product = driver.matmul(left, right, transpose_b=transposed)
        result = driver.download(product)
        expected = golden.bf16_to_f32(
            golden.matmul(golden.to_bf16_bits(a), golden.to_bf16_bits(b), None)
        )
        assert np.array_equal(result.view(np.uint32), expected.view(np.uint32)), (rows, inner)
        for tensor in (left, right, product):
            tensor.free()


@pytest.mark.parametrize("weights", [Weights.W8, Weights.W4])
def test_products_by_integers(simulated: tuple[str, RawDevice], weights: Weights) -> None:
    """Groups of one row and of all, whole and not; rows that share a beat or not; narrow tiles."""
    _, raw = simulated
    each = WEIGHTS_PER_LANE[weights]
    if each > raw.geometry.rows_per_beat:
        pytest.skip("the device has no such weights")
    rng = np.random.default_rng(int(weights))
    shapes = [(1, 5, 7, each, each), (3, 70, 5, 3 * each, 2 * each), (5, 33, 0, 2 * each, each),
              (1, 64, 5, each, each)]  # fmt: skip
    for init in Init:
        for out_f32 in (False, True):
            for rows, inner, group, beats, tile in shapes:
                Product(
                    raw, rng, weights, rows=rows, inner=inner, beats=beats, tile=tile, group=group,
                    init=init, out_f32=out_f32,
                ).check()  # fmt: skip


@pytest.mark.parametrize("weights", [Weights.W8, Weights.W4])
def test_integers_that_the_device_does_not_have(
    simulated: tuple[str, RawDevice], weights: Weights
) -> None:
    """Each is refused with its code; the device works afterwards."""
    _, raw = simulated
    each = WEIGHTS_PER_LANE[weights]
    rng = np.random.default_rng(0)
    model = RawDevice(ModelDevice(raw.geometry, BUFFER_BYTES, raw.base))
    size = {"rows": 2, "inner": 40, "beats": 2 * each, "tile": each, "group": 3}
    has = each <= raw.geometry.rows_per_beat
    beat = raw.geometry.beat_columns
    last = raw.geometry.capacity - right_bytes(40, 2 * each * beat, weights, 3)
    for words, code in (
        ({}, Code.DONE if has else Code.RESERVED),
        ({"weights": 3}, Code.RESERVED),
        ({"weights": 0}, Code.RESERVED),  # and a group
        ({"opcode": Opcode.MATMUL_T}, Code.RESERVED),
        ({"opcode": Opcode.MUL}, Code.RESERVED),
        ({"cols": (2 * each - 1) * beat}, Code.SIZE if has else Code.RESERVED),
        ({"tile": each + 1}, Code.SIZE if has else Code.RESERVED),
        ({"addr_b": last}, Code.DONE if has else Code.RESERVED),
        ({"addr_b": last + raw.geometry.beat_bytes}, Code.RANGE if has else Code.RESERVED),
    ):
        for device in (raw, model):
            item = changed(Product(device, rng, weights, **size).item, words)
            assert device.run([item])[0].code == code, words


def changed(item: descriptors.Descriptor, words: dict[str, int]) -> descriptors.Descriptor:
    for name, value in words.items():
        if name in CONTROL_FIELDS:
            field = CONTROL_FIELDS[name]
            item["control"] = int(item["control"]) & ~field.mask | field.put(value)
        else:
            item[name] = value
    return item


def cycles(
    raw: RawDevice, rows: int, inner: int, columns: int, *, weights: Weights = Weights.BF16
) -> int:
    """Return the DRAM clocks of a list of one product, operands in banks of their own.

    Weights of 8 bits have groups of 4096 rows, those of 4 bits of 128.
    """
    g = raw.geometry
    apart = g.capacity // g.banks
    layout = {"tile": g.acc_groups, "weights": weights, "group": GROUPS[weights]}
    item = descriptors.matmul(
        0, apart, 2 * apart, rows=rows, inner=inner, cols=columns,
        stride_a=round_up(2 * inner, g.beat_bytes), stride_y=round_up(2 * columns, g.beat_bytes),
        **layout,
    )  # fmt: skip
    before = raw.read64(Reg.CNT_CYCLES_LO)
    macs = raw.read64(Reg.CNT_MAC_LO)
    assert all(status.code == 1 for status in raw.run([item]))
    # A beat of scales counts for each of the three parts of the sums.
    scales = 3 * -(-inner >> GROUPS[weights]) if weights else 0
    scaled = rows * scales * (columns // g.beat_columns)
    useful = rows * inner * -(-columns // g.beat_columns)
    assert raw.read64(Reg.CNT_MAC_LO) - macs == useful + scaled
    return raw.read64(Reg.CNT_CYCLES_LO) - before


@pytest.mark.full
def test_rows_that_share_a_beat_take_a_third_of_the_clocks() -> None:
    """(8,512)x(512,2048) on htg-z920; one row takes to a clock what it takes on one row a beat."""
    many: dict[tuple[int, int], int] = {}
    for rows, lanes in ((1, 32), (2, 64), (4, 64), (8, 64)):
        params = parameters("htg-z920", rows, lanes, 1)
        with SimDevice(SimConfig(params=params, memory_bytes=BUFFER_BYTES)) as device:
            raw = RawDevice(device)
            many[rows, lanes] = cycles(raw, 8, 512, 2048)
            assert cycles(raw, 1, 512, 2048) == ONE_ROW
    assert many == EIGHT_ROWS


def test_clocks_of_products_by_integers(simulated: tuple[str, RawDevice]) -> None:
    """A group and the next, smaller one; more rows than share a beat."""
    name, raw = simulated
    columns = 12 * raw.geometry.beat_columns
    took = {
        weights.name: cycles(raw, 3, 130, columns, weights=weights)
        for weights in Weights
        if WEIGHTS_PER_LANE[weights] <= raw.geometry.rows_per_beat
    }
    assert took == INTEGERS[name]


@pytest.mark.full
def test_integers_stream_twice_and_four_times_as_fast() -> None:
    """(1,1024)x(1024,1024) where a set of lanes is there for each weight of a beat."""
    params = parameters("htg-z920", 4, 128, 1)
    with SimDevice(SimConfig(params=params, memory_bytes=BUFFER_BYTES)) as device:
        raw = RawDevice(device)
        took = {weights: cycles(raw, 1, 1024, 1024, weights=weights) for weights in Weights}
    # tests/rtl/test_clock_model.py derives the same.
    assert took == {Weights.BF16: 217_964, Weights.W8: 110_396, Weights.W4: 61_140}
    assert took[Weights.BF16] > 1.9 * took[Weights.W8]
    assert took[Weights.BF16] > 3.5 * took[Weights.W4]


#: log2 of the rows that share a scale.
GROUPS = {Weights.BF16: 0, Weights.W8: 12, Weights.W4: 7}

#: DRAM clocks of (3,130)x(130, 12 beats) by device and weights, as clock_model.py derives them.
INTEGERS = {
    "2 rows, 32 lanes": {"BF16": 24_988, "W8": 23_096},
    "4 rows, 64 lanes": {"BF16": 14_712, "W8": 14_096, "W4": 13_860},
    "8 rows, 64 lanes": {"BF16": 14_712, "W8": 12_040, "W4": 13_544},
    "aim, 4 rows, 1024 lanes": {"BF16": 5_886, "W8": 6_472, "W4": 6_914},
}

#: DRAM clocks of a list with the product and END, by rows for a beat and lanes; as clock_model.py
#: of tests/rtl derives them.
ONE_ROW = 218_172
EIGHT_ROWS = {(1, 32): 1_738_580, (2, 64): 872_008, (4, 64): 575_484, (8, 64): 563_816}
