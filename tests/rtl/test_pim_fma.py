"""The arithmetic of pim_lane and of its native twin, bit for bit against independent oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_bench import LaneBench
from lane_reference import (
    CORNERS_BF16,
    CORNERS_F32,
    LOAD,
    MAC,
    MACZ,
    MUL,
    MULS,
    NAN,
    bf16_exact,
    bf16_wide,
    fma_exact,
    fma_wide,
    random_bf16,
    random_f32,
)

LANES = 32


@pytest.fixture(scope="module")
def bench():
    with LaneBench(LANES) as lanes:
        yield lanes
        assert lanes["mismatches_o"] == 0


def exact(scalars, vectors, words):
    """The integer oracle on whole arrays of one shape."""
    triples = zip(scalars.ravel(), vectors.ravel(), words.ravel(), strict=True)
    flat = [fma_exact(int(a), int(b), int(c)) for a, b, c in triples]
    return np.array(flat, dtype=np.uint32).reshape(words.shape)


def random_triples(rng, rows):
    scalars = random_bf16(rng, rows)
    vectors = random_bf16(rng, (rows, LANES))
    return scalars, vectors, random_f32(rng, scalars[:, None], vectors)


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (0x3F80, 0x3F80, 0x3F800000, 0x40000000),  # 1 * 1 + 1
        (0x3F80, 0xBF80, 0x3F800000, 0x00000000),  # x - x = +0
        (0xBF80, 0x3F80, 0x3F800000, 0x00000000),
        (0x8000, 0x3F80, 0x80000000, 0x80000000),  # -0 + -0 = -0
        (0x8000, 0x3F80, 0x00000000, 0x00000000),  # -0 + +0 = +0
        (0x0000, 0x7F7F, 0x00000001, 0x00000001),  # zero times large leaves the addend
        (0x0000, 0x7F80, 0x3F800000, NAN),  # 0 * inf
        (0x7F80, 0x3F80, 0xFF800000, NAN),  # inf - inf
        (0x7F80, 0xBF80, 0x3F800000, 0xFF800000),
        (0x3F80, 0x3F80, 0xFF800001, NAN),  # signalling NaN with a sign
        (0x7F7F, 0x7F7F, 0xFF7FFFFF, 0x7F800000),  # overflow
        (0x7F7F, 0x3F80, 0x7B000000, 0x7F7F8000),
        (0x0001, 0x3F80, 0x00000000, 0x00010000),  # subnormal operand, subnormal result
        (0x0001, 0x0001, 0x80000001, 0x80000001),  # product far below the last place
        (0x0001, 0x8001, 0x00000000, 0x80000000),  # underflow keeps the sign
        (0x1A00, 0x1A00, 0x00000000, 0x00000000),  # 2**-150 is a tie: to even, zero
        (0x1A00, 0x1A01, 0x00000000, 0x00000001),  # a little more is not
        (0x1A00, 0x1A00, 0x00000001, 0x00000002),  # tie to even, up
        (0x0080, 0x3F7F, 0x00000000, 0x007F8000),  # from normal to subnormal
        (0x3380, 0x3F80, 0x3F800000, 0x3F800000),  # 1 + 2**-24: tie to even, down
        (0x3380, 0x3F80, 0x3F800001, 0x3F800002),  # tie to even, up
        (0x3380, 0x3F81, 0x3F800000, 0x3F800001),
        (0xB300, 0x3F80, 0x3F800000, 0x3F800000),  # 1 - 2**-25: tie below the binade
        (0xB300, 0x3F81, 0x3F800000, 0x3F7FFFFF),
    ],
)
def test_known_results(bench, a, b, c, expected):
    assert fma_exact(a, b, c) == expected
    scalars = np.array([a], dtype=np.uint16)
    vectors = np.full((1, LANES), b, dtype=np.uint16)
    words = np.full((1, LANES), c, dtype=np.uint32)
    assert np.all(bench.mac(scalars, vectors, words) == expected)


def test_every_combination_of_classes(bench):
    a, b, c = (
        grid.ravel() for grid in np.meshgrid(CORNERS_BF16, CORNERS_BF16, CORNERS_F32, indexing="ij")
    )
    expected = exact(a, b, c)
    assert np.array_equal(expected, fma_wide(a, b, c))
    per_scalar = len(CORNERS_BF16) * len(CORNERS_F32)
    rows = -(-per_scalar // LANES)
    padding = rows * LANES - per_scalar
    for first in range(0, len(a), per_scalar):
        part = slice(first, first + per_scalar)
        vectors, words, wanted = (
            np.pad(x[part], (0, padding), mode="edge").reshape(rows, LANES)
            for x in (b, c, expected)
        )
        got = bench.mac(np.full(rows, a[first]), vectors, words)
        assert np.array_equal(got, wanted), f"scalar {a[first]:04x}"


def test_random_triples_against_integers(bench):
    rng = np.random.default_rng(1)
    scalars, vectors, words = random_triples(rng, 3200)
    expected = exact(np.broadcast_to(scalars[:, None], vectors.shape), vectors, words)
    assert np.array_equal(fma_wide(scalars[:, None], vectors, words), expected)
    assert np.array_equal(bench.mac(scalars, vectors, words), expected)


def test_random_triples(bench):
    bench.check_mac(*random_triples(np.random.default_rng(2), 20_000))


@pytest.mark.full
def test_ten_million_random_triples(bench):
    rng = np.random.default_rng(3)
    for _ in range(32):
        bench.check_mac(*random_triples(rng, 10_000))


def test_random_triples_against_apytypes(bench):
    apytypes = pytest.importorskip("apytypes")

    def wide(bits, exponent_bits, fraction_bits):
        array = apytypes.APyFloatArray.from_bits(bits, exponent_bits, fraction_bits)
        return array.cast(exp_bits=13, man_bits=57)

    scalars, vectors, words = random_triples(np.random.default_rng(4), 1000)
    shared = np.broadcast_to(scalars[:, None], vectors.shape)
    a, b = wide(shared.ravel().tolist(), 8, 7), wide(vectors.ravel().tolist(), 8, 7)
    total = a * b + wide(words.ravel().tolist(), 8, 23)
    rounded = total.cast(exp_bits=8, man_bits=23, quantization=apytypes.QuantizationMode.TIES_EVEN)
    expected = np.array(rounded.to_bits(), dtype=np.uint32).reshape(words.shape)
    expected[(expected & 0x7FFFFFFF) > 0x7F800000] = NAN
    assert np.array_equal(bench.mac(scalars, vectors, words), expected)


@settings(max_examples=300, deadline=None)
@given(
    scalar=st.integers(0, 0xFFFF),
    vector=st.lists(st.integers(0, 0xFFFF), min_size=LANES, max_size=LANES),
    words=st.lists(st.integers(0, 0xFFFFFFFF), min_size=LANES, max_size=LANES),
)
def test_any_operands(bench, scalar, vector, words):
    scalars = np.array([scalar], dtype=np.uint16)
    vectors = np.array([vector], dtype=np.uint16)
    accumulators = np.array([words], dtype=np.uint32)
    expected = exact(np.broadcast_to(scalars[:, None], vectors.shape), vectors, accumulators)
    assert np.array_equal(bench.mac(scalars, vectors, accumulators), expected)


@settings(max_examples=300, deadline=None)
@given(
    a=st.integers(0, 0xFFFF),
    b=st.integers(0, 0xFFFF),
    offset=st.integers(-2, 2),
    negate=st.booleans(),
)
def test_cancellation(bench, a, b, offset, negate):
    """The addend is the rounded product, give or take the last places, with either sign."""
    product = fma_exact(a, b, 0)
    word = max(0, (product & 0x7FFFFFFF) + offset) | (product & 0x80000000) ^ negate << 31
    scalars = np.array([a], dtype=np.uint16)
    vectors = np.full((1, LANES), b, dtype=np.uint16)
    words = np.full((1, LANES), word, dtype=np.uint32)
    assert np.all(bench.mac(scalars, vectors, words) == fma_exact(a, b, word))


def test_sweep_of_alignments(bench):
    """Every distance between the exponents of product and addend, both signs, dense tails."""
    rng = np.random.default_rng(5)
    fields = np.arange(255)
    for scalar in (0x0001, 0x007F, 0x0080, 0x3F80, 0x3FFF, 0x7F7F):
        rows = np.repeat(fields, 8)
        scalars = np.full(len(rows), scalar, dtype=np.uint16)
        vectors = (rows[:, None] << 7 | rng.integers(0, 128, (len(rows), LANES))).astype(np.uint16)
        centre = rows[:, None] + (scalar >> 7) - 127
        field = np.clip(centre + rng.integers(-50, 50, vectors.shape), 0, 254)
        tail = rng.choice([0, 1, 0x400000, 0x7FFFFF, 0x7FFFFE, 0x3FFFFF], vectors.shape)
        sign = rng.integers(0, 2, vectors.shape)
        bench.check_mac(scalars, vectors, (sign << 31 | field << 23 | tail).astype(np.uint32))


def test_powers_of_two_less_something_at_every_distance(bench):
    """Just below a power of two the places are half as large: the strictest case for dropping."""
    fields = np.arange(255)
    tails = np.array([0, 1, 0x400000, 0x400001, 0x7FFFFF])
    for scalar in (0x0001, 0x0040, 0x0080, 0x3F80):
        factors, addends, ends = np.meshgrid(fields, fields, tails, indexing="ij")
        vectors = (factors << 7).astype(np.uint16).reshape(-1)
        words = (1 << 31 | addends << 23 | ends).astype(np.uint32).reshape(-1)
        # Further than 64 places apart, nothing new can happen.
        distance = (scalar >> 7) + factors - addends - 127
        near = np.flatnonzero(np.abs(distance.reshape(-1)) < 64)
        near = near[: len(near) // LANES * LANES].reshape(-1, LANES)
        scalars = np.full(len(near), scalar, dtype=np.uint16)
        bench.check_mac(scalars, vectors[near], words[near])


@pytest.mark.parametrize("kind", ["normal", "any"])
@pytest.mark.parametrize("steps", [1, 7, 768, 4096])
def test_chain(bench, kind, steps):
    """Operations that depend on each other: a sum of `steps` products in order."""
    rng = np.random.default_rng(steps)
    if kind == "normal":
        values = rng.standard_normal((steps, LANES + 1)).astype(np.float32)
        operands = (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    else:
        operands = random_bf16(rng, (steps, LANES + 1))
        # Infinities and NaNs would end the chain early.
        operands &= np.uint16(0xBFFF)
    expected = np.zeros(LANES, dtype=np.uint32)
    for step, row in enumerate(operands):
        bench.present(MAC if step else MACZ, 5, int(row[0]), row[1:].copy())
        expected = fma_wide(row[:1], row[1:], expected)
    bf16, words = bench.read(5)
    assert np.array_equal(words, expected)
    assert np.array_equal(bf16, bf16_wide(expected))


@pytest.mark.parametrize("operation", [MACZ, MUL, MULS])
def test_products(bench, operation):
    """The other arithmetic operations, on all pairs of corners and on random numbers."""
    rng = np.random.default_rng(6)
    pairs = [grid.ravel() for grid in np.meshgrid(CORNERS_BF16, CORNERS_BF16, indexing="ij")]
    more = random_bf16(rng, (2, 64 * LANES))
    left, right = (np.concatenate(x) for x in zip(pairs, more, strict=True))
    addend = np.uint32(0 if operation == MACZ else 0x80000000)
    rows = len(left) // LANES
    left, right = (x[: rows * LANES].reshape(rows, LANES) for x in (left, right))
    for a, b in zip(left, right, strict=True):
        if operation == MUL:
            bench.present(LOAD, 1, 0, a)
            bench.present(MUL, 1, 0x1234, b)
            expected = exact(a, b, np.full(LANES, addend))
        else:
            bench.present(operation, 1, int(a[0]), b)
            expected = exact(np.full(LANES, a[0]), b, np.full(LANES, addend))
        assert np.array_equal(bench.read(1)[1], expected)


def test_product_uses_the_upper_half_of_the_accumulator(bench):
    bench.load(2, np.full(LANES, 0x3F80FFFF, dtype=np.uint32))
    bench.present(MUL, 2, 0, np.full(LANES, 0x4000, dtype=np.uint16))
    assert np.all(bench.read(2)[1] == 0x40000000)


def rounded(bench, words):
    """Round an array of binary32 words through the read port."""
    result = np.empty(len(words), dtype=np.uint16)
    for first in range(0, len(words), LANES):
        bench.load(0, words[first : first + LANES])
        result[first : first + LANES] = bench.read(0)[0]
    return result


def test_rounding_to_bf16_of_corners(bench):
    """Corner upper halves with every tail at which the rounding could change."""
    tails = np.array([0, 1, 0x4000, 0x7FFE, 0x7FFF, 0x8000, 0x8001, 0xC000, 0xFFFE, 0xFFFF])
    uppers = np.concatenate([CORNERS_BF16, CORNERS_BF16 ^ np.uint16(1)]).astype(np.uint32)
    words = (uppers[:, None] << np.uint32(16) | tails.astype(np.uint32)).ravel()
    words = np.pad(words, (0, -len(words) % LANES))
    expected = [bf16_exact(int(word)) for word in words]
    assert rounded(bench, words).tolist() == expected
    assert bf16_wide(words).tolist() == expected


def test_rounding_to_bf16_of_all_upper_halves(bench):
    """Every upper half; the tails around one half in both parities."""
    uppers = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    for tail in (0x7FFF, 0x8000, 0x8001):
        words = uppers | np.uint32(tail)
        assert np.array_equal(rounded(bench, words), bf16_wide(words))


def test_rounding_to_bf16_of_all_tails(bench):
    """Every tail below an even, an odd, a subnormal and the largest upper half."""
    tails = np.arange(1 << 16, dtype=np.uint32)
    for upper in (0x3F80, 0xBF81, 0x007F, 0x7F7F):
        words = np.uint32(upper << 16) | tails
        assert np.array_equal(rounded(bench, words), bf16_wide(words))
