"""Products by integer weights with scales, against arithmetic in unbounded integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import exact

from pimloop.host.common import golden, golden_quantized

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)
BF16 = st.integers(0, 0xFFFF)
F32 = st.integers(0, 0xFFFFFFFF)


def single(bits):
    return np.array([bits], np.uint32).view(np.float32)


@SETTINGS
@given(scale=BF16, partial=F32, total=F32)
# Parts that are zeros, subnormal wholes and scales, infinities, a middle part of small numbers.
@example(scale=0x4040, partial=0x3F800001, total=0x80000001)
@example(scale=0x3FC0, partial=0xBF800001, total=0x9F800000)
@example(scale=0x7F7F, partial=0x00000101, total=0x80000001)
@example(scale=0x0001, partial=0x7F7FFFFF, total=0x80000000)
@example(scale=0x7F80, partial=0x3F800000, total=0x3F800000)
@example(scale=0xBF80, partial=0x7F800000, total=0x7F800000)
@example(scale=0x3F80, partial=0x80000000, total=0x80000000)
def test_a_partial_sum_is_added_in_three_steps(scale, partial, total):
    got = golden_quantized.add_scaled(single(scale << 16), single(partial), single(total))
    assert int(got.view(np.uint32)[0]) == exact.add_scaled(scale, partial, total)


@SETTINGS
@given(bits=F32)
def test_the_parts_of_a_number_are_all_of_it(bits):
    whole = single(bits)
    parts = golden_quantized.parts(whole)
    if np.isfinite(whole[0]):
        assert sum(Fraction(float(part[0])) for part in parts) == Fraction(float(whole[0]))
        assert all(int(part.view(np.uint32)[0]) & 0xFFFF == 0 or abs(part[0]) < 2.0**-118
                   for part in parts)  # fmt: skip
    else:
        assert all(part.view(np.uint32)[0] == bits for part in parts)


@SETTINGS
@given(
    inner=st.integers(1, 9),
    columns=st.integers(1, 3),
    group=st.sampled_from([1, 2, 4, 16]),
    bits=st.sampled_from([4, 8]),
    init=st.sampled_from(["none", "row", "f32"]),
    wild=st.booleans(),
    seed=st.integers(0, 999),
)
def test_products_by_integer_weights(inner, columns, group, bits, init, wild, seed):
    generator = np.random.default_rng(seed)

    def operand(*shape):
        if wild:
            return generator.integers(0, 1 << 16, shape).astype(np.uint16)
        return golden.to_bf16_bits(generator.normal(size=shape).astype(np.float32))

    a, groups = operand(2, inner), -(-inner // group)
    half = 1 << (bits - 1)
    weights = generator.integers(-half, half, (inner, columns)).astype(np.int8)
    scales = operand(groups, columns)
    start = {"none": None, "row": operand(columns), "f32": None}[init]
    if init == "f32":
        start = generator.normal(size=(2, columns)).astype(np.float32)
    got = golden_quantized.matmul(a, weights, scales, group, start, out_f32=True)
    for p in range(2):
        for r in range(columns):
            first = 0
            if init == "row":
                first = int(start[r]) << 16
            elif init == "f32":
                first = int(start.view(np.uint32)[p, r])
            wanted = exact.scaled_dot(
                [int(x) for x in a[p]], [int(w) for w in weights[:, r]],
                [int(s) for s in scales[:, r]], group, first,
            )  # fmt: skip
            assert int(got.view(np.uint32)[p, r]) == wanted
    rounded = golden_quantized.matmul(a, weights, scales, group, start)
    np.testing.assert_array_equal(rounded, golden.to_bf16_bits(got))


def test_a_product_split_at_a_group_keeps_its_bits():
    generator = np.random.default_rng(0)
    a = golden.to_bf16_bits(generator.normal(size=(3, 300)).astype(np.float32))
    weights = generator.integers(-8, 8, (300, 5)).astype(np.int8)
    scales = golden.to_bf16_bits(generator.random((3, 5)).astype(np.float32))
    first = golden_quantized.matmul(a[:, :128], weights[:128], scales[:1], 128, out_f32=True)
    both = golden_quantized.matmul(a[:, 128:], weights[128:], scales[1:], 128, first)
    np.testing.assert_array_equal(both, golden_quantized.matmul(a, weights, scales, 128))


@pytest.mark.parametrize(("group", "rows"), [(0, 1), (4, 1), (4, 3)])
def test_shapes_that_do_not_fit_are_refused(group, rows):
    a, weights = np.zeros((1, 8), np.uint16), np.zeros((8, 2), np.int8)
    with pytest.raises(ValueError, match="scales"):
        golden_quantized.matmul(a, weights, np.zeros((rows, 2), np.uint16), group)
