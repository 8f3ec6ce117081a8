"""What a simulated device is made of: its configuration and the build that follows from it.

Neighbours: `pimloop.sim.verilator.build` builds what `build_spec` describes,
`pimloop.sim.device.process` runs it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pimloop.rtl.tables.conditions import first_broken
from pimloop.rtl.tables.source import listed
from pimloop.sim.errors import SimError
from pimloop.sim.paths import SIM
from pimloop.sim.verilator import cpp_clock
from pimloop.sim.verilator.build import COVERAGE_VARIABLE, BuildSpec

TOP = "pimloop_tb"
TEST_BENCH = SIM / "rtl" / f"{TOP}.sv"
#: What the test bench puts beside the device.
BOARD = ("pim_command_trace_sim", "pim_dram_sim", "pim_hostmem_sim", "pim_pulse_clock_sim")

#: Page size that the size of the shared memory must be a multiple of, bytes.
PAGE_BYTES = 4096

_MAX_STALL = 255

_serial = itertools.count()  # tells the coverage files of one process apart


@dataclass(frozen=True)
class HostMemory:
    """Timing of the simulated host memory, in fabric clocks; see sim/rtl/pim_hostmem_sim.sv."""

    read_latency: int = 2  # from a read address to its first beat, at least 2
    read_gap: int = 1  # from one read beat to the next, at least 1
    write_latency: int = 2  # from the last write beat to its response, at least 2
    write_gap: int = 1  # from one write beat to the next, at least 1
    stall: int = 0  # chance in 256 that a channel pauses in a cycle, 0..255
    seed: int = 1  # of the pauses, at least 1

    def __post_init__(self) -> None:
        for name, least in (
            ("read_latency", 2),
            ("read_gap", 1),
            ("write_latency", 2),
            ("write_gap", 1),
            ("stall", 0),
            ("seed", 1),
        ):
            if getattr(self, name) < least:
                raise SimError(f"host memory: {name} is {getattr(self, name)}, must be >= {least}")
        if self.stall > _MAX_STALL:
            raise SimError(f"host memory: stall is {self.stall}, must be <= {_MAX_STALL}")

    def plusargs(self) -> list[str]:
        """Return the arguments of the simulator that set these values."""
        return [
            f"+hostmem_read_latency={self.read_latency}",
            f"+hostmem_read_gap={self.read_gap}",
            f"+hostmem_write_latency={self.write_latency}",
            f"+hostmem_write_gap={self.write_gap}",
            f"+hostmem_stall={self.stall}",
            f"+hostmem_seed={self.seed}",
        ]


def _coverage_file() -> Path | None:
    """Return a new file in $PIMLOOP_COVERAGE_DIR; None when the variable is not set."""
    folder = os.environ.get(COVERAGE_VARIABLE)
    if not folder:
        return None
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder).resolve() / f"device-{os.getpid()}-{next(_serial)}.dat"


@dataclass(frozen=True)
class SimConfig:
    """One simulated device.

    Raises
    ------
    SimError
        A value makes no sense; the message says which and what would.
    """

    params: Mapping[str, int] = field(default_factory=dict)  # of pim_top; others: their defaults
    flavour: Literal["native", "rtl"] = "native"  # arithmetic lanes: DPI calls or RTL
    trace: bool = False  # able to write FST waveforms (slower)
    assertions: bool = True  # assertions and the DRAM timing checker on (slower)
    coverage: Path | None = field(default_factory=_coverage_file)  # written at close
    host_memory: HostMemory = HostMemory()
    memory_bytes: int = 1 << 30  # memory shared with the device; costs only touched pages
    memory_address: int = 1 << 32  # bus address of its first byte
    device_sources: tuple[Path, ...] | None = None  # instead of rtl/: tests of the simulator
    command_trace: Path | None = None  # file for every DRAM command; see sim/check/protocol.py
    log_dir: Path | None = None  # for simulator.log and simulator.jsonl; None: log kept in memory
    start_timeout: float = 60.0  # seconds until the simulator answers
    answer_timeout: float = 60.0  # seconds until a register access is answered

    def bounded(self, timeout: float | None) -> SimConfig:
        """Return this with no wait longer than `timeout`, seconds; None: as it is."""
        if timeout is None:
            return self
        return replace(
            self,
            start_timeout=min(self.start_timeout, timeout),
            answer_timeout=min(self.answer_timeout, timeout),
        )

    def __post_init__(self) -> None:
        known = parameter_names()
        unknown = sorted(set(self.params) - known)
        if unknown:
            raise SimError(f"pim_top has no parameter {unknown[0]!r}; there are {sorted(known)}")
        if "NativeLanes" in self.params:
            raise SimError("NativeLanes follows from the flavour; set flavour instead")
        if self.flavour not in ("native", "rtl"):
            raise SimError(f"there is no flavour {self.flavour!r}; choose 'native' or 'rtl'")
        if self.device_sources is None:
            native = {"NativeLanes": int(self.flavour == "native")}
            broken = first_broken(parameter_defaults() | dict(self.params) | native)
            if broken is not None:
                raise SimError(f"pim_top cannot have these parameters: {broken.message()}")
        if self.memory_bytes <= 0 or self.memory_bytes % PAGE_BYTES:
            raise SimError(
                f"memory_bytes is {self.memory_bytes}, must be a multiple of {PAGE_BYTES}"
            )
        if self.memory_address % PAGE_BYTES or self.memory_address < 0:
            raise SimError(
                f"memory_address is {self.memory_address:#x}, must be a multiple of 4096"
            )

    def plusargs(self) -> list[str]:
        """Return the arguments of the simulator that need no build of their own."""
        arguments = self.host_memory.plusargs()
        if self.command_trace is not None:
            arguments.append(f"+command_trace={self.command_trace.resolve()}")
        return arguments

    @property
    def clock_period(self) -> int:
        """Period of the fabric clock in femtoseconds."""
        defaults = parameter_defaults()
        tck = self.params.get("TckFs", defaults["TckFs"])
        return tck * self.params.get("CkRatio", defaults["CkRatio"])


def parameter_defaults() -> dict[str, int]:
    """Return the parameters of the test bench, which are those of `pim_top`, with defaults."""
    text = TEST_BENCH.read_text(encoding="utf-8")
    return {name: int(value) for name, value in re.findall(r"parameter int (\w+) = (\d+)", text)}


def parameter_names() -> frozenset[str]:
    """Return the names of the parameters of the test bench."""
    return frozenset(parameter_defaults())


def primitive_sources() -> tuple[Path, ...]:
    """Return the files of what a technology may replace: clock gate, memory, multiplier."""
    return listed("pim_primitives.f")


def synthesizable_sources() -> tuple[Path, ...]:
    """Return what synthesis reads of the device: primitives, packages, modules by name."""
    return primitive_sources() + listed("pim.f")


def fpga_sources() -> tuple[Path, ...]:
    """Return the files of what stands behind the memory port on an FPGA."""
    return listed("pim_fpga.f")


def rtl_sources() -> tuple[Path, ...]:
    """Return the files of the device, then those that only its simulation has."""
    return synthesizable_sources() + listed("pim_sim.f")


def build_spec(config: SimConfig) -> BuildSpec:
    """Return what to build for `config`."""
    native = config.flavour == "native" and config.device_sources is None
    device = config.device_sources or rtl_sources()
    # The cover points look at signals inside the device: for the device of this project only.
    counted = config.coverage is not None and config.device_sources is None
    cover = (SIM / "rtl" / "pim_cover_sim.sv",) if counted else ()
    # What a test brings by the name of a part of the board takes its place.
    brought = {path.stem for path in device}
    board = tuple(SIM / "rtl" / f"{name}.sv" for name in BOARD if name not in brought)
    bench = () if TOP in brought else (TEST_BENCH,)
    dpi = SIM / "dpi"
    cpp_sources = [*cpp_clock.SOURCES, dpi / "pim_memory_dpi.cpp"]
    if native:
        cpp_sources.append(dpi / "pim_lane_dpi.cpp")
    return BuildSpec(
        top=TOP,
        sources=(*device, *board, *bench, *cover),
        main=cpp_clock.MAIN,
        cpp_sources=tuple(cpp_sources),
        headers=(*cpp_clock.HEADERS, *sorted(dpi.glob("*.h"))),
        params={**config.params, "NativeLanes": int(native)},
        flags=("--x-assign", "fast", "--x-initial", "fast", "-O3"),
        timescale="1fs/1fs",
        make_rules=cpp_clock.MAKE_RULES,
        trace=config.trace,
        assertions=config.assertions,
        coverage=config.coverage is not None,
    )
