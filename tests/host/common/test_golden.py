"""The numpy specification against unbounded integers, which share nothing with it."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import exact
from support.random_lists import random_bits

from pimloop.host.common import golden, golden_compiled
from pimloop.sim.errors import SimError
from pimloop.sim.verilator.shared_object import build_library

BF16 = st.one_of(
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 0x8000, 1, 0x8001, 0x7F, 0x80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7F81]),
)
F32 = st.one_of(
    st.integers(0, 0xFFFFFFFF),
    st.builds(lambda upper, lower: upper << 16 | lower, BF16, st.sampled_from([0, 1, 0x7FFF])),
    st.builds(lambda upper, lower: upper << 16 | lower, BF16, st.sampled_from([0x8000, 0x8001])),
)


def as_f32(bits: int) -> np.ndarray:
    return np.array([bits], np.uint32).view(np.float32)


@given(F32)
def test_rounding_to_bf16(bits: int) -> None:
    assert int(golden.to_bf16_bits(as_f32(bits))[0]) == exact.to_bf16(bits)


def test_every_bf16_survives() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    back = golden.to_bf16_bits(golden.bf16_to_f32(bits))
    nan = (bits & 0x7FFF) > 0x7F80
    assert (back[~nan] == bits[~nan]).all()
    assert (back[nan] == golden.NAN_BF16).all()


@given(BF16, BF16, F32)
def test_fma_step(a: int, b: int, c: int) -> None:
    left, right = (golden.bf16_to_f32(np.array([x], np.uint16)) for x in (a, b))
    result = golden.fma_step(left, right, as_f32(c))
    assert int(result.view(np.uint32)[0]) == exact.fma(a, b, c)


@given(BF16, BF16)
def test_elementwise(a: int, b: int) -> None:
    left, right = np.array([a], np.uint16), np.array([b], np.uint16)
    plus_one, minus_one, minus_zero = 0x3F80, 0xBF80, 0x80000000
    for op, expected in (
        (np.add, exact.fma(plus_one, a, b << 16)),
        (np.subtract, exact.fma(minus_one, b, a << 16)),
        (np.multiply, exact.fma(a, b, minus_zero)),
    ):
        assert int(golden.elementwise(op, left, right)[0]) == exact.to_bf16(expected), op


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("init", ["none", "row", "f32"])
def test_matmul_is_a_chain_of_fused_steps(seed: int, init: str) -> None:
    rng = np.random.default_rng(seed)
    p, q, r = (int(x) for x in rng.integers(1, 9, 3))
    a, b = random_bits(rng, p * q).reshape(p, q), random_bits(rng, q * r).reshape(q, r)
    row = random_bits(rng, r)
    words = rng.integers(0, 1 << 32, (p, r), dtype=np.uint32)
    start, words_in = {
        "none": (None, np.zeros((p, r), np.uint32)),
        "row": (row, np.repeat(row.astype(np.uint32)[None] << 16, p, 0)),
        "f32": (words.view(np.float32), words),
    }[init]
    expected = [
        [exact.dot(a[i].tolist(), b[:, j].tolist(), int(words_in[i, j])) for j in range(r)]
        for i in range(p)
    ]
    got = golden.matmul(a, b, start, out_f32=True)
    assert got.view(np.uint32).tolist() == expected
    rounded = [[exact.to_bf16(x) for x in line] for line in expected]
    assert golden.matmul(a, b, start).tolist() == rounded


@pytest.mark.parametrize(("low", "high"), [(0x3000, 0x4F00), (0x0001, 0x0100), (0x5F00, 0x7F7F)])
def test_both_ways_to_accumulate_agree(
    low: int, high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products that are exact in binary32 take a faster way; it must not show."""
    rng = np.random.default_rng(low)
    sign = rng.integers(0, 2, (2, 40, 40), dtype=np.uint16) << np.uint16(15)
    a, b = rng.integers(low, high, (2, 40, 40)).astype(np.uint16) | sign
    chosen = golden.matmul(a, b, out_f32=True)
    monkeypatch.setattr(golden, "_products_exact", lambda a, b: False)
    assert (golden.matmul(a, b, out_f32=True).view(np.uint32) == chosen.view(np.uint32)).all()


