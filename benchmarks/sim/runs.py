"""What the benchmarks of the simulator share: timed runs through the server and in a bare loop.

Neighbours: `main_loop` compares the two, `suite` measures everything else.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pimloop.rtl.tables.isa import Reg
from pimloop.sim.device.config import SimConfig
from pimloop.sim.device.process import SimDevice

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


def run_bare(
    program: Path, config: SimConfig, memory: NDArray[np.uint8], writes: list[tuple[int, int]]
) -> Run:
    """Run a recorded list in the bare loop of `bare_main.cpp`."""
    descriptor = os.memfd_create("pimloop-benchmark")
    with os.fdopen(descriptor, "r+b") as file, tempfile.NamedTemporaryFile("w") as script:
        file.truncate(config.memory_bytes)
        file.write(memory.tobytes())
        file.flush()
        script.write("".join(f"{offset} {value}\n" for offset, value in writes))
        script.flush()
        done = subprocess.run(
            [program, script.name, *config.plusargs()],
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
