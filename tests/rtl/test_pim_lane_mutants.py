"""Each single-line mutant of the lane gives a wrong bit for some operands of the test sets.

All mutants and the lane itself are built into one model, side by side on the same inputs, so that
one build of some seconds serves all of them.
"""

import re
from itertools import product

import numpy as np
import pytest
from lane_bench import LATENCY, integers_as_bf16, interleaved
from lane_reference import (
    CORNERS_BF16,
    CORNERS_F32,
    LANE_SOURCES,
    LOAD_F32,
    MAC,
    MAC_I,
    MUL,
    RELU,
    SCALE,
    directed_triples,
    fma_wide,
    relu_exact,
)
from mutants import mutated, patches
from support.exact import add_part

from pimloop.sim.bench.inprocess import InProcessModel

PACKAGE, LANE = LANE_SOURCES[:2]
PATCHES = patches("lane")
TOP = "pim_lane_mutants"
#: Corners that keep the product of three sets small.
FEW_BF16 = CORNERS_BF16[[0, 1, 4, 5, 6, 8, 10, 15, 16, 22, 25, 26, 28, 29, 33, 44, 55]]
FEW_F32 = CORNERS_F32[[0, 1, 5, 16, 20, 24, 26, 29, 45]]
#: Signs and magnitudes.
INTEGERS = np.array([0, 1, 5, 127, 128, 0x8001, 0x8007, 0x8080], dtype=np.uint16)
#: All parts, one of them, none; subnormal, infinite, NaN.
SUMS = (0x3FABCDEF, 0xBF800001, 0x80000100, 0x00C30000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0)
PORTS = (
    "clk_i", "valid_i", "op_i", "group_i", "scalar_i", "vector_i", "word_i", "read_i",
    "read_group_i", "read_part_i",
)  # fmt: skip


def bench_source(names):
    """Return a top with one instance of every lane module on the same inputs."""
    ports = ", ".join(f".{port}({port})" for port in PORTS)
    instances = "\n".join(
        f"  {name} u_{name} ({ports}, .read_bf16_o(bf16[{i}]), .read_f32_o(words_o[{i}]));"
        for i, name in enumerate(names)
    )
    return f"""module {TOP} (
  input logic clk_i, input logic valid_i, input pim_pkg::lane_op_e op_i,
  input logic [3:0] group_i, input logic [15:0] scalar_i, input logic [15:0] vector_i,
  input logic [31:0] word_i, input logic read_i, input logic [3:0] read_group_i,
  input logic [1:0] read_part_i,
  output logic [{len(names) - 1}:0][31:0] words_o, output logic parity_o);
  logic [{len(names) - 1}:0][15:0] bf16;
  assign parity_o = ^bf16;
{instances}
endmodule
"""


@pytest.fixture(scope="module")
def lanes(tmp_path_factory):
    """The lane (element 0 of words_o) and its mutants, in the order of PATCHES."""
    folder = tmp_path_factory.mktemp("mutants")
    sources, names = [PACKAGE], []
    for name, source in [("pim_lane", LANE)] + [
        (f"pim_lane_{patch.stem}", mutated(patch, [LANE], folder / patch.stem)[0])
        for patch in PATCHES
    ]:
        renamed = folder / f"{name}.sv"
        text = source.read_text(encoding="utf-8")
        renamed.write_text(re.sub(r"\bmodule pim_lane\b", f"module {name}", text), "utf-8")
        sources.append(renamed)
        names.append(name)
    top = folder / f"{TOP}.sv"
    top.write_text(bench_source(names), encoding="utf-8")
    with InProcessModel(TOP, [*sources, top], flags=("-Wno-fatal",)) as model:
        yield model


@pytest.fixture(scope="module")
def wrong(lanes):
    """For every lane, on how many operands its result is wrong."""
    a, b, c = (x.ravel() for x in np.meshgrid(FEW_BF16, FEW_BF16, CORNERS_F32))
    sets = [(a, b, c), *directed_triples().values()]
    sums = tuple(np.concatenate(x) for x in zip(*sets, strict=True))
    left, right = (x.ravel() for x in np.meshgrid(FEW_BF16, FEW_BF16))
    products = (left, right, np.full(len(left), 0x80000000, dtype=np.uint32))
    count = np.zeros(1 + len(PATCHES), dtype=np.int64)
    for op, triples in ((MAC, sums), (MUL, products)):
        got = interleaved(lanes, op, triples, "words_o")
        count += (got != fma_wide(*triples)[:, None]).sum(axis=0)
    # The accumulators hold something else before.
    held = np.full(len(CORNERS_BF16), 0x3F800000, dtype=np.uint32)
    got = interleaved(lanes, RELU, (CORNERS_BF16[::-1], CORNERS_BF16, held), "words_o")
    expected = np.array([relu_exact(x) for x in CORNERS_BF16.tolist()], dtype=np.uint32)
    count += (got != expected[:, None]).sum(axis=0)
    integers = np.tile(INTEGERS, len(FEW_BF16) * len(FEW_F32))
    left = np.repeat(FEW_BF16, len(INTEGERS) * len(FEW_F32))
    addend = np.tile(np.repeat(FEW_F32, len(INTEGERS)), len(FEW_BF16))
    got = interleaved(lanes, MAC_I, (left, integers, addend), "words_o")
    expected = fma_wide(left, integers_as_bf16(integers), addend)
    return count + (got != expected[:, None]).sum(axis=0) + scaled_wrong(lanes)


def scaled_wrong(lanes):
    """Return for every lane on how many sums, scales and totals a part is added wrongly."""
    ports = {name: lanes.view(name) for name in lanes.inputs}
    words = lanes.view("words_o")
    count = np.zeros(1 + len(PATCHES), dtype=np.int64)
    ports["valid_i"][0], ports["read_i"][0] = 0, 0
    cases = product(SUMS, FEW_BF16.tolist(), (0, 0x80000000, 0x3F800001, 0x7F800000), range(3))
    for whole, scale, total, part in cases:
        for group, word in enumerate((whole, total)):
            ports["valid_i"][0], ports["op_i"][0] = 1, LOAD_F32
            ports["group_i"][0], ports["word_i"][0] = group, word
            lanes.tick()
        ports["valid_i"][0] = 0
        lanes.tick(LATENCY)
        ports["read_i"][0], ports["read_group_i"][0], ports["read_part_i"][0] = 1, 0, part
        lanes.tick()
        ports["read_i"][0], ports["valid_i"][0], ports["op_i"][0] = 0, 1, SCALE
        ports["vector_i"][0] = scale
        lanes.tick()
        ports["valid_i"][0] = 0
        lanes.tick(LATENCY)
        ports["read_i"][0], ports["read_group_i"][0] = 1, 1
        lanes.tick()
        ports["read_i"][0] = 0
        count += words != add_part(scale, whole, 0xFF << 16 - 8 * part, total)
    return count


def test_the_lane_itself_is_right(wrong):
    assert wrong[0] == 0


def test_there_are_enough_mutants():
    assert len(PATCHES) >= 10


@pytest.mark.parametrize("index", range(len(PATCHES)), ids=[patch.stem for patch in PATCHES])
def test_mutant_is_caught(wrong, index):
    assert wrong[1 + index] > 0
