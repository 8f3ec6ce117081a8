"""Every benchmark of the simulator; `pimloop bench sim` runs it and shows the result.

Sides that are compared run in turn, so that whatever else the machine does hits both; a number is
the median of its runs. Speeds are per second of CPU time of the simulator: on a machine with other
work they say what one core does. Run from the repository:

    python -m benchmarks.sim.suite [--parts main_loop macs ...] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.sim import main_loop
from benchmarks.sim.runs import RecordingDevice, run_bare
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform
from pimloop.sim.device.config import SimConfig, build_spec
from pimloop.sim.device.process import SimDevice
from pimloop.sim.verilator.build import build
from pimloop.sim.verilator.toolchain import find_toolchain

REPOSITORY = Path(__file__).resolve().parents[2]
BARE = Path(__file__).parent / "bare_main.cpp"
PLATFORMS = {"per_bank": "htg-z920", "all_bank": "aim"}
PHASES_TIMEOUT = 3600.0  # bound on `pimloop sim bert`, seconds
MIB = 1 << 20

_BERT = ("sim", "bert", "--seq", "16", "--no-cache")


def device(style: str = "per_bank", **options: Any) -> SimConfig:
    """Return the device of a style, without assertions unless asked for."""
    params = load_platform(PLATFORMS[style]).rtl_parameters()
    return SimConfig(params=params, **{"assertions": False, "memory_bytes": 1 << 25, **options})


def in_turn(
    sides: dict[str, SimConfig], flags: dict[str, tuple[str, ...]], runs: int
) -> dict[str, Any]:
    """Return the CPU speed of several builds on one list, and that of the first over each."""
    programs = {}
    for name, config in sides.items():
        spec = build_spec(config)
        programs[name] = build(replace(spec, main=BARE, flags=(*spec.flags, *flags.get(name, ()))))
    rng = np.random.default_rng(1)
    first = next(iter(sides.values()))
    with RecordingDevice(first) as recorder, PimDriver(recorder) as driver:
        with driver.batch():
            left = driver.upload(rng.standard_normal((4, 256)).astype(np.float32))
            right = driver.load_matrix(rng.standard_normal((256, 512)).astype(np.float32))
            driver.matmul(left, right)
        memory, writes = recorder.memory, recorder.list_writes()
    speeds_of: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, config in sides.items():
            speeds_of[name].append(run_bare(programs[name], config, memory, writes).cpu_speed)
    base = next(iter(speeds_of.values()))
    return {
        "cycles_per_cpu_s": {name: statistics.median(speeds) for name, speeds in speeds_of.items()},
        "times_slower": {
            name: statistics.median(a / b for a, b in zip(base, speeds, strict=True))
            for name, speeds in speeds_of.items()
        },
    }


def lanes(runs: int) -> dict[str, Any]:
    """Compare lanes as DPI calls with lanes in RTL."""
    return in_turn({"native": device(), "rtl": device(flavour="rtl")}, {}, runs)


def checks(runs: int) -> dict[str, Any]:
    """Compare the device without assertions with the checked one."""
    return in_turn({"unchecked": device(), "checked": device(assertions=True)}, {}, runs)


def public(runs: int) -> dict[str, Any]:
    """Compare ports-only with all-public signals."""
    return in_turn({"ports": device(), "all": device()}, {"all": ("--public-flat-rw",)}, runs)


def macs(runs: int) -> dict[str, Any]:
    """Return useful multiply-adds and clocks per CPU-second, weights resident."""
    result: dict[str, Any] = {}
    rng = np.random.default_rng(1)
    for style, (p, q, r) in {"per_bank": (16, 512, 1024), "all_bank": (128, 512, 1024)}.items():
        config = device(style)
        speeds, clocks = [], []
        with RecordingDevice(config) as simulated, PimDriver(simulated) as driver:
            left = driver.upload(rng.standard_normal((p, q)).astype(np.float32))
            right = driver.load_matrix(rng.standard_normal((q, r)).astype(np.float32))
            for _ in range(runs):
                driver.matmul(left, right).free()
                speeds.append(p * q * r / simulated.last.cpu_seconds)
                clocks.append(simulated.last.cpu_speed * config.params["CkRatio"])
        result[style] = {
            "shape": [p, q, r],
            "macs_per_cpu_s": statistics.median(speeds),
            "dram_clocks_per_cpu_s": statistics.median(clocks),
        }
    return result


def start_up(runs: int) -> dict[str, Any]:
    """Return the wall time from nothing to a device that answers, its build being there."""
    config = device()
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        with SimDevice(config):
            times.append(time.perf_counter() - started)
    return {"seconds": statistics.median(times[1:])}  # the first may have built it


def memory(_: int) -> dict[str, Any]:
    """Return the resident memory of a simulator of 512 MiB, fresh and with 16 MiB written."""
    config = device(memory_bytes=64 * MIB)

    def resident(pid: int) -> float:
        text = Path(f"/proc/{pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(match[1]) / 1024 if match else float("nan")

    with SimDevice(config) as simulated, PimDriver(simulated) as driver:
        fresh = resident(simulated.pid)
        driver.load_matrix(np.ones((2048, 4096), np.float32))
        return {
            "capacity_mib": 512,
            "fresh_mib": fresh,
            "written_mib": 16,
            "after_mib": resident(simulated.pid),
        }


def builds(_: int) -> dict[str, Any]:
    """Return the wall time of a first build, of a similar one, and of one that is there."""
    styles = {"cold": "per_bank", "similar": "all_bank", "cached": "all_bank"}
    result = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, PIMLOOP_BUILD_DIR=folder),
    ):
        for name, style in styles.items():
            started = time.perf_counter()
            build(build_spec(device(style)))
            result[f"{name}_s"] = time.perf_counter() - started
    return result


def end_to_end(_: int) -> dict[str, Any]:
    """Run BERT-base, 16 tokens, nothing from the cache of lists; return the phases' wall times."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pimloop", *_BERT, "--out", folder],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            timeout=PHASES_TIMEOUT,
            check=True,
        )
        wall = time.perf_counter() - started
        report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    return {"wall_s": wall, "phases": report["phases"], "simulation": report["simulation"]}


def main_loops(runs: int) -> dict[str, Any]:
    """Compare the device under cocotb with the same model in a bare C++ loop."""
    return main_loop.measure(device(), (8, 768, 1024), runs)


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "main_loop": main_loops,
    "lanes": lanes,
    "checks": checks,
    "macs": macs,
    "start_up": start_up,
    "memory": memory,
    "builds": builds,
    "public": public,
    "end_to_end": end_to_end,
}

#: Those that take minutes run only when they are named.
QUICK = ("main_loop", "lanes", "checks", "macs", "start_up", "memory")


def describe_machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, cores, load, tools."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    tools = find_toolchain()
    return {
        "processor": names[0] if names else machine.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "verilator": tools.verilator.version,
        "compiler": tools.compiler.version,
        "python": machine.python_version(),
    }


def main() -> int:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(QUICK))
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": describe_machine(), "runs": args.runs}
    for part in args.parts:
        result[part] = PARTS[part](args.runs)
    json.dump(result, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
