"""Rows of the left operand that share a beat: the same bits, fewer clocks, one row as before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.random_lists import random_bits, random_list, run
from support.raw import RawDevice

from pimloop.host.common import golden
from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.validate import round_up
from pimloop.host.pim.driver import PimDriver, descriptors
from pimloop.host.pim.driver.accesses import count_accesses
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Opcode, Reg
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


def cycles(raw: RawDevice, rows: int, inner: int, columns: int, opcode: Opcode) -> int:
    """Return the DRAM clocks of a list of one product, operands in banks of their own."""
    g = raw.geometry
    apart = g.capacity // g.banks
    shared = {"transposed": True, "tile": g.atom_bytes * columns, "stride_b": g.atom_bytes}
    layout = shared if opcode == Opcode.MATMUL_T else {"tile": g.acc_groups}
    item = descriptors.matmul(
        0, apart, 2 * apart, rows=rows, inner=inner, cols=columns,
        stride_a=round_up(2 * inner, g.beat_bytes), stride_y=round_up(2 * columns, g.beat_bytes),
        **layout,
    )  # fmt: skip
    before = raw.read64(Reg.CNT_CYCLES_LO)
    macs = raw.read64(Reg.CNT_MAC_LO)
    assert all(status.code == 1 for status in raw.run([item]))
    assert raw.read64(Reg.CNT_MAC_LO) - macs == rows * inner * -(-columns // g.beat_columns)
    return raw.read64(Reg.CNT_CYCLES_LO) - before


@pytest.mark.full
def test_rows_that_share_a_beat_take_a_third_of_the_clocks() -> None:
    """(8,512)x(512,2048) on htg-z920; one row takes to a clock what it takes on one row a beat."""
    many: dict[tuple[int, int], int] = {}
    for rows, lanes in ((1, 32), (2, 64), (4, 64), (8, 64)):
        params = parameters("htg-z920", rows, lanes, 1)
        with SimDevice(SimConfig(params=params, memory_bytes=BUFFER_BYTES)) as device:
            raw = RawDevice(device)
            many[rows, lanes] = cycles(raw, 8, 512, 2048, Opcode.MATMUL)
            assert cycles(raw, 1, 512, 2048, Opcode.MATMUL) == ONE_ROW
    assert many == EIGHT_ROWS


#: DRAM clocks of a list with the product and END, by rows for a beat and lanes; as clock_model.py
#: of tests/rtl derives them.
ONE_ROW = 218_172
EIGHT_ROWS = {(1, 32): 1_738_580, (2, 64): 872_008, (4, 64): 575_484, (8, 64): 563_816}