@pytest.mark.parametrize("seed", range(6))
def test_compiled_sums_have_the_bits_of_numpy(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any bits, NaN, infinities and subnormals too; blocks and steps that do not come out even."""
    compiled = golden_compiled.accumulator()
    assert compiled is not None, "a C++ compiler and a fused multiply-add are needed"
    rng = np.random.default_rng(seed)
    p, q, r = (int(n) for n in rng.integers((1, 1, 1), (6, 40, 1200)))
    a, b = random_bits(rng, p * q).reshape(p, q), random_bits(rng, q * r).reshape(q, r)
    start = rng.integers(0, 1 << 32, (p, r), dtype=np.uint32).view(np.float32)
    monkeypatch.setattr(golden, "_COMPILED_FROM", 0)
    chosen = golden.matmul(a, b, start, out_f32=True)
    monkeypatch.setattr(golden, "accumulator", lambda: None)
    assert (
        golden.matmul(a, b, start, out_f32=True).view(np.uint32) == chosen.view(np.uint32)
    ).all()


def test_sums_near_the_ends_of_the_range_are_compiled_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Finite sums of products that are subnormal, or too large or too small for binary32."""
    monkeypatch.setattr(golden, "_COMPILED_FROM", 0)
    rng = np.random.default_rng(7)
    for low, high in ((0x0001, 0x2100), (0x1F00, 0x2100), (0x5E00, 0x5F00)):
        sign = rng.integers(0, 2, (2, 40, 40), dtype=np.uint16) << np.uint16(15)
        a, b = rng.integers(low, high, (2, 40, 40)).astype(np.uint16) | sign
        chosen = golden.matmul(a, b, out_f32=True)
        with monkeypatch.context() as without:
            without.setattr(golden, "accumulator", lambda: None)
            wanted = golden.matmul(a, b, out_f32=True)
        assert np.isfinite(wanted).any()
        assert (wanted.view(np.uint32) == chosen.view(np.uint32)).all()


def test_without_a_compiler_numpy_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path))
    golden_compiled._load.cache_clear()
    try:
        with caplog.at_level("INFO"):
            assert golden_compiled.accumulator() is None
    finally:
        golden_compiled._load.cache_clear()
    assert "the golden model is computed in numpy: the compiler that CXX names" in caplog.text


@pytest.mark.parametrize("source", ["int f( {", ""])
def test_a_library_is_there_only_when_it_is_complete(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path / "build"))
    file = tmp_path / "sums.cpp"
    file.write_text(source)
    if source:
        with pytest.raises(SimError, match=r"building library-sums-\w+\.so failed: .*error"):
            build_library(file)
        assert not list((tmp_path / "build").glob("library-*"))
        return
    library = build_library(file)
    made = library.stat().st_mtime_ns
    assert build_library(file) == library
    assert library.stat().st_mtime_ns == made
    (tmp_path / "build").chmod(0o777)
    with pytest.raises(SimError, match="can be written by every user"):
        build_library(file)


def test_matmul_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) by \(4, 5\)"):
        golden.matmul(np.zeros((2, 3), np.uint16), np.zeros((4, 5), np.uint16))


def test_conversion_agrees_with_ml_dtypes_where_it_is_defined() -> None:
    values = np.random.default_rng(1).standard_normal(10_000).astype(np.float32)
    expected = values.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert (golden.to_bf16_bits(values) == expected).all()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets a bit of the x86 MXCSR register")
def test_flushed_subnormals_are_noticed(tmp_path: Path) -> None:
    """A library compiled with -ffast-math switches subnormals off for the thread loading it."""
    compiler = shutil.which("cc") or shutil.which("g++")
    assert compiler, "a C compiler is needed"
    source = tmp_path / "flush.c"
    source.write_text(
        "#include <xmmintrin.h>\nvoid flush(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }\n"
    )
    library = tmp_path / "flush.so"
    subprocess.run(
        [compiler, "-x", "c", "-shared", "-fPIC", str(source), "-o", str(library)],
        check=True,
        timeout=60,
    )
    caught: list[BaseException] = []

    def work() -> None:
        ctypes.CDLL(str(library)).flush()
        try:
            golden.elementwise(np.add, np.zeros(1, np.uint16), np.zeros(1, np.uint16))
        except golden.SubnormalsFlushedError as error:
            caught.append(error)

    # The register belongs to the thread: the other tests do not see it.
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert len(caught) == 1
    assert "flushes subnormal" in str(caught[0])
