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
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from host.driver import PimDriver
from rtl.isa import Reg
from sim.build import build
from sim.config import SimConfig, build_spec
from sim.device import SimDevice

HERE = Path(__file__).parent
RUN_TIMEOUT = 600.0  # bound on one run, seconds


@dataclass(frozen=True)
class Run:
    """One list from its doorbell to its interrupt."""

    cycles: int  # fabric clocks
    seconds: float  # wall time
    cpu_seconds: float  # of the simulator

    @property
    def speed(self) -> float:
        """Fabric clocks per second."""
        return self.cycles / self.seconds

    @property
    def cpu_speed(self) -> float:
        """Fabric clocks per second of CPU time."""
        return self.cycles / self.cpu_seconds


class RecordingDevice(SimDevice):
    """A simulated device that keeps the last list: its memory, register writes and time."""

    def __init__(self, config: SimConfig) -> None:
        super().__init__(config)
        self.writes: list[tuple[int, int]] = []
        self.memory = np.zeros(0, np.uint8)
        self.last = Run(0, 0.0, 0.0)
        self._rung = self._now()

    def _now(self) -> Run:
        # First field: nanoseconds the main thread has run.
        cpu = int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) * 1e-9
        return Run(self.stats().cycles, time.perf_counter(), cpu)

    def write32(self, offset: int, value: int) -> None:
        """Write a register; a doorbell starts the clock."""
        self.writes.append((int(offset), int(value)))
        if offset == Reg.DOORBELL:
            self.memory = self.buffer.copy()
            self._rung = self._now()
        super().write32(offset, value)

    def wait_irq(self, timeout: float) -> None:
        """Wait for the interrupt; it stops the clock."""
        super().wait_irq(timeout)
        now, then = self._now(), self._rung
        self.last = Run(
            now.cycles - then.cycles,
            now.seconds - then.seconds,
            now.cpu_seconds - then.cpu_seconds,
        )

    def list_writes(self) -> list[tuple[int, int]]:
        """Return the writes that prepare and start the last list."""
        once = (Reg.DOORBELL, Reg.IRQ)
        kept = [write for write in self.writes if write[0] not in once]
        return [*kept, (int(Reg.DOORBELL), 1)]


def run_bare(program: Path, config: SimConfig, memory: Any, writes: list[tuple[int, int]]) -> Run:
    """Run the recorded list in the bare loop."""
    descriptor = os.memfd_create("pimloop-benchmark")
    with os.fdopen(descriptor, "r+b") as file, tempfile.NamedTemporaryFile("w") as script:
        file.truncate(config.memory_bytes)
        file.write(memory.tobytes())
        file.flush()
        script.write("".join(f"{offset} {value}\n" for offset, value in writes))
        script.flush()
        done = subprocess.run(
            [program, script.name, *config.host_memory.plusargs()],
            env=os.environ
            | {
                "PIMLOOP_MEMORY_FD": str(descriptor),
                "PIMLOOP_MEMORY_ADDRESS": str(config.memory_address),
            },
            pass_fds=(descriptor,),
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT,
            check=True,
        )
    cycles, wall, cpu = (int(word) for word in done.stdout.split()[-3:])
    return Run(cycles, wall * 1e-9, cpu * 1e-9)


def main() -> int:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--shape", type=int, nargs=3, default=(8, 768, 1024), metavar="N")
    parser.add_argument("--assertions", action="store_true")
    args = parser.parse_args()
    config = SimConfig(assertions=args.assertions, memory_bytes=1 << 25)
    spec = build_spec(config)
    bare = build(replace(spec, main=HERE / "bare_main.cpp"))
    p, q, r = args.shape
    random = np.random.default_rng(1)
    served: list[Run] = []
    bared: list[Run] = []
    fast: list[float] = []
    left = random.standard_normal((p, q)).astype(np.float32)
    right = random.standard_normal((q, r)).astype(np.float32)
    with RecordingDevice(config) as device, PimDriver(device) as driver:
        for _ in range(args.runs):
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
    json.dump(
        {
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
        },
        sys.stdout,
        indent=2,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
