"""The model that goes clock by clock against sums of terms derived by hand (cycle_model.py)."""

from __future__ import annotations

import pytest
from clock_dma import bursts
from clock_model import ClockModel
from cycle_lists import DEVICES
from cycle_model import Model

from pimloop.host.pim.driver import descriptors
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Opcode, Weights

_HOST = 1 << 32


def models(name):
    """Return both models of a device."""
    platform, settings = DEVICES[name]
    params = load_platform(platform, settings).rtl_parameters()
    return ClockModel(params), Model(params)


@pytest.fixture(params=DEVICES)
def every(request):
    return models(request.param)


@pytest.fixture(params=[name for name in DEVICES if "aim" not in name])
def both(request):
    """all_bank, whose copies and operands lie in all banks, has no sums but those of FENCEs."""
    return models(request.param)


def bank(model, index):
    """Return the address of a bank, per_bank."""
    return index * model.p["RowBytes"] * model.p["Rows"]


def test_fences(every):
    """Refreshes included: before, at and after the one that sleep waits for."""
    clocks, sums = every
    for count in (0, 1, 12, 40, *range(60, 300, 7)):
        total = clocks.run([descriptors.fence()] * count).total
        assert (total["cycles"], total["stall"]) == sums.fences(count), count


@pytest.mark.parametrize("lines", [1, 5, 16])
@pytest.mark.parametrize("way", ["in", "out"])
def test_copies(both, way, lines):
    clocks, sums = both
    make = descriptors.copy_in if way == "in" else descriptors.copy_out
    item = make(_HOST, 0, rows=1, row_bytes=64 * lines, host_stride=0, device_stride=0)
    total = clocks.run([item]).total
    expected = sums.copy_in(lines) if way == "in" else sums.copy_out(lines)
    assert (total["cycles"], total["stall"]) == expected


@pytest.mark.parametrize(("rows", "beats"), [(2, 4), (3, 5), (4, 4)])
def test_elementwise(both, rows, beats):
    # Set-up that hides the data and beats that need not wait, which the sums take for granted.
    params = both[1].p | {"VectorSetup": 360, "TRefi": both[1].p["TRefi"] and 9360}
    clocks, sums = ClockModel(params), Model(params)
    beats = max(beats, params["LaneLatency"])
    item = descriptors.elementwise(
        Opcode.ADD, 0, bank(sums, 1), bank(sums, 2), rows=rows, cols=32 * beats,
        stride_a=64 * beats, stride_b=64 * beats, stride_y=64 * beats,
    )  # fmt: skip
    assert clocks.run([item]).total["cycles"] == sums.add(rows, beats)


@pytest.mark.parametrize(("inner", "beats"), [(40, 5), (64, 16), (600, 5), (640, 16)])
def test_products(both, inner, beats):
    """The two long ones cross pages; refreshes, where these fall between two reads of a page."""
    clocks, sums = both
    if sums.p["Lanes"] < sums.beat_elements or sums.p["CkRatio"] == 2:
        clocks, sums = (kind(sums.p | {"TRefi": 0}) for kind in (ClockModel, Model))
    item = descriptors.matmul(
        0, bank(sums, 1), bank(sums, 2), rows=1, inner=inner, cols=32 * beats, stride_a=64 * 20,
        stride_y=64 * beats, tile=beats,
    )  # fmt: skip
    assert clocks.run([item]).total["cycles"] == sums.matmul(inner, beats)


