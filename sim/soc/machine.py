"""Builds the SoC with Verilator and runs programs on it.

Neighbours: `system` writes the SoC (in a process of its own), `firmware` compiles what runs here,
`pimloop.sim.verilator.build` caches the simulator.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pimloop.sim.device.config import rtl_sources
from pimloop.sim.errors import SimError
from pimloop.sim.packages import require_packages
from pimloop.sim.paths import SIM
from pimloop.sim.verilator.build import BuildSpec, build

HERE = Path(__file__).resolve().parent
TOP = "pimloop_soc"
DEVICE = HERE / "pim_soc_device.sv"

Bus = Literal["axi", "axi-lite", "wishbone"]

#: Python packages that the SoC is made of, and the command that installs them.
PACKAGES = ("litex", "migen", "pythondata_cpu_vexriscv")

WORD_BYTES = 4
_GENERATE_TIMEOUT = 120.0  # seconds
_CLOCKS_A_SECOND = 5_000  # the slowest machine that is waited for


@dataclass(frozen=True)
class Run:
    """What a program did."""

    console: str  # what it printed
    clocks: int  # of the SoC, from reset to its end
    code: int  # exit code


@dataclass(frozen=True)
class Machine:
    """A simulated SoC."""

    simulator: Path  # program
    header: str  # addresses, as a C header

    def address(self, name: str) -> int:
        """Return a value of the header, such as `MAIN_RAM`."""
        match = re.search(rf"#define SOC_{name} (0x[0-9A-F]+)", self.header)
        if match is None:
            raise SimError(f"the SoC has no SOC_{name}")
        return int(match[1], 0)

    def run(self, rom: bytes, memory: Mapping[int, bytes], most_clocks: int) -> Run:
        """Run a program until it ends.

        Parameters
        ----------
        rom
            Its image.
        memory
            Contents of main memory by their offset in bytes, a multiple of 4.
        most_clocks
            Clocks of the SoC after which it is given up.

        Raises
        ------
        SimError
            It is too large, does not end, or an assertion fails.
        """
        if len(rom) > self.address("ROM_BYTES"):
            raise SimError(f"the program has {len(rom)} bytes, the ROM {self.address('ROM_BYTES')}")
        with tempfile.TemporaryDirectory(prefix="pimloop-soc-") as name:
            folder = Path(name)
            _write_init(folder / f"{TOP}_rom.init", {0: rom})
            _write_init(folder / f"{TOP}_sram.init", {0: bytes(WORD_BYTES)})
            _write_init(folder / f"{TOP}_main_ram.init", memory)
            try:
                done = subprocess.run(
                    [self.simulator, f"+most_clocks={most_clocks}"],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=60 + most_clocks / _CLOCKS_A_SECOND,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise SimError(
                    "the simulated SoC takes too long; the machine may be overloaded: try again"
                ) from None
        return self._result(done, most_clocks)

    @staticmethod
    def _result(done: subprocess.CompletedProcess[bytes], most_clocks: int) -> Run:
        console = done.stdout.decode("ascii", errors="replace")
        errors = done.stderr.decode(errors="replace")
        ended = re.search(r"^clocks (\d+) code (\d+)$", errors, re.MULTILINE)
        if done.returncode == 0 and ended is not None:
            return Run(console, int(ended[1]), int(ended[2]))
        last = "\n".join(f"  {line}" for line in (console + errors).splitlines()[-10:])
        if done.returncode == 0:
            raise SimError(f"the program did not end within {most_clocks} clocks\n{last}")
        raise SimError(f"the simulated SoC stopped with exit code {done.returncode}\n{last}")


def _write_init(path: Path, contents: Mapping[int, bytes]) -> None:
    """Write 32-bit words as $readmemh reads them."""
    lines = []
    for offset, data in sorted(contents.items()):
        padded = data + bytes(-len(data) % WORD_BYTES)
        lines.append(f"@{offset // WORD_BYTES:x}")
        lines += [
            f"{int.from_bytes(padded[at : at + WORD_BYTES], 'little'):08x}"
            for at in range(0, len(padded), WORD_BYTES)
        ]
    path.write_text("\n".join([*lines, ""]), encoding="ascii")


def build_machine(bus: Bus, parameters: Mapping[str, int]) -> Machine:
    """Return the SoC, building it when it is not in the cache.

    Parameters
    ----------
    bus
        Standard of its bus.
    parameters
        Of `pim_top`; others have their defaults.

    Raises
    ------
    SimError
        A package or tool is missing, or the build fails.
    """
    if bus not in get_args(Bus):
        raise SimError(f"there is no bus {bus!r}; choose one of {', '.join(get_args(Bus))}")
    require_packages("the SoC", PACKAGES, "soc")
    with tempfile.TemporaryDirectory(prefix="pimloop-soc-") as name:
        folder = Path(name)
        _generate(folder, {"bus": bus, "device": dict(parameters)})
        described = json.loads((folder / "soc.json").read_text(encoding="utf-8"))
        cores = tuple(Path(source) for source in described["sources"])
        native = bool(parameters.get("NativeLanes", 0))
        dpi = SIM / "dpi"
        bodies = ("pim_memory_dpi", *(("pim_lane_dpi",) if native else ()))
        simulator = build(
            BuildSpec(
                top=TOP,
                sources=(
                    HERE / "soc.vlt",
                    *rtl_sources(),
                    SIM / "rtl" / "pim_dram_sim.sv",
                    DEVICE,
                    *cores,
                    folder / f"{TOP}.v",
                ),
                main=HERE / "main.cpp",
                cpp_sources=tuple(dpi / f"{body}.cpp" for body in bodies),
                headers=tuple(sorted(dpi.glob("*.h"))),
                flags=("--x-assign", "fast", "--x-initial", "fast", "-O3"),
                timescale="1ns/1ps",
            )
        )
        return Machine(simulator, (folder / "soc.h").read_text(encoding="utf-8"))


def _generate(folder: Path, request: Mapping[str, object]) -> None:
    command = [sys.executable, "-m", "pimloop.sim.soc.system", str(folder)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_GENERATE_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SimError("LiteX takes too long; the machine may be overloaded: try again") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise SimError(f"LiteX could not make the SoC: {lines[-1]}")
