"""Simulated DRAM clocks of single operations on `aim`, to the clock, and what they took before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pimloop.host.common import golden
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform

AIM = load_platform("aim")

#: Operation, shapes, clocks, and clocks when each row opened the rows of the DRAM anew.
VECTORS = [
    ("add", (16, 768), (16, 768), 990, 4902),
    ("mul", (16, 768), (768,), 920, 3978),
    ("add", (16, 768), (16, 1), 1032, 3176),
    ("mul", (16, 768), (16, 1), 1032, 3114),
    ("mul", (16, 768), (1,), 912, 3114),
    ("relu", (16, 768), None, 824, 2898),
    ("add", (128, 768), (128, 768), 4468, 38740),
    ("mul", (128, 768), (768,), 5568, 37538),
    ("add", (128, 768), (128, 1), 5116, 26370),
    ("add", (16, 2048), (16, 2048), 1702, 5246),
]
#: (rows, inner, columns), clocks of MATMUL, of MATMUL_T by an operand in blocks.
PRODUCTS = [
    ((1, 768, 768), 9850, 8496),
    ((1, 768, 256), 8112, 7236),
    ((16, 64, 16), 12124, 11318),
]
#: Clocks of nine products (1,768) x (768,768) in a list.
NINE = [("MATMUL", 86932), ("MATMUL_T", 73898)]


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with open_device(AIM) as opened:
        yield opened


def _values(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("op", "left", "right", "clocks", "before"), VECTORS)
def test_rows_of_the_dram_are_opened_once_for_many_beats(
    device: Device,
    op: str,
    left: tuple[int, ...],
    right: tuple[int, ...] | None,
    clocks: int,
    before: int,
) -> None:
    driver = PimDriver.for_platform(device, AIM)
    arrays = [_values(1, *left), *([] if right is None else [_values(2, *right)])]
    result = driver.elementwise(op, *(driver.upload(array) for array in arrays))
    assert driver.last.cycles == clocks
    assert before >= 3 * clocks
    values = [golden.bf16_to_f32(golden.to_bf16_bits(array)) for array in arrays]
    exact = {"add": np.add, "mul": np.multiply, "relu": lambda a: np.maximum(a, 0)}[op](*values)
    assert np.array_equal(driver.download(result), golden.bf16_to_f32(golden.to_bf16_bits(exact)))


@pytest.mark.parametrize(("shape", "straight", "turned"), PRODUCTS)
def test_products_by_transposed_operands_take_no_longer(
    device: Device, shape: tuple[int, int, int], straight: int, turned: int
) -> None:
    """Blocks are read by all banks at once, and slices of several leave in turns."""
    rows, inner, columns = shape
    left, right = _values(1, rows, inner), _values(2, inner, columns)
    expected = golden.matmul(golden.to_bf16_bits(left), golden.to_bf16_bits(right), None)
    for opcode, clocks in (("MATMUL", straight), ("MATMUL_T", turned)):
        driver = PimDriver.for_platform(device, AIM)
        matrix = driver.load_matrix(right, opcode=opcode)
        result = driver.matmul(driver.upload(left), matrix)
        assert driver.last.cycles == clocks
        assert np.array_equal(driver.download(result), golden.bf16_to_f32(expected))


@pytest.mark.parametrize(("opcode", "clocks"), NINE)
def test_products_in_a_list_leave_self_refresh_once(
    device: Device, opcode: str, clocks: int
) -> None:
    """Transposed ones work on a beat in at least 55 % of the slots, refreshes included."""
    driver = PimDriver.for_platform(device, AIM)
    left = driver.upload(_values(1, 1, 768))
    matrix = driver.load_matrix(_values(2, 768, 768), opcode=opcode)
    with driver.batch():
        for _ in range(9):
            driver.matmul(left, matrix)
    assert driver.last.cycles == clocks
    used = driver.last.counters["mac"] * AIM.dram.tccd_l / clocks
    assert used >= {"MATMUL": 0.47, "MATMUL_T": 0.55}[opcode]