@pytest.mark.parametrize("row_cycle", [40, 43, 44, 56, 80])
def test_a_refresh_as_a_row_is_opened(row_cycle):
    """REF keeps tRC from ACT (JESD79-4): with a short tRP that ends later than tRP from PRE."""
    short = {"TRcdRd": 4, "TRp": 4, "TRc": row_cycle}
    params = load_platform("htg-z920").rtl_parameters() | short
    page = params["RowBytes"] // params["AtomBytes"]
    last = Model(params).right_operand(40)[1] + (page - 1) * params["TCcdL"]
    opened = last + params["TRtp"] + params["TRp"]
    # The refresh falls due in the fabric clock after the ACT, before the first read.
    params["TRefi"] = (opened // params["CkRatio"] + 1) * params["CkRatio"]
    sums = Model(params)
    item = descriptors.matmul(
        0, bank(sums, 1), bank(sums, 2), rows=1, inner=40, cols=32 * 5, stride_a=64 * 20,
        stride_y=64 * 5, tile=5,
    )  # fmt: skip
    assert ClockModel(params).run([item]).total["cycles"] == sums.matmul(40, 5)


def test_one_beat_in_all_banks():
    """The shortest product of all_bank, every term written out; DRAM clocks of aim."""
    params = load_platform("aim").rtl_parameters()
    items = [
        descriptors.matmul(
            0, 1 << 25, 2 << 25, rows=1, inner=1, cols=256, stride_a=512, stride_y=512, tile=1
        )
    ]
    ratio = 2
    refreshed = 230 + 210  # tXS, tRFC: the first ACT, of the bank with A
    scalar = refreshed + 36  # tRCD: A's atom
    # All banks open for B: tRAS after that ACT, tRTP after that RD; a span is seen a clock later.
    closed = max(refreshed + 54, scalar + 4)
    product = closed + 32 + 36  # tRP, tRCD
    opened = closed - refreshed
    # Y lies in other rows: its span is the head a clock after the RD; PRE waits tRAS, the last ACT
    # was tRCD ago; then tRP, tRCD of a write, and for the lanes: longer is what counts.
    closed = max(product - 36 + 54, product + 4)
    opened += closed - (product - 36)
    opened_last = closed + 32
    written = opened_last + 28
    settled = (product // ratio + 13 + 1 + 4 + 1) * ratio  # CL + tBL, 1, latency, one pass
    written = max(written, settled)
    # Data handed over 2 clocks before their end, CWL + tBL; seen idle 1; drained, done, status 7.
    end = written // ratio + (6 + 2) // ratio - 2 + 1 + 2 + 7
    # END takes 17; PRE was possible in the meantime: tRP, then 3 clocks to the interrupt.
    cycles = (end + 17 + 32 // ratio + 3) * ratio
    opened += (end + 17) * ratio - opened_last
    assert ClockModel(params).run(items).total == {
        "cycles": cycles, "act": 33, "pre": 33, "rd": 2, "wr": 1, "ref": 1, "mac": 1,
        "stall": 4 * 2 * ratio, "open": opened, "self_refresh": 2 * ratio, "all_rd": 1, "all_wr": 1,
        "link": 2 * (64 + 4),
    }  # fmt: skip


def test_bursts():
    """At most 16 beats, cut at 4 KiB, each row anew."""
    assert bursts([(4096 - 128, 64 * 20)]) == [2, 16, 2]
    assert bursts([(0, 64), (4096, 64 * 17)]) == [1, 16, 1]


def test_integers_stream_twice_and_four_times_as_fast():
    """(1,1024)x(1024,1024) where a set of lanes is there for each weight of a beat.

    Few clocks are lost to scales: read three times for each group, when the sums have settled.
    """
    settings = {"device.rows_per_beat": "4", "device.lanes": "128"}
    params = load_platform("htg-z920", settings).rtl_parameters()
    clocks, apart = ClockModel(params), params["RowBytes"] * params["Rows"]
    took = {}
    for weights, group in ((Weights.BF16, 0), (Weights.W8, 12), (Weights.W4, 7)):
        item = descriptors.matmul(
            0, apart, 2 * apart, rows=1, inner=1024, cols=1024, stride_a=2048, stride_y=2048,
            tile=16, weights=weights, group=group,
        )  # fmt: skip
        took[weights] = clocks.run([item]).total["cycles"]
    assert took == {Weights.BF16: 217_964, Weights.W8: 110_396, Weights.W4: 61_140}
    assert took[Weights.BF16] > 1.9 * took[Weights.W8]
    assert took[Weights.BF16] > 3.5 * took[Weights.W4]
