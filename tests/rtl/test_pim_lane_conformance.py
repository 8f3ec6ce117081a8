"""RTL lanes, native lanes and the golden model against oracles that share nothing with them.

The oracles: integers of the standard library (`fma_exact`), binary64 a step at a time
(`fma_wide`), and apytypes. `LaneBench` holds RTL and native lanes against each other at every
read, so one comparison of its result is one of both.
"""

import apytypes
import numpy as np
import pytest
from lane_bench import LaneBench
from lane_reference import (
    CORNERS_BF16,
    CORNERS_F32,
    LOAD,
    MAC,
    MACZ,
    NAN,
    bf16_exact,
    directed_triples,
    fma_exact,
    fma_wide,
    random_bf16,
)

from pimloop.host.common.golden import bf16_to_f32, fma_step, matmul

LANES = 32
DIRECTED = directed_triples()


@pytest.fixture(scope="module")
def bench():
    with LaneBench(LANES) as lanes:
        yield lanes
        assert lanes["mismatches_o"] == 0


def golden(a, b, c):
    """The golden model's step on bits, as bits."""
    return fma_step(bf16_to_f32(a), bf16_to_f32(b), c.view(np.float32)).view(np.uint32)


def integers(a, b, c):
    columns = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    return np.array([fma_exact(*triple) for triple in columns], dtype=np.uint32)


def with_apytypes(a, b, c):
    """The sum in a format wide enough for every exact result, rounded once."""

    def wide(bits, fraction_bits):
        array = apytypes.APyFloatArray.from_bits(bits.tolist(), 8, fraction_bits)
        return array.cast(exp_bits=13, man_bits=57)

    total = wide(a, 7) * wide(b, 7) + wide(c, 23)
    rounded = total.cast(exp_bits=8, man_bits=23, quantization=apytypes.QuantizationMode.TIES_EVEN)
    result = np.array(rounded.to_bits(), dtype=np.uint32)
    result[(result & 0x7FFFFFFF) > 0x7F800000] = NAN
    return result


def test_golden_model_and_apytypes_on_every_combination_of_classes():
    """The lanes meet the same combinations in test_pim_fma."""
    a, b, c = (x.ravel() for x in np.meshgrid(CORNERS_BF16, CORNERS_BF16, CORNERS_F32))
    expected = integers(a, b, c)
    assert np.array_equal(golden(a, b, c), expected)
    assert np.array_equal(with_apytypes(a, b, c), expected)


@pytest.mark.parametrize("name", DIRECTED)
def test_directed_operands(bench, name):
    """Ties, cancellation, carries and distances: each triple, and its neighbours on the lanes."""
    a, b, c = DIRECTED[name]
    expected = integers(a, b, c)
    assert np.array_equal(golden(a, b, c), expected)
    assert np.array_equal(with_apytypes(a, b, c), expected)
    # The addend up to four places off, the signs of product and addend either way.
    places = np.tile(np.arange(-4, 4), 4)
    flip_product = np.repeat([0, 0, 0x8000, 0x8000], 8)
    flip_addend = np.repeat([0, 0x80000000, 0, 0x80000000], 8)
    vectors = (b[:, None] ^ flip_product).astype(np.uint16)
    words = (c[:, None].astype(np.int64) + places & 0xFFFFFFFF ^ flip_addend).astype(np.uint32)
    assert np.array_equal(fma_wide(a, vectors[:, 4], words[:, 4]), expected)
    bench.check_mac(a, vectors, words)


def test_directed_operands_are_what_their_names_say():
    """The sets would be worth nothing if clipping had made them ordinary sums."""
    for name, (a, b, c) in DIRECTED.items():
        product = fma_wide(a, b, np.zeros(len(a), dtype=np.uint32))
        total = fma_wide(a, b, c)
        field, addend_field = (x >> 23 & 0xFF for x in (product, c))
        if name.startswith("tie,"):
            # Half a place of the addend: less than one place away from it, or the even one.
            share = ((addend_field - field) == 24) & (total - c <= 1)
        elif name.startswith("cancellation"):
            share = ((total >> 23 & 0xFF) + 7 <= field) | (field < 8)
        elif name.startswith("carry into"):
            share = (total >> 23 & 0xFF) > addend_field
        else:
            continue
        assert share.mean() > 0.8, f"{name}: {share.mean():.2f}"


@pytest.mark.parametrize("init", ["zero", "bias", "sum"])
@pytest.mark.parametrize("inner", [1, 33, 512, 4096])
def test_whole_chain(bench, init, inner):
    """Initial value, every product in order, the result as binary32 and rounded to bfloat16."""
    rng = np.random.default_rng(inner)
    # Products of every size, but finite sums: infinities and NaNs would end the chain.
    a, b = random_bf16(rng, inner) & np.uint16(0xBFFF), random_bf16(rng, (inner, LANES))
    b &= np.uint16(0xBFFF)
    bias = random_bf16(rng, LANES) & np.uint16(0xBFFF)
    start = np.zeros(LANES, dtype=np.uint32)
    if init == "bias":
        start = bias.astype(np.uint32) << np.uint32(16)
        bench.present(LOAD, 3, 0, bias)
    elif init == "sum":
        start = rng.integers(0, 0x40000000, LANES, dtype=np.uint32)
        bench.load(3, start)
    sums = start.tolist()
    for k in range(inner):
        bench.present(MACZ if init == "zero" and k == 0 else MAC, 3, int(a[k]), b[k].copy())
        sums = [fma_exact(int(a[k]), x, y) for x, y in zip(b[k].tolist(), sums, strict=True)]
    bf16, words = bench.read(3)
    assert words.tolist() == sums
    assert bf16.tolist() == [bf16_exact(x) for x in sums]
    given = {"zero": None, "bias": bias, "sum": start.view(np.float32).reshape(1, LANES)}[init]
    assert matmul(a.reshape(1, -1), b, given).ravel().tolist() == bf16.tolist()
    assert matmul(a.reshape(1, -1), b, given, out_f32=True).view(np.uint32).ravel().tolist() == sums
