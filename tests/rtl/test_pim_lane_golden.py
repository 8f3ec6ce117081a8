"""The plain-C entry points of pim_lane_dpi: the golden model's arithmetic, whatever compiles it."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lane_reference import (
    CORNERS_BF16,
    CORNERS_F32,
    DPI_SOURCE,
    bf16_wide,
    fma_exact,
    fma_wide,
    random_bf16,
    random_f32,
)

from pimloop.sim.verilator.toolchain import find_compiler

U16 = np.ctypeslib.ndpointer(np.uint16, flags="C_CONTIGUOUS")
U32 = np.ctypeslib.ndpointer(np.uint32, flags="C_CONTIGUOUS")

# What one compiler, option or instruction set may do to the loops. "plain" takes the dispatch
# on the machine's instruction set out, so that the loops are those of the options alone.
PLAIN = "-DPIM_SINGLE_TARGET"
VARIANTS = {
    "dispatched": ("-O2",),
    "dispatched-size": ("-Os",),
    "plain": ("-O3", PLAIN),
    "plain-unoptimised": ("-O0", PLAIN),
    "fma-contracted": ("-O3", PLAIN, "-mavx2", "-mfma", "-ffp-contract=fast"),
    "fma-separate": ("-O3", PLAIN, "-mavx2", "-mfma", "-ffp-contract=off"),
    "avx512": ("-O3", PLAIN, "-mavx512f", "-mfma", "-mprefer-vector-width=512"),
}
NEEDS = {"-mavx2": "avx2", "-mfma": "fma", "-mavx512f": "avx512f"}


def machine_flags():
    """Instruction sets of this machine, as Linux names them; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((x.split() for x in lines if x.startswith("flags")), ()))


@pytest.fixture(scope="module", params=VARIANTS)
def golden(request, tmp_path_factory):
    flags = VARIANTS[request.param]
    lacking = [flag for flag in flags if flag in NEEDS and NEEDS[flag] not in machine_flags()]
    if lacking:
        pytest.skip(f"this machine cannot run {' '.join(lacking)}")
    path = tmp_path_factory.mktemp("golden") / "libpim_lane.so"
    compiler = find_compiler().path
    command = [compiler, "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *flags]
    subprocess.run([*command, str(DPI_SOURCE), "-o", str(path)], check=True, timeout=120)
    library = ctypes.CDLL(str(path))
    size = ctypes.c_size_t
    library.pim_golden_mac.argtypes = [U32, ctypes.c_uint16, U16, size]
    library.pim_golden_mul.argtypes = [U32, U16, U16, size]
    library.pim_golden_matmul.argtypes = [U32, U16, U16, size, size, size]
    library.pim_golden_round_bf16.argtypes = [U16, U32, size]
    for name in ("mac", "mul", "matmul", "round_bf16"):
        getattr(library, f"pim_golden_{name}").restype = None
    return library


def test_mac_on_every_combination_of_classes(golden):
    vectors, words = (x.ravel().copy() for x in np.meshgrid(CORNERS_BF16, CORNERS_F32))
    for scalar in CORNERS_BF16:
        got = words.copy()
        golden.pim_golden_mac(got, int(scalar), vectors, len(got))
        assert np.array_equal(got, fma_wide(scalar[None], vectors, words)), f"{scalar:04x}"


def test_mac_against_integers(golden):
    rng = np.random.default_rng(1)
    for scalar in random_bf16(rng, 20):
        vectors = random_bf16(rng, 257)  # no multiple of any vector width
        words = random_f32(rng, scalar[None], vectors)
        expected = [
            fma_exact(int(scalar), int(b), int(c)) for b, c in zip(vectors, words, strict=True)
        ]
        golden.pim_golden_mac(words, int(scalar), vectors, len(words))
        assert words.tolist() == expected


def test_mac_touches_only_its_lanes(golden):
    words = np.full(40, 0x3F800000, dtype=np.uint32)
    golden.pim_golden_mac(words, 0x3F80, np.full(40, 0x3F80, dtype=np.uint16), 33)
    assert np.all(words[:33] == 0x40000000)
    assert np.all(words[33:] == 0x3F800000)


def test_mul(golden):
    left, right = (x.ravel().copy() for x in np.meshgrid(CORNERS_BF16, CORNERS_BF16))
    words = np.zeros(len(left), dtype=np.uint32)
    golden.pim_golden_mul(words, left, right, len(left))
    assert np.array_equal(words, fma_wide(left, right, np.full_like(words, 0x80000000)))


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 1, 1), (3, 40, 65), (2, 300, 17)])
def test_matmul(golden, rows, depth, columns):
    rng = np.random.default_rng(depth)
    left = random_bf16(rng, (rows, depth)) & np.uint16(0xBFFF)
    right = random_bf16(rng, (depth, columns)) & np.uint16(0xBFFF)
    start = rng.integers(0, 1 << 30, (rows, columns), dtype=np.uint32)
    expected = start.copy()
    for k in range(depth):
        expected = fma_wide(left[:, k, None], right[None, k], expected)
    golden.pim_golden_matmul(start, left, right, rows, depth, columns)
    assert np.array_equal(start, expected)


def test_round_bf16(golden):
    uppers = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    for tail in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        words = uppers | np.uint32(tail)
        got = np.empty(len(words), dtype=np.uint16)
        golden.pim_golden_round_bf16(got, words, len(words))
        assert np.array_equal(got, bf16_wide(words))
