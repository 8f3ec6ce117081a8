"""Speed of the device server against the same model in a bare C++ loop.

Both run the same descriptor list on models built with the same options: the server through cocotb
and a socket, as users run it; the bare loop without either. Runs alternate, so that whatever else
the machine does hits both; the result is the median ratio, of wall time and, less disturbed by
other work, of CPU time. Run from the repository:

    python -m benchmarks.sim.main_loop [--runs 7] [--shape 8 768 1024] [--assertions]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sim.runs import RecordingDevice, Run, run_bare
from pimloop.host.pim.driver import PimDriver
from pimloop.sim.device.config import SimConfig, build_spec
from pimloop.sim.verilator.build import build

HERE = Path(__file__).parent


def measure(config: SimConfig, shape: tuple[int, int, int], runs: int) -> dict[str, Any]:
    """Return the speed of the server and of the bare loop, and their ratio.

    Parameters
    ----------
    config
        The device.
    shape
        (p, q, r) of the product that is run, its operands' copies included.
    runs
        How often each side runs.
    """
    bare = build(replace(build_spec(config), main=HERE / "bare_main.cpp"))
    p, q, r = shape
    random = np.random.default_rng(1)
    served: list[Run] = []
    bared: list[Run] = []
    fast: list[float] = []
    left = random.standard_normal((p, q)).astype(np.float32)
    right = random.standard_normal((q, r)).astype(np.float32)
    with RecordingDevice(config) as device, PimDriver(device) as driver:
        for _ in range(runs):
            before = device.stats()
            # One list with its operands in it: the bare loop starts with an empty device.
            with driver.batch():
                tensors = (driver.upload(left), driver.load_matrix(right))
                result = driver.matmul(*tensors)
            after = device.stats()
            for tensor in (*tensors, result):
                tensor.free()
            fast.append(
                (after.fast_cycles - before.fast_cycles)
                / (after.fast_seconds - before.fast_seconds)
            )
            served.append(device.last)
            bared.append(run_bare(bare, config, device.memory, device.list_writes()))
    pairs = list(zip(served, bared, strict=True))
    ratios = [ours.speed / theirs.speed for ours, theirs in pairs]
    cpu_ratios = [ours.cpu_speed / theirs.cpu_speed for ours, theirs in pairs]
    return {
        "shape": [p, q, r],
        "fabric_cycles": [served[0].cycles, bared[0].cycles],
        "served_cycles_per_s": statistics.median(run.speed for run in served),
        "fast_stretch_cycles_per_s": statistics.median(fast),
        "bare_cycles_per_s": statistics.median(run.speed for run in bared),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "served_cycles_per_cpu_s": statistics.median(run.cpu_speed for run in served),
        "bare_cycles_per_cpu_s": statistics.median(run.cpu_speed for run in bared),
        "cpu_ratio": statistics.median(cpu_ratios),
        "cpu_ratios": cpu_ratios,
    }


def main() -> int:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--shape", type=int, nargs=3, default=(8, 768, 1024), metavar="N")
    parser.add_argument("--assertions", action="store_true")
    args = parser.parse_args()
    config = SimConfig(assertions=args.assertions, memory_bytes=1 << 25)
    json.dump(measure(config, tuple(args.shape), args.runs), sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
