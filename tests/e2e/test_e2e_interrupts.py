"""The `pimloop` command ends cleanly when it is interrupted or its simulator dies in mid-run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pimloop.host.platforms.platform import load_platform
from pimloop.sim.device.config import SimConfig, build_spec
from pimloop.sim.verilator.build import build

#: Minutes of simulation: nothing here waits for its end.
LONG_RUN = ["gemm", "512", "2048", "2048", "--platform", "htg-z920"]
WAIT_SECONDS = 120.0


def children(pid: int) -> list[int]:
    """Return the processes that `pid` has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def busy(pid: int) -> bool:
    """Return whether a process has used a second of CPU time, i.e. is past its start."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False  # a short one, it has ended
    return int(fields[11]) >= os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a command in the middle of a long simulation, and its simulator."""
    build(build_spec(SimConfig(params=load_platform("htg-z920").rtl_parameters())))
    command = [sys.executable, "-m", "pimloop"]
    with subprocess.Popen(
        command + LONG_RUN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            simulator = None
            while simulator is None:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "the simulation did not start"
                simulator = next((pid for pid in children(process.pid) if busy(pid)), None)
                time.sleep(0.05)
            yield process, simulator
        finally:
            process.kill()


def gone(pid: int) -> bool:
    """Return whether a process ends within a few seconds."""
    deadline = time.monotonic() + 20
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_ctrl_c_leaves_nothing_behind(running: tuple[subprocess.Popen[str], int]) -> None:
    process, simulator = running
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert stderr.strip() == "pimloop gemm: interrupted"
    assert gone(simulator)


def test_a_killed_simulator_is_one_error(running: tuple[subprocess.Popen[str], int]) -> None:
    process, simulator = running
    os.kill(simulator, signal.SIGKILL)
    _, stderr = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2
    assert stderr.startswith("pimloop gemm: ")
    assert "Traceback" not in stderr
    assert "simulator" in stderr


def test_a_killed_host_takes_its_simulator_along(
    running: tuple[subprocess.Popen[str], int],
) -> None:
    process, simulator = running
    process.kill()
    process.wait(WAIT_SECONDS)
    assert gone(simulator)
