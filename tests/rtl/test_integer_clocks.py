"""Clocks of products by weights of 8 and 4 bits: the table of docs/platforms.md, computed again."""

from __future__ import annotations

import re

import pytest
from clock_model import ClockModel
from support.paths import REPOSITORY

from pimloop.host.pim.driver import descriptors
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import Weights

_ROW = re.compile(
    r"^\| \(1,(\d+)\) x \(\d+,(\d+)\), `([\w-]+)`, (\d+) lanes \| ([\d,]+) \| ([\d,]+): ([\d.]+)"
    r" \| ([\d,]+): ([\d.]+) \|$",
    re.MULTILINE,
)
ROWS = _ROW.findall((REPOSITORY / "docs" / "platforms.md").read_text(encoding="utf-8"))

#: log2 of the rows that share a scale.
GROUPS = {Weights.BF16: 0, Weights.W8: 12, Weights.W4: 7}

#: Products whose lanes keep up with 4-bit weights, and with columns for every accumulator.
KEEPING_UP = {("htg-z920", 128, 1024), ("htg-z920", 128, 2048), ("aim", 1024, 4096)}
QUICK = {("htg-z920", 128, 1024), ("aim", 1024, 4096)}


def clocks(platform: str, lanes: int, inner: int, columns: int, weights: Weights) -> int:
    """Return the DRAM clocks of a list of one product of one row."""
    settings = {"device.rows_per_beat": "4", "device.lanes": str(lanes)}
    described = load_platform(platform, settings)
    geometry = described.geometry()
    apart = geometry.capacity // geometry.banks
    item = descriptors.matmul(
        0, apart, 2 * apart, rows=1, inner=inner, cols=columns, stride_a=2 * inner,
        stride_y=2 * columns, tile=geometry.acc_groups, weights=weights, group=GROUPS[weights],
    )  # fmt: skip
    return ClockModel(described.rtl_parameters()).run([item]).total["cycles"]


def cases():
    for inner, columns, platform, lanes, *shown in ROWS:
        case = (platform, int(lanes), int(columns))
        marks = () if case in QUICK else pytest.mark.full
        identifier = f"{platform}-{lanes}-{inner}x{columns}"
        yield pytest.param(case, int(inner), tuple(shown), id=identifier, marks=marks)


@pytest.mark.parametrize(("case", "inner", "shown"), list(cases()))
def test_the_page_has_the_clocks_of_the_model(case, inner, shown):
    platform, lanes, columns = case
    took = {w: clocks(platform, lanes, inner, columns, w) for w in Weights}
    faster = {w: took[Weights.BF16] / took[w] for w in (Weights.W8, Weights.W4)}
    assert shown == (
        f"{took[Weights.BF16]:,}",
        f"{took[Weights.W8]:,}", f"{faster[Weights.W8]:.2f}",
        f"{took[Weights.W4]:,}", f"{faster[Weights.W4]:.2f}",
    )  # fmt: skip
    if case in KEEPING_UP:
        assert faster[Weights.W8] >= 1.9
        assert faster[Weights.W4] >= 3.5


def test_every_row_of_the_table_is_read():
    assert len(ROWS) == 6
    assert {(platform, int(lanes), int(columns)) for _, columns, platform, lanes, *_ in ROWS} > (
        KEEPING_UP
    )
